"""Recordings are reached by their name under one folder, and a damaged one is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from infra.models import TerminalSession
from infra.recordings import RecordingError, open_recording
from tests import factories

CAST = '{"version": 2, "width": 80, "height": 24}\n[0.1, "o", "hello"]\n# chain\n[0.2, "o", "world"]\n'


@pytest.fixture
def folder(settings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    made = tmp_path / "recordings"
    made.mkdir()
    return made


def session(alice, name: str) -> TerminalSession:
    return TerminalSession.objects.create(
        user=alice, server_credential=factories.server(), started_at=timezone.now(), recording_path=name
    )


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a\x00b", "", "link", "sub/../../secret", "fifo"])
def test_it_opens_nothing_but_plain_files_of_its_folder(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_text(CAST)
    (folder / "link").symlink_to(folder.parent / "secret")
    os.mkfifo(folder / "fifo")
    with pytest.raises(RecordingError):
        open_recording(name)


def test_it_verifies_every_recording(folder: Path, alice, capsys) -> None:
    call_command("verify_recordings")
    assert "no recordings yet" in capsys.readouterr().out
    (folder / "good.cast").write_text(CAST)
    session(alice, "good.cast")
    call_command("verify_recordings")
    assert "All 1 recordings" in capsys.readouterr().out


def test_it_names_the_first_bad_line(folder: Path, alice, capsys) -> None:
    (folder / "torn.cast").write_text(CAST + '[0.3, "o", "torn')
    session(alice, "torn.cast")
    with pytest.raises(CommandError, match="1 of 1"):
        call_command("verify_recordings")
    assert "torn.cast, line 5" in capsys.readouterr().err
