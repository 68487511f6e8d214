"""The real programs on the test's database: `manage.py serve` and `manage.py work`, as separate processes.

A test asks for `console` (server and worker) or `web` (the server alone). What it writes is committed (`transactional_db`), so the
processes see it. At the end both must stop cleanly, and a traceback in their log fails the test.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib import import_module
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import pytest
from django.conf import settings as django_settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.db import connection

from accounts.models import User
from aiops.static_files import collect_if_changed

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 30  # seconds for a process to start or stop on a busy machine


class LiveError(AssertionError):
    """A process did not do what every test relies on; the message carries its log."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Console:
    """The product, running. `url` has no slash at the end; `log` is what both processes wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.server: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self.tracebacks_expected = False  # a test that provokes one says so
        self._logs = {name: folder / f"{name}.log" for name in ("serve", "work")}

    # -- processes -------------------------------------------------------------------------------------------------

    @property
    def server_pid(self) -> int:
        assert self.server is not None
        return self.server.pid

    @property
    def worker_pid(self) -> int:
        assert self.worker is not None
        return self.worker.pid

    def start_server(self, *arguments: str, wait: bool = True, **environment: str) -> None:
        self.server = self._start("serve", "--port", str(self.port), *arguments, environment=environment)
        if wait:
            self.wait_for_log("serve", "Listening on")

    def start_worker(self, *arguments: str, wait: bool = True, test_jobs: bool = False, **environment: str) -> None:
        """`test_jobs`: the worker also knows the jobs of tests/live_jobs."""
        if test_jobs:
            environment["DJANGO_SETTINGS_MODULE"] = "tests.live_settings"
        self.worker = self._start("work", *arguments, environment=environment)
        if wait:
            self.wait_for_log("work", "Worker ready")

    def kill_worker(self) -> None:
        """kill -9, as the system does when memory runs out."""
        assert self.worker is not None
        self.worker.kill()
        self.worker.wait(PATIENCE)
        self.worker = None

    def stop_server(self) -> int:
        server, self.server = self.server, None
        return _stop(server) if server else 0

    def wait_for_server_to_end(self) -> int:
        """The exit code of a server that ends by itself."""
        server, self.server = self.server, None
        assert server is not None
        return server.wait(PATIENCE)

    def stop_worker(self) -> int:
        worker, self.worker = self.worker, None
        return _stop(worker) if worker else 0

    def _start(self, command: str, *arguments: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        log: IO[bytes] = self._logs[command].open("ab")
        with log:
            return subprocess.Popen(
                [sys.executable, "manage.py", command, f"--follow-parent={os.getpid()}", *arguments],
                cwd=ROOT,
                env=self.environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def environment(self) -> dict[str, str]:
        """What a process needs to work on the test's database, with the test's secrets."""
        inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        return inherited | {
            "DATABASE_URL": database_url(),
            "AIOPS_DATA_DIR": str(self.folder),
            "SECRET_KEY": django_settings.SECRET_KEY,
            "AIOPS_SECRET_KEYS": ",".join(django_settings.AIOPS_SECRET_KEYS),
            "SITE_URL": self.url,
            "PORT": str(self.port),
            "DEBUG": "false",
            "AIOPS_LOG_LEVEL": "INFO",
        }

    # -- what they say ---------------------------------------------------------------------------------------------

    def log(self, name: str = "") -> str:
        """What `serve` or `work` wrote so far; both without a name."""
        paths = [self._logs[name]] if name else list(self._logs.values())
        return "".join(path.read_text(encoding="utf-8", errors="replace") for path in paths if path.exists())

    def wait_for_log(self, name: str, text: str, count: int = 1) -> None:
        process = self.server if name == "serve" else self.worker
        wait_until(
            lambda: self.log(name).count(text) >= count or (process is not None and process.poll() is not None),
            f"“{text}” in the log of {name}",
            self.log,
        )
        if self.log(name).count(text) < count:
            raise LiveError(f"manage.py {name} ended before it said “{text}”:\n{self.log(name)}")

    # -- requests --------------------------------------------------------------------------------------------------

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own; redirects are not followed."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> Answer:
        return self.request("POST", path, body, headers)

    # -- people ----------------------------------------------------------------------------------------------------

    def session_cookie(self, user: User) -> dict[str, str]:
        """The cookie of a session in which `user` is logged in."""
        session = import_module(django_settings.SESSION_ENGINE).SessionStore()
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "accounts.backends.RoleBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.create()
        return {django_settings.SESSION_COOKIE_NAME: session.session_key}

    # -- the end ---------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Stop both; raises LiveError when one did not end cleanly or wrote a traceback."""
        codes = {"serve": self.stop_server(), "work": self.stop_worker()}
        failed = {name: code for name, code in codes.items() if code}
        if failed:
            raise LiveError(f"ended with {failed}:\n{self.log()}")
        if not self.tracebacks_expected and re.search(r"Traceback \(most recent call last\)", self.log()):
            raise LiveError(f"a traceback in the log:\n{self.log()}")


def _stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def wait_until(condition: Callable[[], Any], what: str, log: Callable[[], str] = str, seconds: float = PATIENCE) -> Any:
    """Poll until `condition` returns something true, and return that. `log` explains a failure."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise LiveError(f"waited {seconds:g} s in vain for {what}\n{log()}")
        time.sleep(0.02)
    return result


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def database_url() -> str:
    """The test's database, as an address for DATABASE_URL. A socket's folder stands in the path, before the name."""
    at = connection.settings_dict
    host = str(at["HOST"])
    where = f":{at['PORT']}/{quote(host)}" if host.startswith("/") else f"{host}:{at['PORT'] or 5432}"
    return f"postgres://{quote(at['USER'], safe='')}:{quote(at['PASSWORD'], safe='')}@{where}/{quote(at['NAME'])}"


@pytest.fixture(scope="session")
def collected_static() -> Path:
    """The static files as they are served, made once and kept for the next run."""
    collect_if_changed()
    return Path(django_settings.STATIC_ROOT)


@contextmanager
def running(folder: Path, static: Path) -> Iterator[Console]:
    folder.mkdir(mode=0o700)
    for name in ("static", "static.collected"):
        (folder / name).symlink_to(static.with_name(name))
    console = Console(folder)
    try:
        yield console
    finally:
        try:
            console.finish()
        finally:
            sys.stdout.write(console.log())  # pytest shows it where the test failed


@pytest.fixture
def live(transactional_db: None, tmp_path: Path, collected_static: Path) -> Iterator[Console]:
    """The product, not started yet."""
    with running(tmp_path / "data", collected_static) as console:
        yield console


@pytest.fixture
def web(live: Console) -> Console:
    """The server alone, listening."""
    live.start_server()
    return live


@pytest.fixture(scope="module")
def shared_web(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory, collected_static: Path
) -> Iterator[Console]:
    """One server for all tests of a module: for those that neither write to the database nor stop the server."""
    with running(tmp_path_factory.mktemp("shared") / "data", collected_static) as console:
        console.start_server()
        yield console


@pytest.fixture
def console(live: Console) -> Console:
    """Server and worker, ready."""
    live.start_server(wait=False)
    live.start_worker(wait=False)
    live.wait_for_log("serve", "Listening on")
    live.wait_for_log("work", "Worker ready")
    return live
