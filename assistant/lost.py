"""What jobs left behind that ended where none should: analyses that nobody carries on, alerts that nobody will claim."""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.utils import timezone

from accounts.system_config import Config
from aiops.lib import jobs
from aiops.lib.job_tables import alive, queue_status
from assistant import outcomes
from assistant.claims import OPEN, Run
from assistant.models import Analysis
from assistant.outcomes import Usage
from incidents.models import Alert

GONE = "Its background job is gone. “Analyse now” starts another."
SETTLED = timedelta(minutes=5)  # younger ones may have a job that is just being taken
MOST = 500

logger = structlog.stdlib.get_logger(__name__)


def end_analyses() -> int:
    """Fail the open analyses whose job neither waits nor runs. Returns how many there were."""
    opened = Analysis.objects.filter(state__in=OPEN, created_at__lt=timezone.now() - SETTLED, job_id__isnull=False)
    found = dict(opened.values_list("job_id", "pk")[:MOST])
    gone = set(found) - alive([job_id for job_id in found if job_id is not None])
    config = Config.load()
    for analysis in Analysis.objects.filter(pk__in=[found[job_id] for job_id in gone if job_id is not None]):
        logger.warning("an analysis lost its job", analysis=str(analysis.pk), job_id=analysis.job_id)
        outcomes.failed(Run(analysis.pk, analysis.attempt, config), GONE, Usage())
    return len(gone)


def restart_groups() -> int:
    """Ask again for the groups whose alerts are queued though no job waits. Returns how many there were."""
    if queue_status().waiting:
        return 0
    queued = Alert.objects.filter(analysis_state=Alert.AnalysisState.QUEUED, timestamp__lt=timezone.now() - SETTLED)
    left = queued.exclude(pk__in=Alert.objects.filter(analyses__state__in=OPEN).values("pk")).order_by("timestamp")
    groups = {(alert.source_id, alert.group_hash): alert for alert in left.only("source_id", "group_hash")[:MOST]}
    for alert in groups.values():
        logger.warning("queued alerts had no job", alert=str(alert.pk))
    jobs.defer_many(
        "assistant.analyze_group",
        (
            {"source_id": str(source_id), "group_hash": group_hash, "alert_id": str(alert.pk), "trigger": "rule", "user_id": None}
            for (source_id, group_hash), alert in groups.items()
        ),
    )  # fmt: skip
    return len(groups)
