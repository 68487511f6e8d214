"""Secrets at rest: bound to their row and field, unreadable without the key, in no dump, and rotated from key to key."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiops.lib.secrets import SecretError, reveal, seal, secret_fields
from assistant.models import LLMProvider
from audit.models import AuditEntry
from infra.models import Server
from tests import factories
from tests.live import database_url

ROOT = Path(__file__).resolve().parent.parent
OLD, NEW, OTHER = (base64.urlsafe_b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def ring(settings: Any) -> Any:
    settings.AIOPS_SECRET_KEYS = [OLD]
    return settings


def server(secret: str = "hunter2", **fields: Any) -> Server:
    made = factories.server(**fields)
    seal(made, "password_encrypted", secret)
    made.save()
    return made


def again(row: Any) -> Any:
    return type(row).objects.get(pk=row.pk)


def rotate() -> str:
    out = StringIO()
    call_command("rotate_secrets", stdout=out)
    return out.getvalue()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_what_goes_in_comes_out(db: None, secret: str) -> None:
    row = Server(hostname="x", username="x")
    seal(row, "password_encrypted", secret)
    assert reveal(row, "password_encrypted") == secret
    assert secret == "" or len(secret) < 4 or secret not in row.password_encrypted


def test_its_tokens_are_standard_fernet_made_with_the_first_key(ring: Any) -> None:
    ring.AIOPS_SECRET_KEYS = [NEW, OLD]
    row = again(server())
    assert json.loads(Fernet(NEW).decrypt(row.password_encrypted))["secret"] == "hunter2"


def test_every_key_of_the_ring_reads_and_without_it_only_that_secret_is_lost(ring: Any) -> None:
    old = server()
    ring.AIOPS_SECRET_KEYS = [NEW, OLD]
    new = server()
    assert (reveal(again(old), "password_encrypted"), reveal(again(new), "password_encrypted")) == (
        "hunter2",
        "hunter2",
    )
    ring.AIOPS_SECRET_KEYS = [NEW]
    assert reveal(again(new), "password_encrypted") == "hunter2"
    with pytest.raises(SecretError, match="cannot be read with the keys in AIOPS_SECRET_KEYS"):
        reveal(again(old), "password_encrypted")
    assert Server.objects.count() == 2, "the rows themselves are there"


def test_a_secret_moved_to_another_row_or_field_is_refused() -> None:
    one, two = server("of one"), server("of two")
    Server.objects.filter(pk=two.pk).update(password_encrypted=one.password_encrypted)
    Server.objects.filter(pk=one.pk).update(ssh_key_encrypted=one.password_encrypted)
    provider = factories.provider()
    LLMProvider.objects.update(api_key_encrypted=one.password_encrypted)
    for row, field in ((two, "password_encrypted"), (one, "ssh_key_encrypted"), (provider, "api_key_encrypted")):
        with pytest.raises(SecretError, match="belongs to another row"):
            reveal(again(row), field)
    assert reveal(again(one), "password_encrypted") == "of one"


@pytest.mark.parametrize(
    "damage",
    [
        lambda t: t[:-4],
        lambda t: "gAAAA" + t[5:50],
        lambda t: t[:40] + "A" + t[41:],
        lambda t: "gAAAA",
    ],
)
def test_a_damaged_secret_says_so_and_spoils_only_itself(damage: Any) -> None:
    row, other = server(), server("fine")
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE server_credentials SET password_encrypted = %s WHERE id = %s",
            [damage(row.password_encrypted), row.pk],
        )
    with pytest.raises(SecretError):
        reveal(again(row), "password_encrypted")
    assert reveal(again(other), "password_encrypted") == "fine"


def test_plain_text_is_never_stored_by_mistake() -> None:
    made = factories.server()
    made.password_encrypted = "hunter2"
    with pytest.raises(ValueError, match="sealed secrets only"):
        made.save()
    with pytest.raises(ValueError, match="sealed secrets only"):
        Server.objects.update(password_encrypted="hunter2")


def test_an_empty_secret_clears_the_stored_one() -> None:
    row = server()
    seal(row, "password_encrypted", "")
    assert (row.password_encrypted, reveal(row, "password_encrypted")) == (None, "")


def test_no_dump_holds_a_secret() -> None:
    row = server()
    with pytest.raises(CommandError, match="is a secret and is not exported; leave infra.Server out"):
        call_command("dumpdata", "infra", stdout=StringIO())
    out = StringIO()
    call_command("dumpdata", exclude=["infra.Server", "assistant.LLMProvider", "contenttypes"], stdout=out)
    assert "hunter2" not in out.getvalue()
    assert "hunter2" not in repr(row.__dict__)


def test_rotation_covers_every_secret_column() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE column_name LIKE '%%\\_encrypted' ORDER BY 1, 2"
        )
        columns = cursor.fetchall()
    known = sorted((model._meta.db_table, model._meta.get_field(name).column) for model, name in secret_fields())
    assert columns == known != []


def test_rotation_encrypts_everything_anew_once_and_is_on_record(ring: Any) -> None:
    rows = [server(f"secret {n}") for n in range(3)]
    factories.server()
    ring.AIOPS_SECRET_KEYS = [NEW, OLD]
    assert "server_credentials.password_encrypted: 3 stored, 3 encrypted anew, 0 unreadable." in rotate()
    ring.AIOPS_SECRET_KEYS = [NEW]
    assert [reveal(again(row), "password_encrypted") for row in rows] == ["secret 0", "secret 1", "secret 2"]
    assert AuditEntry.objects.get().details_json == {"field": "password_encrypted", "count": 3}
    assert "3 stored, 0 encrypted anew" in rotate()
    assert AuditEntry.objects.count() == 1


def test_rotation_names_what_it_cannot_read_and_does_the_rest(ring: Any) -> None:
    good = server("good")
    moved = server("moved")
    Server.objects.filter(pk=moved.pk).update(password_encrypted=again(good).password_encrypted)
    ring.AIOPS_SECRET_KEYS = [OTHER]
    lost = server("lost")
    ring.AIOPS_SECRET_KEYS = [NEW, OLD]
    with pytest.raises(CommandError) as failure:
        rotate()
    for row in (moved, lost):
        assert f"server_credentials.password_encrypted of {row.pk}" in str(failure.value)
    assert failure.value.returncode == 1
    ring.AIOPS_SECRET_KEYS = [NEW]
    assert reveal(again(good), "password_encrypted") == "good"
    with pytest.raises(SecretError):
        reveal(again(moved), "password_encrypted")


@pytest.mark.django_db(transaction=True)
def test_a_rotation_killed_in_the_middle_is_finished_by_the_next(ring: Any) -> None:
    servers = [factories.server() for _ in range(250)]
    for row in servers:
        seal(row, "password_encrypted", f"of {row.name}")
    Server.objects.bulk_update(servers, ["password_encrypted"])
    last = Server.objects.order_by("pk").last()
    with transaction.atomic():
        Server.objects.select_for_update().get(pk=last.pk)  # it cannot get past this row, so it is killed half way
        process = subprocess.Popen(
            [sys.executable, "manage.py", "rotate_secrets"], cwd=ROOT, env=_environment(), stdout=subprocess.DEVNULL
        )
        for _ in range(600):
            if AuditEntry.objects.count() == 2:
                break
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    ring.AIOPS_SECRET_KEYS = [NEW]
    assert sum(_readable(row) for row in Server.objects.all()) == 200
    ring.AIOPS_SECRET_KEYS = [NEW, OLD]
    assert "250 stored, 50 encrypted anew, 0 unreadable" in rotate()
    ring.AIOPS_SECRET_KEYS = [NEW]
    assert all(reveal(row, "password_encrypted") == f"of {row.name}" for row in Server.objects.all())
    assert sum(entry.details_json["count"] for entry in AuditEntry.objects.all()) == 250


def _readable(row: Server) -> bool:
    try:
        return bool(reveal(row, "password_encrypted"))
    except SecretError:
        return False


def _environment() -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": database_url(), "AIOPS_SECRET_KEYS": f"{NEW},{OLD}", "AIOPS_DB_POOL": "2"}
