"""The HTTP that models are asked through: no redirects, no internal addresses, no endless answers, and a record of what happened.

A model is asked by a client library that wraps and renames what the wire said. So each call has an `Exchange`, in which the
transport notes it first-hand; the error that a person reads is made from that.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.request
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from functools import cache
from time import time
from typing import Any

import httpx

from aiops.lib.addresses import AddressError, refuse_internal

MAX_ANSWER = 4 * 1024 * 1024  # bytes; the longest answer worth reading is a hundredth of it
MAX_ERROR_BODY = 64 * 1024
CONNECT_TIMEOUT = 10.0  # seconds

_resolver = ThreadPoolExecutor(
    4, thread_name_prefix="resolve"
)  # its own: a slow name server must not hold up the database


class Failure(StrEnum):
    """What went wrong on the wire."""

    ADDRESS = "address"  # refused by us
    CONNECT = "connect"  # refused, unreachable, unknown name, TLS
    TIMEOUT = "timeout"
    BROKEN = "broken"  # reset or closed early
    REDIRECT = "redirect"
    TOO_LARGE = "too large"
    ENCODED = "encoded"


@dataclass
class Exchange:
    """What one call to a model met on the wire. `status` is the last answer's; `body` the head of an error's."""

    host: str = ""
    requests: int = 0
    status: int | None = None
    failure: Failure | None = None
    detail: str = ""
    retry_after: float | None = None
    body: bytes = b""

    def fail(self, failure: Failure, detail: str = "") -> httpx.ReadError:
        """Note the failure. What is returned to be raised is a class that no client library repeats the request for."""
        self.failure, self.detail = failure, detail
        return httpx.ReadError(f"{failure} {detail}".strip())


_exchange: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


@contextmanager
def recorded() -> Iterator[Exchange]:
    """Note what the requests made inside meet, in tasks and threads started from here too."""
    exchange = Exchange()
    token = _exchange.set(exchange)
    try:
        yield exchange
    finally:
        _exchange.reset(token)


class GuardedTransport(httpx.AsyncBaseTransport):
    """Sends each request over a connection of its own: one that waits minutes for a model gains nothing from a pool."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = _exchange.get() or Exchange()
        _begin(exchange, request)
        try:
            await asyncio.get_running_loop().run_in_executor(_resolver, refuse_internal, str(request.url))
        except AddressError as exc:
            raise exchange.fail(Failure.ADDRESS, str(exc)) from None
        inner = httpx.AsyncHTTPTransport(verify=_tls(), trust_env=False, proxy=_proxy(request.url))
        try:
            response = await inner.handle_async_request(request)
            _judge(exchange, response)
            response.stream = _Bounded(exchange, response, inner)
            if response.status_code >= 400:
                await _keep_body(exchange, response)
            return response
        except httpx.TransportError as exc:
            await inner.aclose()
            raise _noted(exchange, exc) from None
        except BaseException:
            await inner.aclose()
            raise


class GuardedSyncTransport(httpx.BaseTransport):
    """The same for the few provider types that are asked from a thread."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        exchange = _exchange.get() or Exchange()
        _begin(exchange, request)
        try:
            refuse_internal(str(request.url))
        except AddressError as exc:
            raise exchange.fail(Failure.ADDRESS, str(exc)) from None
        with httpx.HTTPTransport(verify=_tls(), trust_env=False, proxy=_proxy(request.url)) as inner:
            try:
                response = inner.handle_request(request)
                _judge(exchange, response)
                content = bytearray()
                for chunk in response.iter_raw():
                    content += chunk
                    if len(content) > MAX_ANSWER:
                        raise exchange.fail(Failure.TOO_LARGE)
            except httpx.TransportError as exc:
                raise _noted(exchange, exc) from None
        if response.status_code >= 400:
            exchange.body = bytes(content[:MAX_ERROR_BODY])
        return httpx.Response(response.status_code, headers=response.headers, content=bytes(content), request=request)


class _Bounded(httpx.AsyncByteStream):
    """An answer's body that ends in an error where it grows too long, and notes where it breaks off."""

    def __init__(self, exchange: Exchange, response: httpx.Response, inner: httpx.AsyncHTTPTransport) -> None:
        self.exchange, self.stream, self.inner = exchange, response.stream, inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for chunk in self.stream:  # type: ignore[union-attr]
                size += len(chunk)
                if size > MAX_ANSWER:
                    raise self.exchange.fail(Failure.TOO_LARGE)
                yield chunk
        except httpx.TransportError as exc:
            raise _noted(self.exchange, exc) from None

    async def aclose(self) -> None:
        await self.stream.aclose()  # type: ignore[union-attr]
        await self.inner.aclose()


def _begin(exchange: Exchange, request: httpx.Request) -> None:
    exchange.requests += 1
    exchange.host = f"{request.url.scheme}://{request.url.netloc.decode(errors='replace')}"
    exchange.status, exchange.failure, exchange.retry_after, exchange.body = None, None, None, b""
    # A compressed answer could be a thousand times its size on the wire.
    request.headers["accept-encoding"] = "identity"
    timeout = request.extensions.setdefault("timeout", {})
    timeout["connect"] = min(timeout.get("connect") or CONNECT_TIMEOUT, CONNECT_TIMEOUT)


def _judge(exchange: Exchange, response: httpx.Response) -> None:
    exchange.status = response.status_code
    exchange.retry_after = _seconds(response.headers.get("retry-after", ""))
    if 300 <= response.status_code < 400:
        raise exchange.fail(Failure.REDIRECT)
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise exchange.fail(Failure.ENCODED)


def _noted(exchange: Exchange, exc: httpx.TransportError) -> httpx.TransportError:
    if exchange.failure:  # noted already, where it was raised
        return exc
    if isinstance(exc, httpx.ConnectTimeout | httpx.ConnectError):
        slow = isinstance(exc, httpx.ConnectTimeout)
        return exchange.fail(Failure.CONNECT, "no answer within 10 s" if slow else str(exc))
    if isinstance(exc, httpx.TimeoutException):
        exchange.failure = Failure.TIMEOUT
        return exc
    return exchange.fail(Failure.BROKEN)


async def _keep_body(exchange: Exchange, response: httpx.Response) -> None:
    """Read an error's body, at most its head, and leave it in the response for the client library."""
    content = b""
    async for chunk in response.stream:  # type: ignore[union-attr]
        content += chunk
        if len(content) > MAX_ERROR_BODY:
            break
    await response.stream.aclose()  # type: ignore[union-attr]
    exchange.body = content[:MAX_ERROR_BODY]
    response.stream = httpx.ByteStream(exchange.body)
    response.headers.pop("content-length", None)
    response.headers.pop("transfer-encoding", None)


def _seconds(retry_after: str) -> float | None:
    """A Retry-After header in seconds, whichever of its two forms it has; None where it has neither."""
    try:
        seconds = float(retry_after) if not retry_after.endswith("GMT") else _until(retry_after)
    except (ValueError, TypeError, OverflowError):
        return None
    return seconds if 0 <= seconds < 86_400 else None


def _until(date: str) -> float:
    return max(0.0, parsedate_to_datetime(date).timestamp() - time())


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


def _proxy(url: httpx.URL) -> str | None:
    """The proxy of the environment (HTTPS_PROXY, NO_PROXY …) for this address; never for this machine itself."""
    if url.host in ("localhost", "::1") or url.host.startswith("127.") or urllib.request.proxy_bypass(url.host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


def told(body: bytes) -> str:
    """What an error's body says to people: the usual JSON's message, else its text. Not yet safe to show."""
    text = body.decode("utf-8", "replace").strip()
    try:
        parsed: Any = json.loads(text)
    except (ValueError, RecursionError):
        return "" if text[:1] == "<" else text
    error = parsed.get("error", parsed) if isinstance(parsed, dict) else parsed
    message = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return message if isinstance(message, str) else ""
