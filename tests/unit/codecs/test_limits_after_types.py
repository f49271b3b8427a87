"""Limits are checked after types: a value of another type, which may compare in any way, has the error of its type."""

from decimal import Decimal
from typing import Annotated

import pytest

from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.codecs.json import JsonCodec
from oddwire.codecs.msgpack.codec import MsgpackCodec
from oddwire.errors import EncodeError, MalformedMessage, ValueOutOfRange
from oddwire.schema import Message, bigsize, field, message, scalar, schema_of, u8, u32


class Hostile:
    """Compares with nothing."""

    def __ge__(self, _other):
        raise RuntimeError("no order")

    __gt__ = __le__ = __lt__ = __eq__ = __ge__
    __hash__ = None


def declared(annotation, codec, **arguments):
    names = {"__annotations__": {"x": annotation}, "__module__": __name__, "__qualname__": "One"}
    return message(0x8C01, codec=codec)(type(Message)("One", (Message,), names | {"x": field(**arguments)}))


def plan(cls):
    schema = schema_of(cls)
    return {"bolt": BoltCodec, "json": JsonCodec, "msgpack": MsgpackCodec}[schema.codec]().compile(schema)


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("sNaN"), Hostile()])
@pytest.mark.parametrize(
    ("annotation", "codec", "should"),
    [
        (float, "msgpack", "float"),
        (float, "json", "float"),
        (u32, "msgpack", "u32"),
        (u32, "bolt", "u32"),
        (bigsize, "bolt", "bigsize"),
    ],
)
def test_the_type_is_checked_before_the_bounds(annotation, codec, should, value):
    for bound in ({"ge": 1}, {"gt": 1}, {"le": 1}, {"lt": 1}):
        cls = declared(annotation, codec, **bound)
        with pytest.raises(EncodeError, match=f"should be {should}, not {type(value).__name__}"):
            plan(cls).encode(cls(x=value))


@pytest.mark.parametrize("codec", ["msgpack", "json", "bolt"])
def test_elements_too(codec):
    cls = declared(tuple[Annotated[u32, field(ge=1)], ...], codec)
    with pytest.raises(EncodeError, match="should be u32, not Decimal"):
        plan(cls).encode(cls(x=(Decimal("NaN"),)))


NUMBER = scalar("number", python=Decimal, wire=u8, load=lambda n: Decimal(n) if n else Decimal("NaN"), dump=int)


@pytest.mark.parametrize("codec", ["msgpack", "json", "bolt"])
def test_a_scalar_that_cannot_be_compared_is_out_of_bounds(codec):
    cls = declared(Annotated[Decimal, NUMBER], codec, ge=Decimal(1))
    payload = plan(cls).encode(cls(x=Decimal(1)))
    assert plan(cls).decode(payload) == cls(x=Decimal(1))
    zero = payload[:-1] + b"\0" if codec != "json" else payload.replace(b"1", b"0")
    with pytest.raises(MalformedMessage, match="number should be at least 1, not NaN"):
        plan(cls).decode(zero)


@pytest.mark.parametrize("codec", ["msgpack", "json", "bolt"])
def test_a_bound_still_counts(codec):
    cls = declared(u32, codec, ge=1)
    with pytest.raises(ValueOutOfRange, match="u32 should be at least 1, not 0"):
        plan(cls).encode(cls(x=0))
