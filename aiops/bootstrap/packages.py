"""The virtual environment in `.venv`, and what is installed in it: by hashes, and only when a lock file changed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiops.bootstrap.console import BootstrapError, Progress, run_tool, say, step

CHECKOUT = Path(__file__).resolve().parents[2]
VENV = CHECKOUT / ".venv"
PYTHON = VENV / "bin" / "python"
NO_VENV = "Python's venv module is missing: install it (Debian, Ubuntu: apt install python3-venv), then run this again."


@dataclass(frozen=True)
class Lock:
    """One hashed file of packages. `alone`: nothing that the packages ask for beside themselves is installed."""

    name: str
    file: Path
    alone: bool = False

    @property
    def stamp(self) -> Path:
        return VENV / f".installed-{self.name}"

    def digest(self) -> str:
        return hashlib.sha256(self.file.read_bytes()).hexdigest()

    def installed(self) -> bool:
        return self.stamp.exists() and self.stamp.read_text() == self.digest()


RUNTIME = Lock("runtime", CHECKOUT / "requirements.txt")
EMBEDDED = Lock("embedded", CHECKOUT / "requirements" / "embedded.txt")
TESTS = Lock("tests", CHECKOUT / "requirements" / "tests.txt")
DEMO = Lock("demo", CHECKOUT / "requirements" / "demo.txt", alone=True)
NODE = Lock("node", CHECKOUT / "requirements" / "node.txt")


def installed(locks: Sequence[Lock]) -> bool:
    return PYTHON.exists() and all(lock.installed() for lock in locks)


def ensure(locks: Sequence[Lock]) -> None:
    """Have the environment, with these locks installed. Costs a few file reads when it is so already."""
    if not PYTHON.exists():
        _create_environment()
    missing = [lock for lock in locks if not lock.installed()]
    together = [lock for lock in missing if not lock.alone]
    for group in [together, *([lock] for lock in missing if lock.alone)]:
        if group:
            _install(group)


def _create_environment() -> None:
    try:
        import ensurepip  # noqa: F401, PLC0415 (Debian ships Python without it)
    except ImportError:
        raise BootstrapError(NO_VENV) from None
    with step("Virtual environment") as progress:
        # --clear: what a broken or half-made environment left is worth nothing.
        run_tool([sys.executable, "-m", "venv", "--clear", VENV], progress, advice=NO_VENV)


def _install(locks: Sequence[Lock]) -> None:
    if subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        _create_environment()  # killed while it was made
    for lock in locks:
        lock.stamp.unlink(missing_ok=True)
    names = ", ".join(lock.name for lock in locks)
    with step(f"Python packages ({names})") as progress:
        if not _install_with_uv(locks):
            _install_with_pip(locks, progress)
    for lock in locks:
        lock.stamp.write_text(lock.digest())


def _arguments(locks: Sequence[Lock]) -> list[str]:
    files = [part for lock in locks for part in ("-r", str(lock.file))]
    return ["install", "--require-hashes", *(["--no-deps"] if locks[0].alone else []), *files]


def _install_with_uv(locks: Sequence[Lock]) -> bool:
    """Take uv where the user has it: ten times as fast. It knows no pip.conf, so a failure is left to pip to explain."""
    uv = shutil.which("uv")
    if uv is None:
        return False
    tool, *rest = _arguments(locks)
    command = [uv, "pip", tool, "--quiet", "--python", str(PYTHON), *rest]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0


def _install_with_pip(locks: Sequence[Lock], progress: Progress) -> None:
    total = len({name for lock in locks for name in re.findall(r"^([\w.-]+)==", lock.file.read_text(), re.MULTILINE)})
    seen = 0

    def count(line: str) -> None:
        nonlocal seen
        if line.startswith(("Collecting ", "Requirement already satisfied: ")):
            seen += 1
            progress.detail = f"{min(seen, total)} of {total} fetched"
        elif line.startswith("Installing collected packages"):
            progress.detail = f"installing {total}"

    run_tool(
        # Compiled when first imported: most of it never is.
        [PYTHON, "-m", "pip", *_arguments(locks), "--no-compile", "--progress-bar", "off"],
        progress,
        environment={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"},
        on_line=count,
    )


def install_lock_tool() -> Path:
    """uv, which writes the lock files: not locked itself, being no part of what runs."""
    if found := shutil.which("uv"):
        return Path(found)
    uv = VENV / "bin" / "uv"
    if not uv.exists():
        with step("uv") as progress:
            run_tool([PYTHON, "-m", "pip", "install", "uv==0.13.9"], progress)
    return uv


def write_locks() -> None:
    """Write every `.txt` anew from its `.in`, keeping the pins that still fit."""
    uv = install_lock_tool()
    for lock in (RUNTIME, EMBEDDED, TESTS, DEMO, NODE):
        source = lock.file.with_suffix(".in")
        with step(f"{lock.file.relative_to(CHECKOUT)}") as progress:
            run_tool(
                [
                    *(uv, "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--python-version", "3.11"),
                    # No address of an index and no path of this machine in a file that others install from.
                    *("--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "make lock"),
                    *(["--no-deps"] if lock.alone else []),
                    *(source.name, "-o", lock.file.name),
                ],
                progress,
                folder=lock.file.parent,
            )
    say("Review the difference, run `make test`, commit both the .in and the .txt files.")
