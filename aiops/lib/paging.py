"""Keyset paging: the next page starts after the last row's key, so page 1,000 costs what page 1 does. No OFFSET, no count."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db.models import Model, Q, QuerySet

Row = TypeVar("Row", bound=Model)
_TOKEN = re.compile(r"([01])\.([0-9]{1,16})\.([0-9a-f]{32})")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


class CursorError(ValueError):
    """A cursor from the address that is none of ours; the message is for the person."""


@dataclass(frozen=True)
class Cursor:
    """A place between two rows of a list ordered by lane, then newest first, then id. A lane is a part of the list, such as firing."""

    at: dt.datetime
    id: uuid.UUID
    lane: int = 0

    def __str__(self) -> str:
        return f"{self.lane}.{(self.at - _EPOCH) // _MICROSECOND}.{self.id.hex}"

    @classmethod
    def parse(cls, token: str) -> Cursor | None:
        """The cursor that `str()` wrote; None for an empty token. A cursor is only a place: it needs no signature."""
        if not token:
            return None
        found = _TOKEN.fullmatch(token)
        if not found:
            raise CursorError("This link to a page of the list is damaged, so the list starts from the top.")
        return cls(_EPOCH + int(found[2]) * _MICROSECOND, uuid.UUID(found[3]), int(found[1]))


@dataclass(frozen=True)
class Page(Generic[Row]):
    """Some rows and the cursor of the next page, None at the end."""

    rows: Sequence[Row]
    next: Cursor | None


def after(rows: QuerySet[Row], cursor: Cursor | None, by: str) -> QuerySet[Row]:
    """`rows` newest first by the column `by`, from behind the cursor."""
    rows = rows.order_by(f"-{by}", "-id")
    if cursor is None:
        return rows
    # The first condition alone is one range of the index; the second only sorts out rows of the very same moment.
    return rows.filter(**{f"{by}__lte": cursor.at}).filter(Q(**{f"{by}__lt": cursor.at}) | Q(id__lt=cursor.id))


def page_of(rows: QuerySet[Row], token: str, by: str, size: int = 50) -> Page[Row]:
    """One page of a list with one lane. Raises CursorError."""
    found: list[Any] = list(after(rows, Cursor.parse(token), by)[: size + 1])
    more = len(found) > size
    found = found[:size]
    return Page(found, Cursor(getattr(found[-1], by), found[-1].pk) if more else None)
