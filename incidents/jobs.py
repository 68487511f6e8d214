"""The incidents' periodic jobs."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Count, F, Max
from django.utils import timezone

from aiops.lib import jobs
from incidents import heartbeats, ingest_sql
from incidents.models import Rule

MOST = 5_000  # alerts marked in one statement
SETTLED = timedelta(minutes=1)  # by then the transactions of older alerts have committed


@jobs.periodic("incidents.mark_unconfirmed", "* * * * *")
def mark_unconfirmed() -> None:
    """Mark open alerts that were not repeated for twice their longest interval: their end may have been lost."""
    while ingest_sql.mark_unconfirmed(timezone.now(), heartbeats.USUAL_REPEAT, MOST) == MOST:
        continue


@jobs.periodic("incidents.watch_heartbeats", "* * * * *")
def watch_heartbeats() -> None:
    """Note which sources fell silent: a watchdog that stops is the alarm."""
    heartbeats.watch(timezone.now())


@jobs.periodic("incidents.count_hits", "* * * * *")
def count_hits() -> None:
    """Add to each rule's counter the alerts it decided about since the last count; ingest itself never writes to a rule."""
    settled = timezone.now() - SETTLED
    for rule in Rule.objects.all():
        since = rule.alerts.filter(timestamp__lte=settled)
        if rule.last_hit_at:
            since = since.filter(timestamp__gt=rule.last_hit_at)
        new = since.aggregate(count=Count("pk"), last=Max("timestamp"))
        if new["count"]:
            # Not `save`: a new `updated_at` would have every process compile the rules again.
            counted = Rule.objects.filter(pk=rule.pk, last_hit_at=rule.last_hit_at)
            counted.update(hits=F("hits") + new["count"], last_hit_at=new["last"])
