"""PostgreSQL for machines without one: an embedded server per AIOPS_DATA_DIR. Standard library only.

It listens on one socket in a folder that only its user may enter, and wants a generated password besides. PostgreSQL
refuses to run as root, and no other user can enter a checkout that only root may: as root, its programs and data live in
`/var/lib/aiops-<hash>/` and the server runs as `postgres` or `nobody`. A link in AIOPS_DATA_DIR shows where, and still
does when the checkout is moved.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from urllib.parse import quote

from aiops.lib.postgres_programs import (
    MAJOR,
    PostgresError,
    account_for,
    digest,
    explained,
    make_passage,
    programs,
    reason,
    root_home,
    run,
    user_name,
)
from aiops.lib.private_files import locked, write_private

__all__ = ["Embedded", "PostgresError", "database_url", "running_database"]

PORT = 5432  # names the socket's file; nothing listens on TCP
LONGEST_SOCKET_PATH = 107  # bytes, by sockaddr_un
PATIENCE = 60  # seconds for a server to start or stop: crash recovery may take a while
LARGEST_LOG = 10_000_000  # bytes; beyond it the next start begins a new one
SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",  # statements carry values, and values may be secrets
}
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}  # survives a killed server, not a power cut


class Embedded:
    """One embedded server: its folder `home`, its state, its address. Methods raise PostgresError."""

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        self.data_dir = data_dir.expanduser().resolve()
        with explained("find the embedded PostgreSQL"):
            self.home = _home(self.data_dir)
        self.data = self.home / "data"
        self.log = self.home / "postgres.log"
        self.settings = SETTINGS if durable else SETTINGS | NOT_DURABLE
        self._seat: int | None = None

    @classmethod
    def for_data_dir(cls, data_dir: Path, *, durable: bool = True) -> Embedded:
        return cls(data_dir, durable=durable)

    # -- its address -----------------------------------------------------------------------------------------------

    @property
    def socket_dir(self) -> Path:
        folder = self.home / "socket"
        if len(os.fsencode(folder / f".s.PGSQL.{PORT}")) <= LONGEST_SOCKET_PATH:
            return folder
        return Path("/tmp") / f"aiops-{os.geteuid()}-{digest(str(self.home))}"  # noqa: S108 (its owner is checked)

    def parameters(self) -> dict[str, str]:
        """Keyword arguments for psycopg.connect. The server need not run, nor have been started ever."""
        return {
            "host": str(self.socket_dir),
            "port": str(PORT),
            "user": "aiops",
            "password": self._password(),
            "dbname": "aiops",
        }

    def url(self) -> str:
        """The address in the form that django-environ reads: the socket's folder in the path, before the name."""
        at = self.parameters()
        return f"postgres://{at['user']}:{at['password']}@:{at['port']}/{quote(at['host'])}/{at['dbname']}"

    # -- its use ---------------------------------------------------------------------------------------------------

    def running(self) -> bool:
        return self._state() == "ready"

    def start(self) -> None:
        """Start the server unless it runs, and count this process among its users until `leave` or its end."""
        with explained("start the embedded PostgreSQL"):
            self._make_home()
            with locked(self.home / "lock"):
                self._start()
                if self._seat is None:
                    self._seat = os.open(self.home / "users", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
                    fcntl.flock(self._seat, fcntl.LOCK_SH)

    def leave(self) -> None:
        """Stop using the server; the last of its users stops it. A user that was killed does not count."""
        if self._seat is None:
            return
        seat, self._seat = self._seat, None
        with explained("stop the embedded PostgreSQL"), locked(self.home / "lock"):
            try:
                fcntl.flock(seat, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._stop()
            except BlockingIOError:
                pass  # somebody else's command still uses it
            finally:
                os.close(seat)

    def stop(self) -> None:
        """Stop the server whoever uses it: connections end, transactions in progress are rolled back."""
        with explained("stop the embedded PostgreSQL"):
            self._make_home()
            with locked(self.home / "lock"):
                self._stop()

    # -- the server ------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._settled_state() == "ready":
            return
        binaries = programs()
        if self.data.exists():
            self._refuse_other_major()
            self._renew_password(binaries)
        else:
            self._initialise(binaries)
        self._show_home()
        self._make_private(self.socket_dir)
        self._prepare_log()
        self._launch(binaries)

    def _launch(self, binaries: Path) -> None:
        options = self.settings | {"unix_socket_directories": f'"{self.socket_dir}"'}
        quoted = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in options.items())
        deadline = time.monotonic() + PATIENCE
        while True:
            self._remove_traces()
            log_end = self.log.stat().st_size
            result = self._control(binaries, "start", "-l", str(self.log), "-o", quoted)
            if result.returncode == 0:
                return
            said = result.stderr + _text_from(self.log, log_end)
            # The killed server's children take a moment to notice.
            if "pre-existing shared memory block" not in said or time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL could not start: {reason(said)} Its log is {self.log}.")
            time.sleep(0.2)

    def _remove_traces(self) -> None:
        """Clear what a killed server left: nobody lives here, as was asked, but its number may be another process's now.

        Should children of it still be about, PostgreSQL knows by its shared memory.
        """
        socket = self.socket_dir / f".s.PGSQL.{PORT}"
        for path in (self.data / "postmaster.pid", socket, socket.with_name(f"{socket.name}.lock")):
            path.unlink(missing_ok=True)

    def _stop(self) -> None:
        if self._state() is not None:
            result = self._control(programs(), "stop", "--mode", "fast")
            if result.returncode and self._state() is not None:
                raise PostgresError(f"PostgreSQL could not stop: {reason(result.stderr)} Its log is {self.log}.")

    def _control(self, binaries: Path, action: str, *arguments: str) -> CompletedProcess[str]:
        common = ("--wait", "--timeout", str(PATIENCE), "--silent", "-D", str(self.data))
        return run(binaries / "pg_ctl", action, *common, *arguments, account=account_for(self.data))

    def _settled_state(self) -> str | None:
        """The state once it is neither starting nor stopping, which another process may be at, or a crash recovery."""
        deadline = time.monotonic() + PATIENCE
        while (state := self._state()) not in (None, "ready"):
            if time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL is still {state} after {PATIENCE} seconds: see {self.log}.")
            time.sleep(0.02)
        return state

    def _state(self) -> str | None:
        """None when no server lives in the data folder, else its own word: "starting", "ready", "stopping" …"""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
            alive = _is_server_of(self.data, int(lines[0]))
        except (FileNotFoundError, IndexError, ValueError):
            return None
        if not alive:
            return None
        return lines[7].strip() if len(lines) > 7 else "starting"

    # -- its data folder -------------------------------------------------------------------------------------------

    def _initialise(self, binaries: Path) -> None:
        """Make the data folder beside its place, then rename it: a start that is killed half-way leaves no half."""
        partial = self.home / "data.partial"
        if partial.exists():
            shutil.rmtree(partial)
        self._make_private(partial)
        self._init_folder(binaries, partial)
        password = self._password()
        self._single_user(binaries, partial, f"CREATE ROLE aiops LOGIN CREATEDB PASSWORD '{password}'")
        self._single_user(binaries, partial, "CREATE DATABASE aiops OWNER aiops")
        self._program(binaries / "initdb", "--sync-only", "-D", str(partial), folder=partial)
        write_private(self.home / "password.set", digest(password))
        partial.rename(self.data)

    def _init_folder(self, binaries: Path, partial: Path) -> None:
        # The superuser's password is kept by nobody: `postgres --single` is the way in for maintenance.
        superuser_password = self.home / "superuser"
        write_private(superuser_password, secrets.token_urlsafe(24))
        account_for(partial).give(superuser_password)
        try:
            self._program(
                binaries / "initdb",
                *("-D", str(partial), "--username", "postgres", "--pwfile", str(superuser_password)),
                *("--auth-local", "scram-sha-256", "--auth-host", "reject", "--encoding", "UTF8", "--locale", "C"),
                *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--no-instructions", "--no-sync"),
                folder=partial,
            )
        finally:
            superuser_password.unlink(missing_ok=True)

    def _single_user(self, binaries: Path, folder: Path, statement: str) -> None:
        arguments = ("--single", "-D", str(folder), "postgres")
        result = self._program(binaries / "postgres", *arguments, folder=folder, stdin=f"{statement}\n")
        if "ERROR:" in result.stderr:  # its exit code is 0 all the same
            raise PostgresError(f"PostgreSQL could not prepare {folder}: {reason(result.stderr)}")

    def _program(self, program: Path, *arguments: str, folder: Path, stdin: str = "") -> CompletedProcess[str]:
        result = run(program, *arguments, account=account_for(folder), stdin=stdin)
        if result.returncode:
            raise PostgresError(f"PostgreSQL could not prepare {folder}: {reason(result.stderr)}")
        return result

    def _password(self) -> str:
        path = self.home / "password"
        with explained("keep the password of the embedded PostgreSQL"):
            self._make_home()
            if not path.exists():
                with locked(self.home / "password.lock"):
                    if not path.exists():
                        write_private(path, secrets.token_urlsafe(24))
            return path.read_text(encoding="utf-8")

    def _renew_password(self, binaries: Path) -> None:
        """Tell the server the password of the file, should it know another one: the file may have been lost."""
        password, told = self._password(), self.home / "password.set"
        if not told.exists() or told.read_text(encoding="utf-8") != digest(password):
            self._single_user(binaries, self.data, f"ALTER ROLE aiops PASSWORD '{password}'")
            write_private(told, digest(password))

    def _refuse_other_major(self) -> None:
        found = (self.data / "PG_VERSION").read_text(encoding="utf-8").strip()
        if found != str(MAJOR):
            raise PostgresError(
                f"The database in {self.data} was made by PostgreSQL {found}, and this version of the console brings "
                f"PostgreSQL {MAJOR}, which cannot read it. Dump it with the version that made it (pg_dump), move the "
                f"folder away, start again and restore the dump; or set DATABASE_URL to a PostgreSQL {found} server."
            )

    # -- folders ---------------------------------------------------------------------------------------------------

    def _make_home(self) -> None:
        if any(sign in str(self.home) for sign in '"$`\\\n'):
            raise PostgresError(
                f"PostgreSQL cannot live in {self.home}: its start-up program does not bear quotes, $, ` or \\ in the "
                "path. Set AIOPS_DATA_DIR to another folder, or set DATABASE_URL."
            )
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.geteuid() == 0:
            make_passage(self.home.parent)
            make_passage(self.home)
        self.home.mkdir(exist_ok=True, mode=0o700)
        owner = self.home.stat().st_uid
        if owner != os.geteuid():
            raise PostgresError(
                f"The database in {self.home} belongs to {user_name(owner)}: run this as {user_name(owner)}, "
                "or set AIOPS_DATA_DIR to another folder."
            )

    def _make_private(self, folder: Path) -> None:
        """A folder of mode 0700 that belongs to the server's user."""
        account = account_for(self.data)
        folder.mkdir(mode=0o700, exist_ok=True)
        account.give(folder)
        found = folder.lstat()
        if folder.is_symlink() or found.st_uid != account.uid or found.st_mode & 0o077:
            raise PostgresError(
                f"{folder} must be a folder that only the server's user may enter: remove it, try again."
            )

    def _prepare_log(self) -> None:
        full = self.log.exists() and self.log.stat().st_size > LARGEST_LOG
        os.close(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if full else 0), 0o600))
        account_for(self.data).give(self.log)

    def _show_home(self) -> None:
        link = self.data_dir / "postgres"
        if self.home != link and not link.is_symlink():
            link.symlink_to(self.home)
            sys.stderr.write(f"PostgreSQL refuses to run as root: this database is kept in {self.home}\n")


@contextmanager
def running_database(data_dir: Path, *, durable: bool = True) -> Iterator[Embedded]:
    """The embedded server of `data_dir`, running for as long as the block; the last of its users stops it."""
    server = Embedded.for_data_dir(data_dir, durable=durable)
    server.start()
    try:
        yield server
    finally:
        server.leave()


def database_url(data_dir: Path) -> str:
    """The embedded server's address, for settings. Starts nothing; writes the password's file when there is none."""
    return Embedded.for_data_dir(data_dir).url()


def _home(data_dir: Path) -> Path:
    link = data_dir / "postgres"
    if link.is_symlink():
        return link.resolve()
    return link if os.geteuid() != 0 or link.is_dir() else root_home(data_dir)


def _is_server_of(data: Path, pid: int) -> bool:
    """Whether process `pid` is a postmaster that lives in `data`: after a crash the number may be anybody's."""
    if not Path("/proc/self").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return arguments[0].endswith(b"/postgres") and os.fsencode(data) in arguments


def _text_from(log: Path, position: int) -> str:
    with log.open(encoding="utf-8", errors="replace") as file:
        file.seek(position)
        return file.read()
