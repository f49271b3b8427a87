"""docs/protocols.md is true: its table has each known protocol, with the right numbers.

``python -m tests.docs.test_protocols_page`` writes the numbers into the page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import pytest

from oddwire import schema_of
from oddwire.known.listing import MODULES, modules

ROOT = Path(__file__).parents[2]
PATH = ROOT / "docs" / "protocols.md"
PAGE = PATH.read_text()
TABLE = PAGE[: PAGE.index("*Vectors*")]
ROWS = {match[1]: match[0] for match in re.finditer(r"^\| \[`([\w.]+)`\]\(.*\|$", TABLE, re.MULTILINE)}


def listed(numbers: Iterable[int]) -> str:
    """Return numbers as the page writes them: three or more in a row, or every second, as a range."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        run = runs[-1] if runs else []
        step = number - run[-1] if run else 0
        if run and step in (1, 2) and (len(run) == 1 or step == run[-1] - run[-2]):
            run.append(number)
        else:
            runs.append([number])
    texts = []
    for run in runs:
        if len(run) < 3:
            texts += map(str, run)
        else:
            texts.append(
                f"{run[0]} to {run[-1]}" + ("" if run[1] - run[0] == 1 else " (odd)" if run[0] % 2 else " (even)")
            )
    return ", ".join(texts)


def right_row(module: str, needed: str) -> str:
    protocol = modules()[module]
    schemas = [schema_of(cls) for cls in protocol.messages]
    codecs = " ".join(f"`{name}`" for name in dict.fromkeys(schema.codec for schema in schemas))
    if not schemas:
        codecs = f"JSON-RPC in {protocol.inside}"
    path = Path(str(import_module(f"oddwire.known.{module}").__file__))
    parts = path.parent.glob("*.py") if path.stem == "__init__" else [path]
    lines = sum(part.read_text().count("\n") for part in parts)
    vectors = len(json.loads((ROOT / "tests" / "vectors" / "known" / f"{module}.json").read_text()))
    types = listed(s.type_id for s in schemas) or "–"
    cells = (f"[`{module}`]({protocol.document})", types, codecs, needed, vectors, lines)
    return f"| {' | '.join(map(str, cells))} |"


def test_the_table_has_each_protocol_in_order() -> None:
    assert [*ROWS] == [*MODULES]


@pytest.mark.parametrize("module", MODULES)
def test_a_row_has_the_right_numbers(module: str) -> None:
    needed = ROWS[module].split(" | ")[3]
    assert ROWS[module] == right_row(module, needed)


if __name__ == "__main__":
    new = PAGE
    for name, row in ROWS.items():
        new = new.replace(row, right_row(name, row.split(" | ")[3]))
    PATH.write_text(new)
