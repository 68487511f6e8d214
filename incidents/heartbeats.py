"""Watchdogs: alerts that fire always by design. What matters is when they stop, for then nothing else may arrive either."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from accounts.system_config import Config
from incidents.models import AlertSource

USUAL_REPEAT = 4 * 3600  # seconds: Alertmanager's default, for an alert that was not repeated yet

logger = structlog.stdlib.get_logger(__name__)


def watch(now: datetime) -> None:
    """Note on each source whether its heartbeat is overdue, and since when: `AlertSource.silent_since`."""
    patience = Config.load().watchdog_silence
    for source in AlertSource.objects.filter(last_heartbeat_at__isnull=False):
        heard = source.last_heartbeat_at
        overdue = source.enabled and heard is not None and now - heard > _allowed(source, patience)
        since = heard if overdue else None
        if since == source.silent_since:
            continue
        AlertSource.objects.filter(pk=source.pk).update(silent_since=since)
        if since:
            logger.warning("source fell silent", source=source.name, last_heartbeat=since.isoformat())
        else:
            logger.info("source is heard again", source=source.name)


def _allowed(source: AlertSource, minutes: int) -> timedelta:
    """As system configuration says, but never less than two of the intervals at which the watchdog itself is repeated."""
    last = source.alerts.filter(heartbeat=True).order_by("-timestamp", "-id").first()
    repeat = (last and last.repeat_seconds) or USUAL_REPEAT
    return max(timedelta(minutes=minutes), timedelta(seconds=2 * repeat))
