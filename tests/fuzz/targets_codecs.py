"""Every codec: bytes after the type give a message or a documented error, by both ways of a plan the same.

And what was read can be written, and is then read as the same message.
"""

# ruff: noqa: PT017 - a target is told what to raise by no one, so it looks at what was raised

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Generic, TypeAlias, TypeVar

from oddwire.codecs import Registry
from oddwire.codecs.base import Plan
from oddwire.codecs.bolt.reference_reading import read_message
from oddwire.codecs.msgpack.codec import unpack
from oddwire.errors import DecodeError, MalformedMessage, PayloadTooLarge, Truncated, UnknownMessage
from oddwire.proto.keys import NodeId, PrivateKey, ShortChannelId
from oddwire.schema import (
    Message,
    Schema,
    UnknownVariant,
    as_text,
    bigsize,
    counted,
    field,
    flag,
    max_length,
    message,
    point,
    rest,
    s8,
    s64,
    scalar,
    schema_of,
    sha256,
    short_channel_id,
    subtype,
    tagged,
    tu16,
    tu64,
    u8,
    u16,
    u32,
    u64,
    validates,
)
from oddwire.schema.tree import MSGPACK, load_record

T = TypeVar("T")
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


@subtype
class Node:
    """In itself in every way there is with all codecs."""

    value: Annotated[u8 | None, flag(u8)] = None
    children: Annotated[tuple[Node, ...], counted(u8)] = ()
    following: Annotated[Node | None, flag(u16)] = None


@subtype
class Blob:
    """Of records, so that it needs its size."""

    amount: tu64 | None = field(tlv=1, default=None)
    inner: Blob | None = field(tlv=3, default=None)
    blobs: list[Annotated[Blob, counted(bigsize)]] | None = field(tlv=5, default=None)


@subtype(tag=0)
class Coins:
    amount: u32
    more: tu64 | None = field(tlv=1, default=None)


@subtype(tag=253)
class Names:
    names: tuple[str, ...]
    data: Annotated[bytes, rest]


@subtype(tag=3)
class Branch:
    """In itself, by unions."""

    left: Annotated[Branch | Coins, tagged(u8, length=u16)]
    others: tuple[Annotated[Branch | Empty, tagged(u8, tags={Empty: 4})], ...] = ()


Open = Annotated[Coins | Names | UnknownVariant, tagged(bigsize, length=bigsize)]
Closed = Annotated[Coins | Names, tagged(u8, length=u16)]


Sat: TypeAlias = Annotated[int, scalar("sat", python=int, size=3)]


class Ticker:
    """A class of values that travel as text; its errors are not all `ValueError`s."""

    def __init__(self, text: str) -> None:
        if not text.isalpha():
            raise ValueError("should be letters")
        self.name = {}[text] if text.startswith("zz") else text  # a KeyError

    def __str__(self) -> str:
        return self.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ticker) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)


AnyTicker: TypeAlias = Annotated[Ticker, scalar("ticker", python=Ticker, wire=str)]


@subtype
class Range(Generic[T]):
    low: T
    high: T
    unit: Annotated[str, field(pattern="[a-z]{0,9}")]

    @validates
    def check_order(self) -> None:
        if self.low > self.high:  # type: ignore[operator]
            raise ValueError("should have low below high")


class Valued(Message):
    fee: Sat = field(ge=1, lt=1 << 23)
    prices: Range[u32]
    ticker: AnyTicker
    node: NodeId
    seconds: Annotated[datetime, u64]
    few: tuple[Annotated[s8, field(gt=-5)], ...] = field(length=(1, 3))
    sats: list[Sat]
    tickers: tuple[AnyTicker, ...]

    @validates("few")
    def check_few(self, value: tuple[int, ...]) -> None:
        if 1 // value[0] == 1:  # or a ZeroDivisionError
            raise ValueError("should not start with 1")


class ValuedTree(Valued):
    at: datetime | None = None
    amount: Decimal = field(ge=Decimal(0), default=Decimal("1.50"))
    times: dict[str, datetime] = field(default_factory=dict, length=(0, 2))
    stamp: Annotated[datetime, u64, as_text] | None = None


@message(0x8C21)
class ValuedPacked(ValuedTree):
    pass


@message(0x8C23, codec="json")
class ValuedJson(ValuedTree):
    pass


@message(0x8C25, codec="bolt")
class ValuedFields(Valued):
    delay: Annotated[datetime, tu64] | None = field(tlv=1, default=None)
    name: AnyTicker | None = field(tlv=3, default=None)


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


@message(0x8C0B, codec="bolt")
class Boxes(Message):
    node: Node
    expiry: Annotated[u32 | None, flag(bigsize)]
    blob: Annotated[Blob, counted(u16)]
    orders: Annotated[tuple[Order, ...], rest, counted(u8)]
    number: Annotated[tu64, counted(u8)]
    boxes: tuple[Annotated[Boxes, counted(u16)], ...] = ()
    last: Annotated[bytes | None, rest, flag(u8)] = None


class Nest(Message):
    node: Node
    table: dict[str, Node] = field(default_factory=dict)
    blob: Blob | None = None
    extra: Any = None


@message(0x8C0D)
class PackedNest(Nest):
    nests: tuple[PackedNest, ...] = ()


@message(0x8C0F, codec="json")
class JsonNest(Nest):
    nests: dict[str, JsonNest] = field(default_factory=dict)


@message(0x8C09, codec="raw")
class Raw(Message):
    data: Annotated[bytes, max_length(100)]


class Choices(Message):
    one: Open
    many: tuple[Closed, ...] = ()
    tree: Annotated[Branch | None, tagged("is")] = None
    id: str | int | None = None
    mixed: dict[str, float | bool | Order | list[int | str]] = field(default_factory=dict)


@message(0x8C11)
class PackedChoices(Choices):
    both: tuple[str | bytes | None, ...] = ()


@message(0x8C13, codec="json")
class JsonChoices(Choices):
    pass


@message(0x8C15, codec="bolt")
class Unions(Message):
    one: Open
    many: tuple[Closed, ...]
    trees: tuple[Annotated[Branch, tagged(u8)], ...]
    inner: Raw
    last: Annotated[Order | Names | UnknownVariant, tagged(u16, tags={Order: 7, Names: 8})]


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
NODE = Node(value=1, children=(Node(), Node(children=(Node(value=2),))), following=Node(following=Node()))
BLOB = Blob(amount=300, inner=Blob(inner=Blob(amount=1)), blobs=[Blob(), Blob(amount=2)])
BOXES: dict[str, Any] = {"node": NODE, "expiry": 7, "blob": BLOB, "orders": MORE["orders"], "number": 256}
NEST: dict[str, Any] = {"node": NODE, "table": {"a": NODE}, "blob": BLOB, "extra": [[1]]}
BRANCH = Branch(left=Branch(left=Coins(amount=1)), others=(Empty(), Branch(left=Coins(amount=2), others=(Empty(),))))
NAMES = Names(names=("a", "bc"), data=b"rest")
MIXED: dict[str, Any] = {"a": 1.0, "b": True, "c": Order(price=1, note="n"), "d": [1, "x"]}
CHOICES: dict[str, Any] = {"many": (Coins(amount=2), NAMES), "tree": BRANCH, "id": "a", "mixed": MIXED}
NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
VALUED: dict[str, Any] = {
    "fee": 5,
    "prices": Range[u32](low=1, high=2**32 - 1, unit="eur"),
    "ticker": Ticker("eur"),
    "node": NodeId(b"\2" * 33),
    "seconds": NOON,
    "few": (-4, 7),
    "sats": [0, 2**24 - 1],
    "tickers": (Ticker("usd"),),
}
TREES = VALUED | {"at": NOON.replace(microsecond=5), "times": {"noon": NOON}, "stamp": NOON, "amount": Decimal("0.10")}
SAMPLES: dict[str, list[Message]] = {
    "msgpack": [Packed(**TREE), Packed(**TREE, **MORE)],
    "json": [Json(**TREE), Json(**TREE, **MORE)],
    "bolt fields": [Fields(**FIELDS), Fields(**FIELDS | {"end": (), "orders": (), "bools": []})],
    "bolt records": [
        Records(number=1),
        Records(number=2, amount=256, small=0, text="t", orders=MORE["orders"], numbers=[3], present=Empty(), key=KEY),
        Records(number=3, text="x" * 300),
    ],
    "msgpack unions": [
        PackedChoices(one=Coins(amount=1), both=("x", b"x", None), id=1),
        PackedChoices(
            one=UnknownVariant(7, {"x": [1]}), many=(Coins(amount=2), NAMES), tree=BRANCH, id="a", mixed=MIXED
        ),
    ],
    "json unions": [
        JsonChoices(one=Coins(amount=1), id=1),
        JsonChoices(one=UnknownVariant(7, {"x": [1]}), **CHOICES),
    ],
    "bolt unions": [
        Unions(
            one=Coins(amount=1, more=300),
            many=(NAMES, Coins(amount=2)),
            trees=(BRANCH, BRANCH),
            inner=Raw(data=b"x"),
            last=NAMES,
        ),
        Unions(one=UnknownVariant(7, b"x"), many=(), trees=(), inner=Raw(data=b""), last=Order(price=1, note="n")),
        Unions(one=NAMES, many=(), trees=(), inner=Raw(data=b""), last=UnknownVariant(9, b"\1\0")),
    ],
    "bolt boxes": [
        Boxes(node=Node(), expiry=None, blob=Blob(), orders=(), number=0),
        Boxes(**BOXES, boxes=(Boxes(**BOXES), Boxes(**BOXES, last=b"")), last=b"end"),
    ],
    "msgpack nests": [PackedNest(node=Node()), PackedNest(**NEST, nests=(PackedNest(**NEST), PackedNest(node=NODE)))],
    "json nests": [JsonNest(node=Node()), JsonNest(**NEST, nests={"b": JsonNest(**NEST)})],
    "values msgpack": [ValuedPacked(**VALUED), ValuedPacked(**TREES)],
    "values json": [ValuedJson(**VALUED), ValuedJson(**TREES)],
    "values bolt": [ValuedFields(**VALUED), ValuedFields(**VALUED, delay=NOON, name=Ticker("abc"))],
    "raw": [Raw(data=b""), Raw(data=bytes(100))],
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
