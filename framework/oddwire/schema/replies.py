"""What a message class declares about its replies: their classes, and the field by which they belong to a request.

Imported by the first message that declares any.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Any

from oddwire.errors import SchemaError
from oddwire.schema.class_records import Field, Record, Schema
from oddwire.schema.classes import qualified_name
from oddwire.schema.kinds import (
    Anything,
    Array,
    Boolean,
    Choice,
    Fixed,
    Float,
    Integer,
    Kind,
    Nested,
    Octets,
    Opaque,
    Table,
    Text,
    unboxed,
)
from oddwire.schema.union_kinds import Either, Tagged
from oddwire.schema.value_kinds import Scalar, unlimited

__all__ = ["can_be_equal", "check_match", "classes_of", "wrong_field"]


def classes_of(cls: type, replies: Any) -> tuple[type, ...]:
    """Return the message classes given as ``replies=``: one, a union, or several. Raises `SchemaError`."""
    where = f"{qualified_name(cls)}, @message(..., replies=)"
    if isinstance(replies, type):
        given: tuple[Any, ...] = (replies,)
    elif typing.get_origin(replies) in (typing.Union, types.UnionType):
        given = typing.get_args(replies)
    elif isinstance(replies, Iterable) and not isinstance(replies, str | bytes):
        given = tuple(replies)
    else:
        given = (replies,)
    if not given:
        raise SchemaError(f"{where}: should name a message class; leave it out if nothing is replied")
    for reply in given:
        if isinstance(reply, str):
            raise SchemaError(f"{where}: {reply!r} should be the class itself, declared above this one, not its name")
        if not isinstance(reply, type):
            raise SchemaError(f"{where}: should be message classes, (Quote, NoQuote) say, not {reply!r:.100}")
        if not isinstance(getattr(reply, "__oddwire__", None), Schema):
            raise SchemaError(f"{where}: {qualified_name(reply)} is not a message: decorate it with @message(type_id)")
    if len(set(given)) < len(given):
        twice = next(reply for number, reply in enumerate(given) if reply in given[:number])
        raise SchemaError(f"{where}: names {qualified_name(twice)} twice")
    return given


def check_match(schema: Schema) -> None:
    """Check that the field named by ``match`` is in the request and all of its replies. Raises `SchemaError`."""
    where = f"{schema.qualified_name}, @message(..., match={schema.match!r})"
    if not isinstance(schema.match, str):
        should = "the name of a field; a function goes to request(..., match=)"
        raise SchemaError(f"{where}: should be {should}")
    own = schema.field(schema.match)
    if own is None:
        raise SchemaError(f"{where}: {schema.name} has no field {schema.match!r}; it has {_fields(schema)}")
    if not _is_exact(own.kind):
        should = "a single value that is compared exactly, such as an integer, a string or bytes"
        raise SchemaError(f"{where}: should be {should}, not {own.kind.label}")
    for reply in schema.replies:
        if why := wrong_field(schema, own, typing.cast("Any", reply).__oddwire__):
            raise SchemaError(f"{where}: {why}")


def wrong_field(request: Record, field: Field, reply: Record) -> str:
    """Return why a reply cannot be matched by this field of the request, for an error's text; empty if it can."""
    theirs = reply.field(field.name)
    if theirs is None:
        return f"its reply {reply.qualified_name} has no field {field.name!r}; it has {_fields(reply)}"
    if not can_be_equal(field.kind, theirs.kind):
        ours = f"{field.kind.label} in {request.name}"
        return f"{field.name!r} is {ours} and {theirs.kind.label} in {reply.qualified_name}: these are never equal"
    return ""


def can_be_equal(one: Kind, other: Kind) -> bool:
    """Return whether fields of two kinds can have equal values."""
    one, other = unlimited(unboxed(one)), unlimited(unboxed(other))
    match one, other:
        case (Anything(), _) | (_, Anything()):
            return True
        case Integer(), Integer():
            return one.low <= other.high and other.low <= one.high
        case Octets(), Octets():
            fixed = {kind.count.size for kind in (one, other) if isinstance(kind.count, Fixed)}
            return len(fixed) < 2
        case (Choice(), _) | (_, Choice()):
            return _choice_can_be_equal(one, other)
        case (Either(options=options), kind) | (kind, Either(options=options)):
            return any(can_be_equal(option, kind) for option in options)
        case Opaque() | Scalar(), Opaque() | Scalar():
            return issubclass(one.python, other.python) or issubclass(other.python, one.python)
        case (Opaque() | Scalar(), _) | (_, Opaque() | Scalar()):
            return _object_can_be_equal(one, other)
        case Tagged(), Tagged():
            return (one.unknown and other.unknown) or not one.by_class.keys().isdisjoint(other.by_class)
        case (Tagged() as union, Nested(record=record)) | (Nested(record=record), Tagged() as union):
            return record.cls in union.by_class
        case Nested(), Nested():
            return one.record.cls is other.record.cls
        case Array(), Array():
            return can_be_equal(one.element, other.element)
    return type(one) is type(other) and isinstance(one, Text | Boolean | Float | Table)


def _object_can_be_equal(one: Kind, other: Kind) -> bool:
    """Return whether objects of a class can be equal to plain values: if the class is one of such values."""
    if not isinstance(one, Opaque | Scalar):
        one, other = other, one
    plain = {Integer: int, Octets: bytes, Text: str, Float: float, Boolean: bool}.get(type(other))
    return isinstance(one, Opaque | Scalar) and plain is not None and issubclass(one.python, plain)


def _choice_can_be_equal(one: Kind, other: Kind) -> bool:
    if not isinstance(one, Choice):
        one, other = other, one
    if not isinstance(one, Choice):
        return False
    values = one.members.values()
    match other:
        case Choice():
            return any(value in other.members.values() for value in values)
        case Integer():
            return any(isinstance(value, int) and other.low <= value <= other.high for value in values)
        case Text():
            return any(isinstance(value, str) for value in values)
    return False


def _is_exact(kind: Kind) -> bool:
    kind = unlimited(unboxed(kind))
    if isinstance(kind, Either):
        return all(map(_is_exact, kind.options))
    return not isinstance(kind, Array | Table | Float)


def _fields(record: Record) -> str:
    return ", ".join(field.name for field in record.fields) or "none"
