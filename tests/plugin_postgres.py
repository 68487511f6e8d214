"""The suite's own data folder, and its own embedded PostgreSQL where DATABASE_URL is unset: never the developer's data.

Loaded with `-p`, before pytest-django reads the settings. Every xdist worker is one more user of the same server.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from aiops.lib.postgres import PostgresError, running_database

DATA_DIR = Path(__file__).resolve().parent.parent / "var" / "test"


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    os.environ["AIOPS_DATA_DIR"] = os.environ.get("AIOPS_TEST_DATA_DIR") or str(DATA_DIR)
    if os.environ.get("DATABASE_URL"):
        return
    stack = ExitStack()
    try:
        stack.enter_context(running_database(Path(os.environ["AIOPS_DATA_DIR"]), durable=False))
    except PostgresError as exc:
        raise pytest.UsageError(str(exc)) from exc
    early_config.add_cleanup(stack.close)
