"""Rights: every URL is declared in tests/access_matrix.py, and answers everybody as declared there."""

from __future__ import annotations

import uuid

import pytest
from django.http import HttpResponseBase
from django.test import Client
from django.urls import reverse

from accounts.models import User
from tests import access_matrix
from tests.access_matrix import LOGIN, UNNAMED, World

pytestmark = pytest.mark.django_db


def test_every_url_is_declared_and_every_declared_one_exists() -> None:
    declared = [row.name for row in access_matrix.rows()]
    assert len(declared) == len(set(declared))
    undeclared = access_matrix.urls() - set(declared) - set(UNNAMED)
    gone = (set(declared) | set(UNNAMED)) - access_matrix.urls()
    assert not undeclared, f"Say in tests/access_matrix.py who may open: {sorted(undeclared)}"
    assert not gone, f"No such URL any more: {sorted(gone)}"


def as_expected(response: HttpResponseBase, expected: int | str) -> bool:
    if expected == LOGIN:
        return response.status_code == 302 and response["Location"].startswith("/login/?next=/")
    # An admin's page must not be taken for the way to the login.
    return response.status_code == expected and not response.get("Location", "").startswith("/login/?next")


def test_every_url_answers_everybody_as_declared() -> None:
    wrong = [
        f"{method.upper()} {row.name} as {actor}: {response.status_code} instead of {expected}"
        for row, actor, method, response, expected in World().visits()
        if not as_expected(response, expected)
    ]
    assert not wrong, "\n".join(wrong)


def test_addresses_without_a_name_are_the_admins_too() -> None:
    world = World()
    for address in UNNAMED.values():
        statuses = [world.clients[actor].get(address).status_code for actor in ("anonymous", "bob", "alice")]
        assert statuses == [302, 403, 403]
        assert world.clients["anonymous"].get(address)["Location"].startswith("/login/?next=/admin/")


def test_what_does_not_exist_is_not_found_whoever_asks(alice_client: Client) -> None:
    for name in ("alert-detail", "alert-timeline"):
        assert alice_client.get(reverse(f"incidents:{name}", args=[uuid.uuid4()])).status_code == 404
    for name in ("alert-acknowledge", "alert-unacknowledge", "alert-note", "alert-analyze"):
        assert alice_client.post(reverse(f"incidents:{name}", args=[uuid.uuid4()]), {"text": "x"}).status_code == 404
    assert alice_client.get(reverse("assistant:alert-analysis", args=[uuid.uuid4()])).status_code == 404


def test_lists_show_ones_own_and_to_admins_everything() -> None:
    world = World()
    for actor, sees in (("alice", True), ("bob", False), ("carol", True)):
        assert ("alices chat" in world.clients[actor].get("/chats/").content.decode()) is sees
        assert ("web-1" in world.clients[actor].get("/terminals/").content.decode()) is sees


def test_an_account_made_inactive_is_treated_as_nobody() -> None:
    world = World()
    User.objects.update(is_active=False)
    for actor in ("bob", "alice", "carol"):
        for address in ("/alerts/", "/admin/", "/profile/"):
            assert world.clients[actor].get(address)["Location"].startswith("/login/?next=/")
