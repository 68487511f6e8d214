"""How alerts go through an analysis: asked for, claimed, put back, finished. Each step is a conditional UPDATE.

none, done, failed, skipped → queued → running → done, failed or skipped; from running back to queued where a model is to be asked
again later. What is analysed, and how, is the assistant's; it calls these inside its own transactions.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from aiops.lib import jobs
from audit.log import record
from incidents.models import Alert, AlertEvent

State = Alert.AnalysisState
PENDING = (State.QUEUED, State.RUNNING)
_EVENTS = {
    State.DONE: AlertEvent.Kind.ANALYSED,
    State.FAILED: AlertEvent.Kind.ANALYSIS_FAILED,
    State.SKIPPED: AlertEvent.Kind.ANALYSIS_SKIPPED,
}


def request(alert: Alert, user: User) -> bool:
    """“Analyse now”: queue the alert on behalf of `user`, with its event, its job and an audit entry. False where it is pending."""
    reason = f"Asked for by {user.username}."
    with transaction.atomic():
        free = Alert.objects.filter(pk=alert.pk).exclude(analysis_state__in=PENDING)
        if not free.update(analysis_state=State.QUEUED, analysis_reason=reason):
            return False
        AlertEvent.objects.create(
            alert=alert, kind=AlertEvent.Kind.ANALYSIS_QUEUED, at=timezone.now(), user=user, text=reason
        )
        jobs.defer(
            "assistant.analyze_group",
            source_id=str(alert.source_id),
            group_hash=alert.group_hash,
            alert_id=str(alert.pk),
            trigger="person",
            user_id=str(user.pk),
        )
        record("analyze_alert", alert, name=str(alert))
    alert.analysis_state, alert.analysis_reason = State.QUEUED, reason
    return True


def claim(source_id: uuid.UUID, group_hash: str, *, but: Collection[uuid.UUID] = ()) -> list[uuid.UUID]:
    """Take all queued alerts of the group, except `but`: queued → running, for this caller alone. Wants a transaction."""
    waiting = Alert.objects.filter(source_id=source_id, group_hash=group_hash, analysis_state=State.QUEUED)
    return _move(waiting.exclude(pk__in=but), State.RUNNING, "")


def claim_one(alert_id: uuid.UUID) -> list[uuid.UUID]:
    """Take the alert that a person asked for, in whatever state but running. Wants a transaction."""
    return _move(Alert.objects.filter(pk=alert_id).exclude(analysis_state=State.RUNNING), State.RUNNING, "")


def put_back(alert_ids: Iterable[uuid.UUID], reason: str) -> None:
    """running → queued, with the reason for which it takes longer. Wants a transaction."""
    _move(Alert.objects.filter(pk__in=list(alert_ids), analysis_state=State.RUNNING), State.QUEUED, reason)


def resume(alert_ids: Iterable[uuid.UUID]) -> None:
    """queued → running: what was put back goes on. Wants a transaction."""
    _move(Alert.objects.filter(pk__in=list(alert_ids), analysis_state=State.QUEUED), State.RUNNING, "")


def finish(
    alert_ids: Iterable[uuid.UUID],
    *,
    state: str,
    reason: str = "",
    text: str | None = None,
    recommendations: list[dict[str, Any]] | None = None,
    at: datetime | None = None,
    details: dict[str, Any] | None = None,
) -> int:
    """End the analysis of the alerts that are still pending, each with an event: `state` is done, failed or skipped.

    `text` is the analysis in markdown and `recommendations` its steps, where there are any; `at` is when it was made;
    `details` go into the event. Returns how many alerts there were. Wants a transaction.
    """
    now = timezone.now()
    values: dict[str, Any] = {"analysis_state": state, "analysis_reason": reason}
    if text is not None:
        values |= {"analyzed": True, "analyzed_at": at or now, "ai_analysis": text}
        values |= {"recommendations_json": recommendations or []}
    pending = Alert.objects.filter(pk__in=list(alert_ids), analysis_state__in=PENDING)
    ended = _locked(pending)
    Alert.objects.filter(pk__in=ended).update(**values)
    AlertEvent.objects.bulk_create(
        AlertEvent(alert_id=pk, kind=_EVENTS[State(state)], at=now, text=reason, details_json=details or {})
        for pk in ended
    )
    return len(ended)


def _move(alerts: QuerySet[Alert], state: State, reason: str) -> list[uuid.UUID]:
    moved = _locked(alerts)
    Alert.objects.filter(pk__in=moved).update(analysis_state=state, analysis_reason=reason)
    return moved


def _locked(alerts: QuerySet[Alert]) -> list[uuid.UUID]:
    """The rows that still match once they are locked.

    A webhook may hold some of them and want others. So this side waits shorter than PostgreSQL takes to see a deadlock (1 s), and
    then it is this transaction that breaks off (OperationalError, to be tried again), never the webhook's.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '500ms'")
        found = list(alerts.order_by("pk").select_for_update(of=("self",), no_key=True).values_list("pk", flat=True))
        cursor.execute("SET LOCAL lock_timeout = DEFAULT")
    return found
