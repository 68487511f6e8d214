"""The one sentence of an analysis that stands for it in a list."""

from __future__ import annotations

import re

_MARKS = re.compile(r"[*_`]{1,3}|\s*\[E\d+(?:,\s*E\d+)*\]")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_START = re.compile(r"^\s*(?:[-*+>]|\d+[.)])\s+")
_VERDICT = re.compile(r"^Verdict: \w+\.\s+")
_END = re.compile(r"(?<=[.!?])\s")
LENGTH = 240


def first_sentence(markdown: str) -> str:
    """The first sentence of the first paragraph, as plain text of at most LENGTH characters; headings and tables are passed over."""
    for line in markdown.splitlines():
        text = _MARKS.sub("", _LINK.sub(r"\1", _START.sub("", line))).strip()
        if text and not text.startswith(("#", "|", "---", "===")):
            sentence = _END.split(_VERDICT.sub("", text), maxsplit=1)[0]
            return sentence if len(sentence) <= LENGTH else sentence[: LENGTH - 1] + "…"
    return ""
