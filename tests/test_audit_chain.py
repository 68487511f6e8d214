"""The audit log's chain: what was written verifies, what was tampered with is found and named."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import User
from aiops.lib.actor import Actor, acting_as
from audit import chain
from audit.log import digest, record
from audit.models import AuditEntry

pytestmark = pytest.mark.django_db
keys = st.text() | st.none() | st.booleans() | st.integers() | st.floats()
leaves = keys | st.integers(-(10**400), 10**400) | st.uuids() | st.datetimes() | st.characters()
details = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner) | st.tuples(inner), max_leaves=20
)


def verify(**options: Any) -> str:
    out = StringIO()
    call_command("verify_audit", stdout=out, **options)
    return out.getvalue()


def tamper(statement: str, *values: Any) -> None:
    """As the table's owner could."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE audit_log DISABLE TRIGGER USER")
        cursor.execute(statement, values or None)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE audit_log ENABLE TRIGGER USER")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=details, name=st.text(max_size=300), address=st.sampled_from([None, "192.0.2.1", "2001:db8::1"]))
def test_whatever_is_written_verifies_when_read_back(db: None, value: Any, name: str, address: str | None) -> None:
    with acting_as(Actor(None, name, address)):
        written = record("test", value=value)
    stored = AuditEntry.objects.get(pk=written.pk)
    assert digest(stored) == stored.hash == written.hash
    assert stored.details_json == written.details_json


@pytest.mark.parametrize(
    "value",
    [1e22, 1e23, -0.0, 5e-324, 1.7e308, math.nan, math.inf, 2**80, "\x00\ud800é😀", {None: 1, 1: 2}, {"b": 1, "a": {}}],
)
def test_numbers_and_texts_that_jsonb_writes_in_another_way_verify(value: Any) -> None:
    record("test", value=value, moment=dt.datetime(2026, 1, 2), key=uuid.UUID(int=1))
    assert "1 entries, unbroken." in verify()


def test_it_counts_and_prints_the_head(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "BATCH", 3)
    assert verify() == f"0 entries, unbroken.\nHead: {'0' * 64}\n"
    for number in range(10):
        last = record("test", alice, number=number)
    assert verify() == f"10 entries, unbroken.\nHead: {last.hash}\n"


@pytest.mark.parametrize(
    ("statement", "number", "problem"),
    [
        ("UPDATE audit_log SET action = 'x' WHERE sequence = 3", 3, "changed"),
        ("""UPDATE audit_log SET details_json = '{"n": 9}' WHERE sequence = 3""", 3, "changed"),
        ("UPDATE audit_log SET user_id = NULL WHERE sequence = 3", 3, "changed"),
        ("UPDATE audit_log SET ip_address = '192.0.2.9' WHERE sequence = 3", 3, "changed"),
        ("UPDATE audit_log SET created_at = created_at + interval '1 microsecond' WHERE sequence = 3", 3, "changed"),
        ("UPDATE audit_log SET id = gen_random_uuid() WHERE sequence = 3", 3, "changed"),
        ("UPDATE audit_log SET hash = repeat('a', 64) WHERE sequence = 3", 3, "changed"),
        ("DELETE FROM audit_log WHERE sequence = 3", 4, "missing: entry 3 is not there"),
        ("DELETE FROM audit_log WHERE sequence IN (2, 3, 4)", 5, "missing: entries 2 to 4 are not there"),
        ("DELETE FROM audit_log WHERE sequence < 3", 3, "missing"),
        ("UPDATE audit_log SET sequence = 0 WHERE sequence = 3", 0, "reordered"),
    ],
)
def test_it_names_the_first_bad_entry(alice: User, statement: str, number: int, problem: str) -> None:
    with acting_as(Actor(alice.pk, "alice", "192.0.2.1")):
        for n in range(5):
            record("test", alice, n=n)
    tamper(statement)
    with pytest.raises(CommandError) as failure:
        verify()
    bad = AuditEntry.objects.get(sequence=number)
    assert f"number {number}, id {bad.id}, {bad.created_at.isoformat()}: {problem}" in str(failure.value)
    assert failure.value.returncode == 1


def test_entries_exchanged_with_their_hashes_made_anew_are_found() -> None:
    first, second, third = (record("test", n=n) for n in range(3))
    second.details_json, third.details_json = third.details_json, second.details_json
    for entry in (second, third):
        tamper(
            "UPDATE audit_log SET details_json = '{\"n\": %s}', hash = %s WHERE id = %s",
            entry.details_json["n"],
            digest(entry),
            entry.pk,
        )
    with pytest.raises(CommandError, match="number 3, .*reordered"):
        verify()


def test_a_cut_end_shows_against_a_head_kept_elsewhere() -> None:
    entries = [record("test", n=n) for n in range(5)]
    kept = entries[3].hash
    assert "5 entries" in verify(expect_head=kept), "an older head is as good: the log has grown since"
    tamper("DELETE FROM audit_log WHERE sequence > 3")
    assert "3 entries, unbroken." in verify(), "what remains is a whole chain"
    with pytest.raises(CommandError, match="cut off or replaced"):
        verify(expect_head=kept)


@pytest.mark.django_db(transaction=True)
def test_writers_at_the_same_moment_make_one_chain() -> None:
    def write(number: int) -> None:
        try:
            with transaction.atomic():
                record("test", n=number)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(30)))
    assert "30 entries, unbroken." in verify()
    times = list(AuditEntry.objects.order_by("sequence").values_list("created_at", flat=True))
    assert times == sorted(times)


def test_an_entry_rolled_back_leaves_no_gap() -> None:
    record("test")
    with pytest.raises(RuntimeError), transaction.atomic():
        record("test")
        raise RuntimeError
    record("test")
    assert "2 entries, unbroken." in verify()
