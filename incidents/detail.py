"""Everything that the page of one alert shows, read in a fixed number of queries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import F, QuerySet
from django.db.models.functions import Left

from accounts.models import User
from aiops.lib.links import Link, safe_link
from incidents.forms import PRESETS
from incidents.matching import Condition, explain_alert
from incidents.models import Alert, AlertEvent

EVENTS, EPISODES, NEIGHBOURS = 200, 10, 20
PEOPLE = 200  # that an alert can be given to from its page
RAW_LENGTH = 200_000  # characters of the payload that are shown
# Labels that the list can be filtered by, and the filter's name there.
FILTERS = {"alertname": "alert_name", "instance": "instance", "job": "job"}
EPISODE_COLUMNS = (
    "alert_name", "instance", "job", "severity", "severity_rank", "status", "starts_at", "ends_at", "timestamp", "occurrences",
    "analysis_state", "superseded",
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """A label or annotation. `link` where its value is an address, `filter` where the list can be filtered by it."""

    name: str
    value: str
    link: Link | None
    filter: str


@dataclass(frozen=True)
class NamedLink:
    label: str
    link: Link


@dataclass(frozen=True)
class Timeline:
    """What happened, newest first. `cut`: there is more than is shown."""

    events: list[AlertEvent]
    cut: bool

    @classmethod
    def of(cls, alert: Alert) -> Timeline:
        events = list(alert.events.select_related("user").order_by("-at", "-id")[: EVENTS + 1])
        return cls(events[:EVENTS], len(events) > EVENTS)


class AlertDetail:
    """One alert with what surrounds it. Each list is read when the template asks for it."""

    def __init__(self, alert: Alert) -> None:
        self.alert = alert

    def summary(self) -> str:
        annotations = _strings(self.alert.annotations_json)
        return annotations.get("summary") or annotations.get("message") or annotations.get("description") or ""

    def links(self) -> list[NamedLink]:
        alert, annotations, raw = self.alert, _strings(self.alert.annotations_json), _strings(self.alert.raw_alert_json)
        candidates = {
            "Runbook": annotations.get("runbook_url") or annotations.get("runbook"),
            "Dashboard": annotations.get("dashboard_url") or raw.get("dashboardURL"),
            "Panel": raw.get("panelURL"),
            "Source": alert.generator_url or raw.get("generatorURL"),
            "Alertmanager": alert.external_url or alert.source.alertmanager_url,
            "Silence": raw.get("silenceURL"),
        }
        return [NamedLink(label, link) for label, url in candidates.items() if (link := safe_link(url))]

    def labels(self) -> list[Pair]:
        return list(_pairs(self.alert.labels_json, FILTERS))

    def annotations(self) -> list[Pair]:
        return list(_pairs(self.alert.annotations_json, {}))

    def raw(self) -> str:
        """The payload as it came, with invisible and direction-changing characters as JSON escapes."""
        text = json.dumps(self.alert.raw_alert_json, indent=2, ensure_ascii=False)
        text = "".join(char if char.isprintable() or char == "\n" else f"\\u{ord(char):04x}" for char in text)
        return text if len(text) <= RAW_LENGTH else text[:RAW_LENGTH] + "\n… the rest is not shown"

    def timeline(self) -> Timeline:
        return Timeline.of(self.alert)

    def people(self) -> list[User]:
        """Whom it can be given to: everybody who may sign in, by user name."""
        return list(User.objects.filter(is_active=True).order_by("username")[:PEOPLE])

    def snooze_presets(self) -> list[tuple[str, str]]:
        return list(PRESETS.items())

    def conditions(self) -> list[Condition]:
        """Why the rule matched that decided."""
        return explain_alert(self.alert)

    def episodes(self) -> list[Alert]:
        return list(_brief(Alert.objects.same_series(self.alert))[:EPISODES])

    def neighbours(self) -> list[Alert]:
        """What else of its group fires now; an alert without a group has none."""
        if not self.alert.group_key:
            return []
        return list(_brief(Alert.objects.same_group(self.alert))[:NEIGHBOURS])


def _brief(alerts: QuerySet[Alert]) -> QuerySet[Alert]:
    return alerts.only(*EPISODE_COLUMNS).annotate(analysis_head=Left(F("ai_analysis"), 1_000))


def _strings(value: Any) -> dict[str, str]:
    """The entries of a JSON object that are text; nothing of anything else."""
    return {key: text for key, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}


def _pairs(value: Any, filters: dict[str, str]) -> Iterator[Pair]:
    if not isinstance(value, dict):
        return
    for name in sorted(value):
        text = value[name] if isinstance(value[name], str) else json.dumps(value[name], ensure_ascii=False)
        yield Pair(name, text, safe_link(text), filters.get(name, ""))
