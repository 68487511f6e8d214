"""The `.env` of AIOPS_DATA_DIR: read by every command, and written once with generated secrets. Standard library only."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from aiops.lib.private_files import locked, write_private

CHECKOUT = Path(__file__).resolve().parents[2]
GENERATED: dict[str, Callable[[], str]] = {
    "SECRET_KEY": lambda: secrets.token_urlsafe(50),
    "AIOPS_SECRET_KEYS": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),  # one Fernet key
}
HEADER = """\
# Settings of this installation, read by every command; the process environment wins over them.
# AIOPS_SECRET_KEYS decrypts the stored credentials: keep a copy of this file with the backups of the database.
"""


class EnvironmentFileError(Exception):
    """The `.env` cannot be read or written; the message says which file, why and what to do."""


def data_dir() -> Path:
    """The folder of this installation's data, absolute. It may not exist yet."""
    return Path(os.environ.get("AIOPS_DATA_DIR") or CHECKOUT / "var").expanduser().absolute()


def load(folder: Path) -> dict[str, str]:
    """What `folder/.env` sets, the process environment winning.

    Secrets that neither has are generated and added to the file (mode 0600); nothing in it is ever changed. With all
    of them in the process environment nothing is written, and the folder need not exist.
    """
    path = folder / ".env"
    try:
        values = read(path)
        if _missing(values):
            values = _add_secrets(path)
    except OSError as exc:
        raise EnvironmentFileError(
            f"{exc.filename or path}: {exc.strerror}. The settings and secrets of this installation are kept in {path}: "
            "run as the user who owns it, set AIOPS_DATA_DIR to a folder that can be written, or set SECRET_KEY and "
            "AIOPS_SECRET_KEYS in the environment."
        ) from exc
    return {name: os.environ.get(name, value) for name, value in values.items()}


def _missing(values: dict[str, str]) -> list[str]:
    return [name for name in GENERATED if not os.environ.get(name) and not values.get(name)]


def _add_secrets(path: Path) -> dict[str, str]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(path.with_name(".env.lock")):
        values = read(path)  # another start may have been quicker
        if missing := _missing(values):
            text = path.read_text(encoding="utf-8") if path.exists() else HEADER
            if not text.endswith("\n"):
                text += "\n"
            text += "".join(f"{name}={GENERATED[name]()}\n" for name in missing)
            write_private(path.resolve(), text)
            values = read(path)
    return values


def read(path: Path) -> dict[str, str]:
    """The settings in one file, none when it does not exist."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    values = {}
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip().removeprefix("export ")
        if not line or line.startswith("#"):
            continue
        name, separator, value = line.partition("=")
        if not separator:
            raise EnvironmentFileError(f"{path}, line {number}: expected NAME=value.")
        values[name.strip()] = _unquoted(value.strip())
    return values


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value
