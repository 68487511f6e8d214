from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from aiops.lib.jobs import in_thread
from aiops.lib.text import clamp
from aiops.lib.times import precise
from assistant.evidence.base import Item, Subject
from incidents.models import Alert, AlertEvent

EPISODES, NOTES, NOTE_LENGTH = 10, 10, 500


class History:
    """Earlier episodes of the same series: when, how long, and what people noted then."""

    name = "history"
    title = "Its own history"

    async def collect(self, subject: Subject, deadline: float) -> list[Item]:
        return [await in_thread(_look, subject.first)]


def _look(alert: Alert) -> Item:
    earlier = Alert.objects.filter(source_id=alert.source_id, fingerprint=alert.fingerprint).exclude(pk=alert.pk)
    query = f"other episodes of the series {alert.fingerprint}, and the notes on this one"
    month = earlier.filter(starts_at__gte=timezone.now() - timedelta(days=30)).count()
    count = earlier.count()
    shown = list(earlier.order_by("-starts_at")[:EPISODES])
    notes = _notes([alert, *shown])
    lines = [f"{count} other episodes, {month} of them started in the last 30 days."] if count else []
    for episode in shown:
        lines += [_episode(episode), *notes.get(episode.pk, [])]
    if own := notes.get(alert.pk):
        lines += ["Notes on this episode:", *own]
    text = "\n".join(lines) or "It never fired before, and nobody noted anything on it."
    return Item("history", f"Its own history: {count} other episodes", query, text, count > EPISODES)


def _episode(alert: Alert) -> str:
    length = f"for {precise(alert.ends_at - alert.starts_at)}" if alert.ends_at else "end unknown"
    seen = f", acknowledged {alert.acknowledged_at:%Y-%m-%d %H:%M}" if alert.acknowledged_at else ""
    return f"- {alert.starts_at:%Y-%m-%d %H:%M:%S} {alert.severity}, {length}{seen}"


def _notes(alerts: list[Alert]) -> dict[object, list[str]]:
    """The newest notes, by the alert's key, as lines."""
    events = AlertEvent.objects.filter(alert__in=alerts, kind=AlertEvent.Kind.NOTE).select_related("user")
    lines: dict[object, list[str]] = {}
    for event in events.order_by("-at")[:NOTES]:
        who = event.user.username if event.user else "somebody"
        note = clamp(" ".join(event.text.split()), NOTE_LENGTH)
        lines.setdefault(event.alert_id, []).append(f"  note by {who}, {event.at:%Y-%m-%d %H:%M}: {note}")
    return lines
