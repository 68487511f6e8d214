"""Writing the audit log: one entry a call, chained to the one before, inside the caller's transaction."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

from django.db import connection, transaction
from django.db.models import Model
from django.utils import timezone

from aiops.lib import actor
from aiops.lib.text import clamp, clean_json
from audit.models import AuditEntry

GENESIS = "0" * 64
_CHAIN_LOCK = 0x617564_6974  # "audit": one writer of the chain at a time


def record(action: str, resource: Model | None = None, /, *, resource_type: str = "", **details: Any) -> AuditEntry:
    """Write one audit entry, inside the caller's transaction, on behalf of the current actor.

    Call it last in the transaction: the chain's lock is held until the commit, and whoever then waited for a row that
    another writer of the log holds would deadlock with it. `details` is what JSON can say; anything else in it is written as
    text. If the entry cannot be written, the exception rolls the caller's action back: nothing happens unaudited.
    """
    who = actor.current()
    key, type_name = _name(resource)
    if resource is not None and key is None:
        details["resource_key"] = str(resource.pk)
    entry = AuditEntry(
        user_id=who.user_id,
        username=clamp(who.username, 255),
        action=action,
        resource_type=clamp(resource_type or type_name, 50),
        resource_id=key,
        ip_address=who.ip_address,
    )
    with transaction.atomic():
        _append(entry, _plain(details))
    return entry


def _name(resource: Model | None) -> tuple[uuid.UUID | None, str]:
    if resource is None:
        return None, ""
    return (resource.pk if isinstance(resource.pk, uuid.UUID) else None), str(resource._meta.verbose_name)


def _plain(details: dict[str, Any]) -> str:
    """`details` as JSON that PostgreSQL takes: other types as their text, NaN and infinities too, no NUL, no lone surrogates."""
    return json.dumps(clean_json(json.loads(json.dumps(details, default=str), parse_constant=str)))


def _append(entry: AuditEntry, details: str) -> None:
    with connection.cursor() as cursor:
        # What is hashed is what the database will give back: jsonb writes some numbers in another way than Python does.
        cursor.execute("SELECT pg_advisory_xact_lock(%s), %s::jsonb::text", [_CHAIN_LOCK, details])
        entry.details_json = json.loads(cursor.fetchone()[1])
    last = AuditEntry.objects.order_by("-sequence").values_list("sequence", "hash").first()
    entry.sequence, entry.previous_hash = (last[0] + 1, last[1]) if last else (1, GENESIS)
    entry.created_at = timezone.now()  # under the lock, so that times follow the sequence
    entry.hash = digest(entry)
    entry.save(force_insert=True)


def digest(entry: AuditEntry) -> str:
    """SHA-256 in hex over everything an entry says and the hash of the entry before it."""
    said = [
        entry.sequence,
        entry.previous_hash,
        str(entry.id),
        str(entry.user_id or ""),
        entry.username,
        entry.action,
        entry.resource_type,
        str(entry.resource_id or ""),
        entry.details_json,
        entry.ip_address or "",
        entry.created_at.isoformat(),
    ]
    return hashlib.sha256(
        json.dumps(said, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()
    ).hexdigest()
