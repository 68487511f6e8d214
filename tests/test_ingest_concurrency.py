"""Many senders at once, a database that is slow, restarts or is gone: through the webhook's own threads."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection

from incidents.models import Alert, AlertEvent
from incidents.webhook import Webhook
from tests import factories
from tests.webhook_client import Response, Sender, alert, notification

pytestmark = pytest.mark.django_db(transaction=True)


class Busy:
    """A sender whose posts run in the webhook's threads, on an event loop, many at once."""

    def __init__(self) -> None:
        self.sender = Sender()
        self.sender.application = Webhook()

    def post(self, *bodies: dict[str, Any]) -> list[Response]:
        async def all_at_once() -> list[Response]:
            return await asyncio.gather(*(self._post(body) for body in bodies))

        return asyncio.run(all_at_once())

    async def _post(self, body: dict[str, Any]) -> Response:
        scope = {
            "type": "http", "method": "POST", "path": "/webhook/alerts", "client": ("192.0.2.7", 1),
            "headers": [(b"authorization", f"Bearer {self.sender.token}".encode())],
        }  # fmt: skip
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(body).encode()}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.sender.application(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Response(sent[0]["status"], headers, sent[1]["body"])


@pytest.fixture
def busy() -> Busy:
    return Busy()


@contextmanager
def another_session() -> Iterator[psycopg.Connection]:
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None, "context": None}) as other:
        yield other


@contextmanager
def watching_session() -> Iterator[psycopg.Connection]:
    """A session without a transaction: within one, pg_stat_activity stays as it was when first read."""
    with another_session() as other:
        other.autocommit = True
        yield other


def statuses(responses: list[Response]) -> set[int]:
    return {response.status for response in responses}


def test_eight_senders_of_the_same_batch_leave_one_row_an_episode(busy: Busy) -> None:
    factories.rule(action="auto_analyze")
    batch = notification(*(alert(fingerprint=f"{number}") for number in range(20)))
    assert statuses(busy.post(*[batch] * 24)) == {200}
    assert Alert.objects.count() == 20
    assert set(Alert.objects.values_list("occurrences", flat=True)) == {24}
    assert AlertEvent.objects.count() == 20


def test_eight_senders_of_overlapping_batches_in_any_order_leave_one_open_row_a_series(busy: Busy) -> None:
    bodies = []
    for number in range(40):
        series = [f"{(number * 7 + step * (1 if number % 2 else -1)) % 30}" for step in range(15)]
        status = "resolved" if number % 3 == 0 else "firing"
        bodies.append(notification(*(alert(status, fingerprint=each) for each in series)))
    assert statuses(busy.post(*bodies)) == {200}
    assert Alert.objects.count() == 30


def test_batches_of_many_and_of_few_alerts_take_turns(busy: Busy) -> None:
    many = notification(*(alert(fingerprint=f"{number}") for number in range(400)))
    few = [
        notification(*(alert(fingerprint=f"{number + start}") for number in range(10))) for start in range(0, 60, 10)
    ]
    assert statuses(busy.post(many, *few, many, *few)) == {200}
    assert Alert.objects.count() == 400
    assert set(Alert.objects.values_list("occurrences", flat=True)) == {2, 4}


def test_five_thousand_alerts_of_ten_megabytes_are_one_200(busy: Busy) -> None:
    text = {"summary": "x" * 1800}
    body = notification(*(alert(fingerprint=f"{number}", annotations=text) for number in range(5000)))
    assert len(json.dumps(body)) > 10_000_000
    (response,) = busy.post(body)
    assert (response.status, response.json()["received"]) == (200, 5000)
    assert Alert.objects.count() == 5000


def test_a_database_that_does_not_answer_is_a_503_within_two_seconds_and_stores_nothing(busy: Busy) -> None:
    busy.post(notification())  # the token is known
    with another_session() as other:
        other.execute("LOCK TABLE alerts IN ACCESS EXCLUSIVE MODE")
        started = time.monotonic()
        responses = busy.post(*[notification(alert(fingerprint=f"{number}")) for number in range(6)])
        assert time.monotonic() - started < 2.5
    assert statuses(responses) == {503}
    assert {response.headers["retry-after"] for response in responses} == {"5"}
    assert not Alert.objects.exists()
    assert statuses(busy.post(notification(alert()))) == {200}
    assert Alert.objects.count() == 1


def test_a_connection_that_breaks_in_the_middle_is_replaced_and_the_batch_stored_once(busy: Busy) -> None:
    busy.post(notification())
    with another_session() as other, ThreadPoolExecutor(1) as pool:
        other.execute("LOCK TABLE alerts IN SHARE MODE")
        waiting = pool.submit(busy.post, notification(alert()))
        with watching_session() as admin:
            _terminate_the_waiting(admin)
        other.commit()
        assert statuses(waiting.result()) == {200}
    assert Alert.objects.get().occurrences == 1


def _terminate_the_waiting(admin: psycopg.Connection) -> None:
    deadline = time.monotonic() + 5
    query = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO alerts%'"""
    while not admin.execute(query).fetchall():
        assert time.monotonic() < deadline, "no statement ever waited"
        time.sleep(0.01)


def test_after_a_restart_of_the_database_it_recovers_and_counts_only_what_it_answered_200(busy: Busy) -> None:
    busy.post(notification())
    pool = connection.pool  # type: ignore[attr-defined]
    for idle in [pool.getconn() for _ in range(8)]:
        pool.putconn(idle)
    with another_session() as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    connection.close()
    answers = [status for _ in range(4) for status in statuses(busy.post(notification(alert())))]
    assert answers[1:] == [200, 200, 200], "one wave at most is told to send again"
    assert Alert.objects.get().occurrences == answers.count(200)


def test_the_number_of_connections_stays_flat(busy: Busy) -> None:
    for _ in range(5):
        busy.post(*[notification(alert(fingerprint=f"{number}")) for number in range(16)])
    with watching_session() as admin:
        row = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()").fetchone()
    assert row is not None
    assert row[0] <= 18  # the pool's sixteen, this one, and the test's own
    assert len([thread for thread in threading.enumerate() if thread.name.startswith("webhook_")]) <= 8
