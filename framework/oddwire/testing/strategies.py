"""Hypothesis strategies for valid messages, derived from their schemas."""

from __future__ import annotations

import string
from typing import Any, TypeVar

from hypothesis import strategies as st

from oddwire.proto.keys import PrivateKey, PublicKey
from oddwire.schema import Message, Record, schema_of
from oddwire.schema.kinds import (
    Anything,
    Array,
    Boolean,
    Choice,
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
    Table,
    Text,
)

__all__ = ["messages", "values"]

M = TypeVar("M", bound=Message)

_GROUP_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def messages(message: type[M], *, max_size: int = 8, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[M]:
    """Return a strategy for instances of ``message`` that its codec can encode.

    ``max_size`` bounds texts, bytes and lists whose length is not fixed; ``fields`` are strategies for fields by name,
    for a protocol that is stricter than the schema. Raises `TypeError` for a field that the message does not have.
    """
    schema = schema_of(message)
    for name in fields:
        if schema.field(name) is None:
            raise TypeError(f"{schema.qualified_name} has no field {name!r}")
    made: st.SearchStrategy[M] = _records(schema, schema.codec, max_size, fields)
    return made


def values(kind: Kind, *, codec: str = "msgpack", max_size: int = 8) -> st.SearchStrategy[Any]:
    """Return a strategy for values of one kind that ``codec`` can encode."""
    match kind:
        case Integer():
            return st.integers(kind.low, kind.high)
        case Boolean():
            return st.booleans()
        case Float():
            return st.floats(allow_nan=False, allow_infinity=False)
        case Octets(count=Led(sizes=sizes)):
            firsts = st.integers(0, len(sizes) - 1)
            return firsts.flatmap(
                lambda first: st.binary(min_size=sizes[first] - 1, max_size=sizes[first] - 1).map(
                    lambda rest: bytes([first]) + rest
                )
            )
        case Octets():
            low, high = _lengths(kind, max_size)
            return st.binary(min_size=low, max_size=high)
        case Text():
            return _texts(kind, max_size)
        case Opaque():
            return _opaques(kind)
        case Choice():
            return st.sampled_from(list(kind.members.values()))
        case Maybe():
            return st.none() | values(kind.inner, codec=codec, max_size=max_size)
        case Array():
            low, high = _lengths(kind, max_size)
            elements = values(kind.element, codec=codec, max_size=max_size)
            return st.lists(elements, min_size=low, max_size=high).map(kind.python)
        case Table():
            _, high = _lengths(kind, max_size)
            inner = values(kind.value, codec=codec, max_size=max_size)
            return st.dictionaries(_texts(Text(), max_size), inner, max_size=high)
        case Nested():
            return _records(kind.record, codec, max_size, {})
        case Anything():
            return _anything(codec, max_size)
    raise TypeError(f"no strategy for kind {kind!r}")


@st.composite
def _records(
    draw: st.DrawFn, record: Record, codec: str, max_size: int, given: dict[str, st.SearchStrategy[Any]]
) -> Any:
    made: dict[str, Any] = {}
    counted: dict[str, int] = {}  # length fields: several fields of one length agree with the first
    for field in record.fields:
        kind = field.kind
        if field.name in given:
            made[field.name] = draw(given[field.name])
            continue
        count = getattr(kind, "count", None)
        if isinstance(count, Named):
            size = counted.setdefault(count.field, min(made[count.field], max_size))
            made[count.field] = size
            made[field.name] = draw(_of_length(kind, size, codec, max_size))
            continue
        if isinstance(kind, Maybe) and codec == "bolt" and field.default is not None:
            kind = kind.inner  # an absent TLV record means the default: None cannot be distinguished from it
        made[field.name] = draw(values(kind, codec=codec, max_size=max_size))
    return record.cls(**made)


def _of_length(kind: Kind, size: int, codec: str, max_size: int) -> st.SearchStrategy[Any]:
    if isinstance(kind, Array):
        elements = values(kind.element, codec=codec, max_size=max_size)
        return st.lists(elements, min_size=size, max_size=size).map(kind.python)
    if isinstance(kind, Octets):
        return st.binary(min_size=size, max_size=size)
    return st.text(string.printable, min_size=size, max_size=size)


def _lengths(kind: Octets | Text | Array | Table, max_size: int) -> tuple[int, int]:
    count = None if isinstance(kind, Table) else kind.count
    if isinstance(count, Fixed):
        return count.size, count.size
    high = max_size if kind.max_length is None else min(max_size, kind.max_length)
    return 0, min(high, count.integer.high) if isinstance(count, Prefixed) else high


def _texts(kind: Text, max_size: int) -> st.SearchStrategy[str]:
    low, high = _lengths(kind, max_size)
    if isinstance(kind.count, Fixed):  # counts bytes, so one per character
        return st.text(string.printable, min_size=low, max_size=high)
    everything = st.characters(codec="utf-8")
    if isinstance(kind.count, Prefixed):
        most = kind.count.integer.high
        return st.text(everything, max_size=high).filter(lambda text: len(text.encode()) <= most)
    return st.text(everything, max_size=high)


def _opaques(kind: Opaque) -> st.SearchStrategy[Any]:
    if kind.python is PublicKey:  # only about every other number is the x of a point
        scalars = st.integers(1, _GROUP_ORDER - 1)
        return scalars.map(lambda scalar: PrivateKey(scalar.to_bytes(32, "big")).public_key())
    return st.binary(min_size=kind.size, max_size=kind.size).map(kind.load)


def _anything(codec: str, max_size: int) -> st.SearchStrategy[Any]:
    plain: st.SearchStrategy[Any] = (
        st.none()
        | st.booleans()
        | st.integers(-(1 << 63), (1 << 64) - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | _texts(Text(), max_size)
    )
    if codec == "msgpack":
        plain |= st.binary(max_size=max_size)
    return st.recursive(
        plain,
        lambda inner: (
            st.lists(inner, max_size=max_size) | st.dictionaries(_texts(Text(), max_size), inner, max_size=max_size)
        ),
        max_leaves=max_size,
    )
