"""Every codec: bytes after the type give a message or a documented error, by both ways of a plan the same.

And what was read can be written, and is then read as the same message.
"""

# ruff: noqa: PT017 - a target is told what to raise by no one, so it looks at what was raised

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, IntEnum
from typing import Annotated, Any

from oddwire.codecs import Registry
from oddwire.codecs.base import Plan
from oddwire.codecs.bolt.reference import read_message
from oddwire.codecs.msgpack.codec import unpack
from oddwire.errors import DecodeError, MalformedMessage, PayloadTooLarge, Truncated, UnknownMessage
from oddwire.proto.keys import PrivateKey, ShortChannelId
from oddwire.schema import (
    Message,
    Schema,
    bigsize,
    counted,
    field,
    max_length,
    message,
    point,
    rest,
    s8,
    s64,
    schema_of,
    sha256,
    short_channel_id,
    subtype,
    tu16,
    tu64,
    u8,
    u16,
    u32,
    u64,
)
from oddwire.schema.tree import MSGPACK, load_record

KEY = PrivateKey(b"\1" * 32).public_key()


class Side(Enum):
    BUY = "buy"
    SELL = "sell"


class Level(IntEnum):
    LOW = 1
    HIGH = 200


@subtype
class Order:
    price: u64
    note: str
    level: Annotated[Level, u8] = Level.LOW


@subtype
class Empty:
    pass


class Tree(Message):
    whole: int
    small: s8
    flag: bool
    rate: float
    text: Annotated[str, max_length(20)]
    digest: sha256
    key: point
    place: short_channel_id
    side: Side
    order: Order
    orders: tuple[Order, ...] = ()
    numbers: list[u16] = field(default_factory=list, key="n")
    names: Sequence[str | None] = ()
    table: dict[str, tuple[u8, ...]] = field(default_factory=dict)
    extra: Any = None
    note: str | None = None


@message(0x8C01)
class Packed(Tree):
    pass


@message(0x8C03, codec="json")
class Json(Tree):
    pass


@message(0x8C05, codec="bolt")
class Fields(Message):
    number: u8
    big: bigsize
    flag: bool
    digest: sha256
    place: short_channel_id
    signed: s64
    level: Annotated[Level, u16]
    side: Side
    text: Annotated[str, counted(u8), max_length(20)]
    order: Order
    orders: Annotated[tuple[Order, ...], counted(bigsize)]
    numbers: tuple[u32, ...] = field(count="number")
    bools: list[bool]
    end: Annotated[tuple[bytes, ...], rest]


@message(0x8C07, codec="bolt")
class Records(Message):
    number: u16
    amount: tu64 | None = field(tlv=1, default=None)
    small: tu16 = field(tlv=2, default=7)
    text: str | None = field(tlv=3, default=None)
    orders: tuple[Order, ...] | None = field(tlv=5, default=None)
    numbers: list[u16] = field(tlv=253, default_factory=list)
    present: Empty | None = field(tlv=254, default=None)
    key: point | None = field(tlv=70_000, default=None)


@message(0x8C09, codec="raw")
class Blob(Message):
    data: Annotated[bytes, max_length(100)]


TREE: dict[str, Any] = {
    "whole": -1,
    "small": -128,
    "flag": True,
    "rate": 0.5,
    "text": "é",
    "digest": bytes(32),
    "key": KEY,
    "place": ShortChannelId(1, 2, 3),
    "side": Side.BUY,
    "order": Order(price=2**64 - 1, note="x"),
}
MORE: dict[str, Any] = {
    "orders": (Order(price=1, note=""), Order(price=2, note="y", level=Level.HIGH)),
    "numbers": [1, 65535],
    "names": ("a", None),
    "table": {"k": (1, 2)},
    "extra": [{"a": [None, 1.5, "z"]}],
    "note": "note",
}
FIELDS: dict[str, Any] = {
    "number": 2,
    "big": 300,
    "flag": False,
    "digest": bytes(32),
    "place": ShortChannelId(1, 2, 3),
    "signed": -1,
    "level": Level.HIGH,
    "side": Side.SELL,
    "text": "é",
    "order": Order(price=3, note="x"),
    "orders": (Order(price=1, note=""), Order(price=2, note="y")),
    "numbers": (1, 2),
    "bools": [True, False],
    "end": (b"", b"abc"),
}
SAMPLES: dict[str, list[Message]] = {
    "msgpack": [Packed(**TREE), Packed(**TREE, **MORE)],
    "json": [Json(**TREE), Json(**TREE, **MORE)],
    "bolt fields": [Fields(**FIELDS), Fields(**FIELDS | {"end": (), "orders": (), "bools": []})],
    "bolt records": [
        Records(number=1),
        Records(number=2, amount=256, small=0, text="t", orders=MORE["orders"], numbers=[3], present=Empty(), key=KEY),
        Records(number=3, text="x" * 300),
    ],
    "raw": [Blob(data=b""), Blob(data=bytes(100))],
}

REGISTRY = Registry()
for samples in SAMPLES.values():
    REGISTRY.register(type(samples[0]))
REGISTRY.freeze()


def read_exactly(schema: Schema, payload: bytes) -> object:
    """Read without generated code, where there is such a way."""
    if schema.codec == "bolt":
        return read_message(schema, payload)
    return load_record(schema, unpack(payload), MSGPACK)


def outcome(read: Callable[[bytes], object], payload: bytes) -> object:
    try:
        return read(payload)
    except DecodeError as error:
        assert str(error)
        assert error.offset is None or 0 <= error.offset <= len(payload)
        return type(error), error.args, error.path


def check(schema: Schema, plan: Plan, body: bytes) -> None:
    payload = schema.type_id.to_bytes(2, "big") + body
    found = outcome(plan.decode, payload)
    if schema.codec in ("bolt", "msgpack"):
        assert found == outcome(lambda payload: read_exactly(schema, payload), payload)
    if not isinstance(found, Message):
        assert issubclass(found[0], MalformedMessage)  # type: ignore[index]
        return
    assert type(found) is schema.cls
    assert repr(found)
    try:
        written = plan.encode(found)
    except PayloadTooLarge:
        return
    assert plan.decode(written) == found


def target(samples: list[Message]) -> tuple[Callable[[bytes], None], list[bytes]]:
    schema = schema_of(samples[0])
    plan = REGISTRY.plans[schema.type_id.to_bytes(2, "big")]
    return (lambda body: check(schema, plan, body)), [plan.encode(sample)[2:] for sample in samples]


def check_registry(payload: bytes) -> None:
    try:
        assert REGISTRY.decode(payload)
    except UnknownMessage as error:
        assert error.type_id == int.from_bytes(payload[:2], "big")
        assert error.required is (error.type_id % 2 == 0)
        assert REGISTRY.lookup(error.type_id) is None
    except (MalformedMessage, Truncated):
        assert len(payload) < 2 or REGISTRY.lookup(int.from_bytes(payload[:2], "big")) is not None


TARGETS = {f"codecs: {name}": target(samples) for name, samples in SAMPLES.items()} | {
    "codecs: registry": (check_registry, [REGISTRY.encode(s) for samples in SAMPLES.values() for s in samples]),
}
