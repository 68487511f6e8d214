"""The product's settings for tests of the server: it waits for seconds only, and its websockets echo."""

from aiops import server
from aiops.settings import *  # noqa: F403

server.HEADER_SECONDS = 1.0
server.BODY_SECONDS = 1.0
ASGI_APPLICATION = "tests.echo.application"
