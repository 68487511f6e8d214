"""The ASGI entry: the webhook ahead of Django's middleware, then Django, then the (still empty) websocket routes."""

from __future__ import annotations

import os
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aiops.settings")

django_application = get_asgi_application()

from incidents.webhook import PATHS, Webhook  # noqa: E402 (models can be imported once Django is set up)

webhook = Webhook()


async def http(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await (webhook if scope["path"] in PATHS else django_application)(scope, receive, send)


application = ProtocolTypeRouter({"http": http, "websocket": URLRouter([])})
