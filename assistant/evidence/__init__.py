"""Evidence: facts collected for an analysis, each stored and numbered so that the analysis can cite it.

A further source is one more module with a `Collector`, and one more line in COLLECTORS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import structlog
from django.db import Error as DatabaseError

from aiops.lib.logs import redact_text
from aiops.lib.text import clamp, clean
from assistant.evidence.alert import AlertFacts
from assistant.evidence.base import Collector, CouldNotCheck, Item, Subject
from assistant.evidence.group import GroupFacts
from assistant.evidence.history import History
from assistant.evidence.neighbours import Neighbours

__all__ = ["COLLECTORS", "Collector", "CouldNotCheck", "Item", "Subject", "collect"]

COLLECTORS: tuple[Collector, ...] = (AlertFacts(), GroupFacts(), History(), Neighbours())
DEADLINE = 15.0  # seconds that one collector may take
TEXT_LENGTH, QUERY_LENGTH, TITLE_LENGTH = 20_000, 2_000, 200

logger = structlog.stdlib.get_logger(__name__)


async def collect(
    subject: Subject, collectors: Sequence[Collector] = COLLECTORS, deadline: float = DEADLINE
) -> list[Item]:
    """What all collectors found, in their order: each runs at the same time as the others, within `deadline` seconds of its own.
    One that fails becomes an item that says so."""
    found = await asyncio.gather(*(_one(collector, subject, deadline) for collector in collectors))
    return [_bounded(item) for items in found for item in items]


async def _one(collector: Collector, subject: Subject, deadline: float) -> list[Item]:
    try:
        async with asyncio.timeout(deadline):
            return await collector.collect(subject, deadline)
    except CouldNotCheck as exc:
        reason = str(exc)
    except TimeoutError:
        reason = f"It took longer than {deadline:g} s."
    except DatabaseError:
        raise  # without the database nothing can be stored either: the job comes back
    except Exception:
        logger.exception("a collector failed", collector=collector.name)
        reason = "An unexpected error; the worker's log has it."
    return [Item(collector.name, f"{collector.title}: could not check", "", f"Could not check: {reason}")]


def _bounded(item: Item) -> Item:
    """The item as it may be stored and sent away: cleaned, capped, with what looks like a credential masked."""
    text = redact_text(clean(item.text))
    return replace(
        item,
        title=clamp(item.title, TITLE_LENGTH),
        query=clamp(redact_text(item.query), QUERY_LENGTH),
        text=clamp(text, TEXT_LENGTH),
        truncated=item.truncated or len(text) > TEXT_LENGTH,
    )
