"""`manage.py rotate_secrets`: encrypt every stored secret with the first key of AIOPS_SECRET_KEYS."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import models, transaction

from aiops.lib.secrets import rotate_batch, secret_fields
from audit.log import record

BATCH = 100


class Command(BaseCommand):
    help = (
        "Encrypt all stored secrets anew with the first key of AIOPS_SECRET_KEYS; the other keys only decrypt. The console may "
        "run meanwhile. When this ends with exit code 0, the other keys can go. Interrupted, it can be started again."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        unreadable: list[str] = []
        for model, field in secret_fields():
            looked_at, changed, bad = self._rotate(model, field)
            where = f"{model._meta.db_table}.{field}"
            unreadable += [f"{where} of {key}" for key in bad]
            self.stdout.write(f"{where}: {looked_at} stored, {changed} encrypted anew, {len(bad)} unreadable.")
        if unreadable:
            raise CommandError(
                "These secrets cannot be read with any key of AIOPS_SECRET_KEYS, or belong to another row. Put the key they were "
                "made with back, or enter them again:\n" + "\n".join(unreadable)
            )

    def _rotate(self, model: type[models.Model], field: str) -> tuple[int, int, list[Any]]:
        looked_at, changed, unreadable, last = 0, 0, [], None
        while True:
            with transaction.atomic():
                batch = rotate_batch(model, field, last, BATCH)
                if batch.changed:
                    record(
                        "rotate_secrets", resource_type=str(model._meta.verbose_name), field=field, count=batch.changed
                    )
            looked_at, changed = looked_at + batch.looked_at, changed + batch.changed
            unreadable += batch.unreadable
            last = batch.last
            if batch.looked_at < BATCH:
                return looked_at, changed, unreadable
