"""Signing in and out, changing one's password, and how guessing is slowed down."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import time_machine
from axes.handlers.proxy import AxesProxyHandler
from axes.models import AccessAttempt
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from audit.models import AuditEntry
from tests import factories
from tests.factories import PASSWORD
from tests.passwords import QuickHasher

pytestmark = pytest.mark.django_db


def sign_in(name: str = "alice", password: str = PASSWORD, client: Client | None = None, **extra: Any) -> Any:
    return (client or Client()).post("/login/", {"username": name, "password": password}, **extra)


def fail(times: int, name: str = "alice", **extra: Any) -> list[int]:
    return [sign_in(name, "wrong", **extra).status_code for _ in range(times)]


def test_it_signs_in_with_a_fresh_session_and_goes_where_one_wanted(alice: User) -> None:
    client = Client()
    session = client.session  # a session that somebody else may know
    session["planted"] = "x"
    session.save()
    client.cookies["aiops_session"] = session.session_key
    response = client.post("/login/?next=/alerts/", {"username": "ALICE", "password": PASSWORD})
    assert (response.status_code, response["Location"]) == (302, "/alerts/")
    assert client.cookies["aiops_session"].value != session.session_key
    assert client.get("/profile/").status_code == 200
    entry = AuditEntry.objects.get(action="login")
    assert (entry.user_id, entry.username, entry.ip_address) == (alice.pk, "alice", "127.0.0.1")
    assert (entry.resource_type, entry.resource_id) == ("user", alice.pk)


def test_its_cookies_are_kept_from_scripts_and_other_sites(alice: User) -> None:
    client = Client()
    client.get("/login/")
    sign_in(client=client)
    for name in ("aiops_session", "aiops_csrf"):
        cookie = client.cookies[name]
        assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


@pytest.mark.parametrize(
    "goal",
    [
        "https://evil.example/", "//evil.example/", "/\\evil.example", "https:///evil.example", "javascript:alert(1)",
        "http:evil.example", "\x00//evil.example", "///evil.example", "login\r\nX-Injected: 1", "http://testserver@evil.example/",
    ],
)  # fmt: skip
def test_it_never_sends_one_to_another_site(alice: User, goal: str) -> None:
    for response in (
        Client().post("/login/", {"username": "alice", "password": PASSWORD, "next": goal}),
        Client().post("/login/", {"username": "alice", "password": PASSWORD}, QUERY_STRING="next=" + goal),
    ):
        assert (response.status_code, response["Location"]) == (302, "/")
        assert "X-Injected" not in response.headers


@pytest.mark.parametrize("fields", [{"username": "al\x00ice"}, {"password": "x\x00y"}, {"next": "/a\x00b"}, {}])
def test_a_form_with_nul_or_without_fields_is_answered_with_a_sentence(alice: User, fields: dict[str, str]) -> None:
    values = {"username": "alice", "password": "wrong", **fields} if fields else {}
    assert Client().post("/login/", values).status_code == 422


def test_unknown_wrong_and_inactive_get_the_same_answer(alice: User) -> None:
    factories.user("gone", is_active=False)
    answers = [
        sign_in(name, password).content.decode().replace(name, "NAME").split('name="next"')[1]
        for name, password in (("alice", "wrong"), ("nobody", "wrong"), ("gone", PASSWORD))
    ]
    assert len(set(answers)) == 1
    assert "do not match" in answers[0]


def test_an_unknown_name_takes_as_much_work_as_a_wrong_password(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    factories.user("gone", is_active=False)
    made: list[str] = []
    encode = QuickHasher.encode
    monkeypatch.setattr(QuickHasher, "encode", lambda self, *args: made.append("") or encode(self, *args))
    work = []
    for name in ("alice", "nobody", "gone"):
        made.clear()
        with CaptureQueriesContext(connection) as queries:
            sign_in(name, "wrong")
        work.append((len(made), len(queries)))
    assert work[0] == work[1] == work[2] == (1, work[0][1])


def test_every_failure_is_recorded_without_a_user_and_with_the_tried_name(alice: User, bob_client: Client) -> None:
    fail(6)
    sign_in("nobody", "wrong", client=bob_client)
    entries = AuditEntry.objects.filter(action="login_failed").order_by("sequence")
    assert [entry.details_json for entry in entries] == [
        *({"name": "alice", "throttled": False} for _ in range(5)),
        {"name": "alice", "throttled": True},
        {"name": "nobody", "throttled": False},
    ]
    assert {(entry.user_id, entry.username, entry.ip_address) for entry in entries} == {(None, "", "127.0.0.1")}


def test_guessing_one_account_must_wait_longer_and_longer(alice: User) -> None:
    with time_machine.travel(timezone.now(), tick=False) as clock:
        assert fail(7) == [422] * 5 + [429] * 2
        refused = sign_in()
        assert (refused.status_code, refused["Retry-After"]) == (429, "30")
        assert "30 seconds" in refused.content.decode()
        waits = []
        for _ in range(7):
            clock.shift(int(sign_in(password="wrong")["Retry-After"]))
            assert fail(1) == [422]
            waits.append(int(sign_in()["Retry-After"]))
        assert waits == [60, 120, 240, 480, 900, 900, 900]
        clock.shift(900)
        assert sign_in().status_code == 302
        assert fail(5) == [422] * 5, "a success starts the account's counter anew"


def test_it_forgives_with_rest_and_locks_nobody_for_good(alice: User) -> None:
    with time_machine.travel(timezone.now(), tick=False) as clock:
        fail(15)
        clock.shift(dt.timedelta(days=1))
        assert fail(4) == [422] * 4
        assert sign_in().status_code == 302


def test_spraying_many_accounts_from_one_address_must_wait(alice: User) -> None:
    statuses = [sign_in(f"guess{number}", "wrong").status_code for number in range(50)]
    assert statuses == [422] * 20 + [429] * 30
    assert sign_in().status_code == 429, "also with the right password"
    assert sign_in(REMOTE_ADDR="192.0.2.7").status_code == 302, "other addresses are not touched"


def test_a_guesser_cannot_keep_others_out_of_their_account(alice: User) -> None:
    fail(10)
    assert sign_in(REMOTE_ADDR="192.0.2.7").status_code == 302


def test_a_guesser_with_an_account_of_his_own_cannot_wipe_his_address_clean(alice: User, bob: User) -> None:
    for number in range(20):
        sign_in(f"guess{number}", "wrong")
        if number % 3 == 0 and number < 15:
            assert sign_in("bob").status_code == 302
    assert fail(1, "another") == [429]


def test_the_counters_outlive_a_restart(alice: User) -> None:
    fail(5)
    AxesProxyHandler.get_implementation(force=True)
    assert sign_in().status_code == 429
    assert AccessAttempt.objects.filter(username="alice", ip_address="127.0.0.1", failures_since_start=5).exists()


@pytest.mark.django_db(transaction=True)
def test_attempts_at_the_same_moment_get_no_more_tries(alice: User) -> None:
    def attempt(_: int) -> int:
        try:
            return sign_in(password="wrong").status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as pool:
        statuses = sorted(pool.map(attempt, range(10)))
    assert statuses == [422] * 5 + [429] * 5


def test_the_address_is_the_one_that_trusted_proxies_vouch_for(alice: User, settings: Any) -> None:
    forged = {"HTTP_X_FORWARDED_FOR": "192.0.2.1"}
    assert fail(6, **forged)[-1] == 429
    assert sign_in(HTTP_X_FORWARDED_FOR="192.0.2.2").status_code == 429, "no proxy is trusted: the header means nothing"
    settings.AIOPS_TRUSTED_PROXIES = 1
    assert fail(5, HTTP_X_FORWARDED_FOR="8.8.8.8, 192.0.2.3") == [422] * 5
    assert sign_in(HTTP_X_FORWARDED_FOR="9.9.9.9, 192.0.2.3").status_code == 429, (
        "what the caller claims changes nothing"
    )
    assert sign_in(HTTP_X_FORWARDED_FOR="192.0.2.4").status_code == 302
    assert AuditEntry.objects.get(action="login").ip_address == "192.0.2.4"


def test_one_ipv6_network_counts_as_one_address(alice: User) -> None:
    statuses = [sign_in(password="wrong", REMOTE_ADDR=f"2001:db8::{number:x}").status_code for number in range(1, 8)]
    assert statuses == [422] * 5 + [429] * 2


def test_the_admins_login_is_this_login(alice: User) -> None:
    response = Client().post("/admin/login/?next=/admin/", {"username": "alice", "password": PASSWORD})
    assert (response.status_code, response["Location"]) == (302, "/login/?next=/admin/")
    assert not AuditEntry.objects.exists()


def test_it_signs_out_by_post_only(alice: User, alice_client: Client) -> None:
    assert alice_client.get("/logout/").status_code == 405
    assert alice_client.post("/logout/")["Location"] == "/login/"
    assert alice_client.get("/profile/")["Location"] == "/login/?next=/profile/"
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.user_id) == ("logout", alice.pk)


def test_a_request_forged_elsewhere_is_refused(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    assert sign_in(client=client).status_code == 403
    client.force_login(alice, backend="accounts.backends.RoleBackend")
    assert client.post("/logout/").status_code == 403
    assert client.post("/profile/password/").status_code == 403


def change(client: Client, new: str = "a longer secret phrase", old: str = PASSWORD) -> Any:
    return client.post("/profile/password/", {"old_password": old, "new_password1": new, "new_password2": new})


def test_a_new_password_keeps_this_session_and_ends_the_others(alice: User, alice_client: Client) -> None:
    elsewhere = Client()
    sign_in(client=elsewhere)
    key = alice_client.session.session_key
    assert change(alice_client)["Location"] == "/profile/"
    assert alice_client.get("/profile/").status_code == 200
    assert alice_client.session.session_key != key
    assert elsewhere.get("/profile/").status_code == 302
    assert sign_in().status_code == 422
    assert sign_in(password="a longer secret phrase").status_code == 302
    assert AuditEntry.objects.filter(action="change_password", user=alice, resource_id=alice.pk).count() == 1


@pytest.mark.parametrize(
    ("new", "old", "says"),
    [
        ("short", PASSWORD, "too short"),
        ("alice@example.org", PASSWORD, "too similar"),
        (PASSWORD, PASSWORD, "old password"),
        ("a longer secret phrase", "wrong", "entered incorrectly"),
    ],
)
def test_a_bad_new_password_is_refused_with_a_sentence(alice_client: Client, new: str, old: str, says: str) -> None:
    response = change(alice_client, new, old)
    assert response.status_code == 422
    assert says in response.content.decode()
    assert not AuditEntry.objects.filter(action="change_password").exists()


def test_a_one_time_password_must_be_changed_first(alice: User, alice_client: Client) -> None:
    User.objects.update(must_change_password=True)
    assert alice_client.get("/alerts/")["Location"] == "/profile/password/"
    assert "one-time password" in alice_client.get("/profile/password/").content.decode()
    change(alice_client)
    assert alice_client.get("/profile/").status_code == 200
    assert not User.objects.get(pk=alice.pk).must_change_password


def test_a_deactivated_or_demoted_person_loses_the_session_or_the_right_at_once(
    carol: User, carol_client: Client
) -> None:
    assert carol_client.get("/admin/").status_code == 200
    User.objects.update(role="user")
    assert carol_client.get("/admin/").status_code == 403
    User.objects.update(is_active=False)
    assert carol_client.get("/profile/").status_code == 302


def test_a_session_ends_when_idle_and_in_any_case_after_a_week(alice: User) -> None:
    with time_machine.travel(timezone.now(), tick=False) as clock:
        client = Client()
        sign_in(client=client)
        for _ in range(15):
            clock.shift(dt.timedelta(hours=11))
            assert client.get("/profile/").status_code == 200
        clock.shift(dt.timedelta(hours=4))
        assert client.get("/profile/").status_code == 302, "a week after the login"
        sign_in(client=client)
        clock.shift(dt.timedelta(hours=13))
        assert client.get("/profile/").status_code == 302, "idle"


def test_signing_in_is_undone_when_it_cannot_be_recorded(alice: User, broken_audit: None) -> None:
    client = Client(raise_request_exception=False)
    assert sign_in(client=client).status_code == 500
    assert client.get("/profile/").status_code == 302
    assert User.objects.get(pk=alice.pk).last_login is None


def test_a_password_change_is_undone_when_it_cannot_be_recorded(
    alice: User, alice_client: Client, broken_audit: None
) -> None:
    alice_client.raise_request_exception = False
    assert change(alice_client).status_code == 500
    assert User.objects.get(pk=alice.pk).check_password(PASSWORD)
