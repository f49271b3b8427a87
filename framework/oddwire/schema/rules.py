"""Rules of the built-in codecs: a field that a codec cannot carry is a `SchemaError` when the class is made."""

from __future__ import annotations

from typing import Final, Literal

from oddwire.errors import SchemaError
from oddwire.schema.kinds import (
    Anything,
    Array,
    Choice,
    Count,
    Field,
    Fixed,
    Float,
    Integer,
    Kind,
    Led,
    Maybe,
    Named,
    Nested,
    Octets,
    Opaque,
    Prefixed,
    Record,
    Rest,
    Schema,
    Table,
    Text,
)

_Ends = Literal["message", "record", "nothing"]

__all__ = ["DEFAULT_COUNT", "check", "count_of", "least_size", "takes_rest"]

DEFAULT_COUNT: Final = Prefixed(Integer("u16", 16))
"""The bolt codec's default count, as mostly in the BOLTs. In a TLV record: `Rest`."""


def check(record: Record) -> None:
    """Check a class by its codec's rules; of a subtype, which any codec may carry, only its own annotations.

    Raises `SchemaError` naming module, class and field.
    """
    _check_tlv_types(record)
    _check_named_counts(record)
    if not isinstance(record, Schema):
        return
    match record.codec:
        case "bolt":
            _check_bolt(record, record, ends="message")
        case "msgpack" | "json":
            for field in record.fields:
                if field.tlv is not None:
                    _fail(record, field, f"field(tlv={field.tlv}) is for codec='bolt', not {record.codec!r}")
        case "raw":
            if len(record.fields) != 1 or type(record.fields[0].kind) is not Octets:
                raise SchemaError(f"{record.qualified_name}: codec='raw' should have exactly one field, of bytes")


def count_of(kind: Octets | Text | Array, *, is_record: bool = False) -> Count:
    """Return how the bolt codec finds the length of ``kind``; ``is_record`` if it alone is a TLV record's value."""
    return kind.count or (Rest() if is_record else DEFAULT_COUNT)


def least_size(kind: Kind) -> int:
    """Return the min bytes that the bolt codec writes for ``kind``."""
    match kind:
        case Integer():
            return {"truncated": 0, "bigsize": 1}.get(kind.form, kind.bits // 8)
        case Choice():
            return least_size(kind.base)
        case Opaque():
            return kind.size
        case Octets() | Text() | Array():
            if isinstance(kind.count, Fixed):
                return kind.count.size * (least_size(kind.element) if isinstance(kind, Array) else 1)
            if isinstance(kind.count, Led):
                return min(kind.count.sizes)
            if isinstance(kind.count, Rest | Named):
                return 0
            return least_size((kind.count or DEFAULT_COUNT).integer)
        case Nested():
            return sum(least_size(field.kind) for field in kind.record.fields if field.tlv is None)
    return 1  # bool


def takes_rest(record: Record) -> bool:
    """Return whether ``record`` extends to the end of its container, so that nothing can follow it with bolt."""
    if any(field.tlv is not None for field in record.fields):
        return True
    match record.fields[-1].kind if record.fields else None:
        case Integer(form="truncated"):
            return True
        case Octets(count=Rest()) | Text(count=Rest()) | Array(count=Rest()):
            return True
        case Nested(record=inner):
            return takes_rest(inner)
    return False


def _check_tlv_types(record: Record) -> None:
    seen: dict[int, str] = {}
    for field in record.fields:
        if field.tlv is None:
            continue
        if field.tlv in seen:
            _fail(record, field, f"TLV record {field.tlv} is {seen[field.tlv]!r} already: choose another number")
        seen[field.tlv] = field.name


def _check_named_counts(record: Record) -> None:
    earlier: dict[str, Kind] = {}
    for field in record.fields:
        count = getattr(field.kind, "count", None)
        if isinstance(count, Named):
            if field.tlv is not None:
                _fail(record, field, f"count={count.field!r} is not for TLV records, which know their length")
            kind = earlier.get(count.field)
            if not isinstance(kind, Integer) or kind.signed:
                _fail(record, field, f"count={count.field!r} should name an earlier field of type u8 to u64 or bigsize")
        if field.tlv is None:
            earlier[field.name] = field.kind


# What BOLT 1's wire types can hold -----------------------------------------------------------------------------------


def _check_bolt(message: Schema, record: Record, ends: _Ends) -> None:
    """Check positional fields, then TLV records; ``ends`` is what ends where ``record`` ends."""
    positional = [field for field in record.fields if field.tlv is None]
    records = [field for field in record.fields if field.tlv is not None]
    if records and ends == "nothing":
        _fail(
            record, records[0], f"a TLV stream should come last in what holds it, but {message.name} goes on after it"
        )
    for field in positional:
        if isinstance(field.kind, Maybe):
            _fail(record, field, "bolt has no None among positional fields: make it a TLV record, field(tlv=N)")
        last = field is positional[-1] and not records
        _check_bolt_kind(message, record, field, field.kind, ends if last else "nothing")
    for field in records:
        kind = field.kind.inner if isinstance(field.kind, Maybe) else field.kind
        _check_bolt_kind(message, record, field, kind, "record")


def _check_bolt_kind(message: Schema, record: Record, field: Field, kind: Kind, ends: _Ends) -> None:
    match kind:
        case Integer(form="plain"):
            _fail(record, field, "bolt needs to know the size of an int: write u64, s64, tu64, bigsize, ...")
        case Integer(form="truncated") if ends != "record":
            _fail(record, field, f"{kind.name} should be the last value of a TLV record (BOLT 1): write u{kind.bits}")
        case Choice(base=Integer(form="plain")):
            _fail(record, field, f"bolt needs to know how {kind.name} travels: write Annotated[{kind.name}, u8]")
        case Choice(base=Integer(form="truncated")):
            _fail(record, field, f"{kind.name} should travel as u8 to u64, s8 to s64 or bigsize")
        case Float() | Table() | Anything() | Maybe():
            why = "only a whole TLV record can be None" if isinstance(kind, Maybe) else "BOLT 1 has no type for it"
            _fail(record, field, f"bolt cannot carry {kind.label}: {why}")
        case Octets() | Text() | Array():
            if isinstance(kind.count, Rest) and ends == "nothing":
                _fail(record, field, "takes the rest of the message, so it should be the last field")
            if isinstance(kind, Array):
                if least_size(kind.element) == 0:
                    _fail(
                        record,
                        field,
                        f"an element, {kind.element.label}, may take no bytes at all: nothing would tell them apart",
                    )
                _check_bolt_kind(message, record, field, kind.element, "nothing")
        case Nested():
            _check_bolt(message, kind.record, ends)


def _fail(record: Record, field: Field, text: str) -> None:
    raise SchemaError(f"{record.qualified_name}.{field.name}: {text}")
