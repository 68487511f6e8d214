"""The audit log in the admin: readable, searchable, exportable, quick when long, and changed by nobody."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from aiops.lib.actor import Actor, acting_as
from aiops.lib.spreadsheet import cell
from audit import admin as audit_admin
from audit import export
from audit.log import record
from audit.models import AuditEntry

LIST = "/admin/audit/auditentry/"
pytestmark = pytest.mark.django_db


def shown(client: Client, query: str) -> list[str]:
    """The numbers (`n` of their details) of the entries that the list shows."""
    response = client.get(LIST + query)
    assert response.status_code == 200, response
    return [str(entry.details_json.get("n")) for entry in response.context["cl"].result_list]


@pytest.fixture
def entries(alice: User, bob: User) -> list[AuditEntry]:
    with acting_as(Actor(alice.pk, "alice", "192.0.2.1")):
        first = record("change_user", bob, n=1, note="Zebra")
    with acting_as(Actor(bob.pk, "bob", "192.0.2.2")):
        second = record("login", bob, n=2)
    return [first, second, record("create_rule", resource_type="rule", n=3)]


def test_it_lists_filters_and_searches(carol_client: Client, alice: User, bob: User, entries: list[AuditEntry]) -> None:
    today = f"{entries[0].created_at:%Y-%m-%d}"
    for query, numbers in {
        "": "321",
        "?action=login": "2",
        "?resource_type=user": "21",
        f"?user__id__exact={alice.pk}": "1",
        "?q=zebra": "1",
        "?q=192.0.2.2": "2",
        f"?q={bob.pk}": "21",
        f"?since={today}&until={today}": "321",
        "?until=2001-01-01": "",
        "?since=nonsense": "321",
        f"?since={today}&action=login&q=bob": "2",
    }.items():
        assert "".join(shown(carol_client, query)) == numbers, query


def test_it_shows_everything_about_one_entry(carol_client: Client, entries: list[AuditEntry]) -> None:
    page = carol_client.get(f"{LIST}{entries[0].pk}/change/").content.decode()
    for text in (entries[0].hash, entries[0].previous_hash, "Zebra", "192.0.2.1", "alice", "icon-yes"):
        assert text in page
    assert '<input type="submit"' not in page


def test_nobody_adds_changes_or_deletes(carol_client: Client, entries: list[AuditEntry]) -> None:
    before = list(AuditEntry.objects.values())
    one = f"{LIST}{entries[0].pk}/"
    for address in (f"{LIST}add/", f"{one}change/", f"{one}delete/"):
        assert carol_client.post(address, {"action": "forged", "post": "yes"}).status_code == 403
    carol_client.post(LIST, {"action": "delete_selected", "_selected_action": [str(entries[0].pk)], "post": "yes"})
    assert list(AuditEntry.objects.values()) == before


def test_a_long_log_is_counted_to_a_limit_and_needs_no_more_queries(
    carol_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def queries() -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            carol_client.get(LIST)
        return [query["sql"] for query in captured]

    record("test", n=0)
    queries()  # the first request stores the session
    few = len(queries())
    for number in range(60):
        record("test", n=number)
    assert len(queries()) == few
    monkeypatch.setattr(audit_admin, "COUNTED", 55)
    assert carol_client.get(LIST).context["cl"].paginator.count == 55


def test_it_exports_what_the_list_shows_and_writes_that_down(carol: User, carol_client: Client) -> None:
    for number, name in enumerate(("=1+1", "+x", "-x", "@x", " =x", "plain")):
        with acting_as(Actor(None, name)):
            record("test", n=number)
    response = carol_client.post(f"{LIST}export/?action=test")
    assert response["Content-Type"].startswith("text/csv")
    rows = list(csv.reader(io.StringIO(_read(response))))
    assert [row[2] for row in rows[1:]] == ["plain", "' =x", "'@x", "'-x", "'+x", "'=1+1"]
    last = AuditEntry.objects.latest("sequence")
    assert (last.action, last.user_id, last.details_json["filters"]) == ("export_audit", carol.pk, {"action": ["test"]})


def test_a_long_export_is_whole(carol_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "BATCH", 4)
    for number in range(13):
        record("test", n=number)
    rows = _read(carol_client.post(f"{LIST}export/")).splitlines()
    assert [row.split(",")[0] for row in rows] == ["number", *(str(number) for number in range(13, 0, -1))]


def _read(response: Any) -> str:
    async def parts() -> bytes:
        return b"".join([part async for part in response.streaming_content])

    return async_to_sync(parts)().decode()


def test_an_export_that_cannot_be_recorded_gives_nothing(carol_client: Client, broken_audit: None) -> None:
    carol_client.raise_request_exception = False
    assert carol_client.post(f"{LIST}export/").status_code == 500


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("a=1", "a=1"),
        (None, ""),
        (-3, "'-3"),
    ],
)
def test_no_cell_is_a_formula(value: Any, text: str) -> None:
    assert cell(value) == text
