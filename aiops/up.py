"""Web server and worker in one terminal. Imports no Django: the server starts to load at once, and this process stays small."""

from __future__ import annotations

import signal
import sys
import threading
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from types import FrameType

from aiops.lib.ports import answers, listening_problem
from aiops.programs import TICK, Program, stop_all, tend_until

HELP = "Prepare the database, then run web server and worker until Ctrl-C."


def add_arguments(parser: ArgumentParser, port: int | str) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="The address to listen on (%(default)s).")
    parser.add_argument("--port", type=int, default=port, help="The port (PORT, %(default)s).")
    parser.add_argument("--no-worker", action="store_true", help="Web server only: the worker runs elsewhere.")


def main(arguments: Sequence[str], variables: Mapping[str, str]) -> int:
    """`manage.py up` with these arguments; `variables` are the settings, as the environment has them. Returns the exit code."""
    parser = ArgumentParser(prog="manage.py up", description=HELP)
    add_arguments(parser, variables.get("PORT") or "8000")  # as text: argparse says what is wrong with it
    options = parser.parse_args(arguments)
    return up(options.host, options.port, not options.no_worker, variables.get("SITE_URL", ""))


def up(host: str, port: int, with_worker: bool, site_url: str = "") -> int:
    """Run until Ctrl-C, SIGTERM or the end of the terminal. Returns the exit code."""
    if problem := listening_problem(host, port):
        return _failed(problem)
    stop = _stop_event()
    environment = {"PORT": str(port)}
    web = Program("serve", "--host", host, "--port", str(port), environment=environment)
    prepare = Program("prepare", environment=environment)
    work = Program("work", environment=environment)
    try:
        web.start(hold=True)
        prepare.start()
        while prepare.running and not stop.wait(TICK):
            pass
        if prepare.exit_code:
            return _failed("The console was not started: it could not be prepared, see above.")
        web.release()
        while not answers(host, port) and not stop.wait(TICK):
            if not web.running:
                return _failed(f"The console was not started: its web server ended ({web.ending}), see above.")
        if not stop.is_set():
            _say(f"\nOpen {site_url.rstrip('/') or _address(host, port)}/  (Ctrl-C stops everything)\n")
        tend_until(stop, [web, work] if with_worker else [web], _say)  # which starts the worker
    finally:
        stop_all([prepare, web, work])
    return 0


def _address(host: str, port: int) -> str:
    name = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 (compared, not listened on)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _stop_event() -> threading.Event:
    stop = threading.Event()

    def stopped(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stopped)
    return stop


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _failed(sentence: str) -> int:
    sys.stderr.write(f"{sentence}\n")
    return 1
