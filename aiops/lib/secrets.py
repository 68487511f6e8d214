"""Secrets at rest: the only module that knows the cipher.

A secret's column holds a Fernet token, and so does the Python attribute: whoever prints, serialises or logs a row sees
ciphertext. `seal` and `reveal` are the only ways in and out. The token carries the table, row and field it was made for, so one
copied to another row is refused, and one that cannot be read spoils nothing but itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.signing import BadSignature
from django.db import models
from django_cryptography.utils.crypto import Fernet, InvalidToken

TOKEN_PREFIX = "gAAAA"  # noqa: S105 the version byte and the high bytes of the time, as every Fernet token starts


class SecretError(Exception):
    """A secret cannot be read; the message says why and what to do, never the secret."""


class SecretField(models.TextField):
    """A text column of ciphertext. Assign through `seal`, read through `reveal`; plain text is refused."""

    def get_prep_value(self, value: Any) -> Any:
        if value and not str(value).startswith(TOKEN_PREFIX):
            raise ValueError(f"{self.name} holds sealed secrets only: use aiops.lib.secrets.seal().")
        return super().get_prep_value(value)

    def value_to_string(self, obj: models.Model) -> str:
        raise SecretError(f"{self.name} is a secret and is not exported; leave {obj._meta.label} out of the dump.")


def seal(row: models.Model, field: str, plaintext: str) -> None:
    """Put `plaintext` into the row's secret `field`, encrypted with the first key; an empty one clears it. Does not save."""
    if not plaintext:
        setattr(row, field, None)
        return
    payload = json.dumps({"for": _binding(row, field), "secret": plaintext})
    setattr(row, field, Fernet(settings.AIOPS_SECRET_KEYS[0]).encrypt(payload).decode())


def reveal(row: models.Model, field: str) -> str:
    """The plain text of the row's secret `field`, "" where none is stored. Raises SecretError where it cannot be read."""
    token = getattr(row, field)
    if not token:
        return ""
    payload, _ = _open(token, field)
    if payload.get("for") != _binding(row, field):
        raise SecretError(f"The stored {field} belongs to another row: it was moved in the database. Enter it again.")
    return str(payload["secret"])


@dataclass(frozen=True)
class Rotated:
    """What one batch came to: `last` is the last key looked at (None: no row was left), `unreadable` the keys of the bad rows."""

    last: Any
    looked_at: int
    changed: int
    unreadable: list[Any]


def secret_fields() -> Iterator[tuple[type[models.Model], str]]:
    """Every secret column of every model."""
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, SecretField):
                yield model, field.name


def rotate_batch(model: type[models.Model], field: str, after: Any, size: int) -> Rotated:
    """Encrypt anew, with the first key, what other keys made, in the next `size` rows after the key `after`.

    To be called in a transaction: the rows are locked until its end. What is encrypted already is left as it is, so a run
    that was killed can simply be started again.
    """
    rows = model._default_manager.select_for_update().filter(**{f"{field}__gt": ""}).order_by("pk").only("pk", field)
    batch = list((rows if after is None else rows.filter(pk__gt=after))[:size])
    changed, unreadable = 0, []
    for row in batch:
        try:
            secret = reveal(row, field)
            if _open(getattr(row, field), field)[1] == 0:
                continue
        except SecretError:
            unreadable.append(row.pk)
            continue
        seal(row, field, secret)
        row.save(update_fields=[field])
        changed += 1
    return Rotated(batch[-1].pk if batch else None, len(batch), changed, unreadable)


def key_problem(key: str) -> str:
    """What is wrong with one key of the ring, "" where nothing is. The key itself is not in the answer."""
    try:
        Fernet(key)
    except ValueError:
        return "is no Fernet key: 32 bytes in url-safe base64"
    return ""


def _open(token: str, field: str) -> tuple[dict[str, Any], int]:
    for index, key in enumerate(settings.AIOPS_SECRET_KEYS):
        try:
            return json.loads(Fernet(key).decrypt(token.encode())), index
        except (InvalidToken, BadSignature, ValueError):
            continue
    raise SecretError(
        f"The stored {field} cannot be read with the keys in AIOPS_SECRET_KEYS. Put the key it was made with back, or enter it again."
    )


def _binding(row: models.Model, field: str) -> str:
    return f"{row._meta.db_table}.{field}:{row.pk}"
