"""The assistant's pages: what an analysis says about an alert, and the list of conversations."""

from __future__ import annotations

import uuid

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from accounts.requests import PersonRequest
from aiops.lib.pages import render_page_or
from aiops.lib.paging import CursorError, page_of
from assistant.models import ChatSession, LLMProvider
from assistant.report import Report
from incidents.models import Alert


@require_GET
@login_required
def chat_list(request: PersonRequest) -> HttpResponse:
    chats = ChatSession.objects.for_user(request.user).select_related("user", "alert")
    chats = chats.only("title", "updated_at", "user__username", "alert__alert_name", "alert__instance")
    error = ""
    try:
        page = page_of(chats, request.GET.get("cursor", ""), "updated_at")
    except CursorError as exc:
        page, error = page_of(chats, "", "updated_at"), str(exc)
    return render(request, "assistant/chat_list.html", {"page": page, "error": error}, status=422 if error else 200)


@require_GET
@login_required
def alert_analysis(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    """What is known of an alert's analysis. `known` is the state that the asking page shows already: unchanged, it gets 204."""
    alert = get_object_or_404(Alert.objects.select_related("matched_rule"), pk=pk)
    known = request.GET.get("known", "")
    if request.htmx and known == alert.analysis_state:
        return HttpResponse(status=204)
    context = {
        "alert": alert,
        "report": Report.of(alert),
        "provider": LLMProvider.objects.filter(enabled=True).exists(),
    }
    response = render_page_or(request, "assistant/_alert_analysis.html", "assistant/alert_analysis.html", context)
    if known:
        response["HX-Trigger"] = "alert-changed"
    return response
