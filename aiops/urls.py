"""The site's addresses. `/webhook/alerts` is not here: asgi.py mounts it ahead of Django."""

from django.contrib import admin
from django.urls import include, path

from aiops import health

urlpatterns = [
    path("healthz", health.alive, name="healthz"),
    path("readyz", health.ready, name="readyz"),
    path("metrics", health.numbers, name="metrics"),
    path("", include("accounts.urls")),
    path("", include("incidents.urls")),
    path("", include("infra.urls")),
    path("", include("assistant.urls")),
    path("admin/", admin.site.urls),
]
