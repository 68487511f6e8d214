"""The alert list, through its address."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from incidents.models import Alert, AlertSource
from incidents.search import TEXT_WINDOW
from tests import factories

LIST = "/alerts/"


def names(client: Client, **query: str) -> list[str]:
    """The names of the alerts shown, from top to bottom."""
    page = client.get(LIST, query).content.decode()
    return re.findall(r'class="row-link"[^>]*><bdi>([^<]*)</bdi>', page)


def alert(name: str, minutes_ago: int = 0, **fields) -> Alert:
    return factories.alert(
        labels={"alertname": name}, timestamp=timezone.now() - dt.timedelta(minutes=minutes_ago), **fields
    )


def test_it_shows_what_fires_first_and_the_newest_of_that_on_top(alice_client) -> None:
    alert("Old", 30)
    alert("New", 10)
    alert("Gone", 1, status="resolved")
    assert names(alice_client) == ["New", "Old", "Gone"]


def test_it_hides_ignored_alerts_and_heartbeats_until_asked(alice_client) -> None:
    alert("Real")
    alert("Noise", 1, action_taken="ignore")
    alert("Watchdog", 2, heartbeat=True)
    assert names(alice_client) == ["Real"]
    assert names(alice_client, action="all") == ["Real", "Noise", "Watchdog"]
    assert names(alice_client, action="ignore") == ["Noise"]
    assert names(alice_client, action="heartbeat") == ["Watchdog"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"status": "resolved"}, ["DiskFull"]),
        ({"severity": "warning"}, ["DiskFull"]),
        ({"severity": "critical", "status": "firing"}, ["HighCPU"]),
        ({"alert_name": "HighCPU"}, ["HighCPU"]),
        ({"instance": "db-1"}, ["DiskFull"]),
        ({"job": "node"}, ["HighCPU"]),
        ({"acknowledged": "yes"}, ["DiskFull"]),
        ({"acknowledged": "no"}, ["HighCPU"]),
        ({"action": "auto_analyze"}, ["HighCPU"]),
        ({"q": "highcpu"}, ["HighCPU"]),
        ({"q": "db-"}, ["DiskFull"]),
        ({"q": "left disk"}, ["DiskFull"]),
        ({"q": "left cpu"}, []),
        ({"q": "100%"}, []),
        ({"q": "_"}, []),
    ],
)
def test_it_filters(alice_client, alice, query: dict[str, str], expected: list[str]) -> None:
    alert("HighCPU", action_taken="auto_analyze", annotations={"summary": "busy"})
    alert(
        "DiskFull", 1, status="resolved", severity_rank=2, instance="db-1", job="postgres", acknowledged_by=alice,
        acknowledged_at=timezone.now(), annotations={"summary": "3% left"},
    )  # fmt: skip
    assert names(alice_client, **query) == expected


def test_it_pages_through_everything_once(alice_client) -> None:
    at = timezone.now()
    for number in range(70):  # all received at the same moment, as a batch is
        factories.alert(
            labels={"alertname": f"A{number}"}, timestamp=at, status="firing" if number < 40 else "resolved"
        )
    seen, address = [], LIST
    for _ in range(3):
        page = alice_client.get(address).content.decode()
        seen += re.findall(r"<bdi>(A\d+)</bdi>", page)
        following = re.search(r'rel="next" href="\?([^"]*)"', page)
        if not following:
            break
        address = f"{LIST}?{following[1].replace('&amp;', '&')}"
    assert sorted(seen) == sorted(f"A{number}" for number in range(70))
    assert {int(name[1:]) < 40 for name in seen[:40]} == {True}


def test_it_keeps_the_filters_on_the_next_page(alice_client) -> None:
    for number in range(51):
        alert("HighCPU", number)
        alert("Other", number)
    page = alice_client.get(LIST, {"alert_name": "HighCPU"}).content.decode()
    following = re.search(r'rel="next" href="\?([^"]*)"', page)
    assert following
    assert names(alice_client, **dict(part.split("=") for part in following[1].split("&amp;"))) == ["HighCPU"]


@pytest.mark.parametrize("rows", [1, 60])
def test_its_number_of_queries_does_not_grow(alice_client, alice, rows: int) -> None:
    alice_client.get(LIST)
    for number in range(rows):
        alert("HighCPU", number, acknowledged_by=alice, acknowledged_at=timezone.now(), ai_analysis="It is busy.")
        alert("Gone", number, status="resolved")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        alice_client.get(LIST, {"q": "e"})
    assert len(queries) <= 7  # session, user, silent sources, and two for each lane


def test_text_is_looked_for_in_a_bounded_number_of_alerts_and_goes_on_behind_them(alice_client, monkeypatch) -> None:
    monkeypatch.setattr("incidents.search.TEXT_WINDOW", 3)
    assert TEXT_WINDOW > 3
    for number in range(5):
        alert("Busy", number)
    alert("Needle", 9)
    page = alice_client.get(LIST, {"q": "needle"}).content.decode()
    following = re.search(r'rel="next" href="\?([^"]*)"', page)
    assert "Nothing found yet" in page
    assert following
    page = alice_client.get(f"{LIST}?{following[1].replace('&amp;', '&')}").content.decode()
    assert "<bdi>Needle</bdi>" in page


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"status": "burning"}, "Status cannot be “burning”; it is one of firing, resolved"),
        ({"severity": "x" * 500}, "Severity cannot be"),
        ({"cursor": "0.123.nonsense"}, "damaged"),
        ({"cursor": "0.99999999999999999999." + "a" * 32}, "damaged"),
        ({"cursor": "7.1." + "a" * 32}, "damaged"),
        ({"q": "x" * 201}, "longer than 200"),
    ],
)
def test_it_says_what_is_wrong_with_the_address(alice_client, query: dict[str, str], word: str) -> None:
    alert("HighCPU")
    response = alice_client.get(LIST, query)
    assert response.status_code == 422
    assert word in response.content.decode()
    assert "<bdi>HighCPU</bdi>" in response.content.decode()


def test_a_nul_in_a_filter_is_no_error(alice_client) -> None:
    alert("HighCPU")
    assert alice_client.get(LIST, {"q": "\0", "instance": "a\0b"}).status_code == 200


def test_htmx_gets_the_table_alone_and_the_shortest_address(alice_client) -> None:
    alert("HighCPU")
    response = alice_client.get(LIST, {"q": "", "status": "firing", "job": " "}, headers={"HX-Request": "true"})
    assert response.content.decode().lstrip().startswith("<section")
    assert response["HX-Push-Url"] == "/alerts/?status=firing"
    assert "HX-Request" in response["Vary"]


def test_without_any_alert_it_shows_what_to_put_into_alertmanager(alice_client, carol_client, settings) -> None:
    page = alice_client.get(LIST).content.decode()
    assert f"url: {settings.SITE_URL}/webhook/alerts" in page
    assert "--new-token" not in page
    assert "--new-token" in carol_client.get(LIST).content.decode()


def test_without_a_match_it_offers_to_clear_the_filters(alice_client) -> None:
    alert("HighCPU")
    page = alice_client.get(LIST, {"q": "nothing such"}).content.decode()
    assert "No alert matches" in page
    assert "Clear filters" in page


def test_the_start_page_leads_to_the_list(alice_client) -> None:
    assert alice_client.get("/").headers["Location"] == LIST


def test_the_lists_indexes_serve_its_queries(alice_client) -> None:
    """A filter whose index went missing would still pass every test above, and take a second at a million alerts."""
    source = AlertSource.objects.first() or factories.source()
    now = timezone.now()
    Alert.objects.bulk_create(
        Alert(
            source=source, fingerprint=str(number), timestamp=now - dt.timedelta(seconds=number), starts_at=now,
            last_seen_at=now, alert_name=f"A{number % 50}", severity="info", severity_rank=number % 4,
            instance=f"i{number % 50}", job=f"j{number % 50}", status="resolved" if number % 10 else "firing",
        )
        for number in range(3_000)
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE alerts")
    for query, index in (
        ({}, "alerts_shown"),
        ({"action": "ignore"}, "alerts_hidden"),
        ({"alert_name": "A7"}, "alerts_name"),
        ({"instance": "i7"}, "alerts_instance"),
        ({"job": "j7"}, "alerts_job"),
        ({"acknowledged": "yes"}, "alerts_acknowledged"),
    ):
        with CaptureQueriesContext(connection) as queries:
            alice_client.get(LIST, query)
        statement = next(entry["sql"] for entry in queries if "LIMIT 51" in entry["sql"])
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN " + statement)
            plan = "\n".join(row[0] for row in cursor.fetchall())
        assert index in plan, plan
