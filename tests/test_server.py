"""The web server itself: limits in size and time, stopping, and what it costs. Through real sockets."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.live import ROOT, Console, wait_until

MiB = 1024 * 1024


def connected(console: Console) -> socket.socket:
    return socket.create_connection(("127.0.0.1", console.port), timeout=30)


def answer_to(sending: socket.socket) -> bytes:
    """What the server says until it closes its side."""
    received = b""
    while part := sending.recv(65536):
        received += part
    return received


def memory(console: Console) -> int:
    """Resident bytes of the web process."""
    status = Path(f"/proc/{console.server_pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def head(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()


@pytest.mark.parametrize("path", ["/webhook/alerts", "/webhook/alerts/", "/login/"])
@pytest.mark.parametrize("chunk", [None, MiB, 1024])
def test_a_body_bomb_is_refused_without_filling_the_memory(shared_web: Console, path: str, chunk: int | None) -> None:
    shared_web.get("/healthz")
    before, size = memory(shared_web), 300 * MiB
    with connected(shared_web) as sending:
        if chunk is None:
            sending.sendall(head(path, f"Content-Length: {size}"))
            piece = b"x" * MiB
        else:
            sending.sendall(head(path, "Transfer-Encoding: chunked"))
            piece = (b"%x\r\n" % chunk + b"x" * chunk + b"\r\n") * (MiB // chunk)
        largest = before
        for _ in range(300):
            sending.sendall(piece)
            largest = max(largest, memory(shared_web))
        answer = answer_to(sending)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert ("32 MiB" if "webhook" in path else "3 MiB").encode() in answer
    assert largest - before < 20 * MiB
    assert shared_web.get("/healthz").status == 200


def test_a_body_at_the_limit_is_let_through(shared_web: Console) -> None:
    assert shared_web.post("/login/", b"x" * (3 * MiB)).status == 403  # Django has seen it: no CSRF token
    assert shared_web.post("/login/", b"x" * (3 * MiB + 1)).status == 413


def test_a_refusal_comes_before_the_body_when_the_sender_waits_for_it(shared_web: Console) -> None:
    with connected(shared_web) as sending:
        sending.sendall(head("/webhook/alerts", f"Content-Length: {300 * MiB}", "Expect: 100-continue"))
        assert answer_to(sending).startswith(b"HTTP/1.1 413 ")


def test_many_large_bodies_at_once_do_not_fill_the_memory_either(shared_web: Console) -> None:
    senders = [connected(shared_web) for _ in range(12)]
    try:
        for sending in senders:  # none is complete: the server has to keep what it has
            sending.sendall(head("/webhook/alerts", f"Content-Length: {32 * MiB}"))
            sending.sendall(b"x" * (31 * MiB))
        wait_until(lambda: "Too much is being sent at once" in shared_web.log(), "a refusal", shared_web.log)
        assert shared_web.get("/healthz").status == 200
    finally:
        for sending in senders:
            sending.close()
    wait_until(lambda: shared_web.post("/login/", b"x").status == 403, "room again", shared_web.log)


def test_slow_headers_and_slow_bodies_are_cut_off(live: Console) -> None:
    live.start_server(DJANGO_SETTINGS_MODULE="tests.server_settings")
    with connected(live) as headers, connected(live) as body:
        headers.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        body.sendall(head("/login/", "Content-Length: 100"))
        drip(headers, body)
        assert answer_to(headers).startswith(b"HTTP/1.1 408 ")
        assert answer_to(body).startswith(b"HTTP/1.1 408 ")
    assert live.get("/healthz").status == 200


def drip(*connections: socket.socket) -> None:
    """A byte now and then, as a slow loris does: an idle timeout would never end it."""
    for _ in range(20):
        for sending in connections:
            sending.sendall(b"x")
        time.sleep(0.1)


def test_a_connection_is_kept_for_the_next_request(shared_web: Console) -> None:
    with connected(shared_web) as sending:
        for _ in range(3):
            sending.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b""
            while not answer.endswith(b"ok\n"):
                answer += sending.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"\r\nserver:" not in answer.lower()


def test_it_answers_what_is_under_way_at_a_stop_and_accepts_nothing_more(web: Console) -> None:
    with connected(web) as sending, connected(web) as idle:
        sending.sendall(head("/login/", "Content-Length: 10") + b"12345")
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
        os.kill(web.server_pid, signal.SIGTERM)
        assert idle.recv(65536) == b""
        wait_until(lambda: refused(web), "the port to close", web.log)
        sending.sendall(b"67890")
        answer = answer_to(sending)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert web.stop_server() == 0


def test_a_stop_closes_websockets_so_that_pages_connect_again(live: Console) -> None:
    live.start_server(DJANGO_SETTINGS_MODULE="tests.server_settings")
    with connect(f"ws://127.0.0.1:{live.port}/") as socket_:
        socket_.send("hello")
        assert socket_.recv() == "hello"
        os.kill(live.server_pid, signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            socket_.recv(timeout=30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
    assert live.stop_server() == 0


def refused(console: Console) -> bool:
    try:
        connected(console).close()
    except ConnectionRefusedError:
        return True
    return False


def test_it_says_in_one_sentence_that_the_port_is_in_use(live: Console) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", live.port))
        other.listen()
        live.start_server(wait=False)
        assert live.wait_for_server_to_end() == 1
    assert live.log("serve").count("\n") == 1
    assert f"Port {live.port} on 127.0.0.1 is in use" in live.log("serve")


def test_forwarded_headers_of_strangers_are_ignored(shared_web: Console) -> None:
    shared_web.get("/healthz", headers={"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"})
    moved = shared_web.get(
        "/admin/login/", headers={"Daphne-Root-Path": "/elsewhere", "X-Forwarded-Host": "evil.example"}
    )
    assert "elsewhere" not in str(moved.headers)
    assert "evil" not in str(moved.headers)
    assert "203.0.113.9" not in shared_web.log()


def test_many_pages_at_once_take_few_threads_and_little_memory(shared_web: Console) -> None:
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: shared_web.get("/login/").status, range(200)))
    assert set(answers) == {200}
    status = Path(f"/proc/{shared_web.server_pid}/status").read_text()
    assert int(re.search(r"Threads:\s+(\d+)", status)[1]) < 60  # type: ignore[index]
    assert memory(shared_web) < 150 * MiB


def test_the_web_process_never_imports_litellm() -> None:
    program = (
        "import sys, aiops.asgi, aiops.server; from django.urls import get_resolver; get_resolver().url_patterns; "
        "sys.exit(any(name.split('.')[0] == 'litellm' for name in sys.modules))"
    )
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "aiops.settings"}
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=False).returncode == 0
