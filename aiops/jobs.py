"""The jobs that no single app can do."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from accounts import retention as accounts_retention
from accounts.system_config import Config
from aiops.lib import jobs
from assistant import retention as assistant_retention
from audit.log import record
from incidents import retention as incidents_retention


@jobs.periodic("aiops.clean_up", cron="17 * * * *")
def clean_up() -> None:
    """Delete what the system configuration no longer keeps. Never the audit log, which gets one entry where anything was deleted."""
    config, now = Config.load(), timezone.now()
    deleted = {
        **incidents_retention.delete_old(config, now),
        **assistant_retention.delete_old(config, now),
        **accounts_retention.delete_old(now),
        "jobs": jobs.delete_finished(config.retention_jobs),
    }
    if any(deleted.values()):
        with transaction.atomic():
            record("clean_up", resource_type="data", **{kind: count for kind, count in deleted.items() if count})
