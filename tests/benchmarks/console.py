"""The console as it is run: its own embedded PostgreSQL, one web process, one worker, as separate processes."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from aiops.lib.postgres import Embedded

ROOT = Path(__file__).resolve().parents[2]
DATA_DIR = ROOT / "var" / "bench"


@dataclass(frozen=True)
class Console:
    port: int
    database_url: str
    token: str
    web: subprocess.Popen[bytes]

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(**parameters(self.database_url.rsplit("/", 1)[1]), autocommit=True)

    def memory(self) -> float:
        """Resident memory of the web process in MB."""
        status = Path(f"/proc/{self.web.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def parameters(database: str) -> dict[str, str]:
    return {**Embedded.for_data_dir(DATA_DIR).parameters(), "dbname": database}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(database: str, port: int) -> dict[str, str]:
    url = Embedded.for_data_dir(DATA_DIR).url().rsplit("/", 1)[0] + f"/{database}"
    return {
        **os.environ,
        "AIOPS_DATA_DIR": str(DATA_DIR),
        "DATABASE_URL": url,
        "PORT": str(port),
        "SITE_URL": f"http://127.0.0.1:{port}",
        "AIOPS_LOG_LEVEL": "WARNING",
    }


def manage(database: str, port: int, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    done = subprocess.run(command, env=environment(database, port), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"manage.py {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def database_server() -> Iterator[None]:
    """The embedded PostgreSQL with its ordinary, durable settings: fsync is on."""
    server = Embedded.for_data_dir(DATA_DIR)
    server.start()
    try:
        yield
    finally:
        server.leave()


def create_database(name: str, *, fresh: bool) -> bool:
    """Make sure the database exists; True where it was made now."""
    with psycopg.connect(**parameters("postgres"), autocommit=True) as connection:
        if fresh:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            return False
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return True


@contextmanager
def console(database: str, *, worker: bool = False) -> Iterator[Console]:
    port = free_port()
    manage(database, port, "migrate", "-v0")
    token = manage(database, port, "create_source", "bench", "--new-token").strip().splitlines()[-1]
    log = open(DATA_DIR / "bench.log", "ab")  # noqa: SIM115 closed with the processes that write it
    processes = [
        subprocess.Popen(
            [sys.executable, "manage.py", name], cwd=ROOT, env=environment(database, port), stdout=log, stderr=log
        )
        for name in ["serve", *(["work"] if worker else [])]
    ]
    try:
        _wait(f"http://127.0.0.1:{port}/healthz")
        yield Console(port, environment(database, port)["DATABASE_URL"], token, processes[0])
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(15)
        log.close()


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=1)  # noqa: S310 our own loopback address
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{url} did not answer in 30 s; see {DATA_DIR / 'bench.log'}")
