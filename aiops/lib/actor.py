"""Who is acting right now: set once where a request, job or command enters, read by the audit log."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Actor:
    """`user_id` is None for the system itself and for anonymous visitors; `username` is kept as text beside it."""

    user_id: uuid.UUID | None = None
    username: str = ""
    ip_address: str | None = None


SYSTEM = Actor(username="system")
_current: ContextVar[Actor] = ContextVar("actor", default=SYSTEM)


def current() -> Actor:
    return _current.get()


@contextmanager
def acting_as(actor: Actor) -> Iterator[None]:
    token = _current.set(actor)
    try:
        yield
    finally:
        _current.reset(token)
