"""What the word in a severity label means here."""

from __future__ import annotations

from collections.abc import Mapping

from accounts.system_config import SEVERITIES

UNKNOWN = "unknown"
RANKS = {**{name: rank for rank, name in enumerate(SEVERITIES)}, UNKNOWN: len(SEVERITIES)}  # 0 is the worst


def canonical(label: str, mapping: Mapping[str, str]) -> str:
    """One of RANKS. `mapping` has other words for them in lower case (the system configuration's severity map)."""
    word = label.strip().lower()
    severity = mapping.get(word, word)
    return severity if severity in RANKS else UNKNOWN
