"""What cannot become an alert is kept with its reason, so that nothing is lost silently, and within bounds, so that nothing floods."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from aiops.lib.text import clamp
from incidents.models import QuarantinedAlert
from incidents.payload import EXCERPT_LENGTH, Rejected

BURST = 50  # entries that a source may leave at once in one process
REFILL = 30.0  # seconds until it may leave one more
PER_BODY = 20

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a body came from, for the admin who looks at it."""

    ip_address: str = ""
    user_agent: str = ""


class _Allowance:
    """How many entries a source may still leave: refills with time, up to BURST."""

    def __init__(self) -> None:
        self._left, self._at, self._lock = float(BURST), time.monotonic(), threading.Lock()

    def take(self, wanted: int) -> int:
        with self._lock:
            now = time.monotonic()
            self._left = min(float(BURST), self._left + (now - self._at) / REFILL)
            self._at = now
            taken = min(wanted, int(self._left))
            self._left -= taken
            return taken


_allowances: dict[uuid.UUID, _Allowance] = {}  # as many as there are sources


def keep(source: uuid.UUID, rejected: Sequence[Rejected], at: datetime, origin: Origin) -> None:
    """Store what was set aside, in the caller's transaction; the last entry tells how many more there were."""
    wanted = list(rejected[:PER_BODY])
    if len(rejected) > PER_BODY:
        more = rejected[PER_BODY - 1 :]
        sizes = sum(each.size for each in more)
        wanted[-1] = Rejected(
            f"{len(more)} more alerts of the same body. The first: {more[0].reason}", more[0].excerpt, sizes
        )
    taken = _allowances.setdefault(source, _Allowance()).take(len(wanted))
    if taken < len(wanted):
        logger.warning("quarantine is full for now", source=str(source), not_kept=len(wanted) - taken)
    QuarantinedAlert.objects.bulk_create(
        QuarantinedAlert(
            source_id=source,
            received_at=at,
            reason=each.reason,
            excerpt=each.excerpt,
            size=each.size,
            ip_address=origin.ip_address,
            user_agent=clamp(origin.user_agent, 200),
        )
        for each in wanted[:taken]
    )


def whole_body(reason: str, body: bytes) -> Rejected:
    """A body that could not be read at all, by its head."""
    head = body[: EXCERPT_LENGTH * 4].decode(errors="replace")
    return Rejected(reason, clamp(head, EXCERPT_LENGTH), len(body))
