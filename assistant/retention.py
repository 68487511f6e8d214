"""What of analyses is too old to keep."""

from __future__ import annotations

import datetime as dt

from accounts.system_config import Config
from aiops.lib.batches import delete_in_batches
from assistant.models import Analysis


def delete_old(config: Config, now: dt.datetime) -> dict[str, int]:
    """Delete finished analyses, with their evidence, whose alerts are all gone. Returns the count."""
    if not config.retention_alerts:
        return {"analyses": 0}
    before = now - dt.timedelta(days=config.retention_alerts)
    open_states = (Analysis.State.QUEUED, Analysis.State.RUNNING)
    orphans = Analysis.objects.filter(created_at__lt=before, alerts__isnull=True).exclude(state__in=open_states)
    return {"analyses": delete_in_batches(orphans)}
