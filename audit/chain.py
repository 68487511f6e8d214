"""Checking the audit log: whether each entry still says what it said, and follows the one before."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from audit.log import GENESIS, digest
from audit.models import AuditEntry

BATCH = 2_000


@dataclass(frozen=True)
class Fault:
    """The first entry that is not what the chain promised, and what is wrong with it."""

    sequence: int
    entry_id: uuid.UUID
    at: dt.datetime
    problem: str


@dataclass(frozen=True)
class Verdict:
    """`entries` were read and good, `head` is the hash of the last of them; `fault` ended the walk, or there was none."""

    entries: int
    head: str
    fault: Fault | None


def verify() -> Verdict:
    """Walk the whole chain from its first entry. Reads in batches: memory stays flat, writers are not held up.

    Entries cut off at the end leave no trace in those that remain: compare the head with one kept elsewhere.
    """
    good, head = 0, GENESIS
    for entry in _entries():
        problem = _problem(entry, good, head)
        if problem:
            return Verdict(good, head, Fault(entry.sequence, entry.id, entry.created_at, problem))
        good, head = entry.sequence, entry.hash
    return Verdict(good, head, None)


def knows(head: str) -> bool:
    """Whether `head`, kept from an earlier check, is still the hash of an entry."""
    return head == GENESIS or AuditEntry.objects.filter(hash=head).exists()


def _entries() -> Iterator[AuditEntry]:
    last: int | None = None
    while True:
        rows = AuditEntry.objects.order_by("sequence")
        batch = list((rows if last is None else rows.filter(sequence__gt=last))[:BATCH])
        yield from batch
        if len(batch) < BATCH:
            return
        last = batch[-1].sequence


def _problem(entry: AuditEntry, last: int, head: str) -> str:
    if entry.sequence <= last:
        return "reordered: its number is not above that of the entry before"
    if entry.sequence > last + 1:
        gap = (
            f"entry {last + 1} is" if entry.sequence == last + 2 else f"entries {last + 1} to {entry.sequence - 1} are"
        )
        return f"missing: {gap} not there"
    if digest(entry) != entry.hash:
        return "changed: it does not say what it said when it was written"
    if entry.previous_hash != head:
        return "reordered: it does not follow the entry before, which was changed or exchanged"
    return ""
