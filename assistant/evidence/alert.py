from __future__ import annotations

import json

from django.utils import timezone

from aiops.lib.times import precise
from assistant.evidence.base import Item, Subject
from incidents.models import Alert


class AlertFacts:
    """The alert itself, as its sender described it."""

    name = "alert"
    title = "The alert"

    async def collect(self, subject: Subject, deadline: float) -> list[Item]:
        alert = subject.first
        return [Item(self.name, f"The alert: {alert}", f"alert {alert.pk}", _describe(alert))]


def _describe(alert: Alert) -> str:
    age = precise((alert.ends_at or timezone.now()) - alert.starts_at)
    ended = f", ended {alert.ends_at:%Y-%m-%d %H:%M:%S} UTC" if alert.ends_at else ""
    facts = [
        f"Name: {alert.alert_name}",
        f"Severity: {alert.severity}",
        f"Status: {alert.status}, started {alert.starts_at:%Y-%m-%d %H:%M:%S} UTC ({age}){ended}",
        f"Instance: {alert.instance or 'not given'}",
        f"Job: {alert.job or 'not given'}",
        f"Sent: {alert.occurrences} times, reopened {alert.reopened} times, flapped {alert.flaps} times",
        f"Labels: {json.dumps(alert.labels_json, ensure_ascii=False, sort_keys=True)}",
        f"Annotations: {json.dumps(alert.annotations_json, ensure_ascii=False, sort_keys=True)}",
    ]
    if alert.generator_url:
        facts.append(f"Expression at: {alert.generator_url}")
    return "\n".join(facts)
