"""`manage.py create_rule`: a rule, for scripts."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from audit.log import record
from incidents.matching import preview
from incidents.models import Rule

OPTIONS = {
    "--alert-name": ("alert_name_pattern", "*", "GLOB", "Alert names it decides about, such as *CPU*."),
    "--severity": (
        "severity_pattern",
        "*",
        "GLOB",
        "Severities: the label's word, or what the severity map makes of it.",
    ),
    "--instance": ("instance_pattern", "*", "GLOB", "Instances."),
    "--job": ("job_pattern", "*", "GLOB", "Jobs."),
    "--matchers": ("label_matchers", "", "TEXT", 'Label matchers in Alertmanager\'s syntax: team="db", zone=~"eu-.*".'),
    "--description": ("description", "", "TEXT", "What it is for."),
}


class Command(BaseCommand):
    help = "Create a rule. Where there is one of that name, nothing changes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="The rule's name; it is created once.")
        for option, (field, default, shown, text) in OPTIONS.items():
            parser.add_argument(option, dest=field, default=default, metavar=shown, help=text)
        parser.add_argument("--action", choices=Rule.Action.values, required=True, help="What to do with a match.")
        parser.add_argument(
            "--priority", type=int, default=100, metavar="N", help="Lower numbers go first (%(default)s)."
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Only say which of the latest 1,000 alerts it would match."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        fields = ("name", "action", "priority", *(field for field, *_ in OPTIONS.values()))
        rule = Rule(**{field: options[field] for field in fields})
        self._check(rule)
        if options["dry_run"]:
            self._say_matches(rule)
            return
        with transaction.atomic():
            values = {field: options[field] for field in fields if field != "name"}
            kept, created = Rule.objects.get_or_create(name=rule.name, defaults=values)
            if created:
                record("create_rule", kept, name=kept.name, action=kept.action, priority=kept.priority)
        if created:
            self.stdout.write(f"Created the rule “{kept.name}”.")
        else:
            different = [field for field, value in values.items() if getattr(kept, field) != value]
            hint = f" It differs in: {', '.join(different)}." if different else ""
            self.stderr.write(f"There is a rule “{kept.name}” already; nothing was changed.{hint}")

    def _check(self, rule: Rule) -> None:
        try:
            rule.full_clean(validate_unique=False)
        except ValidationError as exc:
            options = {field: option for option, (field, *_) in OPTIONS.items()}
            said = (f"{options.get(name, name)}: {' '.join(texts)}" for name, texts in exc.message_dict.items())
            raise CommandError("\n".join(said)) from exc

    def _say_matches(self, rule: Rule) -> None:
        matches = preview(rule)
        decided = [match for match in matches if match.decided_by and match.decided_by.id == rule.pk]
        self.stdout.write(
            f"“{rule.name}” matches {len(matches)} of the latest 1,000 alerts and would decide about {len(decided)}."
        )
        for match in matches[:20]:
            self.stdout.write(f"  {match.alert}")
