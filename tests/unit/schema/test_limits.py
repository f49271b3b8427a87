"""Constraints: those that are wrong for their field are refused when the class is made, in words that say why."""

from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any

import pytest

from oddwire import Message, NodeId, SchemaError, field, fixed, max_length, message, scalar, u8, u16
from oddwire.codecs.registry import Registry
from oddwire.errors import MalformedMessage, ValueOutOfRange
from oddwire.schema import counted, flag, replace, rest, schema_of, subtype, u32, validates
from oddwire.schema.annotations import kind_of
from oddwire.schema.kinds import Maybe, Prefixed, Sized
from oddwire.schema.value_kinds import Limited, Limits


class Side(Enum):
    BUY = 1


@subtype
class Order:
    price: u16


ORDER = scalar("order", python=Order, wire=u16, load=lambda n: Order(price=n), dump=lambda order: order.price)


THREE = scalar("three", python=int, size=3)


def one(annotation, codec="msgpack", **arguments):
    names = {"__annotations__": {"x": annotation}, "__module__": __name__, "__qualname__": "One"}
    return message(0x8C01, codec=codec)(type(Message)("One", (Message,), names | {"x": field(**arguments)}))


@pytest.mark.parametrize(
    ("annotation", "arguments", "text"),
    [
        (u8, {"ge": 256}, "ge=256 should be a value of the field: u8 should be 0 to 255, not 256"),
        (u8, {"ge": 1.5}, "ge=1.5 should be a value of the field: should be u8, not float"),
        (u8, {"le": True}, "le=True should be a value of the field: should be u8, not bool"),
        (u8, {"ge": 5, "le": 4}, "no u8 is at least 5, at most 4"),
        (u8, {"gt": 5, "lt": 6}, "no u8 is above 5, below 6"),
        (u8, {"gt": 255}, "no u8 is above 255"),
        (u8, {"lt": 0}, "no u8 is below 0"),
        (u8, {"ge": 1, "gt": 1}, "ge, gt are one too many: give one lower and one upper bound"),
        (u8, {"le": 1, "lt": 1}, "le, lt are one too many"),
        (float, {"ge": float("nan")}, "ge=nan should be a value of the field: float should be a finite number"),
        (float, {"gt": 1, "lt": 1}, "no float is above 1, below 1"),
        (Decimal, {"ge": 1.5}, "ge=1.5 should be a value of the field: should be Decimal, not float"),
        (datetime, {"ge": datetime(2024, 1, 1)}, "should be a value of the field: datetime should have a time zone"),
        (NodeId, {"ge": NodeId(b"\2" * 33)}, "is for what has an order, and not for node_id"),
        (Annotated[Order, ORDER], {"ge": Order(price=1)}, "is for what has an order, and not for order"),
        (str, {"ge": "a"}, "ge='a' is for what has an order, and not for str"),
        (bool, {"ge": 0}, "ge=0 is for what has an order, and not for bool"),
        (Side, {"ge": 1}, "and not for Side: leave out the members that are not allowed"),
        (tuple[u8, ...], {"ge": 1}, "for its elements, write it there: tuple[Annotated[X, field(...)], ...]"),
        (dict[str, u8], {"ge": 1}, "for its values, write it there: dict[str, Annotated[X, field(...)]]"),
        (Any, {"ge": 1}, "and not for plain value"),
        (u8, {"pattern": "a"}, "pattern='a' is for str, not u8"),
        (tuple[str, ...], {"pattern": "a"}, "is for str, not tuple: for its elements, write it there"),
        (str, {"pattern": "["}, "pattern='[' is no regular expression: unterminated character set at position 0"),
        (str, {"pattern": b"a"}, "pattern=b'a' should be a regular expression, as a string"),
        (u8, {"length": 4}, "u8 has no length to limit: only str, bytes, tuple, list and dict do"),
        (Order, {"length": 4}, "Order has no length to limit"),
        (str, {"length": -1}, "length=-1 should be a number from 0, or two, (least, most)"),
        (str, {"length": (2, 1)}, "length=(2, 1) should be"),
        (str, {"length": (1, 2, 3)}, "length=(1, 2, 3) should be"),
        (str, {"length": "5"}, "length='5' should be"),
        (str, {"length": True}, "length=True should be"),
        (str, {"length": 4, "max_length": 9}, "length=4 and max_length=9 are one too many: length has both ends"),
        (bytes, {"length": 4, "count": 4}, "length=4 and a count of 4 are one too many: leave length away"),
        (u8, {"ge": 5, "default": 4}, "the default does not fit: u8 should be at least 5, not 4"),
        (str, {"pattern": "a", "default_factory": str}, "the default does not fit: str should be like a, not ''"),
        (Annotated[u8, field(ge=1, default=1)], {}, "field(...) in Annotated is for ge, gt, le, lt, length and"),
        (Annotated[u8, field(tlv=1)], {}, "field(...) in Annotated is for ge, gt, le, lt, length and pattern"),
    ],
)  # fmt: skip
def test_what_cannot_work(annotation, arguments, text):
    with pytest.raises(SchemaError) as caught:
        one(annotation, **arguments)
    assert str(caught.value).startswith(f"{__name__}.One.x: ")
    assert text in str(caught.value)


def test_limits_stand_in_types_too_and_add_up():
    kind = kind_of(Annotated[u8, field(ge=1)])
    assert kind == Limited(kind_of(u8), Limits(ge=1))
    assert kind_of(Annotated[u8 | None, field(ge=1)]) == kind_of(Annotated[u8, field(ge=1)] | None) == Maybe(kind)
    assert kind_of(Annotated[u8, field()]) == kind_of(u8)
    both = schema_of(one(Annotated[u8, field(ge=1)], le=3)).fields[0].kind
    assert both == Limited(kind, Limits(le=3))
    assert kind_of(Annotated[str, field(pattern="a*"), max_length(3)]).inner == kind_of(Annotated[str, max_length(3)])
    assert kind_of(Annotated[str, field(pattern="a*"), fixed(3)]).inner == kind_of(Annotated[str, fixed(3)])
    assert kind_of(Annotated[Side, u8]) == kind_of(Annotated[Side, u8])


@pytest.mark.parametrize("codec", ["bolt", "msgpack", "json"])
@pytest.mark.parametrize(
    ("annotation", "arguments", "good", "bad"),
    [
        (u8, {"ge": 3, "lt": 5}, 4, 5),
        (str, {"length": 3, "pattern": "[a-c]*"}, "abc", "abcd"),
        (str, {"pattern": "[a-c]*"}, "abc", "abd"),
        (tuple[Annotated[u8, field(gt=1)], ...], {"length": (1, 2)}, (2,), (2, 1)),
        (list[str], {"length": (1, 2)}, ["a"], []),
        (Annotated[datetime, u16], {"le": datetime(1970, 1, 1, 1, tzinfo=UTC)}, datetime(1970, 1, 1, tzinfo=UTC),
         datetime(1970, 1, 1, 2, tzinfo=UTC)),
        (Annotated[int, scalar("sat", python=int, size=3)], {"ge": 7}, 7, 6),
    ],
)  # fmt: skip
def test_what_is_sent_and_comes_is_within_limits(codec, annotation, arguments, good, bad):
    limited, free = one(annotation, codec, **arguments), one(_without(annotation), codec)
    registry, other = Registry(), Registry()
    registry.register(limited)
    other.register(free)
    assert registry.decode(registry.encode(limited(x=good))) == limited(x=good)
    with pytest.raises(ValueOutOfRange) as caught:
        registry.encode(limited(x=bad))
    assert caught.value.path.startswith("$.x")
    with pytest.raises(MalformedMessage) as caught:
        registry.decode(other.encode(free(x=bad)))
    assert caught.value.path.startswith("$.x")
    assert caught.value.offset >= 2


def _without(annotation):
    return tuple[u8, ...] if annotation == tuple[Annotated[u8, field(gt=1)], ...] else annotation


def test_limits_and_counts_go_together():
    class Counted(Message):
        number: u8 = field(ge=1)
        items: tuple[u8, ...] = field(count="number", length=(1, 3))
        last: Annotated[bytes, rest] = field(length=(0, 2))

    counted = message(0x8C03, codec="bolt")(type(Message)("C", (Counted,), {"__module__": __name__}))
    registry = Registry()
    registry.register(counted)
    sent = counted(number=2, items=(7, 8), last=b"x")
    assert registry.encode(sent).hex() == "8c0302070878"
    assert registry.decode(registry.encode(sent)) == sent
    for payload, path in (("8c0300", "$.number"), ("8c030401020304", "$.items"), ("8c0301016162636465", "$.last")):
        with pytest.raises(MalformedMessage) as caught:
            registry.decode(bytes.fromhex(payload))
        assert caught.value.path == path


def test_limits_stand_inside_of_sizes_and_flags():
    limited = kind_of(Annotated[u8, field(ge=1)])
    for annotation in (
        Annotated[u8, field(ge=1), counted(u16)],
        Annotated[u8, counted(u16), field(ge=1)],
    ):
        assert kind_of(annotation) == Sized(limited, kind_of(u16))
    assert kind_of(Annotated[u8 | None, flag(u8), field(ge=1)]) == Maybe(limited, kind_of(u8))
    assert kind_of(Annotated[str, field(pattern="a*"), counted(u8)]).inner.count == Prefixed(kind_of(u8))

    @subtype
    class Node:
        value: Annotated[u8 | None, flag(u8), counted(u8), field(ge=1)]
        times: Annotated[tuple[Annotated[datetime, u32], ...], counted(THREE)] = field(length=(0, 1))
        node: Annotated["Node | None", flag(THREE)] = None

        @validates
        def check(self):
            if self.value == 9:
                raise ValueError("should not be 9")

    nodes = one(tuple[Node, ...], "bolt", length=(1, 2))
    registry = Registry()
    registry.register(nodes)
    sent = nodes(x=(Node(value=5, times=(), node=Node(value=None, times=(datetime(1970, 1, 1, tzinfo=UTC),))),))
    assert registry.encode(sent).hex() == "8c010001020105000000000001010000000100000000000000"
    assert registry.decode(registry.encode(sent)) == sent
    for changes, path in (({"value": 0}, "$.x[0].node.value"), ({"value": 9}, "$.x[0].node")):
        inner = replace(sent.x[0].node, **changes)
        with pytest.raises(ValueOutOfRange) as caught:
            registry.encode(nodes(x=(replace(sent.x[0], node=inner),)))
        assert caught.value.path == path


def test_a_class_that_holds_itself_at_least_once_has_no_value():
    with pytest.raises(SchemaError, match=r"Node\.nodes: each Node would hold another one, without an end"):

        @subtype
        class Node:
            nodes: "tuple[Node, ...]" = field(length=(1, 2))


def test_raw_has_limits():
    registry = Registry()
    raw = one(bytes, "raw", length=(1, 3))
    registry.register(raw)
    assert registry.decode(b"\x8c\x01abc").x == b"abc"
    with pytest.raises(MalformedMessage, match="bytes should be 1 to 3 bytes, not 4"):
        registry.decode(b"\x8c\x01abcd")
