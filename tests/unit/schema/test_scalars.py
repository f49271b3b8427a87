"""`scalar`: what it makes of its arguments, and how messages carry it."""

from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from typing import Annotated, Any, NewType, TypeAlias, get_args
from uuid import UUID

import pytest

from oddwire import Message, NodeId, SchemaError, as_text, field, fixed, message, scalar, u8, u32, u64
from oddwire.codecs.registry import Registry
from oddwire.errors import MalformedMessage, ValueOutOfRange
from oddwire.schema import from_dict, from_strings, point, to_dict
from oddwire.schema.annotations import kind_of
from oddwire.schema.kinds import Array, Fixed, Integer, Maybe, Octets
from oddwire.schema.value_kinds import Scalar


class Level(IntEnum):
    LOW = 1


class Ticker(str):
    __slots__ = ()


NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)
sat = scalar("sat", python=int, size=8)
u24 = scalar("u24", python=int, size=3)
IN_CENTS = {"load": lambda number: Decimal(number) / 100, "dump": lambda value: int(value * 100)}
AS_BYTES = {"load": lambda data: UUID(bytes=data), "dump": lambda uuid: uuid.bytes}
Cent: TypeAlias = Annotated[Decimal, scalar("cent", python=Decimal, wire=u64, **IN_CENTS)]
Uuid: TypeAlias = Annotated[UUID, scalar("uuid", python=UUID, wire=str)]
Raw: TypeAlias = Annotated[UUID, scalar("raw", python=UUID, size=16, **AS_BYTES)]
Shown: TypeAlias = Annotated[UUID, scalar("shown", python=UUID, size=16, **AS_BYTES, parse=UUID, show=str)]


def test_what_is_made():
    assert kind_of(sat) == Integer("sat", 64)
    assert kind_of(u24) == Integer("u24", 24)
    assert kind_of(scalar("msat", python=int, wire=u64)) == Integer("msat", 64)
    assert kind_of(scalar("msat", python=int, wire=Annotated[u64, as_text])).quoted
    assert kind_of(scalar("tag", python=bytes, size=4)) == Octets(Fixed(4), name="tag")
    assert kind_of(scalar("tag", python=bytes, wire=Annotated[bytes, fixed(4)])) == Octets(Fixed(4), name="tag")
    ticker = kind_of(scalar("ticker", python=Ticker, wire=str))
    assert isinstance(ticker, Scalar)
    assert (ticker.load, ticker.dump) == (Ticker, str)
    assert kind_of(scalar("level", python=int, wire=Annotated[Level, u8])).dump is Level
    assert kind_of(scalar("id", python=bytes, wire=point, load=bytes)).dump.__name__ == "PublicKey"
    assert kind_of(scalar("flag", python=int, wire=bool)).dump is bool
    assert kind_of(scalar("real", python=Decimal, wire=float)).dump is float
    assert kind_of(scalar("label", python=str, wire=str)).label == "label"


def test_where_it_may_stand():
    assert get_args(sat)[0] is int
    assert kind_of(Annotated[int, sat]) == kind_of(sat)
    assert kind_of(sat | None) == kind_of(Annotated[int, sat] | None) == Maybe(kind_of(sat))
    assert kind_of(tuple[sat, ...]) == Array(kind_of(sat), tuple)
    Amount = NewType("Amount", int)
    assert kind_of(Annotated[Amount, sat]) == kind_of(sat)
    assert kind_of(Amount) == kind_of(int)
    assert kind_of(NewType("Other", Amount)) == kind_of(int)
    assert kind_of(NewType("Peer", NodeId)) == kind_of(NodeId)
    assert kind_of(Annotated[Level, scalar("b", python=int, size=1)]).base == Integer("b", 8)
    with pytest.raises(SchemaError, match=r"uuid is UUID, not str: Annotated\[UUID, ...\]"):
        kind_of(Annotated[str, get_args(Uuid)[1] and scalar("uuid", python=UUID, wire=str)])


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "should have a name, a text"),
    ({"name": 5}, "should have a name, a text"),
    ({"name": "u64"}, "is the name of a field type of oddwire: choose another"),
    ({"python": 5}, "python should be a class, not 5"),
    ({"size": 9}, "size=9 should be 1 to 8 bytes for an int"),
    ({"size": 0}, "size=0 should be a number of bytes"),
    ({"size": True}, "size=True should be a number of bytes"),
    ({"size": None}, "should have either size=, a number of bytes, or wire=, the field type that carries it"),
    ({"wire": u64}, "should have either size="),
    ({"size": None, "wire": set}, "set is not a field type; write tuple"),
    ({"size": None, "wire": u64 | None}, "wire=u64 | None should always have a value: None goes beside the scalar"),
    ({"size": None, "wire": Any}, "should always have a value"),
    ({"load": 5}, "load should be a function, not 5"),
    ({"parse": int}, "parse and show come together: what one writes, the other reads"),
    ({"show": str}, "parse and show come together"),
    ({"size": None, "wire": tuple[u8, ...]}, "should have a dump=, which returns tuple for a int"),
]


@pytest.mark.parametrize(("changes", "text"), MISTAKES)
def test_mistakes(changes, text):
    arguments = {"name": "sat", "python": int, "size": 8} | changes
    with pytest.raises(SchemaError) as caught:
        scalar(arguments.pop("name"), **arguments)
    assert text in str(caught.value)
    assert str(caught.value).startswith("scalar(")


class All(Message):
    sat: sat
    small: u24
    many: tuple[u24, ...]
    cent: Cent
    uuid: Uuid
    raw: Raw
    shown: Shown


@pytest.mark.parametrize("codec", ["bolt", "msgpack", "json"])
def test_messages_carry_scalars(codec):
    class Whole(All):
        pass

    whole = message(0x8C01, codec=codec)(Whole)
    registry = Registry()
    registry.register(whole)
    uuid = UUID(int=5)
    values = {"sat": 7, "small": 2**24 - 1, "many": (1, 2), "cent": Decimal("1.5"), "uuid": uuid, "raw": uuid}
    sent = whole(**values, shown=uuid)
    assert registry.decode(registry.encode(sent)) == sent
    plain = to_dict(sent)
    assert plain["shown"] == plain["uuid"] == str(uuid)
    assert plain["raw"] == uuid.hex
    assert plain["cent"] == 150
    assert from_dict(whole, plain) == sent
    texts = {"sat": "7", "small": "0xffffff", "many": "[1, 2]", "cent": "150", "uuid": str(uuid), "raw": uuid.hex}
    assert from_strings(whole, texts | {"shown": str(uuid)}) == sent
    assert f"uuid={uuid} raw={uuid} shown={uuid}" in repr(sent)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_unions_have_scalars_and_values_within_limits(codec):
    @message(0x8C01, codec=codec)
    class Mixed(Message):
        one: datetime | Annotated[u8, field(ge=1)] | Annotated[tuple[u8, ...], field(length=(1, 2))] | None
        two: bool | Annotated[float, field(gt=0)]

    registry = Registry()
    registry.register(Mixed)
    for one in (NOON, 5, (6, 7), None):
        for two in (True, 1.5, 2):
            sent = Mixed(one=one, two=two)
            assert registry.decode(registry.encode(sent)) == sent
            assert from_dict(Mixed, to_dict(sent)) == sent
    assert from_strings(Mixed, {"one": "2024-01-31T12:00:00Z", "two": "1.5"}) == Mixed(one=NOON, two=1.5)
    assert from_strings(Mixed, {"one": "[6, 7]", "two": "true"}) == Mixed(one=(6, 7), two=True)
    for one, two, text in (
        (0, True, "u8 should be at least 1, not 0"),
        ((), True, "tuple should be 1 to 2 elements, not 0"),
        (datetime(2024, 1, 1), True, "datetime should have a time zone"),
        (1, -1.5, "float should be above 0, not -1.5"),
    ):
        with pytest.raises(ValueOutOfRange, match=text):
            registry.encode(Mixed(one=one, two=two))


def test_unions_whose_scalars_nothing_tells_apart():
    length = scalar("length", python=int, wire=str, load=len, dump=str)
    with pytest.raises(SchemaError, match="length and int are both int in a message: nothing tells them apart"):
        kind_of(length | int)
    with pytest.raises(SchemaError, match="datetime and str are both strings in msgpack"):
        kind_of(datetime | str)


def test_bolt_writes_odd_sizes():
    @message(0x8C01, codec="bolt")
    class Sizes(Message):
        three: u24
        list: tuple[u24, ...]
        five: Annotated[int, scalar("five", python=int, size=5)]
        one: tuple[Annotated[int, scalar("one", python=int, size=1)], ...]

    registry = Registry()
    registry.register(Sizes)
    sent = Sizes(three=1, list=(2, 3), five=4, one=(5, 6))
    assert registry.encode(sent).hex() == "8c010000010002000002000003000000000400020506"
    assert registry.decode(registry.encode(sent)) == sent
    for cut in range(2, len(registry.encode(sent))):
        with pytest.raises(MalformedMessage):
            registry.decode(registry.encode(sent)[:cut])


def test_a_scalar_of_a_list_has_paths_into_it():
    whole = scalar("total", python=int, wire=tuple[u32, ...], load=sum, dump=lambda number: (number,))

    @message(0x8C01)
    class Packed(Message):
        total: whole

    @message(0x8C03, codec="json")
    class Json(Message):
        total: whole

    registry = Registry()
    registry.register(Packed)
    registry.register(Json)
    assert registry.decode(registry.encode(Packed(total=5))) == Packed(total=5)
    for payload in (b'\x8c\x03{"total":[1,-1]}', bytes.fromhex("8c0181a5746f74616c9201ff")):
        with pytest.raises(MalformedMessage, match="u32 should be 0 to") as caught:
            registry.decode(payload)
        assert caught.value.path == "$.total[1]"
        assert payload[caught.value.offset :].startswith((b"-1", b"\xff"))
