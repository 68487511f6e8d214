"""Which rule decides, and that ingest, preview and dry run agree."""

from __future__ import annotations

import random
import time
from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command

from incidents import matching
from incidents.matching import Facts, explain_alert, preview
from incidents.models import Alert, Rule
from incidents.patterns import PatternError, glob, label_matchers
from tests import factories
from tests.webhook_client import Sender, alert


def facts(**fields: str) -> Facts:
    labels = {"alertname": "HighCPU", "severity": "critical", "instance": "web-1:9100", "job": "node", **fields}
    return Facts(labels["alertname"], labels["severity"], labels["severity"], labels["instance"], labels["job"], labels)


def matches(text: str, **labels: str) -> bool:
    return all(matcher.matches(labels) for matcher in label_matchers(text))


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("*", "", True),
        ("*cpu*", "HighCPULoad", True),
        ("High?PU", "highcpu", True),
        ("HighCPU", "HighCPULoad", False),
        ("[hl]*cpu", "lowCPU", True),
        ("[!h]*", "HighCPU", False),
        ("web.*", "web1", False),
        ("*ä*", "GÄSTE", True),
        ("a*b", "a\nb", True),
    ],
)
def test_it_matches_globs_on_the_whole_value_whatever_the_case(pattern: str, value: str, expected: bool) -> None:
    assert bool(glob(pattern).matches(value)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('team="db"', True),
        ("team=db", True),
        ('team!="db"', False),
        ('team=~"d."', True),
        ('team=~"d"', False),  # anchored
        ('team!~"x|y"', True),
        ('{team="db", zone=~"eu-.*"}', True),
        ('team="db"\nzone="us"', False),
        ('team="db",', True),
        ('"odd name"="x, y"', True),
        (r'path=~"C:\\\\.*"', True),
        (r'zone=~"eu-\w+-\d"', True),
        ('missing=""', True),
        ('missing!="x"', True),
        ('missing=~".+"', False),
        ("", True),
    ],
)
def test_it_matches_labels_as_alertmanager_does(text: str, expected: bool) -> None:
    labels = {"team": "db", "zone": "eu-west-1", "odd name": "x, y", "path": "C:\\temp"}
    assert all(matcher.matches(labels) for matcher in label_matchers(text)) == expected


@pytest.mark.parametrize(
    "text",
    ["team", 'team="db" zone="eu"', '{team="db"', 'team="db"}', '="x"', 'team=~"("', 'team=~"(a{900}){900}"', 'a="b",,c="d"',
     'team==db', r'team=~"(?=x)"', "x" * 5000, "\n".join(f'a{number}="b"' for number in range(51)), 'a="\x00"',
     'a=~"' + "x" * 1001 + '"'],
)  # fmt: skip
def test_it_refuses_matchers_it_cannot_use_and_says_why(text: str) -> None:
    with pytest.raises(PatternError, match="Line|at most"):
        label_matchers(text)


@pytest.mark.parametrize("pattern", ["*a" * 100, "?" * 200, "[" * 200, "*" * 200, "*a*a*a*a*a*a*a*a*b"])
def test_it_matches_a_huge_value_against_any_glob_at_once(pattern: str) -> None:
    assert _seconds(lambda: glob(pattern).matches("a" * 50_000)) < 0.5


@pytest.mark.parametrize(
    "expression", ["(a*)*b", "(a|a)*b", "(x+x+)+y", "(.*a){20}b", ".*a.{0,90}b", "(((a{0,9}){0,9}){0,9})b"]
)
def test_it_matches_a_huge_value_against_any_expression_at_once(expression: str) -> None:
    matcher = label_matchers(f'x=~"{expression}"')[0]
    assert _seconds(lambda: matcher.matches({"x": "a" * 50_000})) < 0.5


def _seconds(call) -> float:
    """Far above what linear time takes and far below what backtracking would: it cannot fail by a busy machine."""
    started = time.process_time()
    call()
    return time.process_time() - started


@pytest.mark.django_db
def test_it_asks_rules_by_priority_then_name_and_the_first_match_decides(sender: Sender) -> None:
    factories.rule("0 matches not", priority=1, alert_name_pattern="Other")
    factories.rule("0 disabled", priority=0, enabled=False)
    factories.rule("1 later", priority=6, action="ignore")
    factories.rule("z", priority=5, action="ignore")
    winner = factories.rule("y", priority=5, action="auto_analyze")
    sender.send(alert())
    assert (Alert.objects.get().matched_rule, Alert.objects.get().action_taken) == (winner, "auto_analyze")


@pytest.mark.django_db
def test_it_leaves_an_alert_that_no_rule_matches_to_a_person(sender: Sender) -> None:
    factories.rule(alert_name_pattern="Other")
    sender.send(alert())
    assert (Alert.objects.get().matched_rule, Alert.objects.get().action_taken) == (None, "manual")


@pytest.mark.django_db
def test_a_rule_that_is_changed_or_deleted_holds_for_the_next_post(sender: Sender) -> None:
    rule = factories.rule(action="ignore")
    sender.send(alert(fingerprint="1"))
    rule.action = "auto_analyze"
    rule.save()
    sender.send(alert(fingerprint="2"))
    rule.delete()
    sender.send(alert(fingerprint="3"))
    actions = Alert.objects.order_by("fingerprint").values_list("action_taken", flat=True)
    assert list(actions) == ["ignore", "auto_analyze", "manual"]


@pytest.mark.django_db
def test_a_severity_pattern_means_the_labels_word_or_what_the_map_makes_of_it(sender: Sender) -> None:
    by_word = factories.rule(severity_pattern="page", priority=1)
    by_map = factories.rule(severity_pattern="critical", priority=2)
    sender.send(alert(labels={"severity": "page"}, fingerprint="1"), alert(labels={"severity": "P1"}, fingerprint="2"))
    assert list(Alert.objects.order_by("fingerprint").values_list("matched_rule", flat=True)) == [by_word.pk, by_map.pk]


@pytest.mark.django_db
def test_a_bad_pattern_that_got_past_the_form_does_not_stop_the_other_rules(sender: Sender) -> None:
    factories.rule(priority=1, label_matchers="nonsense")
    good = factories.rule(priority=2)
    sender.send(alert())
    assert Alert.objects.get().matched_rule == good


def test_a_rule_refuses_bad_patterns_at_their_fields() -> None:
    rule = Rule(name="x", alert_name_pattern="", label_matchers='team=~"("')
    with pytest.raises(ValidationError) as caught:
        rule.clean()
    assert set(caught.value.message_dict) == {"alert_name_pattern", "label_matchers"}


@pytest.mark.django_db
def test_it_explains_why_a_rule_matched(sender: Sender) -> None:
    rule = factories.rule(
        alert_name_pattern="*cpu*", severity_pattern="crit*", label_matchers='team=~"d.", env!="test"'
    )
    sender.send(alert(labels={"team": "db", "severity": "page"}))
    said = [(each.name, each.pattern, each.value, each.met) for each in explain_alert(Alert.objects.get())]
    assert said == [
        ("Alert name", "*cpu*", "HighCPU", True),
        ("Severity", "crit*", "critical (page)", True),
        ("Label team", 'team=~"d."', "db", True),
        ("Label env", 'env!="test"', "", True),
    ]
    rule.alert_name_pattern = "*disk*"
    rule.save()
    assert [each.met for each in explain_alert(Alert.objects.get())] == [False, True, True, True]


@pytest.mark.django_db
def test_ingest_preview_and_dry_run_agree_on_a_thousand_random_alerts(sender: Sender) -> None:
    pick = random.Random(7).choice
    names, globs = (
        ["HighCPU", "DiskFull", "highcpu", "OOM", "Ünder"],
        ["*", "high*", "*cpu", "DiskFull", "?OM", "[ou]*", "ü*"],
    )
    teams, severities = ["db", "web", "x,y", "", 'q"q'], ["critical", "page", "P2", "warn", "banana"]
    matchers = ["", 'team="db"', 'team!="db"', 'team=~"w.*|x.y"', 'team!~".*"', 'team=""', 'team="q\\"q"']
    for number in range(20):
        factories.rule(
            f"rule {number}", priority=pick(range(5)), alert_name_pattern=pick(globs), label_matchers=pick(matchers),
            severity_pattern=pick(["*", "crit*", "page", "?arn*"]), action=pick(Rule.Action.values), enabled=pick([True, True, False]),
        )  # fmt: skip
    sender.send(*(
        alert(fingerprint=str(number), labels={"alertname": pick(names), "team": pick(teams), "severity": pick(severities)})
        for number in range(1000)
    ))  # fmt: skip
    decided = dict(Alert.objects.values_list("pk", "matched_rule_id"))
    assert len(decided) == 1000
    assert len(set(decided.values())) > 5
    for rule in Rule.objects.filter(enabled=True):
        previewed = {match.alert.pk for match in preview(rule) if match.decided_by and match.decided_by.id == rule.pk}
        assert previewed == {key for key, by in decided.items() if by == rule.pk}
        for stored in Alert.objects.filter(matched_rule=rule)[:3]:
            assert all(condition.met for condition in explain_alert(stored))
    out = StringIO()
    call_command("create_rule", "new", "--alert-name", "high*", "--action", "manual", "--dry-run", stdout=out)
    assert f"matches {Alert.objects.filter(alert_name__istartswith='high').count()} of the latest" in out.getvalue()


@pytest.mark.django_db
def test_it_compiles_the_rules_once_for_many_posts(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    factories.rule()
    built = []
    monkeypatch.setattr(matching.rules, "_build", lambda: built.append(1) or matching.RuleSet(Rule.objects.all()))
    for number in range(5):
        sender.send(alert(fingerprint=str(number)))
    assert len(built) == 1
