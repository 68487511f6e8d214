"""Every row of Alertmanager's contract, and the notifications captured from a real one."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts.models import SystemConfig
from incidents.models import Alert, AlertEvent, QuarantinedAlert
from tests import factories
from tests.webhook_client import PAYLOADS, Sender, alert, notification, payload

pytestmark = pytest.mark.django_db

T0, T1, T2, T3 = (f"2026-11-23T{hour}:00:00Z" for hour in ("10", "11", "12", "13"))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def kinds(episode: Alert) -> list[str]:
    return list(episode.events.values_list("kind", flat=True))


def test_repeat_of_the_same_firing_updates_the_episode_and_asks_for_no_new_analysis(sender: Sender) -> None:
    factories.rule(action="auto_analyze")
    sender.send(alert(starts=T0))
    stored = Alert.objects.get()
    user = factories.user()
    stored.acknowledge(user)
    stored.add_note(user, "On it")
    Alert.objects.update(analysis_state="done", assignee=user)
    sender.send(alert(starts=T0, annotations={"summary": "CPU above 99%"}))
    stored = Alert.objects.get()
    assert (stored.occurrences, stored.status, stored.annotations_json) == (2, "firing", {"summary": "CPU above 99%"})
    assert (stored.acknowledged_by, stored.assignee, stored.analysis_state) == (user, user, "done")
    assert kinds(stored) == ["fired", "acknowledged", "note"]
    assert ProcrastinateJob.objects.count() == 1


def test_firing_with_an_earlier_start_is_the_same_episode_with_a_lower_start(sender: Sender) -> None:
    sender.send(alert(starts=T1))
    sender.send(alert(starts=T0))
    assert (Alert.objects.get().starts_at, Alert.objects.get().occurrences) == (at(T0), 2)


def test_firing_with_a_later_start_and_no_resolve_seen_supersedes_the_open_episode(sender: Sender) -> None:
    factories.rule(action="auto_analyze")
    sender.send(alert(starts=T0))
    sender.send(alert(starts=T1))
    new, old = Alert.objects.order_by("-starts_at")
    assert (old.status, old.superseded, old.ends_at, kinds(old)) == ("resolved", True, at(T1), ["fired", "superseded"])
    assert (new.status, new.previous, new.analysis_state, kinds(new)) == ("firing", old, "queued", ["fired"])


def test_refire_after_resolve_is_a_new_episode_linked_counted_and_through_the_rules_again(sender: Sender) -> None:
    sender.send(alert(starts=T0))
    sender.send(alert("resolved", starts=T0, ends=T1))
    rule = factories.rule(action="auto_analyze")
    sender.send(alert(starts=T2))
    new, old = Alert.objects.order_by("-starts_at")
    assert (old.status, old.ends_at, kinds(old)) == ("resolved", at(T1), ["fired", "resolved"])
    assert (new.status, new.previous, new.flaps, new.matched_rule) == ("firing", old, 1, rule)
    assert ProcrastinateJob.objects.count() == 1


def test_firing_again_with_the_same_start_after_resolved_reopens_the_same_episode(sender: Sender) -> None:
    factories.rule(action="auto_analyze")
    sender.send(alert(starts=T0))
    sender.send(alert("resolved", starts=T0, ends=T1))
    sender.send(alert(starts=T0))
    stored = Alert.objects.get()
    assert (stored.status, stored.ends_at, stored.reopened) == ("firing", None, 1)
    assert kinds(stored) == ["fired", "resolved", "reopened"]
    assert ProcrastinateJob.objects.count() == 1


def test_resolved_older_than_the_open_episode_is_only_logged(sender: Sender) -> None:
    sender.send(alert(starts=T2))
    sender.send(alert("resolved", starts=T0, ends=T1))
    stored = Alert.objects.get()
    assert (stored.status, stored.starts_at, stored.occurrences) == ("firing", at(T2), 1)
    assert kinds(stored) == ["fired", "seen_late"]


def test_an_old_firing_that_arrives_late_does_not_stretch_the_open_episode(sender: Sender) -> None:
    sender.send(alert(starts=T0))
    sender.send(alert("resolved", starts=T0, ends=T1))
    sender.send(alert(starts=T2))
    sender.send(alert(starts=T0))
    new, old = Alert.objects.order_by("-starts_at")
    assert (new.starts_at, old.status, kinds(new)) == (at(T2), "resolved", ["fired", "seen_late"])


def test_resolved_never_seen_firing_is_stored_as_history_and_never_analysed(sender: Sender) -> None:
    factories.rule(action="auto_analyze")
    sender.send(alert("resolved", starts=T0, ends=T1))
    stored = Alert.objects.get()
    assert (stored.status, stored.ends_at, stored.analysis_state) == ("resolved", at(T1), "none")
    assert kinds(stored) == ["resolved"]
    assert not ProcrastinateJob.objects.exists()


def test_a_later_episode_that_is_over_already_closes_the_open_one_too(sender: Sender) -> None:
    sender.send(alert(starts=T0))
    sender.send(alert("resolved", starts=T1, ends=T2))
    new, old = Alert.objects.order_by("-starts_at")
    assert (old.status, old.superseded) == ("resolved", True)
    assert (new.status, new.ends_at, new.previous) == ("resolved", at(T2), old)


def test_the_same_fingerprint_from_two_groups_is_one_episode_that_remembers_both(sender: Sender) -> None:
    sender.send(alert(), groupKey="{}:{a}", receiver="first")
    sender.send(alert(), groupKey="{}:{b}", receiver="second")
    sender.send(alert(), groupKey="{}:{b}", receiver="second")
    stored = Alert.objects.get()
    both = [{"group_key": "{}:{a}", "receiver": "first"}, {"group_key": "{}:{b}", "receiver": "second"}]
    assert (stored.group_keys, stored.group_key, stored.occurrences) == (both, "{}:{a}", 3)


def test_the_same_fingerprint_from_two_sources_is_two_episodes(sender: Sender) -> None:
    sender.send(alert())
    Sender().send(alert())
    assert Alert.objects.filter(status="firing").count() == 2


def test_a_repeat_tells_that_an_unconfirmed_alert_is_still_there(sender: Sender) -> None:
    sender.send(alert())
    Alert.objects.update(unconfirmed=True)
    sender.send(alert())
    assert not Alert.objects.get().unconfirmed


def test_truncated_alerts_leave_a_badge_on_the_group_and_a_note_on_the_source(sender: Sender) -> None:
    sender.send(alert(), truncatedAlerts=7)
    sender.source.refresh_from_db()
    assert (Alert.objects.get().truncated, sender.source.last_truncated) == (7, 7)
    assert sender.source.last_truncated_at


def test_a_huge_body_is_taken_and_one_beyond_the_limit_is_413(sender: Sender) -> None:
    text = "x" * 900
    sender.send(*(alert(fingerprint=f"f{number}", annotations={"text": text}) for number in range(3000)))
    assert Alert.objects.count() == 3000
    assert sender.post(b" " * (32 * 2**20 + 1), chunk=2**20).status == 413


def test_nul_lone_surrogates_and_over_long_labels_are_stored_clean_and_whole(sender: Sender) -> None:
    long = "n" * 1000
    sender.send(alert(labels={"alertname": long, "instance": "a\x00b", "odd": "\ud800!", "job": "j" * 300}))
    stored = Alert.objects.get()
    assert (len(stored.alert_name), len(stored.job)) == (255, 100)
    assert stored.labels_json["alertname"] == long
    assert (stored.labels_json["odd"], stored.instance) == ("\ufffd!", "a\ufffdb")


@pytest.mark.parametrize(
    ("labels", "name", "severity", "rank"),
    [
        ({"service name.åäö": "x"}, "unknown", "unknown", 4),
        ({"alertname": "A", "severity": "page"}, "A", "critical", 0),
        ({"alertname": "A", "severity": "P1"}, "A", "critical", 0),
        ({"alertname": "A", "severity": "Error"}, "A", "error", 1),
        ({"alertname": "A", "severity": "warn"}, "A", "warning", 2),
        ({"alertname": "A", "severity": "info"}, "A", "info", 3),
        ({"alertname": "A", "severity": "banana"}, "A", "unknown", 4),
    ],
)
def test_odd_labels_and_unknown_severities_are_accepted(
    sender: Sender, labels: dict[str, str], name: str, severity: str, rank: int
) -> None:
    made = alert()
    made["labels"] = labels
    sender.send(made)
    stored = Alert.objects.get()
    assert (stored.alert_name, stored.severity, stored.severity_rank) == (name, severity, rank)
    assert (stored.labels_json, stored.instance) == (labels, "")


def test_the_severity_map_of_the_system_configuration_holds_for_the_next_post(sender: Sender) -> None:
    sender.send(alert(labels={"severity": "sev9"}, fingerprint="a"))
    SystemConfig.objects.create(key="severity_map", value_json={"sev9": "error"})
    sender.send(alert(labels={"severity": "SEV9"}, fingerprint="b"))
    assert Alert.objects.get(fingerprint="b").severity == "error"


def test_one_malformed_alert_is_quarantined_and_the_rest_of_its_batch_is_stored(sender: Sender) -> None:
    response = sender.send(alert(), alert("on fire", fingerprint="b"), 17, alert(fingerprint="c"))
    assert response.json() == {"received": 4, "quarantined": 2}
    assert set(Alert.objects.values_list("fingerprint", flat=True)) == {"00000000000000f1", "c"}
    reasons = list(QuarantinedAlert.objects.values_list("reason", flat=True))
    assert any('not "on fire"' in reason for reason in reasons)
    assert any("must be an object" in reason for reason in reasons)
    assert QuarantinedAlert.objects.filter(excerpt="17", source=sender.source, ip_address="192.0.2.7").exists()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b'{"alerts": [',
        b"[]",
        b'{"alerts": {}}',
        b'{"message": "hi"}',
        b"[" * 5000,
        b'{"alerts": [' + b"[" * 900 + b"]" * 900 + b"]}",
        b'{"alerts": [{"labels": ' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}]}",
        b'{"alerts": [' + b"1" * 5000 + b"]}",
        b'{"alerts": [NaN]}',
        b'{"alerts": [1e999]}',
        b'{"alerts": [], "alerts": []}',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf" + b'{"alerts": []}',
        b'{"alerts": ["\xff"]}',
        '{"alerts": []}'.encode("utf-16"),
        b"\x00\x01\x02",
    ],
)
def test_what_is_no_notification_is_400_with_the_reason_and_its_head_kept(sender: Sender, body: bytes) -> None:
    response = sender.post(body)
    assert response.status == 400
    kept = QuarantinedAlert.objects.get()
    assert response.json() == {"error": kept.reason}
    assert (kept.size, len(kept.excerpt) <= 4000) == (len(body), True)


def test_hostile_text_is_stored_as_it_was_sent(sender: Sender) -> None:
    """Escaping is the pages' work, where the context is known."""
    script = '<script>alert("x")</script>'
    sender.send(alert(annotations={"summary": script}, generatorURL="javascript:alert(1)"))
    stored = Alert.objects.get()
    assert (stored.annotations_json["summary"], stored.generator_url) == (script, "javascript:alert(1)")


def test_a_watchdog_is_a_heartbeat_of_its_source_and_never_an_incident(sender: Sender) -> None:
    factories.rule(action="auto_analyze")
    sender.send(alert(labels={"alertname": "Watchdog", "severity": "none"}))
    stored = Alert.objects.get()
    sender.source.refresh_from_db()
    assert (stored.heartbeat, stored.analysis_state, stored.matched_rule) == (True, "none", None)
    assert sender.source.last_heartbeat_at == stored.timestamp
    assert not Alert.objects.shown().exists()
    assert not ProcrastinateJob.objects.exists()
    sender.source.last_heartbeat_at = None
    sender.source.save()
    sender.send(alert(labels={"alertname": "Watchdog", "severity": "none"}))
    sender.source.refresh_from_db()
    assert sender.source.last_heartbeat_at


@pytest.mark.parametrize("path", sorted(PAYLOADS.glob("alertmanager-*.json")), ids=lambda path: path.stem)
def test_captured_notifications_are_stored_with_the_fingerprint_as_sent_or_computed(sender: Sender, path) -> None:
    sent = json.loads(path.read_text())
    sender.post(sent)
    for each in sent["alerts"]:
        stored = Alert.objects.get(fingerprint=each["fingerprint"])
        assert (stored.labels_json, stored.status) == (each["labels"], each["status"])
        assert stored.raw_alert_json["notification"]["version"] == "4"
        del each["fingerprint"]
    Alert.objects.all().delete()
    sender.post(sent)
    assert set(Alert.objects.values_list("fingerprint", flat=True)) == {
        each["fingerprint"] for each in json.loads(path.read_text())["alerts"]
    }


def test_the_captured_story_ends_with_every_episode_resolved_once(sender: Sender) -> None:
    for number, status in enumerate(["firing"] * 4 + ["resolved"] * 3, 1):
        assert sender.post(payload(f"alertmanager-{number:02d}-{status}")).status == 200
    assert set(Alert.objects.values_list("status", flat=True)) == {"resolved"}
    assert Alert.objects.values("fingerprint").distinct().count() == Alert.objects.count()


def test_grafanas_variant_is_accepted_and_its_extras_are_kept(sender: Sender) -> None:
    sender.send(
        alert(values={"B": 98.5}, silenceURL="http://grafana/silence", dashboardURL="http://grafana/d/1", valueString="B=98.5"),
        version="1", orgId=1, title="[FIRING:1] HighCPU", state="alerting", message="long text",
    )  # fmt: skip
    raw = Alert.objects.get().raw_alert_json
    assert (raw["values"], raw["dashboardURL"]) == ({"B": 98.5}, "http://grafana/d/1")
    assert (raw["notification"]["orgId"], raw["notification"]["state"]) == (1, "alerting")


def test_old_versions_without_fingerprint_and_truncated_count_are_accepted(sender: Sender) -> None:
    body = notification(alert(fingerprint=None))
    del body["truncatedAlerts"]
    assert sender.post(body).status == 200
    assert len(Alert.objects.get().fingerprint) == 16


def test_times_with_nanoseconds_and_offsets_are_the_same_moment(sender: Sender) -> None:
    sender.send(alert(starts="2026-11-23T12:00:00.123456789+02:00"))
    sender.send(alert(starts="2026-11-23T10:00:00.123456001Z"))
    stored = Alert.objects.get()
    assert stored.starts_at == datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC)
    assert stored.occurrences == 2


def test_ignored_alerts_are_kept_and_hidden(sender: Sender) -> None:
    factories.rule(action="ignore")
    sender.send(alert())
    assert Alert.objects.get().action_taken == "ignore"
    assert not Alert.objects.shown().exists()
    assert AlertEvent.objects.get().details_json["action"] == "ignore"
