"""The embedded PostgreSQL, started for real: as whoever runs the suite, and for root as a plain user besides."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from aiops.lib import postgres, postgres_programs
from aiops.lib.postgres import Embedded, PostgresError, database_url, running_database

CHECKOUT = Path(__file__).resolve().parent.parent
AS_ROOT = os.geteuid() == 0
NOBODY = 65534

# A process of its own. Everything is imported before the privileges go: a plain user may not enter root's checkout.
CHILD = """
import os, sys
from pathlib import Path
import psycopg
from aiops.lib import postgres
from aiops.lib.postgres import Embedded, PostgresError, database_url, running_database
if os.geteuid() == 0 and int(sys.argv[1]):
    sys.path.insert(0, sys.argv[3])
    os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
DATA_DIR = Path(sys.argv[2])
def ask(server, sql):
    with psycopg.connect(**server.parameters(), autocommit=True) as connection:
        return connection.execute(sql).fetchone()[0]
"""
HOLD = "with running_database(DATA_DIR, durable=False) as server: print(ask(server, 'SELECT 1'), flush=True); sys.stdin.read()"


def _remove(data_dir: Path) -> None:
    server = Embedded(data_dir)
    if server.home.exists():
        server.stop()
        shutil.rmtree(server.socket_dir, ignore_errors=True)
    if server.home.is_relative_to(postgres_programs.ROOT_HOMES):
        shutil.rmtree(server.home.parent, ignore_errors=True)
    shutil.rmtree(data_dir, ignore_errors=True)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="aiops test "))
    yield folder
    _remove(folder)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder that has a database already, stopped before and after each test."""
    folder = tmp_path_factory.mktemp("used")
    with running_database(folder, durable=False) as server:
        _ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    yield folder
    _remove(folder)


def _ask(server: Embedded, sql: str) -> object:
    with psycopg.connect(**server.parameters(), autocommit=True) as connection:  # type: ignore[arg-type]
        cursor = connection.execute(sql)
        row = cursor.fetchone() if cursor.description else None
        return row and row[0]


Spawn = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start Python code in a process of its own, as user `uid` where root asks for one."""
    children = []

    def start(code: str, data_dir: Path, uid: int = 0) -> subprocess.Popen[str]:
        copies = postgres_programs.programs().parents[2]  # root's, which everybody may read
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD + code, str(uid), str(data_dir), str(copies)],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def _postmaster(server: Embedded) -> int:
    return int((server.data / "postmaster.pid").read_text().splitlines()[0])


def _wait_for_death(pid: int) -> None:
    while Path(f"/proc/{pid}").exists() and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        time.sleep(0.01)


def test_it_runs_a_private_server_for_as_long_as_the_command(data_dir: Path) -> None:
    with running_database(data_dir, durable=False) as server:
        assert server.running()
        assert _ask(server, "SHOW listen_addresses") == ""
        assert _ask(server, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(**{**server.parameters(), "password": "guess"})  # type: ignore[arg-type]
        assert Path(f"/proc/{_postmaster(server)}").stat().st_uid != 0
        for private in (server.data, server.socket_dir, server.home / "password"):
            assert private.stat().st_mode & 0o077 == 0
    assert not server.running()


def test_it_runs_for_a_plain_user_in_her_own_folder(data_dir: Path, spawn: Spawn) -> None:
    uid = NOBODY if AS_ROOT else os.geteuid()
    os.chown(data_dir, uid, -1)
    code = (
        "with running_database(DATA_DIR, durable=False) as server:\n"
        " print(ask(server, 'SELECT 1'), server.home, server.home.stat().st_uid)"
    )
    said, _ = spawn(code, data_dir, uid).communicate()
    assert said == f"1 {data_dir}/postgres {uid}\n"
    if AS_ROOT:
        with pytest.raises(PostgresError, match="belongs to nobody: run this as nobody"):
            Embedded(data_dir).start()
    shutil.rmtree(data_dir / "postgres")


def test_it_gives_two_first_commands_one_server(data_dir: Path, spawn: Spawn) -> None:
    first, second = spawn(HOLD, data_dir), spawn(HOLD, data_dir)
    for child in (first, second):
        assert child.stdout is not None
        assert child.stdout.readline() == "1\n"
    first.communicate()
    assert Embedded(data_dir).running()
    second.communicate()
    assert not Embedded(data_dir).running()


def test_it_stops_the_server_that_a_killed_command_left(used: Path, spawn: Spawn) -> None:
    child = spawn(HOLD, used)
    assert child.stdout is not None
    child.stdout.readline()
    child.kill()
    child.wait()
    assert Embedded(used).running()
    with running_database(used, durable=False) as server:
        assert _ask(server, "SELECT answer FROM kept") == 42
    assert not server.running()


def test_it_starts_again_after_the_server_was_killed(used: Path) -> None:
    with running_database(used, durable=False) as server:
        pid = _postmaster(server)
        os.kill(pid, signal.SIGKILL)
        _wait_for_death(pid)
    with running_database(used, durable=False) as server:
        assert _ask(server, "SELECT answer FROM kept") == 42


def test_it_is_not_fooled_by_a_pid_that_is_somebody_elses_now(used: Path) -> None:
    server = Embedded(used)
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data}\n1\n5432\n\n\n\nready\n")
    assert not server.running()
    with running_database(used, durable=False) as server:
        assert _ask(server, "SELECT answer FROM kept") == 42


def test_it_begins_anew_where_a_first_start_was_killed(data_dir: Path) -> None:
    server = Embedded(data_dir)
    server.parameters()
    (server.home / "data.partial" / "base").mkdir(parents=True)
    with running_database(data_dir, durable=False) as server:
        assert _ask(server, "SELECT 1") == 1


def test_it_sets_a_new_password_when_the_file_was_lost(used: Path) -> None:
    (Embedded(used).home / "password").unlink()
    with running_database(used, durable=False) as server:
        assert _ask(server, "SELECT answer FROM kept") == 42


def test_it_refuses_the_data_of_another_major_version(used: Path) -> None:
    version = Embedded(used).data / "PG_VERSION"
    version.write_text("17\n")
    with pytest.raises(PostgresError, match=r"made by PostgreSQL 17.*brings PostgreSQL 18.*pg_dump"):
        Embedded(used).start()
    version.write_text("18\n")


def test_it_keeps_the_socket_where_its_path_is_short_enough(data_dir: Path, spawn: Spawn) -> None:
    deep = data_dir / ("long" * 40)
    deep.mkdir()
    uid = NOBODY if AS_ROOT else os.geteuid()  # root's folder has a short name anyway
    for folder in (data_dir, deep):
        os.chown(folder, uid, -1)
    code = (
        "with running_database(DATA_DIR, durable=False) as server: print(ask(server, 'SELECT 1'))\n"
        "print(len(str(server.socket_dir)) < 50); server.socket_dir.rmdir()"
    )
    said, _ = spawn(code, deep, uid).communicate()
    assert said == "1\nTrue\n"


def test_it_follows_a_checkout_that_was_moved(data_dir: Path) -> None:
    old, new = data_dir / "old", data_dir / "new"
    with running_database(old, durable=False) as server:
        _ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    old.rename(new)
    with running_database(new, durable=False) as server:
        assert _ask(server, "SELECT answer FROM kept") == 42
    _remove(new)


def test_it_says_what_to_install_where_the_programs_are_missing(tmp_path: Path) -> None:
    code = "from aiops.lib import postgres_programs as p\ntry: p.programs()\nexcept p.PostgresError as exc: print(exc)"
    said = subprocess.run([sys.executable, "-S", "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert "run `make run`" in said.stdout
    assert "DATABASE_URL" in said.stdout


def test_it_knows_the_address_before_the_first_start(data_dir: Path) -> None:
    address = database_url(data_dir)
    assert address == database_url(data_dir)
    assert address.startswith("postgres://aiops:")
    assert not Embedded(data_dir).data.exists()


def test_it_stops_with_the_command_that_is_told_to_end(used: Path) -> None:
    """`manage.py` turns SIGTERM into an ordinary exit, so that the server does not stay behind."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    variables = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    command = subprocess.Popen(
        [sys.executable, "manage.py", "shell", "--no-startup", "--command", code],
        cwd=CHECKOUT,
        env={**variables, "AIOPS_DATA_DIR": str(used)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert command.stdout is not None
    while command.stdout.readline().strip():
        pass
    assert Embedded(used).running()
    command.terminate()
    command.communicate()
    assert command.returncode == 128 + signal.SIGTERM
    assert not Embedded(used).running()


def test_it_asks_the_installed_version_for_its_programs() -> None:
    said = subprocess.run(
        [postgres_programs.programs() / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    assert f" {postgres.MAJOR}." in said.stdout
