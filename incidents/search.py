"""Searching alerts: a question from the address, checked, and the page of alerts that answers it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlencode

from django.db.models import F, Q, QuerySet
from django.db.models.fields.json import KT
from django.db.models.functions import Left
from django.http import QueryDict

from accounts.system_config import SEVERITIES
from aiops.lib.paging import Cursor, CursorError, after
from aiops.lib.text import clean
from incidents.models import Alert, Rule
from incidents.models.alert import AlertQuerySet

PAGE_SIZE = 50
TEXT_LENGTH = 200
# Free text has no index: a page looks at this many alerts and offers to look at older ones.
TEXT_WINDOW = 5_000
FIRING, RESOLVED = 0, 1  # the list's lanes: what fires comes first
LANES = {FIRING: Alert.Status.FIRING, RESOLVED: Alert.Status.RESOLVED}

CHOICES: dict[str, dict[str, str]] = {
    "status": {"firing": "Firing", "resolved": "Resolved"},
    "severity": {**{name: name.capitalize() for name in SEVERITIES}, "unknown": "Unknown"},
    "action": {
        "auto_analyze": "Analysed by rule",
        "manual": "Left to a person",
        "ignore": "Ignored",
        "heartbeat": "Heartbeats",
        "all": "With ignored",
    },
    "acknowledged": {"no": "Nobody has it", "yes": "Acknowledged"},
}
LABELS = {
    "status": "Status",
    "severity": "Severity",
    "action": "Rule",
    "acknowledged": "Acknowledged",
    "alert_name": "Alert name",
    "instance": "Instance",
    "job": "Job",
    "q": "Text",
}
SHOWN_COLUMNS = (
    "timestamp", "alert_name", "severity", "severity_rank", "instance", "job", "status", "starts_at", "ends_at", "heartbeat",
    "action_taken", "occurrences", "reopened", "flaps", "truncated", "unconfirmed", "analysis_state", "analyzed",
    "acknowledged_at", "acknowledged_by__username", "acknowledged_by__full_name", "assignee__username", "assignee__full_name",
    "snoozed_until",
)  # fmt: skip


@dataclass(frozen=True)
class Chip:
    """One active filter, and the query string without it."""

    label: str
    value: str
    without: str


@dataclass(frozen=True)
class AlertPage:
    """A page of alerts. `unfinished`: free text was looked for in TEXT_WINDOW alerts only, and `next` goes on from there."""

    rows: list[Alert]
    next: Cursor | None = None
    unfinished: bool = False
    window: int = TEXT_WINDOW


@dataclass(frozen=True)
class AlertSearch:
    """What is asked of the list. An empty string asks nothing; names, instances and jobs are matched whole, case included."""

    status: str = ""
    severity: str = ""
    action: str = ""
    acknowledged: str = ""
    alert_name: str = ""
    instance: str = ""
    job: str = ""
    q: str = ""
    cursor: Cursor | None = None
    errors: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def from_query(cls, query: QueryDict | Mapping[str, str]) -> AlertSearch:
        """Read the query string. What cannot be understood is left out and named in `errors`."""
        values: dict[str, str] = {}
        errors: list[str] = []
        for name in LABELS:
            value = clean(query.get(name) or "").strip()
            if problem := _problem(name, value):
                errors.append(problem)
            elif value:
                values[name] = value
        try:
            cursor = Cursor.parse(query.get("cursor") or "")
        except CursorError as exc:
            cursor = None
            errors.append(str(exc))
        return cls(**values, cursor=cursor, errors=tuple(errors))

    @property
    def filters(self) -> dict[str, str]:
        """What was asked, without the place in the list."""
        return {name: value for name in LABELS if (value := getattr(self, name))}

    @property
    def query_string(self) -> str:
        """The shortest query string that asks the same; the place in the list included."""
        return _encode({**self.filters, "cursor": str(self.cursor or "")})

    def at(self, cursor: Cursor | None) -> AlertSearch:
        return replace(self, cursor=cursor)

    @property
    def first(self) -> AlertSearch:
        return self.at(None)

    @property
    def with_ignored(self) -> AlertSearch:
        return replace(self, action="all", cursor=None)

    @property
    def chips(self) -> list[Chip]:
        asked = self.filters
        return [
            Chip(LABELS[name], CHOICES.get(name, {}).get(value, value), _encode({**asked, name: ""}))
            for name, value in asked.items()
        ]

    def queryset(self) -> AlertQuerySet:
        """Every alert that the filters let through, free text aside."""
        found = _acted(Alert.objects.all(), self.action)
        if self.severity:
            found = found.filter(severity_rank=[*CHOICES["severity"]].index(self.severity))
        for name in ("alert_name", "instance", "job"):
            if value := getattr(self, name):
                found = found.filter(**{name: value})
        if self.acknowledged:
            found = found.filter(acknowledged_at__isnull=self.acknowledged == "no")
        return found

    def page(self, size: int = PAGE_SIZE) -> AlertPage:
        """The page behind the cursor: what fires first, newest first. At most two queries a lane."""
        rows: list[Alert] = []
        for lane in self._lanes():
            part = after(self.queryset().filter(status=LANES[lane]), self._cursor_in(lane), "timestamp")
            end = _window_end(part) if self.q else None
            found = list(_for_list(self._matching_text(part, end))[: size + 1 - len(rows)])
            rows += found
            if len(rows) > size:
                last = rows[size - 1]
                return AlertPage(rows[:size], Cursor(last.timestamp, last.pk, _lane_of(last)))
            if end is not None:
                return AlertPage(rows, replace(end, lane=lane), unfinished=True)
        return AlertPage(rows)

    def _lanes(self) -> Iterator[int]:
        first = self.cursor.lane if self.cursor else FIRING
        for lane, status in LANES.items():
            if lane >= first and self.status in ("", status):
                yield lane

    def _cursor_in(self, lane: int) -> Cursor | None:
        return self.cursor if self.cursor and self.cursor.lane == lane else None

    def _matching_text(self, part: QuerySet[Alert], end: Cursor | None) -> QuerySet[Alert]:
        if end is not None:
            part = part.filter(Q(timestamp__gt=end.at) | Q(timestamp=end.at, id__gte=end.id), timestamp__gte=end.at)
        for word in self.q.split():
            part = part.filter(
                Q(alert_name__icontains=word)
                | Q(instance__icontains=word)
                | Q(annotations_json__summary__icontains=word)
            )
        return part


def _encode(asked: Mapping[str, str]) -> str:
    return urlencode({name: value for name, value in asked.items() if value})


def _problem(name: str, value: str) -> str:
    """What is wrong with a filter's value, for the person who wrote it; empty where nothing is."""
    if name in CHOICES and value and value not in CHOICES[name]:
        shown = value if len(value) <= 40 else value[:40] + "…"
        return f"{LABELS[name]} cannot be “{shown}”; it is one of {', '.join(CHOICES[name])}. The filter was left out."
    limit = TEXT_LENGTH if name == "q" else 255
    if len(value) > limit:
        return f"{LABELS[name]} is longer than {limit} characters. The filter was left out."
    return ""


def _acted(alerts: AlertQuerySet, action: str) -> AlertQuerySet:
    if action == "all":
        return alerts
    if action == "heartbeat":
        return alerts.filter(heartbeat=True)
    if action == Rule.Action.IGNORE:
        return alerts.filter(action_taken=action)
    return alerts.shown().filter(action_taken=action) if action else alerts.shown()


def _lane_of(alert: Alert) -> int:
    return FIRING if alert.is_firing else RESOLVED


def _window_end(part: QuerySet[Alert]) -> Cursor | None:
    """The key of the last alert that free text is looked for in; None where there are no more than that."""
    keys = part.values_list("timestamp", "id")[TEXT_WINDOW - 1 : TEXT_WINDOW]
    return next((Cursor(at, pk) for at, pk in keys), None)


def _for_list(part: QuerySet[Alert]) -> QuerySet[Alert]:
    """Only what a row shows: labels and payloads may be large."""
    return (
        part.select_related("acknowledged_by", "assignee")
        .only(*SHOWN_COLUMNS)
        .annotate(analysis_head=Left(F("ai_analysis"), 1_000), summary=Left(KT("annotations_json__summary"), 300))
    )
