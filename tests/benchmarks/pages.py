"""The list page with a million alerts, through the real server, as a person who is logged in."""

from __future__ import annotations

import http.client
import re
import time
from urllib.parse import urlencode

from tests.benchmarks.console import Console, console, create_database, manage
from tests.benchmarks.load import Result
from tests.benchmarks.report import Table
from tests.benchmarks.seed import seed

REQUESTS = 60
SESSION = """
from django.contrib.auth import get_user_model, HASH_SESSION_KEY, SESSION_KEY, BACKEND_SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
users = get_user_model().objects
user = users.filter(username="bench").first() or users.create_user("bench", "bench@example.org", "benchmark password")
session = SessionStore()
session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
session[BACKEND_SESSION_KEY] = "accounts.backends.RoleBackend"
session.save()
print(session.session_key)
"""


def run(rows: int = 1_000_000) -> list[Table]:
    create_database("bench_pages", fresh=False)
    with console("bench_pages") as running:
        with running.connect() as connection:
            seed(connection, rows)
            floor = Result(latencies=[_timed(connection) for _ in range(REQUESTS)])
        cookie = manage("bench_pages", running.port, "shell", "-v0", "-c", SESSION).strip().splitlines()[-1]
        browser = _Browser(running, cookie)
        table = Table(f"Alert list with {rows:,} alerts, a fifth open", ["view", "p50 ms", "p95 ms", "KB"])
        for name, query in _views(browser).items():
            result, size = browser.measure("/alerts/?" + query)
            table.add(name, f"{result.percentile(50):.1f}", f"{result.percentile(95):.1f}", f"{size / 1024:.0f}")
        table.add(
            "PostgreSQL alone: newest 50 of the table", f"{floor.percentile(50):.1f}", f"{floor.percentile(95):.1f}", ""
        )
        return [table]


def _timed(connection) -> float:  # noqa: ANN001
    started = time.perf_counter()
    connection.execute('SELECT * FROM alerts ORDER BY "timestamp" DESC, id DESC LIMIT 50').fetchall()
    return time.perf_counter() - started


def _views(browser: _Browser) -> dict[str, str]:
    deep, query = "", ""
    for _ in range(20):
        page = browser.get("/alerts/?" + query)
        found = re.search(
            rb'href="[^"]*\?([^"]*cursor=[^"]*)"[^>]*rel="next"|rel="next"[^>]*href="[^"]*\?([^"]*)"', page
        )
        if not found:
            break
        query = deep = (found[1] or found[2]).decode().replace("&amp;", "&")
    return {
        "open alerts, first page": "",
        "page 21 by its cursor": deep,
        "severity critical": urlencode({"severity": "critical"}),
        "one alert name": urlencode({"alert_name": "DiskFull"}),
        "one instance": urlencode({"instance": "host-42:9100"}),
        "text search": urlencode({"q": "host-1234"}),
        "resolved": urlencode({"status": "resolved"}),
    }


class _Browser:
    def __init__(self, running: Console, cookie: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        self.headers = {"Cookie": f"aiops_session={cookie}"}

    def get(self, path: str) -> bytes:
        self.connection.request("GET", path, headers=self.headers)
        response = self.connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise SystemExit(f"{path} answered {response.status}")
        return body

    def measure(self, path: str) -> tuple[Result, int]:
        size = len(self.get(path))
        result = Result()
        for _ in range(REQUESTS):
            started = time.perf_counter()
            self.get(path)
            result.latencies.append(time.perf_counter() - started)
        return result, size
