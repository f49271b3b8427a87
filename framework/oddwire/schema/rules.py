"""Rules of the built-in codecs: a field that a codec cannot carry is a `SchemaError` when the class is made."""

from __future__ import annotations

from enum import Enum
from typing import Final, Literal, NoReturn

from oddwire.errors import SchemaError
from oddwire.schema.class_records import Field, Record, Schema
from oddwire.schema.kinds import (
    Array,
    Integer,
    Kind,
    Maybe,
    Named,
    Nested,
    Octets,
    Sized,
    Table,
    unboxed,
)
from oddwire.schema.nesting import check_nesting, parts_of, records_of
from oddwire.schema.union_kinds import Either, Tagged
from oddwire.schema.value_kinds import Limited, Scalar, unlimited

_PLAIN: Final = (bool, bytes, float, int, str, type(None), Enum)

__all__ = ["check", "check_alone", "check_json"]


def check(record: Record) -> None:
    """Check a class by its codec's rules; of a subtype, which any codec may carry, only its own annotations.

    Raises `SchemaError` naming module, class and field.
    """
    check_nesting(record)
    if record.recursive:
        _settle_unions(record)
    _check_tlv_types(record)
    _check_named_counts(record)
    if not isinstance(record, Schema):
        return
    _check_defaults(record)
    match record.codec:
        case "bolt":
            _check_bolt(record, "message")
        case "msgpack" | "json":
            for field in record.fields:
                if field.tlv is not None:
                    _fail(record, field, f"field(tlv={field.tlv}) is for codec='bolt', not {record.codec!r}")
            if record.codec == "json":
                check_json(Nested(record))
        case "raw":
            if len(record.fields) != 1 or type(unlimited(record.fields[0].kind)) is not Octets:
                raise SchemaError(f"{record.qualified_name}: codec='raw' should have exactly one field, of bytes")


def check_alone(record: Record) -> None:
    """Check that the bolt codec can write a subtype by itself, outside of any message. Raises `SchemaError`."""
    _check_bolt(record, "record")


def _check_bolt(record: Record, ends: Literal["message", "record"]) -> None:
    from oddwire.schema.bolt_rules import BoltRules  # imported late: not all need it

    BoltRules(record).check(record, ends)


def _settle_unions(record: Record) -> None:
    """Give a class that is a member of unions in its own fields its tag there."""
    for field in record.fields:
        waiting = [field.kind]
        while waiting:
            kind = waiting.pop()
            if isinstance(kind, Tagged):
                from oddwire.schema.unions import settle  # imported late: few need it

                try:
                    settle(kind, record)
                except SchemaError as error:
                    _fail(record, field, str(error))
            elif not isinstance(kind, Nested):
                waiting += parts_of(kind)


def _check_defaults(schema: Schema) -> None:
    """Check that the message's codec can carry each `UnknownVariant` in a default, of the classes in it too."""
    if schema.codec not in ("bolt", "json", "msgpack"):
        return
    for record in records_of(Nested(schema)):
        for field in record.fields:
            if field.required or isinstance(field.default, _PLAIN) or field.default_factory in (list, dict):
                continue
            if type(field.default) is tuple and not field.default:
                continue
            from oddwire.schema.union_trees import carried_by  # imported late: few have such a default

            if reason := carried_by(schema.codec, field.make_default()):
                _fail(record, field, f"the default does not fit: {schema.codec} cannot carry it: {reason}")


def check_json(kind: Kind, where: str = "", seen: set[type] | None = None) -> None:
    """Check that JSON tells the values of all unions in a kind apart. Raises `SchemaError`, ``where`` first."""
    seen = set() if seen is None else seen
    match kind:
        case Maybe(inner=inner) | Sized(inner=inner) | Limited(inner=inner) | Scalar(inner=inner, show=None):
            check_json(inner, where, seen)
        case Array(element=inner) | Table(value=inner):
            check_json(inner, where, seen)
        case Nested(record=record) if record.cls not in seen:
            seen.add(record.cls)
            for field in record.fields:
                check_json(field.kind, f"{record.qualified_name}.{field.name}: ", seen)
        case Tagged(variants=variants):
            for variant in variants:
                check_json(Nested(variant.record), where, seen)
        case Either(options=options):
            if why := kind.ambiguous(hexed=True):
                raise SchemaError(f"{where}json cannot carry {kind.label}: {why}")
            for option in options:
                check_json(option, where, seen)


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
        count = getattr(unboxed(field.kind), "count", None)
        if isinstance(count, Named):
            if field.tlv is None and isinstance(field.kind, Maybe) and field.kind.flag is not None:
                _fail(record, field, f"count={count.field!r} is not for what a flag leaves out: write counted(u16)")
            if field.tlv is not None:
                _fail(record, field, f"count={count.field!r} is not for TLV records, which know their length")
            kind = unlimited(earlier[count.field]) if count.field in earlier else None
            if not isinstance(kind, Integer) or kind.signed:
                _fail(record, field, f"count={count.field!r} should name an earlier field of type u8 to u64 or bigsize")
        if field.tlv is None:
            earlier[field.name] = field.kind


def _fail(record: Record, field: Field, text: str) -> NoReturn:
    raise SchemaError(f"{record.qualified_name}.{field.name}: {text}")
