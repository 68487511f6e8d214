"""Every page in both themes and three widths, as pictures in `AIOPS_TEST_ARTIFACTS` (var/test-artifacts), to be looked at by a person.

The README's picture is one of them: `make test ARGS="tests/test_screenshots.py"`, then copy `readme.png` to docs/screenshot.png.
"""

from __future__ import annotations

import base64

import pytest
from playwright.sync_api import Browser, Page

from accounts.models import User
from incidents.models import Alert, Rule
from tests import story
from tests.browser import (
    ARTIFACTS,
    SIZES,
    OpenPage,
    browser,
    open_page,
    settled,
    sideways,
)

__all__ = ["browser", "open_page"]  # fixtures
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


LOOKS = {"desk": ("desk", "tablet"), "phone": ("phone",)}  # a window, and the widths it takes


def shoot(page: Page, window: str, name: str) -> None:
    """One page in every width of its window, light and dark; none may scroll sideways."""
    settled(page)
    for size in LOOKS[window]:
        width, height = SIZES[size]
        page.set_viewport_size({"width": width, "height": height})
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme=theme)
            assert sideways(page) == 0, f"{name} scrolls sideways at {width}"
            page.screenshot(path=ARTIFACTS / f"{name}-{width}-{theme}.png", full_page=True)


def test_it_takes_pictures_of_every_page(open_page: OpenPage, alice: User, bob: User, carol: User) -> None:
    for window in LOOKS:
        shoot(open_page("/login/", size=window), window, "login")
    pages = {window: open_page("/alerts/", carol, size=window) for window in LOOKS}
    for window, page in pages.items():
        shoot(page, window, "list-empty")
    without = story.tell(alice, bob, provider=False).plain
    for window, page in pages.items():
        page.goto(f"/alerts/{without.pk}/")
        shoot(page, window, "detail-without-provider")
    Alert.objects.all().delete()
    Rule.objects.all().delete()
    night = story.tell(alice, bob)
    paths = {
        "list": "/alerts/",
        "list-filtered": "/alerts/?severity=critical&q=cpu",
        "detail": f"/alerts/{night.analysed.pk}/",
        "detail-failed": f"/alerts/{night.failed.pk}/",
        "profile": "/profile/",
    }
    for window, page in pages.items():
        for name, path in paths.items():
            page.goto(path)
            shoot(page, window, name)


def test_it_takes_the_readmes_picture(open_page: OpenPage, alice: User, bob: User, browser: Browser) -> None:
    night = story.tell(alice, bob)
    page = open_page("/alerts/", alice)
    shots = [settled(page).screenshot(clip={"x": 0, "y": 0, "width": 1440, "height": 520})]
    page.goto(f"/alerts/{night.analysed.pk}/")
    shots.append(settled(page).screenshot(clip={"x": 0, "y": 0, "width": 1440, "height": 780}))
    images = "".join(f'<img src="data:image/png;base64,{base64.b64encode(shot).decode()}">' for shot in shots)
    sheet = browser.new_page(viewport={"width": 1440, "height": 1308})
    sheet.set_content(
        f"<style>body{{margin:0;background:#c9ced6}}img{{display:block;margin-bottom:8px}}</style>{images}"
    )
    sheet.screenshot(path=ARTIFACTS / "readme.png")
    sheet.close()
    assert (ARTIFACTS / "readme.png").stat().st_size < 300_000
