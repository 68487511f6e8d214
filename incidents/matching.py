"""Which rule decides about an alert: one compiled matcher for ingest, for previews and for “why did this rule match”."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog

from aiops.lib.text import clamp
from aiops.lib.versioned import Versioned
from incidents.models import Alert, Rule
from incidents.patterns import Glob, LabelMatcher, PatternError, glob, label_matchers

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Facts:
    """What rules look at. The severity counts as the word in the label and as what the severity map makes of it."""

    alert_name: str
    severity: str
    severity_label: str
    instance: str
    job: str
    labels: Mapping[str, str]

    @classmethod
    def of(cls, alert: Alert) -> Facts:
        """Of a stored alert: the same as when it came in."""
        labels = alert.labels_json
        return cls(alert.alert_name, alert.severity, severity_label(labels), alert.instance, alert.job, labels)


def severity_label(labels: Mapping[str, str]) -> str:
    return clamp(labels.get("severity", ""), 50)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a rule, as the page shows it: what must hold, the alert's value, and whether it does."""

    name: str
    pattern: str
    value: str
    met: bool


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule ready to be asked. Globs that match anything are not in it."""

    id: uuid.UUID
    name: str
    action: str
    alert_name: Glob | None
    severity: Glob | None
    instance: Glob | None
    job: Glob | None
    matchers: tuple[LabelMatcher, ...]

    def matches(self, facts: Facts) -> bool:
        return (
            (self.alert_name is None or bool(self.alert_name.matches(facts.alert_name)))
            and (self.severity is None or _either(self.severity, facts))
            and (self.instance is None or bool(self.instance.matches(facts.instance)))
            and (self.job is None or bool(self.job.matches(facts.job)))
            and all(matcher.matches(facts.labels) for matcher in self.matchers)
        )


def _either(severity: Glob, facts: Facts) -> bool:
    return bool(severity.matches(facts.severity) or severity.matches(facts.severity_label))


def compile_rule(rule: Rule) -> CompiledRule:
    """Raises PatternError where one of the rule's patterns cannot be used."""
    return CompiledRule(
        rule.pk,
        rule.name,
        rule.action,
        _glob(rule.alert_name_pattern),
        _glob(rule.severity_pattern),
        _glob(rule.instance_pattern),
        _glob(rule.job_pattern),
        label_matchers(rule.label_matchers),
    )


def _glob(pattern: str) -> Glob | None:
    compiled = glob(pattern)
    return None if compiled.is_any else compiled


class RuleSet:
    """The enabled rules in the order in which they are asked: by priority, then name, then id."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        enabled = [rule for rule in rules if rule.enabled]
        self.rules = [
            compiled
            for rule in sorted(enabled, key=lambda rule: (rule.priority, rule.name, rule.pk))
            if (compiled := _usable(rule))
        ]

    def first(self, facts: Facts) -> CompiledRule | None:
        """The rule that decides; None leaves the alert to a person."""
        return next((rule for rule in self.rules if rule.matches(facts)), None)


def _usable(rule: Rule) -> CompiledRule | None:
    """None for a rule that got past the form with a bad pattern: it must not stop the others."""
    try:
        return compile_rule(rule)
    except PatternError as exc:
        logger.error("rule left out", rule=rule.name, reason=str(exc))  # noqa: TRY400 (no failure of ours to trace)
        return None


def _load() -> RuleSet:
    return RuleSet(Rule.objects.filter(enabled=True))


rules = Versioned(_load)


# -- explanations and previews -----------------------------------------------------------------------------------------


def explain(rule: Rule, alert: Alert) -> list[Condition]:
    """Each condition that the rule sets (not “anything”), with the alert's value. Raises PatternError."""
    compiled, facts = compile_rule(rule), Facts.of(alert)
    globs = [
        ("Alert name", compiled.alert_name, facts.alert_name),
        ("Instance", compiled.instance, facts.instance),
        ("Job", compiled.job, facts.job),
    ]
    found = [Condition(name, each.pattern, value, bool(each.matches(value))) for name, each, value in globs if each]
    if compiled.severity:
        word = (
            facts.severity if facts.severity == facts.severity_label else f"{facts.severity} ({facts.severity_label})"
        )
        found.insert(1 if compiled.alert_name else 0, _severity_condition(compiled.severity, facts, word))
    return found + [
        Condition(f"Label {each.name}", str(each), facts.labels.get(each.name, ""), each.matches(facts.labels))
        for each in compiled.matchers
    ]


def _severity_condition(severity: Glob, facts: Facts, word: str) -> Condition:
    return Condition("Severity", severity.pattern, word, _either(severity, facts))


def explain_alert(alert: Alert) -> list[Condition]:
    """Why the rule matched that decided about the alert: its conditions as they are now.

    Empty where no rule decided, or where the rule matches anything. A condition that is not `met` was changed since.
    """
    if alert.matched_rule is None:
        return []
    try:
        return explain(alert.matched_rule, alert)
    except PatternError:
        return []


@dataclass(frozen=True, slots=True)
class Match:
    """An alert that a rule would match, and the rule that would in fact decide about it."""

    alert: Alert
    decided_by: CompiledRule | None


def preview(candidate: Rule, latest: int = 1000) -> list[Match]:
    """Which of the latest alerts `candidate` would match if it were saved as it is now. Raises PatternError."""
    compiled = compile_rule(candidate)
    others = RuleSet([*Rule.objects.exclude(pk=candidate.pk), candidate])
    columns = ("alert_name", "severity", "instance", "job", "labels_json", "timestamp")
    alerts = Alert.objects.filter(heartbeat=False).order_by("-timestamp", "-id").only(*columns)[:latest]
    return [Match(alert, others.first(facts)) for alert in alerts if compiled.matches(facts := Facts.of(alert))]
