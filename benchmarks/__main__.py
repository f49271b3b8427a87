"""Run the benchmarks, print the table, write ``benchmarks/results.json``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Row

GROUPS = (
    *("payloads", "typed", "handshakes", "roundtrip", "codec", "peers", "dispatch", "session", "hostile", "reliable"),
    *("insight", "node", "hosted", "lnd", "cluster", "startup"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", default=GROUPS, metavar="GROUP", help=f"which of: {', '.join(GROUPS)}")
    chosen = parser.parse_args().groups
    unknown = set(chosen) - set(GROUPS)
    if unknown:
        parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    console = Console(width=None if sys.stdout.isatty() else 150)
    console.print(f"Python {platform.python_version()}, {os.cpu_count()} cores, every row a ratio taken in one run\n")
    rows: list[Row] = []
    for group in chosen:
        start = time.monotonic()
        rows += importlib.import_module(f"benchmarks.{group}").rows()
        print(f"{group}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    table = Table("row", "value", "goal", "met", "measured")
    for row in rows:
        mark = "[green]yes[/]" if row.met else "[red]no[/]"
        table.add_row(row.row, f"{row.value:.2f} {row.unit}".replace(" ratio", ""), row.goal, mark, row.note)
    console.print(table)
    path = Path(__file__).with_name("results.json")
    path.write_text(json.dumps([row.as_dict() for row in rows], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
