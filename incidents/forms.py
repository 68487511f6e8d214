"""What a person may say of an alert, checked: each error says what was wrong and what to do."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django import forms
from django.utils import timezone

from accounts.models import User
from incidents.models.alert import NOTE_LENGTH

MORNING = dt.time(9)
LONGEST_SNOOZE = dt.timedelta(days=30)
LENGTHS = {"30m": dt.timedelta(minutes=30), "1h": dt.timedelta(hours=1), "4h": dt.timedelta(hours=4)}
PRESETS = {"30m": "For 30 minutes", "1h": "For 1 hour", "4h": "For 4 hours", "morning": "Until 09:00 tomorrow"}


class NoteForm(forms.Form):
    text = forms.CharField(
        label="Note",
        max_length=NOTE_LENGTH,
        widget=forms.Textarea(
            attrs={"class": "form-control", "rows": 2, "placeholder": "What you saw, did or ruled out"}
        ),
        error_messages={"required": "Write something first; an empty note was not saved."},
    )


class PersonField(forms.ModelChoiceField):
    """A person by key. What is no key at all gets the same words as a key that nobody has."""

    def to_python(self, value: Any) -> User | None:
        try:
            return super().to_python(value)
        except forms.ValidationError as exc:
            raise forms.ValidationError(self.error_messages["invalid_choice"], code="invalid_choice") from exc


class AssignForm(forms.Form):
    """Whom an alert is given to; empty for nobody."""

    person = PersonField(
        User.objects.filter(is_active=True),
        required=False,
        error_messages={"invalid_choice": "That person is not there, or is deactivated. Choose somebody else."},
    )


class SnoozeForm(forms.Form):
    """How long to put an alert aside: a preset, or a moment of one's own in the site's time zone."""

    preset = forms.ChoiceField(
        choices=list(PRESETS.items()),
        required=False,
        error_messages={"invalid_choice": f"A snooze is one of {', '.join(PRESETS)}, or has a moment to end at."},
    )
    until = forms.DateTimeField(
        required=False,
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        error_messages={"invalid": "Write the moment as 2026-01-31T09:00."},
    )

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if self.errors:
            return values
        now = timezone.now()
        moment = _end_of(values["preset"], now) if values.get("preset") else values.get("until")
        if moment is None:
            raise forms.ValidationError("Say until when: choose a length or give a moment.")
        if moment <= now:
            raise forms.ValidationError("That moment is over already. Choose one in the future.")
        if moment - now > LONGEST_SNOOZE:
            raise forms.ValidationError(f"A snooze lasts {LONGEST_SNOOZE.days} days at most. Choose an earlier moment.")
        return {**values, "until": moment}


def _end_of(preset: str, now: dt.datetime) -> dt.datetime:
    if preset in LENGTHS:
        return now + LENGTHS[preset]
    tomorrow = timezone.localtime(now).date() + dt.timedelta(days=1)
    return timezone.make_aware(dt.datetime.combine(tomorrow, MORNING))


def problem(form: forms.Form) -> str:
    """A form's errors as one text for the person."""
    return " ".join(str(error) for errors in form.errors.values() for error in errors)
