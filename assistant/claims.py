"""Deciding what becomes of queued alerts: a new analysis, a link to one that there is, a resumed one, or none.

All of it happens in one transaction under one lock, so that two workers never start the same analysis and the budget is exact.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import User
from accounts.system_config import Config
from assistant import breaker
from assistant.answer import Answer, to_markdown
from assistant.models import Analysis, LLMProvider
from assistant.prompts import PROMPT_VERSION
from incidents import analysis as alerts
from incidents.models import Alert, AlertEvent

State, Trigger = Analysis.State, Analysis.Trigger
OPEN = (State.QUEUED, State.RUNNING)
_CLAIM_LOCK = 0x636C_6169_6D  # "claim"

NO_PROVIDER = "No LLM provider is configured. Add one under Admin → LLM providers."
NO_DEFAULT = "No LLM provider is enabled as the default. Choose one under Admin → LLM providers."
NO_BUDGET = "Automatic analyses are switched off: the daily budget is 0. “Analyse now” works."
PROVIDER_GONE = "The LLM provider was deleted meanwhile."
INTERRUPTED = "The worker stopped in the middle of it."


@dataclass(frozen=True)
class Ask:
    """Why a job runs: a group with queued alerts, by a rule or by a person, who then asked for one alert."""

    source_id: uuid.UUID
    group_hash: str
    alert_id: uuid.UUID | None = None
    trigger: str = Trigger.RULE
    user_id: uuid.UUID | None = None
    job_id: int | None = None


@dataclass(frozen=True)
class Run:
    """An analysis that is this caller's to carry out, for as long as the row's `attempt` stays the same.

    Not to be carried out where `skip` says why, nor yet where `wait` says for how many seconds.
    """

    analysis_id: uuid.UUID
    attempt: int
    config: Config
    skip: str = ""
    give_up: str = ""
    wait: float = 0

    @property
    def last(self) -> bool:
        return self.attempt >= self.config.analysis_max_attempts


def take(ask: Ask) -> Run | None:
    """What this job has to do now; None where that is nothing: another one took it, or the alerts were linked."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CLAIM_LOCK])
        config = Config.load()
        if mine := _of_job(ask.job_id):
            return _resume(mine, config)
        return _start(ask, config)


def _of_job(job_id: int | None) -> Analysis | None:
    return Analysis.objects.filter(job_id=job_id).order_by("-created_at").first() if job_id is not None else None


# -- an analysis that was begun before ---------------------------------------------------------------------------------


def _resume(analysis: Analysis, config: Config) -> Run | None:
    """Go on with it: its worker was killed, or a model was to be asked again later."""
    if analysis.state not in OPEN:
        return None
    if wait := breaker.pause(analysis.provider_id):
        return Run(analysis.pk, analysis.attempt, config, wait=wait)
    mine = Analysis.objects.filter(pk=analysis.pk, attempt=analysis.attempt, state__in=OPEN)
    if not mine.update(
        state=State.RUNNING, attempt=analysis.attempt + 1, started_at=analysis.started_at or timezone.now()
    ):
        return None  # it ended just now
    alerts.resume(analysis.alerts.values_list("pk", flat=True))
    run = Run(analysis.pk, analysis.attempt + 1, config)
    if analysis.attempt >= config.analysis_max_attempts:
        why = analysis.error or INTERRUPTED
        return Run(run.analysis_id, run.attempt, config, give_up=f"Gave up after {analysis.attempt} attempts. {why}")
    if analysis.called_at is None:  # it was to be skipped
        return Run(run.analysis_id, run.attempt, config, skip=analysis.error or NO_PROVIDER)
    if analysis.provider_id is None:
        return Run(run.analysis_id, run.attempt, config, give_up=PROVIDER_GONE)
    return run


# -- a new one ---------------------------------------------------------------------------------------------------------


def _start(ask: Ask, config: Config) -> Run | None:
    claimed = _claim(ask)
    if ask.trigger == Trigger.RULE:
        claimed = _link(claimed, ask, config)
    if not claimed:
        return None
    user = User.objects.filter(pk=ask.user_id).first() if ask.user_id else None
    provider = _provider(user)
    if provider is None:
        analysis = _create(ask, claimed, requested_by=user, state=State.RUNNING, attempt=1, error=_no_provider())
        return Run(analysis.pk, analysis.attempt, config, skip=analysis.error)
    if ask.trigger == Trigger.RULE and (reason := _over_budget(config)):
        # At once and without evidence: in a storm there are thousands of these.
        _create(ask, claimed, provider=provider, state=State.SKIPPED, ended_at=timezone.now(), error=reason)
        alerts.finish(claimed, state=State.SKIPPED, reason=reason)
        return None
    wait = breaker.pause(provider.pk)
    state, attempt = (State.QUEUED, 0) if wait else (State.RUNNING, 1)
    # From here on it counts against the budget; that is given back where no call comes of it.
    called_at = timezone.now()
    analysis = _create(
        ask, claimed, requested_by=user, provider=provider, state=state, attempt=attempt, called_at=called_at
    )
    if wait:
        alerts.put_back(claimed, breaker.REASON)
    return Run(analysis.pk, analysis.attempt, config, wait=wait)


def _create(ask: Ask, alert_ids: Iterable[uuid.UUID], **values: Any) -> Analysis:
    now = timezone.now()
    analysis = Analysis.objects.create(
        source_id=ask.source_id,
        group_hash=ask.group_hash,
        trigger=ask.trigger,
        job_id=ask.job_id,
        prompt_version=PROMPT_VERSION,
        created_at=now,
        started_at=now if values.get("attempt") else None,
        **values,
    )
    _cover(analysis, alert_ids)
    return analysis


def _cover(analysis: Analysis, alert_ids: Iterable[uuid.UUID]) -> None:
    through = Analysis.alerts.through
    rows = [through(analysis_id=analysis.pk, alert_id=alert_id) for alert_id in alert_ids]
    through.objects.bulk_create(rows, ignore_conflicts=True)


def _claim(ask: Ask) -> list[uuid.UUID]:
    """The group's queued alerts without those that wait for an analysis already; and the one that a person asked for."""
    through = Analysis.alerts.through.objects.filter(analysis__state__in=OPEN, alert__source_id=ask.source_id)
    taken = set(through.filter(alert__group_hash=ask.group_hash).values_list("alert_id", flat=True))
    claimed = alerts.claim(ask.source_id, ask.group_hash, but=taken)
    wanted = ask.alert_id if ask.trigger == Trigger.PERSON else None
    if wanted and wanted not in taken and wanted not in claimed and not _answered(wanted):
        claimed += alerts.claim_one(wanted)
    return claimed


def _answered(alert_id: uuid.UUID) -> bool:
    """Whether another job, a rule's, analysed the alert after the person had asked for it."""
    asked = AlertEvent.objects.filter(alert_id=alert_id, kind=AlertEvent.Kind.ANALYSIS_QUEUED).order_by("-at").first()
    since = asked.at if asked else timezone.now()
    return Analysis.objects.filter(alerts=alert_id, state=State.DONE, created_at__gte=since).exists()


def _provider(user: User | None) -> LLMProvider | None:
    """The person's own choice where it is enabled, else the default."""
    chosen = user.default_llm_provider if user else None
    if chosen and chosen.enabled:
        return chosen
    return LLMProvider.objects.filter(is_default=True, enabled=True).first()


def _no_provider() -> str:
    return NO_DEFAULT if LLMProvider.objects.exists() else NO_PROVIDER


def _over_budget(config: Config) -> str:
    budget = config.analysis_daily_budget
    today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)  # USE_TZ and TIME_ZONE make it UTC
    if budget == 0:
        return NO_BUDGET
    if Analysis.objects.filter(called_at__gte=today).count() < budget:
        return ""
    return f"Skipped: today's budget of {budget} analyses is used up. It starts anew at 00:00 UTC; “Analyse now” works at any time."


# -- links to an analysis that there is --------------------------------------------------------------------------------


def _link(claimed: list[uuid.UUID], ask: Ask, config: Config) -> list[uuid.UUID]:
    """Link the alerts whose group or series is being analysed or was within the cooldown; returns the others."""
    if not claimed:
        return []
    since = timezone.now() - timedelta(minutes=config.analysis_cooldown)
    recent = Analysis.objects.filter(Q(state__in=OPEN) | Q(state=State.DONE, ended_at__gt=since)).order_by(
        "-created_at"
    )
    group = recent.filter(source_id=ask.source_id, group_hash=ask.group_hash).first()
    if group and ask.group_hash and _attach(claimed, group, "group"):
        return []
    left = []
    for alert in Alert.objects.filter(pk__in=claimed).only("pk", "source_id", "fingerprint"):
        same = recent.filter(alerts__source_id=alert.source_id, alerts__fingerprint=alert.fingerprint).first()
        if not (same and _attach([alert.pk], same, "series")):
            left.append(alert.pk)
    return left


def _attach(alert_ids: Iterable[uuid.UUID], to: Analysis, what: str) -> bool:
    """Add the alerts to the analysis, and its result to them where there is one. False where it failed just now."""
    ids = list(alert_ids)
    analysis = Analysis.objects.select_for_update(of=("self",)).get(pk=to.pk)
    if analysis.state == State.DONE and analysis.result_json:
        _cover(analysis, ids)
        ended = analysis.ended_at or timezone.now()
        answer = Answer.from_json(analysis.result_json)
        alerts.finish(
            ids,
            state=State.DONE,
            reason=f"Linked to the analysis of {_moment(ended)}: the same {what} had just been analysed.",
            text=to_markdown(answer),
            recommendations=answer.recommendations(),
            at=ended,
            details={"analysis": str(analysis.pk)},
        )
        return True
    if analysis.state not in OPEN:
        return False
    _cover(analysis, ids)
    joined = f"Joined the analysis of {_moment(analysis.created_at)}: the same {what} is being analysed."
    Alert.objects.filter(pk__in=ids).update(analysis_reason=joined)
    if analysis.state == State.QUEUED:
        alerts.put_back(ids, f"{joined} {analysis.error}".strip())
    return True


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
