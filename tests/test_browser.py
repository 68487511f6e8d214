"""The console in a real Chromium, as an engineer uses it. A console error, a CSP report or a request outside fails every test."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from playwright.sync_api import Page, expect

from accounts.models import User
from incidents import analysis
from incidents.models import Alert
from tests import factories, story
from tests.browser import ARTIFACTS, OpenPage, browser, open_page, settled, sideways
from tests.live import Console, wait_until
from tests.llm_server import ANSWER, completion, serving

__all__ = ["browser", "open_page"]  # fixtures
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def names(page: Page) -> list[str]:
    return page.locator(".row-link").all_inner_texts()


def theme(page: Page) -> str | None:
    return page.locator("html").get_attribute("data-bs-theme")


def test_one_signs_in_finds_an_alert_and_works_on_it(open_page: OpenPage, alice: User, bob: User) -> None:
    night = story.tell(alice, bob)
    page = open_page("/")
    page.get_by_label("User name").fill("alice")
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("link", name="HighCPU").first).to_be_visible()

    page.get_by_label("Text in name, instance or summary").fill("cpu")
    expect(page.locator(".row-link")).to_have_count(2)
    page.get_by_label("Status").select_option("firing")
    expect(page).to_have_url(re.compile(r"/alerts/\?status=firing&q=cpu$"))
    expect(page.locator(".row-link")).to_have_count(1)
    page.get_by_role("link", name="HighCPU").click()

    expect(page.get_by_role("heading", name="HighCPU")).to_be_visible()
    settled(page)
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator("#alert_head")).to_contain_text("alice has it")
    expect(page.locator("#alert_timeline")).to_contain_text("Acknowledged by alice")

    page.get_by_role("button", name="Add note").click()
    expect(page.locator("#note_form")).to_contain_text("an empty note was not saved")
    page.get_by_label("Note", exact=True).fill("logrotate again <b>")
    page.get_by_role("button", name="Add note").click()
    expect(page.locator("#alert_timeline")).to_contain_text("logrotate again <b>")
    expect(page.get_by_label("Note", exact=True)).to_have_value("")
    assert Alert.objects.get(pk=night.analysed.pk).acknowledged_by == alice

    page.go_back()
    expect(page.locator(".row-link")).to_have_count(1)
    page.get_by_label("Account of alice").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_one_gives_an_alert_away_and_puts_it_aside_by_mouse_and_by_keyboard(
    open_page: OpenPage, alice: User, bob: User
) -> None:
    alert = factories.alert()
    page = settled(open_page(f"/alerts/{alert.pk}/", alice))
    head = page.locator("#alert_head")
    page.locator("#assign").click()
    page.get_by_label("To somebody else").select_option("bob")
    page.locator(".menu-form").get_by_role("button", name="Assign").click()
    expect(head).to_contain_text("Assigned to bob")
    expect(page.locator("#alert_timeline")).to_contain_text("Assigned by alice")

    page.locator("#snooze").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="For 30 minutes")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(head).to_contain_text("Snoozed until")
    page.get_by_role("button", name="End the snooze").click()
    expect(head).not_to_contain_text("Snoozed until")

    page.locator("#snooze").click()
    page.get_by_label("Until a moment (UTC)").fill("2001-01-01T09:00")
    page.get_by_role("button", name="Snooze until then").click()
    expect(head.get_by_role("alert")).to_contain_text("That moment is over already")
    alert.refresh_from_db()
    assert (alert.assignee, alert.snoozed_until) == (bob, None)


def test_the_keyboard_alone_leads_from_the_list_through_an_alert(open_page: OpenPage, alice: User) -> None:
    for name in ("First", "Second", "Third"):
        factories.alert(labels={"alertname": name})
    page = open_page("/alerts/", alice)
    expect(page.locator(".row-link")).to_have_count(3)
    shown = names(page)
    for key, expected in (("j", shown[0]), ("j", shown[1]), ("j", shown[2]), ("j", shown[2]), ("k", shown[1])):
        page.keyboard.press(key)
        expect(page.locator(".row-link:focus")).to_have_text(expected)
    page.keyboard.press("o")
    expect(page.get_by_role("heading", name=shown[1])).to_be_visible()
    settled(page)

    page.keyboard.press("a")
    expect(page.locator("#alert_head")).to_contain_text("alice has it")
    page.keyboard.press("n")
    page.keyboard.type("a note, sir, and a jar")
    expect(page.get_by_label("Note", exact=True)).to_have_value("a note, sir, and a jar")
    expect(page.locator("#alert_head")).to_contain_text("alice has it")
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    expect(page.get_by_role("button", name="For 30 minutes")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="For 30 minutes")).to_be_hidden()

    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.screenshot(path=str(ARTIFACTS / "keys.png"))
    page.keyboard.press("g")
    page.keyboard.press("s")  # in the dialog they mean nothing
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("s")
    expect(page).to_have_url(re.compile(r"/servers/$"))
    page.keyboard.press("g")
    page.keyboard.press("a")
    expect(page).to_have_url(re.compile(r"/alerts/$"))
    page.keyboard.press("/")
    page.keyboard.type("first")
    expect(page.locator(".row-link")).to_have_count(1)


@pytest.mark.parametrize("size", ["desk", "phone"])
def test_the_menus_of_an_alert_stay_on_the_screen(open_page: OpenPage, alice: User, size: str) -> None:
    page = settled(open_page(f"/alerts/{factories.alert().pk}/", alice, size=size))
    for menu in ("assign", "snooze"):
        page.locator(f"#{menu}").click()
        box = page.locator(".alert-actions .menu[open] .menu-body").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= page.evaluate("innerWidth")
        assert sideways(page) == 0
        page.screenshot(path=str(ARTIFACTS / f"menu-{menu}-{size}.png"))


def test_an_analysis_cites_evidence_copies_commands_and_is_followed_live(
    open_page: OpenPage, alice: User, bob: User
) -> None:
    night = story.tell(alice, bob)
    page = settled(open_page(f"/alerts/{night.analysed.pk}/", alice))
    page.locator(".answer-summary").get_by_role("link", name="E3").click()
    expect(page.locator("#evidence-E3 pre")).to_be_visible()
    page.get_by_role("button", name="Copy the command of step 1").click()
    expect(page.get_by_role("button", name="Copied the command of step 1")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == story.ANSWER.steps[0].command

    page.keyboard.press("r")
    expect(page.locator("#analysis_state")).to_contain_text("Waiting for a worker")
    expect(page.locator("#alert_timeline")).to_contain_text("Analysis asked for by alice")
    Alert.objects.filter(pk=night.analysed.pk).update(analysis_state="running", analysis_reason="")
    with page.expect_response(lambda answer: answer.status == 204):  # nothing new, and it keeps asking
        expect(page.locator("#analysis_state")).to_contain_text("Evidence is being gathered")
    Alert.objects.filter(pk=night.analysed.pk).update(analysis_state="failed", analysis_reason="The model is away.")
    expect(page.locator("#analysis_state")).to_contain_text("The model is away.")
    expect(page.locator("#answer")).to_contain_text("A runaway log compression job")  # the answer before stays


def test_an_analysis_that_runs_when_the_page_opens_appears_when_it_ends(
    open_page: OpenPage, web: Console, alice: User
) -> None:
    alert = factories.alert()
    with serving() as model:
        model.answer(replace(completion(ANSWER), delay=5))
        factories.provider(config_json={"api_base": model.api_base})
        analysis.request(alert, alice)
        web.start_worker()
        wait_until(lambda: model.asked, "the model to be asked", web.log)
        page = open_page(f"/alerts/{alert.pk}/", alice)
        with page.expect_response(lambda answer: answer.status == 204):  # nothing new, and it keeps asking
            expect(page.locator("#analysis_state")).to_contain_text("Evidence is being gathered")
        expect(page.locator("#answer")).to_contain_text(ANSWER["summary"])
    expect(page.locator("#alert_timeline")).to_contain_text("Analysed")


def test_the_theme_follows_the_system_until_one_is_chosen(open_page: OpenPage, alice: User) -> None:
    page = open_page("/alerts/", alice, theme="dark")
    assert theme(page) == "dark"
    page.emulate_media(color_scheme="light")
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "light")
    page.get_by_role("button", name="Dark theme").click()
    assert theme(page) == "dark"
    page.reload(wait_until="commit")
    assert theme(page) == "dark"  # before anything was painted


@pytest.mark.parametrize("size", ["phone", "tablet"])
def test_long_and_hostile_texts_never_make_a_page_scroll_sideways(open_page: OpenPage, alice: User, size: str) -> None:
    for text in ("x" * 3_000, "<script>alert(1)</script><img src=x onerror=alert(1)>" * 20, "\u202eabc " * 500):
        factories.alert(
            labels={"alertname": text[:255], "instance": text[:255], "job": text[:100], text[:200]: text},
            annotations={"summary": text, "runbook_url": f"https://example.net/{'y' * 2_000}"},
            generator_url=f"https://{'sub.' * 40}example.net/", group_key=text,
        ).add_note(alice, text)  # fmt: skip
    page = open_page("/alerts/", alice, size=size)
    assert sideways(page) == 0
    for alert in Alert.objects.all():
        page.goto(f"/alerts/{alert.pk}/")
        assert sideways(settled(page)) == 0


def test_a_change_that_cannot_be_made_says_so(open_page: OpenPage, alice: User) -> None:
    alert = factories.alert()
    page = settled(open_page(f"/alerts/{alert.pk}/", alice))
    Alert.objects.all().delete()
    page.watched = False  # type: ignore[attr-defined] # the browser logs the 404 that this test provokes
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.get_by_role("alert")).to_contain_text("not there any more")


def test_a_session_that_ended_leads_to_the_sign_in_page(open_page: OpenPage, alice: User) -> None:
    factories.alert()
    page = open_page("/alerts/", alice)
    page.context.clear_cookies()
    page.get_by_label("Status").select_option("firing")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.locator(".filter")).to_have_count(0)


def test_it_works_without_scripts(open_page: OpenPage, alice: User) -> None:
    factories.alert()
    factories.alert(labels={"alertname": "Other"})
    page = open_page("/alerts/", alice, scripts=False)
    page.get_by_label("Alert name, whole").fill("HighCPU")
    page.get_by_role("button", name="Filter").click()
    assert names(page) == ["HighCPU"]
    page.get_by_role("link", name="HighCPU", exact=True).click()
    page.get_by_role("button", name="Acknowledge").click()
    expect(page.locator("#alert_head")).to_contain_text("alice has it")
    page.get_by_role("link", name="Show the analysis").click()
    expect(page.get_by_text("No model is set up")).to_be_visible()
