#!/usr/bin/env python
"""Every command of the console. Where DATABASE_URL is unset, the embedded PostgreSQL runs for as long as the command."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from types import FrameType

from aiops import up
from aiops.lib import environment, postgres

# These never ask the database anything, except for `check --database`.
WITHOUT_DATABASE = {"help", "version", "check", "collectstatic", "findstatic", "diffsettings", "startapp"}


def main(arguments: list[str]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aiops.settings")
    if find_spec("django") is None:
        sys.stderr.write(
            "Django is not installed in this Python: run `make run` first, then .venv/bin/python manage.py.\n"
        )
        return 1
    from django.core.management import execute_from_command_line  # noqa: PLC0415 (it may be missing, see above)

    try:
        with _database(arguments):
            if arguments[1:2] == ["up"] and not {"--help", "-h"} & {*arguments}:  # sooner there without Django
                return up.main(arguments[2:], {**environment.load(environment.data_dir()), **os.environ})
            execute_from_command_line(arguments)
    except (environment.EnvironmentFileError, postgres.PostgresError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _database(arguments: list[str]) -> AbstractContextManager[object]:
    asks = {*arguments[1:]}
    idle = len(arguments) < 2 or arguments[1] in WITHOUT_DATABASE or asks & {"--help", "-h", "--version"}
    data_dir = environment.data_dir()
    settings = {**environment.load(data_dir), **os.environ}
    if (idle and "--database" not in asks) or settings.get("DATABASE_URL"):
        return nullcontext()
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _exit)  # an ordinary exit, so that the server is stopped too
    return postgres.running_database(data_dir)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
