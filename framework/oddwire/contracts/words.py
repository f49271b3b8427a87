"""Kinds and limits in words, for documents."""

from __future__ import annotations

from collections.abc import Iterator

from oddwire.contracts.types import integer_name
from oddwire.schema.kinds import (
    Anything,
    Array,
    Boolean,
    Choice,
    Fixed,
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
from oddwire.schema.union_kinds import Either, Tagged
from oddwire.schema.value_kinds import Limited, Scalar

__all__ = ["choices_of", "in_words", "limits_in_words"]


def in_words(kind: Kind, codec: str) -> str:
    """Return what a value is with a codec that writes names: msgpack or json."""
    is_json = codec == "json"
    match kind:
        case Integer(quoted=True) if is_json:
            return f"string of decimal digits, {_range(kind)}"
        case Integer():
            return f"integer, {_range(kind)}"
        case Boolean():
            return "boolean"
        case Float():
            return "number"
        case Octets():
            name = "" if kind.name == "bytes" else f"{kind.name}: "
            size = f"{kind.count.size} bytes" if isinstance(kind.count, Fixed) else "bytes"
            return f"{name}{size}{' as hex digits' if is_json else ''}"
        case Text():
            return "string"
        case Opaque(name="short_channel_id") if is_json:
            return "short channel id, `539268x845x1`"
        case Opaque():
            return f"{kind.name}: {kind.size} bytes{' as hex digits' if is_json else ''}"
        case Choice():
            return f"one of {', '.join(f'`{_value(wire)}`' for wire in kind.members)}"
        case Maybe():
            return f"{in_words(kind.inner, codec)}, or {'null' if is_json else 'nil'}"
        case Sized():
            return in_words(kind.inner, codec)
        case Array():
            size = f"{kind.count.size} times" if isinstance(kind.count, Fixed) else "each"
            return f"array, {size}: {in_words(kind.element, codec)}"
        case Table():
            return f"map of strings, to each: {in_words(kind.value, codec)}"
        case Nested():
            return f"map: `{kind.record.name}`"
        case Tagged():
            members = ", ".join(f"`{_value(one.tag)}` for `{one.record.name}`" for one in kind.variants)
            return f"map, whose key `{kind.key}` says which: {members}{', or others' if kind.unknown else ''}"
        case Either():
            return " or ".join(in_words(option, codec) for option in kind.options)
        case Scalar():
            carried = "string" if is_json and kind.show is not None else in_words(kind.inner, codec)
            return f"{kind.name}: {carried}"
        case Limited():
            return in_words(kind.inner, codec)
        case Anything():
            return "any value"
    return kind.label


def limits_in_words(kind: Kind) -> Iterator[str]:
    """Yield what a value should be besides its type: ``at most 80 characters``."""
    match kind:
        case Limited():
            yield from limits_in_words(kind.inner)
            yield kind.limits.describe(kind.unit)
        case Maybe() | Sized() | Scalar():
            yield from limits_in_words(kind.inner)
        case Text() | Octets() | Array() | Table() if kind.max_length is not None:
            unit = {Text: "characters", Octets: "bytes", Array: "elements", Table: "keys"}[type(kind)]
            yield f"at most {kind.max_length} {unit}"
    if isinstance(kind, Array):
        for words in limits_in_words(kind.element):
            yield f"each {words}"


def choices_of(kind: Kind) -> Choice | None:
    """Return the enum in a kind; None if there is none."""
    while isinstance(kind, Maybe | Sized | Scalar | Limited | Array):
        kind = kind.element if isinstance(kind, Array) else kind.inner
    return kind if isinstance(kind, Choice) else None


def _range(kind: Integer) -> str:
    if kind.form == "plain":
        return "64 bits"
    return f"{integer_name(kind)}"


def _value(wire: int | str) -> str:
    return str(wire)
