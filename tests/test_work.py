"""What a person does with an alert beside reading it: give it to somebody, put it aside."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import DatabaseError, transaction
from django.test import Client
from django.utils import timezone

from accounts.models import User
from audit.models import AuditEntry
from incidents.forms import PRESETS, SnoozeForm
from incidents.models import Alert, AlertEvent
from tests import factories
from tests.webhook_client import Sender, alert, notification

HTMX = {"HX-Request": "true"}
pytestmark = pytest.mark.django_db


def act(client: Client, what: Alert, action: str, **values: str) -> str:
    """Post an action as the page does; its answer, which must be the head as it is now."""
    response = client.post(f"/alerts/{what.pk}/{action}/", values, headers=HTMX)
    assert (response.status_code, response["HX-Trigger"]) == (200, "alert-changed")
    return response.content.decode()


def refused(client: Client, what: Alert, action: str, **values: str) -> str:
    response = client.post(f"/alerts/{what.pk}/{action}/", values, headers=HTMX)
    assert response.status_code == 422
    assert "HX-Trigger" not in response
    return response.content.decode()


def kinds(what: Alert) -> list[str]:
    return [str(kind) for kind in what.events.order_by("at").values_list("kind", flat=True)]


def test_it_is_given_to_a_person_and_to_nobody(alice_client: Client, alice: User, bob: User) -> None:
    given = factories.alert()
    assert "Assigned to <bdi>bob</bdi>" in act(alice_client, given, "assign", person=str(bob.pk))
    given.refresh_from_db()
    assert given.assignee == bob
    event = given.events.get(kind=AlertEvent.Kind.ASSIGNED)
    assert (event.user, event.text) == (alice, "to bob")
    entry = AuditEntry.objects.get(action="assign_alert")
    assert (entry.user, entry.resource_id, entry.details_json["assignee"]) == (alice, given.pk, "bob")
    assert "Assigned to" not in act(alice_client, given, "assign", person="")
    given.refresh_from_db()
    assert given.assignee is None
    assert AlertEvent.Kind.UNASSIGNED in kinds(given)


def test_giving_it_to_whom_it_is_given_already_is_told_once(alice_client: Client, bob: User) -> None:
    given = factories.alert()
    for _ in range(2):
        act(alice_client, given, "assign", person=str(bob.pk))
    assert kinds(given).count("assigned") == 1
    assert AuditEntry.objects.filter(action="assign_alert").count() == 1


@pytest.mark.parametrize("person", ["nobody-such", "00000000-0000-0000-0000-000000000000", "deactivated"])
def test_it_cannot_be_given_to_somebody_who_cannot_sign_in(alice_client: Client, bob: User, person: str) -> None:
    bob.is_active = False
    bob.save()
    given = factories.alert()
    value = str(bob.pk) if person == "deactivated" else person
    assert "That person is not there, or is deactivated" in refused(alice_client, given, "assign", person=value)
    given.refresh_from_db()
    assert given.assignee is None


@pytest.mark.parametrize("preset", PRESETS)
def test_it_is_snoozed_for_a_preset_length_and_woken_again(alice_client: Client, alice: User, preset: str) -> None:
    firing = factories.alert()
    assert "Snoozed until" in act(alice_client, firing, "snooze", preset=preset)
    firing.refresh_from_db()
    assert firing.is_snoozed
    assert firing.events.get(kind=AlertEvent.Kind.SNOOZED).user == alice
    assert "Snoozed until" not in act(alice_client, firing, "unsnooze")
    firing.refresh_from_db()
    assert not firing.is_snoozed
    assert set(AuditEntry.objects.values_list("action", flat=True)) >= {"snooze_alert", "unsnooze_alert"}


def test_tomorrow_morning_is_nine_in_the_morning_of_the_next_day() -> None:
    form = SnoozeForm({"preset": "morning"})
    assert form.is_valid()
    end = timezone.localtime(form.cleaned_data["until"])
    assert (end.hour, end.minute) == (9, 0)
    assert end.date() == timezone.localdate() + dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "Say until when"),
        ({"preset": "forever"}, "A snooze is one of 30m, 1h, 4h, morning"),
        ({"until": "soon"}, "Write the moment as 2026-01-31T09:00"),
        ({"until": "2001-01-01T00:00"}, "That moment is over already"),
        ({"until": "2999-01-01T00:00"}, "A snooze lasts 30 days at most"),
    ],
)
def test_a_snooze_that_makes_no_sense_says_why(alice_client: Client, values: dict[str, str], words: str) -> None:
    firing = factories.alert()
    assert words in refused(alice_client, firing, "snooze", **values)
    firing.refresh_from_db()
    assert firing.snoozed_until is None
    page = alice_client.post(f"/alerts/{firing.pk}/snooze/", values, follow=True)  # without scripts
    assert words in page.content.decode()


def test_a_snooze_ends_by_itself(alice_client: Client) -> None:
    over = factories.alert(snoozed_until=timezone.now() - dt.timedelta(seconds=1))
    assert not over.is_snoozed
    assert "Snoozed until" not in alice_client.get(f"/alerts/{over.pk}/").content.decode()
    act(alice_client, over, "unsnooze")
    assert "unsnoozed" not in kinds(over)


def test_what_a_person_said_survives_repeats_and_it_still_resolves_and_comes_back(
    alice_client: Client, alice: User, bob: User, sender: Sender
) -> None:
    assert sender.post(notification(alert())).status == 200
    worked = Alert.objects.get()
    act(alice_client, worked, "acknowledge")
    act(alice_client, worked, "assign", person=str(bob.pk))
    act(alice_client, worked, "snooze", preset="4h")
    for status in ("firing", "resolved"):
        assert sender.post(notification(alert(status))).status == 200
        again = Alert.objects.get()
        assert (again.status, again.acknowledged_by, again.assignee) == (status, alice, bob)
        assert again.is_snoozed


def test_the_list_says_who_has_it_and_that_it_is_snoozed(alice_client: Client, bob: User) -> None:
    factories.alert(assignee=bob, snoozed_until=timezone.now() + dt.timedelta(hours=1))
    page = alice_client.get("/alerts/").content.decode()
    assert 'title="Assigned, not acknowledged yet"' in page
    assert "<bdi>bob</bdi>" in page
    assert "snoozed</span>" in page


def test_a_hostile_name_is_text(alice_client: Client) -> None:
    mallory = factories.user("mallory", full_name="<img src=x onerror=alert(1)>")
    given = factories.alert()
    head = act(alice_client, given, "assign", person=str(mallory.pk))
    assert "<img" not in head
    assert "&lt;img" in head
    assert "<img" not in alice_client.get("/alerts/").content.decode()


@pytest.mark.parametrize(("action", "values"), [("assign", {"person": "me"}), ("snooze", {"preset": "1h"})])
def test_nothing_changes_where_it_cannot_be_audited(
    alice_client: Client, alice: User, broken_audit: None, action: str, values: dict[str, str]
) -> None:
    kept = factories.alert()
    sent = {name: str(alice.pk) if value == "me" else value for name, value in values.items()}
    with pytest.raises(DatabaseError), transaction.atomic():
        alice_client.post(f"/alerts/{kept.pk}/{action}/", sent)
    kept.refresh_from_db()
    assert (kept.assignee, kept.snoozed_until) == (None, None)
    assert kinds(kept) == ["fired"]


def test_a_resolved_alert_does_not_ask_to_be_acknowledged(alice_client: Client) -> None:
    over = factories.alert(status="resolved", ends_at=timezone.now())
    assert 'class="btn" id="acknowledge"' in alice_client.get(f"/alerts/{over.pk}/").content.decode()
