"""What a server's entry may say, and making one from a script."""

from __future__ import annotations

import re

from django.db import transaction

from aiops.lib.addresses import AddressError, refuse_internal
from aiops.lib.secrets import seal
from audit.log import record
from infra.models import Server

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._:%-]*[A-Za-z0-9_.])?|::[A-Za-z0-9:.]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@\\+$-]*")
_PUBLIC_KEY = re.compile(r"(ssh|ecdsa|sk)-\S+ AAAA")


class ServerError(ValueError):
    """An entry that cannot be right; the message is for the person who typed it."""


def check_hostname(text: str) -> str:
    """`text` as a host name or address, or ServerError."""
    host = text.strip().removeprefix("[").removesuffix("]")
    if not _HOST.fullmatch(host):
        raise ServerError("Enter a host name or an address alone, such as web-1.example.org or 192.0.2.10.")
    try:
        refuse_internal(f"http://[{host}]" if ":" in host else f"http://{host}", resolve=False)
    except AddressError as exc:
        raise ServerError(str(exc)) from exc
    return host


def check_username(text: str) -> str:
    """`text` as the name of an account on a server, or ServerError."""
    if not _USER.fullmatch(text.strip()):
        raise ServerError("Enter the account's name on the server alone, without spaces or colons.")
    return text.strip()


def check_key(text: str) -> str:
    """`text` as a private key's file, its lines ended as OpenSSH does, or ServerError saying what it is instead."""
    key = text.strip().replace("\r\n", "\n").replace("\r", "\n")
    if key.startswith("PuTTY-User-Key-File"):
        raise ServerError("This is a PuTTY key: export it in PuTTYgen as an OpenSSH key (Conversions).")
    if _PUBLIC_KEY.match(key) or "BEGIN SSH2 PUBLIC" in key or "BEGIN PUBLIC" in key:
        raise ServerError("This is the public key: the private one is in the file without .pub.")
    if "BEGIN CERTIFICATE" in key:
        raise ServerError("This is a certificate: an SSH private key is needed.")
    if "ENCRYPTED" in key:
        raise ServerError(
            "This key asks for a passphrase: remove it with ssh-keygen -p, the console encrypts it itself."
        )
    if not re.match(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n", key) or "-----END " not in key:
        raise ServerError(
            "This is no private key: the whole file is needed, from the line with BEGIN to the line with END."
        )
    return key + "\n"


@transaction.atomic
def create(server: Server, *, key: str = "", password: str = "") -> None:
    """Store a new server with its one secret, and write it down. The server's fields are checked by the caller."""
    server.auth_type = Server.AuthType.KEY if key else Server.AuthType.PASSWORD
    seal(server, "ssh_key_encrypted", key)
    seal(server, "password_encrypted", password)
    server.save(force_insert=True)
    record(
        "create_server", server,
        name=server.name, hostname=server.hostname, port=server.port, username=server.username, host_key=server.fingerprint,
    )  # fmt: skip
