"""oddwire/known/bolt_classes.pyi, which tells type checkers what `oddwire.known.bolts` makes of CSV.

``python -m tests.unit.known.test_bolts_stub`` writes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oddwire.known
from oddwire.known import bolts
from oddwire.schema.class_records import Field, Record, Schema
from oddwire.schema.kinds import Array, Integer, Kind, Maybe, Nested, Octets, Opaque, Text

PATH = Path(oddwire.known.__file__).with_name("bolt_classes.pyi")
HEAD = '''"""The classes that `oddwire.known.bolts` makes of CSV, for type checkers alone.

Written by ``python -m tests.unit.known.test_bolts_stub``.
"""
# ruff: noqa: A001 - the BOLTs have a Warning

from oddwire.proto import PublicKey, ShortChannelId
from oddwire.schema import Message, subtype

'''


def annotation(kind: Kind) -> str:
    match kind:
        case Maybe(inner=inner):
            return f"{annotation(inner)} | None"
        case Nested(record=record):
            return record.cls.__name__
        case Array(element=element):
            return f"tuple[{annotation(element)}, ...]"
        case Opaque(python=python):
            return python.__name__
        case Integer() | Octets() | Text():
            return {Integer: "int", Octets: "bytes", Text: "str"}[type(kind)]
    raise AssertionError(kind)


def declared(field: Field) -> str:
    return f"    {field.name}: {annotation(field.kind)}{'' if field.required else ' = ...'}"


def classes() -> Iterator[str]:
    space = bolts.NAMESPACE
    made: list[Any] = [
        cls
        for group in (space.messages, space.subtypes, space.tlv_streams, space.tlv_records)
        for cls in group.values()
    ]
    for cls in sorted(made, key=lambda cls: cls.__name__):
        record: Record = cls.__oddwire__
        head = f"class {cls.__name__}(Message):" if isinstance(record, Schema) else f"@subtype\nclass {cls.__name__}:"
        if record.fields:
            yield "\n".join([head, *map(declared, record.fields)]) + "\n"
        else:
            yield f"{head} ...\n"


def stub() -> str:
    text = HEAD + "\n".join(classes())
    # As ruff formats it
    return re.sub(r"^(class .*: \.\.\.\n)\n(?=class .*: \.\.\.$)", r"\1", text, flags=re.MULTILINE)


def test_the_stub_is_what_the_classes_are() -> None:
    assert PATH.read_text() == stub()


if __name__ == "__main__":
    PATH.write_text(stub())
