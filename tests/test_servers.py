"""Servers: made by script or in the admin; secrets go in and stay in, and never follow to another host."""

from __future__ import annotations

import socket
import threading
from io import StringIO
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import User
from aiops.lib.secrets import reveal
from audit.models import AuditEntry
from infra.models import Server
from infra.ssh import SSHError, fetch_host_key
from tests import sshd

ADMIN = "/admin/infra/server/"
KEY = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
pytestmark = pytest.mark.django_db


def create(*options: str, name: str = "web-1", host: str = "web-1.example.org") -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("create_server", name, "--host", host, "--username", "ops", *options, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(KEY)
    return path


@pytest.fixture
def server(key_file: Path) -> Server:
    create("--key-file", str(key_file))
    server = Server.objects.get()
    server.host_key = "ssh-ed25519 AAAA"
    server.save()
    return server


def form(server: Server | None = None, **changed: Any) -> dict[str, Any]:
    values = {
        "name": "web-1",
        "hostname": "web-1.example.org",
        "port": 22,
        "username": "ops",
        "auth_type": "key",
        "environment": "",
    }
    if server:
        values |= {name: getattr(server, name) for name in values}
    return {**values, "ssh_key": "", "password": "", **changed}


# The command


def test_a_script_creates_a_server_once(key_file: Path) -> None:
    out, _ = create("--key-file", str(key_file), "--port", "2222", "--environment", "production")
    server = Server.objects.get()
    assert "ops@web-1.example.org, port 2222" in out
    assert (server.port, server.environment, server.auth_type, server.host_key) == (2222, "production", "key", "")
    assert reveal(server, "ssh_key_encrypted") == KEY.strip() + "\n"
    entry = AuditEntry.objects.get(action="create_server")
    assert (entry.username, entry.resource_id) == ("system", server.pk)
    assert "PRIVATE" not in str(entry.details_json)
    out, err = create("--key-file", str(key_file), host="elsewhere.example.org")
    assert out == ""
    assert "nothing was changed" in err
    assert "hostname is web-1.example.org" in err
    assert (Server.objects.count(), AuditEntry.objects.count()) == (1, 1)


def test_a_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_WEB", "s3cret pass")
    create("--password-env", "SECRET_OF_WEB")
    server = Server.objects.get()
    assert (server.auth_type, reveal(server, "password_encrypted")) == ("password", "s3cret pass")


@pytest.mark.parametrize(
    ("options", "host", "says"),
    [
        (["--password-env", "NOT_SET_AT_ALL"], "web", "NOT_SET_AT_ALL is not set"),
        (["--key-file", "/nonexistent"], "web", "No such file"),
        (["--password-env", "PATH"], "http://web/", "host name or an address alone"),
        (["--password-env", "PATH"], "169.254.169.254", "metadata"),
        (["--password-env", "PATH"], "0xa9fea9fe", "metadata"),
        (["--password-env", "PATH"], "::ffff:169.254.169.254", "metadata"),
        (["--password-env", "PATH", "--port", "0"], "web", "port"),
        (["--password-env", "PATH", "--port", "99999"], "web", "port"),
    ],
)
def test_what_cannot_be_right_is_refused_with_a_sentence(options: list[str], host: str, says: str) -> None:
    with pytest.raises(CommandError, match=says):
        create(*options, host=host)
    assert not Server.objects.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("PuTTY-User-Key-File-3: ssh-ed25519", "PuTTY"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@here", "public key"),
        ("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----", "certificate"),
        ("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n-----END RSA PRIVATE KEY-----", "passphrase"),
        ("hunter2", "no private key"),
        (KEY[:100], "no private key"),
    ],
)
def test_what_is_no_private_key_is_refused_with_a_sentence(
    carol_client: Client, tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    with pytest.raises(CommandError, match=says):
        create("--key-file", str(path))
    page = carol_client.post(f"{ADMIN}add/", form(ssh_key=text)).content.decode()
    assert says in page
    assert text not in page
    assert not Server.objects.exists()


@pytest.mark.lab
def test_it_pins_the_key_that_a_real_server_shows(tmp_path: Path, key_file: Path) -> None:
    with sshd.running(tmp_path) as real:
        out, _ = create("--key-file", str(key_file), "--port", str(real.port), "--pin-host-key", host="127.0.0.1")
        log = (tmp_path / "log").read_text()
    server = Server.objects.get()
    assert server.host_key == real.public_key
    assert server.fingerprint == f"ssh-ed25519 {real.fingerprint}"
    assert real.fingerprint in out
    assert AuditEntry.objects.get().details_json["host_key"] == server.fingerprint
    assert "Accepted" not in log
    assert "Failed" not in log, "nobody tried to sign in"


def test_a_server_that_does_not_answer_is_not_created(key_file: Path, free_port: int) -> None:
    with pytest.raises(CommandError, match="cannot be reached: Connection refused"):
        create("--key-file", str(key_file), "--port", str(free_port), "--pin-host-key", host="127.0.0.1")
    assert not Server.objects.exists()


def test_a_server_that_keeps_silent_or_talks_nonsense_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(SSHError, match="does not greet like an SSH server|did not finish"):
            fetch_host_key("127.0.0.1", silent.getsockname()[1], timeout=0.3)
        threading.Thread(target=_greet, args=(silent, b"HTTP/1.1 400 Bad Request\r\n\r\n"), daemon=True).start()
        with pytest.raises(SSHError, match="does not greet like an SSH server"):
            fetch_host_key("127.0.0.1", silent.getsockname()[1], timeout=1)
    with pytest.raises(SSHError, match="not known to the resolver"):
        fetch_host_key("no-such-host.invalid", 22)


def _greet(listener: socket.socket, greeting: bytes) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.sendall(greeting)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# The admin


def test_an_admin_creates_a_server_and_never_sees_the_secret_again(carol: User, carol_client: Client) -> None:
    response = carol_client.post(f"{ADMIN}add/", form(ssh_key=KEY.replace("\n", "\r\n")))
    assert response.status_code == 302
    server = Server.objects.get()
    assert (reveal(server, "ssh_key_encrypted"), server.created_by) == (KEY.strip() + "\n", carol)
    page = carol_client.get(f"{ADMIN}{server.pk}/change/").content.decode()
    assert "One is stored" in page
    assert server.ssh_key_encrypted not in page
    assert "PRIVATE KEY-----" not in page


def test_a_server_without_a_secret_or_with_the_other_one_is_refused(carol_client: Client) -> None:
    assert "without it nobody can sign in" in carol_client.post(f"{ADMIN}add/", form()).content.decode()
    page = carol_client.post(f"{ADMIN}add/", form(ssh_key=KEY, password="pass-not-shown")).content.decode()
    assert "leave this empty" in page
    assert "pass-not-shown" not in page


@pytest.mark.parametrize("changed", [{"hostname": "evil.example"}, {"port": 2222}, {"username": "root"}])
def test_what_moves_leaves_its_secret_and_host_key_behind(
    server: Server, carol_client: Client, changed: dict[str, Any]
) -> None:
    response = carol_client.post(f"{ADMIN}{server.pk}/change/", form(server, **changed), follow=True)
    assert "the old secret and the host key were cleared; enter it again" in response.content.decode()
    server.refresh_from_db()
    assert (server.ssh_key_encrypted, server.password_encrypted, server.host_key) == (None, None, "")
    assert next(iter(changed)) in AuditEntry.objects.get(action="change_server").details_json["fields"]


def test_what_moves_with_a_new_secret_keeps_the_new_one_only(server: Server, carol_client: Client) -> None:
    new = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    carol_client.post(f"{ADMIN}{server.pk}/change/", form(server, hostname="web-2", ssh_key=new))
    server.refresh_from_db()
    assert (reveal(server, "ssh_key_encrypted"), server.host_key) == (new.strip() + "\n", "")


def test_other_changes_keep_the_secret_and_are_recorded_without_it(server: Server, carol_client: Client) -> None:
    carol_client.post(f"{ADMIN}{server.pk}/change/", form(server, environment="staging"))
    server.refresh_from_db()
    assert (bool(server.ssh_key_encrypted), server.host_key) == (True, "ssh-ed25519 AAAA")
    carol_client.post(f"{ADMIN}{server.pk}/change/", form(server, auth_type="password", password="another-secret"))
    server.refresh_from_db()
    assert (server.ssh_key_encrypted, reveal(server, "password_encrypted")) == (None, "another-secret")
    entries = AuditEntry.objects.filter(action="change_server").order_by("sequence")
    assert [entry.details_json["fields"] for entry in entries] == [["environment"], ["auth_type", "password"]]
    assert "another-secret" not in str([entry.details_json for entry in entries])


def test_a_host_key_can_be_forgotten(server: Server, carol_client: Client) -> None:
    carol_client.post(f"{ADMIN}{server.pk}/change/", form(server, forget_host_key="on"))
    server.refresh_from_db()
    assert (server.host_key, bool(server.ssh_key_encrypted)) == ("", True)


def test_nothing_about_a_server_changes_unrecorded(
    server: Server, carol_client: Client, broken_audit: None, key_file: Path
) -> None:
    carol_client.raise_request_exception = False
    assert carol_client.post(f"{ADMIN}{server.pk}/change/", form(server, environment="x")).status_code == 500
    assert carol_client.post(f"{ADMIN}{server.pk}/delete/", {"post": "yes"}).status_code == 500
    with pytest.raises(Exception, match="audit_log"):
        create("--key-file", str(key_file), name="web-2")
    server.refresh_from_db()
    assert (server.environment, Server.objects.count()) == ("", 1)
