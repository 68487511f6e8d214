"""`manage.py verify_audit`: is the audit log still what was written?"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from audit.chain import knows, verify


class Command(BaseCommand):
    help = (
        "Check the audit log's chain of hashes. Prints the number of entries and the head; exits 1 and names the first bad "
        "entry otherwise. Keep the head elsewhere and give it to a later run: only so can entries cut off at the end be noticed."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--expect-head", metavar="HASH", help="A head printed earlier, which must still be there.")

    def handle(self, *args: Any, **options: Any) -> None:
        verdict = verify()
        if fault := verdict.fault:
            raise CommandError(
                f"The audit log was tampered with. First bad entry: number {fault.sequence}, id {fault.entry_id}, "
                f"{fault.at.isoformat()}: {fault.problem}. The {verdict.entries} entries before it are good."
            )
        expected = (options["expect_head"] or "").strip().lower()
        if expected and not knows(expected):
            raise CommandError(
                f"The audit log was cut off or replaced: no entry has the expected head {expected}. "
                f"What is there is a whole chain of {verdict.entries} entries with the head {verdict.head}."
            )
        self.stdout.write(f"{verdict.entries} entries, unbroken.")
        self.stdout.write(f"Head: {verdict.head}")
