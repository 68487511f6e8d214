"""What a new installation lacks: its tables, an admin, a source of alerts, the collected static files."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor

from accounts.models import User
from aiops.static_files import collect_if_changed
from audit.log import record
from incidents.models import AlertSource

_PREPARING = 0x61696F_7072  # "aio", "pr": one process prepares a database at a time
ADMIN = "admin"
SOURCE = "alertmanager"
Say = Callable[[str], None]

SNIPPET = """\
  route:
    receiver: aiops
    group_by: [alertname, cluster]
  receivers:
    - name: aiops
      webhook_configs:
        - url: {url}/webhook/alerts
          send_resolved: true
          http_config:
            authorization:
              credentials: {token}"""


def prepare(site_url: str, say: Say) -> None:
    """Bring database and static files up to date; `say` is told what was done, and the secrets made here, once."""
    with _alone():
        _migrate(say)
        _first_admin(say)
        _first_source(site_url, say)
    if files := collect_if_changed():
        say(f"Collected {files} static files.")


@contextmanager
def _alone() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_PREPARING])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_PREPARING])


def _migrate(say: Say) -> None:
    executor = MigrationExecutor(connection)
    if plan := executor.migration_plan(executor.loader.graph.leaf_nodes()):
        say(f"Preparing the database: {len(plan)} migrations.")
        call_command("migrate", interactive=False, verbosity=0)


@transaction.atomic
def _first_admin(say: Say) -> None:
    if User.objects.exists():
        return
    password = secrets.token_urlsafe(12)
    user = User.objects.create_user(
        ADMIN, "admin@localhost.invalid", password, role=User.Role.ADMIN, must_change_password=True
    )
    record("create_user", user, name=user.username, role=user.role)
    transaction.on_commit(
        lambda: say(
            f"\nFirst admin: {ADMIN}, one-time password {password} (shown this once; you will be asked for another)."
        )
    )


@transaction.atomic
def _first_source(site_url: str, say: Say) -> None:
    if AlertSource.objects.exists():
        return
    source = AlertSource(name=SOURCE)
    token = source.new_token()
    source.save()
    record("create_source", source, name=source.name)
    snippet = SNIPPET.format(url=site_url, token=token)
    transaction.on_commit(lambda: say(f"\nFor alertmanager.yml (the token is shown this once):\n\n{snippet}\n"))
