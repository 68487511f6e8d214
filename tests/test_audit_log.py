"""The audit log: chained, append-only, in the transaction of what it records."""

from __future__ import annotations

import pytest
from django.db import InternalError, ProgrammingError, connection, transaction

from audit.log import GENESIS, digest, record
from audit.models import AuditEntry


def test_it_chains_each_entry_to_the_one_before(alice) -> None:
    first = record("test", alice, note="one")
    second = record("test", alice, note="two")
    assert (first.sequence, first.previous_hash) == (1, GENESIS)
    assert (second.sequence, second.previous_hash) == (2, first.hash)
    assert digest(AuditEntry.objects.get(pk=first.pk)) == first.hash


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET action = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
def test_it_refuses_every_change(transactional_db, statement: str) -> None:
    record("test")
    with pytest.raises((ProgrammingError, InternalError), match="append-only"), transaction.atomic():
        connection.cursor().execute(statement)
    assert AuditEntry.objects.count() == 1
