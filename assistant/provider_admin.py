"""LLM providers in the admin: a key that goes in and never comes out, checked parameters, one default, a test of the connection."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from aiops.lib.forms import SecretFormField
from assistant import providers
from assistant.models import LLMProvider
from assistant.parameters import PARAMETERS, PROVIDER_TYPES, ParameterError, check_provider_type, checked
from audit.modeladmin import AuditedModelAdmin

if TYPE_CHECKING:
    ProviderModelForm = forms.ModelForm[LLMProvider]
else:
    ProviderModelForm = forms.ModelForm  # generic for the type checker only

TEST_STATES = {
    "": "Not tested yet.",
    "queued": "Waiting for the worker … reload this page.",
    "ok": "Works.",
    "failed": "Failed.",
}


class SuggestionsInput(forms.TextInput):
    """Free text, with suggestions to choose from."""

    def __init__(self, suggestions: tuple[str, ...]) -> None:
        super().__init__({"list": "provider-types", "autocomplete": "off", "spellcheck": "false"})
        self.suggestions = suggestions

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        options = format_html_join("", '<option value="{}"></option>', ((each,) for each in self.suggestions))
        field = super().render(name, value, attrs, renderer)
        return format_html('{}<datalist id="provider-types">{}</datalist>', field, options)


class ProviderForm(ProviderModelForm):
    api_key = SecretFormField(label="API key", help_text="Stored encrypted and never shown.")
    clear_api_key = forms.BooleanField(label="Remove the stored key", required=False)
    # Not the model's field: its constraint would refuse a second default, whose mark `providers.store` takes from the first.
    is_default = forms.BooleanField(
        label="Default",
        required=False,
        help_text="Asked where nobody prefers another. One provider is the default; ticking this replaces it.",
    )

    class Meta:
        model = LLMProvider
        fields = ("name", "provider_type", "model_id", "config_json", "enabled")
        labels = {"provider_type": "Type", "model_id": "Model", "config_json": "Parameters"}
        help_texts = {
            "provider_type": "As litellm names it; what speaks OpenAI's protocol is “openai” with an api_base.",
        }
        widgets = {"provider_type": SuggestionsInput(PROVIDER_TYPES), "config_json": forms.Textarea({"rows": 6})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial.setdefault("is_default", self.instance.is_default)
        self.fields["config_json"].help_text = format_html(
            'A JSON object such as {}. It may hold: {}.',
            '{"api_base": "http://127.0.0.1:11434", "temperature": 0.2}',
            "; ".join(f"{name} ({parameter.help.rstrip('.')})" for name, parameter in PARAMETERS.items()),
        )  # fmt: skip
        if self.instance.api_key_encrypted:
            self.fields["api_key"].widget.attrs["placeholder"] = "stored; leave empty to keep it"
        else:
            del self.fields["clear_api_key"]

    def clean_provider_type(self) -> str:
        value = self.cleaned_data["provider_type"].strip()
        try:
            check_provider_type(value)
        except ParameterError as exc:
            raise forms.ValidationError(str(exc)) from exc
        return value

    def clean_config_json(self) -> dict[str, Any]:
        try:
            return dict(checked(self.cleaned_data["config_json"] or {}))
        except ParameterError as exc:
            raise forms.ValidationError(str(exc)) from exc

    def clean_api_key(self) -> str:
        try:
            return providers.checked_key(self.cleaned_data["api_key"])
        except providers.KeyProblem as exc:
            raise forms.ValidationError(str(exc)) from exc

    def clean_is_default(self) -> bool:
        wanted = bool(self.cleaned_data["is_default"])
        if self.initial.get("is_default") and not wanted:
            raise forms.ValidationError("To choose another default, tick this box there.")
        return wanted

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        key, clear = values.get("api_key"), values.get("clear_api_key")
        if key and clear:
            self.add_error("clear_api_key", "Enter a new key or remove the stored one, not both.")
        if self.instance.api_key_encrypted and not key and not clear and self._leads_elsewhere(values):
            self.add_error(
                "api_key",
                "The type or api_base changed, and a key is not sent to a new place unseen: enter it again, or remove it.",
            )
        return values

    def _leads_elsewhere(self, values: dict[str, Any]) -> bool:
        before = self.initial.get("provider_type"), (self.initial.get("config_json") or {}).get("api_base")
        return before != (values.get("provider_type"), (values.get("config_json") or {}).get("api_base"))


@admin.register(LLMProvider)
class ProviderAdmin(AuditedModelAdmin):
    form = ProviderForm
    recorded_values = ("name", "provider_type", "model_id", "config_json", "is_default", "enabled")
    list_display = ("name", "provider_type", "model_id", "is_default", "enabled", "has_key", "connection")
    list_filter = ("enabled",)
    search_fields = ("name", "provider_type", "model_id")
    readonly_fields = ("connection",)
    change_form_template = "admin/provider_form.html"

    def get_fields(self, request: HttpRequest, obj: LLMProvider | None = None) -> Any:
        clear = ("clear_api_key",) if obj and obj.api_key_encrypted else ()
        after = ("config_json", "is_default", "enabled", *(("connection",) if obj else ()))
        return ("name", "provider_type", "model_id", "api_key", *clear, *after)

    def get_form(
        self, request: HttpRequest, obj: LLMProvider | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        # `fields` is for the layout; the form's own fields are declared, and its model fields are in its Meta.
        return super().get_form(request, obj, change, **{**kwargs, "fields": ProviderForm.Meta.fields})

    @admin.display(boolean=True, description="Key")
    def has_key(self, provider: LLMProvider) -> bool:
        return bool(provider.api_key_encrypted)

    @admin.display(description="Connection")
    def connection(self, provider: LLMProvider) -> str:
        when = f" ({provider.tested_at:%Y-%m-%d %H:%M} UTC)" if provider.tested_at else ""
        return f"{TEST_STATES.get(provider.test_state, '')} {provider.test_message}".strip() + when

    def save_model(self, request: HttpRequest, obj: LLMProvider, form: Any, change: bool) -> None:
        obj.is_default = form.cleaned_data["is_default"]
        providers.store(obj, key=form.cleaned_data["api_key"], clear_key=form.cleaned_data.get("clear_api_key", False))

    def get_urls(self) -> list[URLPattern]:
        test = self.admin_site.admin_view(require_POST(self.test_connection))
        return [path("<uuid:pk>/test/", test, name="assistant_llmprovider_test"), *super().get_urls()]

    def test_connection(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        provider = get_object_or_404(LLMProvider, pk=pk)
        providers.request_test(provider)
        messages.info(request, "The worker asks the model now. Reload this page to see what came of it.")
        return redirect("admin:assistant_llmprovider_change", provider.pk)

    def _noun(self) -> str:
        return "provider"
