"""What the templates about analyses ask for."""

from __future__ import annotations

import re
from collections.abc import Collection

from django import template
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

register = template.Library()
_MARK = re.compile(r"\bE\d{1,4}\b")
_BRACKETS = re.compile(r"\[\s*E\d{1,4}(?:\s*[,;]\s*E\d{1,4})*\s*\]")


@register.filter
def cited(text: str, numbers: Collection[str]) -> SafeString:
    """`text` with its marks, [E1] or [E1, E3], as links to the evidence of these `numbers`. Everything else is escaped."""
    parts: list[str] = []
    end = 0
    for found in _BRACKETS.finditer(text):
        parts += [
            conditional_escape(text[end : found.start()]),
            *(mark(number, numbers) for number in _MARK.findall(found[0])),
        ]
        end = found.end()
    parts.append(conditional_escape(text[end:]))
    return mark_safe("".join(parts))  # noqa: S308 (every part is escaped above)


@register.simple_tag
def mark(number: str, numbers: Collection[str]) -> SafeString:
    """The mark of one piece of evidence; a link where that exists."""
    if number not in numbers:
        return format_html('<span class="cite cite-gone" title="No such evidence">{}</span>', number)
    return format_html('<a class="cite" href="#evidence-{}">{}</a>', number, number)
