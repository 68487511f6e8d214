"""The admin in a real browser: its own scripts and styles must run under the site's policy, which the browser enforces."""

from __future__ import annotations

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from accounts.models import User
from audit.log import record
from tests import factories
from tests.browser import ARTIFACTS, OpenPage, browser, open_page

__all__ = ["browser", "open_page"]  # fixtures
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def test_the_admins_pages_break_no_policy_and_their_scripts_run(open_page: OpenPage, carol: User) -> None:
    rule = factories.rule("databases")
    record("change_rule", rule, name=rule.name)
    page = open_page("/admin/", carol)
    for heading in ("Configuration", "People", "Audit"):
        expect(page.get_by_text(heading, exact=True)).to_be_visible()
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    for name, args in (
        ("index", ()),
        ("audit_auditentry_changelist", ()),
        ("accounts_user_add", ()),
        ("accounts_user_change", (carol.pk,)),
        ("accounts_systemconfig_changelist", ()),
        ("accounts_systemconfig_change", ("severity_map",)),
        ("infra_server_add", ()),
        ("incidents_rule_changelist", ()),
        ("incidents_rule_history", (rule.pk,)),
    ):
        page.goto(reverse(f"admin:{name}", args=args))
        page.screenshot(path=ARTIFACTS / f"admin-{name}.png")
    page.goto(reverse("admin:incidents_rule_changelist"))
    page.locator("#action-toggle").check()
    expect(page.locator(".action-counter")).to_have_text("1 of 1 selected")
    before = page.locator("html").get_attribute("data-theme")
    page.locator(".theme-toggle").click()
    expect(page.locator("html")).not_to_have_attribute("data-theme", before or "auto")
