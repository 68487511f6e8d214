"""One URL, page or fragment; and what every page knows about the site."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers


def render_page_or(
    request: HttpRequest, fragment: str, page: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    """Render `fragment` for an htmx swap, `page` for everything else. Same URL, same context."""
    htmx = getattr(request, "htmx", None)
    swap = htmx and not htmx.boosted and not htmx.history_restore_request
    response = render(request, fragment if swap else page, context, status=status)
    patch_vary_headers(response, ["HX-Request"])
    return response


def site(request: HttpRequest) -> dict[str, Any]:
    return {"site_url": settings.SITE_URL}
