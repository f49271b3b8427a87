"""Memory taken by decoded messages: a few bytes of a payload can become many objects.

A payload of 64 KB that lists empty subtypes decodes to 4 MB. Limits on queued messages count that weight: about what
CPython needs, rounded up rather than down, and without a look at each element where all have the same size.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from oddwire.schema.class_records import Record
from oddwire.schema.kinds import (
    Anything,
    Array,
    Boolean,
    Choice,
    Float,
    Integer,
    Kind,
    Maybe,
    Nested,
    Octets,
    Opaque,
    Sized,
    Table,
    Text,
)
from oddwire.schema.union_kinds import Either, Tagged, UnknownVariant, python_classes
from oddwire.schema.value_kinds import Limited, Scalar

__all__ = ["weigher"]

_Weigh = Callable[[Any], int]

_SLOT: Final = 8  # bytes: a reference, in an object or a list
_OBJECT: Final = 32  # an object without its slots, with the header of the garbage collector
_INTEGER: Final = 32
_SMALL: Final = 8  # bits of an integer that CPython has cached
_FLOAT: Final = 24
_OPAQUE: Final = 256  # a point, a channel's id
_LIST: Final = 72
_TABLE: Final = 256
_ENTRY: Final = 112  # of a dict, besides key and value
_KEY: Final = 56  # a short text


def weigher(record: Record) -> _Weigh | None:
    """Return a function from an instance to its memory in bytes; None if that is about the size of its payload.

    None is returned for all but classes that hold lists, dicts, plain values or themselves.
    """
    if not any(_grows(field.kind) for field in record.fields):
        return None
    size, function = _of_record(record)
    return (lambda _: size) if function is None else (lambda instance: size + function(instance))


def _grows(kind: Kind) -> bool:
    match kind:
        case Maybe() | Sized() | Scalar() | Limited():
            return _grows(kind.inner)
        case Nested():
            return kind.record.recursive or any(_grows(field.kind) for field in kind.record.fields)
        case Tagged():
            return kind.unknown or any(_grows(Nested(variant.record)) for variant in kind.variants)
        case Either():
            return any(map(_grows, kind.options))
    return isinstance(kind, Array | Table | Anything)


def _of(kind: Kind) -> tuple[int, _Weigh | None]:
    """Return the bytes that any value of a kind takes and, if values differ, a function for what a value adds."""
    match kind:
        case Integer():
            return (0 if kind.form == "fixed" and kind.bits <= _SMALL and not kind.signed else _INTEGER), None
        case Boolean() | Choice():
            return 0, None
        case Float():
            return _FLOAT, None
        case Opaque():
            return _OPAQUE, None
        case Octets() | Text():
            return 0, _size
        case Maybe():
            size, function = _of(kind.inner)
            return size, None if function is None else _or_none(function)
        case Sized():
            return _of(kind.inner)
        case Nested(record=record) if record.recursive:
            return 0, lambda instance: _of_recursive(record)(instance)
        case Nested():
            return _of_record(kind.record)
        case Array():
            return _LIST, _of_elements(*_of(kind.element))
        case Table():
            return _TABLE, _of_entries(*_of(kind.value))
        case Anything():
            return 0, _anything
        case Tagged():
            members = {variant.record.cls: _of(Nested(variant.record)) for variant in kind.variants}
            return 0, _of_class({**members, UnknownVariant: (_TABLE, _of_unknown)})
        case Either():
            return 0, _of_class({cls: _of(option) for option in kind.options for cls in python_classes(option)})
        case Scalar():
            size, function = _of(kind.inner)
            return size + _OPAQUE, None if function is None else _carried(kind, function)
        case Limited():
            return _of(kind.inner)
    raise TypeError(f"{kind.label} has no weight")  # a new kind that is missing here


def _of_record(record: Record) -> tuple[int, _Weigh | None]:
    fixed = _OBJECT + _SLOT * len(record.fields)
    weigh = []
    for field in record.fields:
        size, function = _of(field.kind)
        fixed += size
        if function is not None:
            weigh.append((field.name, function))
    if not weigh:
        return fixed, None
    return fixed, lambda instance: sum([function(getattr(instance, name)) for name, function in weigh])


@lru_cache(maxsize=256)
def _of_recursive(record: Record) -> _Weigh:
    """Return the function for the whole of an instance: made when the first one is weighed, as it calls itself."""
    size, function = _of_record(record)
    return (lambda _: size) if function is None else (lambda instance: size + function(instance))


def _size(value: Any) -> int:
    return sys.getsizeof(value)


def _or_none(function: _Weigh) -> _Weigh:
    return lambda value: 0 if value is None else function(value)


def _of_class(members: Mapping[type, tuple[int, _Weigh | None]]) -> _Weigh:
    """Return a function from a value to its whole memory, by its class."""

    def weigh(value: Any) -> int:
        size, function = members.get(type(value), (0, _size))
        return size if function is None else size + function(value)

    return weigh


def _carried(scalar: Scalar, function: _Weigh) -> _Weigh:
    def weigh(value: Any) -> int:
        try:
            return function(scalar.dump(value))
        except Exception:  # an author's function may raise any error; the weight is needed all the same
            return sys.getsizeof(value)

    return weigh


def _of_unknown(value: UnknownVariant) -> int:
    return _anything(value.tag) + _anything(value.body)


def _of_elements(size: int, function: _Weigh | None) -> _Weigh:
    size += _SLOT
    if function is None:
        return lambda elements: size * len(elements)
    return lambda elements: size * len(elements) + sum(map(function, elements))


def _of_entries(size: int, function: _Weigh | None) -> _Weigh:
    size += _ENTRY + _KEY
    if function is None:
        return lambda table: size * len(table) + sum(map(len, table))
    return lambda table: size * len(table) + sum(map(len, table)) + sum(map(function, table.values()))


def _anything(value: Any) -> int:
    if isinstance(value, Mapping):
        return _TABLE + sum([_ENTRY + _KEY + len(key) + _anything(inner) for key, inner in value.items()])
    if isinstance(value, list | tuple):
        return _LIST + _SLOT * len(value) + sum(map(_anything, value))
    return sys.getsizeof(value)
