from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from infra.models import TerminalSession
from infra.recordings import RecordingError, verify


class Command(BaseCommand):
    help = "Read every recording of a terminal session and name the first bad line of each that is damaged."

    def handle(self, *args: Any, **options: Any) -> None:
        sound = bad = 0
        for session in TerminalSession.objects.exclude(recording_path="").order_by("started_at").iterator():
            try:
                verify(session.recording_path)
                sound += 1
            except RecordingError as error:
                bad += 1
                self.stderr.write(f"session {session.pk}: {error}")
        if bad:
            raise CommandError(f"{bad} of {sound + bad} recordings are missing or damaged.")
        self.stdout.write(f"All {sound} recordings can be read." if sound else "There are no recordings yet.")
