"""The code generated for trees, by itself: that it takes what is ordinary, and hands the rest on.

That it does the same as the exact way is shown for random schemas in tests/properties.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any, Literal

import msgpack
import pytest

from oddwire.codecs.base import Retry
from oddwire.codecs.msgpack.generated import TreeWriter
from oddwire.proto.keys import PrivateKey
from oddwire.schema import (
    Message,
    counted,
    field,
    fixed,
    flag,
    max_length,
    message,
    point,
    s8,
    schema_of,
    sciddir_or_pubkey,
    sha256,
    subtype,
    u8,
    u64,
)
from oddwire.schema.source import Source
from oddwire.schema.tree import MSGPACK, dump_record, load_record


class Side(Enum):
    BUY = "buy"


@subtype
class Order:
    price: u8
    side: Side = Side.BUY


@message(0x8C01)
class Whole(Message):
    number: u64
    small: s8
    flag: bool
    rate: float
    text: Annotated[str, max_length(3)]
    digest: sha256
    key: point
    node: sciddir_or_pubkey
    word: Literal["yes", "no"]
    order: Order
    orders: tuple[Order, ...] = field(key="the orders")
    numbers: Annotated[list[u8], fixed(2)]
    hashes: tuple[sha256, ...]
    mixed: Sequence[Side | None]
    table: dict[str, u8]
    keys: dict[str, point]
    extra: Any = None
    note: str | None = None
    made: list[str] = field(default_factory=list)


KEY = PrivateKey(b"\1" * 32).public_key()
WHOLE = Whole(
    number=2**64 - 1,
    small=-128,
    flag=True,
    rate=0.5,
    text="abc",
    digest=bytes(32),
    key=KEY,
    node=bytes(9),
    word="yes",
    order=Order(price=1),
    orders=(Order(price=2),),
    numbers=[3, 4],
    hashes=(bytes(32),),
    mixed=(Side.BUY, None),
    table={"a": 1},
    keys={"k": KEY},
    extra=[{"deep": 1}],
    note="note",
    made=["x"],
)


def generated(schema):
    source = Source()
    writer = TreeWriter(source)
    with source.function("def dump(message):"):
        source.line(f"return {writer.dump_record(schema, 'message')}")
    with source.function("def load(tree):"):
        source.line(f"return {writer.load_record(schema, 'tree')}")
    return source.compile("dump", "test_treeplan"), source.compile("load", "test_treeplan")


DUMP, LOAD = generated(schema_of(Whole))
TREE = dump_record(schema_of(Whole), WHOLE, MSGPACK)


def test_ordinary_messages_need_nothing_else():
    assert msgpack.packb(DUMP(WHOLE)) == msgpack.packb(TREE)  # which packs a tuple like a list
    assert LOAD(TREE) == WHOLE == load_record(schema_of(Whole), TREE, MSGPACK)


def test_an_int_that_a_float_holds_is_one():
    values = {f.name: getattr(WHOLE, f.name) for f in schema_of(Whole).fields}
    dumped = DUMP(Whole(**values | {"rate": -(2**53)}))
    assert (dumped["rate"], type(dumped["rate"])) == (-(2.0**53), float)
    loaded = LOAD(TREE | {"rate": 2**53})
    assert (loaded.rate, type(loaded.rate)) == (2.0**53, float)


def test_defaults():
    small = {key: value for key, value in TREE.items() if key not in ("extra", "note", "made")}
    loaded = LOAD(small)
    assert (loaded.extra, loaded.note, loaded.made) == (None, None, [])
    assert LOAD(small).made is not loaded.made
    assert "note" not in DUMP(loaded)


@pytest.mark.parametrize(
    "change",
    [
        {"number": -1},
        {"number": True},
        {"small": 128},
        {"flag": 1},
        {"rate": float("nan")},
        {"rate": float("inf")},
        {"rate": 2**53 + 1},
        {"rate": "1"},
        {"rate": True},
        {"text": "four"},
        {"text": b"x"},
        {"digest": bytes(31)},
        {"key": "02"},
        {"node": b""},
        {"node": b"\4" * 33},
        {"node": bytes(33)},
        {"word": "maybe"},
        {"order": None},
        {"orders": [1]},
        {"numbers": [1]},
        {"numbers": [1, 300]},
        {"numbers": [1, True]},
        {"hashes": [bytes(3)]},
        {"table": {"a": -1}},
        {"table": {1: 1}},
        {"keys": {"k": 3}},
        {"extra": float("nan")},
        {"note": 3},
        {"made": ("x",)},
    ],
)
def test_anything_else_is_handed_on(change):
    handed_on = (Retry, KeyError, TypeError, ValueError)
    values = {f.name: getattr(WHOLE, f.name) for f in schema_of(Whole).fields}
    with pytest.raises(handed_on):
        DUMP(Whole(**(values | {name: tuple(v) if name in ("orders", "hashes") else v for name, v in change.items()})))
    with pytest.raises(handed_on):
        LOAD(TREE | {"the orders" if name == "orders" else name: value for name, value in change.items()})


@pytest.mark.parametrize("tree", [None, 3, "number", [1], b"x", ["number"]])
def test_what_is_no_map_is_handed_on(tree):
    @message(0x8C03)
    class Optional(Message):
        number: u8 | None = None

    for load in (LOAD, generated(schema_of(Optional))[1]):
        with pytest.raises((Retry, KeyError, TypeError)):
            load(tree)


@message(0x8C03)
class Nest(Message):
    value: Annotated[u8, counted(u8)] = 0
    nests: tuple[Nest, ...] = ()
    table: dict[str, list[Nest | None]] = field(default_factory=dict)
    following: Annotated[Nest | None, flag(u8)] = None
    numbers: tuple[Annotated[u8, counted(u8)], ...] = ()


def nest(levels):
    made = Nest()
    for _ in range(levels - 1):
        made = Nest(value=1, nests=(Nest(value=2),), table={"a": [None, made]}, following=Nest(numbers=(1, 2)))
    return made


def nest_functions():
    source = Source()
    with source.function("def dump(message):"):
        source.line(f"return {TreeWriter(source).dump_record(schema_of(Nest), 'message')}")
    with source.function("def load(tree):"):
        source.line(f"return {TreeWriter(source).load_record(schema_of(Nest), 'tree')}")
    return source.compile("dump", "nests"), source.compile("load", "nests")


def test_classes_in_themselves_need_nothing_else():
    dump, load = nest_functions()
    for levels in (1, 2, 32):
        tree = dump(nest(levels))
        assert tree == dump_record(schema_of(Nest), nest(levels), MSGPACK)
        assert load(tree) == nest(levels) == load_record(schema_of(Nest), tree, MSGPACK)
    deep = {}
    for _ in range(32):
        deep = {"nests": [deep]}
    with pytest.raises(Retry):
        load(deep)
    for levels in (33, 5000):
        with pytest.raises(Retry):
            dump(nest(levels))
