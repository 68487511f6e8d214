"""The commands that scripts call to provision the incidents' part."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_httpserver import HTTPServer
from werkzeug import Response

from audit.models import AuditEntry
from incidents.models import Alert, AlertSource, Rule
from tests import factories
from tests.webhook_client import Sender, notification

pytestmark = pytest.mark.django_db


def run(*arguments: str, **options: Any) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command(*arguments, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


def audited() -> list[str]:
    return list(AuditEntry.objects.order_by("sequence").values_list("action", flat=True))


def test_create_source_prints_the_token_alone_on_the_last_line() -> None:
    out, _ = run("create_source", "eu", "--alertmanager-url", "http://am.example:9093")
    token, source = out.splitlines()[-1], AlertSource.objects.get()
    assert (source.name, source.kind, source.alertmanager_url) == ("eu", "alertmanager", "http://am.example:9093")
    assert Sender(source, token).post(notification()).status == 200
    assert audited() == ["create_source"]


def test_create_source_changes_nothing_the_second_time() -> None:
    out, _ = run("create_source", "eu")
    token = out.splitlines()[-1]
    out, err = run("create_source", "eu", "--kind", "grafana")
    assert out == ""
    assert "nothing was changed" in err
    assert AlertSource.objects.get().kind == "alertmanager"
    assert Sender(AlertSource.objects.get(), token).post(notification()).status == 200
    assert audited() == ["create_source"]


def test_create_source_replaces_the_token_when_asked() -> None:
    old = run("create_source", "eu", "--new-token")[0].splitlines()[-1]
    new = run("create_source", "eu", "--new-token")[0].splitlines()[-1]
    assert Sender(AlertSource.objects.get(), old).post(notification()).status == 401
    assert Sender(AlertSource.objects.get(), new).post(notification()).status == 200
    assert audited() == ["create_source", "rotate_source_token"]


@pytest.mark.parametrize("arguments", [("",), ("x" * 101,), ("eu", "--alertmanager-url", "not an address")])
def test_create_source_refuses_what_it_cannot_store(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        run("create_source", *arguments)
    assert not AlertSource.objects.exists()


def test_create_rule_is_idempotent_by_name_and_says_what_differs() -> None:
    arguments = ("create_rule", "CPU", "--alert-name", "*cpu*", "--severity", "crit*", "--action", "auto_analyze")
    assert "Created" in run(*arguments, "--priority", "5")[0]
    out, err = run(*arguments, "--priority", "6")
    rule = Rule.objects.get()
    assert (rule.alert_name_pattern, rule.severity_pattern, rule.action, rule.priority) == (
        "*cpu*",
        "crit*",
        "auto_analyze",
        5,
    )
    assert (out, "differs in: priority" in err) == ("", True)
    assert audited() == ["create_rule"]


def test_create_rule_refuses_bad_patterns_by_the_options_name() -> None:
    with pytest.raises(CommandError, match="--matchers: Line 1"):
        run("create_rule", "x", "--matchers", "nonsense", "--action", "manual")
    with pytest.raises(CommandError, match="--alert-name"):
        run("create_rule", "x", "--alert-name", "", "--action", "manual")
    assert not Rule.objects.exists()


def test_send_test_alert_goes_the_webhooks_road_and_says_where_to_look() -> None:
    factories.source("am")
    factories.rule(action="auto_analyze")
    out, _ = run("send_test_alert", "--name", "Demo", "--severity", "page")
    stored = Alert.objects.get()
    assert f"/alerts/{stored.pk}/" in out
    assert (stored.alert_name, stored.severity, stored.analysis_state) == ("Demo", "critical", "queued")
    assert audited() == ["send_test_alert"]
    run("send_test_alert", "--name", "Demo", "--severity", "page", "--resolve")
    assert Alert.objects.get().status == "resolved"


def test_send_test_alert_says_what_is_missing_without_a_source() -> None:
    with pytest.raises(CommandError, match="create_source"):
        run("send_test_alert")
    with pytest.raises(CommandError, match="--token"):
        run("send_test_alert", "--url", "http://127.0.0.1:1")


def test_send_test_alert_posts_to_a_running_console(httpserver: HTTPServer) -> None:
    sender = Sender()

    bodies: list[bytes] = []
    httpserver.expect_request("/webhook/alerts", method="POST").respond_with_handler(
        lambda request: bodies.append(request.get_data()) or Response("{}")
    )
    run("send_test_alert", "--url", httpserver.url_for("/"), "--token", sender.token)
    assert sender.post(bodies[0]).json() == {"received": 1, "quarantined": 0}


def test_send_test_alert_passes_on_the_consoles_refusal(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/webhook/alerts").respond_with_json({"error": "wrong token"}, status=401)
    with pytest.raises(CommandError, match="answered 401: wrong token"):
        run("send_test_alert", "--url", httpserver.url_for("/"), "--token", "x")
    with pytest.raises(CommandError, match="Is the console running"):
        run("send_test_alert", "--url", "http://127.0.0.1:1", "--token", "x")
