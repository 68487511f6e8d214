"""What machines ask: is it alive, is it ready, what are its numbers."""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from aiops.lib import jobs
from assistant.models import Analysis
from tests import factories
from tests.live import Console, wait_until


def scraped(text: str) -> dict[str, float]:
    """Every sample by its name, with the labels written behind it."""
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sample.labels.items()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def renamed_database(transactional_db: None) -> Iterator[None]:
    """The database away for new connections, as after a wrong DATABASE_URL; back at the end."""
    at = connection.settings_dict
    name, away = at["NAME"], f"{at['NAME']}_away"
    connection.close()
    connection.close_pool()
    server = {"host": at["HOST"], "port": at["PORT"], "user": at["USER"], "password": at["PASSWORD"]}
    with psycopg.connect(**server, dbname="postgres", autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        admin.execute(f'ALTER DATABASE "{name}" RENAME TO "{away}"')
        yield
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [away])
        admin.execute(f'ALTER DATABASE "{away}" RENAME TO "{name}"')
    connection.close_pool()  # type: ignore[attr-defined] # it would wait a while before it tries again


def test_it_is_alive_without_a_database(client: Client) -> None:
    """No database fixture: pytest-django fails any query."""
    answer = client.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok\n")
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.django_db(transaction=True)
def test_it_is_not_ready_without_a_worker_and_says_what_to_do(client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {
        "ready": False,
        "checks": {
            "database": "ok",
            "migrations": "ok: all applied",
            "worker": "no worker is running: start manage.py work",
        },
    }


def test_it_is_ready_with_a_worker_and_not_once_that_was_silent_for_long(live: Console, client: Client) -> None:
    live.start_worker()
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"]["worker"].startswith("ok: seen ")
    live.kill_worker()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_workers SET last_heartbeat = now() - interval '31 seconds'")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "restart manage.py work" in answer.json()["checks"]["worker"]


def test_it_names_missing_migrations(live: Console) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'axes' RETURNING app, name, applied")
        removed = cursor.fetchall()
    try:
        live.start_server()
        answer = live.get("/readyz")
    finally:
        with connection.cursor() as cursor:
            cursor.executemany("INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, %s)", removed)
    assert answer.status == 503
    assert f"{len(removed)} migrations are not applied" in answer.json()["checks"]["migrations"]


def test_it_answers_in_plain_words_when_the_database_is_gone(renamed_database: None, client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"].startswith("the database does not answer")
    assert answer.json()["checks"]["worker"] == "not checked: the database does not answer"
    assert connection.settings_dict["PASSWORD"] not in answer.content.decode()
    numbers = client.get("/metrics")
    assert numbers.status_code == 200
    assert scraped(numbers.content.decode())["aiops_database_up"] == 0


def test_a_slow_database_does_not_make_it_wait(web: Console) -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE procrastinate_workers, django_migrations IN ACCESS EXCLUSIVE MODE")
        answers = [web.get("/readyz"), web.get("/readyz"), web.get("/readyz")]
        alive = web.get("/healthz")
        cursor.execute("ROLLBACK")
    assert {answer.status for answer in answers} == {503}
    assert "within 2 seconds" in answers[0].json()["checks"]["migrations"]
    assert alive.status == 200
    wait_until(lambda: web.get("/readyz").json()["checks"]["migrations"] == "ok: all applied", "recovery", web.log)


@pytest.mark.django_db(transaction=True)
def test_the_numbers_tell_of_analyses_and_the_queue(client: Client) -> None:
    alert, now = factories.alert(), timezone.now()
    spent = {"tokens_in": 100, "tokens_out": 20, "cost_usd": "0.25", "called_at": now}
    factories.analysis(alert, state=Analysis.State.DONE, ended_at=now + dt.timedelta(seconds=3), **spent)
    factories.analysis(alert, state=Analysis.State.FAILED, ended_at=now + dt.timedelta(seconds=1), **spent)
    factories.analysis(alert, state=Analysis.State.QUEUED)
    jobs.defer("test.write", name="waits")
    answer = client.get("/metrics")
    numbers = scraped(answer.content.decode())
    assert answer["Content-Type"].startswith("text/plain; version=0.0.4")
    assert {name: value for name, value in numbers.items() if name.startswith("aiops_analyses_total")} == {
        "aiops_analyses_total state=queued": 1,
        "aiops_analyses_total state=running": 0,
        "aiops_analyses_total state=done": 1,
        "aiops_analyses_total state=failed": 1,
        "aiops_analyses_total state=skipped": 0,
    }
    assert numbers["aiops_llm_tokens_total direction=in"] == 200
    assert numbers["aiops_llm_tokens_total direction=out"] == 40
    assert numbers["aiops_llm_cost_usd_total"] == 0.5
    assert (numbers["aiops_llm_seconds_count"], numbers["aiops_llm_seconds_sum"]) == (2, 4)
    assert (numbers["aiops_jobs_waiting"], numbers["aiops_worker_up"], numbers["aiops_database_up"]) == (1, 0, 1)
    assert "aiops_webhook_seconds_bucket le=0.05" in numbers
    assert "aiops_alerts_quarantined_total" in numbers


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("203.0.113.9", {}, 401),
        ("203.0.113.9", {"Authorization": "Bearer the-metrics-token"}, 200),
        ("203.0.113.9", {"Authorization": "bearer the-metrics-token"}, 200),
        ("203.0.113.9", {"Authorization": "Bearer wrong"}, 401),
        ("203.0.113.9", {"Authorization": "Bearer the-metrics-tok\u00e9n"}, 401),
        ("203.0.113.9", {"Authorization": "Basic " + base64.b64encode(b"a:the-metrics-token").decode()}, 401),
        ("203.0.113.9", {"X-Forwarded-For": "127.0.0.1"}, 401),
        ("127.0.0.1", {"X-Forwarded-For": "203.0.113.9"}, 401),  # a proxy nobody told us of
    ],
)
@pytest.mark.django_db(transaction=True)
def test_the_numbers_are_for_this_machine_and_who_has_the_token(
    client: Client, settings: Any, address: str, headers: dict[str, str], status: int
) -> None:
    settings.AIOPS_METRICS_TOKEN = "the-metrics-token"
    assert client.get("/metrics", headers=headers, REMOTE_ADDR=address).status_code == status


@pytest.mark.django_db(transaction=True)
def test_without_a_token_an_empty_one_opens_nothing(client: Client) -> None:
    empty = {"Authorization": "Bearer "}
    assert client.get("/metrics", headers=empty, REMOTE_ADDR="203.0.113.9").status_code == 401


@pytest.mark.django_db(transaction=True)
def test_behind_a_trusted_proxy_the_client_counts(client: Client, settings: Any) -> None:
    settings.AIOPS_TRUSTED_PROXIES = 1
    outside = {"X-Forwarded-For": "127.0.0.1, 203.0.113.9"}
    assert client.get("/metrics", headers=outside, REMOTE_ADDR="127.0.0.1").status_code == 401
    assert client.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}, REMOTE_ADDR="10.0.0.1").status_code == 200
