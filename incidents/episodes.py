"""What one sighting means for what is stored of its series: a pure function, one member of Decision for each case."""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from incidents.payload import IncomingAlert

FLAP_WINDOW = timedelta(hours=24)  # a recurrence within this time after the end counts as a flap


@dataclass(frozen=True, slots=True)
class Stored:
    """The newest episode of a series. `previous_ends_at` is the end of the one before it, where there is one."""

    id: uuid.UUID
    firing: bool
    starts_at: datetime
    ends_at: datetime | None
    flaps: int = 0
    previous_ends_at: datetime | None = None


class Decision(enum.Enum):
    """What to do; each leaves at most one episode of the series open."""

    OPEN = "the first episode of this series, or a recurrence after the stored end"
    HISTORY = "an episode that was never seen firing: stored as resolved, never analysed"
    REPEAT = "the open episode again, perhaps with an earlier start"
    RESOLVE = "the end of the open episode"
    SUPERSEDE = "a later start, the end was never seen: close the open episode, open the next"
    SUPERSEDE_BY_HISTORY = "a later episode that is over already: close the open one, store the later as resolved"
    REOPEN = "the resolved episode fires again, with the same start"
    END_AGAIN = "the end of a resolved episode, told again"
    LATE = "something about an older episode: only log the sighting"


def decide(stored: Stored | None, incoming: IncomingAlert) -> Decision:
    """An alert without a start belongs to the open episode, if there is one."""
    if stored is None:
        return Decision.OPEN if incoming.firing else Decision.HISTORY
    if _is_older(stored, incoming):
        return Decision.LATE
    if stored.firing:
        return _about_open(stored, incoming)
    return _about_resolved(stored, incoming)


def _is_older(stored: Stored, incoming: IncomingAlert) -> bool:
    """Whether it tells of a time before the stored episode began."""
    start, end = incoming.starts_at, incoming.ends_at
    if start is None or start >= stored.starts_at:
        return False
    if stored.previous_ends_at is not None and start < stored.previous_ends_at:
        return True
    # An earlier start that lasted into the stored episode is the same one, merged to the earliest start.
    return not incoming.firing and (end is None or end <= stored.starts_at)


def _about_open(stored: Stored, incoming: IncomingAlert) -> Decision:
    later = incoming.starts_at is not None and incoming.starts_at > stored.starts_at
    if incoming.firing:
        return Decision.SUPERSEDE if later else Decision.REPEAT
    return Decision.SUPERSEDE_BY_HISTORY if later else Decision.RESOLVE


def _about_resolved(stored: Stored, incoming: IncomingAlert) -> Decision:
    if incoming.firing:
        new = incoming.starts_at is None or incoming.starts_at > stored.starts_at
        return Decision.OPEN if new else Decision.REOPEN
    later = incoming.starts_at is not None and incoming.starts_at > stored.starts_at
    return Decision.HISTORY if later else Decision.END_AGAIN


def flaps_after(stored: Stored | None, start: datetime) -> int:
    """How often in a row the series has come back soon after its end."""
    if stored is None:
        return 0
    ended = stored.ends_at or stored.starts_at
    return stored.flaps + 1 if start - ended <= FLAP_WINDOW else 0
