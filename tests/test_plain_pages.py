"""Profile, servers, terminals, chats, and what is said where something went wrong."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.views import defaults

from accounts.models import User
from assistant.models import ChatSession
from audit.models import AuditEntry
from infra.models import TerminalSession
from tests import factories


def terminal(user: User, server: str) -> TerminalSession:
    made = factories.server(server)
    return TerminalSession.objects.create(user=user, server_credential=made, started_at=timezone.now())


def test_one_changes_ones_own_profile_and_nothing_else_of_it(alice_client, alice) -> None:
    model = factories.provider("Second", is_default=False)
    form = {"full_name": "Alice A.", "email": "a@example.org", "default_llm_provider": str(model.pk), "role": "admin"}
    assert alice_client.post("/profile/", form).status_code == 302
    alice.refresh_from_db()
    assert (alice.full_name, alice.email, alice.default_llm_provider) == ("Alice A.", "a@example.org", model)
    assert alice.role == User.Role.USER
    entry = AuditEntry.objects.get(action="change_profile")
    assert sorted(entry.details_json["fields"]) == ["default_llm_provider", "email", "full_name"]


def test_the_profile_names_the_default_model_and_offers_only_what_is_enabled(alice_client) -> None:
    factories.provider("House model")
    factories.provider("Old model", is_default=False, enabled=False)
    page = alice_client.get("/profile/").content.decode()
    assert "The system’s default (House model)" in page
    assert "Old model" not in page


def test_a_wrong_profile_says_what_is_wrong(alice_client, bob) -> None:
    for form, complaint in (
        ({"full_name": "A" * 101, "email": "a@example.org"}, "at most 100 characters"),
        ({"full_name": "A", "email": bob.email.upper()}, "Another person has this e-mail address"),
        ({"full_name": "A", "email": "nobody"}, "valid email address"),
    ):
        response = alice_client.post("/profile/", form)
        assert response.status_code == 422
        assert complaint in response.content.decode()


def test_servers_are_listed_without_their_secrets(alice_client, carol_client) -> None:
    factories.server("db-1", hostname="10.0.0.7", environment="production", username="root-account")
    page = alice_client.get("/servers/").content.decode()
    assert "db-1" in page
    assert "10.0.0.7" in page
    assert "production" in page
    assert "root-account" not in page
    assert "Add a server" not in page
    assert "Add a server" in carol_client.get("/servers/").content.decode()


def test_terminals_and_chats_are_seen_by_their_owner_and_admins(alice_client, bob_client, carol_client, alice) -> None:
    terminal(alice, "db-1")
    ChatSession.objects.create(user=alice, title="Why is it slow?")
    for path, word in (("/terminals/", "db-1"), ("/chats/", "Why is it slow?")):
        assert word in alice_client.get(path).content.decode()
        assert word not in bob_client.get(path).content.decode()
        assert word in carol_client.get(path).content.decode()


@pytest.mark.parametrize("path", ["/servers/", "/terminals/", "/chats/"])
@pytest.mark.parametrize("rows", [1, 30])
def test_their_number_of_queries_does_not_grow(carol_client, alice, path: str, rows: int) -> None:
    alert = factories.alert()
    for number in range(rows):
        TerminalSession.objects.filter(pk=terminal(alice, f"s{number}").pk).update(alert=alert)
        ChatSession.objects.create(user=alice, title=str(number), alert=alert)
    carol_client.get(path)
    with CaptureQueriesContext(connection) as queries:
        carol_client.get(path)
    assert len(queries) <= 4  # session, user, the list; servers also count


@pytest.mark.parametrize("path", ["/terminals/", "/chats/"])
def test_their_pages_follow_one_another(carol_client, alice, path: str) -> None:
    server = factories.server("s")
    for number in range(51):
        TerminalSession.objects.create(user=alice, server_credential=server, started_at=timezone.now())
        ChatSession.objects.create(user=alice, title=str(number))
    page = carol_client.get(path).content.decode()
    following = page.split('rel="next" href="?cursor=')[1].split('"')[0]
    assert (
        carol_client.get(path, {"cursor": following}).content.decode().count("<tr>") == 2
    )  # the head and the last row
    wrong = carol_client.get(path, {"cursor": "x"})
    assert wrong.status_code == 422
    assert "damaged" in wrong.content.decode()


def test_what_does_not_exist_is_said_in_plain_words(alice_client) -> None:
    response = alice_client.get("/nothing/")
    assert response.status_code == 404
    assert "There is nothing at this address" in response.content.decode()


@pytest.mark.parametrize(
    ("view", "words"),
    [(defaults.bad_request, "could not be understood"), (defaults.permission_denied, "may not do that")],
)
def test_the_other_errors_have_pages_too(db, view, words: str) -> None:
    response = view(RequestFactory().get("/"), Exception("secret detail"))
    assert words in response.content.decode()
    assert "secret detail" not in response.content.decode()


def test_the_page_for_a_broken_server_needs_nothing_that_may_be_broken(settings) -> None:
    settings.STORAGES = {**settings.STORAGES, "staticfiles": {"BACKEND": "no.such.storage"}}
    response = defaults.server_error(RequestFactory().get("/"))  # no database either: the test asks for none
    assert response.status_code == 500
    assert "Something broke on our side" in response.content.decode()


def test_a_form_that_is_too_old_says_so(alice) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend="accounts.backends.RoleBackend")
    response = client.post("/profile/", {"full_name": "x"})
    assert response.status_code == 403
    assert "could not be trusted" in response.content.decode()
