"""Time from the commit that asks for a job to the job's start on an idle worker, as PostgreSQL's clock saw both."""

from __future__ import annotations

import json
import time
import uuid

from tests.benchmarks.console import console, create_database
from tests.benchmarks.load import Result
from tests.benchmarks.report import Table

JOBS = 300
STARTED = """
SELECT extract(epoch FROM started.at - deferred.at)
FROM procrastinate_events deferred JOIN procrastinate_events started USING (job_id)
WHERE deferred.type = 'deferred' AND started.type = 'started' AND job_id = ANY(%s)
"""


def run() -> list[Table]:
    create_database("bench_work", fresh=True)
    with console("bench_work", worker=True) as running, running.connect() as connection:
        time.sleep(3)  # the worker imports its jobs and listens
        ids = []
        for _ in range(JOBS):
            # A job with nothing to do: no alert of that group waits.
            arguments = {
                "source_id": str(uuid.uuid4()),
                "group_hash": "0" * 64,
                "alert_id": str(uuid.uuid4()),
                "trigger": "rule",
                "user_id": None,
            }
            row = connection.execute(
                "SELECT unnest(procrastinate_defer_jobs_v1(ARRAY[ROW('default', 'assistant.analyze_group', 0, NULL, NULL, %s, NULL)"
                "::procrastinate_job_to_defer_v1]))",
                [json.dumps(arguments)],
            ).fetchone()
            ids.append(row[0])  # type: ignore[index]
            time.sleep(0.02)
        time.sleep(2)
        seconds = [float(row[0]) for row in connection.execute(STARTED, [ids]).fetchall()]
    result = Result(latencies=seconds)
    table = Table("Jobs: from commit to start, idle worker", ["jobs", "started", "p50 ms", "p95 ms", "p99 ms"])
    cells = [f"{result.percentile(percent):.1f}" for percent in (50, 95, 99)]
    table.add(str(JOBS), str(len(seconds)), *cells)
    return [table]
