"""What every template may ask for: icons, times as people say them, and which entry of the menu is the present one."""

from __future__ import annotations

import datetime as dt
import functools
import re

from django import template
from django.conf import settings
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from aiops.lib import markdown, times

register = template.Library()
# Directional overrides and isolates, zero-width characters, and controls other than line ends and tabs.
_HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_ICON_NAME = re.compile(r"[a-z0-9-]+")


@register.simple_tag
def icon(name: str, extra: str = "") -> SafeString:
    """The Tabler icon `name` as inline SVG, hidden from screen readers: a word stands beside it or in the control's label."""
    return format_html(
        '<svg class="icon {}" viewBox="0 0 24 24" aria-hidden="true" focusable="false">{}</svg>', extra, _shapes(name)
    )


@functools.cache
def _shapes(name: str) -> SafeString:
    """What is inside the icon's <svg>. The file comes from the installed package, never from outside text."""
    if not _ICON_NAME.fullmatch(name):
        raise template.TemplateSyntaxError(f"“{name}” is no name of an icon.")
    file = settings.NODE_MODULES / "@tabler" / "icons" / "icons" / "outline" / f"{name}.svg"
    if not settings.NODE_MODULES.is_dir():
        return mark_safe("")  # the front end is not installed: pages still work, without pictures
    inner = file.read_text().partition(">")[2].rpartition("</svg>")[0]
    return mark_safe(" ".join(inner.split()))  # noqa: S308 (a file of the pinned package)


@register.filter
def age(moment: dt.datetime | None) -> str:
    """`4 m`, `3 h`, `12 d`: how long ago, in one unit."""
    return times.short(timezone.now() - moment) if moment else ""


@register.filter
def lasted(start: dt.datetime | None, end: dt.datetime | None) -> str:
    """From `start` to `end` (or to now) in two units: `2 h 14 m`."""
    return times.precise((end or timezone.now()) - start) if start else ""


@register.filter
def exact(moment: dt.datetime | None) -> str:
    """The whole moment in UTC, as one would write it into a report."""
    return f"{moment.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else ""


@register.simple_tag(takes_context=True)
def current(context: template.Context, app: str, view: str = "") -> SafeString:
    """`aria-current="page"` where the page belongs to `app` (and its view's name starts with `view`)."""
    match = getattr(context.get("request"), "resolver_match", None)
    here = match is not None and match.app_name == app and (match.url_name or "").startswith(view)
    return mark_safe(' aria-current="page"') if here else mark_safe("")


@register.filter
def visible(text: object) -> str:
    """`text` with characters that change direction or cannot be seen written out, as in `[U+202E]`."""
    return _HIDDEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", str(text))


register.filter("markdown", markdown.render)
