"""Background jobs: the only module that knows procrastinate.

A job is deferred by name, so that a lower app can ask for what an upper one does, inside the caller's transaction: it exists when
that commits and never when it rolls back. Delivery is at-least-once; a job makes its effect single by a conditional UPDATE.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar

import structlog
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections
from django.db import OperationalError as DjangoOperationalError
from django.utils import timezone
from procrastinate import App, BaseRetryStrategy, PsycopgConnector, RetryDecision
from procrastinate.contrib.django import app
from procrastinate.contrib.django.utils import connector_params
from procrastinate.exceptions import ConnectorException, JobAborted, TaskNotFound
from procrastinate.job_context import JobContext
from procrastinate.jobs import Job
from procrastinate.worker import Worker
from psycopg import OperationalError

from aiops.lib.actor import SYSTEM, acting_as
from aiops.lib.job_tables import REVIVE, QueueStatus, alive, delete_finished, queue_status

__all__ = [
    "QueueStatus", "RetryIn", "Running", "WorkerOptions", "alive", "current", "defer", "defer_many", "delete_finished", "in_thread",
    "job", "periodic", "queue_status", "run_worker", "schedules",
]  # fmt: skip

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])
JobFunction = Callable[..., Awaitable[None]] | Callable[..., None]

logger = structlog.stdlib.get_logger(__name__)

POLL = 1.0  # seconds: how late a job may be that is due by the clock, or whose NOTIFY was lost
MAX_ATTEMPTS = 20  # of a job whose worker or database connection keeps dying: perhaps the job is what kills it
LONGEST_WAIT = 60  # seconds between two attempts after a lost connection
LOST = (DjangoOperationalError, InterfaceError)  # a restart of PostgreSQL, a deadlock, a lock not got in time
OPEN_CONNECTIONS = 3  # to fetch, finish and beat; jobs use Django's own


@dataclass(frozen=True)
class Running:
    """The job that is running here. `attempt` is 1 at first, and counts every later start, whatever the reason."""

    id: int
    name: str
    attempt: int


class RetryIn(Exception):
    """Raised by a job that wants to run again, with the same arguments, in `seconds`. The reason goes to the log."""

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(f"again in {seconds:g} s: {reason}")
        self.seconds = seconds
        self.reason = reason


_running: ContextVar[Running | None] = ContextVar("job", default=None)


def current() -> Running | None:
    """The job that is running in this task or thread, None outside of jobs."""
    return _running.get()


# -- asking for jobs ---------------------------------------------------------------------------------------------------


def defer(name: str, /, *, in_seconds: int | None = None, **arguments: Any) -> int:
    """Ask for job `name` with JSON `arguments`, in the current Django transaction. Returns the job's id."""
    schedule = {"seconds": in_seconds} if in_seconds else None
    return app.configure_task(name, schedule_in=schedule).defer(**arguments)


def defer_many(name: str, /, each: Iterable[dict[str, Any]]) -> list[int]:
    """Ask for one job `name` for each set of JSON arguments, in one statement. Returns the jobs' ids."""
    batch = list(each)
    return app.configure_task(name).batch_defer(*batch) if batch else []


# -- declaring jobs ----------------------------------------------------------------------------------------------------


class _Again(BaseRetryStrategy):
    """Runs again what asked for it, what a stopping worker broke off and what lost the database. All else is final, and in the log."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(exception, RetryIn):
            return RetryDecision(retry_at=timezone.now() + timedelta(seconds=exception.seconds))
        if isinstance(exception, JobAborted | asyncio.CancelledError):
            return RetryDecision(retry_at=timezone.now())
        if isinstance(exception, LOST) and job.attempts + 1 < MAX_ATTEMPTS:
            return RetryDecision(retry_at=timezone.now() + timedelta(seconds=min(2**job.attempts, LONGEST_WAIT)))
        return None


def job(name: str) -> Callable[[F], F]:
    """Register a function as job `name`; it stays an ordinary function. Its module is an app's `jobs.py`, found by itself.

    A plain function runs in a thread with a database connection of its own, and cannot be interrupted when the worker stops. An
    `async` one is for waiting on networks: its ORM code goes through `in_thread`. At most AIOPS_DB_POOL - 1 threads run at once.
    """

    def register(function: F) -> F:
        app.task(name=name, retry=_Again())(function)
        return function

    return register


def periodic(name: str, cron: str) -> Callable[[F], F]:
    """Register a function without arguments as job `name` that runs by `cron` (UTC; a sixth field is seconds), never twice at once."""

    def register(function: F) -> F:
        async def run_async(timestamp: int | None = None) -> None:
            await function()

        def run(timestamp: int | None = None) -> None:
            function()

        wrapped = run_async if inspect.iscoroutinefunction(function) else run
        task = app.task(name=name, lock=name, retry=_Again())(wrapped)
        app.periodic(cron=cron)(task)
        return function

    return register


def schedules() -> dict[str, str]:
    """The names of the periodic jobs, each with its cron line."""
    return {task.task.name: task.cron for task in app.periodic_registry.periodic_tasks.values()}


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run `function`, such as ORM code with its transaction, in a thread; its database connection goes back at the end."""

    def call() -> R:
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return await asyncio.to_thread(call)


# -- running jobs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker runs. Times are in seconds.

    `stalled_after`: a worker not heard of for this long counts as dead, and its jobs start again elsewhere. `grace`: how long
    running jobs may go on after a stop before they are broken off and put back. `until_idle`: end when nothing is due.
    """

    concurrency: int = 20
    stalled_after: float = 30.0
    grace: float = 10.0
    until_idle: bool = False

    @property
    def beat(self) -> float:
        return min(5.0, self.stalled_after / 4)


def run_worker(options: WorkerOptions, on_ready: Callable[[], None] | None = None) -> None:
    """Run jobs until SIGTERM or SIGINT (or until none is due). Survives the loss of the database: it goes on when that is back."""
    asyncio.run(_run_until_stopped(options, on_ready or (lambda: None)))


async def _run_until_stopped(options: WorkerOptions, on_ready: Callable[[], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_threads(), thread_name_prefix="job"))
    if not options.until_idle:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
    while not stop.is_set():
        try:
            await _run_connected(options, stop, on_ready)
        except (ConnectorException, OperationalError, OSError) as exc:
            if options.until_idle:
                raise
            logger.warning("worker starts over", reason=_database_reason(exc))
        if options.until_idle:
            return
        if not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), POLL)


def _threads() -> int:
    """As many threads as Django's pool has connections, less one for the ORM's async methods, which share a thread."""
    pool = settings.DATABASES["default"].get("OPTIONS", {}).get("pool") or {}
    return max(2, pool.get("max_size", 10) - 1) if isinstance(pool, dict) else 8


async def _run_connected(options: WorkerOptions, stop: asyncio.Event, on_ready: Callable[[], None]) -> None:
    """One worker from its registration to its end: asked for by `stop`, or because the database went away (raises then)."""
    connector = _Connector(
        kwargs=connector_params(), min_size=1, max_size=OPEN_CONNECTIONS, timeout=options.stalled_after
    )
    async with app.with_connector(connector).open_async() as connected:
        await _revive_stalled(connected, options)
        worker = _Worker(
            connected,
            task_middleware=connected.worker_defaults.get("task_middleware"),  # cares for Django's connections
            concurrency=options.concurrency,
            wait=not options.until_idle,
            fetch_job_polling_interval=POLL,
            shutdown_graceful_timeout=options.grace,
            update_heartbeat_interval=options.beat,
            stalled_worker_timeout=options.stalled_after,
            listen_notify=not options.until_idle,
            install_signal_handlers=False,
            worker_middleware=[_around_each],
        )
        run = asyncio.create_task(worker.run())
        side = [
            asyncio.create_task(_stop_when_asked(worker, stop, options)),
            asyncio.create_task(_revive_always(connected, options)),
            asyncio.create_task(_announce(worker, on_ready)),
        ]
        try:
            await run
        finally:
            for task in side:
                task.cancel()
            await asyncio.gather(*side, return_exceptions=True)


class _Connector(PsycopgConnector):
    """Listens again after it lost its connection; meanwhile the poll finds what is new."""

    async def listen_notify(self, on_notification: Any, channels: Iterable[str]) -> None:
        while True:
            try:
                await super().listen_notify(on_notification, channels)
            except (ConnectorException, OperationalError) as exc:
                logger.warning("worker does not listen", reason=_database_reason(exc))
                await asyncio.sleep(POLL)


class _Worker(Worker):
    """Goes on after a short loss of the database, as the jobs that are running do; a longer one stops its heartbeat, and it."""

    async def _fetch_and_process_jobs(self) -> None:
        try:
            await super()._fetch_and_process_jobs()
        except ConnectorException as exc:
            if not isinstance(exc.__cause__, OperationalError):
                raise  # such as a worker that others took for dead: it has to register again
            logger.warning("worker cannot fetch jobs", reason=_database_reason(exc))

    async def _persist_job_status(self, **how: Any) -> None:  # type: ignore[override]  # called by keyword
        """An end that is not written would leave its job running for ever, as this worker is alive."""
        while True:
            try:
                return await super()._persist_job_status(**how)
            except ConnectorException as exc:
                logger.warning("job's end not written", job_id=how["job"].id, reason=_database_reason(exc))
                if not isinstance(exc.__cause__, OperationalError):
                    return None  # not ours any more: this worker was taken for dead, and another has the job
            await asyncio.sleep(POLL)

    async def _periodic_deferrer(self) -> None:
        while True:
            try:
                return await super()._periodic_deferrer()
            except (ConnectorException, DatabaseError, InterfaceError) as exc:
                logger.warning("worker does not start periodic jobs", reason=_database_reason(exc))
                await sync_to_async(close_old_connections)()  # periodic jobs are deferred through Django's
                await asyncio.sleep(POLL)


async def _announce(worker: Worker, on_ready: Callable[[], None]) -> None:
    while worker.worker_id is None:
        await asyncio.sleep(0.01)
    on_ready()


async def _stop_when_asked(worker: Worker, stop: asyncio.Event, options: WorkerOptions) -> None:
    await stop.wait()
    worker.stop()
    # `async` jobs are broken off after the grace. A thread cannot be: its job is handed back and the process ends under it.
    await asyncio.sleep(options.grace + 2)
    if worker.worker_id is not None:
        await worker.app.job_manager.unregister_worker(worker.worker_id)
    logger.warning("jobs did not stop in time and will start again", grace=options.grace)
    logging.shutdown()
    os._exit(0)


async def _around_each(call_next: Callable[[], Awaitable[Any]], context: JobContext, worker: Worker) -> Any:
    """What every job runs in: the system as the actor, its name on each log line, and its failure in the log."""
    running = Running(context.job.id or 0, context.job.task_name, context.job.attempts + 1)
    token = _running.set(running)
    try:
        with acting_as(SYSTEM), structlog.contextvars.bound_contextvars(job=running.name, job_id=running.id):
            try:
                return await call_next()
            except RetryIn as again:
                logger.info("job runs again later", seconds=again.seconds, reason=again.reason)
                raise
            except asyncio.CancelledError:
                logger.warning("job broken off, starts again")
                raise
            except LOST as exc:
                logger.warning("job lost the database", attempt=running.attempt, reason=_database_reason(exc))
                raise
            except Exception:
                logger.exception("job failed", attempt=running.attempt)
                raise
    finally:
        _running.reset(token)


def _is_new(record: logging.LogRecord) -> bool:
    """Whether procrastinate says something that `_around_each` has not said already, with the job's name."""
    _, failure, _ = record.exc_info or (None, None, None)
    return isinstance(failure, TaskNotFound) or getattr(record, "action", None) != "job_error"


logging.getLogger("procrastinate.worker").addFilter(_is_new)


# -- jobs whose worker died --------------------------------------------------------------------------------------------


async def _revive_stalled(connected: App, options: WorkerOptions) -> None:
    """Start again the jobs whose worker was killed, and forget that worker."""
    revived = await connected.connector.execute_query_all_async(
        REVIVE, stalled_after=options.stalled_after, max_attempts=MAX_ATTEMPTS
    )
    for row in revived:
        given_up = row["attempts"] >= MAX_ATTEMPTS
        tell = logger.error if given_up else logger.warning
        event = "job failed: its worker died too often" if given_up else "job starts again: its worker died"
        tell(event, job=row["task_name"], job_id=row["id"], attempts=row["attempts"])
    await connected.job_manager.prune_stalled_workers(options.stalled_after)


async def _revive_always(connected: App, options: WorkerOptions) -> None:
    while True:
        await asyncio.sleep(options.beat)
        try:
            await _revive_stalled(connected, options)
        except Exception as exc:  # noqa: BLE001 (an outermost loop: without the database it tries again)
            logger.warning("dead workers could not be looked for", reason=_database_reason(exc))


def _database_reason(exc: BaseException) -> str:
    return str(exc.__cause__ or exc).strip().split("\n")[0] or type(exc).__name__
