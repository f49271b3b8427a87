"""How many bytes the bolt codec writes for values of a kind, and where it finds how many there are."""

from __future__ import annotations

from typing import Final

from oddwire.schema.class_records import Record
from oddwire.schema.kinds import (
    Array,
    Boolean,
    Choice,
    Count,
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
    Rest,
    Sized,
    Text,
)
from oddwire.schema.nesting import records_of
from oddwire.schema.union_kinds import Tagged
from oddwire.schema.value_kinds import Limited, Scalar

__all__ = ["DEFAULT_COUNT", "count_of", "least_size", "takes_rest"]

DEFAULT_COUNT: Final = Prefixed(Integer("u16", 16))
"""The bolt codec's default count, as mostly in the BOLTs. In a TLV record: `Rest`."""

_ENDLESS: Final = 1 << 64  # bytes: more than any value
_LEAST_SIZE: Final = "_least_size"


def count_of(kind: Octets | Text | Array, *, is_record: bool = False) -> Count:
    """Return how the bolt codec finds the length of ``kind``; ``is_record`` if it alone is a TLV record's value."""
    return kind.count or (Rest() if is_record else DEFAULT_COUNT)


def least_size(kind: Kind) -> int:
    """Return the min bytes that the bolt codec writes for ``kind``. It is computed once and kept with the kind."""
    known: int | None = vars(kind).get(_LEAST_SIZE)
    if known is None:
        sizes = _least_sizes(kind)
        known = vars(kind)[_LEAST_SIZE] = _least(kind, sizes)  # no field, so kinds with and without it are equal
    return known


def _least_sizes(kind: Kind) -> dict[type, int]:
    """Return the min bytes of each class in ``kind``, for all of them at once: they may be in many unions each.

    A class that is in itself, as a member of a union, starts without an end, and another member ends it.
    """
    records = [*records_of(kind)]
    records.reverse()  # mostly those first that others are made of
    sizes = {record.cls: _ENDLESS for record in records}
    changed = True
    while changed:
        changed = False
        for record in records:
            positional = (field.kind for field in record.fields if field.tlv is None)
            size = min(sum(_least(each, sizes) for each in positional), _ENDLESS)
            changed = changed or size != sizes[record.cls]
            sizes[record.cls] = size
    return sizes


def _least(kind: Kind, sizes: dict[type, int]) -> int:
    match kind:
        case Integer():
            return {"truncated": 0, "bigsize": 1}.get(kind.form, kind.bits // 8)
        case Choice():
            return _least(kind.base, sizes)
        case Opaque():
            return kind.size
        case Octets() | Text() | Array():
            if isinstance(kind.count, Fixed):
                return kind.count.size * (_least(kind.element, sizes) if isinstance(kind, Array) else 1)
            if isinstance(kind.count, Led):
                return min(kind.count.sizes)
            if isinstance(kind.count, Rest | Named):
                return 0
            return _least((kind.count or DEFAULT_COUNT).integer, sizes)
        case Nested():
            return sizes[kind.record.cls]
        case Sized():
            return _least(kind.integer, sizes) + _least(kind.inner, sizes)
        case Maybe(flag=Integer() | Boolean() as flag):
            return _least(flag, sizes)
        case Tagged():
            bodies = [0] if kind.unknown else [sizes[each.record.cls] for each in kind.variants]
            return sum(_least(part, sizes) for part in (kind.integer, kind.length) if part) + min(bodies)
        case Scalar() | Limited():
            return _least(kind.inner, sizes)
    return 1  # bool


def takes_rest(record: Record) -> bool:
    """Return whether ``record`` can extend to the end of its container, so that nothing can follow it with bolt."""
    return _fills(Nested(record), set())


def _fills(kind: Kind, seen: set[type]) -> bool:
    match kind:
        case Integer(form="truncated"):
            return True
        case Octets(count=Rest()) | Text(count=Rest()) | Array(count=Rest()):
            return True
        case Maybe(inner=inner) | Scalar(inner=inner) | Limited(inner=inner):
            return _fills(inner, seen)
        case Nested(record=record) if record.cls not in seen:
            fields = record.fields
            seen.add(record.cls)
            return any(field.tlv is not None for field in fields) or (bool(fields) and _fills(fields[-1].kind, seen))
        case Tagged(length=None) as union:
            return union.unknown or any(_fills(Nested(variant.record), seen) for variant in union.variants)
    return False
