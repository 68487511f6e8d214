"""Whatever a label, an annotation, a note or a model says: it is text on the page and nothing else."""

from __future__ import annotations

from collections import Counter
from html.parser import HTMLParser
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from accounts.models import User
from aiops.lib import markdown
from aiops.lib.links import safe_link
from assistant.models import ChatSession, Evidence
from incidents.models import Alert
from infra.models import TerminalSession
from tests import factories

MARKER = "zqx"  # in the name of every element and attribute that a payload would bring
PAYLOADS = [
    "<script>zqx()</script>",
    "</script><script>zqx()</script>",
    "<zqx-element zqx-attribute=1>",
    '"><img src=x onerror=zqx()>',
    "'><svg/onload=zqx()>",
    '" zqx-attribute="1" onfocus="zqx()" autofocus="',
    "' zqx-attribute='1' onmouseover='zqx()' x='",
    "</title><zqx-element>",
    "</textarea><zqx-element>",
    "</pre></details><zqx-element>",
    "--><zqx-element><!--",
    "<style>@import 'https://zqx.example/x.css'</style>",
    "<iframe srcdoc='<script>zqx()</script>'></iframe>",
    "<a href='javascript:zqx()'>x</a>",
    "<form action=https://zqx.example><input zqx-attribute>",
    "<div hx-get='https://zqx.example/' hx-trigger='load' zqx-attribute>",
    "[click](javascript:zqx()) ![x](https://zqx.example/x.png) <zqx-element>",
    '[click](https://zqx.example/ "><zqx-element>")',
    "{{ 7|zqx }} {% zqx %} ${zqx}",
    "&lt;zqx-element&gt; &#60;zqx-element&#62;",
    '[E1] [E2"><zqx-element>] [E1, E1]',
    "\u202egnp.exe\u202c \u2066zqx\u2069 \u200bzqx \ufeff",
    "＜zqx-element＞ ‹zqx› \ud7ff\ue000\U0010ffff",
    "\x1b]52;c;enF4\x07 \x1b[31mzqx \x85\u2028\u2029",
]
URLS = [
    "javascript:zqx()", "JaVaScRiPt:zqx()", " javascript:zqx()", "java\tscript:zqx()", "javascript&colon;zqx()",
    "\x01javascript:zqx()",     "data:text/html,<script>zqx()</script>", "vbscript:zqx", "//zqx.example/", "https:zqx", "http:///zqx", "https://zqx.example\\@good/",
    "https://a b/", "file:///etc/passwd", "blob:https://zqx.example/1", "https://[zqx", "https://zqx:99999/", "\u202ehttps://zqx/",
]  # fmt: skip


class Elements(HTMLParser):
    """Counts what a page is made of, and collects what must not be there."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.counts: Counter[str] = Counter()
        self.links: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.counts[tag] += 1
        if MARKER in tag:
            self.wrong.append(f"<{tag}>")
        for name, value in attributes:
            if MARKER in name or name.startswith("on") or name == "style" or name.startswith("hx-on"):
                self.wrong.append(f"<{tag} {name}>")
            if name in ("href", "src", "action", "formaction", "hx-get", "hx-post"):
                self.links.append(value or "")


def elements(page: str) -> Elements:
    parser = Elements()
    parser.feed(page)
    parser.close()
    outside = [link for link in parser.links if not link.startswith(("/", "#", "?", "https://ok.example/"))]
    assert not outside
    assert not parser.wrong
    return parser


def fill(text: str, url: str, user: User, admin: User) -> Alert:
    """One alert and all that surrounds it, with `text` in every text and `url` in every address."""
    labels = {"alertname": text[:255], "instance": text[:255], "job": text[:100], text: text, "severity": "critical"}
    annotations = {"summary": text, "description": text, text: text, "runbook_url": url, "dashboard_url": url}
    rule = factories.rule(text[:100], label_matchers='job=~".*"', alert_name_pattern=f"*{text[:20]}*")
    fields: dict[str, Any] = {"group_key": text, "receiver": text[:255], "generator_url": url, "external_url": url}
    raw = {
        "labels": labels,
        "annotations": annotations,
        "dashboardURL": url,
        "panelURL": url,
        "silenceURL": url,
        text: [text],
    }
    alert = factories.alert(
        labels=labels, annotations=annotations, raw_alert_json=raw, matched_rule=rule, fingerprint=text[:100] or "x",
        source=factories.source(text[:100]), ai_analysis=text, analysis_state="done", analysis_reason=text, **fields,
    )  # fmt: skip
    factories.alert(labels=labels, source=alert.source, ai_analysis=text, analysis_state="done", **fields)
    factories.alert(
        labels=labels, source=alert.source, fingerprint=alert.fingerprint, status="resolved", ai_analysis=text, **fields
    )
    alert.add_note(user, text)
    alert.acknowledge(user)
    step = {"title": text, "command": text, "risk": text, "reversible": text, "why": text}
    result = {
        "verdict": "problem", "summary": text, "hypotheses": [{"cause": text, "confidence": text, "evidence": ["E1", text]}],
        "steps": [step], "unchecked": [text], "remarks": [text],
    }  # fmt: skip
    run = factories.analysis(
        alert,
        state="done",
        result_json=result,
        error=text,
        model_name=text[:200],
        provider=factories.provider(text[:100]),
    )
    Evidence.objects.create(
        analysis=run, number="E1", kind="x", title=text[:200], query=text, text=text, captured_at=timezone.now()
    )
    server = factories.server(text[:100], hostname=text[:255], environment=text[:50])
    TerminalSession.objects.create(user=user, server_credential=server, alert=alert, started_at=timezone.now())
    ChatSession.objects.create(user=user, title=text[:255], alert=alert)
    return alert


def pages(client: Client, alert: Alert) -> dict[str, str]:
    """Every page that shows something of the alert, as a page and as a fragment."""
    paths = [
        "/alerts/", f"/alerts/{alert.pk}/", f"/alerts/{alert.pk}/analysis/", f"/alerts/{alert.pk}/timeline/", "/profile/",
        "/servers/", "/terminals/", "/chats/",
    ]  # fmt: skip
    found = {}
    for path in paths:
        for headers in ({}, {"HX-Request": "true"}):
            response = client.get(path, headers=headers)
            assert response.status_code == 200, path
            found[f"{path.replace(str(alert.pk), 'PK')} {headers}"] = response.content.decode()
    return found


def shape(client: Client, text: str, url: str, user: User, admin: User) -> dict[str, Counter[str]]:
    """How many elements of each kind the pages have with these texts; nothing stays in the database."""
    with transaction.atomic():
        alert = fill(text, url, user, admin)
        counts = {path: elements(page).counts for path, page in pages(client, alert).items()}
        transaction.set_rollback(True)
    for count in counts.values():
        del count["path"]  # which icon is drawn may differ
    return counts


def test_hostile_text_adds_no_element_and_no_attribute(alice_client, alice, carol) -> None:
    harmless = shape(alice_client, "plain words", "/not-a-link", alice, carol)
    for number, payload in enumerate(PAYLOADS):
        marks = payload.count("E1")  # a mark such as [E1] is a link of ours; all else must be as it was
        for path, found in shape(alice_client, payload, URLS[number % len(URLS)], alice, carol).items():
            assert found - harmless[path] - Counter(a=20 * marks, span=20 * marks) == Counter(), (
                f"{path} with {payload}"
            )


@pytest.mark.parametrize("url", URLS)
def test_a_link_is_made_of_http_addresses_only(alice_client, url: str) -> None:
    assert safe_link(url) is None
    alert = factories.alert(generator_url=url, annotations={"runbook_url": url, "link": url})
    elements(alice_client.get(f"/alerts/{alert.pk}/").content.decode())


def test_a_link_shows_the_host_that_it_leads_to(alice_client) -> None:
    alert = factories.alert(generator_url="https://ok.example/@good.example", annotations={"a": "https://ok.example/"})
    page = alice_client.get(f"/alerts/{alert.pk}/").content.decode()
    assert "<bdi>ok.example</bdi>" in page
    assert safe_link("https://good.example@ok.example/").host == "ok.example"  # type: ignore[union-attr]
    assert safe_link("https://gооd.example/").host.startswith("xn--")  # type: ignore[union-attr]


def test_hidden_and_direction_changing_characters_are_written_out(alice_client) -> None:
    alert = factories.alert(annotations={"summary": "run \u202etxt.sh\u200b"}, labels={"alertname": "a\u202eb"})
    for path in ("/alerts/", f"/alerts/{alert.pk}/"):
        page = alice_client.get(path).content.decode()
        assert "[U+202E]" in page
        assert not {"\u202e", "\u200b"} & set(page)


REL = 'rel="noopener noreferrer nofollow"'


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("<b>x</b>", "<p>&lt;b&gt;x&lt;/b&gt;</p>"),
        ("![x](https://zqx.example/x.png)", f'<p>!<a href="https://zqx.example/x.png" {REL}>x</a> (zqx.example)</p>'),
        ("[x](javascript:zqx())", "<p>[x](javascript:zqx())</p>"),
        ("[good.example](https://zqx.example/)", f'<p><a href="https://zqx.example/" {REL}>good.example</a> (zqx.example)</p>'),
        ("[x](mailto:a@b.c)", "<p>x (mailto:a@b.c)</p>"),
        ("# Head", "<h3>Head</h3>"),
        ("`<i>`", "<p><code>&lt;i&gt;</code></p>"),
    ],
)  # fmt: skip
def test_markdown_becomes_an_allow_list_of_html(text: str, html: str) -> None:
    assert markdown.render(text).strip() == html


def test_a_text_of_fifty_thousand_characters_is_shown_and_foldable(alice_client, alice, carol) -> None:
    alert = fill("x" * 50_000, "https://ok.example/" + "y" * 50_000, alice, carol)
    found = pages(alice_client, alert)
    assert "show all 50000 characters" in next(page for path, page in found.items() if path.startswith("/alerts/PK/ "))
    assert len(found["/alerts/ {}"]) < 60_000
