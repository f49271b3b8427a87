"""The generated code of unions in unions: how much of it there is, and that uses which share it stay apart."""

import linecache
from functools import reduce
from operator import or_
from typing import Annotated, Any

import pytest

from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.codecs.bolt.reference_reading import read_message
from oddwire.codecs.bolt.reference_writing import write_message
from oddwire.errors import MalformedMessage
from oddwire.schema import Message, message, schema_of, subtype, tagged, u8, u16


def member(tag: int, name: str, annotations: dict[str, Any]) -> Any:
    return subtype(tag=tag)(type(name, (), {"__annotations__": annotations, "__module__": __name__}))


Leaf: Any = reduce(or_, [member(tag, f"Leaf{tag}", {"v": u8}) for tag in range(5)])


def message_of(annotations: dict[str, Any]) -> Any:
    body = {"__annotations__": annotations, "__module__": __name__}
    return message(0x8C01, codec="bolt")(type(Message)("Outer", (Message,), body))


def unions_in_unions(width: int, levels: int) -> Any:
    """Return a message of unions of ``width`` members, each of two fields that are a union like it, and so on."""
    members = [member(tag, f"Leaf{tag}", {"v": u8}) for tag in range(width)]
    for level in range(levels):
        union = Annotated[reduce(or_, members), tagged(u8)]
        members = [member(tag, f"Level{level}_{tag}", {"x": union, "y": union}) for tag in range(width)]
    return message_of({"x": Annotated[reduce(or_, members), tagged(u8)]})


def lines_of(cls: Any) -> int:
    """Return the number of lines that the codec generates for a message."""
    schema = schema_of(cls)
    BoltCodec().compile(schema)
    return sum(len(linecache.cache[f"<oddwire bolt {way} {schema.qualified_name}>"][2]) for way in ("encode", "decode"))


@pytest.mark.parametrize("width", [2, 6])
def test_each_level_of_unions_in_unions_takes_as_many_lines(width: int) -> None:
    counts = [lines_of(unions_in_unions(width, levels)) for levels in (2, 3, 9)]
    assert counts[2] - counts[1] == 6 * (counts[1] - counts[0])


@pytest.mark.parametrize("width", [2, 6])
def test_unions_in_unions_by_both_ways(width: int) -> None:
    cls = unions_in_unions(width, 3)
    plan, schema = BoltCodec().compile(schema_of(cls)), schema_of(cls)
    # The tag of each level, in depth first order, and a byte of each leaf.
    body = bytes.fromhex("01 01 01 00 05 01 06 00 01 07 00 08 00 00 01 09 00 0a 01 00 0b 01 0c")
    made = plan.decode(b"\x8c\x01" + body)
    assert made == read_message(schema, b"\x8c\x01" + body)
    assert [made.x.x.x.x.v, made.x.x.x.y.v, made.x.x.y.x.v, made.x.y.y.y.v] == [5, 6, 7, 12]
    assert plan.encode(made) == b"\x8c\x01" + body
    assert write_message(schema, made) == body
    for wrong in (body[:-1], body + b"\0\0", b"\x07" + body[1:]):
        with pytest.raises(MalformedMessage):
            plan.decode(b"\x8c\x01" + wrong)


def test_unions_of_other_tags_share_no_functions() -> None:
    classes = [member(tag, f"Leaf{tag}", {"v": u8}) for tag in range(6)]
    turned = {cls: 5 - tag for tag, cls in enumerate(classes)}
    union: Any = reduce(or_, classes)
    cls = message_of(
        {
            "a": Annotated[union, tagged(u8)],
            "b": Annotated[union, tagged(u16)],
            "c": Annotated[union, tagged(u8, length=u8)],
            "d": Annotated[union, tagged(u8, tags=turned)],
            "e": Annotated[union, tagged(u8)],
        }
    )
    first = classes[1]
    plan = BoltCodec().compile(schema_of(cls))
    value = cls(**{name: first(v=place) for place, name in enumerate("abcde")})
    payload = bytes.fromhex("8c01 0100 000101 010102 0403 0104")
    assert plan.encode(value) == payload
    assert plan.decode(payload) == value


def test_a_class_in_a_union_of_many_members_with_itself() -> None:
    @subtype(tag=9)
    class Pair:
        x: "Annotated[Pair | Leaf, tagged(u8)]"
        y: "Annotated[Pair | Leaf, tagged(u8)]"

    cls = message_of({"x": Annotated[Pair | Leaf, tagged(u8)]})
    plan, leaf = BoltCodec().compile(schema_of(cls)), Leaf.__args__[0]
    value = cls(x=Pair(x=Pair(x=leaf(v=1), y=leaf(v=2)), y=leaf(v=3)))
    assert plan.decode(plan.encode(value)) == value
    assert plan.encode(value) == b"\x8c\x01" + bytes.fromhex("09 09 0001 0002 0003")
