"""`manage.py up`: everything, in one terminal. manage.py runs aiops.up without loading Django; this is the same for `call_command`."""

from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from aiops import up


class Command(BaseCommand):
    help = up.HELP
    requires_system_checks = []  # `prepare` runs them

    def add_arguments(self, parser: CommandParser) -> None:
        up.add_arguments(parser, settings.PORT)

    def handle(self, *args: Any, **options: Any) -> None:
        sys.exit(up.up(options["host"], options["port"], not options["no_worker"], settings.SITE_URL))
