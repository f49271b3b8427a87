"""docs/schema.md is true: each row of its table, with each codec, and the options of `field`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import oddwire
from oddwire import Message, PublicKey, SchemaError, field, message, subtype, tagged
from oddwire.codecs.registry import Registry
from oddwire.schema import fields
from oddwire.schema.annotations import kind_of

PAGE = (Path(__file__).parents[2] / "docs" / "schema.md").read_text()
TABLE = PAGE[PAGE.index("| annotation |") :].partition("\n\n")[0].splitlines()[2:]
KEY = PublicKey(bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"))
NAMES: dict[str, Any] = {name: getattr(oddwire, name) for name in dir(oddwire)}
exec("from typing import Annotated, Any, Literal", NAMES)
exec("from datetime import UTC, datetime; from decimal import Decimal; from uuid import UUID", NAMES)
NAMES |= {"Sequence": Sequence, "Mapping": Mapping, "__name__": __name__}
CLASSES = re.search(r"\n(class Side.*?)\n\n\n@message", PAGE, re.DOTALL)
assert CLASSES is not None
NAMES |= {"Enum": Enum, "subtype": subtype}
exec(CLASSES[1], NAMES)
VALUES = NAMES | {"PublicKey": lambda _: KEY}


class Row:
    def __init__(self, line: str) -> None:
        annotations, value, *cells = (cell.strip() for cell in line.replace(r"\|", "¦").strip("|").split(" | "))
        self.annotations = [one.replace("¦", "|") for one in re.findall(r"`([^`]+)`", annotations)]
        self.value = eval(value.strip("`"), VALUES)
        self.cells = dict(zip(("bolt", "msgpack", "json"), cells, strict=True))

    def __repr__(self) -> str:
        return self.annotations[0]


ROWS = [Row(line) for line in TABLE]


def made(annotation: str, codec: str, *, tlv: bool = False) -> type[Message]:
    """Return a message class of one field."""
    names = {"__annotations__": {"x": eval(annotation, NAMES)}, "__module__": __name__, "__qualname__": "One"}
    given = {"x": field(tlv=1)} if tlv else {}
    return message(0x8D61, codec=codec)(type(Message)("One", (Message,), names | given))


@pytest.mark.parametrize("codec", ["bolt", "msgpack", "json"])
@pytest.mark.parametrize("row", ROWS, ids=repr)
def test_each_annotation_is_written_as_the_page_says(row: Row, codec: str) -> None:
    cell = row.cells[codec]
    if cell == "–" or cell.startswith("TLV"):
        for annotation in row.annotations:
            with pytest.raises(SchemaError):
                made(annotation, codec)
        if cell == "–":
            return
    classes = [made(annotation, codec, tlv=cell.startswith("TLV")) for annotation in row.annotations]
    registry = Registry()
    registry.register(classes[0])
    whole = classes[0](x=row.value)
    payload = registry.encode(whole)
    assert registry.decode(payload) == whole
    if codec == "json":
        written = re.fullmatch(r'\{"x":(.*)\}', payload[2:].decode())[1]  # type: ignore[index]
    else:
        written = payload[2:].hex().removeprefix("81a178" if codec == "msgpack" else "")
    begin, dots, end = cell.removeprefix("TLV: ").strip("`").partition("…")
    assert written.startswith(begin)
    assert written.endswith(end)
    assert dots or written == begin


def test_each_field_type_is_in_the_table() -> None:
    text = "\n".join(TABLE)
    for name in fields.__all__:
        found = getattr(fields, name)
        try:
            kind_of(found)
        except SchemaError:
            continue  # a marker, or a function
        assert f"`{name}`" in text
    for word in ("str", "bytes", "bool", "int", "float", "dict[", "list[", "tuple[", "Literal[", "| None", "Any"):
        assert word in text.replace(r"\|", "|")


def test_each_marker_and_each_option_of_field_is_on_the_page() -> None:
    for marker in ("fixed", "counted", "rest", "flag", "max_length", "as_text", "tagged"):
        assert f"`{marker}" in PAGE
        assert marker in fields.__all__
    options = PAGE[PAGE.index("## `field(...)`") : PAGE.index("## What is written")]
    for name in inspect.signature(field).parameters:
        assert f"`{name}=" in options


def test_each_option_of_a_union_is_on_the_page() -> None:
    section = PAGE[PAGE.index("## Unions") : PAGE.index("## `field(...)`")]
    for name in {*inspect.signature(tagged).parameters} - {"integer"}:
        assert f"{name}=" in section


def test_raw_has_one_field_of_bytes() -> None:
    made("bytes", "raw")
    for annotation in ("str", "u8", "bytes | None", "tuple[u8, ...]"):
        with pytest.raises(SchemaError, match="codec='raw' should have exactly one field, of bytes"):
            made(annotation, "raw")
