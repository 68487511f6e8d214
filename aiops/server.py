"""The web server: the only module that knows daphne and Twisted.

daphne keeps a request's body whole before an application sees any of it, and waits for ever for a slow sender. Here bodies are capped
as they arrive, the time for headers and body is limited, and a stop lets the requests in flight finish.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakSet

import structlog
from daphne.http_protocol import WebRequest
from daphne.server import Server as DaphneServer
from daphne.server import twisted_loop
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from django.conf import settings
from twisted.internet import reactor
from twisted.internet.error import CannotListenError
from twisted.logger import globalLogBeginner
from twisted.web import http

from aiops.lib.ports import explain

MiB = 1024 * 1024
WEBHOOK_PATHS = (b"/webhook/alerts", b"/webhook/alerts/")
LARGEST_WEBHOOK_BODY = 32 * MiB
LARGEST_BODY = 3 * MiB
BODIES_AT_ONCE = 256 * MiB  # of all requests together, so that many large ones cannot exhaust the memory either
HEADER_SECONDS = 10.0  # from a request's first byte to the end of its headers
BODY_SECONDS = 60.0  # from there to the end of its body
LINGER_SECONDS = 10.0  # for the sender of a refused request to notice; what it still sends is thrown away
IDLE_SECONDS = 75.0  # between two requests of a connection
DRAIN_SECONDS = 10.0  # for requests in flight at a stop
OTHERS = 7  # database connections that the webhook and the health checks may take besides the pages
UNLIMITED_PATHS = ("/webhook/alerts", "/webhook/alerts/", "/healthz", "/readyz", "/metrics")
QUIET_PATHS = ("/static/", "/healthz", "/readyz", "/metrics")

logger = structlog.stdlib.get_logger(__name__)
Application = Callable[..., Any]


class ServerError(Exception):
    """The server cannot start; the message says why and what to do."""


class Request(WebRequest):
    """daphne's request, with its body counted while it arrives."""

    error_template = "%(title)s\n%(body)s\n"
    received = 0

    def handleContentChunk(self, data: bytes) -> None:
        if self.channel.refused:
            return
        self.received += len(data)
        self.channel.factory.body_bytes += len(data)
        if self.received > self.channel.limit():
            self.channel.refuse(413, "Payload Too Large", self.channel.too_large())
        elif self.channel.factory.body_bytes > BODIES_AT_ONCE:
            self.channel.refuse(503, "Service Unavailable", "Too much is being sent at once. Try again in a moment.")
        else:
            super().handleContentChunk(data)

    def release(self) -> None:
        """Stop counting this body among those held in memory."""
        if self.channel is not None:
            self.channel.factory.body_bytes -= self.received
        self.received = 0

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """As Twisted's, less its own parsing of forms: Django parses them, and with limits."""
        self.content.seek(0)
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.split(b"?", 1)[0]
        self.args: dict[bytes, list[bytes]] = {}
        self.process()

    def process(self) -> Any:
        self.requestHeaders.removeHeader(b"daphne-root-path")  # from outside it would move the whole site
        channel = self.channel
        result = super().process()
        if self.transport is None:
            channel.factory.channels.discard(channel)  # a websocket now, which has its own time limits
        return result

    def finish(self) -> None:
        self.release()
        super().finish()

    def connectionLost(self, reason: Any) -> None:
        self.release()
        super().connectionLost(reason)


class Channel(http.HTTPChannel):
    """One connection: limits in size and absolute ones in time, and a refusal that the sender gets to read."""

    requestFactory = Request
    factory: Factory
    _deadline: float | None = None
    _expects = "headers"
    refused = False

    def connectionMade(self) -> None:
        self.factory.channels.add(self)
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        if self.refused:
            return
        if self._deadline is None and not self._handlingRequest:
            self._expect("headers", HEADER_SECONDS)
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        if not self.refused:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        if not self.refused:
            super().rawDataReceived(data)

    def allHeadersReceived(self) -> None:
        if self.length is not None and self.length > self.limit():
            self.refuse(413, "Payload Too Large", self.too_large())
            return
        self._expect("body", BODY_SECONDS)
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        if self.refused:
            return
        self._deadline = None
        super().allContentReceived()

    def connectionLost(self, reason: Any) -> None:
        self.factory.channels.discard(self)
        super().connectionLost(reason)

    def limit(self) -> int:
        """The most bytes that the body of the current request may have."""
        return LARGEST_WEBHOOK_BODY if self._path.split(b"?", 1)[0] in WEBHOOK_PATHS else LARGEST_BODY

    def too_large(self) -> str:
        return f"The body is larger than {self.limit() // MiB} MiB, the most that is accepted here."

    def refuse(self, status: int, reason: str, sentence: str) -> None:
        """Answer at once, keep nothing of what is still sent, and close once the sender had time to read the answer."""
        body = f"{sentence}\n".encode()
        head = (
            f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        peer, path = self.transport.getPeer(), getattr(self, "_path", b"").decode("ascii", "replace")
        logger.warning("request refused", status=status, reason=sentence, client=peer.host, path=path.split("?", 1)[0])
        self.end()

    def end(self) -> None:
        """Read no more requests; the connection closes when its other end does, or after a while."""
        self.refused = True
        self._expect("nothing", LINGER_SECONDS)
        for request in self.requests:
            request.release()
            if request.content is not None:
                request.content.close()
        if hasattr(self.transport, "loseWriteConnection"):
            self.transport.loseWriteConnection()

    def _expect(self, what: str, seconds: float) -> None:
        self._expects, self._deadline = what, time.monotonic() + seconds

    def check_deadline(self, now: float) -> None:
        if self._deadline is None or now < self._deadline:
            return
        if self.refused:
            self.transport.abortConnection()
        else:
            self.refuse(408, "Request Timeout", f"The request's {self._expects} took too long to arrive.")

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer here."""
        return not self.refused and (self._handlingRequest or self._deadline is not None)

    def close_when_idle(self) -> None:
        """Answer what is under way, then close instead of waiting for another request."""
        if self.busy:
            self.persistent = 0
            for request in self.requests:
                if not request.startedWriting:
                    request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        else:
            self.transport.loseConnection()

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        if not self.factory.draining:
            return super().checkPersistence(request, version)
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return False


class Factory(http.HTTPFactory):
    """Makes the channels, and looks after their deadlines: one clock for all, since most requests never come near one."""

    protocol = Channel
    draining = False
    body_bytes = 0

    def __init__(self, server: Server) -> None:
        super().__init__(timeout=IDLE_SECONDS)
        self.server = server
        self.channels: WeakSet[Channel] = WeakSet()

    def check_deadlines(self) -> None:
        now = time.monotonic()
        for channel in list(self.channels):
            channel.check_deadline(now)
        reactor.callLater(0.5, self.check_deadlines)

    def log(self, request: Any) -> None:
        """Nothing: the access line comes from daphne, which also knows websockets."""


class Server(DaphneServer):
    """daphne's server on our channels. `run` returns after a stop by SIGTERM or SIGINT."""

    def __init__(self, application: Application, host: str, port: int, on_ready: Callable[[str], None]) -> None:
        self.pages = pages_at_once()
        super().__init__(
            limited(application, self.pages),
            endpoints=[f"tcp:{port}"],  # daphne refuses none; `run` listens by itself
            action_logger=log_access,
            request_buffer_size=MiB,
            server_name="",
            verbosity=0,
        )
        self.host, self.port, self.on_ready = host, port, on_ready

    def run(self) -> None:
        self.connections: dict[Any, dict[str, Any]] = {}
        self.http_factory = Factory(self)
        self.ws_factory = WebSocketFactory(self, server=self.server_name)
        self.ws_factory.setProtocolOptions(
            autoPingTimeout=self.ping_timeout,
            openHandshakeTimeout=self.websocket_handshake_timeout,
            maxMessagePayloadSize=self.websocket_max_message_size,
            maxFramePayloadSize=self.websocket_max_frame_size,
        )
        globalLogBeginner.beginLoggingTo([lambda event: None], redirectStandardIO=False, discardBuffer=True)
        self._listen()
        reactor.callLater(1, self.application_checker)
        reactor.callLater(2, self.timeout_checker)
        reactor.callLater(0.5, self.http_factory.check_deadlines)
        asyncio.set_event_loop(twisted_loop)
        twisted_loop.set_default_executor(ThreadPoolExecutor(self.pages, thread_name_prefix="web"))
        for number in (signal.SIGTERM, signal.SIGINT):
            twisted_loop.add_signal_handler(number, self.drain)
        reactor.run(installSignalHandlers=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # it is ending: being asked again must not make that a failure

    def _listen(self) -> None:
        try:
            self.listening = reactor.listenTCP(self.port, self.http_factory, backlog=512, interface=self.host)
        except CannotListenError as exc:
            raise ServerError(explain(self.host, self.port, exc.socketError)) from exc
        port = self.listening.getHost().port
        shown = f"[{self.host}]" if ":" in self.host else self.host
        reactor.callWhenRunning(self.on_ready, f"http://{shown}:{port}")

    def drain(self) -> None:
        """Accept nothing more, answer what is under way for at most DRAIN_SECONDS, then stop."""
        if self.http_factory.draining:
            return
        self.http_factory.draining = True
        self._stop_when_idle(time.monotonic() + DRAIN_SECONDS)
        self.listening.stopListening()
        for channel in list(self.http_factory.channels):
            channel.close_when_idle()
        for protocol in list(self.connections):
            if isinstance(protocol, WebSocketProtocol) and protocol.state == protocol.STATE_OPEN:
                protocol.sendCloseFrame(code=1001)  # a websocket's "going away": the page connects again

    def _stop_when_idle(self, deadline: float) -> None:
        reactor.callLater(0.05, self._stop_if_idle, deadline)

    def _stop_if_idle(self, deadline: float) -> None:
        running = [details.get("application_instance") for details in self.connections.values()]
        waiting = [application for application in running if application and not application.done()]
        if (waiting or any(channel.busy for channel in self.http_factory.channels)) and time.monotonic() < deadline:
            self._stop_when_idle(deadline)
            return
        for application in waiting:
            application.cancel()
        reactor.callLater(1 if waiting else 0, reactor.stop)  # so that they can put down what they hold


def pages_at_once() -> int:
    """As many as there are database connections for them: each page takes a thread, and that a connection."""
    pool = settings.DATABASES["default"]["OPTIONS"]["pool"]
    return max(2, pool["max_size"] - OTHERS)


def limited(application: Application, pages: int) -> Application:
    """`application` with at most so many pages at once. What waits costs next to nothing."""
    slots = asyncio.Semaphore(pages)

    async def run(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] in UNLIMITED_PATHS:
            await application(scope, receive, send)
            return
        async with slots:
            await application(scope, receive, send)

    return run


def log_access(protocol: str, action: str, details: dict[str, Any]) -> None:
    """One line a request, without the query string: what people search for is theirs."""
    path = str(details.get("path", "")).split("?", 1)[0]
    said = {"client": details.get("client"), "path": path}
    if protocol == "http":
        said |= {
            "method": details["method"],
            "status": details["status"],
            "bytes": details["size"],
            "milliseconds": round(details["time_taken"] * 1000, 1),
        }
    tell = logger.debug if path.startswith(QUIET_PATHS) else logger.info
    tell("request" if protocol == "http" else f"websocket {action}", **said)


def serve(application: Application, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve `application` until SIGTERM or SIGINT. Raises ServerError when it cannot listen; `on_ready` gets the address."""
    Server(application, host, port, on_ready).run()
