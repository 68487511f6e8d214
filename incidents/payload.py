"""What a sender's body says: bytes to frozen dataclasses, without the database.

The shapes are those of Alertmanager's webhook (version 4) and of Grafana's variant of it. A body that cannot be read at all is a
PayloadError; an alert that cannot be used is set aside with its reason, and the rest of its batch goes on.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiops.lib.text import clamp, clean_json

DEEPEST = 32  # levels of nesting; Alertmanager's own bodies have four
MOST_ALERTS = 50_000
LONGEST_NUMBER = 100  # digits
FINGERPRINT_LENGTH = 100
GROUP_KEY_LENGTH = 4000
URL_LENGTH = 2000
ENVELOPE_LENGTH = 4000  # characters of JSON that are kept beside each alert of what came around the alerts
EXCERPT_LENGTH = 4000
LARGEST_COUNT = 2**31 - 1  # of PostgreSQL's integer

_ESCAPED = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")  # NUL and surrogates can only be written as escapes
_FNV_OFFSET, _FNV_PRIME, _64_BITS = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1


class PayloadError(ValueError):
    """The body cannot be used at all; the message says why, for whoever sends it."""


class AlertFault(ValueError):
    """One alert of a body cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class IncomingAlert:
    """One alert as it was sent. Times are UTC, cut to microseconds; None where the sender gave none.

    `raw` is the alert's own object, unknown keys included. `labels` and `annotations` are None where those in `raw` are usable
    as they stand, which spares the database a second copy: read them through `label_set` and `annotation_set`.
    """

    fingerprint: str
    firing: bool
    starts_at: datetime | None
    ends_at: datetime | None
    generator_url: str
    raw: dict[str, Any]
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None

    @property
    def label_set(self) -> dict[str, str]:
        return self.raw["labels"] if self.labels is None else self.labels

    @property
    def annotation_set(self) -> dict[str, str]:
        return self.raw["annotations"] if self.annotations is None else self.annotations


@dataclass(frozen=True, slots=True)
class Rejected:
    """An alert that is set aside: the reason, the head of what was sent, and its size in characters of JSON."""

    reason: str
    excerpt: str
    size: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One notification. `envelope` is what came around the alerts; `truncated` counts alerts that the sender left out."""

    group_key: str
    receiver: str
    external_url: str
    truncated: int
    envelope: dict[str, Any]
    alerts: tuple[IncomingAlert, ...]
    rejected: tuple[Rejected, ...]

    @property
    def received(self) -> int:
        return len(self.alerts) + len(self.rejected)


def parse(body: bytes) -> Batch:
    """Read one notification. Raises PayloadError where nothing can be read from it."""
    document = _document(body)
    if not isinstance(document, dict) or not isinstance(document.get("alerts"), list):
        raise PayloadError('This is not a notification: it has no list "alerts", as Alertmanager and Grafana send it.')
    sent = document.pop("alerts")
    if len(sent) > MOST_ALERTS:
        raise PayloadError(f"There are {len(sent)} alerts in one body; at most {MOST_ALERTS} are taken.")
    alerts, set_aside = [], []
    for item in sent:
        try:
            alerts.append(_alert(item))
        except AlertFault as fault:
            set_aside.append(rejected(item, str(fault)))
    truncated = document.get("truncatedAlerts")
    return Batch(
        group_key=clamp(_text(document.get("groupKey")), GROUP_KEY_LENGTH),
        receiver=clamp(_text(document.get("receiver")), 255),
        external_url=clamp(_text(document.get("externalURL")), URL_LENGTH),
        truncated=min(max(truncated, 0), LARGEST_COUNT) if type(truncated) is int else 0,
        envelope=_kept_envelope(document),
        alerts=tuple(alerts),
        rejected=tuple(set_aside),
    )


def rejected(item: Any, reason: str) -> Rejected:
    """An alert's JSON value as it is set aside."""
    text = json.dumps(item, ensure_ascii=False)
    return Rejected(reason, clamp(text, EXCERPT_LENGTH), len(text))


def fingerprint(labels: dict[str, str]) -> str:
    """Prometheus' own: 64-bit FNV-1a over the pairs sorted by name, each `name 0xFF value 0xFF`, as 16 hex digits."""
    digest = _FNV_OFFSET
    for name in sorted(labels):
        for byte in b"%b\xff%b\xff" % (name.encode(), labels[name].encode()):
            digest = ((digest ^ byte) * _FNV_PRIME) & _64_BITS
    return f"{digest:016x}"


# -- the document ------------------------------------------------------------------------------------------------------


def _document(body: bytes) -> Any:
    text = _decoded(body)
    try:
        document = _JSON.decode(text)
    except json.JSONDecodeError as exc:
        raise PayloadError(f"The body is not JSON: {exc.msg} in line {exc.lineno}, column {exc.colno}.") from exc
    except RecursionError as exc:
        raise PayloadError(f"The body is nested deeper than {DEEPEST} levels.") from exc
    if _is_deep(document):
        raise PayloadError(f"The body is nested deeper than {DEEPEST} levels.")
    return clean_json(document) if _ESCAPED.search(text) else document


def _decoded(body: bytes) -> str:
    if not body.strip():
        raise PayloadError("The body is empty.")
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in body[:4]:
        raise PayloadError("The body is UTF-16 or UTF-32, or binary; send UTF-8.")
    if body.startswith(b"\xef\xbb\xbf"):
        raise PayloadError("The body starts with a byte order mark, which JSON does not have; send UTF-8 without it.")
    try:
        return body.decode()
    except UnicodeDecodeError as exc:
        raise PayloadError(f"The body is not valid UTF-8: byte {exc.start} is 0x{body[exc.start]:02x}.") from exc


def _is_deep(document: Any) -> bool:
    level = [document]
    for _ in range(DEEPEST + 1):
        level = [
            item
            for box in level
            for item in (box.values() if type(box) is dict else box if type(box) is list else ())
            if type(item) in (dict, list)
        ]
        if not level:
            return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise PayloadError(f"The key “{clamp(twice, 100)}” stands twice in one object.")
    return made


def _constant(name: str) -> Any:
    raise PayloadError(f"{name} is not JSON.")


def _whole(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise PayloadError(f"A number has {len(digits)} digits; at most {LONGEST_NUMBER} are taken.")
    return int(digits)


def _fraction(digits: str) -> float:
    number = float(digits) if len(digits) <= LONGEST_NUMBER else math.inf
    if math.isinf(number):
        raise PayloadError(f"The number {clamp(digits, 20)} is too large or too long.")
    return number


_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_int=_whole, parse_float=_fraction)


def _kept_envelope(document: dict[str, Any]) -> dict[str, Any]:
    """What came around the alerts, less its longest parts where it is long: it is stored once for each alert."""
    sizes = {name: len(json.dumps(value)) + len(name) for name, value in document.items()}
    kept = sorted(sizes, key=sizes.__getitem__)
    while kept and sum(sizes[name] for name in kept) > ENVELOPE_LENGTH:
        kept.pop()
    return {name: document[name] for name in document if name in set(kept)}


# -- one alert ---------------------------------------------------------------------------------------------------------


def _alert(item: Any) -> IncomingAlert:
    if not isinstance(item, dict):
        raise AlertFault("An alert must be an object.")
    status = item.get("status")
    if status not in ("firing", "resolved"):
        raise AlertFault(f'“status” must be "firing" or "resolved", not {_shown(status)}.')
    sent = item.get("labels")
    if not isinstance(sent, dict):
        raise AlertFault(f"“labels” must be an object, not {_shown(sent)}.")
    labels = _texts(sent, "label")
    # An end that is no time counts as none: that the alert resolved matters more than when, and the moment of receipt will do.
    return IncomingAlert(
        fingerprint=_fingerprint(item.get("fingerprint"), sent if labels is None else labels),
        firing=status == "firing",
        starts_at=_start(item.get("startsAt")),
        ends_at=_time(item.get("endsAt")) if status == "resolved" else None,
        generator_url=clamp(_text(item.get("generatorURL")), URL_LENGTH),
        raw=item,
        labels=labels,
        annotations=_annotations(item.get("annotations")),
    )


def _annotations(sent: Any) -> dict[str, str] | None:
    if sent is None:
        return {}
    if not isinstance(sent, dict):
        raise AlertFault(f"“annotations” must be an object, not {_shown(sent)}.")
    return _texts(sent, "annotation")


def _texts(values: dict[str, Any], what: str) -> dict[str, str] | None:
    """None where all values are texts, as they should be; else the same with numbers and truth values spelt out."""
    if set(map(type, values.values())) <= {str}:
        return None
    for name, value in values.items():
        if isinstance(value, dict | list):
            raise AlertFault(f"The {what} “{clamp(name, 100)}” must be a text, not {_shown(value)}.")
    return {
        name: value if isinstance(value, str) else "" if value is None else json.dumps(value)
        for name, value in values.items()
    }


def _fingerprint(sent: Any, labels: dict[str, str]) -> str:
    if sent is None or sent == "":
        if not labels:
            raise AlertFault("There is neither a fingerprint nor a label, so nothing names this alert.")
        return fingerprint(labels)
    if not isinstance(sent, str) or len(sent) > FINGERPRINT_LENGTH:
        raise AlertFault(f"“fingerprint” must be a text of 1 to {FINGERPRINT_LENGTH} characters, not {_shown(sent)}.")
    return sent


def _start(sent: Any) -> datetime | None:
    """The start names the episode. None or year 1: the sender knows none. Anything that is no time sets the alert aside."""
    start = _time(sent)
    if start is None and not (sent is None or sent == "" or (isinstance(sent, str) and sent.startswith("0001-"))):
        raise AlertFault(f"“startsAt” is no time such as 2026-01-31T09:30:00Z: {_shown(sent)}.")
    return start


def _time(sent: Any) -> datetime | None:
    """A time of RFC 3339 in UTC, cut to microseconds; None where it is absent, year 1 (Go's “no time”) or no time at all."""
    if not isinstance(sent, str):
        return None
    try:
        time = datetime.fromisoformat(sent)
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return time if time.year > 1 else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _shown(value: Any) -> str:
    return clamp(json.dumps(value, ensure_ascii=False), 60)
