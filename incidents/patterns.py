"""Patterns that people write: globs, and label matchers in Alertmanager's own syntax. The only module that knows RE2.

Both run in time linear in the value, whatever is typed: a glob never backtracks across a `*`, and Alertmanager's regular
expressions are RE2's, so that RE2 itself is the engine with the right dialect. Patterns and values are capped on top of that.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

from aiops.lib.text import clamp

PATTERN_LENGTH = 200  # characters of a glob
MATCHERS_LENGTH = 4000  # characters of all matchers of a rule together
MOST_MATCHERS = 50
REGEX_LENGTH = 1000
VALUE_LENGTH = 4096  # of a label's value, that a regular expression looks at
REGEX_MEMORY = 1 << 16  # bytes: bounds the compiled program, so that a{500}{500} is refused instead of compiled

_NAME = r"[^\s=!~,{}\"'`]+"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_MATCHER = re.compile(rf"\s*({_QUOTED}|{_NAME})\s*(=~|!~|!=|=)\s*({_QUOTED}|[^\s=!~,{{}}\"'`]*)\s*", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}
_STARS = re.compile(r"\*{2,}")

_options = re2.Options()
_options.max_mem = REGEX_MEMORY
_options.dot_nl = True  # as Alertmanager compiles them: (?s:…)
_options.log_errors = False
_options.never_capture = True


class PatternError(ValueError):
    """A pattern that cannot be used; the message is for the person who typed it."""


class Glob:
    """A case-insensitive glob over a whole value: `*`, `?`, `[abc]`, `[!abc]`."""

    __slots__ = ("matches", "pattern")

    def __init__(self, pattern: str) -> None:
        if not pattern:
            raise PatternError("Enter a glob, or * for anything.")
        if len(pattern) > PATTERN_LENGTH:
            raise PatternError(f"The pattern has {len(pattern)} characters; at most {PATTERN_LENGTH} are taken.")
        if "\x00" in pattern:
            raise PatternError("The pattern holds a NUL character.")
        self.pattern = pattern
        # fnmatch writes each `*` as an atomic group, so the shortest run that fits is final: nothing to backtrack into.
        self.matches = re.compile(fnmatch.translate(_STARS.sub("*", pattern)), re.IGNORECASE).match

    @property
    def is_any(self) -> bool:
        return not self.pattern.strip("*")


@dataclass(frozen=True, slots=True)
class LabelMatcher:
    """`name op value` on one label. As in Alertmanager a missing label counts as empty, and `=~` means the whole value."""

    name: str
    operator: str
    value: str
    regex: Any = None

    def matches(self, labels: Mapping[str, str]) -> bool:
        actual = labels.get(self.name, "")
        if self.regex is None:
            return (actual == self.value) == (self.operator == "=")
        found = self.regex.fullmatch(actual[:VALUE_LENGTH]) is not None
        return found == (self.operator == "=~")

    def __str__(self) -> str:
        value = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.operator}"{value}"'


@lru_cache(maxsize=2048)
def glob(pattern: str) -> Glob:
    """The compiled glob. Raises PatternError."""
    return Glob(pattern)


@lru_cache(maxsize=512)
def label_matchers(text: str) -> tuple[LabelMatcher, ...]:
    """The matchers of `text`: several a line with commas, or one a line, braces allowed. Raises PatternError."""
    if len(text) > MATCHERS_LENGTH:
        raise PatternError(f"The matchers have {len(text)} characters; at most {MATCHERS_LENGTH} are taken.")
    found: list[LabelMatcher] = []
    for number, line in enumerate(text.split("\n"), 1):
        found += _line(line, number)
    if len(found) > MOST_MATCHERS:
        raise PatternError(f"There are {len(found)} matchers; at most {MOST_MATCHERS} are taken.")
    return tuple(found)


def _line(line: str, number: int) -> list[LabelMatcher]:
    rest = line.strip()
    if rest.startswith("{") or rest.endswith("}"):
        if not (rest.startswith("{") and rest.endswith("}")):
            raise PatternError(f"Line {number}: the braces do not match.")
        rest = rest[1:-1].strip()
    found = []
    while rest:
        match = _MATCHER.match(rest)
        end = match.end() if match else 0
        if not match or (end < len(rest) and rest[end] != ","):
            raise PatternError(f'Line {number}: “{clamp(rest, 60)}” is no matcher such as team="db" or zone=~"eu-.*".')
        found.append(_matcher(_unquoted(match[1]), match[2], _unquoted(match[3]), number))
        rest = rest[end + 1 :].strip()
    return found


def _unquoted(token: str) -> str:
    if not token.startswith('"'):
        return token
    # An escape that is none of Alertmanager's stays as it is, so that "\d" needs no doubling.
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[0]), token[1:-1])


def _matcher(name: str, operator: str, value: str, number: int) -> LabelMatcher:
    if not name:
        raise PatternError(f"Line {number}: a label's name is missing.")
    if "\x00" in name + value:
        raise PatternError(f"Line {number} holds a NUL character.")
    if "~" not in operator:
        return LabelMatcher(name, operator, value)
    if len(value) > REGEX_LENGTH:
        raise PatternError(
            f"Line {number}: the expression has {len(value)} characters; at most {REGEX_LENGTH} are taken."
        )
    try:
        return LabelMatcher(name, operator, value, re2.compile(value, _options))
    except re2.error as exc:
        reason = exc.args[0].decode(errors="replace") if isinstance(exc.args[0], bytes) else str(exc)
        raise PatternError(f"Line {number}: “{clamp(value, 60)}” cannot be used: {clamp(reason, 100)}.") from exc
