"""docs/errors.md has every error, in its place of the tree."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from tests.test_errors_complete import CLASSES, drawn

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
TABLE = PAGE[: PAGE.index("\n## ")]
ROWS = [
    (dots, name, *(cell.strip() for cell in re.split(r"\|", rest)))
    for dots, name, rest in re.findall(r"^\| ((?:· )*)`(\w+)` \|(.*)\|$", TABLE, re.MULTILINE)
]

ATTRIBUTES = r"`(code|data|sent|reason|required|offset|path|act|limit|node_id|owners|type_id|timeout|feature)`"


def lineage(name: str) -> list[type]:
    return [cls for cls in CLASSES[name].__mro__ if cls.__name__ in CLASSES]


def test_the_table_is_the_tree() -> None:
    rows = [(dots.count("·"), name) for dots, name, *_ in ROWS]
    assert rows == [(len(lineage(name)) - 1, name) for name in drawn()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_a_row_says_when_whose_fault_and_what_to_do(row: tuple[str, ...]) -> None:
    _, name, when, whose, what = row
    assert when
    assert what or when.startswith("never by itself")
    words = set(re.findall(r"\w+", whose))
    assert words <= {"author", "operator", "peer", "network", "machine", "ours", "nobody", "or"}
    assert words or when.startswith("never by itself"), f"whose fault is {name}?"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_attributes_that_it_names_are_there(row: tuple[str, ...]) -> None:
    _, name, when, _, what = row
    source = "".join(inspect.getsource(cls) for cls in lineage(name))
    for attribute in re.findall(ATTRIBUTES, when + what):
        assert f"self.{attribute}" in source
