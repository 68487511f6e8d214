"""System checks: what is missing or unsafe is named with a remedy; the documented production settings are clean."""

from __future__ import annotations

import base64
import os
import secrets
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.checks import run_checks

from aiops import checks

ROOT = Path(__file__).resolve().parent.parent
KEY = base64.urlsafe_b64encode(bytes(range(32))).decode()


def found(**databases: Any) -> dict[str, Any]:
    return {message.id: message for message in run_checks(**databases) if message.id.startswith("aiops.")}


@pytest.mark.parametrize(
    ("changed", "number"),
    [
        ({"SECRET_KEY": "short"}, "E001"),
        ({"SECRET_KEY": "a" * 60}, "E001"),
        ({"AIOPS_SECRET_KEYS": []}, "E002"),
        ({"AIOPS_SECRET_KEYS": [KEY, "bm90IDMyIGJ5dGVz"]}, "E002"),
        ({"AIOPS_SECRET_KEYS": ["not base64 at all!"]}, "E002"),
        ({"SITE_URL": "aiops.example.org"}, "E003"),
        ({"SITE_URL": "ftp://127.0.0.1"}, "E003"),
        ({"SITE_URL": "http://127.0.0.1/console"}, "E003"),
        ({"SITE_URL": "http://127.0.0.1:port"}, "E003"),
        ({"SITE_URL": "http://aiops.example.org"}, "E004"),
        ({"SITE_URL": "http://aiops.example.org", "ALLOWED_HOSTS": [".example.org"], "DEBUG": True}, "E005"),
        ({"ALLOWED_HOSTS": ["*"]}, "E006"),
        ({"AIOPS_TRUSTED_PROXIES": -1}, "E007"),
        ({"SITE_URL": "https://127.0.0.1"}, "W001"),
        ({"SITE_URL": "http://aiops.example.org", "ALLOWED_HOSTS": [".example.org"]}, "W002"),
    ],
)
def test_what_is_wrong_is_named_with_a_remedy(settings: Any, changed: dict[str, Any], number: str) -> None:
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    assert found() == {}
    for name, value in changed.items():
        setattr(settings, name, value)
    message = found()[f"aiops.{number}"]
    assert message.hint
    assert KEY not in str(message)


@pytest.mark.django_db
def test_an_old_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(databases=["default"]) == {}
    monkeypatch.setattr(checks, "connections", {"default": SimpleNamespace(pg_version=140_011)})
    assert "PostgreSQL 14" in found(databases=["default"])["aiops.E008"].msg


def test_the_documented_production_settings_pass_the_check_for_deployment() -> None:
    documented = (ROOT / "docs/production.md").read_text().partition("```ini\n")[2].partition("```")[0]
    values = dict(line.split("=", 1) for line in documented.splitlines() if line and not line.startswith("#"))
    values |= {"SECRET_KEY": secrets.token_urlsafe(50), "AIOPS_SECRET_KEYS": KEY, "AIOPS_DATA_DIR": "/nonexistent"}
    result = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "DEBUG"],
        cwd=ROOT, env={"PATH": os.defpath, **values}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.returncode, "no issues (0 silenced)" in result.stdout) == (0, True), result.stdout + result.stderr
