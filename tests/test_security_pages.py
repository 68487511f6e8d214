"""What every page of the site keeps to: no inline code, strict headers, no secret in it or in what it leaves behind."""

from __future__ import annotations

import base64
import hashlib
import io
import logging
import logging.config
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from aiops.lib.logs import logging_config
from aiops.lib.secrets import secret_fields
from tests.access_matrix import World
from tests.factories import PASSWORD

CANARY = "canary-8f3a61"
pytestmark = pytest.mark.django_db
POLICY = {
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "font-src 'self'", "connect-src 'self'",
    "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
}  # fmt: skip


class InlineCode(HTMLParser):
    """Collects what a strict policy blocks, and what leads elsewhere than to a file or page of this site."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "style" or (tag == "script" and not values.get("src")):
            self.found.append(f"inline <{tag}>")
        for name, value in attrs:
            if name == "style" or name.startswith(("on", "hx-on")):
                self.found.append(f"{tag} {name}={value}")
            if name in ("href", "src", "action", "formaction") and (value or "").strip().lower().startswith(
                ("javascript:", "data:")
            ):
                self.found.append(f"{tag} {name}={value}")
        loads = values.get("src") or (values.get("href") if tag == "link" else "") or ""
        if tag in ("script", "link", "img", "iframe") and "//" in loads:
            self.found.append(f"{tag} loads {loads}")

    handle_startendtag = handle_starttag


def inline_code(html: str) -> list[str]:
    parser = InlineCode()
    parser.feed(html)
    return parser.found


def html_of(response: Any) -> str:
    is_page = response.get("Content-Type", "").startswith("text/html") and not response.streaming
    return response.content.decode() if is_page else ""


def test_the_parser_sees_what_it_should() -> None:
    bad = '<style>x</style><script>1</script><p style="x" onclick="y" hx-on:click="z"><a href=" JavaScript:1"><img src="//e/x">'
    assert len(inline_code(bad)) == 7


def test_no_page_has_inline_code_and_every_answer_has_the_headers() -> None:
    wrong, pages = [], 0
    for row, actor, method, response, _ in World().visits():
        where = f"{method} {row.name} as {actor}"
        html = html_of(response)
        pages += bool(html)
        wrong += [f"{where}: {problem}" for problem in inline_code(html)]
        policy = set(response.headers.get("Content-Security-Policy", "").split("; "))
        if policy != POLICY:
            wrong.append(f"{where}: Content-Security-Policy {policy ^ POLICY}")
        for name, value in {
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
        }.items():
            if response.headers.get(name) != value:
                wrong.append(f"{where}: {name} is {response.headers.get(name)}")
        if "camera=()" not in response.headers.get("Permissions-Policy", ""):
            wrong.append(f"{where}: no Permissions-Policy")
    assert not wrong, "\n".join(sorted(set(wrong)))
    assert pages > 150


@pytest.mark.parametrize(
    "address", ["/no/such/page/", "/alerts/?status=\x00", "/alerts/not-a-uuid/", "/admin/accounts/user/x/change/"]
)
def test_odd_addresses_get_a_page_without_inline_code(carol_client: Client, address: str) -> None:
    response = carol_client.get(address)
    assert response.status_code < 500
    assert inline_code(html_of(response)) == []


def test_a_host_that_is_not_ours_is_refused(alice: Any) -> None:
    for host in ("evil.example", "evil.example:8000", "testserver.evil.example", "test server"):
        response = Client().get("/login/", HTTP_HOST=host)
        assert response.status_code == 400
        assert "evil" not in html_of(response)
    response = Client().get("/login/", HTTP_X_FORWARDED_HOST="evil.example")
    assert response.status_code == 200
    assert "evil" not in html_of(response)


def test_no_header_can_be_injected(carol_client: Client) -> None:
    for address in (
        "/login/?next=/%0d%0aX-Injected:1",
        "/alerts/?q=%0d%0aX-Injected:1",
        "/admin/login/?next=%0d%0aX-Injected:1",
    ):
        for client in (Client(), carol_client):
            assert "X-Injected" not in client.get(address, follow=True).headers


# Secrets


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that is logged, down to DEBUG, as the console would write it."""
    written = io.StringIO()
    config = logging_config("DEBUG", "json")
    formatter = logging.config.DictConfigurator(config).configure_formatter(config["formatters"]["line"])  # type: ignore[attr-defined]
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


def everything_stored() -> str:
    """Every row of every table, as text."""
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        parts = []
        for table in tables:
            cursor.execute(f"SELECT t::text FROM {connection.ops.quote_name(table)} t")
            parts += [row[0] for row in cursor.fetchall()]
    return "\n".join(parts)


def exercise(world: World) -> list[str]:
    """Use every page, and make the forms with secrets in them fail in every way; the pages that came of it."""
    admin, visitor = world.clients["carol"], Client()
    for client in (*world.clients.values(), visitor):
        client.raise_request_exception = False
    pages = [html_of(response) for *_, response, _ in world.visits()]
    secrets = {"ssh_key": CANARY, "password": CANARY, "api_key": CANARY}
    server = {"name": "web-1", "hostname": "bad host", "port": "x", "username": "", "auth_type": "key", **secrets}
    provider = {"name": "", "provider_type": "no such", "model_id": "", "config_json": "{", **secrets}
    for _ in range(7):
        pages.append(html_of(visitor.post("/login/", {"username": "alice", "password": CANARY})))
    change = {
        "old_password": CANARY,
        "new_password1": f"{CANARY}-1-long-enough",
        "new_password2": f"{CANARY}-2-long-enough",
    }
    pages.append(html_of(world.clients["alice"].post("/profile/password/", change)))
    for address, values in (
        ("/admin/infra/server/add/", server),
        (f"/admin/infra/server/{world.keys['server']}/change/", server),
        ("/admin/assistant/llmprovider/add/", provider),
        (f"/admin/assistant/llmprovider/{world.keys['provider']}/change/", provider),
    ):
        pages.append(html_of(admin.post(address, values)))
    good = {
        "name": "web-9",
        "hostname": "web-9",
        "port": "22",
        "username": "ops",
        "auth_type": "password",
        "password": CANARY,
    }
    pages.append(html_of(admin.post("/admin/infra/server/add/", {**good, "ssh_key": ""}, follow=True)))
    return pages


def test_no_secret_is_in_a_page_a_log_a_dump_or_the_database(log: io.StringIO) -> None:
    world = World(secret=CANARY)
    pages = exercise(world)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE audit_log ADD CONSTRAINT broken CHECK (sequence < 0) NOT VALID")
    pages += exercise(world)  # now every change ends in an error, and its traceback in the log
    assert "Traceback" in log.getvalue()
    leaks = {
        "a page": "\n".join(pages),
        "the log": log.getvalue(),
        "the database": everything_stored(),
        "a dump": dump(),
    }
    hidden = [CANARY, world.token, PASSWORD, base64.b64encode(CANARY.encode()).decode()]
    assert [(secret, place) for secret in hidden for place, text in leaks.items() if secret in text] == []
    assert hashlib.sha256(world.token.encode()).hexdigest() in leaks["the database"], "the database was really read"
    assert "alices chat" in leaks["a page"]


def dump() -> str:
    out = io.StringIO()
    call_command("dumpdata", exclude=sorted({model._meta.label for model, _ in secret_fields()}), stdout=out)
    for model, _ in secret_fields():
        with pytest.raises(CommandError, match="is a secret and is not exported"):
            call_command("dumpdata", model._meta.label, stdout=out)
    return out.getvalue()
