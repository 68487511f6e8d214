"""CSV for spreadsheets, which run a cell that starts like a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def cell(value: Any) -> str:
    """`value` as text; an apostrophe keeps a spreadsheet from taking it for a formula."""
    text = "" if value is None else str(value)
    return (
        f"'{text}" if text.lstrip(" \u00a0").startswith(_STARTS_FORMULA) or text.startswith(_STARTS_FORMULA) else text
    )


def lines(rows: Iterable[Iterable[Any]]) -> str:
    """`rows` as CSV text."""
    out = io.StringIO()
    csv.writer(out).writerows([cell(value) for value in row] for row in rows)
    return out.getvalue()
