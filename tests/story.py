"""A night on call: the alerts, analyses and people that the screenshots and browser tests show."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.utils import timezone

from accounts.models import User
from assistant.answer import Answer, Hypothesis, Step, to_markdown
from assistant.models import Analysis, Evidence, LLMProvider
from incidents.models import Alert, AlertEvent, AlertSource
from tests import factories

RANKS = {"critical": 0, "error": 1, "warning": 2, "info": 3}
# name, severity, instance, job, minutes ago, summary, other fields
NIGHT = [
    ("HighCPU", "critical", "web-3.fra.example.net:9100", "node", 3, "CPU above 95% for 10 minutes"),
    ("TargetDown", "critical", "cache-2.fra.example.net:9121", "redis", 9, "Prometheus cannot scrape cache-2"),
    ("HighErrorRate", "error", "checkout.shop.svc:8080", "checkout", 11, "5.2% of requests fail with 502"),
    ("PodCrashLooping", "error", "payments-7d9f6c-x2x5k", "kube-state-metrics", 18, "payments restarts every 40 s"),
    ("HighLatency", "warning", "checkout.shop.svc:8080", "checkout", 21, "p99 of checkout is 2.4 s"),
    ("QueueGrowing", "warning", "mq-1.fra.example.net:15692", "rabbitmq", 26, "orders.new holds 48,212 messages"),
    ("CertExpiring", "warning", "shop.example.net:443", "blackbox", 94, "The certificate ends in 6 days"),
    ("ReplicaLag", "warning", "db-2.fra.example.net:9187", "postgres", 131, "Replica is 94 s behind db-1"),
    ("ClockSkew", "info", "build-4.fra.example.net:9100", "node", 187, "Clock is 0.3 s off"),
    ("BackupSlow", "info", "backup-1.fra.example.net:9100", "node", 260, "Last night’s backup took 5 h 12 m"),
    ("CheckFailed", "page", "", "", 310, "Synthetic check failed from 2 of 5 regions"),
    ("Watchdog", "info", "", "", 1, "Always firing"),
]
FIELDS: dict[str, dict[str, Any]] = {
    "HighCPU": {"occurrences": 2, "action_taken": "auto_analyze"},
    "TargetDown": {"analysis_state": "running"},
    "HighErrorRate": {"analysis_state": "queued"},
    "PodCrashLooping": {"flaps": 4, "occurrences": 31},
    "QueueGrowing": {"occurrences": 5},
    "CertExpiring": {"occurrences": 12},
    "ReplicaLag": {"analysis_state": "failed"},
    "ClockSkew": {"analysis_state": "skipped", "analysis_reason": "The daily budget of 200 analyses is used up."},
    "Watchdog": {"heartbeat": True},
}
PAST = [
    ("DiskFull", "critical", "db-1.fra.example.net:9100", "node", 420, "/var/lib/postgresql is 97% full"),
    ("HighCPU", "critical", "web-3.fra.example.net:9100", "node", 1_560, "CPU above 95% for 10 minutes"),
    ("HighLatency", "warning", "checkout.shop.svc:8080", "checkout", 1_600, "p99 of checkout is 1.9 s"),
    ("TargetDown", "critical", "web-1.fra.example.net:9100", "node", 2_900, "Prometheus cannot scrape web-1"),
    ("PodCrashLooping", "error", "search-5c7b-9kq2m", "kube-state-metrics", 3_100, "search restarts every 90 s"),
    ("QueueGrowing", "warning", "mq-1.fra.example.net:15692", "rabbitmq", 4_400, "orders.new holds 9,120 messages"),
]
ANSWER = Answer(
    verdict="problem",
    summary="A runaway log compression job holds all eight cores of web-3 [E3]; requests queue behind it, which is why "
    "checkout is slow at the same time [E4].",
    hypotheses=(
        Hypothesis(
            "logrotate started gzip on a 41 GB access log at 02:58, and it runs unniced on every core.",
            "high",
            ("E1", "E3"),
        ),
        Hypothesis(
            "A traffic peak: requests rose by 12% in these minutes, too little to explain it alone.", "low", ("E4",)
        ),
    ),
    steps=(
        Step(
            title="See what uses the CPU",
            command="ps -eo pid,ni,pcpu,etime,args --sort=-pcpu | head -15",
            risk="none",
            reversible=True,
            why="Confirms the cause before anything is touched.",
            multiline=False,
        ),
        Step(
            title="Lower the job’s priority",
            command="sudo renice -n 19 -p $(pgrep -f 'gzip .*access.log')",
            risk="low",
            reversible=True,
            why="Requests get the cores back; the compression goes on.",
            multiline=False,
        ),
        Step(
            title="Stop the compression",
            command="sudo pkill -f 'gzip .*access.log'",
            risk="medium",
            reversible=False,
            why="Only if renice does not help within two minutes. The archive must then be made again.",
            multiline=False,
        ),
    ),
    unchecked=("Whether other web servers rotate at the same time.", "Disk throughput of web-3."),
    remarks=(),
)
EVIDENCE = (
    ("E1", "alert", "The alert itself", "", "HighCPU on web-3.fra.example.net:9100, firing since 03:01, CPU 98.7%"),
    (
        "E2",
        "history",
        "Earlier episodes of this series: 1 in 30 days",
        "",
        "1 day ago, lasted 26 m; note: “logrotate again”",
    ),
    ("E3", "group", "Its group: 2 alerts fire", "", "HighCPU web-3\nHighLatency checkout (p99 2.4 s)"),
    (
        "E4",
        "neighbours",
        "What else fires now: 9 alerts",
        "",
        "HighErrorRate checkout 5.2%\nQueueGrowing mq-1 48,212 messages",
    ),
)


@dataclass(frozen=True)
class Night:
    """What the story made. `analysed`, `failed` and `plain` are the alerts that stand for these cases."""

    analysed: Alert
    failed: Alert
    plain: Alert


def tell(alice: User, bob: User, *, provider: bool = True) -> Night:
    """Write the whole night into the database."""
    now = timezone.now()
    source = AlertSource.objects.first() or factories.source(
        "prod-fra", alertmanager_url="http://alertmanager.example.net:9093"
    )
    alerts = {item[0]: _alert(source, now, "firing", *item, FIELDS.get(item[0], {})) for item in NIGHT}
    past = [_alert(source, now, "resolved", *item, {}) for item in PAST]
    analysed = alerts["HighCPU"]
    at_once = factories.rule("Critical: at once", severity_pattern="critical", alert_name_pattern="*CPU*")
    Alert.objects.filter(pk=analysed.pk).update(matched_rule=at_once)
    Alert.objects.filter(pk__in=[analysed.pk, past[1].pk]).update(fingerprint="c0ffee0000000001")
    if provider:
        _analyse(analysed, factories.provider("Main model", model_id="gpt-4o"), now)
        Alert.objects.filter(pk=past[1].pk).update(
            ai_analysis="**Verdict: problem.** logrotate compressed a large access log on all cores.",
            analysis_state="done",
        )
    analysed.refresh_from_db()
    analysed.add_note(bob, "Same picture as yesterday night. Asking the shop team to move log rotation to 05:00.")
    alerts["HighErrorRate"].acknowledge(alice)
    alerts["QueueGrowing"].acknowledge(bob)
    _fail(alerts["ReplicaLag"], now)
    return Night(analysed, alerts["ReplicaLag"], alerts["CertExpiring"])


def _alert(
    source: AlertSource, now: dt.datetime, status: str, name: str, severity: str, instance: str, job: str, ago: int,
    summary: str, fields: dict[str, Any],
) -> Alert:  # fmt: skip
    at = now - dt.timedelta(minutes=ago)
    labels = {
        "alertname": name,
        "severity": severity,
        "instance": instance,
        "job": job,
        "cluster": "prod-fra",
        "team": "shop",
    }
    annotations = {
        "summary": summary,
        "description": f"{summary}. See the runbook before you restart anything.",
        "runbook_url": f"https://runbooks.example.net/{name}",
    }
    return factories.alert(
        source=source,
        status=status,
        timestamp=at,
        starts_at=at - dt.timedelta(seconds=40),
        ends_at=at + dt.timedelta(minutes=26) if status == "resolved" else None,
        last_seen_at=now - dt.timedelta(minutes=min(ago, 2)),
        labels=labels,
        annotations=annotations,
        raw_alert_json={
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "fingerprint": "c0ffee0000000001",
        },
        severity="critical" if severity == "page" else severity,
        severity_rank=RANKS.get(severity, 0),
        generator_url="https://prometheus.example.net/graph?g0.expr=node_load1",
        external_url="http://alertmanager.example.net:9093",
        receiver="aiops",
        group_key='{}:{cluster="prod-fra", service="shop"}',
        **fields,
    )


def _analyse(alert: Alert, provider: LLMProvider, now: dt.datetime) -> None:
    at = now - dt.timedelta(minutes=2)
    run = factories.analysis(
        alert, state="done", provider=provider, model_name="gpt-4o", result_json=ANSWER.to_json(), tokens_in=2_914,
        tokens_out=611, cost_usd=Decimal("0.0179"), started_at=at, ended_at=at + dt.timedelta(seconds=11.4), attempt=1, created_at=at,
    )  # fmt: skip
    for number, kind, title, query, text in EVIDENCE:
        Evidence.objects.create(
            analysis=run, number=number, kind=kind, title=title, query=query, text=text, captured_at=at
        )
    Alert.objects.filter(pk=alert.pk).update(
        analysis_state="done", analyzed=True, analyzed_at=at, ai_analysis=to_markdown(ANSWER)
    )
    AlertEvent.objects.create(alert=alert, kind=AlertEvent.Kind.ANALYSED, at=at)


def _fail(alert: Alert, now: dt.datetime) -> None:
    error = "The model did not answer within 120 seconds (3 attempts)."
    at = now - dt.timedelta(minutes=120)
    run = factories.analysis(alert, state=Analysis.State.FAILED, error=error, attempt=3, created_at=at, started_at=at)
    Evidence.objects.create(
        analysis=run,
        number="E1",
        kind="alert",
        title="The alert itself",
        text="ReplicaLag on db-2: 94 s",
        captured_at=at,
    )
    Alert.objects.filter(pk=alert.pk).update(analysis_reason=error)
    AlertEvent.objects.create(alert=alert, kind=AlertEvent.Kind.ANALYSIS_FAILED, at=at, text=error)
