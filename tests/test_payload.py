"""Reading bodies, without a database."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incidents.payload import Batch, PayloadError, fingerprint, parse
from tests.webhook_client import PAYLOADS, alert, notification


def read(*alerts: Any, **fields: Any) -> Batch:
    return parse(json.dumps(notification(*alerts, **fields)).encode())


def reason_of(sent: Any) -> str:
    batch = read(sent)
    assert not batch.alerts
    return batch.rejected[0].reason


@pytest.mark.parametrize("path", sorted(PAYLOADS.glob("alertmanager-*.json")), ids=lambda path: path.stem)
def test_it_computes_the_fingerprints_of_a_real_alertmanager(path) -> None:
    for each in parse(path.read_bytes()).alerts:
        assert fingerprint(each.label_set) == each.fingerprint


def test_it_computes_a_fingerprint_whatever_the_order_of_labels() -> None:
    assert fingerprint({"a": "1", "b": "2"}) == fingerprint({"b": "2", "a": "1"}) != fingerprint({"a": "2", "b": "1"})
    assert fingerprint({}) == "cbf29ce484222325"


@pytest.mark.parametrize("sent", ["x", "x" * 100, "ümlaut", " "])
def test_it_takes_a_fingerprint_as_it_stands(sent: str) -> None:
    assert read(alert(fingerprint=sent)).alerts[0].fingerprint == sent


@pytest.mark.parametrize("sent", ["x" * 101, 17, ["x"], True])
def test_it_sets_aside_a_fingerprint_that_is_none(sent: Any) -> None:
    assert "fingerprint" in reason_of(alert(fingerprint=sent))


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("2026-11-23T18:01:38Z", datetime(2026, 11, 23, 18, 1, 38, tzinfo=UTC)),
        ("2026-11-23T18:01:38.177355781Z", datetime(2026, 11, 23, 18, 1, 38, 177355, tzinfo=UTC)),
        ("2026-11-23T18:01:38.1+05:30", datetime(2026, 11, 23, 12, 31, 38, 100000, tzinfo=UTC)),
        ("2026-11-23T18:01:38", datetime(2026, 11, 23, 18, 1, 38, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("", None),
        (None, None),
    ],
)
def test_it_reads_starts(sent: str | None, expected: datetime | None) -> None:
    assert read(alert(starts=sent)).alerts[0].starts_at == expected


@pytest.mark.parametrize(
    "sent", ["yesterday", "2026-13-01T00:00:00Z", 1700000000, "9999-12-31T23:59:59-10:00", {}, "0000-01-01"]
)
def test_it_sets_aside_a_start_that_is_no_time(sent: Any) -> None:
    assert "startsAt" in reason_of(alert(starts=sent))


@pytest.mark.parametrize("sent", ["soon", 17, "0001-01-01T00:00:00Z"])
def test_it_takes_an_end_that_is_no_time_as_none(sent: Any) -> None:
    """That an alert resolved matters more than when."""
    assert read(alert("resolved", ends=sent)).alerts[0].ends_at is None


def test_it_knows_no_end_while_an_alert_fires() -> None:
    assert read(alert("firing", ends="2026-11-23T18:01:38Z")).alerts[0].ends_at is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"status": "pending"}, "status"),
        ({"status": None}, "status"),
        ({"labels": None}, "labels"),
        ({"labels": ["a"]}, "labels"),
        ({"labels": {"a": {"b": "c"}}}, "label “a”"),
        ({"annotations": "text"}, "annotations"),
        ({"annotations": {"a": ["b"]}}, "annotation “a”"),
        ({"labels": {}, "fingerprint": ""}, "nothing names this alert"),
    ],
)
def test_it_sets_aside_what_it_cannot_use_and_says_why(change: dict[str, Any], said: str) -> None:
    assert said in reason_of({**alert(), **change})


def test_it_spells_out_numbers_and_truth_values_in_labels() -> None:
    read_alert = read(alert(labels={"shard": 7, "up": True, "gone": None})).alerts[0]
    assert [read_alert.label_set[name] for name in ("shard", "up", "gone")] == ["7", "true", ""]


def test_it_takes_an_alert_without_annotations() -> None:
    assert read(alert(annotations=None)).alerts[0].annotation_set == {}


def test_it_keeps_unknown_keys_of_the_alert_and_around_it() -> None:
    batch = read(alert(silenceURL="http://x"), notification_reason="repeat")
    assert batch.alerts[0].raw["silenceURL"] == "http://x"
    assert batch.envelope["notification_reason"] == "repeat"


def test_it_drops_the_longest_parts_around_the_alerts_where_they_are_long() -> None:
    batch = read(alert(), message="x" * 100_000, orgId=1)
    assert "message" not in batch.envelope
    assert batch.envelope["orgId"] == 1


@pytest.mark.parametrize("sent", [-1, "7", None, True, 10**20])
def test_it_counts_truncated_alerts_sensibly(sent: Any) -> None:
    assert read(truncatedAlerts=sent).truncated in (0, 2**31 - 1)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"a": 1, "a": 2}', "“a” stands twice"),
        (b'{"alerts": [Infinity]}', "Infinity is not JSON"),
        (b'{"alerts": [', "not JSON"),
        (b'{"alerts": [{"x": ' + b"[" * 40 + b"]" * 40 + b"}]}", "deeper than"),
        (b'{"alerts": [' + b"9" * 101 + b"]}", "digits"),
    ],
)
def test_it_says_why_it_cannot_read_a_body(body: bytes, said: str) -> None:
    with pytest.raises(PayloadError, match=said):
        parse(body)


@given(st.binary(max_size=200))
def test_it_reads_or_refuses_any_bytes(body: bytes) -> None:
    try:
        parse(body)
    except PayloadError as exc:
        assert str(exc)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda each: st.lists(each, max_size=3),
    max_leaves=5,
)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["status", "labels", "annotations", "startsAt", "endsAt", "fingerprint"]), VALUES
        )
    )
)
def test_it_reads_or_sets_aside_any_alert(alerts: list[dict[str, Any]]) -> None:
    try:
        batch = parse(json.dumps({"alerts": alerts}).encode())
    except PayloadError:
        assert "NaN" in json.dumps(alerts) or "Infinity" in json.dumps(alerts)
    else:
        assert batch.received == len(alerts)
