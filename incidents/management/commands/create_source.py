"""`manage.py create_source`: a sender of alerts and its token, for scripts."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from audit.log import record
from incidents.models import AlertSource


class Command(BaseCommand):
    help = (
        "Create an alert source. Its token is the last line of the output, and is shown this once. "
        "Where the source exists, nothing changes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="The source's name; it is created once.")
        parser.add_argument(
            "--kind", choices=AlertSource.Kind.values, default=AlertSource.Kind.ALERTMANAGER, help="(%(default)s)"
        )
        parser.add_argument("--alertmanager-url", default="", metavar="URL", help="Where its own pages are.")
        parser.add_argument("--prometheus-url", default="", metavar="URL", help="Where its Prometheus is.")
        parser.add_argument(
            "--new-token", action="store_true", help="Revoke the token of an existing source, and print a new one."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with transaction.atomic():
            source, created = self._source(options)
            if not created and not options["new_token"]:
                self.stderr.write(
                    f"There is a source “{source.name}” already; nothing was changed. --new-token replaces its token."
                )
                return
            token = source.new_token()
            source.save(update_fields=["token_hash", "token_hint"])
            record("create_source" if created else "rotate_source_token", source, name=source.name)
        done = "Created" if created else "Revoked the old token of"
        self.stdout.write(f"{done} the source “{source.name}”. Its token, shown this once:")
        self.stdout.write(token)

    def _source(self, options: dict[str, Any]) -> tuple[AlertSource, bool]:
        wanted = AlertSource(
            name=options["name"],
            kind=options["kind"],
            alertmanager_url=options["alertmanager_url"],
            prometheus_url=options["prometheus_url"],
        )
        try:
            wanted.clean_fields()
        except ValidationError as exc:
            raise CommandError(
                "; ".join(f"{name}: {' '.join(said)}" for name, said in exc.message_dict.items())
            ) from exc
        values = {name: getattr(wanted, name) for name in ("kind", "alertmanager_url", "prometheus_url")}
        return AlertSource.objects.select_for_update().get_or_create(name=wanted.name, defaults=values)
