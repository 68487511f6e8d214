"""A real sshd on loopback for the length of a test, unprivileged as far as it can be."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh
import pytest


@dataclass(frozen=True)
class Sshd:
    port: int
    public_key: str  # type and base64, as in known_hosts
    fingerprint: str


def program() -> str:
    """Where sshd is, or a skip that says what is missing."""
    found = os.environ.get("AIOPS_TEST_SSHD") or shutil.which("sshd", path=os.defpath + ":/usr/sbin")
    if not found:
        pytest.skip("needs sshd (Debian: apt install openssh-server, or AIOPS_TEST_SSHD)")
    return found


@contextmanager
def running(folder: Path) -> Iterator[Sshd]:
    binary, key = program(), folder / "host_key"
    made = asyncssh.generate_private_key("ssh-ed25519")
    made.write_private_key(str(key))
    key.chmod(0o600)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "ListenAddress": "127.0.0.1",
        "Port": port,
        "HostKey": key,
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
    }
    config = folder / "sshd_config"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    process = subprocess.Popen([binary, "-D", "-e", "-f", config], stderr=(folder / "log").open("wb"))
    try:
        _wait(process, port, folder / "log")
        yield Sshd(port, " ".join(made.export_public_key().decode().split()[:2]), made.get_fingerprint())
    finally:
        process.terminate()
        process.wait(10)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(100):
        if process.poll() is not None:
            pytest.fail(f"sshd ended: {log.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail("sshd did not listen within 5 seconds")
