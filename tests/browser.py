"""A real Chromium on the real server. Every page is watched: a console error or a CSP report fails its test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from accounts.models import User
from tests.live import ROOT, Console

ARTIFACTS = Path(os.environ.get("AIOPS_TEST_ARTIFACTS") or ROOT / "var" / "test-artifacts")
SIZES = {"desk": (1440, 900), "tablet": (1024, 768), "phone": (390, 844)}
# Reports of the content security policy reach neither the console reliably nor Python: collect them in the page.
COLLECT_REPORTS = """
window.policyReports = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.policyReports.push(`${event.violatedDirective} blocked ${event.blockedURI} ${event.sourceFile || ""}:${event.lineNumber}`);
});
"""
OpenPage = Callable[..., Page]


def chromium() -> str | None:
    return os.environ.get("AIOPS_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for one module at a time: while Playwright lives, its event loop counts as running in this thread.

    Django takes that for asynchronous code, and other tests could not start loops of their own.
    """
    executable = chromium()
    if not executable:
        pytest.skip("Chromium is not installed (Debian: chromium), or name it in AIOPS_TEST_CHROMIUM")
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    arguments = [*quiet, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        launched = playwright.chromium.launch(executable_path=executable, args=arguments)
        yield launched
        launched.close()


@pytest.fixture
def open_page(web: Console, browser: Browser) -> Iterator[OpenPage]:
    """`open_page(path, user=None, size="desk", theme="light", scripts=True)` → a watched page of a person, or of nobody."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []
    pages: list[Page] = []

    def opened(
        path: str, user: User | None = None, *, size: str = "desk", theme: Any = "light", scripts: bool = True
    ) -> Page:
        width, height = SIZES[size]
        context = browser.new_context(
            base_url=web.url, viewport={"width": width, "height": height}, color_scheme=theme, has_touch=size != "desk",
            permissions=["clipboard-read", "clipboard-write"], reduced_motion="reduce",
            java_script_enabled=scripts,
        )  # fmt: skip
        contexts.append(context)
        if user:
            context.add_cookies(
                [{"name": name, "value": value, "url": web.url} for name, value in web.session_cookie(user).items()]
            )
        context.add_init_script(COLLECT_REPORTS)
        page = context.new_page()
        page.set_default_timeout(10_000)
        _watch(page, web.url, problems)
        if scripts:
            pages.append(page)
        page.goto(path)
        return page

    yield opened
    for page in pages:
        problems += page.evaluate("window.policyReports")
    for context in contexts:
        context.close()
    assert not problems, "\n".join(problems)


def _watch(page: Page, home: str, problems: list[str]) -> None:
    """`page.watched = False` ends the watch of the console, for a test that provokes an error."""

    def heard(said: ConsoleMessage) -> None:
        refused_form = "status of 422" in said.text  # an answer like any other, which Chromium logs as an error
        if said.type in ("error", "warning") and getattr(page, "watched", True) and not refused_form:
            problems.append(f"console: {said.text}")

    page.on("console", heard)
    page.on("pageerror", lambda error: problems.append(f"script: {error}"))
    page.on("dialog", lambda dialog: (problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on(
        "request",
        lambda request: None if request.url.startswith((home, "data:")) else problems.append(f"outside: {request.url}"),
    )


def settled(page: Page) -> Page:
    """Wait until the page's own fragments have arrived."""
    expect(page.locator(".panel-waiting, .htmx-request")).to_have_count(0)
    return page


def sideways(page: Page) -> int:
    """How many pixels the page can be scrolled sideways; nought is right."""
    return page.evaluate("Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth)")
