"""Recordings on disk: asciicast files under one folder, reached only through `open_recording`."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import BinaryIO

from django.conf import settings


class RecordingError(Exception):
    """A recording cannot be read or is damaged; the message names the file and the first bad line."""


def root() -> Path:
    return Path(settings.DATA_DIR) / "recordings"


def open_recording(relative: str) -> BinaryIO:
    """Open a recording for reading. A path that leaves the folder, a link and anything but a plain file are refused."""
    path = root() / relative
    if "\x00" in relative or not relative or path.resolve().parent != root().resolve():
        raise RecordingError(f"{relative!r} does not lie in {root()}.")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise RecordingError(f"{relative}: {error.strerror}.") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RecordingError(f"{relative} is not a plain file.")
    return os.fdopen(descriptor, "rb")


def verify(relative: str) -> int:
    """Read a whole recording; the number of its events. Raises RecordingError at the first line that is no asciicast."""
    with open_recording(relative) as file:
        _check_header(relative, file.readline())
        events = 0
        for number, line in enumerate(file, start=2):
            if line.startswith(b"#"):
                continue
            _check_event(relative, number, line)
            events += 1
    return events


def _check_header(relative: str, line: bytes) -> None:
    header = _parse(relative, 1, line)
    if not isinstance(header, dict) or header.get("version") not in (2, 3):
        raise RecordingError(f"{relative}, line 1: this is not an asciicast header.")


def _check_event(relative: str, number: int, line: bytes) -> None:
    event = _parse(relative, number, line)
    if not (isinstance(event, list) and len(event) == 3 and isinstance(event[0], int | float)):
        raise RecordingError(f"{relative}, line {number}: this is not an asciicast event.")


def _parse(relative: str, number: int, line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError as error:
        raise RecordingError(f"{relative}, line {number}: torn or changed ({error}).") from error
