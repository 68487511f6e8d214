"""What every request goes through: who acts, how long a session may live, a password that must be changed first."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from aiops.lib.actor import Actor, acting_as
from aiops.lib.addresses import client_ip

GetResponse = Callable[[HttpRequest], HttpResponse]
ABSOLUTE_LIFETIME = 7 * 24 * 3600  # seconds after login, however busy the session is
REFRESH = 10 * 60  # seconds: so often at most a busy session is stored again, which puts off its idle end


def address_of(request: HttpRequest) -> str | None:
    """The address this request came from, as far as the configured proxies can be trusted; None where it has none."""
    return client_ip(
        request.META.get("REMOTE_ADDR"), request.META.get("HTTP_X_FORWARDED_FOR", ""), settings.AIOPS_TRUSTED_PROXIES
    )


class ActorMiddleware:
    """Names the person and address that the audit log will record."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user = request.user if request.user.is_authenticated else None
        with acting_as(Actor(user.pk if user else None, user.username if user else "", address_of(request))):
            return self.get_response(request)


class SessionLifetimeMiddleware:
    """Ends a session a week after its login, however busy it is, or after SESSION_COOKIE_AGE without a request."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated:
            now = int(time.time())
            since = request.session.setdefault("logged_in_at", now)
            if now - since > ABSOLUTE_LIFETIME:
                logout(request)
            elif now - request.session.get("seen_at", 0) > REFRESH:
                request.session["seen_at"] = now
        return self.get_response(request)


class PasswordChangeMiddleware:
    """Lets a person with a one-time password do nothing but change it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        allowed = (
            reverse("accounts:password-change"),
            reverse("accounts:logout"),
            f"/{settings.STATIC_URL.strip('/')}/",
        )
        if request.user.is_authenticated and request.user.must_change_password and not request.path.startswith(allowed):
            return redirect("accounts:password-change")
        return self.get_response(request)
