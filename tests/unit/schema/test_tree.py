"""Values to trees of plain objects and back: exact types, ranges, lengths, and the words for what is wrong."""

from collections.abc import Sequence
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal

import pytest

from oddwire.errors import EncodeError, MalformedMessage, ValueOutOfRange
from oddwire.proto.keys import NodeId, PrivateKey, ShortChannelId
from oddwire.schema import (
    Message,
    counted,
    field,
    fixed,
    max_length,
    message,
    point,
    s8,
    scalar,
    schema_of,
    sha256,
    short_channel_id,
    subtype,
    tagged,
    tree,
    u8,
    u16,
    u64,
    validates,
)
from oddwire.schema.annotations import kind_of
from oddwire.schema.kinds import Kind
from oddwire.schema.tree import JSON, MSGPACK, dump, dump_record, load, load_record

KEY = PrivateKey(b"\1" * 32).public_key()


class Level(IntEnum):
    LOW = 1


class Side(StrEnum):
    BUY = "buy"


class Number:
    """An integer of some other library."""

    def __index__(self):
        return 7


class Colour(Enum):
    RED = 1


@subtype
class Order:
    price: u8


@message(0x8C01)
class Whole(Message):
    first: u8
    orders: tuple[Order, ...] = field(default=(), key="the orders")
    note: str | None = None
    size: u8 | None = 3


FITS = [
    (u64, 2**64 - 1, 2**64 - 1, 2**64 - 1),
    (s8, -128, -128, -128),
    (int, -(2**63), -(2**63), -(2**63)),
    (bool, True, True, True),
    (float, 0.5, 0.5, 0.5),
    (str, "é", "é", "é"),
    (bytes, b"\x00\xff", b"\x00\xff", "00ff"),
    (sha256, bytes(32), bytes(32), "00" * 32),
    (point, KEY, KEY.to_bytes(), KEY.hex()),
    (short_channel_id, ShortChannelId(1, 2, 3), ShortChannelId(1, 2, 3).to_bytes(), "1x2x3"),
    (Colour, Colour.RED, 1, 1),
    (Side, Side.BUY, "buy", "buy"),
    (Literal["yes", "no"], "yes", "yes", "yes"),
    (u8 | None, None, None, None),
    (bytes | None, b"\x01", b"\x01", "01"),
    (tuple[bytes, ...], (b"\x01",), [b"\x01"], ["01"]),
    (list[u8], [1, 2], [1, 2], [1, 2]),
    (Sequence[u8], (1, 2), [1, 2], [1, 2]),
    (dict[str, bytes], {"a": b"\x01"}, {"a": b"\x01"}, {"a": "01"}),
    (Order, Order(price=3), {"price": 3}, {"price": 3}),
    (Any, {"a": [None, True, 1.5, "x"]}, {"a": [None, True, 1.5, "x"]}, {"a": [None, True, 1.5, "x"]}),
]


@pytest.mark.parametrize(("annotation", "value", "packed", "text"), FITS)
def test_there_and_back(annotation, value, packed, text):
    kind = kind_of(annotation)
    for form, plain in ((MSGPACK, packed), (JSON, text)):
        assert dump(kind, value, form) == plain
        again = load(kind, plain, form)
        assert again == value
        assert type(again) is type(value)


@pytest.mark.parametrize(
    ("annotation", "value", "plain", "python"),
    [
        (u8, Level.LOW, 1, int),
        (str, Side.BUY, "buy", str),
        (bytes, NodeId(KEY.to_bytes()), KEY.to_bytes(), bytes),
        (bytes, bytearray(b"x"), b"x", bytes),
        (u8, Number(), 7, int),
        (float, 3, 3.0, float),
        (Sequence[u8], [1], [1], list),
        (dict[str, u8], MappingProxyType({"a": 1}), {"a": 1}, dict),
    ],
)
def test_subclasses_travel_as_what_they_are(annotation, value, plain, python):
    dumped = dump(kind_of(annotation), value, MSGPACK)
    assert dumped == plain
    assert type(dumped) is python


CANNOT_BE_SENT = [
    (u8, 256, ValueOutOfRange, "u8 should be 0 to 255, not 256"),
    (u8, -1, ValueOutOfRange, "u8 should be 0 to 255, not -1"),
    (int, 2**64, ValueOutOfRange, "int should be -9223372036854775808 to 18446744073709551615"),
    (u8, True, EncodeError, "should be u8, not bool"),
    (u8, 1.0, EncodeError, "should be u8, not float"),
    (u8, "1", EncodeError, "should be u8, not str"),
    (u8, None, EncodeError, "should be u8, not nil"),
    (bool, 1, EncodeError, "should be bool, not int"),
    (float, True, EncodeError, "should be float, not bool"),
    (float, float("nan"), ValueOutOfRange, "should be a finite number"),
    (float, float("-inf"), ValueOutOfRange, "should be a finite number"),
    (float, 2**53 + 1, ValueOutOfRange, "double precision"),
    (float, 10**400, ValueOutOfRange, "double precision"),
    (str, b"x", EncodeError, "should be str, not bytes"),
    (str, "\ud800", ValueOutOfRange, "lone surrogate"),
    (Annotated[str, max_length(2)], "abc", ValueOutOfRange, "str should be at most 2 characters, not 3"),
    (bytes, [1, 2], EncodeError, "should be bytes, not list"),
    (u8, int, EncodeError, "should be u8, not type"),
    (sha256, bytes(31), ValueOutOfRange, "sha256 should be 32 bytes, not 31"),
    (point, KEY.to_bytes(), EncodeError, "should be point, not bytes"),
    (Colour, 1, ValueOutOfRange, "Colour should be one of RED, not 1"),
    (Literal["yes"], "no", ValueOutOfRange, "should be one of 'yes', not 'no'"),
    (Literal[1], True, ValueOutOfRange, "should be one of 1, not True"),
    (Literal[1], [], ValueOutOfRange, "should be one of 1, not []"),
    (tuple[u8, ...], [1], EncodeError, "should be tuple, not list"),
    (list[u8], (1,), EncodeError, "should be list, not tuple"),
    (Sequence[u8], "12", EncodeError, "should be tuple or list, not str"),
    (Annotated[tuple[u8, ...], fixed(2)], (1,), ValueOutOfRange, "tuple should be 2 elements, not 1"),
    (dict[str, u8], [], EncodeError, "should be dict, not list"),
    (Annotated[dict[str, u8], max_length(0)], {"a": 1}, ValueOutOfRange, "dict should be at most 0 keys, not 1"),
    (Order, {"price": 1}, EncodeError, "should be Order, not dict"),
    (Any, object(), EncodeError, "msgpack cannot carry object"),
    (Any, (1,), EncodeError, "msgpack cannot carry tuple"),
]


@pytest.mark.parametrize(("annotation", "value", "error", "text"), CANNOT_BE_SENT)
def test_what_cannot_be_sent(annotation, value, error, text):
    with pytest.raises(error) as caught:
        dump(kind_of(annotation), value, MSGPACK, "$.x")
    assert type(caught.value) is error
    assert text in str(caught.value)
    assert caught.value.path == "$.x"


CANNOT_BE_READ = [
    (u8, 256, MSGPACK, "u8 should be 0 to 255, not 256"),
    (u8, True, MSGPACK, "should be u8, not bool"),
    (u8, None, MSGPACK, "should be u8, not nil"),
    (bool, 1, MSGPACK, "should be bool, not int"),
    (float, "1", MSGPACK, "should be float, not str"),
    (float, True, MSGPACK, "should be float, not bool"),
    (float, float("inf"), MSGPACK, "finite number"),
    (float, 2**53 + 1, MSGPACK, "double precision"),
    (str, b"x", MSGPACK, "should be str, not bytes"),
    (str, "\udfff", JSON, "lone surrogate"),
    (Annotated[str, max_length(2)], "abc", MSGPACK, "at most 2 characters"),
    (bytes, "00", MSGPACK, "should be bytes, not str"),
    (bytes, "0", JSON, "should be hex digits, not '0'"),
    (bytes, "0 0 ", JSON, "should be hex digits"),
    (bytes, 7, JSON, "should be hex digits, not 7"),
    (sha256, bytes(33), MSGPACK, "sha256 should be 32 bytes, not 33"),
    (point, bytes(33), MSGPACK, "should be 33 bytes starting with 02 or 03"),
    (point, KEY.to_bytes(), JSON, "should be point, not bytes"),
    (short_channel_id, "1x2", JSON, "should look like 539268x845x1"),
    (Colour, 2, MSGPACK, "Colour should be one of 1, not 2"),
    (Side, "sell", MSGPACK, "Side should be one of 'buy', not 'sell'"),
    (Side, 1, MSGPACK, "should be str, not int"),
    (tuple[u8, ...], {}, MSGPACK, "should be tuple, not dict"),
    (Annotated[list[u8], max_length(1)], [1, 2], MSGPACK, "at most 1 elements, not 2"),
    (dict[str, u8], [], MSGPACK, "should be dict, not list"),
    (dict[str, u8], {b"a": 1}, MSGPACK, "keys should be str, not bytes"),
    (dict[str, u8], {"\ud800": 1}, JSON, "lone surrogate"),
    (Order, [3], MSGPACK, "should be a map, not list"),
    (Any, b"x", JSON, "json cannot carry bytes"),
]


@pytest.mark.parametrize(("annotation", "plain", "form", "text"), CANNOT_BE_READ)
def test_what_cannot_be_read(annotation, plain, form, text):
    with pytest.raises(MalformedMessage) as caught:
        load(kind_of(annotation), plain, form, "$.x")
    assert text in str(caught.value)
    assert caught.value.path == "$.x"


def test_whole_numbers_do_for_floats():
    assert load(kind_of(float), 3, MSGPACK) == 3.0
    assert type(load(kind_of(float), 3, MSGPACK)) is float


def test_records():
    schema = schema_of(Whole)
    whole = Whole(first=1, orders=(Order(price=2),), size=None)
    plain = {"first": 1, "the orders": [{"price": 2}], "size": None}
    assert dump_record(schema, whole, MSGPACK) == plain  # note is None by default: it is left out
    assert load_record(schema, plain, MSGPACK) == whole
    assert load_record(schema, {"first": 1, "unknown": object()}, MSGPACK) == Whole(first=1)
    assert list(dump_record(schema, Whole(first=1, note="n"), MSGPACK)) == ["first", "the orders", "size", "note"]


@pytest.mark.parametrize(
    ("plain", "path", "text"),
    [
        ({}, "$.first", "is missing and has no default"),
        ({"first": 1, "the orders": [{"price": 1}, {"price": 300}]}, "$.orders[1].price", "0 to 255, not 300"),
        ({"first": 1, "the orders": [3]}, "$.orders[0]", "should be a map, not int"),
        (None, "$", "should be a map, not nil"),
    ],
)
def test_paths_in_what_was_read(plain, path, text):
    with pytest.raises(MalformedMessage) as caught:
        load_record(schema_of(Whole), plain, MSGPACK)
    assert (caught.value.path, caught.value.args) == (path, (caught.value.args[0],))
    assert text in str(caught.value)


def test_paths_in_what_is_sent():
    with pytest.raises(ValueOutOfRange) as caught:
        dump_record(schema_of(Whole), Whole(first=1, orders=(Order(price=1), Order(price=300))), MSGPACK)
    assert caught.value.path == "$.orders[1].price"
    with pytest.raises(EncodeError, match="should be Whole, not Order"):
        dump_record(schema_of(Whole), Order(price=1), MSGPACK)
    with pytest.raises(EncodeError, match="has no value") as caught:
        dump_record(schema_of(Whole), object.__new__(Whole), MSGPACK)
    assert caught.value.path == "$.first"


def test_keys_are_part_of_the_path():
    with pytest.raises(ValueOutOfRange) as caught:
        dump(kind_of(dict[str, u8]), {"a b": 300}, MSGPACK)
    assert caught.value.path == "$['a b']"


@subtype(tag="order")
class Tagged:
    price: Annotated[u8, field(le=200)]
    inside: "tuple[Tagged, ...]" = ()
    size: Annotated[u16, counted(u8)] | None = None

    @validates("price")
    def check_price(self, price):
        if price == 13:
            raise ValueError("should not be 13")


upper = scalar("upper", python=str, wire=bytes, load=bytes.decode, dump=str.encode)
shown = scalar("shown", python=int, wire=u8, parse=int, show=str)

COMPOUND = [
    (Annotated[Tagged, tagged("is")], Tagged(price=1, size=3), {"is": "order", "price": 1, "inside": [], "size": 3}),
    (str | int, "x", "x"),
    (str | int, 7, 7),
    (upper, "x", b"x"),
    (shown, 7, 7),
    (Annotated[u8, field(ge=3)], 3, 3),
]


@pytest.mark.parametrize(("annotation", "value", "plain"), COMPOUND)
def test_compound_kinds_there_and_back(annotation, value, plain):
    assert dump(kind_of(annotation), value, MSGPACK) == plain
    assert load(kind_of(annotation), plain, MSGPACK) == value


def test_scalars_that_have_a_text_of_their_own():
    assert dump(kind_of(shown), 7, JSON) == "7"
    assert load(kind_of(shown), "7", JSON) == 7


def chain(levels):
    made = Tagged(price=0)
    for _ in range(levels - 1):
        made = Tagged(price=0, inside=(made,))
    return made


@pytest.mark.parametrize(
    ("plain", "path", "text"),
    [
        ({"price": 13}, "$", "should not be 13"),
        ({"price": 201}, "$.price", "should be at most 200"),
        ({"price": 1, "inside": [{"price": 13}]}, "$.inside[0]", "should not be 13"),
    ],
)
def test_limits_and_validators(plain, path, text):
    with pytest.raises(MalformedMessage, match=text) as caught:
        load_record(Tagged.__oddwire__, plain, MSGPACK)
    assert caught.value.path.startswith(path)
    sent = Tagged(price=plain["price"], inside=tuple(Tagged(**each) for each in plain.get("inside", ())))
    with pytest.raises(ValueOutOfRange, match=text):
        dump_record(Tagged.__oddwire__, sent, MSGPACK)


def test_classes_in_themselves_as_deep_as_may_be():
    plain = dump_record(Tagged.__oddwire__, chain(32), MSGPACK)
    assert load_record(Tagged.__oddwire__, plain, MSGPACK) == chain(32)
    with pytest.raises(EncodeError, match="nests more than 32 levels deep"):
        dump_record(Tagged.__oddwire__, chain(33), MSGPACK)
    with pytest.raises(MalformedMessage, match="nests more than 32 levels deep"):
        load_record(Tagged.__oddwire__, {"price": 0, "inside": [plain]}, MSGPACK)
    with pytest.raises(NotImplementedError):
        dump(Kind(), 1, MSGPACK)
    with pytest.raises(NotImplementedError):
        load(Kind(), 1, MSGPACK)


@pytest.mark.parametrize("form", [JSON, MSGPACK])
def test_paths_have_the_start_of_a_long_key_only(form, monkeypatch):
    lengths = []
    for name in ("load", "dump"):
        step = getattr(tree, name)

        def noting(kind, value, form, path="$", step=step):
            lengths.append(len(path))
            return step(kind, value, form, path)

        monkeypatch.setattr(tree, name, noting)
    kind = kind_of(dict[str, dict[str, u8]])
    value = {"k" * 100_000: {"a": 1, "b" * 60: 2}}
    assert tree.load(kind, value, form) == tree.dump(kind, value, form) == value
    assert max(lengths) == len("$['']['']...") + 60 + 60
    with pytest.raises(MalformedMessage) as caught:
        tree.load(kind, {"k" * 61: {"a": -1}}, form)
    assert caught.value.path == f"$['{'k' * 60}'...]['a']"
