"""Passwords: the one-time ones that the server makes up, and changing one's own."""

from __future__ import annotations

import secrets
from typing import cast

from django import forms
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import PasswordChangeForm as DjangoPasswordChangeForm
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts.models import User
from audit.log import record

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # without what is mistaken for something else


def one_time_password() -> str:
    """Twenty random characters in four groups, 99 bits: easy to read out, to be changed at the first sign-in."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(5)) for _ in range(4))


class PasswordChangeForm(DjangoPasswordChangeForm):
    def __init__(self, user: User, data: object = None) -> None:
        super().__init__(user, data)
        for field in self.fields.values():
            field.widget.attrs["class"] = "form-control"

    def clean_new_password2(self) -> str:
        password = self.cleaned_data.get("new_password2", "")
        if password and password == self.cleaned_data.get("old_password"):
            raise forms.ValidationError("That is the old password: choose a new one.")
        return password


@sensitive_post_parameters()
@require_http_methods(["GET", "POST"])
@login_required
def change_password(request: HttpRequest) -> HttpResponse:
    user = cast(User, request.user)
    form = PasswordChangeForm(user, request.POST if request.method == "POST" else None)
    if form.is_valid():
        with transaction.atomic():
            user.change_password(form.cleaned_data["new_password1"])
            update_session_auth_hash(request, user)  # this session goes on; every other one ends
            record("change_password", user)
        messages.success(request, "Your password is changed. Everywhere else you are signed out.")
        return redirect("accounts:profile")
    status = 422 if form.errors else 200
    return render(request, "accounts/password_change.html", {"form": form}, status=status)
