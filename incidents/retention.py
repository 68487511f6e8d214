"""What of alerts is too old to keep."""

from __future__ import annotations

import datetime as dt

from accounts.system_config import Config
from aiops.lib.batches import delete_in_batches
from incidents.models import Alert, QuarantinedAlert


def delete_old(config: Config, now: dt.datetime) -> dict[str, int]:
    """Delete resolved alerts with their history, and quarantined input, as configured. Returns the counts by kind.

    The age is counted from when we last heard of an alert: a sender's clock must not delete what has just ended.
    """
    deleted = {"alerts": 0, "quarantined": 0}
    if config.retention_alerts:
        before = now - dt.timedelta(days=config.retention_alerts)
        # `timestamp` can only be earlier than `last_seen_at`, and has an index.
        old = Alert.objects.filter(status=Alert.Status.RESOLVED, timestamp__lt=before, last_seen_at__lt=before)
        deleted["alerts"] = delete_in_batches(old.order_by("timestamp"))
    if config.retention_quarantine:
        before = now - dt.timedelta(days=config.retention_quarantine)
        deleted["quarantined"] = delete_in_batches(QuarantinedAlert.objects.filter(received_at__lt=before))
    return deleted
