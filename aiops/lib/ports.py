"""Whether an address can be listened on, and in plain words why not. Standard library only."""

from __future__ import annotations

import errno
import socket


def listening_problem(host: str, port: int) -> str | None:
    """None where a server could listen now, else the sentence for a person."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen()
    except OSError as exc:
        return explain(host, port, exc)
    return None


def explain(host: str, port: int, exc: OSError) -> str:
    if exc.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is in use, perhaps by another start of the console: stop that, or set PORT to a free one."
    if exc.errno == errno.EACCES:
        return f"Port {port} is for root alone: set PORT to 1024 or more, and put a reverse proxy in front."
    return f"The server cannot listen on {host}, port {port}: {exc.strerror or exc}."


def answers(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
