"""`POST /webhook/alerts`: a bare ASGI callable, mounted ahead of Django, whose middleware would cost half the throughput.

Parsing and the database run in threads of its own, so that neither a large body nor a slow database stops the event loop.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog
from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, transaction
from django.utils import timezone

from aiops.lib import metrics
from aiops.lib.addresses import client_ip
from incidents import quarantine, senders
from incidents.ingest import PATIENCE, Outcome, Refused, Sender, Unavailable, ingest, patience
from incidents.payload import PayloadError, parse
from incidents.quarantine import Origin
from incidents.senders import Unauthorized

PATHS = (
    "/webhook/alerts",
    "/webhook/alerts/",
)  # both answered: senders turn a redirected POST into a GET and lose the alerts
LARGEST_BODY = 32 * 2**20
LARGE = 2**20  # bytes: bodies above it go one at a time, so that the memory they take is bounded
THREADS = 4  # each holds a database connection while it works
GRACE = 0.1  # seconds between the last moment of a commit and the answer that it failed
RETRY_AFTER = 5  # seconds

T = TypeVar("T")
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

logger = structlog.stdlib.get_logger(__name__)


class Run(Protocol):
    """Calls a function that blocks. Raises Unavailable when it took longer than `seconds`."""

    def __call__(self, function: Callable[[], T], *, large: bool, seconds: float) -> Awaitable[T]: ...


class Threads:
    """A few threads for the many small bodies and one for the large; a connection goes back to the pool after each call."""

    def __init__(self) -> None:
        self._small = ThreadPoolExecutor(THREADS, thread_name_prefix="webhook")
        self._large = ThreadPoolExecutor(1, thread_name_prefix="webhook-large")

    async def __call__(self, function: Callable[[], T], *, large: bool, seconds: float) -> T:
        def call() -> T:
            try:
                return function()
            finally:
                close_old_connections()

        waiting = asyncio.get_running_loop().run_in_executor(self._large if large else self._small, call)
        try:
            return await asyncio.wait_for(waiting, seconds)
        except TimeoutError as exc:
            raise Unavailable("The database could not take it in time.") from exc


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: dict[str, Any]
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Problem(Exception):
    """Ends the request with an error of this status, said in words."""

    def __init__(self, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.answer = Answer(status, {"error": message}, headers)


class Gone(Exception):
    """The sender hung up before its body was complete."""


class Webhook:
    """The ASGI callable. `run` is how blocking code is called: in threads, unless a test says otherwise."""

    def __init__(self, run: Run | None = None) -> None:
        self._run: Run = run or Threads()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        try:
            answer = await self._answer(scope, receive)
        except Gone:
            return
        except Problem as problem:
            answer = problem.answer
        except Unauthorized as exc:
            answer = _unauthorized(str(exc))
        except (Unavailable, DatabaseError, InterfaceError) as exc:
            answer = _unavailable(exc)
        except Exception:  # the outermost loop of a request
            logger.exception("webhook failed")
            answer = Answer(500, {"error": "This failed here, not at your end; the console's log has the details."})
        await _send(send, answer)

    async def _answer(self, scope: dict[str, Any], receive: Receive) -> Answer:
        if scope["method"] != "POST":
            raise Problem(405, "Send alerts by POST.", (b"allow", b"POST"))
        headers = {name: value.decode("latin-1") for name, value in reversed(scope["headers"])}
        sender = await self._sender(headers)
        _check_headers(headers)
        body = await _read(receive)
        started, large = time.monotonic(), len(body) > LARGE
        seconds, origin = patience(len(body)), _origin(scope, headers)
        try:
            return await self._run(
                lambda: take(sender, body, origin, started + seconds), large=large, seconds=seconds + GRACE
            )
        except Refused as exc:
            senders.forget(sender)
            raise Unauthorized(str(exc)) from exc
        finally:
            metrics.WEBHOOK_SECONDS.observe(time.monotonic() - started)

    async def _sender(self, headers: dict[bytes, str]) -> Sender:
        token = senders.token_of(headers.get(b"authorization", ""))
        if sender := senders.remembered(token):
            return sender
        return await self._run(lambda: senders.authenticate(token), large=False, seconds=PATIENCE)


def take(sender: Sender, body: bytes, origin: Origin, deadline: float) -> Answer:
    """Read a body and store it, before `deadline` (of `time.monotonic()`). Blocks."""
    now = timezone.now()
    try:
        batch = parse(body)
        outcome = ingest(sender, batch, now, deadline, origin)
    except PayloadError as exc:
        with transaction.atomic():
            senders.confirm(sender)
            quarantine.keep(sender.id, [quarantine.whole_body(str(exc), body)], now, origin)
        metrics.ALERTS_QUARANTINED.inc()
        logger.warning("body refused", source=sender.name, reason=str(exc), bytes=len(body))
        return Answer(400, {"error": str(exc)})
    _count(sender, outcome)
    return Answer(200, {"received": outcome.received, "quarantined": outcome.quarantined})


def _count(sender: Sender, outcome: Outcome) -> None:
    metrics.ALERTS_RECEIVED.labels(sender.name).inc(outcome.received - outcome.quarantined)
    if outcome.quarantined:
        metrics.ALERTS_QUARANTINED.inc(outcome.quarantined)
        logger.warning("alerts set aside", source=sender.name, count=outcome.quarantined, of=outcome.received)


def _check_headers(headers: dict[bytes, str]) -> None:
    encoding = headers.get(b"content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise Problem(415, "Send the body as it is, without a Content-Encoding.", (b"accept-encoding", b"identity"))
    length = headers.get(b"content-length", "0")
    if length.isdigit() and (len(length) > 12 or int(length) > LARGEST_BODY):
        raise _too_large()


def _too_large() -> Problem:
    return Problem(413, f"The body is larger than {LARGEST_BODY // 2**20} MiB, the most that is accepted here.")


async def _read(receive: Receive) -> bytes:
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        chunk, more = message.get("body", b""), message.get("more_body", False)
        size += len(chunk)
        if size > LARGEST_BODY:
            raise _too_large()
        chunks.append(chunk)
    return b"".join(chunks)


def _origin(scope: dict[str, Any], headers: dict[bytes, str]) -> Origin:
    peer = (scope.get("client") or ("",))[0]
    address = client_ip(peer, headers.get(b"x-forwarded-for", ""), settings.AIOPS_TRUSTED_PROXIES)
    return Origin(address or "", headers.get(b"user-agent", ""))


def _unauthorized(message: str) -> Answer:
    challenge = b'Bearer realm="alerts", Basic realm="alerts", charset="UTF-8"'
    return Answer(401, {"error": message}, ((b"www-authenticate", challenge),))


def _unavailable(exc: Exception) -> Answer:
    if not isinstance(exc, Unavailable):
        logger.warning("webhook without a database", reason=str(exc.__cause__ or exc).strip().split("\n")[0])
    message = "The database could not take it in time. Nothing was stored; send it again."
    return Answer(503, {"error": message}, ((b"retry-after", b"%d" % RETRY_AFTER),))


async def _send(send: Send, answer: Answer) -> None:
    body = json.dumps(answer.body).encode()
    headers: Iterable[tuple[bytes, bytes]] = (
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *answer.headers,
    )
    await send({"type": "http.response.start", "status": answer.status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})
