"""Markdown from a model or a person, made safe to show: the only place where outside text becomes HTML.

markdown-it-py passes no HTML through, nh3 then keeps an allow-list of what it made. No images: they would carry data out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.token import Token

from aiops.lib.links import safe_link
from aiops.lib.text import clean

MAX_LENGTH = 200_000
_TAGS = {
    "a", "blockquote", "br", "code", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "strong",
    "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_ALLOWED: dict[str, Any] = {
    "tags": _TAGS,
    "attributes": {"a": {"href"}, "*": set()},
    "url_schemes": {"http", "https"},
    "link_rel": "noopener noreferrer nofollow",
}
_parser = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table").disable("image")


def render(text: str) -> SafeString:
    """HTML with headings from h3 down, and links to http(s) only, each followed by its host."""
    tokens = _parser.parse(clean(text)[:MAX_LENGTH])
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, max(3, int(token.tag[1])))}"
        if token.children:
            token.children = _with_hosts(token.children)
    html = _parser.renderer.render(tokens, _parser.options, {})
    return mark_safe(nh3.clean(html, **_ALLOWED))  # noqa: S308 (nh3 has just cleaned it)


def _with_hosts(tokens: Sequence[Token]) -> list[Token]:
    """The tokens with the host behind each link; a link that may not be clicked becomes its text and its address."""
    shown: list[Token] = []
    pending: list[tuple[str, bool]] = []
    for token in tokens:
        if token.type == "link_open":
            href = str(token.attrs.get("href", ""))
            link = safe_link(href)
            pending.append((link.host if link else href, link is not None))
            if link:
                shown.append(token)
        elif token.type == "link_close" and pending:
            label, kept = pending.pop()
            if kept:
                shown.append(token)
            shown.append(Token("text", "", 0, content=f" ({label})"))
        else:
            shown.append(token)
    return shown
