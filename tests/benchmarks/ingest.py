"""Alerts a second through the real server from eight connections, beside the floors."""

from __future__ import annotations

import asyncio

from tests.benchmarks import floors
from tests.benchmarks.console import Console, console, create_database
from tests.benchmarks.load import CONNECTIONS, Result, post, template
from tests.benchmarks.report import Table

ROUNDS = {1: 4000, 20: 600, 500: 40}  # alerts a group → posts


def run() -> list[Table]:
    create_database("bench_ingest", fresh=True)
    with console("bench_ingest") as running:
        table = Table(
            f"Webhook: {CONNECTIONS} connections, one web process",
            ["case", "posts/s", "alerts/s", "p50 ms", "p99 ms", "answers"],
        )
        _send(running, 1, "Warmup", 200, repeat=False)
        for size, posts in ROUNDS.items():
            for repeat in (False, True):
                kind = f"{'Again' if repeat else 'New'}{size}"
                result = _send(running, size, kind, posts, repeat=repeat)
                table.add(*_row(f"{size} a post, {'repeated' if repeat else 'new'}", size, result))
        memory = running.memory()
        return [
            table,
            _floors(running),
            Table("Memory", ["process", "MB"], [["web, after the load above", f"{memory:.0f}"]]),
        ]


def _send(running: Console, size: int, kind: str, posts: int, *, repeat: bool) -> Result:
    body = template(size, kind)
    if repeat:
        asyncio.run(post(running.port, "/webhook/alerts", running.token, body, CONNECTIONS, repeat=True))
    return asyncio.run(post(running.port, "/webhook/alerts", running.token, body, posts, repeat=repeat))


def _row(name: str, size: int, result: Result) -> list[str]:
    answers = ", ".join(f"{count} × {status}" for status, count in sorted(result.statuses.items()))
    p50, p99 = result.percentile(50), result.percentile(99)
    return [name, f"{result.rate:,.0f}", f"{result.rate * size:,.0f}", f"{p50:.1f}", f"{p99:.1f}", answers]


def _floors(running: Console) -> Table:
    table = Table("Floors of the same run", ["floor", "posts/s", "alerts/s"])
    bulk = floors.bare_upsert(running, template(20, "Floor"), 400)
    table.add("PostgreSQL alone: bulk upsert of 20, one connection", f"{bulk / 20:,.0f}", f"{bulk:,.0f}")
    with floors.bare_asgi(running) as port:
        for size, posts in ((1, 4000), (20, 600)):
            asyncio.run(post(port, "/", "", template(size, "Warm"), 100, repeat=False))
            result = asyncio.run(post(port, "/", "", template(size, f"Bare{size}"), posts, repeat=False))
            table.add(
                f"bare ASGI callable on daphne, same insert, {size} a post",
                f"{result.rate:,.0f}",
                f"{result.rate * size:,.0f}",
            )
    return table
