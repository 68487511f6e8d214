"""procrastinate's tables in SQL, for what its own functions do not do. `aiops.lib.jobs` is the one that uses them.

They are those of procrastinate 3.10; its migrations come with Django's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.db import connection

from aiops.lib.batches import MOST, SIZE

# One statement, so that two workers never revive the same job twice. A job that nobody's worker holds is as dead as its worker.
REVIVE = """
WITH dead AS (
    SELECT job.id, job.task_name, job.attempts
      FROM procrastinate_jobs job
      LEFT JOIN procrastinate_workers worker ON worker.id = job.worker_id
     WHERE job.status = 'doing'
       AND (worker.id IS NULL OR worker.last_heartbeat < now() - make_interval(secs => %(stalled_after)s))
       FOR UPDATE OF job SKIP LOCKED
)
SELECT id, task_name, attempts + 1 AS attempts,
       CASE WHEN attempts + 1 < %(max_attempts)s
            THEN procrastinate_retry_job_v2(id, now(), NULL, NULL, NULL)::text
            ELSE procrastinate_finish_job_v1(id, 'failed', false)::text
       END
  FROM dead
"""

_STATUS = """
WITH due AS (
    SELECT id, scheduled_at FROM procrastinate_jobs
     WHERE status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now())
), oldest AS (
    SELECT coalesce(scheduled_at, (SELECT max(at) FROM procrastinate_events WHERE job_id = due.id)) AS since
      FROM due ORDER BY id LIMIT 1
)
SELECT (SELECT count(*) FROM due),
       (SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'),
       (SELECT extract(epoch FROM clock_timestamp() - since) FROM oldest),
       (SELECT extract(epoch FROM clock_timestamp() - max(last_heartbeat)) FROM procrastinate_workers)
"""

_DELETE_FINISHED = """
DELETE FROM procrastinate_jobs WHERE id IN (
    SELECT job.id FROM procrastinate_jobs job
     WHERE job.status IN ('succeeded', 'failed', 'cancelled', 'aborted')
       AND NOT EXISTS (SELECT FROM procrastinate_events event
                        WHERE event.job_id = job.id AND event.at > now() - make_interval(days => %s))
     LIMIT %s
)
"""


@dataclass(frozen=True)
class QueueStatus:
    """What waits and who works. Ages are in seconds; None where nothing waits, or no worker is registered."""

    waiting: int
    running: int
    oldest_age: float | None
    worker_age: float | None


def queue_status() -> QueueStatus:
    """How much waits (due, not scheduled for later), how long the first of it has, and when a worker was last heard of."""
    with connection.cursor() as cursor:
        cursor.execute(_STATUS)
        waiting, running, oldest, worker = cursor.fetchone()
    return QueueStatus(waiting, running, *(None if age is None else max(0.0, float(age)) for age in (oldest, worker)))


def alive(ids: Collection[int]) -> set[int]:
    """Which of these jobs wait, for whenever, or run."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM procrastinate_jobs WHERE id = ANY(%s) AND status IN ('todo', 'doing')", [list(ids)]
        )
        return {row[0] for row in cursor.fetchall()}


def delete_finished(days: int) -> int:
    """Delete the jobs that ended more than `days` ago, a few at a time. Returns how many there were."""
    total = 0
    for _ in range(MOST):
        with connection.cursor() as cursor:
            cursor.execute(_DELETE_FINISHED, [days, SIZE])
            total += cursor.rowcount
            if cursor.rowcount < SIZE:
                break
    return total
