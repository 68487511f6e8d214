"""System configuration in the admin: every known key, with a form of its type, whether it was ever set or not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from accounts.models import SystemConfig, User
from accounts.system_config import KEYS, ConfigError, check
from audit.log import record
from audit.modeladmin import AuditedModelAdmin

if TYPE_CHECKING:
    ConfigForm = forms.ModelForm[SystemConfig]
else:
    ConfigForm = forms.ModelForm  # generic for the type checker only

FIELDS: dict[type, type[forms.Field]] = {int: forms.IntegerField, float: forms.FloatField, str: forms.CharField}


@dataclass(frozen=True)
class Setting:
    """One line of the list. `row` is None while the key has its default."""

    key: str
    value: Any
    default: Any
    unit: str
    help: str
    row: SystemConfig | None


def default_of(key: str) -> Any:
    return KEYS[key].metadata["default"]


class ObjectField(forms.JSONField):
    """JSON as people edit it: one entry a line. Left empty, it is an empty object."""

    widget = forms.Textarea({"rows": 12, "cols": 80, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)

    def clean(self, value: Any) -> Any:
        cleaned = super().clean(value)
        return {} if cleaned is None else cleaned


def form_field(key: str) -> forms.Field:
    """The form field for the key's type; what is neither number, text nor switch is edited as JSON."""
    about, default = KEYS[key].metadata, default_of(key)
    unit = f" {about['unit']}" if about["unit"] else ""
    texts: dict[str, Any] = {
        "label": key.replace("_", " ").capitalize(),
        "help_text": f"{about['help']} Default: {shown(default)}{unit}.",
    }
    if isinstance(default, bool):
        return forms.BooleanField(required=False, **texts)
    if type(default) in FIELDS:
        return FIELDS[type(default)](required=not isinstance(default, str), **texts)
    return ObjectField(required=False, **texts)


def shown(value: Any) -> str:
    """A value as a line of text: an object as its pairs."""
    if isinstance(value, dict):
        return ", ".join(f"{name} → {other}" for name, other in value.items()) or "nothing"
    return "nothing" if value in ("", []) else str(value)


class SettingForm(ConfigForm):
    value = forms.Field()  # which one, the key decides

    class Meta:
        model = SystemConfig
        fields = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["value"] = form_field(self.instance.key)
        self.initial["value"] = self.instance.value_json

    def clean_value(self) -> Any:
        try:
            return check(self.instance.key, self.cleaned_data["value"])
        except ConfigError as exc:
            raise forms.ValidationError(str(exc)) from exc


@admin.register(SystemConfig)
class SettingAdmin(AuditedModelAdmin):
    form = SettingForm
    fields = ("value",)
    change_form_template = "admin/setting_form.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: SystemConfig | None = None) -> bool:
        return False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> SystemConfig | None:
        if object_id not in KEYS:
            return None
        row = SystemConfig.objects.filter(pk=object_id).first()
        return row or SystemConfig(key=object_id, value_json=default_of(object_id))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        rows = {row.key: row for row in SystemConfig.objects.select_related("updated_by")}
        settings = [_setting(key, rows.get(key)) for key in KEYS]
        context = {**self.admin_site.each_context(request), "title": "System configuration", "settings": settings}
        return TemplateResponse(request, "admin/setting_list.html", {**context, "opts": self.opts})

    def save_model(self, request: HttpRequest, obj: SystemConfig, form: Any, change: bool) -> None:
        """Stores the value and remembers the one it replaces, read under the row's lock, for the audit log."""
        row = SystemConfig.objects.select_for_update().filter(pk=obj.pk).first()
        old = row.value_json if row else default_of(obj.key)
        request.replaced_value = old  # type: ignore[attr-defined]
        values = {"value_json": form.cleaned_data["value"], "updated_by": cast(User, request.user)}
        SystemConfig.objects.update_or_create(key=obj.key, defaults=values)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        old, new = request.replaced_value, SystemConfig.objects.get(pk=obj.pk).value_json  # type: ignore[attr-defined]
        if old != new:
            record("change_setting", obj, key=obj.key, old=old, new=new)

    def get_urls(self) -> list[URLPattern]:
        reset = self.admin_site.admin_view(require_POST(self.reset))
        return [path("<str:key>/reset/", reset, name="accounts_systemconfig_reset"), *super().get_urls()]

    def reset(self, request: HttpRequest, key: str) -> HttpResponse:
        if key not in KEYS:
            raise Http404(f"There is no setting “{key}”.")
        with transaction.atomic():
            row = SystemConfig.objects.select_for_update().filter(pk=key).first()
            if row:
                old = row.value_json
                row.delete()
                record("change_setting", SystemConfig(key=key), key=key, old=old, new=default_of(key), reset=True)
        messages.success(request, f"“{key}” has its default again: {shown(default_of(key))}.")
        return redirect("admin:accounts_systemconfig_changelist")


def _setting(key: str, row: SystemConfig | None) -> Setting:
    about = KEYS[key].metadata
    value = row.value_json if row else about["default"]
    return Setting(key, shown(value), shown(about["default"]), about["unit"], about["help"], row)
