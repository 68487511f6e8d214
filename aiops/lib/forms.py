"""Form fields that several apps share."""

from __future__ import annotations

from typing import Any

from django import forms


class SecretInput(forms.PasswordInput):
    """A secret's box: what is stored never comes back; the placeholder says whether something is."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"autocomplete": "new-password", **(attrs or {})}, render_value=False)


class SecretTextarea(forms.Textarea):
    """The same for a secret of several lines, such as a key."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"autocomplete": "off", "spellcheck": "false", "rows": 8, "cols": 70, **(attrs or {})})

    def format_value(self, value: Any) -> None:
        return None


class SecretFormField(forms.CharField):
    """Takes a new secret. Left empty, the stored one stays: the form tells the two apart by `""`."""

    widget = SecretInput

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"required": False, "strip": False, **kwargs})
