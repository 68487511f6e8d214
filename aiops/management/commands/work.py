"""`manage.py work`: run the background jobs until told to stop."""

from __future__ import annotations

import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from aiops.lib import jobs
from aiops.lib.parent import stop_with_parent


class Command(BaseCommand):
    help = "Run the background jobs (analyses, clean-up) until SIGTERM or Ctrl-C. Any number of workers may run."
    requires_system_checks = []  # they cost a second; `manage.py check` and `up` run them

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--concurrency",
            type=int,
            default=settings.AIOPS_WORKER_CONCURRENCY,
            help="Jobs at once (AIOPS_WORKER_CONCURRENCY, %(default)s).",
        )
        parser.add_argument(
            "--stalled-after",
            type=float,
            default=jobs.WorkerOptions.stalled_after,
            metavar="SECONDS",
            help="A worker silent for this long counts as dead, and its jobs start again elsewhere (%(default)s).",
        )
        parser.add_argument(
            "--grace",
            type=float,
            default=jobs.WorkerOptions.grace,
            metavar="SECONDS",
            help="How long running jobs may go on after SIGTERM before they are put back (%(default)s).",
        )

        parser.add_argument("--follow-parent", type=int, metavar="PID", help="Stop when this parent process ends.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["concurrency"] < 1 or options["stalled_after"] <= 0 or options["grace"] < 0:
            raise CommandError("--concurrency must be at least 1, --stalled-after above 0, --grace 0 or more.")
        if options["follow_parent"]:
            stop_with_parent(options["follow_parent"])
        jobs.run_worker(
            jobs.WorkerOptions(
                concurrency=options["concurrency"], stalled_after=options["stalled_after"], grace=options["grace"]
            ),
            on_ready=lambda: self._say(f"Worker ready: {options['concurrency']} jobs at once."),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # it is ending: being asked again must not make that a failure

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
