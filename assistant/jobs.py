"""The assistant's background jobs."""

from __future__ import annotations

import uuid

from aiops.lib import jobs
from assistant import analysis, lost, providers
from assistant.claims import Ask


@jobs.job("assistant.analyze_group")
async def analyze_group(
    source_id: str, group_hash: str, alert_id: str, trigger: str = "rule", user_id: str | None = None
) -> None:
    """Analyse what is queued of one group. `trigger` is "rule", or "person" with the `user_id` who asked for `alert_id`."""
    job = jobs.current()
    await analysis.run(
        Ask(
            source_id=uuid.UUID(source_id),
            group_hash=group_hash,
            alert_id=uuid.UUID(alert_id),
            trigger=trigger,
            user_id=uuid.UUID(user_id) if user_id else None,
            job_id=job.id if job else None,
        )
    )


@jobs.job("assistant.test_provider")
async def test_provider(provider_id: str) -> None:
    """Find out whether the provider's model answers."""
    await providers.run_test(uuid.UUID(provider_id))


@jobs.periodic("assistant.find_lost", "*/5 * * * *")
def find_lost() -> None:
    """End or restart what was left behind by jobs that are gone."""
    lost.end_analyses()
    lost.restart_groups()
