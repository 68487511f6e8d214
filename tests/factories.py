"""Plain functions that make rows. Every argument has a default; what a test cares about, it names."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

from django.utils import timezone

from accounts.models import User
from assistant.models import Analysis, LLMProvider
from incidents.models import Alert, AlertEvent, AlertSource, Rule
from infra.models import Server

PASSWORD = "correct horse battery staple"
_count = itertools.count(1)


def user(username: str = "", **fields: Any) -> User:
    username = username or f"user{next(_count)}"
    return User.objects.create_user(username, f"{username}@example.org", PASSWORD, **fields)


def source(name: str = "", **fields: Any) -> AlertSource:
    return AlertSource.objects.create(name=name or f"source-{next(_count)}", **fields)


def source_with_token(name: str = "", **fields: Any) -> tuple[AlertSource, str]:
    made = AlertSource(name=name or f"source-{next(_count)}", **fields)
    token = made.new_token()
    made.save()
    return made, token


def rule(name: str = "", **fields: Any) -> Rule:
    return Rule.objects.create(name=name or f"rule-{next(_count)}", **fields)


def alert(**fields: Any) -> Alert:
    """A firing alert with its first timeline event. `labels` and `annotations` are merged into the defaults."""
    now = timezone.now()
    labels = {
        "alertname": "HighCPU",
        "instance": "web-1:9100",
        "job": "node",
        "severity": "critical",
        **fields.pop("labels", {}),
    }
    values: dict[str, Any] = {
        "fingerprint": f"{next(_count):016x}",
        "timestamp": now,
        "starts_at": now,
        "last_seen_at": now,
        "alert_name": labels["alertname"],
        "severity": labels["severity"],
        "instance": labels["instance"],
        "job": labels["job"],
        "status": "firing",
        "labels_json": labels,
        "annotations_json": {"summary": "CPU above 95%", **fields.pop("annotations", {})},
        "raw_alert_json": {"labels": labels},
        "group_key": '{}:{alertname="HighCPU"}',
        "severity_rank": 0,
        **fields,
    }
    values.setdefault("group_hash", hashlib.sha256((values["group_key"] or values["fingerprint"]).encode()).hexdigest())
    if "source" not in values:
        values["source"] = AlertSource.objects.first() or source()
    made = Alert.objects.create(**values)
    AlertEvent.objects.create(alert=made, kind=AlertEvent.Kind.FIRED, at=made.timestamp)
    return made


def provider(name: str = "", **fields: Any) -> LLMProvider:
    values = {"provider_type": "openai", "model_id": "gpt-test", "is_default": True, **fields}
    return LLMProvider.objects.create(name=name or f"provider-{next(_count)}", **values)


def server(name: str = "", **fields: Any) -> Server:
    return Server.objects.create(
        name=name or f"server-{next(_count)}", **{"hostname": "127.0.0.1", "username": "ops", **fields}
    )


def analysis(covered: Alert, **fields: Any) -> Analysis:
    values = {"source_id": covered.source_id, "group_hash": covered.group_hash, "created_at": timezone.now(), **fields}
    made = Analysis.objects.create(**values)
    made.alerts.add(covered)
    return made
