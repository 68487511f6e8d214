"""For machines that watch this one: is the process alive, is it ready to serve, what are its numbers.

The database may be down, slow or full of waiting connections: every answer comes within DEADLINE seconds all the same.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from typing import TypeVar

import structlog
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import close_old_connections, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, F, Q, Sum
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from aiops.lib import jobs, metrics
from aiops.lib.addresses import client_ip
from aiops.lib.metrics import Metric
from assistant.models import Analysis
from incidents.models import AlertSource

DEADLINE = 2.0  # seconds
WORKER_SEEN = 30.0  # seconds since a worker's last heartbeat
T = TypeVar("T")

logger = structlog.stdlib.get_logger(__name__)
_threads = ThreadPoolExecutor(2, thread_name_prefix="health")  # a stuck database holds these two and no more
_migrated = False  # once true, true for as long as this process runs


class Unwell(Exception):
    """A check that failed; the message says what is wrong and what to do."""


@require_safe
@never_cache
def alive(request: HttpRequest) -> HttpResponse:
    """200 for as long as the process answers. Asks nothing of anybody, so that a restart is not the cure for a slow database."""
    return HttpResponse("ok\n", content_type="text/plain; charset=utf-8")


@require_safe
@never_cache
def ready(request: HttpRequest) -> JsonResponse:
    """200 when requests can be served and jobs are run, else 503; either way every check in plain words."""
    checks, failed = {}, False
    for name, check in CHECKS.items():
        try:
            checks[name] = "not checked: the database does not answer" if failed else _in_time(check)
        except Unwell as exc:
            checks[name], failed = str(exc), failed or name == "database"
    well = all(words.startswith("ok") for words in checks.values())
    return JsonResponse({"ready": well, "checks": checks}, status=200 if well else 503)


@require_safe
@never_cache
def numbers(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format, for this machine and whoever has AIOPS_METRICS_TOKEN."""
    if not _may_read_numbers(request):
        return HttpResponse("Send the bearer token of AIOPS_METRICS_TOKEN.\n", "text/plain; charset=utf-8", 401)
    try:
        read = _in_time(_from_database)
    except Unwell:
        read = [metrics.gauge("aiops_database_up", "Whether the database answered this scrape.", 0)]
    return HttpResponse(metrics.exposition(read), content_type=metrics.CONTENT_TYPE)


def _in_time(function: Callable[[], T]) -> T:
    """What `function` says of the database, or Unwell: at once or after DEADLINE seconds."""

    def call() -> T:
        try:
            return function()
        finally:
            close_old_connections()

    try:
        return _threads.submit(call).result(DEADLINE)
    except Late:
        raise Unwell(f"the database does not answer within {DEADLINE:g} seconds") from None
    except DatabaseError as exc:
        logger.warning("the database does not answer", reason=str(exc).strip().split("\n")[0])
        raise Unwell("the database does not answer: is it running, and DATABASE_URL right?") from exc


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return "ok"


def _migrations() -> str:
    global _migrated
    if not _migrated:
        executor = MigrationExecutor(connection)
        if plan := executor.migration_plan(executor.loader.graph.leaf_nodes()):
            raise Unwell(f"{len(plan)} migrations are not applied: run manage.py migrate")
        _migrated = True
    return "ok: all applied"


def _worker() -> str:
    age = jobs.queue_status().worker_age
    if age is None:
        raise Unwell("no worker is running: start manage.py work")
    if age > WORKER_SEEN:
        raise Unwell(f"no worker was seen for {age:.0f} seconds: restart manage.py work")
    return f"ok: seen {age:.0f} seconds ago"


CHECKS: dict[str, Callable[[], str]] = {"database": _database, "migrations": _migrations, "worker": _worker}


def _may_read_numbers(request: HttpRequest) -> bool:
    token = settings.AIOPS_METRICS_TOKEN
    scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
    if token and scheme.lower() == "bearer" and secrets.compare_digest(sent.strip().encode(), token.encode()):
        return True
    forwarded = request.headers.get("X-Forwarded-For", "")
    if not settings.AIOPS_TRUSTED_PROXIES and (forwarded or "Forwarded" in request.headers):
        return False  # a proxy that we were not told of: behind it everybody looks local
    address = client_ip(request.META.get("REMOTE_ADDR"), forwarded, settings.AIOPS_TRUSTED_PROXIES)
    return address is not None and ipaddress.ip_address(address).is_loopback


def _from_database() -> list[Metric]:
    queue = jobs.queue_status()
    states = dict(Analysis.objects.values_list("state").annotate(Count("pk")).order_by())
    finished = Q(called_at__isnull=False, ended_at__isnull=False)
    sums = Analysis.objects.aggregate(
        tokens_in=Sum("tokens_in", default=0),
        tokens_out=Sum("tokens_out", default=0),
        cost=Sum("cost_usd", default=0),
        calls=Count("pk", filter=finished),
        time=Sum(F("ended_at") - F("called_at"), filter=finished),
    )
    tokens = {"in": sums["tokens_in"], "out": sums["tokens_out"]}
    return [
        metrics.gauge("aiops_database_up", "Whether the database answered this scrape.", 1),
        metrics.gauge("aiops_jobs_waiting", "Jobs that are due and wait for a worker.", queue.waiting),
        metrics.gauge("aiops_jobs_running", "Jobs that a worker runs now.", queue.running),
        metrics.gauge("aiops_jobs_oldest_seconds", "How long the first waiting job has waited.", queue.oldest_age or 0),
        metrics.gauge(
            "aiops_sources_silent", "Sources whose heartbeat is overdue.", AlertSource.objects.silent().count()
        ),
        metrics.gauge("aiops_worker_up", "Whether a worker was seen lately.", _seen(queue)),
        metrics.counter(
            "aiops_analyses", "Analyses, by state.", {s: states.get(s, 0) for s in Analysis.State.values}, "state"
        ),
        metrics.counter("aiops_llm_tokens", "Tokens sent to and received from models.", tokens, "direction"),
        metrics.counter("aiops_llm_cost_usd", "Cost of the analyses, where the price is known.", float(sums["cost"])),
        metrics.summary(
            "aiops_llm_seconds",
            "From the first call of a model to the end of the analysis.",
            sums["calls"],
            sums["time"].total_seconds() if sums["time"] else 0.0,
        ),
    ]


def _seen(queue: jobs.QueueStatus) -> int:
    return int(queue.worker_age is not None and queue.worker_age <= WORKER_SEEN)
