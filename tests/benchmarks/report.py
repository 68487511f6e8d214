"""Tables for people: printed while they are measured, and written into docs/performance.md on request."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


@dataclass
class Table:
    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        self.rows.append(list(cells))

    def markdown(self) -> str:
        lines = [f"### {self.title}", "", _line(self.columns), _line(["---"] + ["---:"] * (len(self.columns) - 1))]
        return "\n".join([*lines, *(_line(row) for row in self.rows)]) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def machine() -> str:
    """The machine in one sentence: processor, cores, memory, versions, date."""
    processor = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    name = processor[1] if processor else platform.machine()
    size = int(memory[1]) / 1024**2 if memory else 0
    return (
        f"{name}, {os.cpu_count()} cores shared by server, PostgreSQL and load, {size:.0f} GiB, "
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}."
    )


def write(path: Path, tables: list[Table]) -> None:
    """Replace what stands between the marks in `path`."""
    text = path.read_text()
    figures = "\n".join([BEGIN, "", f"Machine: {machine()}", "", *(table.markdown() for table in tables), END])
    start, end = text.index(BEGIN), text.index(END) + len(END)
    path.write_text(text[:start] + figures + text[end:])
