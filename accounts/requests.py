"""The type of a request whose person is known, for the views behind `login_required`."""

from __future__ import annotations

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from accounts.models import User


class PersonRequest(HttpRequest):
    """What the middlewares make of a request of somebody who is logged in."""

    user: User
    htmx: HtmxDetails
