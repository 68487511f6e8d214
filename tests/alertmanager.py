"""A real Alertmanager on loopback, as Debian packages it, that sends to a console of the test's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.live import free_port, wait_until

CONFIGURATION = """
route:
  receiver: aiops
  group_by: [alertname, cluster]
  group_wait: 200ms
  group_interval: 500ms
  repeat_interval: 4h
receivers:
  - name: aiops
    webhook_configs:
      - url: {url}/webhook/alerts
        send_resolved: true
        http_config:
          authorization:
            credentials: {token}
"""


@dataclass(frozen=True)
class Alertmanager:
    url: str

    def post(self, labels: dict[str, str], *, minutes: float = 60, **annotations: str) -> None:
        """Fire an alert that ends by itself after `minutes`; a negative number resolves it."""
        now = datetime.now(UTC)
        alert: dict[str, Any] = {
            "labels": labels,
            "annotations": annotations,
            "startsAt": (now - timedelta(minutes=5)).isoformat(),
            "endsAt": (now + timedelta(minutes=minutes)).isoformat(),
            "generatorURL": "http://prometheus.example:9090/graph",
        }
        request = urllib.request.Request(
            f"{self.url}/api/v2/alerts", json.dumps([alert]).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=5)


def program() -> str:
    found = os.environ.get("AIOPS_TEST_ALERTMANAGER") or shutil.which("prometheus-alertmanager")
    if not found:
        pytest.skip("prometheus-alertmanager is not installed (Debian: prometheus-alertmanager)")
    return found


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Callable[[str, str], Alertmanager]]:
    """Start an Alertmanager: `alertmanager(console_url, token)`. It ends with the test."""
    started = []

    def start(console_url: str, token: str) -> Alertmanager:
        port = free_port()
        (tmp_path / "alertmanager.yml").write_text(CONFIGURATION.format(url=console_url, token=token))
        command = [
            program(), f"--config.file={tmp_path}/alertmanager.yml", f"--storage.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
        ]  # fmt: skip
        log = (tmp_path / "alertmanager.log").open("wb")
        started.append(subprocess.Popen(command, stdout=log, stderr=log))
        wait_until(lambda: _ready(port), "the Alertmanager")
        return Alertmanager(f"http://127.0.0.1:{port}")

    yield start
    for process in started:
        process.terminate()
        process.wait(10)


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False
