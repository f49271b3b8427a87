"""The data of bolt messages as the BOLTs write it: a list of types and names, and the TLV records behind them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from oddwire.contracts.types import integer_name
from oddwire.schema import Field, Record
from oddwire.schema.csv_writer import KINDS
from oddwire.schema.kinds import (
    Array,
    Boolean,
    Choice,
    Fixed,
    Integer,
    Kind,
    Led,
    Maybe,
    Named,
    Nested,
    Octets,
    Opaque,
    Prefixed,
    Sized,
    Text,
)
from oddwire.schema.sizes import count_of
from oddwire.schema.union_kinds import Tagged
from oddwire.schema.value_kinds import Limited, Scalar

__all__ = ["Row", "element_of", "lines_of", "records_of", "snake"]

_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Row(NamedTuple):
    """One value: its type, its name, and a remark."""

    type: str
    name: str
    remark: str = ""


def snake(name: str) -> str:
    """Return a class's name as the BOLTs write names: ``QuoteRequest`` is ``quote_request``."""
    return re.sub(r"\W+", "_", _WORDS.sub("_", name)).strip("_").lower()


def lines_of(record: Record, indent: str = "  ") -> Iterator[str]:
    """Yield the lines of a class's data, in Markdown."""
    for field in record.fields:
        if field.tlv is None:
            yield from (_line(row, indent) for row in _rows(field.name, field.kind))
    if not all(field.tlv is None for field in record.fields):
        yield f"{indent}* [`{snake(record.name)}_tlvs`:`tlvs`]"


def records_of(record: Record) -> Iterator[str]:
    """Yield the lines of a class's TLV stream; none if it has no records."""
    found: list[Field] = sorted((field for field in record.fields if field.tlv is not None), key=_number)
    if not found:
        return
    yield f"1. `tlv_stream`: `{snake(record.name)}_tlvs`"
    yield "2. types:"
    for field in found:
        yield f"    1. type: {field.tlv} (`{field.name}`)"
        yield "    2. data:"
        yield from (_line(row, "        ") for row in _rows(field.name, field.record_kind, alone=True))


def _number(field: Field) -> int:
    return field.tlv or 0


def _line(row: Row, indent: str) -> str:
    return f"{indent}* [`{row.type}`:`{row.name}`]{f' ({row.remark})' if row.remark else ''}"


def _rows(name: str, kind: Kind, *, alone: bool = False) -> Iterator[Row]:
    match kind:
        case Scalar() | Limited():
            yield from _rows(name, kind.inner, alone=alone)
        case Choice():
            yield from _rows(name, kind.base, alone=alone)
        case Maybe(flag=Integer() | Boolean() as flag):
            value = 255 if isinstance(flag, Boolean) else 1
            yield Row("byte" if isinstance(flag, Boolean) else integer_name(flag), f"has_{name}")
            yield from (row._replace(remark=f"if `has_{name}` is {value}") for row in _rows(name, kind.inner))
        case Maybe():
            yield from _rows(name, kind.inner, alone=alone)
        case Sized():
            yield Row(integer_name(kind.integer), f"{name}_size", "in bytes")
            yield from _rows(name, kind.inner)
        case Tagged():
            if kind.integer is not None:
                yield Row(integer_name(kind.integer), f"{name}_tag")
            if kind.length is not None:
                yield Row(integer_name(kind.length), f"{name}_len")
            members = " or ".join(f"`{snake(one.record.name)}` for {one.tag}" for one in kind.variants)
            times = f"{name}_len*byte" if kind.length is not None else "union"
            yield Row(times, name, ", ".join(filter(None, (members, "any other is kept" if kind.unknown else ""))))
        case Octets() if kind.name in KINDS:
            yield Row(kind.name, name)
        case Octets() | Text() | Array():
            match count_of(kind, is_record=alone):
                case Prefixed(integer):
                    yield Row(integer_name(integer), f"{name}_len")
                    yield Row(f"{name}_len*{element_of(kind)}", name)
                case Fixed(size):
                    yield Row(f"{size}*{element_of(kind)}", name)
                case Named(field):
                    yield Row(f"{field}*{element_of(kind)}", name)
                case Led(sizes):
                    yield Row(f"{' or '.join(map(str, sorted({*sizes})))}*byte", name, "by the first byte")
                case _:
                    yield Row(f"...*{element_of(kind)}", name)
        case _:
            yield Row(element_of(kind), name)


def element_of(kind: Kind) -> str:
    """Return the type of one value, or of an array's elements."""
    match kind:
        case Scalar() | Limited() | Sized() | Maybe():
            return element_of(kind.inner)
        case Choice():
            return element_of(kind.base)
        case Integer():
            name = integer_name(kind)
            return name if name in KINDS or kind.form != "fixed" else f"{kind.bits // 8}*byte"
        case Boolean():
            return "byte"
        case Octets() if kind.name in KINDS:
            return kind.name
        case Octets():
            return "byte"
        case Text():
            return "utf8"
        case Opaque():
            return kind.name if kind.name in KINDS else "point" if kind.size == 33 else f"{kind.size}*byte"
        case Array():
            rows = [*_rows("inner", kind.element)]
            return (
                rows[0].type
                if len(rows) == 1
                else "(" + " ".join(row.type.removeprefix("inner_") for row in rows) + ")"
            )
        case Nested():
            return snake(kind.record.name)
        case Tagged():
            return "union"
    return kind.label
