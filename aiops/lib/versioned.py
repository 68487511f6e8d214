"""Something built from rows, kept in the process for as long as a version read from the database says that it still holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Versioned(Generic[T]):
    """`at(version)` is what `build` makes of the rows; it is built anew whenever the version is another than the last one.

    Rows read after their version may be newer than it says. The next caller then brings another version and builds again, so a
    change made by another process holds from the first transaction that sees it.
    """

    def __init__(self, build: Callable[[], T]) -> None:
        self._build = build
        self._kept: tuple[str, T] | None = None

    def at(self, version: str) -> T:
        kept = self._kept  # one read: another thread may replace it meanwhile
        if kept is None or kept[0] != version:
            kept = self._kept = (version, self._build())
        return kept[1]
