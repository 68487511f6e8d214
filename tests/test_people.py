"""People and settings in the admin: one-time passwords, roles, the last admin, typed values; each change an audit entry."""

from __future__ import annotations

import getpass
import io
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from accounts.models import SystemConfig, User
from accounts.system_config import KEYS, Config
from audit.models import AuditEntry
from incidents.models import AlertSource
from tests import factories
from tests.factories import PASSWORD

USERS, SETTINGS = "/admin/accounts/user/", "/admin/accounts/systemconfig/"
pytestmark = pytest.mark.django_db


def entry(action: str) -> AuditEntry:
    return AuditEntry.objects.get(action=action)


def person(user: User, **changed: Any) -> dict[str, Any]:
    """The form of a person as the browser sends it."""
    values = {
        "username": user.username,
        "full_name": user.full_name,
        "email": user.email,
        "role": user.role,
        "is_active": "on",
        **changed,
    }
    return {name: value for name, value in values.items() if value is not None}


def create(client: Client, **changed: Any) -> Any:
    return client.post(
        f"{USERS}add/",
        {"username": "dave", "email": "dave@example.org", "full_name": "Dave D", "role": "user", **changed},
    )


def test_a_new_person_gets_a_one_time_password_shown_once(carol: User, carol_client: Client) -> None:
    response = create(carol_client)
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    password = re.search(r'id="one-time-password">([a-z0-9-]{23})<', response.content.decode())[1]
    dave = User.objects.get(username="dave")
    assert dave.must_change_password
    assert dave.check_password(password)
    assert password not in carol_client.get(f"{USERS}{dave.pk}/change/").content.decode()
    written = entry("create_user")
    assert (written.user_id, written.resource_id, written.details_json) == (carol.pk, dave.pk, {"name": "dave"})
    client = Client()
    assert client.post("/login/", {"username": "dave", "password": password}).status_code == 302
    assert client.get("/alerts/")["Location"] == "/profile/password/"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"username": "ALICE"}, "This user name is taken"),
        ({"username": "dave d"}, "letters (a to z), digits"),
        ({"username": "d\x00"}, "Null characters"),
        ({"username": "x" * 51}, "at most 50"),
        ({"email": "Alice@Example.org"}, "Another person has this e-mail"),
        ({"email": "nothing"}, "valid email"),
        ({"role": "root"}, "not one of the available choices"),
    ],
)
def test_a_bad_name_or_address_is_refused_with_a_sentence(
    alice: User, carol_client: Client, changed: dict[str, str], says: str
) -> None:
    response = create(carol_client, **changed)
    assert response.status_code == 200
    assert says in response.content.decode()
    assert User.objects.count() == 2


def test_a_reset_ends_every_session_and_hands_out_a_one_time_password(
    alice: User, alice_client: Client, carol_client: Client
) -> None:
    address = f"{USERS}{alice.pk}/password/"
    assert carol_client.get(address).status_code == 200
    assert User.objects.get(pk=alice.pk).check_password(PASSWORD), "looking changes nothing"
    page = carol_client.post(address).content.decode()
    password = re.search(r'id="one-time-password">([^<]+)<', page)[1]
    assert alice_client.get("/profile/").status_code == 302
    alice.refresh_from_db()
    assert alice.check_password(password)
    assert alice.must_change_password
    assert entry("reset_password").resource_id == alice.pk
    assert password not in str(AuditEntry.objects.values_list("details_json", flat=True))


def test_roles_and_activity_change_with_old_and_new_on_record(alice: User, carol_client: Client) -> None:
    assert (
        carol_client.post(f"{USERS}{alice.pk}/change/", person(alice, role="admin", is_active=None)).status_code == 302
    )
    alice.refresh_from_db()
    assert (alice.role, alice.is_active) == ("admin", False)
    assert entry("change_user").details_json == {
        "name": "alice", "fields": ["role", "is_active"], "values": {"role": ["user", "admin"], "is_active": [True, False]},
    }  # fmt: skip
    assert carol_client.post(f"{USERS}{alice.pk}/change/", person(alice)).status_code == 302
    assert User.objects.get(pk=alice.pk).is_active, "reactivated"


def test_saving_without_a_change_writes_nothing(alice: User, carol_client: Client) -> None:
    assert carol_client.post(f"{USERS}{alice.pk}/change/", person(alice)).status_code == 302
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("changed", [{"role": "user"}, {"is_active": None}])
def test_the_last_active_admin_stays(carol: User, carol_client: Client, changed: dict[str, Any]) -> None:
    factories.user("former", role="admin", is_active=False)
    response = carol_client.post(f"{USERS}{carol.pk}/change/", person(carol, **changed))
    assert "last active admin" in response.content.decode()
    assert User.objects.get(pk=carol.pk).is_admin
    factories.user("second", role="admin")
    assert carol_client.post(f"{USERS}{carol.pk}/change/", person(carol, **changed)).status_code == 302
    assert not User.objects.get(pk=carol.pk).is_admin


@pytest.mark.django_db(transaction=True)
def test_two_admins_who_demote_each_other_cannot_both_succeed(carol: User) -> None:
    second = factories.user("second", role="admin")

    def demote(actor: User, other: User) -> int:
        try:
            client = Client()
            client.force_login(actor, backend="accounts.backends.RoleBackend")
            return client.post(f"{USERS}{other.pk}/change/", person(other, role="user")).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        outcomes = [pool.submit(demote, carol, second), pool.submit(demote, second, carol)]
        statuses = sorted(outcome.result() for outcome in outcomes)
    assert statuses[0] in (200, 302)
    assert User.objects.active_admins().count() == 1


def test_nobody_is_ever_deleted(alice: User, carol_client: Client) -> None:
    assert carol_client.post(f"{USERS}{alice.pk}/delete/", {"post": "yes"}).status_code == 403
    carol_client.post(USERS, {"action": "delete_selected", "_selected_action": [str(alice.pk)], "post": "yes"})
    assert User.objects.filter(pk=alice.pk).exists()


def test_fields_that_the_form_does_not_name_change_nothing(
    alice: User, alice_client: Client, carol_client: Client
) -> None:
    forged = {
        "role": "admin",
        "is_active": "",
        "is_staff": "on",
        "is_superuser": "on",
        "password": "x",
        "username": "root",
        "id": "1",
    }
    alice_client.post("/profile/", {"full_name": "A", "email": "alice@example.org", **forged})
    alice_client.post("/profile/password/", forged)
    user = User.objects.get(pk=alice.pk)
    assert (user.username, user.role, user.is_active, user.check_password(PASSWORD)) == ("alice", "user", True, True)
    create(carol_client, must_change_password="", is_active="", password="known", created_at="2001-01-01")
    dave = User.objects.get(username="dave")
    assert (dave.must_change_password, dave.is_active, dave.check_password("known")) == (True, True, False)


def test_createsuperuser_works_from_the_environment_and_is_on_record(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"USERNAME": "root", "EMAIL": "root@example.org", "PASSWORD": PASSWORD}.items():
        monkeypatch.setenv(f"DJANGO_SUPERUSER_{name}", value)
    call_command("createsuperuser", interactive=False, verbosity=0)
    user = User.objects.get()
    assert (user.is_admin, user.check_password(PASSWORD), user.must_change_password) == (True, True, False)
    assert (entry("create_user").username, entry("create_user").resource_id) == ("system", user.pk)
    monkeypatch.setenv("DJANGO_SUPERUSER_USERNAME", "two words")
    with pytest.raises(CommandError, match="letters"):
        call_command("createsuperuser", interactive=False, verbosity=0)


def test_changepassword_is_on_record(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getpass", lambda prompt="": "a longer secret phrase")
    call_command("changepassword", "alice", stdout=io.StringIO())
    assert User.objects.get(pk=alice.pk).check_password("a longer secret phrase")
    assert (entry("change_password").username, entry("change_password").resource_id) == ("system", alice.pk)


def test_counters_of_failed_sign_ins_are_shown_and_reset(alice: User, carol_client: Client) -> None:
    for _ in range(6):
        Client().post("/login/", {"username": "alice", "password": "wrong"})
    page = carol_client.get("/admin/axes/accessattempt/").content.decode()
    assert "any account from this address" in page
    keys = [str(key) for key in AccessAttempt.objects.values_list("pk", flat=True)]
    carol_client.post("/admin/axes/accessattempt/", {"action": "let_in", "_selected_action": keys})
    assert Client().post("/login/", {"username": "alice", "password": PASSWORD}).status_code == 302
    assert AuditEntry.objects.filter(action="reset_throttle").count() == 2


# Settings


def test_every_known_setting_is_listed_with_help_unit_and_default(carol_client: Client) -> None:
    page = carol_client.get(SETTINGS).content.decode()
    for name, item in KEYS.items():
        assert f"{SETTINGS}{name}/change/" in page
        form = carol_client.get(f"{SETTINGS}{name}/change/").content.decode()
        assert "Default: " in form
        assert item.metadata["unit"] in form
    assert carol_client.get(f"{SETTINGS}unknown/change/").status_code == 302


def test_a_setting_is_changed_and_put_back_with_old_and_new_on_record(carol: User, carol_client: Client) -> None:
    address = f"{SETTINGS}analysis_daily_budget/"
    assert carol_client.post(f"{address}change/", {"value": "50"}).status_code == 302
    assert Config.load().analysis_daily_budget == 50
    assert SystemConfig.objects.get().updated_by == carol
    written = entry("change_setting")
    assert (written.user_id, written.resource_type) == (carol.pk, "setting")
    expected = {"key": "analysis_daily_budget", "old": 200, "new": 50, "resource_key": "analysis_daily_budget"}
    assert written.details_json == expected
    assert "change_setting" in carol_client.get(f"{address}history/").content.decode()
    assert carol_client.post(f"{address}reset/").status_code == 302
    assert Config.load().analysis_daily_budget == 200
    assert AuditEntry.objects.latest("sequence").details_json == {**expected, "old": 50, "new": 200, "reset": True}


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("analysis_daily_budget", "-1", "Enter a whole number from 0 to 100000."),
        ("analysis_daily_budget", "lots", "Enter a whole number."),
        ("analysis_daily_budget", "", "required"),
        ("severity_map", '{"page": "horrible"}', "must map to one of"),
        ("severity_map", "[1]", "Enter an object"),
        ("severity_map", "{", "valid JSON"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_a_sentence(
    carol_client: Client, key: str, value: str, says: str
) -> None:
    response = carol_client.post(f"{SETTINGS}{key}/change/", {"value": value})
    assert response.status_code == 200
    assert says in response.content.decode()
    assert not SystemConfig.objects.exists()


def test_an_object_is_edited_as_json(carol_client: Client) -> None:
    assert carol_client.post(f"{SETTINGS}severity_map/change/", {"value": '{"Page": "critical"}'}).status_code == 302
    assert Config.load().severity_map == {"page": "critical"}
    assert (
        "&quot;page&quot;: &quot;critical&quot;" in carol_client.get(f"{SETTINGS}severity_map/change/").content.decode()
    )
    carol_client.post(f"{SETTINGS}severity_map/change/", {"value": ""})
    assert Config.load().severity_map == {}


# Whatever cannot be recorded does not happen


def test_nothing_happens_unrecorded(alice: User, carol_client: Client, broken_audit: None) -> None:
    carol_client.raise_request_exception = False
    rule, provider = factories.rule("kept"), factories.provider("kept", config_json={})
    about = {
        "name": "renamed",
        "provider_type": "openai",
        "model_id": "m",
        "config_json": "{}",
        "is_default": "on",
        "enabled": "on",
    }
    for address, values in {
        f"{USERS}add/": {"username": "dave", "email": "dave@example.org", "role": "user"},
        f"{USERS}{alice.pk}/change/": person(alice, role="admin"),
        f"{USERS}{alice.pk}/password/": {},
        f"{SETTINGS}analysis_daily_budget/change/": {"value": "1"},
        f"/admin/incidents/rule/{rule.pk}/delete/": {"post": "yes"},
        f"/admin/assistant/llmprovider/{provider.pk}/change/": about,
        f"/admin/assistant/llmprovider/{provider.pk}/delete/": {"post": "yes"},
        "/admin/incidents/alertsource/add/": {"name": "new", "kind": "grafana"},
    }.items():
        assert carol_client.post(address, values).status_code == 500, address
    user = User.objects.get(pk=alice.pk)
    assert (user.role, user.check_password(PASSWORD), User.objects.count()) == ("user", True, 2)
    assert not SystemConfig.objects.exists()
    rule.refresh_from_db()
    provider.refresh_from_db()
    assert provider.name == "kept"
    assert not AlertSource.objects.exists()


def test_a_list_action_that_cannot_be_recorded_is_undone(carol_client: Client, broken_audit: None) -> None:
    carol_client.raise_request_exception = False
    rule = factories.rule("kept")
    values = {"action": "delete_selected", "_selected_action": [str(rule.pk)], "post": "yes"}
    assert carol_client.post("/admin/incidents/rule/", values).status_code == 500
    rule.refresh_from_db()


def test_deleting_several_writes_an_entry_for_each(carol_client: Client) -> None:
    rules = [factories.rule(f"rule {number}") for number in range(3)]
    values = {"action": "delete_selected", "_selected_action": [str(rule.pk) for rule in rules], "post": "yes"}
    carol_client.post("/admin/incidents/rule/", values)
    entries = AuditEntry.objects.filter(action="delete_rule")
    assert {(entry.resource_id, entry.details_json["name"]) for entry in entries} == {
        (rule.pk, rule.name) for rule in rules
    }
