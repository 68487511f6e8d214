"""Servers in the admin. Secrets go in and never come out; what moves to another host leaves them behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest

from accounts.models import User
from aiops.lib.forms import SecretFormField, SecretTextarea
from aiops.lib.secrets import seal
from audit.modeladmin import AuditedModelAdmin
from infra.models import Server
from infra.servers import ServerError, check_hostname, check_key, check_username

if TYPE_CHECKING:
    ServerModelForm = forms.ModelForm[Server]
else:
    ServerModelForm = forms.ModelForm  # generic for the type checker only

TARGET = {"hostname", "port", "username"}  # whoever changes one of these points the secret at another place
SECRETS = {"ssh_key": "ssh_key_encrypted", "password": "password_encrypted"}


class ServerForm(ServerModelForm):
    ssh_key = SecretFormField(label="SSH private key", widget=SecretTextarea)
    password = SecretFormField(label="Password")
    forget_host_key = forms.BooleanField(
        required=False,
        help_text="The next one that it shows has to be confirmed again. For a server that was reinstalled.",
    )

    class Meta:
        model = Server
        fields = ("name", "hostname", "port", "username", "auth_type", "environment")
        labels = {"hostname": "Host", "username": "Account", "auth_type": "Signs in with"}
        help_texts = {
            "environment": "Such as production or staging.",
            "hostname": "Changing host, port or account clears the stored secret and the pinned host key.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, column in SECRETS.items():
            stored = bool(getattr(self.instance, column))
            self.fields[name].help_text = "One is stored. Leave this empty to keep it." if stored else "None is stored."

    @property
    def moved(self) -> bool:
        return not self.instance._state.adding and bool(TARGET & set(self.changed_data))

    def clean_hostname(self) -> str:
        return _checked(check_hostname, self.cleaned_data["hostname"])

    def clean_username(self) -> str:
        return _checked(check_username, self.cleaned_data["username"])

    def clean_ssh_key(self) -> str:
        return _checked(check_key, self.cleaned_data["ssh_key"]) if self.cleaned_data["ssh_key"] else ""

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        needed = "ssh_key" if values.get("auth_type") == Server.AuthType.KEY else "password"
        other = "password" if needed == "ssh_key" else "ssh_key"
        if values.get(other):
            self.add_error(
                other, "This server signs in with the other one: leave this empty, or change “Signs in with”."
            )
        if self.instance._state.adding and not values.get(needed) and needed not in self.errors:
            self.add_error(needed, "Enter it: without it nobody can sign in to the server.")
        return values


@admin.register(Server)
class ServerAdmin(AuditedModelAdmin):
    form = ServerForm
    recorded_values = ("name", "hostname", "port", "username", "auth_type", "environment")
    list_display = ("name", "hostname", "port", "username", "auth_type", "environment", "has_secret", "host_key_pinned")
    list_filter = ("environment", "auth_type")
    search_fields = ("name", "hostname", "username")
    readonly_fields = ("host_key_fingerprint", "created_by", "created_at")

    def get_fields(self, request: HttpRequest, obj: Server | None = None) -> Any:
        fields = [*ServerForm.Meta.fields, *SECRETS]
        return [*fields, "host_key_fingerprint", "forget_host_key", "created_by", "created_at"] if obj else fields

    @admin.display(description="secret stored", boolean=True)
    def has_secret(self, server: Server) -> bool:
        return bool(server.ssh_key_encrypted or server.password_encrypted)

    @admin.display(description="host key pinned", boolean=True)
    def host_key_pinned(self, server: Server) -> bool:
        return bool(server.host_key)

    @admin.display(description="host key")
    def host_key_fingerprint(self, server: Server) -> str:
        return server.fingerprint or "none pinned yet"

    def save_model(self, request: HttpRequest, obj: Server, form: Any, change: bool) -> None:
        if not change:
            obj.created_by = cast(User, request.user)
        if form.moved:
            obj.forget_login()
        elif form.cleaned_data.get("forget_host_key"):
            obj.host_key = ""
        unused = "password" if obj.auth_type == Server.AuthType.KEY else "ssh_key"
        setattr(obj, SECRETS[unused], None)
        for name, column in SECRETS.items():
            if form.cleaned_data[name]:
                seal(obj, column, form.cleaned_data[name])
        obj.save()
        if form.moved:
            kept = "the new secret is stored" if self.has_secret(obj) else "enter it again"
            messages.warning(
                request, f"Host, port or account changed: the old secret and the host key were cleared; {kept}."
            )


def _checked(check: Any, text: str) -> str:
    try:
        return check(text)
    except ServerError as exc:
        raise forms.ValidationError(str(exc)) from exc
