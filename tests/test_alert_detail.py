"""One alert's page: what it shows, and what a person can do there."""

from __future__ import annotations

import datetime as dt
import re

import pytest
from django.db import DatabaseError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from assistant.models import Evidence
from audit.models import AuditEntry
from incidents.models import Alert, AlertEvent
from tests import factories, story

HTMX = {"HX-Request": "true"}


def page_of(client: Client, alert: Alert, part: str = "") -> str:
    response = client.get(f"/alerts/{alert.pk}/{part}")
    assert response.status_code == 200
    return response.content.decode()


def text_of(page: str) -> str:
    """What a person reads: without tags, spaces folded."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_it_shows_the_alert_and_where_its_links_lead(alice_client) -> None:
    alert = factories.alert(
        generator_url="https://prom.example.net/graph", annotations={"runbook_url": "https://run.example.net/cpu"}
    )
    page = page_of(alice_client, alert)
    assert "CPU above 95%" in page
    assert re.search(r'href="https://prom.example.net/graph" rel="noopener noreferrer"', page)
    assert "run.example.net" in text_of(page)
    assert f'hx-get="/alerts/{alert.pk}/analysis/"' in page
    assert f'href="/alerts/{alert.pk}/analysis/"' in page  # works without scripts


def test_an_unknown_alert_is_not_found(alice_client) -> None:
    assert alice_client.get("/alerts/00000000-0000-0000-0000-000000000000/").status_code == 404


def test_it_says_which_rule_matched_and_why(alice_client) -> None:
    rule = factories.rule("CPU", alert_name_pattern="High*", label_matchers='job="node"')
    page = text_of(page_of(alice_client, factories.alert(matched_rule=rule)))
    assert "Alert name High* matches HighCPU" in page
    assert "Label job job=&quot;node&quot; matches node" in page


def test_it_shows_earlier_episodes_and_what_else_fires_in_the_group(alice_client) -> None:
    start = timezone.now() - dt.timedelta(hours=3)
    factories.alert(
        fingerprint="same", status="resolved", starts_at=start, ends_at=start + dt.timedelta(minutes=26),
        ai_analysis="**Verdict: problem.** It was logrotate. More follows.",
    )  # fmt: skip
    factories.alert(labels={"alertname": "Neighbour"})
    factories.alert(labels={"alertname": "Elsewhere"}, group_key="{}:{other}")
    alert = factories.alert(fingerprint="same")
    page = text_of(page_of(alice_client, alert))
    assert "3 h ago lasted 26 m It was logrotate." in page
    assert "Neighbour" in page
    assert "Elsewhere" not in page


@pytest.mark.parametrize("rows", [1, 30])
def test_its_number_of_queries_does_not_grow(alice_client, alice, rows: int) -> None:
    alert = factories.alert(fingerprint="same")
    for number in range(rows):
        factories.alert(fingerprint="same", status="resolved", acknowledged_by=alice)
        factories.alert(labels={"alertname": f"N{number}"})
        alert.add_note(alice, "note")
    page_of(alice_client, alert)  # the session's first request writes it
    with CaptureQueriesContext(connection) as queries:
        page_of(alice_client, alert)
    assert len(queries) <= 7  # session, user, alert, people, timeline, episodes, group


def test_one_can_take_an_alert_and_give_it_back(alice_client, bob_client, alice) -> None:
    alert = factories.alert()
    response = alice_client.post(f"/alerts/{alert.pk}/acknowledge/", headers=HTMX)
    assert response["HX-Trigger"] == "alert-changed"
    assert "alice has it" in text_of(response.content.decode())
    bob_client.post(f"/alerts/{alert.pk}/acknowledge/", headers=HTMX)  # too late: alice keeps it
    alert.refresh_from_db()
    assert alert.acknowledged_by == alice
    assert bob_client.post(f"/alerts/{alert.pk}/unacknowledge/").headers["Location"] == f"/alerts/{alert.pk}/"
    alert.refresh_from_db()
    assert (alert.acknowledged_by, alert.acknowledged_at) == (None, None)
    kinds = alert.events.values_list("kind", "user__username")
    assert [*kinds] == [("fired", None), ("acknowledged", "alice"), ("unacknowledged", "bob")]
    actions = AuditEntry.objects.filter(resource_id=alert.pk).order_by("sequence").values_list("action", "username")
    assert [*actions] == [("acknowledge_alert", "alice"), ("unacknowledge_alert", "bob")]


def test_a_note_stands_on_the_timeline(alice_client) -> None:
    alert = factories.alert()
    response = alice_client.post(f"/alerts/{alert.pk}/note/", {"text": "  Looks like <logrotate>.  "}, headers=HTMX)
    assert response["HX-Trigger"] == "alert-changed"
    assert "Note by alice now Looks like &lt;logrotate&gt;." in text_of(page_of(alice_client, alert, "timeline/"))
    entry = AuditEntry.objects.get(action="note_alert")
    assert "logrotate" not in str(entry.details_json)


@pytest.mark.parametrize(
    ("text", "complaint"), [("   ", "an empty note was not saved"), ("x" * 10_001, "at most 10000 characters")]
)
def test_a_wrong_note_is_refused_and_kept_in_the_box(alice_client, text: str, complaint: str) -> None:
    alert = factories.alert()
    for headers in (HTMX, {}):
        response = alice_client.post(f"/alerts/{alert.pk}/note/", {"text": text}, headers=headers)
        assert response.status_code == 422
        assert complaint in response.content.decode()
        assert text.strip() in response.content.decode()
    assert not AlertEvent.objects.filter(kind="note").exists()


@pytest.mark.parametrize("action", ["acknowledge", "unacknowledge", "note", "analyze"])
def test_a_change_wants_a_token_against_forgery_and_a_post(alice, action: str) -> None:
    alert = factories.alert()
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="accounts.backends.RoleBackend")
    assert client.post(f"/alerts/{alert.pk}/{action}/", {"text": "x"}).status_code == 403
    assert client.get(f"/alerts/{alert.pk}/{action}/").status_code == 405


def test_nothing_happens_where_the_audit_log_cannot_be_written(alice) -> None:
    alert = factories.alert()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_log RENAME TO audit_log_gone")
    for act in (lambda: alert.acknowledge(alice), lambda: alert.add_note(alice, "x")):
        with pytest.raises(DatabaseError):
            act()
    alert.refresh_from_db()
    assert alert.acknowledged_at is None
    assert [*alert.events.values_list("kind", flat=True)] == ["fired"]


# -- the analysis ------------------------------------------------------------------------------------------------


def test_the_analysis_shows_ranked_causes_with_their_evidence_and_steps(alice_client, alice, bob) -> None:
    night = story.tell(alice, bob)
    page = page_of(alice_client, night.analysed, "analysis/")
    text = text_of(page)
    assert text.index("logrotate started gzip") < text.index("A traffic peak")
    assert '<a class="cite" href="#evidence-E3">E3</a>' in page
    assert 'id="evidence-E3"' in page
    assert "See what uses the CPU no risk can be undone" in text
    assert "ps -eo pid,ni,pcpu,etime,args --sort=-pcpu | head -15" in text
    assert "2,914 tokens in, 611 out $0.0179 11.4 s" in text


def test_a_pending_analysis_is_polled_until_it_ends(alice_client) -> None:
    factories.provider()
    alert = factories.alert(analysis_state="queued")
    page = page_of(alice_client, alert, "analysis/")
    assert f'hx-get="/alerts/{alert.pk}/analysis/?known=queued" hx-trigger="every 2s"' in page
    asked = f"/alerts/{alert.pk}/analysis/?known=queued"
    assert alice_client.get(asked, headers=HTMX).status_code == 204
    Alert.objects.filter(pk=alert.pk).update(analysis_state="done")
    response = alice_client.get(asked, headers=HTMX)
    assert response["HX-Trigger"] == "alert-changed"
    assert "every 2s" not in response.content.decode()


def test_a_failed_analysis_says_why_and_keeps_what_was_found(alice_client, carol_client, alice, bob) -> None:
    night = story.tell(alice, bob)
    page = text_of(page_of(alice_client, night.failed, "analysis/"))
    assert "The analysis failed. The model did not answer within 120 seconds" in page
    assert "ReplicaLag on db-2: 94 s" in page
    assert "tell an admin" in page
    assert "tell an admin" not in page_of(carol_client, night.failed, "analysis/")


def test_without_a_provider_it_says_how_to_add_one(alice_client, carol_client) -> None:
    alert = factories.alert()
    assert "create_provider" in page_of(carol_client, alert, "analysis/")
    page = page_of(alice_client, alert, "analysis/")
    assert "No model is set up" in page
    assert "create_provider" not in page
    assert "Analyse now" not in page


def test_a_linked_or_skipped_analysis_says_so(alice_client) -> None:
    factories.provider()
    reason = "Linked to the analysis of its group from 12:04."
    alert = factories.alert(analysis_state="done", analysis_reason=reason, ai_analysis="It is **busy**.")
    page = page_of(alice_client, alert, "analysis/")
    assert reason in page
    assert "<strong>busy</strong>" in page
    skipped = factories.alert(analysis_state="skipped", analysis_reason="Daily budget used up.")
    assert "Not analysed. Daily budget used up." in text_of(page_of(alice_client, skipped, "analysis/"))


def test_one_can_ask_for_an_analysis_once(alice_client) -> None:
    factories.provider()
    alert = factories.alert()
    assert "Analyse now" in page_of(alice_client, alert, "analysis/")
    for _ in range(2):
        response = alice_client.post(f"/alerts/{alert.pk}/analyze/", headers=HTMX)
        assert response.status_code == 204
        assert "analysis-changed" in response["HX-Trigger"]
    assert AuditEntry.objects.filter(action="analyze_alert").count() == 1
    assert "Waiting for a worker" in page_of(alice_client, alert, "analysis/")


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        "text",
        {"verdict": 7},
        {"verdict": "problem", "hypotheses": "x", "steps": [1, {"risk": []}], "unchecked": {}},
    ],
)
def test_a_result_of_any_shape_is_shown_without_an_error(alice_client, result: object) -> None:
    alert = factories.alert(analysis_state="done", ai_analysis="Kept as text.")
    run = factories.analysis(alert, state="done", result_json=result)
    Evidence.objects.create(
        analysis=run, number="E1", kind="x", title="Fact", text="the fact", captured_at=timezone.now()
    )
    assert "the fact" in page_of(alice_client, alert, "analysis/")
