"""Rules, sources and quarantine in the admin, as an admin uses them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit.models import AuditEntry
from incidents.models import AlertSource, QuarantinedAlert, Rule
from incidents.models.source import hash_token
from tests import factories
from tests.webhook_client import Sender, notification

pytestmark = pytest.mark.django_db
ADD = "/admin/incidents/rule/add/"


def form(**fields: Any) -> dict[str, Any]:
    return {
        "name": "CPU", "description": "", "enabled": "on", "priority": 10, "action": "auto_analyze", "alert_name_pattern": "*cpu*",
        "severity_pattern": "*", "instance_pattern": "*", "job_pattern": "*", "label_matchers": "", **fields,
    }  # fmt: skip


def actions() -> list[str]:
    return list(AuditEntry.objects.order_by("sequence").values_list("action", flat=True))


def test_it_saves_a_rule_and_records_it(carol_client: Client) -> None:
    assert carol_client.post(ADD, form()).status_code == 302
    rule = Rule.objects.get()
    carol_client.post(reverse("admin:incidents_rule_change", args=[rule.pk]), form(priority=5))
    carol_client.post(reverse("admin:incidents_rule_delete", args=[rule.pk]), {"post": "yes"})
    assert actions() == ["create_rule", "change_rule", "delete_rule"]
    assert AuditEntry.objects.get(action="change_rule").details_json["values"] == {"priority": [10, 5]}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("alert_name_pattern", "", "This field is required"),
        ("alert_name_pattern", "x" * 201, "at most 200"),
        ("label_matchers", 'team=~"("', "missing )"),
        ("label_matchers", "nonsense", "is no matcher"),
        ("name", "", "This field is required"),
    ],
)
@pytest.mark.parametrize("button", ["_save", "_preview"])
def test_it_refuses_bad_patterns_in_plain_words(
    carol_client: Client, field: str, value: str, said: str, button: str
) -> None:
    response = carol_client.post(ADD, {**form(**{field: value}), button: "1"})
    assert said in response.content.decode().replace("&quot;", '"')
    assert not Rule.objects.exists()


def test_it_previews_a_new_rule_on_the_latest_alerts_and_saves_nothing(carol_client: Client) -> None:
    hit = factories.alert(labels={"alertname": "HighCPU", "instance": "<b>web</b>"})
    factories.alert(labels={"alertname": "DiskFull"})
    response = carol_client.post(ADD, {**form(), "_preview": "1"})
    page = response.content.decode()
    assert re.search(r"matches <strong>1</strong> of the latest 1000 alerts.*<strong>1</strong>", page, re.DOTALL)
    assert f"/alerts/{hit.pk}/" in page
    assert "&lt;b&gt;web&lt;/b&gt;" in page
    assert 'value="*cpu*"' in page
    assert not Rule.objects.exists()
    assert actions() == []


def test_it_previews_a_change_beside_the_other_rules(carol_client: Client) -> None:
    factories.rule("Everything first", priority=1)
    rule = factories.rule("CPU", alert_name_pattern="nothing", priority=2)
    factories.alert()
    address = reverse("admin:incidents_rule_change", args=[rule.pk])
    page = carol_client.post(address, {**form(), "_preview": "1"}).content.decode()
    assert re.search(r"matches <strong>1</strong>.*decide about <strong>0</strong>", page, re.DOTALL)
    assert "Everything first" in page
    rule.refresh_from_db()
    assert rule.alert_name_pattern == "nothing"


def test_it_previews_with_a_few_queries_however_many_alerts(
    carol_client: Client, django_assert_max_num_queries: Any
) -> None:
    for _ in range(30):
        factories.alert()
    with django_assert_max_num_queries(12):
        carol_client.post(ADD, {**form(), "_preview": "1"})


def test_it_lists_rules_with_what_they_match(carol_client: Client) -> None:
    factories.rule(alert_name_pattern="*cpu*", label_matchers='team="db"', hits=1234)
    factories.rule()
    page = carol_client.get("/admin/incidents/rule/").content.decode()
    assert "*cpu*, team=&quot;db&quot;" in page
    assert "every alert" in page


@pytest.mark.parametrize("path", ["rule/", "rule/add/", "alertsource/", "alertsource/add/", "quarantinedalert/"])
def test_only_admins_see_it(alice_client: Client, path: str) -> None:
    assert alice_client.get(f"/admin/incidents/{path}").status_code == 403
    assert Client().get(f"/admin/incidents/{path}").status_code == 302


# -- sources -----------------------------------------------------------------------------------------------------------


def token_in(page: str) -> str:
    found = re.search(r'<code id="token">([^<]+)</code>', page)
    assert found
    return found[1]


def test_it_shows_a_new_sources_token_once_with_the_configuration_to_paste(carol_client: Client) -> None:
    response = carol_client.post("/admin/incidents/alertsource/add/", {"name": "eu", "kind": "alertmanager"})
    page = response.content.decode()
    token, source = token_in(page), AlertSource.objects.get()
    assert source.token_hash == hash_token(token)
    assert f"credentials: {token}" in page
    assert "/webhook/alerts" in page
    assert "no-store" in response["Cache-Control"]
    assert Sender(source, token).post(notification()).status == 200
    later = carol_client.get(reverse("admin:incidents_alertsource_change", args=[source.pk])).content.decode()
    assert token not in later
    assert source.token_hash not in later
    assert f"ends in {source.token_hint}" in later
    assert actions() == ["create_source"]
    assert token not in str(AuditEntry.objects.get().details_json)


def test_it_replaces_a_token_after_asking(carol_client: Client) -> None:
    source, old = factories.source_with_token()
    address = reverse("admin:incidents_alertsource_rotate", args=[source.pk])
    assert "stops working at once" in carol_client.get(address).content.decode()
    assert Sender(source, old).post(notification()).status == 200
    new = token_in(carol_client.post(address).content.decode())
    assert Sender(source, old).post(notification()).status == 401
    assert Sender(source, new).post(notification()).status == 200
    assert actions() == ["rotate_source_token"]


def test_it_revokes_a_token_after_asking(carol_client: Client) -> None:
    source, token = factories.source_with_token()
    address = reverse("admin:incidents_alertsource_revoke", args=[source.pk])
    carol_client.get(address)
    assert Sender(source, token).post(notification()).status == 200
    assert carol_client.post(address).status_code == 302
    assert Sender(source, token).post(notification()).status == 401
    assert actions() == ["revoke_source_token"]


def test_it_disables_a_source_and_never_deletes_it(carol_client: Client) -> None:
    source, token = factories.source_with_token()
    address = reverse("admin:incidents_alertsource_change", args=[source.pk])
    carol_client.post(address, {"name": source.name, "kind": "grafana"})
    assert Sender(source, token).post(notification()).status == 401
    assert carol_client.post(reverse("admin:incidents_alertsource_delete", args=[source.pk])).status_code == 403
    assert actions() == ["change_source"]


def test_tokens_change_by_post_from_our_own_pages_only() -> None:
    source, _ = factories.source_with_token()
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(factories.user(role="admin"), backend="accounts.backends.RoleBackend")
    for name in ("rotate", "revoke"):
        assert strict.post(reverse(f"admin:incidents_alertsource_{name}", args=[source.pk])).status_code == 403
    assert AlertSource.objects.get().token_hash == source.token_hash


# -- quarantine --------------------------------------------------------------------------------------------------------


def test_it_shows_quarantined_input_escaped_and_read_only(carol_client: Client) -> None:
    kept = QuarantinedAlert.objects.create(
        received_at=timezone.now(), reason="not JSON", excerpt="<script>alert(1)</script>", size=25
    )
    page = carol_client.get(reverse("admin:incidents_quarantinedalert_change", args=[kept.pk])).content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert 'name="_save"' not in page
    assert carol_client.post(reverse("admin:incidents_quarantinedalert_delete", args=[kept.pk])).status_code == 403
    assert carol_client.get("/admin/incidents/quarantinedalert/add/").status_code == 403
    assert "not JSON" in carol_client.get("/admin/incidents/quarantinedalert/").content.decode()
