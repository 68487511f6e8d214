"""Jobs that leave a trace in the audit log: what a worker did can be read there by the test."""

from __future__ import annotations

import asyncio
import time

from django.db import transaction

from aiops.lib import jobs
from audit.log import record


def _trace(step: str, name: str) -> None:
    running = jobs.current()
    with transaction.atomic():
        record(f"{step}_{name}", resource_type="test", attempt=running.attempt if running else 0)


@jobs.job("test.write")
def write(name: str) -> None:
    _trace("wrote", name)


@jobs.job("test.sleep")
def sleep(name: str, seconds: float) -> None:
    _trace("began", name)
    time.sleep(seconds)
    _trace("ended", name)


@jobs.job("test.sleep_async")
async def sleep_async(name: str, seconds: float) -> None:
    await jobs.in_thread(_trace, "began", name)
    await asyncio.sleep(seconds)
    await jobs.in_thread(_trace, "ended", name)


@jobs.job("test.again")
def again(name: str) -> None:
    _trace("ran", name)
    running = jobs.current()
    if running and running.attempt < 3:
        raise jobs.RetryIn(0.1, "not enough yet")


@jobs.job("test.fail")
def fail(name: str) -> None:
    _trace("failed", name)
    raise ValueError("meant to fail")
