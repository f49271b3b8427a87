"""The scan agrees with the msgpack library on what is well formed, and finds values."""

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oddwire.codecs.msgpack import scan as scanning
from oddwire.codecs.msgpack.scan import locate, scan
from oddwire.errors import MalformedMessage, TrailingBytes, Truncated
from oddwire.schema import Message, field, message, schema_of, subtype, u8

TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(TREES)
def test_everything_the_library_writes_passes(tree):
    scan(msgpack.packb(tree), 0)


@settings(max_examples=300)
@given(st.binary(max_size=30))
def test_what_does_not_pass_the_library_refuses_too(body):
    refused = None
    try:
        scan(body, 0)
    except MalformedMessage as error:
        refused = error
    if refused is not None:
        assert refused.offset in range(len(body) + 1)
        with pytest.raises(ValueError):
            msgpack.unpackb(body, max_ext_len=0)


@pytest.mark.parametrize("size", [0, 15, 31, 32, 255, 256, 65535, 65536])
def test_every_format(size):
    for tree in ("x" * size, b"x" * size, [None] * size, {str(i): None for i in range(size)}):
        packed = msgpack.packb(tree)
        scan(b"??" + packed, 2)
        for cut in {1, len(packed) // 2, len(packed) - 1} - {0}:
            with pytest.raises(Truncated):
                scan(packed[: min(cut, len(packed) - 1)], 0)
        with pytest.raises(TrailingBytes):
            scan(packed + b"\x00", 0)


@pytest.mark.parametrize(
    "number", [0, 127, 128, 2**16, 2**32, 2**64 - 1, -1, -32, -33, -(2**15), -(2**31), -(2**63), 0.5]
)
def test_every_number(number):
    packed = msgpack.packb(number)
    scan(packed, 0)
    if len(packed) > 1:
        with pytest.raises(Truncated):
            scan(packed[:-1], 0)
    scan(msgpack.packb(0.5, use_single_float=True), 0)


def test_claims_are_added_up():
    with pytest.raises(Truncated, match="array of 3 cannot fit: 5 values are still to come in 4 bytes"):
        scan(b"\x93\x93\x00\x00\x00\x00", 0)


@subtype
class Order:
    price: u8
    data: dict[str, u8] = field(default_factory=dict)


@message(0x8C01)
class Whole(Message):
    name: str
    orders: tuple[Order, ...] | None = field(default=None, key="the orders")


TREE = {"z": [1, {"a": 2}], "name": "n", "the orders": [{"price": 1}, {"data": {"k": 7}, "price": 9}]}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", TREE),
        ("$.name", "n"),
        ("$.orders", TREE["the orders"]),
        ("$.orders[1]", TREE["the orders"][1]),
        ("$.orders[1].price", 9),
        ("$.orders[1].data['k']", {"k": 7}),  # as near as it gets
        ("$.orders[2].price", TREE["the orders"]),
        ("$.missing", TREE),
    ],
)
def test_locating_values(path, value):
    payload = b"\x8c\x01" + msgpack.packb(TREE)
    at = locate(payload, schema_of(Whole), path)
    unpacker = msgpack.Unpacker()
    unpacker.feed(payload[at:])
    assert unpacker.unpack() == value


def test_the_last_of_two_keys_is_the_one():
    payload = b"\x8c\x01\x82\xa4name\x01\xa4name\x02"
    assert payload[locate(payload, schema_of(Whole), "$.name")] == 2


@message(0x8C02)
class Folder(Message):
    size: int = 0
    folders: tuple["Folder", ...] = ()


def test_an_offset_takes_steps_by_the_number_of_values_however_deep_it_is(monkeypatch):
    step, steps = scanning.read_header, []
    monkeypatch.setattr(scanning, "read_header", lambda *arguments: steps.append(1) or step(*arguments))
    for levels in (1, 30):
        values, node = 4 + 40 * 101, {"z": [[None] * 100] * 40, "size": "x"}
        for _ in range(levels):
            node, values = {"folders": [node]}, values + 3
        payload = b"\x8c\x02" + msgpack.packb(node)
        path = "$" + ".folders[0]" * levels + ".size"
        steps.clear()
        assert locate(payload, schema_of(Folder), path) == len(payload) - 2
        assert len(steps) < 3 * values
