"""How a run ends: each ending is one transaction that counts only while the run is still this caller's.

`UPDATE … WHERE id, state = running, attempt = mine` decides; a worker that was thought dead and comes back later changes nothing.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from assistant.answer import Answer, to_markdown
from assistant.claims import OPEN, Run, State, Trigger
from assistant.evidence import Item
from assistant.llm import Completion
from assistant.models import Analysis, Evidence
from assistant.prompts import PROMPT_VERSION
from audit.log import record
from incidents import analysis as alerts
from incidents.models import Alert

logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True)
class Usage:
    """What the calls of one attempt took. `cost` is None where a price is unknown."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost: Decimal | None = None
    model: str = ""

    def plus(self, completion: Completion) -> Usage:
        known = None if self.cost is completion.cost_usd is None else (self.cost or 0) + (completion.cost_usd or 0)
        return Usage(
            self.tokens_in + completion.tokens_in,
            self.tokens_out + completion.tokens_out,
            None if known is None else Decimal(known),
            completion.model,
        )


def covered(run: Run) -> list[Alert]:
    """The run's alerts, the worst first."""
    return list(Alert.objects.filter(analyses=run.analysis_id).order_by("severity_rank", "starts_at", "pk"))


def keep_evidence(run: Run, items: list[Item]) -> list[Evidence]:
    """Store the evidence as E1, E2 …, once: what an earlier attempt stored stays, and is returned. Empty where the run is lost."""
    with transaction.atomic():
        mine = Analysis.objects.select_for_update(of=("self",)).filter(pk=run.analysis_id, attempt=run.attempt)
        if not mine.filter(state__in=OPEN).exists():
            return []
        stored = evidence_of(run)
        return stored or Evidence.objects.bulk_create(
            Evidence(
                analysis_id=run.analysis_id,
                number=f"E{place}",
                kind=item.kind,
                title=item.title,
                query=item.query,
                text=item.text,
                truncated=item.truncated,
                captured_at=item.captured_at,
            )
            for place, item in enumerate(items, 1)
        )


def evidence_of(run: Run) -> list[Evidence]:
    found = Evidence.objects.filter(analysis_id=run.analysis_id)
    return sorted(found, key=lambda item: int(item.number.removeprefix("E")))


def done(run: Run, answer: Answer, usage: Usage) -> bool:
    """The answer becomes the analysis of all alerts that the run covers by now."""
    with transaction.atomic():
        now = timezone.now()
        values = {"ended_at": now, "result_json": answer.to_json(), "error": "", "prompt_version": PROMPT_VERSION}
        ids = _close(run, State.DONE, usage, **values)
        if ids is None:
            return False
        alerts.finish(
            ids,
            state=State.DONE,
            text=to_markdown(answer),
            recommendations=answer.recommendations(),
            at=now,
            details=_details(run),
        )
        _supersede(run, ids)
        _audit(run, State.DONE)
    return True


def failed(run: Run, reason: str, usage: Usage, *, called: bool = True) -> bool:
    """It ends without an answer. Where no model was `called`, it does not count against the budget."""
    with transaction.atomic():
        ids = _close(run, State.FAILED, usage, error=reason, **({} if called else {"called_at": None}))
        if ids is None:
            return False
        alerts.finish(ids, state=State.FAILED, reason=reason, details=_details(run))
        _audit(run, State.FAILED)
    return True


def skipped(run: Run) -> bool:
    """No model is asked, for a reason that is no failure."""
    with transaction.atomic():
        ids = _close(run, State.SKIPPED, Usage(), error=run.skip)
        if ids is None:
            return False
        alerts.finish(ids, state=State.SKIPPED, reason=run.skip, details=_details(run))
        _audit(run, State.SKIPPED)
    return True


def put_back(run: Run, reason: str, usage: Usage) -> bool:
    """The model is to be asked again later; the alerts say why."""
    with transaction.atomic():
        mine = Analysis.objects.filter(pk=run.analysis_id, state=State.RUNNING, attempt=run.attempt)
        if not mine.update(state=State.QUEUED, error=reason, **_spent(usage)):
            return False
        alerts.put_back(Analysis.objects.get(pk=run.analysis_id).alerts.values_list("pk", flat=True), reason)
    return True


def _close(run: Run, state: str, usage: Usage, **values: Any) -> list[uuid.UUID] | None:
    """End the run if it is still this caller's. Returns the alerts that it covers by now, None where it is not."""
    mine = Analysis.objects.filter(pk=run.analysis_id, state__in=OPEN, attempt=run.attempt)
    if not mine.update(**{"state": state, "ended_at": timezone.now(), **_spent(usage), **values}):
        logger.warning("a late result was refused", analysis=str(run.analysis_id), attempt=run.attempt)
        return None
    return list(Alert.objects.filter(analyses=run.analysis_id).values_list("pk", flat=True))


def _spent(usage: Usage) -> dict[str, Any]:
    """Added up over the attempts."""
    values: dict[str, Any] = {
        "tokens_in": F("tokens_in") + usage.tokens_in,
        "tokens_out": F("tokens_out") + usage.tokens_out,
    }
    if usage.cost is not None:
        values["cost_usd"] = Coalesce(F("cost_usd"), Value(Decimal(0))) + usage.cost
    if usage.model:
        values["model_name"] = usage.model
    return values


def _supersede(run: Run, alert_ids: list[uuid.UUID]) -> None:
    """Mark older analyses of these alerts, once no alert rests on them any more."""
    through = Analysis.alerts.through.objects
    older = Analysis.objects.filter(alerts__in=alert_ids, state=State.DONE, superseded=False).exclude(
        pk=run.analysis_id
    )
    newer = through.filter(
        alert=OuterRef("alert"),
        analysis__state=State.DONE,
        analysis__created_at__gt=OuterRef("analysis__created_at"),
    )
    resting = through.filter(analysis=OuterRef("pk")).exclude(Exists(newer))
    Analysis.objects.filter(pk__in=older.values("pk")).exclude(Exists(resting)).update(superseded=True)


def _details(run: Run) -> dict[str, str]:
    return {"analysis": str(run.analysis_id)}


def _audit(run: Run, state: str) -> None:
    """What came of a person's request; last in the transaction, as the log's lock is held to its end."""
    analysis = Analysis.objects.select_related("requested_by", "provider").get(pk=run.analysis_id)
    if analysis.trigger != Trigger.PERSON:
        return
    who = analysis.requested_by.username if analysis.requested_by else ""
    provider = analysis.provider.name if analysis.provider else ""
    record(
        "finish_analysis", analysis, state=str(state), requested_by=who, provider=provider, model=analysis.model_name
    )
