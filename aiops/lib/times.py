"""Lengths of time as people say them."""

from __future__ import annotations

import datetime as dt

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def short(length: dt.timedelta) -> str:
    """One unit, rounded down: `now`, `42 s`, `3 h`, `400 d`. Negative lengths (clocks differ) count as now."""
    seconds = int(length.total_seconds())
    for unit, size in _UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return "now"


def precise(length: dt.timedelta) -> str:
    """Two units, the second left out where it is nought: `2 h 14 m`, `3 d`, `0 s`."""
    seconds = max(0, int(length.total_seconds()))
    for (unit, size), (lower, lower_size) in zip(_UNITS, _UNITS[1:], strict=False):
        if seconds >= size:
            rest = seconds % size // lower_size
            return f"{seconds // size} {unit} {rest} {lower}" if rest else f"{seconds // size} {unit}"
    return f"{seconds} s"
