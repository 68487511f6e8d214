"""docs/schema.md against the database: every table and column is there, with its type."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.db import connection

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "schema.md"
TYPES = {
    "UUID": "uuid",
    "JSON": "jsonb",
    "DateTime": "timestamp with time zone",
    "Boolean": "boolean",
    "Integer": "integer",
    "Text": "text",
    "String": "character varying",
}


def documented() -> dict[tuple[str, str], tuple[str, int | None]]:
    """(table, column) → (type as PostgreSQL calls it, length or None)."""
    columns: dict[tuple[str, str], tuple[str, int | None]] = {}
    table = ""
    for line in DOCUMENT.read_text().splitlines():
        if heading := re.match(r"#### `(\w+)`", line):
            table = heading[1]
        elif row := re.match(r"\| `(\w+)` \| (\w+)(?:\((\d+)\))? \|", line):
            columns[table, row[1]] = (TYPES[row[2]], int(row[3]) if row[3] else None)
    return columns


@pytest.fixture
def actual(db: None) -> dict[tuple[str, str], tuple[str, int | None]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name, data_type, character_maximum_length"
            " FROM information_schema.columns WHERE table_schema = 'public'"
        )
        return {(table, column): (kind, length) for table, column, kind, length in cursor.fetchall()}


def test_it_reads_the_whole_document() -> None:
    tables = {table for table, _ in documented()}
    assert len(tables) == 10
    assert len(documented()) == 82


def test_every_documented_column_exists_with_its_type(actual: dict[tuple[str, str], tuple[str, int | None]]) -> None:
    wrong = {
        f"{table}.{column}": f"documented {expected}, found {actual.get((table, column))}"
        for (table, column), expected in documented().items()
        if actual.get((table, column)) != expected
    }
    assert not wrong


def test_secrets_are_text(actual: dict[tuple[str, str], tuple[str, int | None]]) -> None:
    secrets = {key: kind for key, (kind, _) in actual.items() if key[1].endswith("_encrypted")}
    assert set(secrets) >= {
        ("llm_providers", "api_key_encrypted"),
        ("server_credentials", "ssh_key_encrypted"),
        ("server_credentials", "password_encrypted"),
    }
    assert set(secrets.values()) == {"text"}
