"""The product's settings and the test's own jobs: for a real worker process that a test starts."""

from aiops.settings import *  # noqa: F403
from aiops.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.live_jobs"]
