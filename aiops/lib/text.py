"""Cleaning of text from outside: PostgreSQL stores neither NUL nor lone surrogates, and varchar has an end."""

from __future__ import annotations

import re
from typing import Any

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\ufffd"


def clean(text: str) -> str:
    """`text` with NUL and lone surrogates replaced by U+FFFD, so that PostgreSQL takes it."""
    return _UNSTORABLE.sub(REPLACEMENT, text)


def clamp(text: str, length: int) -> str:
    """`text` cleaned and cut to `length` characters; the last one is an ellipsis where something was cut."""
    text = clean(text)
    return text if len(text) <= length else text[: length - 1] + "…"


def clean_json(value: Any) -> Any:
    """A parsed JSON value with every string in it, keys included, cleaned. Depth is the parser's to bound."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [clean_json(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): clean_json(item) for key, item in value.items()}
    return value
