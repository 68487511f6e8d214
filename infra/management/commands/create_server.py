"""`manage.py create_server`: a server from a script, once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser

from infra.models import Server
from infra.servers import ServerError, check_hostname, check_key, check_username, create
from infra.ssh import SSHError, fetch_host_key


class Command(BaseCommand):
    help = "Create a server with its key or password. One of this name that exists is left as it is, and the exit code is 0."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--host", required=True)
        parser.add_argument("--port", type=int, default=22, help="Default: %(default)s.")
        parser.add_argument("--username", required=True, help="The account on the server.")
        secret = parser.add_mutually_exclusive_group(required=True)
        secret.add_argument("--key-file", type=Path, help="A private key in OpenSSH's or PEM format.")
        secret.add_argument("--password-env", metavar="VAR", help="The environment variable that holds the password.")
        parser.add_argument("--environment", default="", help="Such as production or staging.")
        parser.add_argument(
            "--pin-host-key",
            action="store_true",
            help="Ask the server for its host key, print its fingerprint, and accept no other from now on.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if existing := Server.objects.filter(name=options["name"]).first():
            self._leave(existing, options)
            return
        try:
            server = _server(options)
            key, password = _key(options["key_file"]), _password(options["password_env"])
            if options["pin_host_key"]:
                server.host_key = str(fetch_host_key(server.hostname, server.port))
        except (ServerError, SSHError) as exc:
            raise CommandError(str(exc)) from exc
        create(server, key=key, password=password)
        self.stdout.write(f"Created {server.name}: {server.username}@{server.hostname}, port {server.port}.")
        if server.host_key:
            self.stdout.write(f"Pinned its host key: {server.fingerprint}. Compare it with the server's own.")

    def _leave(self, server: Server, options: dict[str, Any]) -> None:
        wanted = {
            name: options[option] for name, option in (("hostname", "host"), ("port", "port"), ("username", "username"))
        }
        other = [
            f"{name} is {getattr(server, name)}" for name, value in wanted.items() if getattr(server, name) != value
        ]
        differs = f" It differs from what you asked for: {', '.join(other)}. Change it in the admin." if other else ""
        self.stderr.write(f"{server.name} exists already: nothing was changed.{differs}")


def _server(options: dict[str, Any]) -> Server:
    server = Server(
        name=options["name"],
        hostname=check_hostname(options["host"]),
        port=options["port"],
        username=check_username(options["username"]),
        environment=options["environment"],
    )
    try:
        server.clean_fields(exclude=["auth_type"])
    except ValidationError as exc:
        raise ServerError("; ".join(f"{name}: {' '.join(texts)}" for name, texts in exc.message_dict.items())) from exc
    return server


def _key(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return check_key(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ServerError(f"{path}: {exc.strerror}.") from exc
    except UnicodeDecodeError as exc:
        raise ServerError(f"{path} is no text file, so it is no private key in OpenSSH's or PEM format.") from exc


def _password(variable: str | None) -> str:
    if variable is None:
        return ""
    if not os.environ.get(variable):
        raise ServerError(f"The environment variable {variable} is not set, or empty.")
    return os.environ[variable]
