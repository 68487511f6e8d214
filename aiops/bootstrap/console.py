"""What the bootstrap says: one line a step, alive while a step takes long, the tool's last words when it fails."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

LAST_WORDS = 15  # lines of a failed tool's output
REDRAW = "\r\033[K"  # back to the line's beginning, and empty it
INDEX = "The package index cannot be reached: check the network or HTTPS_PROXY, then run this again."
COMPILER = "A package had to be built: install a compiler (Debian: apt install build-essential python3-dev)."
ADVICE = {  # what tools say when they fail, and what to do then
    "No space left on device": "The disk is full: free some space and run this again.",
    "Read-only file system": "This checkout cannot be written: copy it to a folder that can.",
    "Permission denied": "Something here belongs to another user: run this as the owner of the checkout.",
    "DO NOT MATCH THE HASHES": "A package differs from the locked one: find out which mirror served it before going on.",
    "command 'gcc' failed": COMPILER,
    "command 'cc' failed": COMPILER,
    "Name or service not known": INDEX,
    "Temporary failure": INDEX,
    "Failed to establish a new connection": INDEX,
    "Could not resolve": INDEX,
    "ENOTFOUND": INDEX,
    "EAI_AGAIN": INDEX,
    "ECONNREFUSED": INDEX,
    "SELF_SIGNED_CERT": "A proxy here signs with a certificate of its own: name its file in NODE_EXTRA_CA_CERTS.",
    "No matching distribution": "The package index does not have it, or cannot be reached: check the network, then the mirror.",
}


class BootstrapError(Exception):
    """The set-up cannot go on; the message says why and what to do."""


def say(text: str) -> None:
    print(text, flush=True)


class Progress:
    """The line of one step: redrawn on a terminal, repeated now and then in a log."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self._started = time.monotonic()
        self._live = sys.stdout.isatty()
        self._done = threading.Event()

    @property
    def seconds(self) -> int:
        return int(time.monotonic() - self._started)

    def _draw(self) -> None:
        pause = 0.2 if self._live else 15.0
        while not self._done.wait(pause):
            line = f"{self.title} … {self.detail or 'working'} ({self.seconds} s)"
            print(f"{REDRAW}{line[:110]}" if self._live else line, end="" if self._live else "\n", flush=True)

    def finish(self, word: str) -> None:
        self._done.set()
        print(f"{REDRAW if self._live else ''}{self.title}: {word} ({self.seconds} s)", flush=True)

    def start(self) -> None:
        if not self._live:
            say(f"{self.title} …")
        threading.Thread(target=self._draw, daemon=True).start()


@contextmanager
def step(title: str) -> Iterator[Progress]:
    progress = Progress(title)
    progress.start()
    try:
        yield progress
    except BaseException:
        progress.finish("failed")
        raise
    progress.finish("done")


def run_tool(
    command: Sequence[str | Path],
    progress: Progress,
    *,
    advice: str = "Run this again once that is put right.",
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    on_line: Callable[[str], None] | None = None,
) -> str:
    """Run a program to its end and return what it said. Raise BootstrapError with its last words when it fails."""
    said: list[str] = []
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            cwd=folder,
        )
    except OSError as exc:
        raise BootstrapError(f"{command[0]} cannot be run: {exc.strerror}. {advice}") from exc
    with process:
        for line in process.stdout or ():
            said.append(line.rstrip())
            if on_line:
                on_line(line)
    text = "\n".join(said)
    if process.returncode:
        words = "\n".join(f"    {line}" for line in said[-LAST_WORDS:])
        better = next((hint for sign, hint in ADVICE.items() if sign in text), advice)
        raise BootstrapError(f"{words}\n{better}")
    return text
