"""Classes in themselves: what may be, with each codec, how deep, and what else of oddwire handles them."""

from __future__ import annotations

import json
import sys
import tracemalloc
from typing import Annotated, Any

import msgpack
import pytest

from oddwire.cli.message_arguments import spell_fields
from oddwire.codecs.envelope import TYPE_ID, enveloped
from oddwire.codecs.registry import builtin_codecs
from oddwire.errors import EncodeError, MalformedMessage, SchemaError
from oddwire.schema import (
    Message,
    counted,
    describe,
    field,
    flag,
    from_dict,
    from_strings,
    message,
    schema_of,
    subtype,
    to_dict,
    u8,
    u16,
)
from oddwire.schema.bolt_csv import dump_csv
from oddwire.schema.kinds import Anything, Array, Maybe, Nested, Sized
from oddwire.schema.nesting import MAX_LEVELS, nests, parts_of
from oddwire.schema.replies import can_be_equal
from oddwire.schema.weight import weigher

CODECS = {codec.name: codec for codec in builtin_codecs()}


@subtype
class Node:
    value: u8 = 0
    children: tuple[Node, ...] = ()


@subtype
class Link:
    value: u8 = 0
    following: Annotated[Link | None, flag(u8)] = None


@subtype
class Stream:
    """Of TLV records, so that it needs its size wherever it is not last."""

    value: u8 | None = field(tlv=1, default=None)
    inner: Stream | None = field(tlv=3, default=None)
    more: tuple[Annotated[Stream, counted(u16)], ...] | None = field(tlv=5, default=None)


@subtype
class Table:
    tables: dict[str, Table] = field(default_factory=dict)


@subtype
class Around:
    """A class that is not in itself, but has such a class in it, twice."""

    link: Link
    nodes: tuple[Annotated[tuple[Node, ...], counted(u8)], ...]


@message(0x8C01, codec="bolt")
class Bolt(Message):
    node: Node = Node()
    link: Link = Link()
    around: Around | None = field(tlv=1, default=None)
    stream: Stream | None = field(tlv=3, default=None)


@message(0x8C03)
class Packed(Message):
    node: Node = Node()
    link: Link = Link()
    around: Around | None = None
    stream: Stream | None = None
    table: Table | None = None


@message(0x8C05, codec="json")
class Json(Packed):
    pass


@message(0x8C07, codec="bolt")
class Whole(Message):
    value: u8
    children: tuple[Whole, ...] = ()


@message(0x8C09)
class PackedWhole(Message):
    children: list[PackedWhole] = field(default_factory=list)


def plan(cls):
    return CODECS[schema_of(cls).codec].compile(schema_of(cls))


def tree(levels, cls=Node):
    made = cls()
    for _ in range(levels - 1):
        made = cls(children=(made,))
    return made


def links(levels):
    made = Link()
    for _ in range(levels - 1):
        made = Link(following=made)
    return made


def wholes(levels, cls=Whole, **values):
    made = cls(**values)
    for _ in range(levels - 1):
        made = cls(children=type(made.children)([made]), **values)
    return made


STREAM = Stream(value=1, inner=Stream(value=2, inner=Stream()), more=(Stream(), Stream(value=3, more=())))
AROUND = Around(link=links(3), nodes=((tree(2), Node(value=7)), (), (tree(3),)))


@pytest.mark.parametrize("cls", [Bolt, Packed, Json])
def test_values_come_back(cls):
    value = cls(node=Node(value=1, children=(tree(3), Node(value=9))), link=links(4), around=AROUND, stream=STREAM)
    assert plan(cls).decode(plan(cls).encode(value)) == value
    assert from_dict(cls, json.loads(json.dumps(to_dict(value)))) == value


def test_the_bytes():
    assert plan(Bolt).encode(Bolt(node=tree(3), link=links(2))) == bytes.fromhex("8c0100000100000100000000010000")
    stream = Bolt(stream=Stream(inner=Stream(value=7), more=(Stream(),)))
    assert plan(Bolt).encode(stream) == bytes.fromhex("8c0100000000000309030301010705020000")
    assert plan(Whole).encode(wholes(2, value=1)) == bytes.fromhex("8c07010001010000")
    assert plan(Packed).encode(Packed(table=Table(tables={"a": Table()})))[2:] == msgpack.packb(
        {
            "node": {"value": 0, "children": []},
            "link": {"value": 0},
            "table": {"tables": {"a": {"tables": {}}}},
        }
    )


# How deep


@pytest.mark.parametrize(
    ("cls", "made", "step"),
    [
        (Bolt, lambda levels: Bolt(node=tree(levels)), "$.node" + ".children[0]" * 32),
        (Bolt, lambda levels: Bolt(link=links(levels)), "$.link" + ".following" * 32),
        (Bolt, lambda levels: Bolt(around=Around(link=Link(), nodes=((tree(levels),),))), "$.around.nodes[0][0]"),
        (Packed, lambda levels: Packed(node=tree(levels)), "$.node" + ".children[0]" * 32),
        (Packed, lambda levels: Packed(link=links(levels)), "$.link" + ".following" * 32),
        (Whole, lambda levels: wholes(levels, value=1), "$" + ".children[0]" * 32),
        (PackedWhole, lambda levels: wholes(levels, PackedWhole), "$" + ".children[0]" * 32),
    ],
)
def test_32_levels_are_sent_and_33_or_100000_are_not(cls, made, step):
    whole = made(MAX_LEVELS)
    assert plan(cls).decode(plan(cls).encode(whole)) == whole
    for levels in (MAX_LEVELS + 1, 100_000):
        with pytest.raises(EncodeError, match="nests more than 32 levels deep") as caught:
            plan(cls).encode(made(levels))
        assert caught.value.path.startswith(step)
        assert caught.value.type_id == schema_of(cls).type_id


@pytest.mark.parametrize(("cls", "prefix"), [(Whole, b"\x8c\x07"), (Bolt, b"\x8c\x01")])
@pytest.mark.parametrize("levels", [33, 1000, 20_000])
def test_more_levels_are_malformed_with_bolt(cls, prefix, levels):
    start = "$" if cls is Whole else "$.node"
    payload = prefix + b"\1\0\1" * (levels - 1) + b"\1\0\0" + (b"" if cls is Whole else b"\0\0")
    with pytest.raises(MalformedMessage, match="nests more than 32 levels deep") as caught:
        plan(cls).decode(payload)
    assert caught.value.path == start + ".children[0]" * 32
    assert caught.value.offset == 2 + 3 * 32


def test_more_links_are_malformed_with_bolt():
    assert plan(Bolt).decode(b"\x8c\x01\0\0\0" + b"\0\1" * 31 + b"\0\0").link == links(32)
    with pytest.raises(MalformedMessage, match="nests more than 32 levels deep") as caught:
        plan(Bolt).decode(b"\x8c\x01\0\0\0" + b"\0\1" * 30_000)
    assert (caught.value.path, caught.value.offset) == ("$.link" + ".following" * 32, 5 + 64)


def test_more_levels_are_malformed_with_msgpack():
    def nested(levels):
        return b"\x81\xa8children\x91" * (levels - 1) + b"\x81\xa8children\x90"

    assert plan(PackedWhole).decode(b"\x8c\x09" + nested(32)) == wholes(32, PackedWhole)
    for levels in (33, 500, 512):  # msgpack itself reads 1024 arrays and maps in one another
        with pytest.raises(MalformedMessage, match="nests more than 32 levels deep") as caught:
            plan(PackedWhole).decode(b"\x8c\x09" + nested(levels))
        assert caught.value.path == "$" + ".children[0]" * 32
        assert caught.value.offset == 2 + 11 * 32
    for levels in (513, 5000):
        with pytest.raises(MalformedMessage, match="nests too deep"):
            plan(PackedWhole).decode(b"\x8c\x09" + nested(levels))


def test_json_has_its_maps_and_arrays_counted_when_sent_and_when_read():
    whole = Json(node=tree(16))  # the message, then a map and an array for each level
    deepest = Json(node=tree(15), link=links(31))
    assert plan(Json).decode(plan(Json).encode(deepest)) == deepest
    with pytest.raises(EncodeError, match="32 levels deep, maps and arrays in all") as caught:
        plan(Json).encode(whole)
    assert caught.value.path == "$.node" + ".children[0]" * 15 + ".children"
    with pytest.raises(EncodeError, match="32 levels deep") as caught:
        plan(Json).encode(Json(link=links(32)))
    assert caught.value.path == "$.link" + ".following" * 31
    with pytest.raises(EncodeError, match="nests more than 32 levels deep"):
        plan(Json).encode(Json(link=links(100_000)))
    body = b'{"link":' + b'{"value":0,"following":' * 40 + b"null" + b"}" * 41
    with pytest.raises(MalformedMessage, match="nests more than 32 levels deep") as error:
        plan(Json).decode(b"\x8c\x05" + body)
    assert error.value.offset == body.index(b"{", 8) + 2 + 31 * 23


def test_what_is_not_a_class_in_itself_may_be_too_deep_for_json_too():
    @message(0x8C0B, codec="json")
    class Free(Message):
        anything: Any = field(key="any")
        table: dict[str, list[Any]] = field(default_factory=dict)

    def lists(levels):
        made = []
        for _ in range(levels - 1):
            made = [made]
        return made

    assert plan(Free).decode(plan(Free).encode(Free(anything=lists(31)))).anything == lists(31)
    with pytest.raises(EncodeError, match="32 levels deep") as caught:
        plan(Free).encode(Free(anything=lists(32)))
    assert caught.value.path == "$.anything" + "[0]" * 31
    with pytest.raises(EncodeError, match="32 levels deep") as caught:
        plan(Free).encode(Free(anything=None, table={"a b": [1, {"x": lists(31)}]}))
    assert caught.value.path == "$.table['a b'][1]['x']" + "[0]" * 28


def test_an_error_deep_inside_has_its_place():
    payload = bytearray(plan(Bolt).encode(Bolt(link=links(5))))
    payload[-1] = 9
    with pytest.raises(MalformedMessage, match="the flag should be 0 or 1, not 9") as caught:
        plan(Bolt).decode(bytes(payload))
    assert (caught.value.path, caught.value.offset) == ("$.link" + ".following" * 5, len(payload) - 1)
    tree = {"node": {"children": [{"value": 1}, {"children": [{"value": 300}]}]}}
    for cls, body in ((Packed, msgpack.packb(tree)), (Json, json.dumps(tree).encode())):
        with pytest.raises(MalformedMessage, match="u8 should be 0 to 255, not 300") as caught:
            plan(cls).decode(schema_of(cls).type_id.to_bytes(2, "big") + body)
        assert caught.value.path == "$.node.children[1].children[0].value"
        assert caught.value.offset == 2 + body.index(b"\xcd" if cls is Packed else b"300")


def test_in_an_envelope():
    codec = enveloped("json", envelope={"type": TYPE_ID}, body="body")

    @message(0x8C0D, codec=codec)
    class Inside(Message):
        children: tuple[Inside, ...] = ()

    made = codec.compile(schema_of(Inside))
    whole = Inside(children=(Inside(), Inside(children=(Inside(),))))
    assert made.decode(made.encode(whole)) == whole
    with pytest.raises(EncodeError, match="32 levels deep") as caught:
        made.encode(wholes(30, Inside))
    assert caught.value.path == "$.body" + ".children[0]" * 15 + ".children"


# What else handles values


def test_they_print_whatever_their_depth():
    assert describe(wholes(2, value=1)) == "Whole 0x8c07 value=1 children=[Whole(value=1, children=[])]"
    assert repr(links(2)) == "Link(value=0, following=Link(value=0, following=None))"
    assert "Link(…)" in repr(links(sys.getrecursionlimit()))
    kind = Node.__oddwire__.fields[1].kind
    assert repr(kind).startswith(f"Array(element=Nested({__name__}.Node)")
    assert str(Node.__oddwire__)


def test_their_memory_is_counted():
    weigh = weigher(schema_of(Bolt))
    payload = plan(Bolt).encode(Bolt(node=Node(children=(Node(),) * 5000), link=links(32)))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    made = plan(Bolt).decode(payload)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert taken < weigh(made) < 2.5 * taken
    assert weigh(Bolt(node=tree(20))) > weigh(Bolt(node=tree(3))) > weigh(Bolt())

    @message(0x8C0F, codec="bolt")
    class OnlyLinks(Message):
        link: Link

    assert weigher(schema_of(OnlyLinks))(OnlyLinks(link=links(20))) > 20 * 48


def test_as_text():
    typed = from_strings(Packed, {"node": '{"value": 3, "children": [{"value": 4}]}', "link": "{}"})
    assert typed == Packed(node=Node(value=3, children=(Node(value=4),)))
    with pytest.raises(EncodeError, match="has no field 'colour'") as caught:
        from_strings(Packed, {"node": '{"children": [{"children": [{"colour": 4}]}]}'})
    assert caught.value.path == "$.node.children[0].children[0]"
    for levels in (33, 300, 100_000):
        text = '{"children": [' * levels + "]}" * levels
        with pytest.raises(EncodeError, match=r"nests more than 32|should be JSON"):
            from_strings(Packed, {"node": text})
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"following": deep}
    with pytest.raises(EncodeError, match="nests more than 32 levels deep"):
        from_dict(Packed, {"link": deep})
    assert spell_fields(schema_of(Whole)) == "value: u8, children: list of Whole = []"
    assert spell_fields(schema_of(Bolt)).startswith("node: Node(value: u8, children: list of Node) = Node(")


def test_csv_has_no_word_for_them():
    for cls in (Bolt, Whole):
        with pytest.raises(SchemaError, match=r"CSV cannot say that (Node|Whole) is in itself"):
            dump_csv([cls])


def test_classes_are_equal_to_themselves():
    (nodes,) = (field.kind for field in Node.__oddwire__.fields if field.name == "children")
    assert can_be_equal(nodes, Array(Nested(Node.__oddwire__), list))
    assert not can_be_equal(nodes, Array(Nested(Link.__oddwire__), tuple))
    whole = schema_of(Whole).fields[1].kind
    assert can_be_equal(whole.element, Nested(schema_of(Whole)))


def test_which_nest():
    assert Node.__oddwire__.recursive
    assert not Around.__oddwire__.recursive
    assert nests(Around.__oddwire__)
    assert nests(schema_of(Whole))
    assert parts_of(Maybe(Sized(Array(Anything(), list), u16.__metadata__[0]))) == (
        Sized(Array(Anything(), list), u16.__metadata__[0]),
    )

    @subtype
    class Flat:
        value: u8

    assert not nests(Flat.__oddwire__)


# Declarations


def test_a_class_that_could_have_no_value():
    with pytest.raises(SchemaError, match=r"Endless\.inner: each Endless would hold another one, without an end"):

        @subtype
        class Endless:
            inner: Endless

    with pytest.raises(SchemaError, match=r"Pairs\.pair: each Pairs would hold another one"):

        @message(0x8C0B, codec="bolt")
        class Pairs(Message):
            pair: tuple[Annotated[Pairs, counted(u16)], ...] = field(count=2)

    with pytest.raises(SchemaError, match=r"Records\.record: each Records would hold"):

        @subtype
        class Records:
            record: Records = field(tlv=1)


def test_subclasses_have_the_class_in_them_that_is_named():
    @message(0x8C0B)
    class Special(PackedWhole):
        pass

    assert not schema_of(Special).recursive
    special = Special(children=[PackedWhole(children=[PackedWhole()])])
    assert plan(Special).decode(plan(Special).encode(special)) == special
    with pytest.raises(EncodeError, match="should be PackedWhole, not Special"):
        plan(Special).encode(Special(children=[special]))


def test_a_base_without_instances_is_in_nothing():
    class Base(Message):
        children: tuple[Base, ...] = ()

    with pytest.raises(SchemaError, match=r"Special\.children: Base has no instances: decorate it with @message"):

        @message(0x8C0B)
        class Special(Base):
            pass


def test_bolt_refuses_what_would_not_end():
    @subtype
    class Streams:
        streams: tuple[Streams, ...] | None = field(tlv=1, default=None)

    with pytest.raises(SchemaError, match=r"put its size in front, Annotated\[Streams, counted\(u16\)\]"):

        @message(0x8C0B, codec="bolt")
        class Holder(Message):
            streams: Streams


def in_arrays(number, codec):
    """Return a class that is in so many arrays in one another, in itself."""
    annotation = "Deep"
    for _ in range(number):
        annotation = f"tuple[{annotation}, ...]"
    body = {"__annotations__": {"value": u8, "children": annotation}, "__module__": __name__, "children": ()}
    return message(0x8C0B, codec=codec)(type(Message)("Deep", (Message,), body))


def deep_in_arrays(cls, value):
    made = cls(value=value)
    for _ in range(31):
        for _ in range(8):
            made = (made,)
        made = cls(value=1, children=made)
    return made


@pytest.mark.parametrize("codec", ["bolt", "msgpack"])
def test_all_levels_of_arrays_in_arrays_are_read_and_written(codec):
    cls = in_arrays(8, codec)
    made, wrong = (deep_in_arrays(cls, value) for value in (1, 256))
    payload = plan(cls).encode(made)
    assert plan(cls).decode(payload) == made
    with pytest.raises(MalformedMessage):  # by the reference path, which takes more calls
        plan(cls).decode(payload[:-1])
    with pytest.raises(EncodeError) as caught:
        plan(cls).encode(wrong)
    assert caught.value.path.count("[0]") == 8 * 31


def test_more_arrays_in_one_another_are_refused():
    with pytest.raises(SchemaError, match="children: Deep is in 9 arrays and other values in one another, max 8"):
        in_arrays(9, "msgpack")
