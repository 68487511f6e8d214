"""The alert list and one alert."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from accounts.requests import PersonRequest
from aiops.lib.pages import render_page_or
from incidents import analysis
from incidents.detail import AlertDetail
from incidents.forms import AssignForm, NoteForm, SnoozeForm, problem
from incidents.models import Alert, AlertSource
from incidents.search import CHOICES, AlertSearch


@require_GET
@login_required
def dashboard(request: PersonRequest) -> HttpResponse:
    return redirect("incidents:alert-list")


@require_GET
@login_required
def alert_list(request: PersonRequest) -> HttpResponse:
    search = AlertSearch.from_query(request.GET)
    page = search.page()
    context = {
        "search": search,
        "page": page,
        "choices": CHOICES,
        "next": search.at(page.next).query_string if page.next else "",
        "silent_sources": AlertSource.objects.silent(),
        "ever": bool(page.rows) or Alert.objects.exists(),
    }
    response = render_page_or(
        request, "incidents/_alert_table.html", "incidents/alert_list.html", context, 422 if search.errors else 200
    )
    response["HX-Push-Url"] = f"{reverse('incidents:alert-list')}?{search.query_string}".rstrip("?")
    return response


def _alert(pk: uuid.UUID) -> Alert:
    """Every person who is logged in may see every alert."""
    return get_object_or_404(
        Alert.objects.select_related("source", "matched_rule", "acknowledged_by", "assignee"), pk=pk
    )


def _detail(request: PersonRequest, alert: Alert, form: NoteForm) -> HttpResponse:
    context = {"alert": alert, "detail": AlertDetail(alert), "form": form}
    status = 422 if form.errors else 200
    return render_page_or(request, "incidents/_alert_detail.html", "incidents/alert_detail.html", context, status)


@require_GET
@login_required
def alert_detail(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    return _detail(request, _alert(pk), NoteForm())


@require_GET
@login_required
def alert_timeline(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    alert = _alert(pk)
    context = {"alert": alert, "timeline": AlertDetail(alert).timeline()}
    return render_page_or(request, "incidents/_alert_timeline.html", "incidents/alert_timeline.html", context)


@require_POST
@login_required
def alert_acknowledge(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    alert = _alert(pk)
    alert.acknowledge(request.user)
    return _changed(request, alert)


@require_POST
@login_required
def alert_unacknowledge(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    alert = _alert(pk)
    alert.unacknowledge(request.user)
    return _changed(request, alert)


@require_POST
@login_required
def alert_assign(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    alert, form = _alert(pk), AssignForm(request.POST)
    if not form.is_valid():
        return _refused(request, alert, problem(form))
    alert.assign(form.cleaned_data["person"], request.user)
    return _changed(request, alert)


@require_POST
@login_required
def alert_snooze(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    alert, form = _alert(pk), SnoozeForm(request.POST)
    if not form.is_valid():
        return _refused(request, alert, problem(form))
    alert.snooze(form.cleaned_data["until"], request.user)
    return _changed(request, alert)


@require_POST
@login_required
def alert_unsnooze(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    alert = _alert(pk)
    alert.unsnooze(request.user)
    return _changed(request, alert)


def _changed(request: PersonRequest, alert: Alert) -> HttpResponse:
    """The alert's head as it is now; the page's other parts hear of it by the event `alert-changed`."""
    if not request.htmx:
        return redirect("incidents:alert-detail", pk=alert.pk)
    alert = _alert(alert.pk)
    response = render(request, "incidents/_alert_head.html", {"alert": alert, "detail": AlertDetail(alert)})
    response["HX-Trigger"] = "alert-changed"
    return response


def _refused(request: PersonRequest, alert: Alert, reason: str) -> HttpResponse:
    """The head as it was, with what was wrong in words."""
    if not request.htmx:
        messages.error(request, reason)
        return redirect("incidents:alert-detail", pk=alert.pk)
    context = {"alert": alert, "detail": AlertDetail(alert), "problem": reason}
    return render(request, "incidents/_alert_head.html", context, status=422)


@require_POST
@login_required
def alert_note(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    alert, form = _alert(pk), NoteForm(request.POST)
    if not form.is_valid():
        if request.htmx:
            return render(request, "incidents/_note_form.html", {"alert": alert, "form": form}, status=422)
        return _detail(request, alert, form)
    alert.add_note(request.user, form.cleaned_data["text"])
    if not request.htmx:
        return redirect("incidents:alert-detail", pk=alert.pk)
    response = render(request, "incidents/_note_form.html", {"alert": alert, "form": NoteForm()})
    response["HX-Trigger"] = "alert-changed"
    return response


@require_POST
@login_required
def alert_analyze(request: PersonRequest, pk: uuid.UUID) -> HttpResponse:
    """Queue an analysis; one that is pending already is left to finish. The page's analysis part reloads itself."""
    alert = _alert(pk)
    analysis.request(alert, request.user)
    if not request.htmx:
        return redirect("incidents:alert-detail", pk=alert.pk)
    return HttpResponse(status=204, headers={"HX-Trigger": '{"alert-changed": null, "analysis-changed": null}'})
