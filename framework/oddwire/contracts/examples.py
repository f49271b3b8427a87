"""Example values of a schema: real ones, that its codec encodes, and the same each time.

The first is the plainest; those that follow go to the ends of each field, as a document or a test of limits wants them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final

from oddwire.codecs.registry import builtin_codecs
from oddwire.contracts.patterns import matching
from oddwire.errors import OddwireError
from oddwire.proto.keys import PublicKey
from oddwire.schema import Field, Message, Record, schema_of
from oddwire.schema.forms import JSON, KEPT, MSGPACK
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
    Sized,
    Table,
    Text,
)
from oddwire.schema.standard_scalars import DATETIME, DECIMAL
from oddwire.schema.tree import dump
from oddwire.schema.union_kinds import Either, Tagged, UnknownVariant
from oddwire.schema.value_kinds import Limited, Scalar, carrier

__all__ = ["Example", "examples", "values"]

_KEYS: Final = (
    bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"),
    bytes.fromhex("02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"),
)
_SIZES: Final = (0, 1, 3, 8, 33, 65, 101, 300, 1001)
_LONGEST: Final = 70_000
_DEPTH: Final = 3
_TIMES: Final = ("2024-01-31T12:00:00Z", "1970-01-01T00:00:00Z", "2024-01-31T12:00:00.000001Z")
_SECONDS: Final = (253_402_300_799, 1 << 32, -62_135_596_800)
_MOST: Final = 400

Example = tuple[Message, bytes]
"""A message, and its payload."""


def examples(cls: type[Message], most: int = 1) -> list[Example]:
    """Return up to ``most`` messages, each with its payload; none where no value was found that encodes.

    That is so of a message of a codec that is not oddwire's, and of one whose validators accept none of the values.
    """
    schema = schema_of(cls)
    codec = schema.own_codec or {codec.name: codec for codec in builtin_codecs()}.get(schema.codec)
    if codec is None:
        return []
    found: list[Example] = []
    plan = codec.compile(schema)
    for made in itertools.islice(_instances(schema, schema.codec, 0), _MOST):
        if len(found) >= most:
            break
        try:
            payload = plan.encode(made)
            if plan.decode(payload) == made or most > 1:
                found.append((made, payload))
        except OddwireError:
            continue
    return found


def values(kind: Kind, codec: str, depth: int = 0) -> Iterator[Any]:
    """Yield values of a kind, the plainest first; not all of them need be ones that can be sent."""
    match kind:
        case Integer():
            yield from _first(min(kind.high, 1000 if kind.bits > 8 else 7), kind.high, kind.low, 1, 0, 200, 40_000)
        case Boolean():
            yield from (True, False)
        case Float():
            yield from (1.5, 0.0, -1e300, 1e300, 0.25, 1e-9)
        case Octets():
            yield from _octets(kind)
        case Text():
            yield from _texts(kind, codec)
        case Opaque():
            yield from _opaques(kind)
        case Choice():
            yield from kind.members.values()
        case Maybe():
            if depth < _DEPTH:
                yield from values(kind.inner, codec, depth)
            yield None
        case Sized():
            yield from values(kind.inner, codec, depth)
        case Array():
            yield from (kind.python(elements) for elements in _elements(kind, codec, depth))
        case Table():
            inner = [] if depth >= _DEPTH else [*itertools.islice(values(kind.value, codec, depth + 1), 12)]
            yield from ({"key": value} for value in inner)
            yield {}
            yield from ({f"key{number}": inner[0] for number in range(size)} for size in (3, 9, 40) if inner)
        case Nested():
            yield from _instances(kind.record, codec, depth + 1)
        case Anything():
            yield from ({"key": 1}, 1, "text", None, [], 1.5, True)
            if codec == "msgpack":
                yield b"\x01"
        case Tagged():
            yield from _members(kind, codec, depth)
        case Either():
            found = [[*itertools.islice(values(option, codec, depth), 6)] for option in kind.options]
            yield from (value for group in itertools.zip_longest(*found) for value in group if value is not None)
        case Scalar():
            yield from _scalars(kind, codec, depth)
        case Limited():
            yield from (value for value in _limited(kind, codec, depth) if not kind.refuse(value))


def _first(*given: Any) -> Iterator[Any]:
    yield from dict.fromkeys(given)


def _octets(kind: Octets) -> Iterator[bytes]:
    match kind.count:
        case Fixed(size):
            yield from (bytes(number % 256 for number in range(1, size + 1)), b"\xff" * size, bytes(size))
        case Led(sizes):
            yield from (bytes([first]) + bytes([1]) * (size - 1) for first, size in enumerate(sizes))
        case _:
            sizes_ = (3, *_SIZES, kind.max_length or 0)
            yield from (bytes(number % 251 + 1 for number in range(size)) for size in dict.fromkeys(sizes_))
            yield b"\xff\xfe"


def _texts(kind: Text, codec: str) -> Iterator[str]:
    if isinstance(kind.count, Fixed):
        yield from ("a" * kind.count.size, "1" * kind.count.size)
        if codec == "bolt":
            return  # where it counts bytes
    yield from ("text", "", "h\xe9", "5", "\U0001f600")
    yield from ("a" * size for size in (*_SIZES, kind.max_length or 0))


def _opaques(kind: Opaque) -> Iterator[Any]:
    for raw in _KEYS if kind.size == 33 else (bytes([0, 0, 1] * 9)[: kind.size], b"\x01" * kind.size):
        try:
            yield kind.load(raw)
        except ValueError:
            continue
    if kind.size == 33 and kind.python is not PublicKey:
        yield kind.load(b"\x02" + b"\xff" * 32)  # no point of the curve


def _elements(kind: Array, codec: str, depth: int) -> Iterator[list[Any]]:
    found = [] if depth >= _DEPTH else [*itertools.islice(values(kind.element, codec, depth + 1), 12)]
    if isinstance(kind.count, Fixed):
        yield from ([one] * kind.count.size for one in found)
        return
    yield from ([one] for one in found[:1])
    yield []
    yield from ([one] for one in found[1:])
    if found:
        yield from ([found[0]] * size for size in (2, 3, 9, 40, min(kind.max_length or 0, 300)))


def _members(kind: Tagged, codec: str, depth: int) -> Iterator[Any]:
    if depth < _DEPTH + 2:
        found = [[*itertools.islice(_instances(one.record, codec, depth + 1), 8)] for one in kind.variants]
        yield from (value for group in itertools.zip_longest(*found) for value in group if value is not None)
    if kind.unknown:
        tag = "unknown" if kind.tag_class is str else 99
        yield UnknownVariant(tag, b"\x01" if codec == "bolt" else {"key": 1})


def _scalars(kind: Scalar, codec: str, depth: int) -> Iterator[Any]:
    wires: Iterator[Any] = values(kind.inner, codec, depth)
    if kind == DATETIME:
        wires = iter(_TIMES)
    elif kind == DECIMAL:
        wires = iter(("1.50", "0", "-12345678901234567890.5"))
    elif isinstance(kind.inner, Integer):
        wires = itertools.chain(wires, _SECONDS)
    texts = ("2024-01-31T12:00:00.000Z", "00000000-0000-0000-0000-000000000102", "1.50", "abc", "1")
    for wire in (*wires, *(texts if isinstance(kind.inner, Text) else ())):
        try:
            value = kind.from_wire(wire, "$")
            kind.to_wire(value, "$")
        except OddwireError:
            continue
        yield value


def _limited(kind: Limited, codec: str, depth: int) -> Iterator[Any]:
    limits, inner = kind.limits, carrier(kind)
    yield from itertools.islice(values(kind.inner, codec, depth), 1)
    if limits.pattern is not None:
        yield from matching(limits.pattern)
        yield from (text * 8 for text in matching(limits.pattern))
    if limits.length is not None:
        least, most = limits.length
        for size in (least, min(most, max(_LONGEST, least)), max(least, min(most, 4))):
            yield from _of_size(inner, size, codec, depth)
    for bound in limits.bounds.values():
        yield bound
        if isinstance(inner, Integer) and isinstance(bound, int):
            yield from (bound + 1, bound - 1)
        elif isinstance(bound, float):
            yield from (bound + 0.5, bound - 0.5)
    yield from values(kind.inner, codec, depth)


def _of_size(kind: Kind, size: int, codec: str, depth: int) -> Iterator[Any]:
    match kind:
        case Octets():
            yield bytes(number % 251 for number in range(size))
        case Text():
            yield "a" * size
        case Array():
            for one in itertools.islice(values(kind.element, codec, depth + 1), 1):
                yield kind.python([one] * size)
        case Table():
            for one in itertools.islice(values(kind.value, codec, depth + 1), 1):
                yield {f"key{number}": one for number in range(size)}


def _instances(record: Record, codec: str, depth: int) -> Iterator[Any]:
    """Yield instances: the plainest values in all fields, then each field's other values among those."""
    most = 60 if depth == 0 else 8
    found: dict[str, list[Any]] = {}
    for field in record.fields:
        found[field.name] = [*itertools.islice(_of_field(field, codec, depth), most)]
        if not found[field.name]:
            return
    plain = {name: values_[0] for name, values_ in found.items()}
    yield _instance(record, plain)
    for name, values_ in found.items():
        yield from (_instance(record, {**plain, name: value}) for value in values_[1:])
    if depth < 2:
        shortest = {name: values_[-1] for name, values_ in found.items()}
        yield _instance(record, shortest)


def _of_field(field: Field, codec: str, depth: int) -> Iterator[Any]:
    kind = field.kind
    if codec == "bolt" and not field.none_is_absent:
        kind = field.record_kind
    form = {"json": JSON, "msgpack": MSGPACK}.get(codec, KEPT)
    for value in values(kind, codec, depth):
        try:
            dump(kind, value, form)
        except OddwireError:
            continue
        yield value


def _instance(record: Record, given: Mapping[str, Any]) -> Any:
    """Return an instance; fields that are the length of others are that."""
    made = dict(given)
    for field in record.fields:
        count = getattr(carrier(field.kind), "count", None)
        if isinstance(count, Named):
            made[count.field] = len(made[field.name])
    return record.cls(**made)
