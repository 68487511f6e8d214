"""What a collector of evidence is: it looks in one place, within its time, and returns what it found."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from django.utils import timezone

from incidents.models import Alert


@dataclass(frozen=True)
class Subject:
    """What is analysed: the alerts that one analysis covers, the worst first. Never empty."""

    alerts: tuple[Alert, ...]

    @property
    def first(self) -> Alert:
        return self.alerts[0]


@dataclass(frozen=True)
class Item:
    """One fact: `query` is what was asked, so that a person can ask again; `truncated` where `text` is not all of it."""

    kind: str
    title: str
    query: str
    text: str
    truncated: bool = False
    captured_at: datetime = field(default_factory=timezone.now)


class CouldNotCheck(Exception):
    """A collector cannot look; the message says why, for people, and becomes an entry of its own."""


class Collector(Protocol):
    """One place to look. `name` is the kind of its items; `title` names it where it fails."""

    name: str
    title: str

    async def collect(self, subject: Subject, deadline: float) -> list[Item]:
        """What is there, within `deadline` seconds. Raises CouldNotCheck where it cannot look. Changes nothing anywhere."""
        ...
