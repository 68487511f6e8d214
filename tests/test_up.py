"""`manage.py up`: a newcomer's start, the second one, and the end. The real command on a database of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import pytest_django
from django.db import connection

from tests.live import PATIENCE, ROOT, Console, database_url, wait_until


class Up:
    """One `manage.py up` after another, on an empty database."""

    def __init__(self, console: Console, database: str) -> None:
        self.console = console
        url = urlsplit(database_url())
        self.database_url = url._replace(path=url.path.rpartition("/")[0] + f"/{database}").geturl()
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        log = self.console.folder / f"up-{len(self.processes)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "up", *arguments],
                cwd=ROOT,
                env=self.console.environment() | {"DATABASE_URL": self.database_url},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def log(self, number: int = -1) -> str:
        number = range(len(self.processes))[number]
        return (self.console.folder / f"up-{number}.log").read_text(encoding="utf-8", errors="replace")

    def wait_for(self, text: str) -> None:
        def there() -> bool:
            return text in self.log() or self.processes[-1].poll() is not None

        wait_until(there, f"“{text}”", self.log, seconds=3 * PATIENCE)
        assert text in self.log(), self.log()

    def rows(self, query: str) -> list[tuple[object, ...]]:
        at = connection.settings_dict
        server = {"host": at["HOST"], "port": at["PORT"], "user": at["USER"], "password": at["PASSWORD"]}
        with psycopg.connect(**server, dbname=self.database_url.rpartition("/")[2]) as reading:
            return reading.execute(query).fetchall()


@pytest.fixture(scope="module")
def database(django_db_setup: None, django_db_blocker: pytest_django.DjangoDbBlocker) -> Iterator[str]:
    """A database beside the test's own. The first start of the module prepares it; the later ones are quicker."""
    name = f"{connection.settings_dict['NAME']}_up"
    with django_db_blocker.unblock():
        _run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        _run(f'CREATE DATABASE "{name}"')
    yield name
    with django_db_blocker.unblock():
        _run(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def up(live: Console, database: str) -> Iterator[Up]:
    started = Up(live, database)
    yield started
    for process in started.processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
    sys.stdout.write("".join(started.log(number) for number in range(len(started.processes))))


@pytest.fixture
def first_up(up: Up, database: str) -> Up:
    """Before anything is there."""
    _run(f'DROP DATABASE "{database}" WITH (FORCE)')
    _run(f'CREATE DATABASE "{database}"')
    return up


def _run(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def children_of(pid: int) -> dict[str, int]:
    """The running programs that `up` started, by their command's name."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                words = (folder / "cmdline").read_bytes().decode().split("\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == pid and len(words) > 2:
                found[words[2]] = int(folder.name)
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def test_a_first_start_prepares_everything_and_a_second_one_finds_it(first_up: Up) -> None:
    up = first_up
    first = up.start()
    up.wait_for("Worker ready")
    log = up.log()
    password = re.search(r"First admin: admin, one-time password (\S+) ", log)
    token = re.search(r"credentials: (\S+)", log)
    assert password
    assert token
    assert f"url: {up.console.url}/webhook/alerts" in log
    assert f"Open {up.console.url}/" in log
    assert up.console.get("/login/").status == 200
    assert up.console.get("/readyz").status == 200
    sent = up.console.post("/webhook/alerts", b"[]", {"Authorization": f"Bearer {token[1]}"})
    assert sent.status != 401
    assert up.rows("SELECT username, role, must_change_password, is_active FROM users") == [
        ("admin", "admin", True, True)
    ]
    assert up.rows("SELECT action, username FROM audit_log ORDER BY sequence")[:2] == [
        ("create_user", "system"),
        ("create_source", "system"),
    ]
    first.send_signal(signal.SIGINT)
    assert first.wait(PATIENCE) == 0
    assert "Traceback" not in up.log()

    up.start()
    up.wait_for("Worker ready")
    assert "password" not in up.log()
    assert "credentials" not in up.log()
    assert "migrations" not in up.log()
    assert "static" not in up.log()
    assert up.rows("SELECT count(*) FROM users") == [(1,)]
    assert up.rows("SELECT count(*) FROM alert_sources") == [(1,)]


def test_it_restarts_what_dies_and_leaves_nobody_behind(up: Up) -> None:
    parent = up.start()
    up.wait_for("Worker ready")
    before = children_of(parent.pid)
    assert set(before) == {"serve", "work"}
    os.kill(before["work"], signal.SIGKILL)
    up.wait_for("manage.py work ended (killed by SIGKILL); it starts again in 2 s.")
    wait_until(lambda: up.log().count("Worker ready") == 2, "the worker to be back", up.log)
    after = children_of(parent.pid)
    assert after["serve"] == before["serve"]
    assert after["work"] != before["work"]
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(alive(pid) for pid in after.values()), "the children to follow", up.log)


def test_a_second_one_says_that_the_port_is_in_use(up: Up) -> None:
    up.start("--no-worker")
    up.wait_for("Open ")
    assert set(children_of(up.processes[0].pid)) == {"serve"}
    second = up.start()
    assert second.wait(PATIENCE) == 1
    assert up.log() == (
        f"Port {up.console.port} on 127.0.0.1 is in use, perhaps by another start of the console: "
        "stop that, or set PORT to a free one.\n"
    )
    assert up.console.get("/login/").status == 200


def test_it_says_why_it_could_not_start_and_leaves_nothing_running(up: Up) -> None:
    up.database_url = "postgres://nobody:wrong-password@127.0.0.1:1/nothing"
    process = up.start()
    assert process.wait(PATIENCE) == 1
    assert "could not be prepared" in up.log()
    assert "wrong-password" not in up.log()
    assert not children_of(process.pid)


def test_a_stop_in_the_middle_of_a_start_is_clean(up: Up) -> None:
    process = up.start()
    wait_until(lambda: "prepare" in children_of(process.pid), "the preparation", up.log)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert "Open " not in up.log()
    assert not children_of(process.pid)
