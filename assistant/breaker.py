"""A fuse for each provider: while a model fails again and again, queued analyses wait instead of calling it.

It lives in the worker's memory: every worker finds out for itself. After the pause one call goes through, and decides.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from dataclasses import dataclass, field

FAILURES = 5  # in a row …
WINDOW = 60.0  # … within so many seconds
PAUSE = 30.0
REASON = "Waits: the model fails again and again. It is asked from time to time."


@dataclass
class _Fuse:
    failures: list[float] = field(default_factory=list)
    blown_until: float = 0.0


_fuses: dict[uuid.UUID, _Fuse] = {}
_lock = threading.Lock()


def pause(provider_id: uuid.UUID | None) -> float:
    """For how many seconds a call to the provider should wait; 0 where it may go."""
    now = time.monotonic()
    with _lock:
        fuse = _fuses.get(provider_id) if provider_id else None
        if fuse is None or not fuse.blown_until:
            return 0.0
        if now >= fuse.blown_until:
            fuse.blown_until = now + PAUSE  # this one tries; the others wait for how it ends
            return 0.0
        return fuse.blown_until - now + random.uniform(0, PAUSE)  # noqa: S311 (spreads load, guards nothing)


def failed(provider_id: uuid.UUID) -> None:
    """A call failed in a way that may pass."""
    now = time.monotonic()
    with _lock:
        fuse = _fuses.setdefault(provider_id, _Fuse())
        fuse.failures = [*(at for at in fuse.failures if now - at < WINDOW), now][-FAILURES:]
        if len(fuse.failures) == FAILURES or fuse.blown_until:
            fuse.blown_until = now + PAUSE


def worked(provider_id: uuid.UUID) -> None:
    """The model answered, with whatever: the row of failures ends."""
    with _lock:
        _fuses.pop(provider_id, None)


def reset() -> None:
    """Forget everything."""
    with _lock:
        _fuses.clear()
