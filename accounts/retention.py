"""What of sessions and login attempts is too old to keep."""

from __future__ import annotations

import datetime as dt

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib.sessions.models import Session

from aiops.lib.batches import delete_in_batches

LOGIN_ATTEMPTS = dt.timedelta(days=30)  # the audit log keeps who logged in and who tried


def delete_old(now: dt.datetime) -> dict[str, int]:
    """Delete sessions that are over, and the counters and logs of old login attempts. Returns the counts by kind."""
    before = now - LOGIN_ATTEMPTS
    return {
        "sessions": delete_in_batches(Session.objects.filter(expire_date__lt=now)),
        "login_attempts": sum(
            delete_in_batches(model._default_manager.filter(attempt_time__lt=before))
            for model in (AccessAttempt, AccessFailureLog, AccessLog)
        ),
    }
