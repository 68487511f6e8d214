from __future__ import annotations

import uuid

from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator
from django.db import models

from incidents.patterns import PATTERN_LENGTH, PatternError, glob, label_matchers

GLOBS = ("alert_name_pattern", "severity_pattern", "instance_pattern", "job_pattern")


class Rule(models.Model):
    """What to do with a new alert: the lowest `priority` number goes first, and the first rule that matches decides."""

    class Action(models.TextChoices):
        AUTO_ANALYZE = "auto_analyze", "Analyse at once"
        MANUAL = "manual", "Leave to a person"
        IGNORE = "ignore", "Noise: keep, but hide"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, unique=True)
    description = models.TextField(blank=True)
    priority = models.IntegerField(
        default=100, help_text="Lower numbers go first; the first rule that matches decides."
    )
    alert_name_pattern = models.CharField(
        default="*",
        validators=[MaxLengthValidator(PATTERN_LENGTH)],
        help_text="A glob such as *CPU*; case does not matter.",
    )
    severity_pattern = models.CharField(default="*", validators=[MaxLengthValidator(PATTERN_LENGTH)])
    instance_pattern = models.CharField(default="*", validators=[MaxLengthValidator(PATTERN_LENGTH)])
    job_pattern = models.CharField(default="*", validators=[MaxLengthValidator(PATTERN_LENGTH)])
    label_matchers = models.TextField(
        blank=True, help_text='One a line, as in Alertmanager: team="db", env!="test", zone=~"eu-.*". All must hold.'
    )
    action = models.CharField(max_length=20, choices=Action.choices, default=Action.AUTO_ANALYZE)
    enabled = models.BooleanField(default=True)
    hits = models.PositiveBigIntegerField(default=0, editable=False)
    last_hit_at = models.DateTimeField(null=True, blank=True, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "auto_analyze_rules"
        ordering = ["priority", "name"]
        verbose_name = "rule"

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse a pattern that cannot be compiled, with the reason at its field."""
        wrong: dict[str, str] = {}
        for name, compile_it in [*((name, glob) for name in GLOBS), ("label_matchers", label_matchers)]:
            try:
                compile_it(getattr(self, name))
            except PatternError as exc:
                wrong[name] = str(exc)
        if wrong:
            raise ValidationError(wrong)
