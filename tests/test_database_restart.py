"""PostgreSQL restarted under load: whoever was answered 200 is in the database, everybody else is told to send again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from aiops.lib import postgres_programs
from aiops.lib.postgres import Embedded
from tests.live import PATIENCE, ROOT, Console, running, wait_until
from tests.webhook_client import alert, notification

pytestmark = pytest.mark.kill
SENDERS, PAUSE = 10, 0.2  # 50 posts a second
RECOVERY = 5.0  # seconds


@dataclass(frozen=True)
class Post:
    name: str
    at: float  # time.monotonic() when it was sent
    status: int


class Storm:
    """Senders that post one alert after another, each with a name of its own, until they are told to stop."""

    def __init__(self, console: Console, token: str) -> None:
        self.posts: list[Post] = []
        self._console, self._token = console, token
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]

    def __enter__(self) -> Storm:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, sender: int) -> None:
        count = 0
        while not self._stop.wait(PAUSE):
            self.posts.append(self.post(f"series-{sender}-{count}"))
            count += 1

    def post(self, name: str) -> Post:
        at = time.monotonic()
        body = notification(alert(labels={"instance": name}, fingerprint=name))
        answer = self._console.post(
            "/webhook/alerts", json.dumps(body).encode(), {"Authorization": f"Bearer {self._token}"}
        )
        return Post(name, at, answer.status)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Embedded]:
    """A PostgreSQL of the test's own, which survives what is done to it as the product's does."""
    server = Embedded.for_data_dir(tmp_path / "database")
    server.start()
    yield server
    server.stop()
    if server.home.is_relative_to(postgres_programs.ROOT_HOMES):
        shutil.rmtree(server.home.parent)


@pytest.fixture
def console(database: Embedded, tmp_path: Path, collected_static: Path) -> Iterator[Console]:
    with running(tmp_path / "data", collected_static) as started:
        manage(started, database, "migrate", "--verbosity", "0")
        started.start_server(DATABASE_URL=database.url())
        started.start_worker("--stalled-after", "4", DATABASE_URL=database.url())
        yield started


def manage(console: Console, database: Embedded, *arguments: str) -> str:
    environment = console.environment() | {"DATABASE_URL": database.url()}
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def restart_immediately(database: Embedded) -> None:
    """As when the machine loses PostgreSQL: no shutdown, then crash recovery."""
    pid = int((database.data / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)
    wait_until(lambda: not database.running(), "the server to be gone")
    database.start()


def test_every_200_is_a_row_and_the_rest_is_told_to_send_again(console: Console, database: Embedded) -> None:
    token = manage(console, database, "create_source", "storm").split()[-1]
    with Storm(console, token) as storm:
        time.sleep(3)
        restart_immediately(database)
        back = time.monotonic()
        time.sleep(RECOVERY + 3)
    by_status: dict[int, list[Post]] = {200: [], 503: []}  # a short restart may be over before a post gave up
    for post in storm.posts:
        by_status.setdefault(post.status, []).append(post)
    assert set(by_status) == {200, 503}, {status: len(posts) for status, posts in by_status.items()}
    assert not [post for post in by_status[503] if post.at > back + RECOVERY]
    stored = series(database)
    assert len(stored) == len(set(stored))
    assert {post.name for post in by_status[200]} <= set(stored)

    again = [storm.post(post.name).status for post in by_status[503]]
    assert set(again) <= {200}
    assert sorted(series(database)) == sorted(post.name for post in storm.posts)
    wait_until(lambda: console.get("/readyz").status == 200, "readiness", console.log, seconds=PATIENCE)


def series(database: Embedded) -> list[str]:
    """The instances of all stored alerts."""
    with psycopg.connect(**database.parameters()) as connection:  # type: ignore[arg-type]
        return [row[0] for row in connection.execute("SELECT instance FROM alerts")]
