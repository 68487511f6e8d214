"""Slowing down whoever guesses passwords: django-axes calls this before and after every password check.

Two counters for each attempt, in the database: one for the account from this address, one for the address whatever the
account. Past a number of failures each further one doubles the wait, up to a quarter of an hour; rest forgives, so nobody is
locked out for good, and nobody can lock another person out from elsewhere.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import math
from typing import Any

from axes.handlers.base import AxesHandler
from axes.models import AccessAttempt
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Greatest
from django.http import HttpRequest
from django.utils import timezone

from aiops.lib.text import clamp

ACCOUNT_LIMIT, ADDRESS_LIMIT = 5, 20  # failures without a wait
FIRST_WAIT, LONGEST_WAIT = dt.timedelta(seconds=30), dt.timedelta(minutes=15)
FORGIVEN_AFTER = dt.timedelta(minutes=10)  # of rest, for each failure
DOUBLINGS = 5  # beyond these a counter does not grow, so that it also comes down again
KEPT_FOR = dt.timedelta(days=1)
UNKNOWN_ADDRESS = "::"
ANY_ACCOUNT = ""


class LoginThrottle(AxesHandler):
    """Counts an attempt before its password is checked, and gives it back when it was right.

    So many attempts at the same moment get no more tries than one after the other. Attempts refused are not counted: who
    waits is let in, however busy others keep the form.
    """

    def is_allowed(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> bool:
        name, address = _account(credentials), _network(request)
        with transaction.atomic():
            counters = _locked(name, address)
            now = timezone.now()
            wait = max(_ends(counter) - now for counter in counters)
            if wait > dt.timedelta(0):
                request.axes_locked_out = True  # type: ignore[attr-defined] # axes' middleware then answers with 429
                request.login_wait = math.ceil(wait.total_seconds())  # type: ignore[attr-defined]
                return False
            for counter in counters:
                _count(counter, now)
        return True

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        counters = _counters(_account(credentials), _network(request))
        return max((counter.failures_since_start for counter in counters), default=0)

    def user_logged_in(self, sender: Any, request: HttpRequest, user: AbstractBaseUser, **kwargs: Any) -> None:
        name, address = _account({"username": user.get_username()}), _network(request)
        AccessAttempt.objects.filter(username=name, ip_address=address).delete()
        # Its own attempt only: a guesser with an account of his own must not wipe the address clean.
        AccessAttempt.objects.filter(username=ANY_ACCOUNT, ip_address=address).update(
            failures_since_start=Greatest(F("failures_since_start") - 1, 0)
        )

    def user_login_failed(
        self, sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
    ) -> None:
        old = AccessAttempt.objects.filter(attempt_time__lt=timezone.now() - KEPT_FOR)
        with transaction.atomic():
            keys = list(old.select_for_update(skip_locked=True).values_list("pk", flat=True)[:100])
            AccessAttempt.objects.filter(pk__in=keys).delete()

    def reset_attempts(
        self, *, ip_address: str | None = None, username: str | None = None, ip_or_username: bool = False
    ) -> int:
        """What `manage.py axes_reset…` calls: forget the counters of an address, an account, or all."""
        attempts = AccessAttempt.objects.all()
        if ip_address:
            attempts = attempts.filter(ip_address=network_of(ip_address))
        if username:
            attempts = attempts.filter(username=_account({"username": username}))
        return attempts.delete()[0]

    def post_save_access_attempt(self, instance: AccessAttempt, **kwargs: Any) -> None:
        """Axes calls these two for every row; nothing depends on them here."""

    def post_delete_access_attempt(self, instance: AccessAttempt, **kwargs: Any) -> None: ...


def network_of(address: str | None) -> str:
    """What counts as one address: an IPv6 caller owns at least a /64, and would otherwise have 2⁶⁴ of them."""
    try:
        parsed = ipaddress.ip_address(address or UNKNOWN_ADDRESS)
    except ValueError:
        return UNKNOWN_ADDRESS
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return str(parsed)


def wait_of(counter: AccessAttempt) -> dt.timedelta:
    """How long after its last attempt the next one is let through."""
    limit = ADDRESS_LIMIT if counter.username == ANY_ACCOUNT else ACCOUNT_LIMIT
    beyond = counter.failures_since_start - limit
    return min(FIRST_WAIT * 2**beyond, LONGEST_WAIT) if beyond >= 0 else dt.timedelta(0)


def _account(credentials: dict[str, Any] | None) -> str:
    return clamp(str((credentials or {}).get("username") or "?").strip().casefold(), 255)


def _network(request: HttpRequest) -> str:
    return network_of(request.axes_ip_address)  # type: ignore[attr-defined]


def _counters(name: str, address: str) -> QuerySet[AccessAttempt]:
    return AccessAttempt.objects.filter(Q(username=name) | Q(username=ANY_ACCOUNT), ip_address=address, user_agent="")


def _locked(name: str, address: str) -> list[AccessAttempt]:
    """Both counters, made where missing. The order of their keys is the order of their locks."""
    rows = _counters(name, address).select_for_update().order_by("pk")
    found = list(rows)
    if len(found) < 2:
        new = {"ip_address": address, "user_agent": "", "failures_since_start": 0}
        AccessAttempt.objects.bulk_create(
            [AccessAttempt(username=username, **new) for username in (name, ANY_ACCOUNT)], ignore_conflicts=True
        )
        found = list(rows.all())
    return found


def _ends(counter: AccessAttempt) -> dt.datetime:
    return counter.attempt_time + wait_of(counter)


def _count(counter: AccessAttempt, now: dt.datetime) -> None:
    limit = ADDRESS_LIMIT if counter.username == ANY_ACCOUNT else ACCOUNT_LIMIT
    forgiven = (now - counter.attempt_time) // FORGIVEN_AFTER
    failures = max(0, counter.failures_since_start - forgiven) + 1
    AccessAttempt.objects.filter(pk=counter.pk).update(
        failures_since_start=min(failures, limit + DOUBLINGS), attempt_time=now
    )
