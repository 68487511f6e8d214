"""The lists of servers and terminal sessions."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from accounts.requests import PersonRequest
from aiops.lib.paging import CursorError, page_of
from infra.models import Server, TerminalSession

MOST = 500
# What everybody may know of a server. Its secrets are never loaded for a page.
SHOWN = ("name", "hostname", "port", "environment")


@require_GET
@login_required
def server_list(request: PersonRequest) -> HttpResponse:
    servers = list(Server.objects.only(*SHOWN)[: MOST + 1])
    return render(
        request, "infra/server_list.html", {"servers": servers[:MOST], "cut": len(servers) > MOST, "most": MOST}
    )


@require_GET
@login_required
def terminal_list(request: PersonRequest) -> HttpResponse:
    sessions = TerminalSession.objects.for_user(request.user).select_related("user", "server_credential", "alert")
    sessions = sessions.only(
        "started_at", "ended_at", "user__username", "server_credential__name", "alert__alert_name", "alert__instance"
    )
    error = ""
    try:
        page = page_of(sessions, request.GET.get("cursor", ""), "started_at")
    except CursorError as exc:
        page, error = page_of(sessions, "", "started_at"), str(exc)
    return render(request, "infra/terminal_list.html", {"page": page, "error": error}, status=422 if error else 200)
