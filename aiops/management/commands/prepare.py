"""`manage.py prepare`: what a start needs to find, made where it is missing."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from aiops.first_start import prepare
from aiops.lib.parent import stop_with_parent


class Command(BaseCommand):
    help = "Apply migrations, make the first admin and alert source where there is none, collect static files. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--follow-parent", type=int, metavar="PID", help="Stop when this parent process ends.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["follow_parent"]:
            stop_with_parent(options["follow_parent"])
        prepare(settings.SITE_URL, self._say)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
