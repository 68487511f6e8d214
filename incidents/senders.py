"""Who sends alerts: the token in a request's header, and the source that it belongs to."""

from __future__ import annotations

import base64
import binascii
import time

from incidents.ingest import Refused, Sender
from incidents.models import AlertSource
from incidents.models.source import hash_token

REMEMBERED = 10.0  # seconds that a token needs no look-up; ingest compares it again in its own transaction
MOST_REMEMBERED = 1000
LONGEST_HEADER = 4096

_remembered: dict[str, tuple[float, Sender]] = {}


class Unauthorized(Exception):
    """No source may send with what the request carries; the message says what is missing, and never what was sent."""


def token_of(authorization: str) -> str:
    """The token of an `Authorization` header: `Bearer TOKEN`, or `Basic` with the token as password and any user name."""
    if not authorization:
        raise Unauthorized(
            "The Authorization header is missing. Send “Bearer” and the source's token, or basic auth with the token as password."
        )
    scheme, _, value = authorization.strip().partition(" ")
    token = value.strip()
    if scheme.lower() == "basic":
        token = _password(token)
    elif scheme.lower() != "bearer":
        raise Unauthorized("The Authorization header must be Bearer or Basic.")
    if not token or len(authorization) > LONGEST_HEADER:
        raise Unauthorized("The Authorization header holds no token.")
    return token


def _password(value: str) -> str:
    try:
        decoded = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise Unauthorized("The Authorization header is not valid basic auth.") from exc
    return decoded.partition(":")[2]


def remembered(token: str) -> Sender | None:
    """The token's source where it was looked up a moment ago. Not the last word: ingest compares the stored hash."""
    kept = _remembered.get(hash_token(token))
    return kept[1] if kept and kept[0] > time.monotonic() else None


def authenticate(token: str) -> Sender:
    """The enabled source of the token, from the database. Raises Unauthorized."""
    key = hash_token(token)
    found = AlertSource.objects.filter(token_hash=key, enabled=True).values_list("pk", "name").first()
    if found is None:
        _remembered.pop(key, None)
        raise Unauthorized(
            "The token is not that of an enabled source: it is wrong, was revoked, or its source was disabled."
        )
    if len(_remembered) >= MOST_REMEMBERED:
        _remembered.clear()
    sender = Sender(*found, token_hash=key)
    _remembered[key] = (time.monotonic() + REMEMBERED, sender)
    return sender


def confirm(sender: Sender) -> None:
    """Raise Refused where the sender's token was revoked, or its source disabled, since it was looked up."""
    if not AlertSource.objects.filter(pk=sender.id, token_hash=sender.token_hash, enabled=True).exists():
        raise Refused("The token was revoked, or its source disabled.")


def forget(sender: Sender) -> None:
    """Look the token up again the next time."""
    if sender.token_hash:
        _remembered.pop(sender.token_hash, None)
