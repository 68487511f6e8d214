"""Signing in and out. Every attempt is in the audit log, whatever became of it."""

from __future__ import annotations

import time
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME, login, logout
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import NON_FIELD_ERRORS
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts.models import User
from aiops.lib import actor
from audit.log import record


class LoginForm(AuthenticationForm):
    username = forms.CharField(
        label="User name",
        max_length=50,
        widget=forms.TextInput(
            {"class": "form-control", "autofocus": True, "autocomplete": "username", "autocapitalize": "none"}
        ),
    )
    password = forms.CharField(
        label="Password",
        max_length=4096,  # hashing time grows with it
        strip=False,
        widget=forms.PasswordInput({"class": "form-control", "autocomplete": "current-password"}),
    )
    error_messages = {"invalid_login": "User name and password do not match, or the account is not active."}

    @property
    def was_refused(self) -> bool:
        """Whether a name and a password were tried and not accepted."""
        return self.has_error(NON_FIELD_ERRORS, "invalid_login")


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "POST"])
def log_in(request: HttpRequest) -> HttpResponse:
    goal = _goal(request)
    if request.method == "GET" and request.user.is_authenticated:
        return redirect(goal)
    form = LoginForm(request, request.POST if request.method == "POST" else None)
    if form.is_valid():
        _begin(request, form.get_user())
        return redirect(goal)
    if form.was_refused:
        _record_failure(request, form.cleaned_data["username"])
    context = {"form": form, "next_name": REDIRECT_FIELD_NAME, "next": goal}
    return render(request, "accounts/login.html", context, status=422 if form.errors else 200)


@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    if request.user.is_authenticated:
        user = User.objects.get(pk=request.user.pk)
        with transaction.atomic():
            logout(request)
            record("logout", user)
    return redirect(settings.LOGOUT_REDIRECT_URL)


def locked_out(
    request: HttpRequest, response: HttpResponse | None, credentials: dict[str, Any] | None, *_: Any
) -> HttpResponse:
    """What axes' middleware answers instead of `response` while the throttle refuses attempts."""
    seconds: int = getattr(request, "login_wait", 0)
    page = render(request, "accounts/locked_out.html", {"wait": _spoken(seconds)}, status=429)
    page["Retry-After"] = str(seconds)
    page["Cache-Control"] = "no-store"
    return page


def _spoken(seconds: int) -> str:
    """Rounded up, so that whoever waits that long is let in: "30 seconds", "1 minute", "15 minutes"."""
    if seconds < 60:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    minutes = -(-seconds // 60)
    return "1 minute" if minutes == 1 else f"{minutes} minutes"


def _begin(request: HttpRequest, user: Any) -> None:
    """Start a fresh session and write it down: both happen, or neither."""
    who = actor.Actor(user.pk, user.username, actor.current().ip_address)
    with actor.acting_as(who), transaction.atomic():
        login(request, user)
        request.session["logged_in_at"] = int(time.time())
        record("login", user)


def _record_failure(request: HttpRequest, name: str) -> None:
    """No user, even where the name is known: the entry says what was tried, and must not blame whoever's name it was."""
    with actor.acting_as(actor.Actor(ip_address=actor.current().ip_address)):
        record("login_failed", name=name, throttled=hasattr(request, "login_wait"))


def _goal(request: HttpRequest) -> str:
    """Where to go after signing in: `next` where it is an address of this site, else the start page."""
    goal = request.POST.get(REDIRECT_FIELD_NAME) or request.GET.get(REDIRECT_FIELD_NAME) or ""
    safe = url_has_allowed_host_and_scheme(
        goal, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ) and goal.startswith("/")
    return goal if safe else resolve_url(settings.LOGIN_REDIRECT_URL)
