"""An analysis as a page shows it: the newest run, the newest answer, and the evidence that its marks lead to.

What a model said is read back from JSON as if a stranger had written it: a part that does not fit is left out, never an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from assistant.answer import CONFIDENCES, RISKS, VERDICTS, Answer, Hypothesis, Step
from assistant.models import Analysis, Evidence
from incidents.models import Alert


@dataclass(frozen=True)
class Report:
    """`run` is the newest analysis, `answered` the newest that gave an answer (often the same); either may be missing.

    `answer` is None where what is stored has not the expected shape; then `alert.ai_analysis` is shown as it is.
    """

    alert: Alert
    run: Analysis | None
    answered: Analysis | None
    answer: Answer | None
    evidence: list[Evidence]

    @classmethod
    def of(cls, alert: Alert) -> Report:
        """Three queries."""
        runs = alert.analyses.select_related("provider", "requested_by").order_by("-created_at", "-id")
        run = runs.first()
        answered = run if run is None or run.state == Analysis.State.DONE else runs.filter(state="done").first()
        shown = answered or run
        evidence = list(shown.evidence.all()) if shown else []
        evidence.sort(key=lambda item: (len(item.number), item.number))
        return cls(alert, run, answered, stored_answer(answered.result_json) if answered else None, evidence)

    @property
    def shown(self) -> Analysis | None:
        """The run whose evidence is listed."""
        return self.answered or self.run

    @property
    def failure(self) -> str:
        """Why the newest run failed."""
        return self.alert.analysis_reason or (self.run.error if self.run else "")

    @property
    def numbers(self) -> set[str]:
        return {item.number for item in self.evidence}

    @property
    def seconds(self) -> float | None:
        """How long the run took."""
        shown = self.shown
        if shown is None or shown.started_at is None or shown.ended_at is None:
            return None
        return (shown.ended_at - shown.started_at).total_seconds()


def stored_answer(value: Any) -> Answer | None:
    """The answer in `Analysis.result_json`, or None where that is not one."""
    if not isinstance(value, dict) or value.get("verdict") not in VERDICTS:
        return None
    return Answer(
        verdict=value["verdict"],
        summary=_text(value.get("summary")),
        hypotheses=tuple(_hypothesis(item) for item in _objects(value.get("hypotheses"))),
        steps=tuple(_step(item) for item in _objects(value.get("steps"))),
        unchecked=_texts(value.get("unchecked")),
        remarks=_texts(value.get("remarks")),
    )


def _hypothesis(item: dict[str, Any]) -> Hypothesis:
    confidence = item.get("confidence")
    return Hypothesis(
        _text(item.get("cause")), confidence if confidence in CONFIDENCES else "low", _texts(item.get("evidence"))
    )


def _step(item: dict[str, Any]) -> Step:
    command, risk = _text(item.get("command")), item.get("risk")
    return Step(
        title=_text(item.get("title")) or "Step",
        command=command,
        risk=risk if risk in RISKS else "high",  # what is not known is not called harmless
        reversible=item.get("reversible") is True,
        why=_text(item.get("why")),
        multiline="\n" in command,
    )


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str) and item) if isinstance(value, list) else ()
