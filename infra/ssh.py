"""SSH: the only module that knows paramiko."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import paramiko

TIMEOUT = 10.0  # seconds, for the connection, and again for the greeting and the exchange of keys


class SSHError(Exception):
    """The server cannot be reached or does not speak SSH; the message is for the person who named it."""


@dataclass(frozen=True)
class HostKey:
    """A server's public key: its type, such as `ssh-ed25519`, and the rest in base64, as a line of known_hosts has them."""

    kind: str
    base64: str

    def __str__(self) -> str:
        return f"{self.kind} {self.base64}"


def fetch_host_key(hostname: str, port: int, timeout: float = TIMEOUT) -> HostKey:
    """The key that the server shows, asked for without authenticating: nothing secret goes to a host not known yet.

    Takes at most `timeout` seconds to connect and as many again to exchange keys. Raises SSHError.
    """
    where = f"{hostname} port {port}"
    try:
        connection = socket.create_connection((hostname, port), timeout)
    except socket.gaierror as exc:
        raise SSHError(f"The name {hostname} is not known to the resolver: {exc.strerror}.") from exc
    except TimeoutError as exc:
        raise SSHError(f"{where} did not answer within {timeout:g} seconds.") from exc
    except (OSError, UnicodeError) as exc:
        raise SSHError(f"{where} cannot be reached: {getattr(exc, 'strerror', None) or exc}.") from exc
    with connection:
        transport = paramiko.Transport(connection)
        transport.banner_timeout = transport.handshake_timeout = timeout
        try:
            transport.start_client(timeout=timeout)
            key = transport.get_remote_server_key()
        except (paramiko.SSHException, OSError, EOFError) as exc:
            raise SSHError(_said(where, exc, timeout)) from exc
        finally:
            transport.close()
    return HostKey(key.get_name(), key.get_base64())


def _said(where: str, exc: Exception, timeout: float) -> str:
    text = str(exc).lower()
    if "banner" in text:
        return f"{where} does not greet like an SSH server."
    if "no acceptable" in text or isinstance(exc, paramiko.ssh_exception.IncompatiblePeer):
        return f"{where} only offers ways of exchanging keys that are too old to be safe: update its SSH server."
    if "existing session" in text or isinstance(exc, TimeoutError):
        return f"{where} did not finish exchanging keys within {timeout:g} seconds."
    return f"{where} broke the exchange of keys off."
