from __future__ import annotations

from django.db.models import QuerySet

from aiops.lib.jobs import in_thread
from assistant.evidence.base import Item, Subject
from assistant.evidence.lines import alert_line, how_many
from incidents.models import Alert

MOST = 20


class Neighbours:
    """What else fires now on the same instance or in the same job, outside of the group."""

    name = "neighbours"
    title = "What else fires now"

    async def collect(self, subject: Subject, deadline: float) -> list[Item]:
        return [await in_thread(_look, subject.first)]


def _look(alert: Alert) -> Item:
    firing = Alert.objects.shown().firing().exclude(pk=alert.pk)
    if alert.group_hash:
        firing = firing.exclude(source_id=alert.source_id, group_hash=alert.group_hash)
    places: list[tuple[str, QuerySet[Alert]]] = []
    if alert.instance:
        places.append((f"On the instance {alert.instance}", firing.filter(instance=alert.instance)))
    if alert.job:
        places.append((f"In the job {alert.job}", firing.filter(job=alert.job).exclude(instance=alert.instance)))
    lines, total, truncated = [f"{firing.count()} other alerts fire outside of the group."], 0, False
    for what, alerts in places:
        count = alerts.count()
        lines.append(f"{what}: {how_many(count, MOST) if count else 'none.'}")
        lines += map(alert_line, alerts.order_by("severity_rank", "-starts_at", "pk")[:MOST])
        total, truncated = total + count, truncated or count > MOST
    query = f"firing alerts with instance “{alert.instance}” or job “{alert.job}”, outside of the group"
    return Item("neighbours", f"What else fires now: {total} nearby", query, "\n".join(lines), truncated)
