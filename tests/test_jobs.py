"""Background jobs, run by a real worker process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection, transaction

from aiops.lib import jobs
from audit.models import AuditEntry
from tests.live import Console, wait_until


@pytest.fixture
def traces(transactional_db: None) -> Callable[[str], list[int]]:
    """The attempts at which a test job left the trace of this name, in order."""

    def find(action: str) -> list[int]:
        entries = AuditEntry.objects.filter(action=action).order_by("sequence")
        return [entry.details_json["attempt"] for entry in entries]

    return find


def test_it_runs_what_was_committed_and_nothing_that_was_rolled_back(
    live: Console, traces: Callable[[str], list[int]]
) -> None:
    live.start_worker(test_jobs=True)
    with pytest.raises(KeyError), transaction.atomic():
        jobs.defer("test.write", name="rolled_back")
        raise KeyError
    with transaction.atomic():
        jobs.defer_many("test.write", [{"name": "one"}, {"name": "two"}])
    wait_until(lambda: traces("wrote_one") and traces("wrote_two"), "both jobs", live.log)
    assert traces("wrote_rolled_back") == []
    assert AuditEntry.objects.get(action="wrote_one").username == "system"


def test_a_job_runs_again_when_it_asks_to_and_knows_its_attempt(
    live: Console, traces: Callable[[str], list[int]]
) -> None:
    live.start_worker(test_jobs=True)
    number = jobs.defer("test.again", name="job")
    wait_until(lambda: len(traces("ran_job")) == 3, "three runs", live.log)
    wait_until(lambda: job_state(number) == "succeeded", "the end of the third run", live.log)
    assert traces("ran_job") == [1, 2, 3]


def test_a_failure_is_logged_with_the_jobs_name_and_not_repeated(
    live: Console, traces: Callable[[str], list[int]]
) -> None:
    live.tracebacks_expected = True
    live.start_worker(test_jobs=True)
    number = jobs.defer("test.fail", name="job")
    jobs.defer("test.write", name="after", in_seconds=1)  # a retry would have come before it
    wait_until(lambda: traces("wrote_after"), "the job after", live.log)
    assert traces("failed_job") == [1]
    (line,) = [line for line in live.log("work").splitlines() if "ValueError" in line]
    assert 'event="job failed"' in line
    assert "job=test.fail" in line
    assert f"job_id={number}" in line
    assert job_state(number) == "failed"


def test_an_unknown_job_fails_and_is_named_in_the_log(live: Console) -> None:
    live.tracebacks_expected = True
    live.start_worker()
    number = jobs.defer("test.unknown")
    wait_until(lambda: job_state(number) == "failed", "the failure", live.log)
    assert "test.unknown" in live.log("work")


def test_a_killed_workers_job_starts_again_on_another(live: Console, traces: Callable[[str], list[int]]) -> None:
    live.start_worker("--stalled-after", "2", test_jobs=True)
    numbers = [
        jobs.defer("test.sleep", name="long", seconds=600),
        jobs.defer("test.sleep_async", name="short", seconds=1),
    ]
    wait_until(lambda: traces("began_long") and traces("began_short"), "both to begin", live.log)
    live.kill_worker()
    assert [job_state(number) for number in numbers] == ["doing", "doing"]
    live.start_worker("--stalled-after", "2", "--grace", "0.1", test_jobs=True)
    wait_until(lambda: traces("ended_short"), "the job to end", live.log)
    wait_until(lambda: len(traces("began_long")) == 2, "the other to begin again", live.log)
    assert traces("began_short") == [1, 2]
    assert traces("ended_short") == [2]
    assert traces("began_long") == [1, 2]


def test_a_stop_lets_jobs_end_within_the_grace(live: Console, traces: Callable[[str], list[int]]) -> None:
    live.start_worker("--grace", "20", test_jobs=True)
    jobs.defer("test.sleep", name="plain", seconds=1)
    jobs.defer("test.sleep_async", name="async", seconds=1)
    wait_until(lambda: traces("began_plain") and traces("began_async"), "both to begin", live.log)
    assert live.stop_worker() == 0
    assert traces("ended_plain") == traces("ended_async") == [1]


def test_a_stop_hands_back_what_does_not_end_in_time(live: Console, traces: Callable[[str], list[int]]) -> None:
    live.start_worker("--grace", "0.2", test_jobs=True)
    plain = jobs.defer("test.sleep", name="plain", seconds=600)
    waiting = jobs.defer("test.sleep_async", name="async", seconds=600)
    wait_until(lambda: traces("began_plain") and traces("began_async"), "both to begin", live.log)
    assert live.stop_worker() == 0
    assert job_state(waiting) == "todo"
    live.start_worker("--grace", "0.2", test_jobs=True)  # it takes over what nobody holds, at once
    wait_until(lambda: len(traces("began_plain")) == 2, "the plain job to begin again", live.log)
    assert job_state(plain) == "doing"


def test_a_worker_that_was_taken_for_dead_registers_again(live: Console, traces: Callable[[str], list[int]]) -> None:
    live.start_worker(test_jobs=True)
    with connection.cursor() as cursor:  # what another worker does when this one was frozen for too long
        cursor.execute("DELETE FROM procrastinate_workers")
    jobs.defer("test.write", name="later")
    wait_until(lambda: traces("wrote_later"), "the worker to work again", live.log)
    assert jobs.queue_status().worker_age is not None
    assert "worker starts over" in live.log("work")


def test_the_queue_tells_its_depth_its_age_and_who_works(live: Console) -> None:
    assert jobs.queue_status() == jobs.QueueStatus(0, 0, None, None)
    jobs.defer("test.write", name="now")
    jobs.defer("test.write", name="later", in_seconds=3600)
    status = jobs.queue_status()
    assert (status.waiting, status.running, status.worker_age) == (1, 0, None)
    assert status.oldest_age is not None
    assert 0 <= status.oldest_age < 60
    live.start_worker(test_jobs=True)
    wait_until(lambda: jobs.queue_status().waiting == 0, "the job to run", live.log)
    assert jobs.queue_status().worker_age is not None


def test_a_worker_waits_for_the_database_instead_of_giving_up(
    live: Console, traces: Callable[[str], list[int]]
) -> None:
    live.start_worker("--stalled-after", "4", test_jobs=True)
    jobs.defer("test.sleep_async", name="during", seconds=3)
    wait_until(lambda: traces("began_during"), "a job to begin", live.log)
    cut_connections()
    wait_until(lambda: traces("ended_during"), "the job under way to end", live.log)
    jobs.defer("test.write", name="after")
    wait_until(lambda: traces("wrote_after"), "the job", live.log)
    wait_until(lambda: jobs.queue_status().running == 0, "every end to be written", live.log)
    assert live.log("work").count("Worker ready") == 1


def cut_connections() -> None:
    """What a restart of PostgreSQL does to the worker: all its connections end at once."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def job_state(number: int) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT status FROM procrastinate_jobs WHERE id = %s", [number])
        return cursor.fetchone()[0]
