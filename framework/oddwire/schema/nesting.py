"""Classes in themselves: a subtype or message that names itself in its fields, as trees and linked lists do.

Only the class itself can be named before it is made, so a value nests in no other way. Every codec counts the levels,
sending and receiving: `MAX_LEVELS` in all, so that no value and no payload reaches Python's recursion limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from oddwire.errors import SchemaError
from oddwire.schema.class_records import Record
from oddwire.schema.kinds import Array, Fixed, Kind, Maybe, Nested, Sized, Table
from oddwire.schema.union_kinds import Either, Tagged
from oddwire.schema.value_kinds import Limited, Scalar

__all__ = ["MAX_LEVELS", "TOO_DEEP", "check_nesting", "has_part", "nests", "parts_of", "records_of"]

MAX_LEVELS: Final = 32
"""Max instances of recursive classes in one another, the outermost included."""

_MAX_AROUND: Final = 8
"""Max arrays and other kinds in one another from a recursive class to itself: each takes calls, at each level."""

TOO_DEEP: Final = f"nests more than {MAX_LEVELS} levels deep"


def parts_of(kind: Kind) -> tuple[Kind, ...]:
    """Return the kinds that values of ``kind`` are made of, one level down; a class's are those of its fields."""
    match kind:
        case Maybe(inner=inner) | Sized(inner=inner) | Array(element=inner) | Table(value=inner):
            return (inner,)
        case Scalar(inner=inner) | Limited(inner=inner):
            return (inner,)
        case Nested(record=record):
            return tuple(field.kind for field in record.fields)
        case Tagged(variants=variants):
            return tuple(Nested(variant.record) for variant in variants)
        case Either(options=options):
            return options
    return ()


def nests(record: Record) -> bool:
    """Return whether ``record`` is recursive, or has values of a recursive class in it."""
    return any(inner.recursive for inner in records_of(Nested(record)))


def has_part(kind: Kind, record: Record) -> bool:
    """Return whether values of ``kind`` may have instances of ``record``'s class in them."""
    return any(inner is record for inner in records_of(kind))


def check_nesting(record: Record) -> None:
    """Check what is in a class that has just been made. Raises `SchemaError` for what could have no value at all."""
    for field in record.fields:
        for inner in records_of(field.kind):
            if not hasattr(inner, "blank"):
                text = f"{inner.name} has no instances: decorate it with @message(type_id) or @subtype"
                raise SchemaError(f"{record.qualified_name}.{field.name}: {text}")
        if record.recursive and _holds(field.kind, record):
            text = f"each {record.name} would hold another one, without an end"
            remedy = f"write '{record.name} | None' or tuple['{record.name}', ...]"
            raise SchemaError(f"{record.qualified_name}.{field.name}: {text}: {remedy}")
        if record.recursive and (around := _around(field.kind, record, {})) > _MAX_AROUND:
            text = f"{record.name} is in {around} arrays and other values in one another, max {_MAX_AROUND}"
            raise SchemaError(f"{record.qualified_name}.{field.name}: {text}: nest fewer of them in one field")


def records_of(kind: Kind) -> Iterator[Record]:
    """Yield all records in a kind, each once, before those in its fields."""
    return _records_of(kind, set())


def _records_of(kind: Kind, seen: set[type]) -> Iterator[Record]:
    """Yield all records in a kind, each once; ``seen`` has the classes of those that are not to be yielded."""
    if isinstance(kind, Nested):
        if kind.record.cls in seen:
            return
        seen.add(kind.record.cls)
        yield kind.record
    for part in parts_of(kind):
        yield from _records_of(part, seen)


def _holds(kind: Kind, record: Record, around: frozenset[type] = frozenset()) -> bool:
    """Return whether each value of ``kind`` has an instance of ``record``'s class in it; ``around`` has it in them."""
    match kind:
        case Nested(record=inner):
            if inner.cls in around:
                return True  # a member of a union that is the class itself: not where a value ends
            around |= {inner.cls}
            return inner.cls is record.cls or any(_holds(field.kind, record, around) for field in inner.fields)
        case Limited(inner=Array(element=inner)) if kind.limits.length is not None and kind.limits.length[0] > 0:
            return _holds(inner, record, around)
        case Sized(inner=inner) | Limited(inner=inner) | Scalar(inner=inner):
            return _holds(inner, record, around)
        case Array(element=element, count=Fixed(size=size)):
            return size > 0 and _holds(element, record, around)
        case Tagged(variants=variants, unknown=False):
            return all(_holds(Nested(variant.record), record, around) for variant in variants)
        case Either(options=options):
            return all(_holds(option, record, around) for option in options)
    return False


def _around(kind: Kind, record: Record, known: dict[type, int]) -> int:
    """Return the max number of kinds in one another around ``record`` in a kind, -1 if it is not in it.

    ``known`` has those of other classes.
    """
    if not isinstance(kind, Nested):
        most = max((_around(part, record, known) for part in parts_of(kind)), default=-1)
        return most if most < 0 else most + 1
    cls = kind.record.cls
    if cls is record.cls:
        return 0
    if cls not in known:
        known[cls] = -1  # in itself: it adds nothing
        most = max((_around(part, record, known) for part in parts_of(kind)), default=-1)
        known[cls] = most if most < 0 else most + 1
    return known[cls]
