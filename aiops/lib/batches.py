"""Deleting many rows a few at a time, so that nobody waits long for a lock."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet

SIZE = 1000  # rows of one transaction
MOST = 200  # batches of one call; the next run goes on


def delete_in_batches(rows: QuerySet[Any]) -> int:
    """Delete what `rows` finds, passing over what another transaction holds. Returns how many rows, without their dependants."""
    total = 0
    for _ in range(MOST):
        with transaction.atomic():
            keys = list(rows.select_for_update(skip_locked=True, of=("self",)).values_list("pk", flat=True)[:SIZE])
            rows.model._default_manager.filter(pk__in=keys).delete()
        total += len(keys)
        if len(keys) < SIZE:
            break
    return total
