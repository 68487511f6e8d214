"""The floors of the same run: PostgreSQL's own bulk upsert, and a bare ASGI callable doing one insert."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from tests.benchmarks.console import ROOT, Console, free_port
from tests.benchmarks.load import MARK

TABLE = "CREATE TABLE IF NOT EXISTS bench_floor (LIKE alerts INCLUDING ALL)"
UPSERT = """
INSERT INTO bench_floor (id, fingerprint, "timestamp", alert_name, severity, instance, job, status, labels_json,
    annotations_json, raw_alert_json, action_taken, analyzed, source_id, starts_at, last_seen_at, group_key, group_keys,
    group_hash, receiver, generator_url, external_url, severity_rank, truncated, heartbeat, occurrences, reopened, flaps,
    superseded, unconfirmed, analysis_state, analysis_reason)
SELECT row.id, row.fingerprint, now(), row.name, 'warning', row.instance, 'job', 'firing', row.labels, row.annotations,
    row.raw, 'manual', false, %(source)s, now(), now(), 'group', '[]', 'hash', 'aiops', '', '', 2, 0, false, 1, 0, 0, false, false,
    'none', ''
FROM unnest(%(ids)s::uuid[], %(fingerprints)s::text[], %(names)s::text[], %(instances)s::text[], %(labels)s::jsonb[],
    %(annotations)s::jsonb[], %(raws)s::jsonb[]) AS row (id, fingerprint, name, instance, labels, annotations, raw)
ON CONFLICT (source_id, fingerprint) WHERE status = 'firing'
    DO UPDATE SET last_seen_at = excluded.last_seen_at, occurrences = bench_floor.occurrences + 1
"""
SOURCE = uuid.UUID(int=1)


def rows(body: dict[str, Any]) -> dict[str, Any]:
    """The parameters of UPSERT for one notification."""
    alerts = body["alerts"]
    return {
        "source": SOURCE,
        "ids": [uuid.uuid4() for _ in alerts],
        "fingerprints": [alert["labels"]["pod"] for alert in alerts],
        "names": [alert["labels"]["alertname"] for alert in alerts],
        "instances": [alert["labels"]["instance"] for alert in alerts],
        "labels": [json.dumps(alert["labels"]) for alert in alerts],
        "annotations": [json.dumps(alert["annotations"]) for alert in alerts],
        "raws": [json.dumps(alert) for alert in alerts],
    }


def bare_upsert(console: Console, body: str, posts: int) -> float:
    """Alerts a second of one connection that does nothing but the bulk upsert, one commit a group."""
    with console.connect() as connection:
        connection.execute(TABLE)
        prepared = [rows(json.loads(body.replace(MARK, f"{number:08d}"))) for number in range(posts)]
        started = time.perf_counter()
        for parameters in prepared:
            connection.execute(UPSERT, parameters)
        seconds = time.perf_counter() - started
        connection.execute("TRUNCATE bench_floor")
    return sum(len(parameters["ids"]) for parameters in prepared) / seconds


@contextmanager
def bare_asgi(console: Console) -> Iterator[int]:
    """daphne serving `application` below; gives its port."""
    port = free_port()
    with console.connect() as connection:
        connection.execute(TABLE)
    command = [
        sys.executable,
        "-m",
        "daphne",
        "-b",
        "127.0.0.1",
        "-p",
        str(port),
        "-v",
        "0",
        "tests.benchmarks.floors:application",
    ]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "BENCH_DSN": console_dsn(console)})
    try:
        for _ in range(100):
            time.sleep(0.1)
            if _listens(port):
                break
        yield port
    finally:
        process.terminate()
        process.wait(15)


def console_dsn(console: Console) -> str:
    with console.connect() as connection:
        return psycopg.conninfo.make_conninfo(connection.info.dsn, password=connection.info.password)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


_pool: Any = None


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The least that could be called a webhook: read, parse, insert, answer."""
    global _pool
    if scope["type"] != "http":
        return
    if _pool is None:
        _pool = AsyncConnectionPool(
            os.environ["BENCH_DSN"], min_size=8, max_size=8, open=False, kwargs={"autocommit": True}
        )
        await _pool.open()
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    async with _pool.connection() as connection:
        await connection.execute(UPSERT, rows(json.loads(body)))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})
