"""Structured logs: one line an event, as text for people or JSON for machines, with secrets masked and nothing to trick a terminal."""

from __future__ import annotations

import logging
import re
from collections.abc import MutableMapping
from typing import Any

import structlog

MASK = "[hidden]"
LONGEST = 2000  # characters of one value from outside; tracebacks are ours and may be longer
LONGEST_TRACEBACK = 20_000

_SECRET_NAME = re.compile(r"(?i)(password|passwd|secret|token|api_?key|authorization|passphrase|private_key|cookie)")
_SECRET_TEXT = (
    re.compile(r"(?i)((?:bearer|basic)\s+)[\w+/=.~\-]{6,}"),
    re.compile(r"(?i)((?:authorization|cookie)[\"']?\s*[:=]\s*[\"']?)[^\"'\r\n]{4,}"),
    re.compile(
        r"(?i)((?:api[_-]?key|password|passwd|passphrase|secret|token)[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&)}\]]{4,}"
    ),
    re.compile(r"(://[^/\s:@]*:)[^/\s@]+(?=@)"),
    re.compile(r"(\b(?:sk|pk|rk)-)[\w\-]{6,}"),
    re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(?:(?!-----END).)*", re.DOTALL),
)
# C0 and C1 controls, line separators, and what reorders or hides text.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def redact_text(text: str) -> str:
    """`text` with what looks like a credential masked: bearer and basic tokens, keys, passwords, also those in addresses."""
    for pattern in _SECRET_TEXT:
        text = pattern.sub(lambda match: match[1] + MASK, text)
    return text


def printable(text: str) -> str:
    """`text` on one line, without a character that could move a terminal's cursor or hide what is written."""
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return {9: "\\t", 10: "\\n", 13: "\\r"}.get(code) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if not name.startswith("_"):
            event[name] = _redacted(name, value)
    return event


def _redacted(name: str, value: Any) -> Any:
    if isinstance(value, int | float | bool | None):
        return value
    if _SECRET_NAME.search(name):
        return MASK
    if isinstance(value, dict):
        return {printable(str(key)): _redacted(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_redacted("", inner) for inner in value]
    longest = LONGEST_TRACEBACK if name == "exception" else LONGEST
    text = redact_text(str(value)[: longest + 1])
    return text if len(text) <= longest else f"{text[:longest]}…"


def one_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    """The event as `name=value …`: what it is first, then the rest in the order in which it was said."""
    first = [name for name in ("timestamp", "level", "event", "logger") if name in event]
    names = first + [name for name in event if name not in first]
    return " ".join(f"{printable(name)}={_value(event[name])}" for name in names)


def _value(value: Any) -> str:
    if value is None or isinstance(value, int | float | bool):
        return "" if value is None else str(value).lower()
    text = printable(str(value).replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{text}"' if not text or any(sign in text for sign in ' ="') else text


def logging_config(level: str, style: str) -> dict[str, Any]:
    """The dictConfig for Django, and structlog's own set-up. `style` is "console" or "json"."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.processors.format_exc_info,
                    redact,
                    structlog.processors.JSONRenderer() if style == "json" else one_line,  # JSON escapes all but ASCII
                ],
                "foreign_pre_chain": shared,
            },
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {name: {"level": least} for name, least in _LEVELS.items()},
    }


_LEVELS = {
    **dict.fromkeys(("LiteLLM", "httpx", "httpcore", "openai", "paramiko", "asyncio", "daphne", "axes"), "WARNING"),
    "procrastinate": "WARNING",
    "django.security.DisallowedHost": "CRITICAL",  # anybody can send a wrong Host, with a traceback each time
    # The server writes one line a request; these would say the same twice more. Failures stay, with their traceback.
    "django_structlog": "CRITICAL",
    "django.request": "ERROR",
    "django.server": "ERROR",
}
