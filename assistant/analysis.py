"""One analysis from the claim to its end: evidence, the model, the answer. No transaction is open while anything is waited for."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ParamSpec

import structlog
from django.db import InterfaceError, OperationalError

from aiops.lib.jobs import RetryIn, in_thread
from aiops.lib.text import clamp
from assistant import breaker, evidence, llm, outcomes
from assistant.answer import SCHEMA, Answer, AnswerError, read_answer
from assistant.claims import PROVIDER_GONE, Ask, Run, take
from assistant.models import Analysis, Evidence, LLMProvider
from assistant.outcomes import Usage
from assistant.prompts import analysis_messages

FIRST_RETRY, LONGEST_RETRY = 20.0, 3600.0  # seconds
PATIENCE = (0.1, 0.5, 1, 3, 6, 12)  # seconds between the tries of storing an ending
UNEXPECTED = "An unexpected error; the worker's log has it."

P = ParamSpec("P")
logger = structlog.stdlib.get_logger(__name__)


@dataclass
class Spent:
    """What the model's calls of this attempt took so far, for the ending to store, whichever it is."""

    usage: Usage = Usage()


async def run(ask: Ask) -> None:
    """Do what the job asks for. Raises RetryIn where it has to run again: the model or the database is not there now."""
    try:
        taken = await in_thread(take, ask)
        if taken is not None:
            await _carry_out(taken)
    except (OperationalError, InterfaceError) as exc:
        logger.warning("the database broke an analysis off", error=type(exc).__name__)
        raise RetryIn(_jittered(3), "the database was not there") from exc


async def _carry_out(run: Run) -> None:
    """Take the run to an ending, or raise RetryIn having put it back."""
    spent = Spent()
    try:
        await _proceed(run, spent)
    except llm.LLMError as exc:
        await _after(run, exc, spent.usage)
    except AnswerError as exc:
        reason = f"The model's answer could not be used, twice. {exc}"
        await _kept(outcomes.failed, run, reason, spent.usage)
    except (RetryIn, OperationalError, InterfaceError):
        raise
    except Exception:
        logger.exception("an analysis failed unexpectedly", analysis=str(run.analysis_id))
        await _kept(outcomes.failed, run, UNEXPECTED, spent.usage)


async def _proceed(run: Run, spent: Spent) -> None:
    if run.give_up:
        await _kept(outcomes.failed, run, run.give_up, spent.usage)
        return
    stored = await _evidence(run)
    if run.skip:
        await _kept(outcomes.skipped, run)
    elif run.wait:
        raise RetryIn(run.wait, breaker.REASON)
    elif stored:
        answer = await _ask_model(run, stored, spent)
        await _kept(outcomes.done, run, answer, spent.usage)


async def _kept(store: Callable[P, bool], *args: P.args, **kwargs: P.kwargs) -> bool:
    """Store an ending, again and again for a while where the database breaks it off: an answer was waited and paid for."""
    for seconds in PATIENCE:
        try:
            return await in_thread(store, *args, **kwargs)
        except (OperationalError, InterfaceError) as exc:
            logger.info("an ending is stored again", seconds=seconds, error=str(exc).split("\n")[0])
            await asyncio.sleep(seconds)
    return await in_thread(store, *args, **kwargs)


async def _evidence(run: Run) -> list[Evidence]:
    """What an earlier attempt collected, else what is there now. Empty where the run is no longer ours."""
    if stored := await in_thread(outcomes.evidence_of, run):
        return stored
    alerts = await in_thread(outcomes.covered, run)
    if not alerts:
        return []
    items = await evidence.collect(evidence.Subject(tuple(alerts)))
    return await in_thread(outcomes.keep_evidence, run, items)


async def _ask_model(run: Run, stored: Sequence[Evidence], spent: Spent) -> Answer:
    """The model's answer, which it may repair once. Raises LLMError or AnswerError."""
    provider = await in_thread(_provider, run)
    call, numbers = llm.ModelCall.to(provider), [item.number for item in stored]
    problem = ""
    while True:
        try:
            said = await llm.complete(
                call, analysis_messages(stored, problem), schema=SCHEMA, deadline=run.config.analysis_timeout
            )
        except llm.LLMError as exc:
            (breaker.failed if exc.retryable else breaker.worked)(provider.pk)
            raise
        breaker.worked(provider.pk)
        spent.usage = spent.usage.plus(said)
        try:
            return read_answer(said.text, numbers)
        except AnswerError as exc:
            if problem:
                raise
            cut = " It was cut off: make it shorter." if said.finish_reason == "length" else ""
            problem = f"{exc}{cut}"


def _provider(run: Run) -> LLMProvider:
    """The run's provider as it is now, which may not be as it was at the claim."""
    provider = Analysis.objects.select_related("provider").get(pk=run.analysis_id).provider
    if provider is None:
        raise llm.LLMError(PROVIDER_GONE, called=False)
    if not provider.enabled:
        raise llm.LLMError(f"The LLM provider “{provider}” was switched off meanwhile.", called=False)
    return provider


async def _after(run: Run, error: llm.LLMError, usage: Usage) -> None:
    """The model gave no answer: try again later where that may help and attempts are left, else end."""
    reason = clamp(str(error), 1000)
    if not error.retryable:
        never = not error.called and run.attempt == 1
        await _kept(outcomes.failed, run, reason, usage, called=not never)
    elif run.last:
        await _kept(outcomes.failed, run, f"Gave up after {run.attempt} attempts. {reason}", usage)
    else:
        seconds = _jittered(error.retry_after or FIRST_RETRY * 2 ** (run.attempt - 1))
        if await _kept(outcomes.put_back, run, f"{reason} Next try in {seconds:.0f} s.", usage):
            raise RetryIn(seconds, reason)


def _jittered(seconds: float) -> float:
    """A little later than `seconds`, so that a storm does not come back all at once."""
    return min(seconds, LONGEST_RETRY) * random.uniform(1.0, 1.25)  # noqa: S311 (spreads load, guards nothing)
