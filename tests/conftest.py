"""What every test may ask for: a clean PostgreSQL, a cast of people, and clients logged in as each of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.db.backends.postgresql.operations import DatabaseOperations
from django.test import Client

from accounts.models import User
from tests import factories
from tests.alertmanager import alertmanager
from tests.live import collected_static, console, live, shared_web, web
from tests.webhook_client import Sender

__all__ = ["alertmanager", "collected_static", "console", "live", "shared_web", "web"]  # fixtures


def _empty_used_tables(self: Any, sql_list: list[str]) -> None:
    """Clear what a transactional test committed. Only as the owner, only here: the audit log's trigger refuses TRUNCATE."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'django_migrations'"
        )
        tables = [connection.ops.quote_name(row[0]) for row in cursor.fetchall() if row[0] != "django_content_type"]
        cursor.execute(" UNION ALL ".join(f"SELECT '{table}' WHERE EXISTS (SELECT FROM {table})" for table in tables))
        used = [row[0] for row in cursor.fetchall()]
        if used:
            cursor.execute("ALTER TABLE audit_log DISABLE TRIGGER USER")
            cursor.execute(f"TRUNCATE {', '.join(used)} CASCADE")
            cursor.execute("ALTER TABLE audit_log ENABLE TRIGGER USER")


@pytest.fixture(scope="session", autouse=True)
def quick_flush() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(DatabaseOperations, "execute_sql_flush", _empty_used_tables)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def whole_pool() -> Iterator[None]:
    """Leave the next test a pool that works: some tests end its connections, and some threads end without giving theirs back.

    The pool waits a second, then two, after each dead connection that it comes upon, which is all the time a request has.
    """
    yield
    pool = connection._connection_pools.get(connection.alias)
    if pool is None:
        return
    pool.check()
    numbers = pool.get_stats()
    trouble = any(numbers.get(name) for name in ("connections_errors", "connections_lost", "requests_errors"))
    if trouble or numbers["pool_size"] - numbers["pool_available"] > 4:
        connection.close()
        connection.close_pool()


@pytest.fixture(autouse=True)
def quick_passwords(settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["tests.passwords.QuickHasher"]


@pytest.fixture
def alice(db: None) -> User:
    """An on-call engineer."""
    return factories.user("alice")


@pytest.fixture
def bob(db: None) -> User:
    """Another engineer, who must not see what is alice's own."""
    return factories.user("bob")


@pytest.fixture
def carol(db: None) -> User:
    """The admin."""
    return factories.user("carol", role=User.Role.ADMIN)


def _logged_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="accounts.backends.RoleBackend")
    return client


@pytest.fixture
def alice_client(alice: User) -> Client:
    return _logged_in(alice)


@pytest.fixture
def bob_client(bob: User) -> Client:
    return _logged_in(bob)


@pytest.fixture
def carol_client(carol: User) -> Client:
    return _logged_in(carol)


@pytest.fixture
def broken_audit(db: None) -> None:
    """An audit log that takes no entry, as a full disk or a missing right would make it."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE audit_log ADD CONSTRAINT broken CHECK (sequence < 0) NOT VALID")


@pytest.fixture
def sender(db: None) -> Sender:
    """A source of alerts and its token, posting to the webhook inside the test's transaction."""
    return Sender()
