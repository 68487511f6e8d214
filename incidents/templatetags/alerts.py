"""What the templates about alerts ask for."""

from __future__ import annotations

from django import template

from incidents.headline import first_sentence

register = template.Library()
register.filter("headline", first_sentence)

SEVERITY_ICONS = {
    "critical": "flame",
    "error": "alert-octagon",
    "warning": "alert-triangle",
    "info": "info-circle",
    "unknown": "help-circle",
}


@register.filter
def severity_icon(level: str) -> str:
    return SEVERITY_ICONS.get(level, "help-circle")


EVENT_ICONS = {
    "fired": "flame",
    "resolved": "circle-check",
    "reopened": "rotate",
    "superseded": "history",
    "seen_late": "clock",
    "acknowledged": "user-check",
    "unacknowledged": "user-x",
    "assigned": "user",
    "unassigned": "user-x",
    "snoozed": "clock",
    "unsnoozed": "bell",
    "note": "note",
    "analysis_queued": "clock",
    "analysed": "sparkles",
    "analysis_failed": "alert-circle",
    "analysis_skipped": "circle-minus",
    "unconfirmed": "help-circle",
}


@register.filter
def event_icon(kind: str) -> str:
    return EVENT_ICONS.get(kind, "info-circle")
