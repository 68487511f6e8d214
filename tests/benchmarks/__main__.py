"""`make bench`: measure, print, and with --write keep the figures in docs/performance.md."""

from __future__ import annotations

import argparse

from tests.benchmarks import ingest, pages, report, work
from tests.benchmarks.console import DATA_DIR, ROOT, database_server

SECTIONS = {"ingest": ingest.run, "work": work.run, "pages": pages.run}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], help="what to measure; all of it by default")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/performance.md")
    options = parser.parse_args()
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    tables = []
    with database_server():
        for name in options.sections or SECTIONS:
            print(f"measuring: {name} …", flush=True)
            for table in SECTIONS[name]():
                print("\n" + table.markdown(), flush=True)
                tables.append(table)
    if options.write:
        report.write(ROOT / "docs" / "performance.md", tables)


if __name__ == "__main__":
    main()
