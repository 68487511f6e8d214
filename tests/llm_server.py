"""A scripted model server that speaks OpenAI's protocol over real HTTP, well or badly, and remembers what it was asked."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANSWER: dict[str, Any] = {
    "verdict": "problem",
    "summary": "A runaway process holds the CPU of web-1.",
    "hypotheses": [{"cause": "A runaway process", "confidence": "high", "evidence": ["E1"]}],
    "steps": [
        {
            "title": "See which process it is",
            "command": "ps aux --sort=-%cpu | head",
            "risk": "none",
            "reversible": True,
            "why": "It only reads.",
        }
    ],
    "unchecked": ["The process list of the host"],
}


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)  # type: ignore[no-any-return]

    def text(self, role: str) -> str:
        """What was said in this role, all messages of it."""
        return "\n".join(message["content"] for message in self.json["messages"] if message["role"] == role)


@dataclass(frozen=True)
class Reply:
    """What to send. `drip`: seconds between single bytes of the body; `delay`: seconds before anything; `cut`: reset the
    connection after so many bytes of the body; `length`: a Content-Length of one's own."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    delay: float = 0
    drip: float = 0
    cut: int | None = None


def completion(content: Any, *, finish_reason: str = "stop", usage: tuple[int, int] | None = (120, 45)) -> Reply:
    """An ordinary answer; `content` that is no text is sent as JSON text."""
    text = content if isinstance(content, str) or content is None else json.dumps(content)
    body: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-test-2026",
        "choices": [
            {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}},
        ],
    }
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return Reply(json.dumps(body).encode())


def error(status: int, message: str = "", **headers: str) -> Reply:
    body = json.dumps({"error": {"message": message or f"status {status}", "type": "test", "code": None}}).encode()
    return Reply(body, status, {"Content-Type": "application/json", **headers})


def redirect(status: int, location: str) -> Reply:
    return Reply(b"", status, {"Location": location})


def html(status: int = 200) -> Reply:
    return Reply(b"<!doctype html><title>Welcome to nginx!</title>", status, {"Content-Type": "text/html"})


def hang(seconds: float = 30) -> Reply:
    return Reply(delay=seconds)


Script = Reply | Callable[[Asked], Reply]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # a burst of connections is not to be refused


class LLMServer:
    """Answers by script: each reply once in order, the last one for ever. `asked` holds the requests."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._script: list[Script] = [completion(ANSWER)]
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def api_base(self) -> str:
        return f"{self.origin}/v1"

    def answer(self, *script: Script) -> None:
        self._script = list(script)

    def next_reply(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            item = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        return item if isinstance(item, Reply) else item(asked)

    def wait(self, seconds: float) -> None:
        self._closed.wait(seconds)

    def close(self) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()


def _handler(llm: LLMServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = llm.next_reply(Asked(self.command, self.path, dict(self.headers), body))
            with suppress(OSError):
                _send(self, llm, reply)

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _send(handler: BaseHTTPRequestHandler, llm: LLMServer, reply: Reply) -> None:
    if reply.delay:
        llm.wait(reply.delay)
    handler.send_response(reply.status)
    for name, value in reply.headers.items():
        handler.send_header(name, value)
    if "Content-Length" not in reply.headers:
        handler.send_header("Content-Length", str(len(reply.body)))
    handler.end_headers()
    body = reply.body if reply.cut is None else reply.body[: reply.cut]
    for piece in _pieces(body, reply.drip):
        handler.wfile.write(piece)
        handler.wfile.flush()
        if reply.drip:
            llm.wait(reply.drip)
    if reply.cut is not None:
        _reset(handler.connection)


def _pieces(body: bytes, drip: float) -> Sequence[bytes]:
    return [body[i : i + 1] for i in range(len(body))] if drip else [body]


def _reset(connection: socket.socket) -> None:
    time.sleep(0.05)  # what was written arrives first
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextmanager
def serving() -> Iterator[LLMServer]:
    server = LLMServer()
    try:
        yield server
    finally:
        server.close()
