"""`manage.py serve`: the web server."""

from __future__ import annotations

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import get_resolver
from django.utils.module_loading import import_string

from aiops import server
from aiops.lib.parent import stop_with_parent


class Command(BaseCommand):
    help = "Serve the pages and the webhook until SIGTERM or Ctrl-C; requests in flight are answered first."
    requires_system_checks = []  # they cost a second; `manage.py check` and `up` run them

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="The address to listen on (%(default)s).")
        parser.add_argument(
            "--port", type=int, default=settings.PORT, help="The port; 0 takes a free one (PORT, %(default)s)."
        )
        parser.add_argument("--follow-parent", type=int, metavar="PID", help="Stop when this parent process ends.")
        parser.add_argument(
            "--hold", action="store_true", help="Load, then listen when “go” arrives on standard input."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["follow_parent"]:
            stop_with_parent(options["follow_parent"])
        _ = get_resolver().url_patterns  # all pages' modules, which the first request would load
        if options["hold"] and sys.stdin.readline() != "go\n":
            return
        application = import_string(settings.ASGI_APPLICATION)  # looks for the static files at once
        try:
            server.serve(application, options["host"], options["port"], self._say)
        except server.ServerError as exc:
            raise CommandError(str(exc)) from exc

    def _say(self, address: str) -> None:
        self.stdout.write(f"Listening on {address}")
        self.stdout.flush()
