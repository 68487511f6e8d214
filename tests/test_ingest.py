"""What one batch does to the database, beyond the contract's table."""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from procrastinate.contrib.django.models import ProcrastinateJob

from incidents import ingest_sql
from incidents.episodes import Decision, Stored, decide, flaps_after
from incidents.models import Alert, AlertEvent, QuarantinedAlert
from incidents.payload import IncomingAlert
from tests import factories
from tests.webhook_client import FIRED, Sender, alert, notification

T0, T1, T2 = FIRED, "2026-11-23T11:00:00Z", "2026-11-23T12:00:00Z"


@pytest.mark.django_db
def test_it_asks_for_one_analysis_of_a_group_in_the_same_transaction(sender: Sender) -> None:
    factories.rule(action="auto_analyze")
    sender.send(*(alert(fingerprint=str(number)) for number in range(5)), groupKey="{}:{x}")
    group = hashlib.sha256(b"{}:{x}").hexdigest()
    job = ProcrastinateJob.objects.get()
    first = Alert.objects.get(fingerprint="0")
    assert job.task_name == "assistant.analyze_group"
    assert job.args == {
        "source_id": str(sender.source.pk), "group_hash": group, "alert_id": str(first.pk), "trigger": "rule", "user_id": None,
    }  # fmt: skip
    assert set(Alert.objects.values_list("analysis_state", "group_hash")) == {("queued", group)}


@pytest.mark.django_db
def test_it_asks_for_one_analysis_an_alert_where_the_sender_knows_no_groups(sender: Sender) -> None:
    factories.rule(action="auto_analyze")
    sender.send(alert(fingerprint="a"), alert(fingerprint="b"), groupKey="")
    hashes = {hashlib.sha256(name).hexdigest() for name in (b"a", b"b")}
    assert set(Alert.objects.values_list("group_hash", flat=True)) == hashes
    assert {job.args["group_hash"] for job in ProcrastinateJob.objects.all()} == hashes


@pytest.mark.django_db
def test_it_counts_the_same_alert_twice_in_one_body_once(sender: Sender) -> None:
    assert sender.send(alert(), alert(), alert()).json()["received"] == 3
    assert Alert.objects.get().occurrences == 1
    assert AlertEvent.objects.count() == 1


@pytest.mark.django_db
def test_it_takes_several_episodes_of_one_series_in_one_body_in_their_order(sender: Sender) -> None:
    sender.send(alert(starts=T2), alert("resolved", starts=T0, ends=T1), alert(starts=T0))
    new, old = Alert.objects.order_by("-starts_at")
    assert (new.status, new.previous, new.flaps) == ("firing", old, 1)
    assert (old.status, old.superseded, [event.kind for event in old.events.all()]) == (
        "resolved", False, ["fired", "resolved"],
    )  # fmt: skip


@pytest.mark.django_db
def test_it_sets_aside_more_episodes_of_one_series_than_a_body_may_have(sender: Sender) -> None:
    starts = [f"2026-11-23T10:{minute:02d}:00Z" for minute in range(15)]
    assert sender.send(*(alert(starts=each) for each in starts)).json() == {"received": 15, "quarantined": 5}
    assert (Alert.objects.count(), Alert.objects.filter(status="firing").count()) == (10, 1)
    assert "more than 10 episodes" in QuarantinedAlert.objects.first().reason


@pytest.mark.django_db
def test_it_resolves_the_open_episode_where_the_sender_gives_no_start(sender: Sender) -> None:
    sender.send(alert(starts=None))
    sender.send(alert(starts="0001-01-01T00:00:00Z"))
    assert Alert.objects.get().occurrences == 2
    sender.send(alert("resolved", starts=None, ends="never"))
    stored = Alert.objects.get()
    assert stored.status == "resolved"
    assert stored.ends_at >= stored.starts_at


@pytest.mark.django_db
def test_an_end_before_the_start_never_makes_a_negative_duration(sender: Sender) -> None:
    sender.send(alert(starts=T1))
    sender.send(alert("resolved", starts=T1, ends=T0))
    sender.send(alert("resolved", starts=T1, ends=T0, fingerprint="history"))
    assert all(stored.ends_at == stored.starts_at for stored in Alert.objects.all())


@pytest.mark.django_db
def test_it_learns_the_longest_repeat_and_ignores_duplicates_of_seconds(sender: Sender) -> None:
    sender.send(alert())
    sender.send(alert())
    assert Alert.objects.get().repeat_seconds is None
    seen = Alert.objects.get().last_seen_at - timedelta(hours=4)
    Alert.objects.update(last_seen_at=seen)
    sender.send(alert())
    assert 4 * 3600 <= Alert.objects.get().repeat_seconds < 4 * 3600 + 60


@pytest.mark.django_db
def test_it_knows_a_bounded_number_of_groups_of_one_episode(sender: Sender) -> None:
    for number in range(25):
        sender.send(alert(), groupKey=f"{{}}:{{{number}}}")
    assert len(Alert.objects.get().group_keys) == 20


@pytest.mark.django_db
def test_it_writes_the_source_only_every_few_seconds(sender: Sender) -> None:
    sender.send(alert())
    sender.source.refresh_from_db()
    first = sender.source.last_received_at
    sender.send(alert())
    sender.source.refresh_from_db()
    assert sender.source.last_received_at == first
    sender.source.last_received_at = first - timedelta(seconds=6)
    sender.source.save()
    sender.send(alert())
    sender.source.refresh_from_db()
    assert sender.source.last_received_at > first


@pytest.mark.django_db
def test_it_uses_as_many_statements_for_a_thousand_alerts_as_for_one(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []
    execute = ingest_sql._execute
    monkeypatch.setattr(
        ingest_sql, "_execute", lambda query, values: statements.append(query) or execute(query, values)
    )
    sender.send(alert(fingerprint="warm"))
    counts = []
    for size in (1, 1000):
        statements.clear()
        sender.send(*(alert(fingerprint=f"{size}-{number}") for number in range(size)))
        counts.append(len(statements))
    assert counts == [3, 3]
    assert Alert.objects.count() == 1002


@pytest.mark.django_db
def test_a_clock_that_was_ahead_does_not_hide_the_open_episode(sender: Sender) -> None:
    sender.send(alert("resolved", startsAt="2099-01-01T00:00:00Z", endsAt="2099-01-01T00:05:00Z"))
    for _ in range(3):
        sender.send(alert(startsAt=None))
    assert sorted(Alert.objects.values_list("status", "occurrences")) == [("firing", 3), ("resolved", 1)]


@pytest.mark.django_db
def test_alerts_of_a_route_without_grouping_are_analysed_by_name(sender: Sender) -> None:
    factories.rule(action="auto_analyze")
    names = ["HighCPU", "DiskFull", "DiskFull"]
    each = [alert(labels={"alertname": name}, fingerprint=str(place)) for place, name in enumerate(names)]
    sender.send(*each, groupKey="{}:{}")
    assert Alert.objects.values("group_hash").distinct().count() == 2
    assert ProcrastinateJob.objects.count() == 2


TEXT = st.text(max_size=30) | st.sampled_from(["\x00", "\ud800", "a" * 400, "\u202e", "{}", "%s", "'", "\\"])
NAMES = TEXT | st.sampled_from(["alertname", "severity", "instance", "job", "team"])
TIMES = st.sampled_from(
    [T0, T1, T2, "0001-01-01T00:00:00Z", "", "nonsense", None, 5, "2026-11-23T10:00:00.123456789+14:00"]
)


@st.composite
def any_alert(draw: Any) -> Any:
    made = {
        "status": draw(st.sampled_from(["firing", "resolved", "pending", None])),
        "labels": draw(st.dictionaries(NAMES, TEXT, max_size=6) | st.none()),
        "annotations": draw(st.dictionaries(TEXT, TEXT, max_size=3)),
        "startsAt": draw(TIMES),
        "endsAt": draw(TIMES),
        "fingerprint": draw(st.sampled_from(["a", "b", "", None, "\x00", "x" * 101])),
        "generatorURL": draw(TEXT),
        "extra": draw(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.lists(TEXT, max_size=3)),
    }
    return draw(st.sampled_from([made, made, made, draw(st.integers() | TEXT)]))


@pytest.mark.django_db
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(any_alert(), max_size=6), min_size=1, max_size=3), group=TEXT)
def test_it_stores_or_quarantines_whatever_is_sent_and_keeps_one_open_episode(
    sender: Sender, batches: list[list[Any]], group: str
) -> None:
    for alerts in batches:
        response = sender.post(json.dumps(notification(*alerts, groupKey=group, receiver=group)).encode())
        if response.status == 400:  # a number beyond what is taken
            assert "digits" in response.json()["error"] or "number" in response.json()["error"]
            continue
        assert response.status == 200
        assert response.json()["received"] == len(alerts)
        assert Alert.objects.filter(source=sender.source).exists() or response.json()["quarantined"] == len(alerts)
    firing = Alert.objects.filter(source=sender.source, status="firing").values_list("fingerprint", flat=True)
    assert len(firing) == len(set(firing))


# -- the decision alone ------------------------------------------------------------------------------------------------


def stored(status: str, starts: str, ends: str | None = None, previous: str | None = None) -> Stored:
    moments = (moment(each) if each else None for each in (ends, previous))
    return Stored(uuid.uuid4(), status == "firing", moment(starts), next(moments), 2, next(moments))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def incoming(status: str, starts: str | None, ends: str | None = None) -> IncomingAlert:
    moments = (moment(each) if each else None for each in (starts, ends))
    return IncomingAlert("f", status == "firing", next(moments), next(moments), "", {})


@pytest.mark.parametrize(
    ("before", "sent", "expected"),
    [
        (None, ("firing", T0), Decision.OPEN),
        (None, ("resolved", T0), Decision.HISTORY),
        (("firing", T1), ("firing", T1), Decision.REPEAT),
        (("firing", T1), ("firing", T0), Decision.REPEAT),
        (("firing", T1), ("firing", None), Decision.REPEAT),
        (("firing", T1), ("firing", T2), Decision.SUPERSEDE),
        (("firing", T1, None, T1), ("firing", T0), Decision.LATE),
        (("firing", T1), ("resolved", T1, T2), Decision.RESOLVE),
        (("firing", T1), ("resolved", None), Decision.RESOLVE),
        (("firing", T1), ("resolved", T0, T2), Decision.RESOLVE),
        (("firing", T1), ("resolved", T0, T1), Decision.LATE),
        (("firing", T1), ("resolved", T0), Decision.LATE),
        (("firing", T0), ("resolved", T1, T2), Decision.SUPERSEDE_BY_HISTORY),
        (("resolved", T0, T1), ("firing", T2), Decision.OPEN),
        (("resolved", T0, T1), ("firing", None), Decision.OPEN),
        (("resolved", T1, T2), ("firing", T1), Decision.REOPEN),
        (("resolved", T1, T2), ("firing", T0), Decision.REOPEN),
        (("resolved", T1, T2), ("resolved", T1, T2), Decision.END_AGAIN),
        (("resolved", T0, T1), ("resolved", T1, T2), Decision.HISTORY),
        (("resolved", T1, T2), ("resolved", T0, T0), Decision.LATE),
    ],
)
def test_it_decides(before: tuple[str, ...] | None, sent: tuple[str, ...], expected: Decision) -> None:
    assert decide(stored(*before) if before else None, incoming(*sent)) is expected


def test_it_counts_flaps_only_soon_after_the_end() -> None:
    assert flaps_after(stored("resolved", T0, T1), moment(T2)) == 3
    assert flaps_after(stored("resolved", T0, T1), moment("2026-11-25T12:00:00Z")) == 0
    assert flaps_after(None, moment(T0)) == 0
