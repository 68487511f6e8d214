from __future__ import annotations

from aiops.lib.jobs import in_thread
from assistant.evidence.base import Item, Subject
from assistant.evidence.lines import alert_line, how_many
from incidents.models import Alert

MOST = 30


class GroupFacts:
    """What else Alertmanager sent in the same group, and fires."""

    name = "group"
    title = "Its group"

    async def collect(self, subject: Subject, deadline: float) -> list[Item]:
        return [await in_thread(_look, subject)]


def _look(subject: Subject) -> Item:
    alert = subject.first
    query = f"firing alerts of the group {alert.group_key or 'without a key'}, except this one"
    others = (
        Alert.objects.filter(source_id=alert.source_id, group_hash=alert.group_hash, status=Alert.Status.FIRING)
        .exclude(pk=alert.pk)
        .order_by("severity_rank", "starts_at", "pk")
    )
    count = others.count() if alert.group_hash else 0
    if not count:
        return Item("group", "Its group: nothing else fires", query, "No other alert of the group fires.")
    lines = [how_many(count, MOST), *map(alert_line, others[:MOST])]
    if alert.truncated:
        lines.append(f"The sender left {alert.truncated} more alerts of the group out.")
    truncated = count > MOST or alert.truncated > 0
    return Item("group", f"Its group: {count} more", query, "\n".join(lines), truncated)
