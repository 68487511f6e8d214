"""Commands of manage.py as children of one process: started again when they end, and stopped together. Imports no Django."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Event

from aiops.lib.environment import CHECKOUT

PATIENCE = 20.0  # seconds for a program to stop: a little more than it gives its requests and jobs
LONGEST_PAUSE = 30.0  # seconds between two starts of a program that keeps ending
STEADY = 60.0  # seconds after which a program counts as started well
TICK = 0.05  # seconds


class Program:
    """One command of manage.py as a child process. It ends with this process, even when that is killed."""

    def __init__(self, name: str, *arguments: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self.exit_code: int | None = None  # of its last end
        self._command = [
            sys.executable,
            str(CHECKOUT / "manage.py"),
            name,
            f"--follow-parent={os.getpid()}",
            *arguments,
        ]
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._next_start = 0.0
        self._pause = 1.0

    def start(self, *, hold: bool = False) -> None:
        """With `hold` the program loads what it needs, then waits for `release`."""
        self._process = subprocess.Popen(  # noqa: S603 (no shell, and no word from outside)
            [*self._command, *(["--hold"] if hold else [])],
            stdin=subprocess.PIPE if hold else subprocess.DEVNULL,
            env={**os.environ, **self._environment},
            start_new_session=True,  # Ctrl-C reaches the parent alone, which then stops its children in order
        )
        self._started = time.monotonic()

    def release(self) -> None:
        if self._process and self._process.stdin:
            try:
                self._process.stdin.write(b"go\n")
                self._process.stdin.close()
            except BrokenPipeError:
                pass  # it has ended, which `running` tells

    @property
    def running(self) -> bool:
        if self._process is None:
            return False
        self.exit_code = self._process.poll()
        return self.exit_code is None

    def tend(self, say: Callable[[str], None]) -> None:
        """Start the program again, some time after it has ended by itself; a little later each time."""
        if self.running:
            return
        if self._process is not None:
            self._process = None
            steady = time.monotonic() - self._started > STEADY
            self._pause = 1.0 if steady else min(self._pause * 2, LONGEST_PAUSE)
            self._next_start = time.monotonic() + self._pause
            say(f"manage.py {self.name} ended ({self.ending}); it starts again in {self._pause:g} s.")
        elif time.monotonic() >= self._next_start:
            self.start()

    @property
    def ending(self) -> str:
        code = self.exit_code or 0
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def terminate(self) -> None:
        if self._process:
            self._process.terminate()

    def wait(self, deadline: float) -> None:
        if self._process:
            try:
                self._process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def tend_until(stop: Event, programs: Sequence[Program], say: Callable[[str], None]) -> None:
    while not stop.wait(TICK):
        for program in programs:
            program.tend(say)


def stop_all(programs: Sequence[Program]) -> None:
    """Ask all of them to stop at once; what has not after PATIENCE seconds is killed."""
    for program in programs:
        program.terminate()
    deadline = time.monotonic() + PATIENCE
    for program in programs:
        program.wait(deadline)
