"""What the incidents do by the minute."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from incidents.jobs import count_hits, mark_unconfirmed, watch_heartbeats
from incidents.models import Alert, AlertEvent, AlertSource, Rule
from tests import factories
from tests.webhook_client import Sender, alert

pytestmark = pytest.mark.django_db


def seen(hours: float, **fields: object) -> Alert:
    return factories.alert(last_seen_at=timezone.now() - timedelta(hours=hours), **fields)


def test_it_marks_alerts_not_repeated_for_twice_their_longest_interval() -> None:
    lost, fresh = seen(3, repeat_seconds=3600), seen(1.5, repeat_seconds=3600)
    unknown_lost, unknown_fresh = seen(8.1), seen(7.9)
    mark_unconfirmed()
    marked = set(Alert.objects.filter(unconfirmed=True).values_list("pk", flat=True))
    assert marked == {lost.pk, unknown_lost.pk}
    assert not marked & {fresh.pk, unknown_fresh.pk}
    event = AlertEvent.objects.get(alert=lost, kind="unconfirmed")
    assert event.details_json["repeat_seconds"] == 3600


def test_it_marks_once_and_neither_resolved_alerts_nor_heartbeats() -> None:
    seen(100)
    seen(100, status="resolved")
    seen(100, heartbeat=True)
    mark_unconfirmed()
    mark_unconfirmed()
    assert Alert.objects.filter(unconfirmed=True).count() == 1
    assert AlertEvent.objects.filter(kind="unconfirmed").count() == 1


def test_it_counts_a_rules_hits_once_and_leaves_the_compiled_rules_alone(sender: Sender) -> None:
    rule = factories.rule()
    sender.send(alert(fingerprint="a"), alert(fingerprint="b"))
    count_hits()
    assert Rule.objects.get().hits == 0  # too fresh: other transactions may still commit
    Alert.objects.update(timestamp=timezone.now() - timedelta(minutes=5))
    count_hits()
    count_hits()
    counted = Rule.objects.get()
    assert (counted.hits, counted.updated_at) == (2, rule.updated_at)
    assert counted.last_hit_at == Alert.objects.first().timestamp
    sender.send(alert(fingerprint="c"))
    Alert.objects.filter(fingerprint="c").update(timestamp=timezone.now() - timedelta(minutes=2))
    count_hits()
    assert Rule.objects.get().hits == 3


def heard(minutes: float, *, repeat_seconds: int | None) -> AlertSource:
    at = timezone.now() - timedelta(minutes=minutes)
    source = factories.source(last_heartbeat_at=at)
    factories.alert(source=source, heartbeat=True, last_seen_at=at, repeat_seconds=repeat_seconds)
    return source


def test_a_watchdog_that_stops_is_an_alarm_on_the_list(alice_client: Client) -> None:
    lost, heard_lately = heard(16, repeat_seconds=60), heard(14, repeat_seconds=60)
    rare, never_repeated = heard(60, repeat_seconds=3600), heard(60, repeat_seconds=None)
    watch_heartbeats()
    assert list(AlertSource.objects.silent()) == [lost]
    assert not {heard_lately, rare, never_repeated} & set(AlertSource.objects.silent())
    assert f"No heartbeat from {lost.name}" in alice_client.get("/alerts/").content.decode()


def test_a_watchdog_that_is_heard_again_ends_the_alarm(alice_client: Client) -> None:
    source = heard(16, repeat_seconds=60)
    watch_heartbeats()
    AlertSource.objects.update(last_heartbeat_at=timezone.now())
    watch_heartbeats()
    source.refresh_from_db()
    assert source.silent_since is None
    assert "No heartbeat" not in alice_client.get("/alerts/").content.decode()


def test_a_disabled_source_may_be_silent() -> None:
    source = heard(100, repeat_seconds=60)
    AlertSource.objects.filter(pk=source.pk).update(enabled=False)
    watch_heartbeats()
    assert not AlertSource.objects.silent().exists()
