"""The load: eight keep-alive connections that post as fast as they are answered, and what they saw."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from zlib import crc32

CONNECTIONS = 8
MARK = "@@@@@@@@"


@dataclass
class Result:
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        """Milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000


def template(alerts: int, kind: str) -> str:
    """One Alertmanager notification of `alerts` alerts, about 1.1 KB each; MARK is where each post's number goes."""
    members = [
        {
            "status": "firing",
            "labels": {
                "alertname": f"Bench{kind}",
                "cluster": "prod-eu-1",
                "namespace": "shop",
                "pod": f"checkout-7d9f8b6c5-{index:05d}-{MARK}",
                "container": "checkout",
                "instance": f"10.2.{index % 250}.17:8080",
                "job": "kubernetes-pods",
                "severity": "warning",
                "team": "payments",
                "prometheus": "monitoring/k8s",
            },
            "annotations": {
                "summary": "Container is using more than 90 % of its memory limit",
                "description": "The container checkout of the pod has used more than 90 % of its limit for 15 minutes. "
                * 3,
                "runbook_url": "https://runbooks.example.org/container-memory",
            },
            "startsAt": "2026-11-23T18:01:38.123Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "https://prometheus.example.org/graph?g0.expr=container_memory_working_set_bytes&g0.tab=1",
            "fingerprint": f"{crc32(f'{kind}{index}'.encode()):08x}{MARK}",  # Alertmanager always sends one
        }
        for index in range(alerts)
    ]
    return json.dumps(
        {
            "version": "4",
            "groupKey": f'{{}}:{{alertname="Bench{kind}", post="{MARK}"}}',
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "aiops",
            "groupLabels": {"alertname": f"Bench{kind}"},
            "commonLabels": {"alertname": f"Bench{kind}"},
            "commonAnnotations": {},
            "externalURL": "https://alertmanager.example.org",
            "alerts": members,
        }
    )


async def post(port: int, path: str, token: str, body: str, posts: int, *, repeat: bool) -> Result:
    """Send `posts` notifications over CONNECTIONS connections: all different, or the same few again and again."""
    result = Result()
    numbers = (number % CONNECTIONS if repeat else number for number in range(posts))
    shared = iter(numbers)
    started = time.perf_counter()
    await asyncio.gather(*(_sender(port, path, token, body, shared, result, lane) for lane in range(CONNECTIONS)))
    result.seconds = time.perf_counter() - started
    return result


async def _sender(
    port: int, path: str, token: str, body: str, numbers: Iterator[int], result: Result, lane: int
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in numbers:
        data = body.replace(MARK, f"{number:08d}").encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        begun = time.perf_counter()
        writer.write(head.encode() + data)
        status = await read_response(reader)
        result.latencies.append(time.perf_counter() - begun)
        result.statuses[status] += 1
    writer.close()


async def read_response(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), None)
    if length is not None:
        await reader.readexactly(length)
    else:
        while (await reader.readuntil(b"\r\n")) != b"0\r\n":
            pass
        await reader.readexactly(2)
    return int(lines[0].split()[1])
