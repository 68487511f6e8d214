"""What is collected before a model is asked."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from assistant import evidence
from assistant.evidence import CouldNotCheck, Item, Subject
from incidents.models import Alert, AlertEvent, Rule
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


def collect(*alerts: Alert, **options: Any) -> dict[str, Item]:
    items = asyncio.run(evidence.collect(Subject(alerts), **options))
    return {item.kind: item for item in items}


def test_it_describes_the_alert() -> None:
    alert = factories.alert(labels={"team": "db"}, annotations={"runbook_url": "https://wiki/cpu"})
    item = collect(alert)["alert"]
    assert "Name: HighCPU" in item.text
    assert '"team": "db"' in item.text
    assert "https://wiki/cpu" in item.text
    assert item.query == f"alert {alert.pk}"


def test_it_lists_what_fires_in_its_group() -> None:
    alert = factories.alert()
    factories.alert(labels={"instance": "web-2:9100"}, truncated=4)
    factories.alert(labels={"instance": "web-3:9100"}, status="resolved", ends_at=timezone.now())
    factories.alert(labels={"instance": "web-4:9100"}, group_key="another")
    item = collect(alert)["group"]
    assert item.title == "Its group: 1 more"
    assert "web-2:9100: CPU above 95%" in item.text
    assert "web-3" not in item.text and "web-4" not in item.text


def test_it_caps_a_large_group_and_says_so() -> None:
    alert = factories.alert(truncated=7)
    for number in range(35):
        factories.alert(labels={"instance": f"node-{number}"})
    item = collect(alert)["group"]
    assert item.text.startswith("35 in all, the first 30 of them:")
    assert item.text.count("\n- ") == 30
    assert "left 7 more" in item.text
    assert item.truncated


def test_it_tells_earlier_episodes_and_what_people_noted(alice: User) -> None:
    now = timezone.now()
    alert = factories.alert(fingerprint="cafe")
    old = factories.alert(
        fingerprint="cafe",
        status="resolved",
        starts_at=now - timedelta(days=2),
        ends_at=now - timedelta(days=2, hours=-3),
    )
    factories.alert(fingerprint="beef", status="resolved", starts_at=now - timedelta(days=3), ends_at=now)
    AlertEvent.objects.create(alert=old, kind="note", at=now, user=alice, text="Restarted the\nexporter.")
    item = collect(alert)["history"]
    assert item.text.startswith("1 other episodes, 1 of them started in the last 30 days.")
    assert "for 3 h" in item.text
    assert f"note by alice, {now:%Y-%m-%d %H:%M}: Restarted the exporter." in item.text


def test_it_tells_what_else_fires_nearby() -> None:
    alert = factories.alert()
    factories.alert(labels={"alertname": "DiskFull", "instance": "web-1:9100"}, group_key="disk")
    factories.alert(labels={"alertname": "Down", "instance": "web-9:9100"}, group_key="down")
    factories.alert(labels={"alertname": "Noise"}, group_key="noise", action_taken=Rule.Action.IGNORE)
    factories.alert(labels={"alertname": "Far", "instance": "x", "job": "y"}, group_key="far")
    item = collect(alert)["neighbours"]
    assert item.text.startswith("3 other alerts fire outside of the group.")
    assert "On the instance web-1:9100: 1 in all:" in item.text and "DiskFull" in item.text
    assert "In the job node: 1 in all:" in item.text and "Down" in item.text
    assert "Noise" not in item.text and "Far" not in item.text


def test_it_masks_what_looks_like_a_credential() -> None:
    alert = factories.alert(annotations={"description": "curl -H 'Authorization: Bearer abcdef1234567890' failed"})
    assert "abcdef1234567890" not in collect(alert)["alert"].text


class Blocked:
    name, title = "blocked", "The blocked place"

    async def collect(self, subject: Subject, deadline: float) -> list[Item]:
        raise CouldNotCheck("Prometheus answered 503.")


class Slow:
    name, title = "slow", "The slow place"

    async def collect(self, subject: Subject, deadline: float) -> list[Item]:
        await asyncio.sleep(60)
        return []


class Broken:
    name, title = "broken", "The broken place"

    async def collect(self, subject: Subject, deadline: float) -> list[Item]:
        raise KeyError("nobody thought of this")


def test_a_collector_that_fails_becomes_an_entry_and_spoils_no_other() -> None:
    found = collect(factories.alert(), collectors=[Blocked(), Slow(), Broken(), *evidence.COLLECTORS], deadline=1.5)
    assert found["blocked"].text == "Could not check: Prometheus answered 503."
    assert found["slow"].text == "Could not check: It took longer than 1.5 s."
    assert found["broken"].text == "Could not check: An unexpected error; the worker's log has it."
    assert found["blocked"].title == "The blocked place: could not check"
    assert "HighCPU" in found["alert"].text


class Flood:
    name, title = "flood", "A flood"

    async def collect(self, subject: Subject, deadline: float) -> list[Item]:
        return [Item("flood", "t" * 500, "q" * 5_000, "x\x00" * 50_000)]


def test_it_caps_and_cleans_what_a_collector_brings() -> None:
    item = collect(factories.alert(), collectors=[Flood()])["flood"]
    assert (len(item.title), len(item.query), len(item.text)) == (200, 2_000, 20_000)
    assert "\x00" not in item.text
    assert item.truncated
