"""Who may open what: every URL of the site x {anonymous, other user, owner, admin}, declared once.

A new URL needs one line in ROWS (or, for a model in the admin, in ADMIN_MODELS); tests/test_access_matrix.py fails without it
and asks for every cell on real objects.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from axes.models import AccessAttempt
from django.db import transaction
from django.http import HttpResponseBase
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from accounts.models import User
from aiops.lib.secrets import seal
from assistant.models import ChatSession
from audit.log import record
from incidents.models import QuarantinedAlert
from infra.models import TerminalSession
from tests import factories

LOGIN = "to the login"
Cell = int | str
Cells = tuple[Cell, Cell, Cell, Cell]
ACTORS = ("anonymous", "bob", "alice", "carol")  # nobody, another user, the owner, an admin


def all_get(status: Cell) -> Cells:
    return (status, status, status, status)


def people(status: Cell) -> Cells:
    """Whoever is signed in."""
    return (LOGIN, status, status, status)


def admins(status: Cell) -> Cells:
    return (LOGIN, 403, 403, status)


@dataclass(frozen=True)
class Row:
    """`get` and `post`: the status for each actor. `about` names the object in the world whose key stands in the address."""

    name: str
    get: Cells
    post: Cells | None = None
    about: str = ""


ROWS = [
    Row("healthz", all_get(200), all_get(405)),
    Row("readyz", all_get(503), all_get(405)),  # no worker runs
    Row("metrics", all_get(200), all_get(405)),  # to this machine
    Row("accounts:login", (200, 302, 302, 302), all_get(422)),
    Row("accounts:logout", all_get(405), all_get(302)),
    Row("accounts:profile", people(200), people(422)),
    Row("accounts:password-change", people(200), people(422)),
    Row("incidents:dashboard", people(302), all_get(405)),
    Row("incidents:alert-list", people(200), all_get(405)),
    Row("incidents:alert-detail", people(200), all_get(405), "alert"),
    Row("incidents:alert-timeline", people(200), all_get(405), "alert"),
    Row("incidents:alert-acknowledge", all_get(405), people(302), "alert"),
    Row("incidents:alert-unacknowledge", all_get(405), people(302), "alert"),
    Row("incidents:alert-assign", all_get(405), people(302), "alert"),
    Row("incidents:alert-snooze", all_get(405), people(302), "alert"),
    Row("incidents:alert-unsnooze", all_get(405), people(302), "alert"),
    Row("incidents:alert-note", all_get(405), people(422), "alert"),
    Row("incidents:alert-analyze", all_get(405), people(302), "alert"),
    Row("infra:server-list", people(200), all_get(405)),
    Row("infra:terminal-list", people(200), all_get(405)),
    Row("assistant:alert-analysis", people(200), all_get(405), "alert"),
    Row("assistant:chat-list", people(200), all_get(405)),
    Row("admin:index", admins(200)),
    Row("admin:login", all_get(LOGIN), all_get(LOGIN)),
    Row("admin:logout", admins(307), admins(307)),
    Row("admin:password_change", admins(302), admins(302)),
    Row("admin:password_change_done", admins(302)),
    Row("admin:autocomplete", admins(403)),  # no field asks for it
    Row("admin:jsi18n", admins(200)),
    Row("admin:view_on_site", admins(404), about="nothing"),
    Row("admin:app_list", admins(200), about="app"),
    Row("admin:audit_auditentry_export", admins(405), admins(200)),
    Row("admin:accounts_user_password", admins(200), admins(200), "user"),
    Row("admin:accounts_systemconfig_reset", admins(405), admins(302), "setting"),
    Row("admin:incidents_alertsource_rotate", admins(200), admins(200), "source"),
    Row("admin:incidents_alertsource_revoke", admins(200), admins(302), "source"),
    Row("admin:assistant_llmprovider_test", admins(405), admins(302), "provider"),
]
# What an admin gets from each model's list, add, change, delete and history. Everybody else gets nothing of it.
ADMIN_MODELS: dict[str, tuple[str, tuple[int, int, int, int, int]]] = {
    "accounts_systemconfig": ("setting", (200, 403, 200, 403, 200)),
    "accounts_user": ("user", (200, 200, 200, 403, 200)),
    "assistant_llmprovider": ("provider", (200, 200, 200, 200, 200)),
    "audit_auditentry": ("entry", (200, 403, 200, 403, 404)),
    "axes_accessattempt": ("attempt", (200, 403, 200, 403, 200)),
    "incidents_alertsource": ("source", (200, 200, 200, 403, 200)),
    "incidents_quarantinedalert": ("quarantined", (200, 403, 200, 403, 200)),
    "incidents_rule": ("rule", (200, 200, 200, 200, 200)),
    "infra_server": ("server", (200, 200, 200, 200, 200)),
}
VIEWS = ("changelist", "add", "change", "delete", "history")
# Addresses that have no name: an object's without its view, and whatever else is under /admin/.
UNNAMED = {
    "admin:<path:object_id>/": "/admin/incidents/rule/1/",
    "admin:(?P<url>.*)$": "/admin/no/such/page/",
}


def rows() -> Iterator[Row]:
    yield from ROWS
    for model, (about, statuses) in ADMIN_MODELS.items():
        for view, status in zip(VIEWS, statuses, strict=True):
            yield Row(f"admin:{model}_{view}", admins(status), about="" if view in ("changelist", "add") else about)


def urls() -> set[str]:
    """The names of all URLs of the site; where there is none, the pattern."""
    return set(_names(get_resolver(), ""))


def _names(resolver: URLResolver, space: str) -> Iterator[str]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield from _names(pattern, f"{space}{pattern.namespace}:" if pattern.namespace else space)
        elif isinstance(pattern, URLPattern):
            yield f"{space}{pattern.name or pattern.pattern}"


class World:
    """One of everything, alice's where it can be somebody's, with secrets in every place that takes one."""

    def __init__(self, secret: str = "a secret") -> None:
        people = {name: factories.user(name) for name in ("bob", "alice")}
        people["carol"] = factories.user("carol", role=User.Role.ADMIN)
        self.clients = {"anonymous": Client()}
        for name, user in people.items():
            self.clients[name] = Client()
            self.clients[name].force_login(user, backend="accounts.backends.RoleBackend")
        source, self.token = factories.source_with_token("main")
        alert = factories.alert(source=source)
        server, provider = factories.server("web-1"), factories.provider("model", config_json={})
        for row, field in (
            (server, "ssh_key_encrypted"),
            (server, "password_encrypted"),
            (provider, "api_key_encrypted"),
        ):
            seal(row, field, f"{secret} in {field}")
            row.save()
        ChatSession.objects.create(user=people["alice"], title="alices chat", alert=alert)
        TerminalSession.objects.create(user=people["alice"], server_credential=server, started_at=timezone.now())
        quarantined = QuarantinedAlert.objects.create(
            received_at=timezone.now(), reason="no labels", excerpt="{}", size=2
        )
        attempt = AccessAttempt.objects.create(username="x", ip_address="192.0.2.1", failures_since_start=1)
        objects = {
            "alert": alert, "source": source, "server": server, "provider": provider, "rule": factories.rule("rule"),
            "user": people["alice"], "quarantined": quarantined, "attempt": attempt, "entry": record("test", alert),
        }  # fmt: skip
        self.keys: dict[str, Any] = {name: made.pk for name, made in objects.items()} | {"setting": "analysis_cooldown"}

    def address(self, row: Row) -> str:
        if not row.about:
            return reverse(row.name)
        if row.about == "app":
            return reverse(row.name, args=["audit"])
        if row.about == "nothing":
            return reverse(row.name, args=["1", uuid.uuid4()])
        return reverse(row.name, args=[self.keys[row.about]])

    def visit(self, row: Row, actor: str, method: str) -> HttpResponseBase:
        """The answer to one request, whose effects on the database and the session are undone."""
        client = self.clients[actor]
        cookies = copy.deepcopy(client.cookies)
        with transaction.atomic():
            response = client.get(self.address(row)) if method == "get" else client.post(self.address(row))
            transaction.set_rollback(True)
        client.cookies = cookies
        return response

    def visits(self) -> Iterator[tuple[Row, str, str, HttpResponseBase, Cell]]:
        """Every declared cell: row, actor, method, the answer, and the status that was declared."""
        for row in rows():
            for method, cells in (("get", row.get), ("post", row.post or admins(0))):
                for actor, expected in zip(ACTORS, cells, strict=True):
                    if expected:
                        yield row, actor, method, self.visit(row, actor, method), expected
