"""Messages as JSON and as text that people type."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Literal
from uuid import UUID

import pytest

from oddwire.errors import EncodeError, SchemaError, ValueOutOfRange
from oddwire.proto.keys import NodeId, PrivateKey, ShortChannelId
from oddwire.schema import (
    Message,
    field,
    from_dict,
    from_strings,
    message,
    point,
    s8,
    scalar,
    schema_of,
    short_channel_id,
    subtype,
    to_dict,
    u8,
    u32,
)

KEY = PrivateKey(b"\1" * 32).public_key()


class Side(Enum):
    BUY = 1
    SELL = 2


@subtype
class Order:
    price: u8
    data: bytes = b""


@message(0x8C01)
class Say(Message):
    text: str
    volume: s8 = 0
    loud: bool = False
    rate: float = 1.0
    data: bytes = field(default=b"", key="d")
    key: point | None = None
    place: short_channel_id | None = None
    side: Side = Side.BUY
    word: Literal["yes", "no"] = "no"
    orders: tuple[Order, ...] = ()
    table: dict[str, u8] = field(default_factory=dict)
    alias: str | None = None


@subtype
class Leg:
    side: Side
    more: tuple[Side | None, ...] = ()
    order: Order | None = None


@message(0x8C05)
class Route(Message):
    legs: tuple[Leg, ...] = ()
    ends: dict[str, Side] = field(default_factory=dict)


@message(0x8C03, codec="bolt")
class Bolt(Message):
    number: u8
    more: bytes | None = field(tlv=1, default=None)


FULL = Say(
    text="hello",
    volume=-3,
    loud=True,
    rate=0.5,
    data=b"\xff",
    key=KEY,
    place=ShortChannelId(1, 2, 3),
    side=Side.SELL,
    word="yes",
    orders=(Order(price=3, data=b"\x01"),),
    table={"a": 1},
    alias="me",
)


@pytest.mark.parametrize("sample", [FULL, Say(text=""), Bolt(number=3), Bolt(number=3, more=b"\x00")], ids=repr)
def test_to_a_dict_and_back(sample):
    made = to_dict(sample)
    assert from_dict(type(sample), json.loads(json.dumps(made))) == sample
    assert list(made) == [field.name for field in schema_of(sample).fields]


def test_a_dict_reads_well():
    assert to_dict(Bolt(number=3, more=b"\xab")) == {"number": 3, "more": "ab"}
    made = to_dict(FULL)
    assert (made["key"], made["place"], made["side"], made["data"]) == (KEY.hex(), "1x2x3", 2, "ff")
    assert to_dict(Order(price=1)) == {"price": 1, "data": ""}


def test_dicts_may_leave_defaults_out():
    assert from_dict(Say, {"text": "x"}) == Say(text="x")


def test_text_for_every_kind_of_field():
    texts = {
        "text": "hello",
        "volume": "-3",
        "loud": "yes",
        "rate": "0.5",
        "data": "FF",
        "key": KEY.hex(),
        "place": "1x2x3",
        "side": "SELL",
        "word": "yes",
        "orders": '[{"price": 3, "data": "01"}]',
        "table": '{"a": 1}',
        "alias": "me",
    }
    assert from_strings(Say, texts) == FULL


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("text", "none", "none"),
        ("text", "", ""),
        ("volume", "0x0b", 11),
        ("volume", "-0x0B", -11),
        ("volume", "007", 7),
        ("loud", "FALSE", False),
        ("rate", "3", 3.0),
        ("key", "none", None),
        ("alias", "none", "none"),
        ("side", "2", Side.SELL),
    ],
)
def test_ways_to_write_a_value(name, text, value):
    assert getattr(from_strings(Say, {"text": "x", name: text}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("volume", "eleven", "should be a number from -128 to 127, not 'eleven'"),
        ("volume", "", "should be a number from -128 to 127, not ''"),
        ("volume", "300", "s8 should be -128 to 127, not 300"),
        ("volume", "1_0", "should be a number from -128 to 127, not '1_0'"),
        ("loud", "maybe", "should be true or false, not 'maybe'"),
        ("rate", "fast", "should be a number, not 'fast'"),
        ("volume", "1" * 5000, "should be a number from -128 to 127"),
        ("rate", "nan", "should be a finite number"),
        ("data", "xyz", "bytes should be hex digits, not 'xyz'"),
        ("key", "02", "should be a point, 66 hex digits, not '02'"),
        ("place", "12", "should be a short channel id, 539268x845x1, not '12'"),
        ("side", "buy", "should be one of BUY, SELL, not 'buy'"),
        ("word", "maybe", "should be one of yes, no, not 'maybe'"),
        ("orders", "3,4", "should be a JSON array, not '3,4'"),
        ("orders", '[{"price": 300}]', "u8 should be 0 to 255, not 300"),
        ("orders", "[" * 100_000, "should be a JSON array"),
        ("table", "{", "should be JSON, not '{'"),
    ],
)
def test_text_that_makes_no_value(name, text, words):
    with pytest.raises(EncodeError) as caught:
        from_strings(Say, {"text": "x", name: text})
    assert words in str(caught.value)
    assert caught.value.path.startswith(f"$.{name}")
    assert caught.value.type_id == 0x8C01


def test_missing_and_unknown_fields():
    with pytest.raises(EncodeError, match=r"Say needs a value for 'text': text"):
        from_strings(Say, {})
    with pytest.raises(EncodeError, match="Bolt needs a value for 'number': a number from 0 to 255"):
        from_dict(Bolt, {})
    with pytest.raises(EncodeError, match="Bolt has no field 'numbr'; its fields are number, more"):
        from_strings(Bolt, {"number": "1", "numbr": "2"})

    @message(0x8C05)
    class Nothing(Message):
        pass

    with pytest.raises(EncodeError, match="Nothing has no field 'a'; it has none"):
        from_strings(Nothing, {"a": "1"})
    assert from_strings(Nothing, {}) == Nothing()


def test_what_is_wrong_in_a_dict_is_our_own_fault():
    with pytest.raises(EncodeError) as caught:
        from_dict(Say, {"text": "x", "orders": [{"price": "3"}]})
    assert caught.value.path == "$.orders[0].price"
    with pytest.raises(ValueOutOfRange):
        to_dict(Say(text="x", volume=300))
    with pytest.raises(TypeError, match="neither a message nor a subtype"):
        to_dict({"text": "x"})
    with pytest.raises(SchemaError, match="is not a message"):
        from_dict(Order, {"price": 1})


@message(0x8C0B)
class Valued(Message):
    at: datetime | None = None
    due: Annotated[datetime, u32] | None = None
    amount: Decimal = Decimal(0)
    node: NodeId | None = None
    fee: Annotated[int, scalar("sat", python=int, size=3)] = field(ge=1, le=9, default=1)
    name: str | None = field(length=(2, 4), default=None)
    word: str = field(pattern="[a-z]*", default="")
    id: Annotated[UUID, scalar("uuid", python=UUID, wire=str)] | None = None
    shown: Annotated[UUID, scalar("shown", python=UUID, wire=str, parse=UUID, show=str)] | None = None
    sides: tuple[Annotated[Side, scalar("side", python=Side, wire=Side)], ...] = field(length=(0, 2), default=())


NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("at", "2024-01-31T12:00:00Z", NOON),
        ("at", "none", None),
        ("due", "1706702400", NOON),
        ("amount", "1.50", Decimal("1.50")),
        ("node", "02" * 33, NodeId(b"\2" * 33)),
        ("fee", "0x09", 9),
        ("name", "none", "none"),
        ("word", "ab", "ab"),
        ("id", str(UUID(int=5)), UUID(int=5)),
        ("shown", str(UUID(int=5)), UUID(int=5)),
        ("sides", '["BUY", 2]', (Side.BUY, Side.SELL)),
    ],
)
def test_text_of_values(name, text, value):
    made = from_strings(Valued, {name: text})
    assert getattr(made, name) == value
    assert from_dict(Valued, json.loads(json.dumps(to_dict(made)))) == made


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("at", "noon", "datetime should be like 2024-01-31T12:00:00Z, not 'noon'"),
        ("due", "soon", "should be a number from 0 to 4294967295, not 'soon'"),
        ("amount", "1e5", "Decimal should be like 1.50, of 1000 digits at most, not '1e5'"),
        ("node", "02", "should be a node_id, 66 hex digits, not '02'"),
        ("fee", "0", "sat should be at least 1, not 0"),
        ("fee", "x", "should be a number from 0 to 16777215, not 'x'"),
        ("name", "long name", "str should be 2 to 4 characters, not 9"),
        ("word", "A", "str should be like [a-z]*, not 'A'"),
        ("id", "5", "badly formed hexadecimal UUID string"),
        ("shown", "5", "badly formed hexadecimal UUID string"),
        ("sides", "[1, 1, 1]", "tuple should be 0 to 2 elements, not 3"),
        ("sides", '["KEEP"]', "should be one of BUY, SELL, not 'KEEP'"),
    ],
)
def test_text_that_is_no_value_of_these(name, text, words):
    with pytest.raises(EncodeError) as caught:
        from_strings(Valued, {name: text})
    assert words in str(caught.value)
    assert caught.value.path.startswith(f"$.{name}")


def test_what_may_be_typed_for_them():
    @message(0x8C0D)
    class All(Message):
        at: datetime
        due: Annotated[datetime, u32]
        amount: Decimal
        fee: u8 = field(ge=1)
        id: Annotated[UUID, scalar("uuid", python=UUID, wire=str)]
        shown: Annotated[UUID, scalar("shown", python=UUID, wire=str, parse=UUID, show=str)]

    texts = {"at": "2024-01-31T12:00:00Z", "due": "1", "amount": "1", "fee": "1", "id": str(UUID(int=1))}
    hints = {
        "at": "a time, 2024-01-31T12:00:00Z",
        "due": "seconds since 1970-01-01T00:00:00Z",
        "amount": "a decimal number, 1.50",
        "fee": "a number from 0 to 255, at least 1",
        "id": "uuid: text",
        "shown": "shown",
    }
    for name, hint in hints.items():
        given = {key: text for key, text in texts.items() if key != name}
        with pytest.raises(EncodeError, match=f"All needs a value for '{name}': {hint}$"):
            from_strings(All, given)


def test_names_of_enums_within_json():
    legs = '[{"side": "SELL", "more": ["BUY", 2, null], "order": {"price": 3}}, {"side": 1}]'
    assert from_strings(Route, {"legs": legs, "ends": '{"a": "SELL", "b": 1}'}) == Route(
        legs=(
            Leg(side=Side.SELL, more=(Side.BUY, Side.SELL, None), order=Order(price=3)),
            Leg(side=Side.BUY),
        ),
        ends={"a": Side.SELL, "b": Side.BUY},
    )


@pytest.mark.parametrize(
    ("legs", "path", "words"),
    [
        ('[{"side": "KEEP"}]', "$.legs[0].side", "should be one of BUY, SELL, not 'KEEP'"),
        ('[{"side": 1, "sid": 2}]', "$.legs[0]", "has no field 'sid'; its fields are side, more, order"),
        ('[{"side": 1, "order": {"prize": 2}}]', "$.legs[0].order", "has no field 'prize'; its fields are price, data"),
        ("[[]]", "$.legs[0]", "should be a map, not list"),
    ],
)
def test_what_is_mistyped_within_json_is_named(legs, path, words):
    with pytest.raises(EncodeError) as caught:
        from_strings(Route, {"legs": legs})
    assert (caught.value.path, words in str(caught.value)) == (path, True), caught.value
