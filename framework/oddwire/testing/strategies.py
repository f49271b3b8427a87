"""Hypothesis strategies for valid messages, derived from their schemas."""

from __future__ import annotations

import string
from functools import partial
from typing import Any, Final, TypeVar

from hypothesis import reject
from hypothesis import strategies as st

from oddwire.codecs.bolt.reference_writing import write_value
from oddwire.proto.keys import NodeId, PrivateKey, PublicKey
from oddwire.schema import Message, Record, schema_of
from oddwire.schema.annotations import kind_of
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
    Sized,
    Table,
    Text,
    unboxed,
)
from oddwire.schema.union_kinds import Either, Tagged, UnknownVariant
from oddwire.schema.value_kinds import Limited, Scalar, carrier, unlimited
from oddwire.testing import value_strategies

__all__ = ["messages", "register_strategy", "values"]

M = TypeVar("M", bound=Message)

_registered: Final[list[tuple[Kind, st.SearchStrategy[Any]]]] = []  # not all kinds can be hashed
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
    made: st.SearchStrategy[M] = _instances(schema, schema.codec, max_size, fields)
    return made


def register_strategy(annotation: Any, strategy: st.SearchStrategy[Any]) -> None:
    """Draw the values of a field type from ``strategy`` from now on: of one that `scalar` made, say.

    Without that a scalar's values are made by its ``load`` of any values of its wire type; one that accepts few of
    them, a text of a certain form say, needs a strategy of its own. Limits are respected all the same. Raises
    `SchemaError` for what is no field type.
    """
    _registered.insert(0, (kind_of(annotation), strategy))


def _registered_for(kind: Kind) -> st.SearchStrategy[Any] | None:
    return next((strategy for known, strategy in _registered if known == kind), None)


def values(kind: Kind, *, codec: str = "msgpack", max_size: int = 8) -> st.SearchStrategy[Any]:
    """Return a strategy for values of one kind that ``codec`` can encode."""
    if (registered := _registered_for(kind)) is not None:
        return registered
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
            if max_size == 0 and isinstance(unboxed(kind), Nested | Array | Table):
                return st.none()
            return st.none() | values(kind.inner, codec=codec, max_size=max_size)
        case Sized():
            return _sized(kind, codec, max_size)
        case Array():
            low, high = _lengths(kind, max_size)
            elements = values(kind.element, codec=codec, max_size=max_size)
            return st.lists(elements, min_size=low, max_size=high).map(kind.python)
        case Table():
            _, high = _lengths(kind, max_size)
            inner = values(kind.value, codec=codec, max_size=max_size)
            return st.dictionaries(_texts(Text(), max_size), inner, max_size=high)
        case Nested():
            return _instances(kind.record, codec, max_size // (2 if kind.record.recursive else 1), {})
        case Anything():
            return _anything(codec, max_size)
        case Tagged():
            members = [_instances(variant.record, codec, max_size, {}) for variant in kind.variants]
            return st.one_of(*members, *([_unknown(kind, codec, max_size)] if kind.unknown else []))
        case Either():
            return st.one_of(*(values(option, codec=codec, max_size=max_size) for option in kind.options))
        case Scalar():
            return value_strategies.scalars(kind, partial(values, codec=codec, max_size=max_size))
        case Limited() if _registered_for(unlimited(kind)) is not None:
            return value_strategies.around(kind, values(kind.inner, codec=codec, max_size=max_size))
        case Limited():
            return value_strategies.limited(kind, partial(values, codec=codec, max_size=max_size), max_size)
    raise TypeError(f"no strategy for kind {kind!r}")


def _instances(
    record: Record, codec: str, max_size: int, given: dict[str, st.SearchStrategy[Any]]
) -> st.SearchStrategy[Any]:
    made = _records(record, codec, max_size, given)
    return made.filter(partial(value_strategies.is_valid, record)) if record.validators else made


def _unknown(kind: Tagged, codec: str, max_size: int) -> st.SearchStrategy[UnknownVariant]:
    integers = st.integers(kind.number.low, kind.number.high)
    every = {int: integers, str: _texts(Text(), max_size), None: integers | _texts(Text(), max_size)}
    tags: st.SearchStrategy[Any] = every[kind.tag_class]
    bodies: st.SearchStrategy[Any] = st.binary(max_size=max_size)
    if codec != "bolt":
        keys = _texts(Text(), max_size).filter(lambda key: key != kind.key)
        bodies = st.dictionaries(keys, _anything(codec, max_size), max_size=max_size)
    return st.builds(UnknownVariant, tags.filter(lambda tag: tag not in kind.by_tag), bodies)


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
        count = getattr(carrier(kind), "count", None)
        if isinstance(count, Named):
            size = counted.setdefault(count.field, value_strategies.size_within(kind, made[count.field], max_size))
            made[count.field] = size
            made[field.name] = draw(_of_length(kind, size, codec, max_size))
            continue
        if codec == "bolt" and not field.none_is_absent:
            kind = field.record_kind  # an absent TLV record means the default: None cannot be distinguished from it
        made[field.name] = draw(values(kind, codec=codec, max_size=max_size))
    return record.cls(**made)


@st.composite
def _sized(draw: st.DrawFn, kind: Sized, codec: str, max_size: int) -> Any:
    for size in (max_size, max_size // 4, 0):
        value = draw(values(kind.inner, codec=codec, max_size=size))
        if codec != "bolt" or len(write_value(kind.inner, value)) <= kind.integer.high:
            return value
    return reject()


def _of_length(kind: Kind, size: int, codec: str, max_size: int) -> st.SearchStrategy[Any]:
    if isinstance(kind, Scalar | Limited):
        return value_strategies.around(kind, _of_length(kind.inner, size, codec, max_size))
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
    if kind.python is NodeId:  # its form is checked, and not that it is a point
        halves = st.tuples(st.sampled_from([b"\2", b"\3"]), st.binary(min_size=32, max_size=32))
        return halves.map(lambda parts: NodeId(b"".join(parts)))
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
        max_leaves=max(max_size, 1),
    )
