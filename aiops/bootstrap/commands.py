"""The commands behind `make`: what each one needs, and what it then runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from aiops.bootstrap import frontend, packages, programs
from aiops.bootstrap.console import BootstrapError, say
from aiops.lib import environment, private_files

CHECKOUT = packages.CHECKOUT
SLOW = ("storm", "kill", "seed", "model")
CACHES = (".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "test-results")
NO_TESTS_COLLECTED = 5  # pytest's exit code
Arguments = Sequence[str]


def run(arguments: Arguments) -> int:
    """Set up what is missing, then start the console: database, web, worker."""
    _set_up()
    os.chdir(CHECKOUT)
    os.execv(packages.PYTHON, [str(packages.PYTHON), "manage.py", "up", *arguments])  # noqa: S606 (no shell is wanted)


def install(arguments: Arguments) -> int:
    """Set up what is missing, and stop there: for a service manager that starts the parts itself."""
    _set_up()
    return 0


def test(arguments: Arguments) -> int:
    """The whole suite with linters, types and migrations; with ARGS pytest alone, with these arguments."""
    _set_up(packages.TESTS)
    variables = _test_environment()
    failed = [] if arguments else _failed_checks(variables)
    marker = " and ".join(f"not {name}" for name in SLOW)
    result = _pytest(["-n", "auto", "--dist", "loadgroup", "-m", marker, *arguments], variables, failed)
    return result or bool(failed)


def test_slow(arguments: Arguments) -> int:
    """The tests that `test` leaves out: alert storms, killed processes, a million rows, a real model."""
    _set_up(packages.TESTS, packages.DEMO)
    # One at a time: each of them wants the machine for itself.
    result = _pytest(["-m", " or ".join(SLOW), *arguments], _test_environment(), [])
    return 0 if result == NO_TESTS_COLLECTED else result


def check(arguments: Arguments) -> int:
    """Linters, types and migrations, without the tests."""
    _set_up(packages.TESTS)
    return bool(_failed_checks(_test_environment()))


def lint(arguments: Arguments) -> int:
    """ruff and mypy."""
    _set_up(packages.TESTS)
    checks = {name: command for name, command in _checks().items() if name != "migrations"}
    return bool(_failed(checks, dict(os.environ)))


def format_code(arguments: Arguments) -> int:
    """Lay out the Python code, and put right what ruff can."""
    _set_up(packages.TESTS)
    fixed = _call(_python("-m", "ruff", "check", "--fix", "."))
    return _call(_python("-m", "ruff", "format", ".")) or fixed


def bench(arguments: Arguments) -> int:
    """The benchmarks of docs/performance.md, on this machine."""
    _set_up(packages.TESTS)
    return _call(_python("-m", "tests.benchmarks", *arguments))


def demo(arguments: Arguments) -> int:
    """The console with a small real model and a sample alert."""
    _set_up(packages.TESTS, packages.DEMO)
    return _call(_python("-m", "tests.demo", *arguments))


def lock(arguments: Arguments) -> int:
    """Write the requirements' lock files anew from their .in files."""
    packages.ensure([])
    packages.write_locks()
    return 0


def clean(arguments: Arguments) -> int:
    """Remove what is installed and cached in this checkout. The data in var/ stays."""
    for name in (".venv", "node_modules", *CACHES):
        shutil.rmtree(CHECKOUT / name, ignore_errors=True)
    return 0


def show_help(arguments: Arguments) -> int:
    """This list."""
    for name, command in COMMANDS.items():
        say(f"make {name:10} {(command.__doc__ or '').splitlines()[0]}")
    return 0


COMMANDS: dict[str, Callable[[Arguments], int]] = {
    "run": run,
    "install": install,
    "test": test,
    "test-slow": test_slow,
    "bench": bench,
    "demo": demo,
    "check": check,
    "lint": lint,
    "format": format_code,
    "lock": lock,
    "clean": clean,
    "help": show_help,
}


def run_command(arguments: Arguments) -> int:
    name, *rest = arguments or ["help"]
    command = COMMANDS.get(name)
    if command is None:
        sys.stderr.write(f"There is no command {name!r}. The commands are: {', '.join(COMMANDS)}.\n")
        return 2
    try:
        return int(command(rest))
    except BootstrapError as exc:
        sys.stderr.write(f"\n{exc}\n")
    except OSError as exc:
        sys.stderr.write(
            f"\n{exc.filename}: {exc.strerror}. The checkout must be a folder that the current user may write.\n"
        )
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. What was already installed is kept; the next run goes on from there.\n")
        return 130
    return 1


def _set_up(*more: packages.Lock) -> None:
    locks = [packages.RUNTIME, *more]
    if not _database_is_given():
        locks.insert(1, packages.EMBEDDED)
    if packages.installed(locks) and frontend.installed():
        return  # without a write: the checkout may be read-only by now
    with private_files.locked(CHECKOUT / ".bootstrap.lock"):  # two first starts at once take turns
        packages.ensure(locks)
        frontend.ensure()


def _database_is_given() -> bool:
    with suppress(OSError, environment.EnvironmentFileError):  # the command itself says what is wrong with the file
        file = environment.read(environment.data_dir() / ".env")
        return bool(os.environ.get("DATABASE_URL") or file.get("DATABASE_URL"))
    return bool(os.environ.get("DATABASE_URL"))


def _test_environment() -> dict[str, str]:
    """Never the developer's own data; and where the programs are that the suite drives."""
    return {**os.environ, "AIOPS_DATA_DIR": str(CHECKOUT / "var" / "test"), **programs.ensure()}


def _checks() -> dict[str, list[str | Path]]:
    return {
        "ruff check": _python("-m", "ruff", "check", "."),
        "ruff format": _python("-m", "ruff", "format", "--check", "."),
        "mypy": _python("-m", "mypy"),
        "migrations": _python("manage.py", "makemigrations", "--check", "--dry-run"),
    }


def _failed_checks(variables: dict[str, str]) -> list[str]:
    return _failed(_checks(), variables)


def _failed(checks: dict[str, list[str | Path]], variables: dict[str, str]) -> list[str]:
    failed = []
    for name, command in checks.items():
        result = subprocess.run(
            command, cwd=CHECKOUT, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        say(f"{name}: {'failed' if result.returncode else 'ok'}")
        if result.returncode:
            failed.append(name)
            say(f"{result.stdout}{result.stderr}".rstrip())
    return failed


def _pytest(arguments: Arguments, variables: dict[str, str], failed: list[str]) -> int:
    if failed:
        say(f"The tests follow; the run has failed already: {', '.join(failed)}.")
    return _call(_python("-m", "pytest", *arguments), variables)


def _python(*arguments: str) -> list[str | Path]:
    return [packages.PYTHON, *arguments]


def _call(command: list[str | Path], variables: dict[str, str] | None = None) -> int:
    """Run in the foreground. Ctrl-C reaches the program itself, which we let finish."""
    with subprocess.Popen(command, cwd=CHECKOUT, env=variables) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue
