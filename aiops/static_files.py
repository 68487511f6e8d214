"""Collecting the static files where they are served from, only when something about them changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import django
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command

from aiops.lib.private_files import locked, write_private


def collect_if_changed() -> int:
    """Bring STATIC_ROOT up to date. Returns how many files it was made from, 0 when nothing had changed.

    It takes seconds to compress them, but milliseconds to see that they are the same. Two processes at once are safe.
    """
    root = Path(settings.STATIC_ROOT)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    stamp = root.with_name(f"{root.name}.collected")
    with locked(root.with_name(f"{root.name}.lock")):
        inputs = sorted(_inputs())
        state = _digest([django.__version__, *inputs])
        if stamp.exists() and stamp.read_text(encoding="utf-8") == state:
            return 0
        call_command("collectstatic", interactive=False, verbosity=0)
        write_private(stamp, state)
    return len(inputs)


def _inputs() -> Iterator[str]:
    for finder in get_finders():
        for name, storage in finder.list([]):
            stat = Path(storage.path(name)).stat()
            yield f"{getattr(storage, 'prefix', '') or ''}/{name} {stat.st_size} {stat.st_mtime_ns}"


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
