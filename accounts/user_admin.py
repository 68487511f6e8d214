"""People in the admin: made with a one-time password, given a role, deactivated, and never deleted."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_http_methods

from accounts.models import LastAdminError, User
from accounts.passwords import one_time_password
from audit.log import record
from audit.modeladmin import AuditedModelAdmin

if TYPE_CHECKING:
    UserForm = forms.ModelForm[User]
else:
    UserForm = forms.ModelForm  # generic for the type checker only


class PersonForm(UserForm):
    class Meta:
        model = User
        fields = ("username", "full_name", "email", "role", "is_active")
        labels = {"username": "User name", "email": "E-mail", "is_active": "Active"}
        help_texts = {
            "username": "To sign in with, in upper or lower case.",
            "role": "An admin may do everything here: people, rules, servers, settings.",
            "is_active": "Whoever is not active is signed out at once and cannot sign in. What they did stays on record.",
        }

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        was_admin = not self.instance._state.adding and self.instance.is_admin
        if was_admin and not (values.get("role") == User.Role.ADMIN and values.get("is_active")):
            try:
                User.objects.keep_an_admin_without(self.instance)
            except LastAdminError as exc:
                raise forms.ValidationError(str(exc)) from exc
        return values


class NewPersonForm(PersonForm):
    class Meta(PersonForm.Meta):
        fields = ("username", "full_name", "email", "role")  # type: ignore[assignment]


@admin.register(User)
class UserAdmin(AuditedModelAdmin):
    group = "People"
    recorded_values = ("username", "email", "role", "is_active")
    list_display = ("username", "full_name", "email", "role", "is_active", "last_login")
    list_filter = ("role", "is_active")
    search_fields = ("username", "full_name", "email")
    readonly_fields = ("last_login", "created_at", "must_change_password")
    change_form_template = "admin/user_form.html"

    def get_form(self, request: HttpRequest, obj: User | None = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, form=PersonForm if change else NewPersonForm, **kwargs)

    def get_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        return (*PersonForm.Meta.fields, *self.readonly_fields) if obj else NewPersonForm.Meta.fields

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=form.changed_data)
            return
        password = one_time_password()
        obj.set_password(password)
        obj.must_change_password = True
        obj.save(force_insert=True)
        request.one_time_password = password  # type: ignore[attr-defined] # for response_add, and no further

    def response_add(self, request: HttpRequest, obj: User, post_url_continue: str | None = None) -> HttpResponse:
        return self._hand_out(request, obj, request.one_time_password)  # type: ignore[attr-defined]

    def get_urls(self) -> list[URLPattern]:
        reset = self.admin_site.admin_view(require_http_methods(["GET", "POST"])(self.reset_password))
        return [path("<uuid:pk>/password/", reset, name="accounts_user_password"), *super().get_urls()]

    def reset_password(self, request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
        user = get_object_or_404(User, pk=pk)
        if request.method == "GET":
            return self._page(request, user, "admin/password_reset.html")
        password = one_time_password()
        with transaction.atomic():
            user.change_password(password, one_time=True)
            record("reset_password", user, name=user.username)
        return self._hand_out(request, user, password)

    def _hand_out(self, request: HttpRequest, user: User, password: str) -> HttpResponse:
        """The page with the password, straight from the POST: it is stored nowhere in clear, so it cannot be shown again."""
        response = self._page(request, user, "admin/one_time_password.html", password=password)
        response["Cache-Control"] = "no-store"
        return response

    def _page(self, request: HttpRequest, user: User, template: str, **values: Any) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Password of {user}",
            "person": user,
        }
        return TemplateResponse(request, template, {**context, **values})
