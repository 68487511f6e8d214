"""The audit log as CSV, streamed: any number of entries, little memory, and no formula for a spreadsheet to run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from asgiref.sync import sync_to_async
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone

from aiops.lib.spreadsheet import lines
from audit.models import AuditEntry

BATCH = 1_000
HEADINGS = (
    "number", "time (UTC)", "user", "action", "resource type", "resource", "address", "details", "id", "previous hash", "hash",
)  # fmt: skip


def as_csv(entries: QuerySet[AuditEntry], below: int) -> StreamingHttpResponse:
    """`entries` with a sequence below `below`, newest first, as a file to save."""
    response = StreamingHttpResponse(_text(entries, below), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="audit-{timezone.now():%Y%m%d-%H%M%S}.csv"'
    return response


async def _text(entries: QuerySet[AuditEntry], below: int) -> AsyncIterator[str]:
    yield lines([HEADINGS])
    while rows := await sync_to_async(_batch)(entries, below):
        yield lines(_row(entry) for entry in rows)
        below = rows[-1].sequence


def _batch(entries: QuerySet[AuditEntry], below: int) -> list[AuditEntry]:
    return list(entries.filter(sequence__lt=below).order_by("-sequence")[:BATCH])


def _row(entry: AuditEntry) -> tuple[Any, ...]:
    return (
        entry.sequence, entry.created_at.isoformat(), entry.username, entry.action, entry.resource_type, entry.resource_id,
        entry.ip_address, json.dumps(entry.details_json, ensure_ascii=False), entry.id, entry.previous_hash, entry.hash,
    )  # fmt: skip
