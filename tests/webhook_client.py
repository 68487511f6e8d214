"""A sender: posts to the webhook's ASGI callable, in the test's own thread and so in its transaction."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from incidents.models import AlertSource
from incidents.webhook import Webhook
from tests import factories

T = TypeVar("T")
PAYLOADS = Path(__file__).parent / "payloads"
FIRED = "2026-11-23T10:00:00Z"


def payload(name: str) -> dict[str, Any]:
    """A captured notification, such as "alertmanager-01-firing"."""
    return json.loads((PAYLOADS / f"{name}.json").read_text())


def alert(
    status: str = "firing", *, starts: str | None = FIRED, ends: str | None = None, **fields: Any
) -> dict[str, Any]:
    """One alert of a notification; `labels` are merged into the defaults."""
    labels = {"alertname": "HighCPU", "instance": "web-1:9100", "job": "node", "severity": "critical"}
    made = {
        "status": status,
        "labels": {**labels, **fields.pop("labels", {})},
        "annotations": {"summary": "CPU above 95%"},
        "startsAt": starts,
        "endsAt": ends or ("0001-01-01T00:00:00Z" if status == "firing" else "2026-11-23T10:05:00Z"),
        "generatorURL": "http://prometheus.example/graph",
        "fingerprint": "00000000000000f1",
        **fields,
    }
    return {name: value for name, value in made.items() if value is not None}


def notification(*alerts: Any, **fields: Any) -> dict[str, Any]:
    return {
        "version": "4",
        "groupKey": '{}:{alertname="HighCPU"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "aiops",
        "groupLabels": {"alertname": "HighCPU"},
        "commonLabels": {"alertname": "HighCPU"},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example:9093",
        "alerts": list(alerts),
        **fields,
    }


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def _at_once(function: Callable[[], T], *, large: bool, seconds: float) -> T:
    return function()


def drive(coroutine: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
    """Run a coroutine that never has to wait, without an event loop: Django refuses its database inside of one."""
    try:
        coroutine.send(None)  # type: ignore[union-attr]
    except StopIteration as stop:
        return stop.value
    raise AssertionError("The callable waited for something.")


class Sender:
    """Posts as one source. `post` takes a notification, or a body in bytes to be sent as it is."""

    def __init__(self, source: AlertSource | None = None, token: str = "") -> None:
        if source is None:
            source, token = factories.source_with_token()
        self.source, self.token = source, token
        self.application = Webhook(_at_once)

    def post(self, body: Any, **fields: Any) -> Response:
        return self.request("POST", body, **fields)

    def send(self, *alerts: Any, **fields: Any) -> Response:
        """Post one notification of `alerts` and insist on 200."""
        response = self.post(notification(*alerts, **fields))
        assert response.status == 200, response.body
        return response

    def request(
        self,
        method: str,
        body: Any = b"",
        *,
        path: str = "/webhook/alerts",
        headers: dict[str, str] | None = None,
        chunk: int = 65536,
    ) -> Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"authorization": f"Bearer {self.token}", "content-type": "application/json", **(headers or {})}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in sent.items() if value],
            "client": ("192.0.2.7", 40000),
        }
        return drive(self._exchange(scope, content, chunk))

    async def _exchange(self, scope: dict[str, Any], content: bytes, chunk: int) -> Response:
        parts = [content[at : at + chunk] for at in range(0, len(content), chunk)] or [b""]
        messages = iter(
            {"type": "http.request", "body": part, "more_body": number < len(parts)}
            for number, part in enumerate(parts, 1)
        )
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return next(messages)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self.application(scope, receive, send)
        start, *rest = sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Response(start["status"], headers, b"".join(message.get("body", b"") for message in rest))
