"""Unions in each codec: bytes by hand, by both ways of a plan; and what errors say of unions, with path and offset."""

import json
from typing import Annotated, Any, Literal

import msgpack
import pytest

from oddwire.codecs.base import Plan
from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.codecs.bolt.reference_reading import read_message
from oddwire.codecs.bolt.reference_writing import write_message
from oddwire.codecs.envelope import enveloped
from oddwire.codecs.json import JsonCodec
from oddwire.codecs.msgpack.codec import MsgpackCodec
from oddwire.errors import (
    CodecError,
    EncodeError,
    MalformedMessage,
    NotMinimal,
    SchemaError,
    TrailingBytes,
    Truncated,
    UnknownRequiredRecord,
    ValueOutOfRange,
)
from oddwire.schema import (
    Message,
    UnknownVariant,
    bigsize,
    counted,
    field,
    fixed,
    flag,
    message,
    rest,
    s8,
    schema_of,
    subtype,
    tagged,
    tu32,
    u8,
    u16,
)


@subtype(tag=0)
class Flat:
    price: u16


@subtype(tag=1)
class Open:
    name: str
    amount: tu32 | None = field(tlv=1, default=None)


@subtype(tag=300)
class Last:
    data: Annotated[bytes, rest]


@message(0x8C05, codec="bolt")
class Part(Message):
    """A message in another has no type number, unless it is the tag."""

    flag: bool
    more: u8 | None = field(tlv=2, default=None)


@subtype(tag=6)
class Marker:
    pass


Closed = Annotated[Flat | Open, tagged(u8, length=u16)]
Negative = Annotated[Flat | Marker, tagged(s8, tags={Flat: -1})]
Sized = Annotated[Flat | Open | Last | Part | UnknownVariant, tagged(bigsize, length=bigsize)]


@message(0x8C01, codec="bolt")
class Middle(Message):
    contract: Sized
    many: Annotated[tuple[Closed, ...], counted(u8)]
    signed: Negative
    end: u8


@message(0x8C07, codec="bolt")
class Tail(Message):
    number: u8
    contract: Annotated[Flat | Last | UnknownVariant, tagged(u16)]


@message(0x8C09, codec="bolt")
class Records(Message):
    inner: Annotated[Flat | Marker, tagged(u8)] | None = field(tlv=1, default=None)
    sized: Sized | None = field(tlv=3, default=None)


@message(0x8C0B, codec="bolt")
class Outer(Message):
    end: u8
    part: Part


@message(0x8C0D)
class Packed(Message):
    contract: Sized
    id: str | int | None = None
    many: tuple[Annotated[Flat | Open, tagged("kind", tags={Flat: "flat", Open: "open"})], ...] = ()
    table: dict[str, tuple[int | bool, ...] | Flat | float] = field(default_factory=dict)
    mixed: tuple[int | bytes | str | float, ...] = ()


@message(0x8C0F, codec="json")
class Written(Message):
    contract: Sized
    id: str | int | None = None
    many: tuple[Annotated[Flat | Open, tagged("kind", tags={Flat: "flat", Open: "open"})], ...] = ()
    table: dict[str, tuple[int | bool, ...] | Flat | float] = field(default_factory=dict)


# Bytes by hand: bolt


def middle(contract: Any, *many: Any, signed: Any = None) -> Middle:
    return Middle(contract=contract, many=many, signed=signed or Marker(), end=9)


@pytest.mark.parametrize(
    ("whole", "wire"),
    [
        (middle(Flat(price=258)), "00 02 0102  00 06 09"),
        (middle(Open(name="ab")), "01 04 0002 6162  00 06 09"),
        (middle(Open(name="ab", amount=258)), "01 08 0002 6162 01020102  00 06 09"),
        (middle(Last(data=b"abc")), "fd012c 03 616263  00 06 09"),
        (middle(Last(data=b"")), "fd012c 00  00 06 09"),
        (middle(Last(data=b"x" * 300)), "fd012c fd012c" + "78" * 300 + "00 06 09"),
        (middle(Part(flag=True)), "fd8c05 01 01  00 06 09"),
        (middle(Part(flag=True, more=7)), "fd8c05 04 01020107  00 06 09"),
        (middle(UnknownVariant(7, b"ab")), "07 02 6162  00 06 09"),
        (middle(UnknownVariant(2**40, b"")), "ff0000010000000000 00  00 06 09"),
        (middle(Flat(price=1), Flat(price=2), Open(name="a")), "00 02 0001  02 00 0002 0002 01 0003 000161  06 09"),
        (middle(Flat(price=1), signed=Flat(price=3)), "00 02 0001  00 ff 0003 09"),
        (Tail(number=1, contract=Flat(price=258)), "01 0000 0102"),
        (Tail(number=1, contract=Last(data=b"abc")), "01 012c 616263"),
        (Tail(number=1, contract=UnknownVariant(2, b"xyz")), "01 0002 78797a"),
        (Records(inner=Flat(price=3)), "01 03 00 0003"),
        (Records(inner=Marker()), "01 01 06"),
        (Records(sized=Open(name="a", amount=1)), "03 08 01 06 0001 61 010101"),
        (Outer(end=1, part=Part(flag=True)), "01 01"),
        (Outer(end=1, part=Part(flag=True, more=5)), "01 01 020105"),
    ],
    ids=repr,
)
def test_bolt_by_hand(whole: Message, wire: str) -> None:
    schema = schema_of(whole)
    payload = schema.type_id.to_bytes(2, "big") + bytes.fromhex(wire)
    plan = BoltCodec().compile(schema)
    assert plan.encode(whole) == payload == payload[:2] + write_message(schema, whole)
    assert plan.decode(payload) == whole == read_message(schema, payload)


def test_a_message_whose_union_has_ended_may_have_an_extension() -> None:
    plan = BoltCodec().compile(schema_of(Tail))
    assert plan.decode(bytes.fromhex("8c07 01 0000 0102 0b01ff")) == Tail(number=1, contract=Flat(price=258))


@pytest.mark.parametrize(
    ("cls", "wire", "error", "path", "offset", "text"),
    [
        (Middle, "02 fd", Truncated, "$.contract", 3, "bigsize starting with fd needs 3 bytes, 1 remain"),
        (Middle, "fd0001 02 0000 00", NotMinimal, "$.contract", 2, ""),
        (Middle, "00 03 0102 ff 00 06 09", TrailingBytes, "$.contract", 6, "1 bytes more than Flat takes"),
        (Middle, "00 01 01 00 06 09", Truncated, "$.contract.price", 4, "u16 needs 2 bytes, 1 remain"),
        (Middle, "00 20 0102", Truncated, "$.contract", 4, "Flat needs 32 bytes, 2 remain"),
        (Middle, "07 20 0102", Truncated, "$.contract", 4, "the body needs 32 bytes, 2 remain"),
        (Middle, "01 06 0001 61 020101", UnknownRequiredRecord, "$.contract", 7, "TLV record 2 is unknown and even"),
        (
            Middle,
            "00 02 0102 01 07 0002 0102 06 09",
            MalformedMessage,
            "$.many[0]",
            7,
            "should be 0 (Flat) or 1 (Open)",
        ),
        (Middle, "00 02 0102 00 05 09", MalformedMessage, "$.signed", 7, "should be -1 (Flat) or 6 (Marker), not 5"),
        (Tail, "01 0000 01", Truncated, "$.contract.price", 5, "u16 needs 2 bytes"),
        (Tail, "01 0000 0102 02 01 ff", UnknownRequiredRecord, "$", 7, "TLV record 2 is unknown and even"),
        (Tail, "01 00", Truncated, "$.contract", 3, "needs"),
        (Records, "01 04 00 0003 ff", TrailingBytes, "$.inner", 7, "TLV record 1 has 1 bytes more than Flat or Marker"),
        (Records, "01 00", Truncated, "$.inner", 4, ""),
    ],
)
def test_bolt_errors(cls: type[Message], wire: str, error: Any, path: str, offset: int, text: str) -> None:
    payload = schema_of(cls).type_id.to_bytes(2, "big") + bytes.fromhex(wire)
    with pytest.raises(MalformedMessage) as caught:
        BoltCodec().compile(schema_of(cls)).decode(payload)
    assert (type(caught.value), caught.value.path, caught.value.offset) == (error, path, offset)
    assert text in caught.value.args[0]


@pytest.mark.parametrize(
    ("contract", "error", "path", "text"),
    [
        (5, EncodeError, "$.contract", "should be Flat or Open or Last or Part or UnknownVariant, not int"),
        (Marker(), EncodeError, "$.contract", "not Marker"),
        (Flat(price=70_000), ValueOutOfRange, "$.contract.price", "u16 should be"),
        (UnknownVariant(1, b""), ValueOutOfRange, "$.contract", "has the tag 1, which is that of Open: send one"),
        (
            UnknownVariant(-1, b""),
            ValueOutOfRange,
            "$.contract",
            "the tag should be 0 to 18446744073709551615, as bigsize",
        ),
        (
            UnknownVariant(7, {}),
            EncodeError,
            "$.contract",
            "body of UnknownVariant should be bytes with bolt, not dict",
        ),
        (UnknownVariant("a", b""), EncodeError, "$.contract", "the tag of UnknownVariant should be int, not str"),
    ],
)
def test_values_that_bolt_cannot_send(contract: Any, error: Any, path: str, text: str) -> None:
    with pytest.raises(CodecError) as caught:
        BoltCodec().compile(schema_of(Middle)).encode(middle(contract))
    assert (type(caught.value), caught.value.path) == (error, path)
    assert text in caught.value.args[0]


def test_a_body_too_long_for_its_length() -> None:
    @message(0x8C11, codec="bolt")
    class Short(Message):
        contract: Annotated[Last | UnknownVariant, tagged(u16, length=u8)]
        end: u8

    plan = BoltCodec().compile(schema_of(Short))
    for contract in (Last(data=bytes(256)), UnknownVariant(1, bytes(256))):
        with pytest.raises(
            ValueOutOfRange, match=r"\$.contract: should have at most 255 bytes, as a u8 counts them, not 2"
        ):
            plan.encode(Short(contract=contract, end=1))


# Many members: dicts of functions


@pytest.mark.parametrize("codec", [BoltCodec(), MsgpackCodec(), JsonCodec()], ids=lambda codec: codec.name)
@pytest.mark.parametrize("length", [None, u8])
def test_many_members(codec: Any, length: Any) -> None:
    classes = [type(f"Case{i}", (), {"__annotations__": {"number": u8}, "__module__": __name__}) for i in range(20)]
    members = [subtype(tag=i)(cls) for i, cls in enumerate(classes)]
    union: Any = members[0]
    for member in members[1:]:
        union |= member
    annotation = (
        Annotated[union | UnknownVariant, tagged(u8, length=length)] if length else Annotated[union, tagged(u8)]
    )
    names = {"__annotations__": {"many": tuple[annotation, ...]}, "__module__": __name__, "__qualname__": "Many"}
    cls: Any = message(0x8C13, codec=codec.name)(type(Message)("Many", (Message,), names))
    plan = codec.compile(schema_of(cls))
    made = [member(number=i) for i, member in enumerate(members)]
    whole = cls(many=(*made, *([UnknownVariant(99, b"x" if codec.name == "bolt" else {"x": 1})] if length else [])))
    assert plan.decode(plan.encode(whole)) == whole
    if codec.name == "bolt":
        body = "".join(f"{i:02x}{'01' if length else ''}{i:02x}" for i in range(20)) + ("63 01 78" if length else "")
        assert plan.encode(whole)[4:] == bytes.fromhex(body)
    with pytest.raises(EncodeError, match="should be Case0 or"):
        plan.encode(cls(many=(Flat(price=1),)))


# Trees


PACKED: list[tuple[dict[str, Any], Any]] = [
    ({"contract": Flat(price=258)}, {"contract": {"type": 0, "price": 258}}),
    ({"contract": Part(flag=True, more=1)}, {"contract": {"type": 0x8C05, "flag": True, "more": 1}}),
    ({"contract": UnknownVariant(7, {"x": [1]})}, {"contract": {"type": 7, "x": [1]}}),
    ({"contract": Flat(price=1), "id": "a"}, {"contract": {"type": 0, "price": 1}, "id": "a"}),
    ({"contract": Flat(price=1), "id": 7}, {"contract": {"type": 0, "price": 1}, "id": 7}),
    (
        {"contract": Flat(price=1), "many": (Open(name="x"), Flat(price=2))},
        {"contract": {"type": 0, "price": 1}, "many": [{"kind": "open", "name": "x"}, {"kind": "flat", "price": 2}]},
    ),
    (
        {"contract": Flat(price=1), "table": {"a": (1, True), "b": Flat(price=3), "c": 7.0}},
        {"contract": {"type": 0, "price": 1}, "table": {"a": [1, True], "b": {"price": 3}, "c": 7.0}},
    ),
]


@pytest.mark.parametrize(("values", "tree"), PACKED)
@pytest.mark.parametrize("cls", [Packed, Written])
def test_trees_by_hand(cls: Any, values: dict[str, Any], tree: Any) -> None:
    codec: Any = JsonCodec() if cls is Written else MsgpackCodec()
    plan: Plan = codec.compile(schema_of(cls))
    whole = cls(**values)
    payload = plan.encode(whole)
    found = json.loads(payload[2:]) if cls is Written else msgpack.unpackb(payload[2:])
    assert {key: found[key] for key in tree} == tree
    assert list(found["contract"]) == list(tree["contract"])  # the tag is first
    assert repr(plan.decode(payload)) == repr(whole)  # 7 and 7.0, 1 and True are equal
    assert plan.encode(plan.decode(payload)) == payload


def test_msgpack_tells_more_types_apart_than_json() -> None:
    plan = MsgpackCodec().compile(schema_of(Packed))
    whole = Packed(contract=Flat(price=1), mixed=(1, b"1", "1", 1.0))
    assert repr(plan.decode(plan.encode(whole))) == repr(whole)


BROKEN: list[tuple[dict[str, Any], str, str, bytes]] = [
    ({"contract": {}}, "$.contract.type", "the tag is missing: should be 0 (Flat), 1 (Open)", b"{},"),
    ({"contract": {"type": "a"}}, "$.contract.type", "or 35845 (Part), or another, not str", b'"a"'),
    ({"contract": {"type": -1}}, "$.contract.type", "as bigsize holds it, not -1", b"-1"),
    ({"contract": {"type": True, "price": 1}}, "$.contract.type", "not bool", b"true"),
    ({"contract": {"type": 0, "price": 70_000}}, "$.contract.price", "u16 should be", b"70000"),
    ({"contract": {"type": 0}}, "$.contract.price", "is missing", b'{"type":0}'),
    ({"contract": []}, "$.contract", "should be a map, not list", b"[]"),
    ({"id": 1.5}, "$.id", "should be str or int, not float", b"1.5"),
    ({"id": True}, "$.id", "should be str or int, not bool", b"true"),
    (
        {"many": [{"kind": "flat", "price": 1}, {"kind": "shut"}]},
        "$.many[1].kind",
        "'open' (Open), not 'shut'",
        b'"shut"',
    ),
    ({"many": [{"kind": "open", "name": 7}]}, "$.many[0].name", "should be str, not int", b"7}"),
]


@pytest.mark.parametrize(("values", "path", "text", "place"), BROKEN)
@pytest.mark.parametrize("cls", [Packed, Written])
def test_broken_trees(cls: Any, values: dict[str, Any], path: str, text: str, place: bytes) -> None:
    tree = {"contract": {"type": 0, "price": 5}, **values}
    codec: Any = JsonCodec() if cls is Written else MsgpackCodec()
    if cls is Written:
        payload = b"\x8c\x0f" + json.dumps(tree | {"z": 1}, separators=(",", ":")).encode()
    else:
        payload = b"\x8c\x0d" + msgpack.packb(tree)
    with pytest.raises(MalformedMessage) as caught:
        codec.compile(schema_of(cls)).decode(payload)
    error = caught.value
    assert error.path == path
    assert text in error.args[0]
    assert error.offset is not None
    if cls is Written:
        assert payload[error.offset :].startswith(place)
    else:
        unpacker = msgpack.Unpacker()
        unpacker.feed(payload[error.offset :])
        found = json.dumps(unpacker.unpack(), separators=(",", ":")).encode()
        assert found.rstrip(b"}") == place.rstrip(b",}") or found == b"{}"


# Classes in themselves, by unions


@subtype(tag=2)
class Node:
    left: Annotated["Node | Flat", tagged(u8)]
    right: Annotated["Node | Flat", tagged(u8)] = Flat(price=0)
    more: tuple[Annotated["Node | Flat", tagged(u8)], ...] = ()


def tree(levels: int) -> Any:
    made: Any = Flat(price=levels)
    for _ in range(levels):
        made = Node(left=made)
    return made


@pytest.mark.parametrize("codec", [BoltCodec(), MsgpackCodec(), JsonCodec()], ids=lambda codec: codec.name)
def test_a_class_that_is_a_member_of_a_union_in_itself(codec: Any) -> None:
    @message(0x8C19, codec=codec.name)
    class Root(Message):
        root: Annotated[Node | Flat, tagged(u8)]

    plan = codec.compile(schema_of(Root))
    whole = Root(root=Node(left=Flat(price=1), right=Node(left=Flat(price=2)), more=(tree(3), Flat(price=3))))
    assert plan.decode(plan.encode(whole)) == whole
    if codec.name == "bolt":
        assert plan.encode(Root(root=Node(left=Flat(price=1)))).hex() == "8c19020000010000000000"
        assert write_message(schema_of(Root), whole) == plan.encode(whole)[2:]
    deepest = Root(root=tree(30 if codec.name == "json" else 32))
    assert plan.decode(plan.encode(deepest)) == deepest
    with pytest.raises(EncodeError, match="nests more than 32 levels deep"):
        plan.encode(Root(root=tree(33)))


@pytest.mark.parametrize("codec", [BoltCodec(), MsgpackCodec(), JsonCodec()], ids=lambda codec: codec.name)
@pytest.mark.parametrize("sign", [1, -1])
def test_integers_that_python_does_not_convert_to_text(codec: Any, sign: int) -> None:
    huge = sign * 10**5000

    @message(0x8C1B, codec=codec.name)
    class Counted(Message):
        number: u8 = 0
        large: bigsize = 0
        chosen: Annotated[Literal[1, 2], u8] = 1
        contract: Annotated[Flat | UnknownVariant, tagged(u8)] = Flat(price=1)

    plan = codec.compile(schema_of(Counted))
    unknown = UnknownVariant(huge, b"" if codec.name == "bolt" else {})
    for name, value in {"number": huge, "large": huge, "chosen": huge, "contract": unknown}.items():
        with pytest.raises(ValueOutOfRange, match="not int of 16610 bits") as caught:
            plan.encode(Counted(**{name: value}))
        assert caught.value.path == f"$.{name}"


def test_tags_may_name_the_class_itself() -> None:
    @subtype(tag=3)
    class Branch:
        inner: "Annotated[Branch | Flat, tagged(u8, tags={Branch: 9, Flat: 4})]"

    @subtype
    class Bare:
        inner: "Annotated[Bare | Flat, tagged(u8, tags={Bare: 1})] | None" = None

    @message(0x8C1A, codec="bolt")
    class Root(Message):
        root: Branch

    plan = BoltCodec().compile(schema_of(Root))
    whole = Root(root=Branch(inner=Branch(inner=Flat(price=1))))
    assert plan.encode(whole).hex() == "8c1a09040001"
    assert Bare.__oddwire__.fields[0].kind.inner.by_class[Bare].tag == 1  # type: ignore[attr-defined]
    assert plan.decode(plan.encode(whole)) == whole == read_message(schema_of(Root), plan.encode(whole))

    with pytest.raises(SchemaError, match=r"Twice.inner: Twice | Flat: Twice and Flat have one tag, 0: choose"):

        @subtype
        class Twice:
            inner: "Annotated[Twice | Flat, tagged(u8, tags={Twice: 0})]"

    with pytest.raises(SchemaError, match=r"Keyed.inner: Keyed or Flat: Keyed has a field of the key 'type'"):

        @subtype
        class Keyed:
            inner: "Annotated[Keyed | Flat, tagged(u8, tags={Keyed: 4})]"
            kind: u8 = field(key="type")


def test_the_tag_of_a_class_in_itself() -> None:
    assert Node.__oddwire__.fields[0].kind.label == "Node or Flat"  # type: ignore[attr-defined]
    with pytest.raises(SchemaError, match=r"Untagged.left: Untagged or Flat: Untagged has no tag: write @subtype"):

        @subtype
        class Untagged:
            left: Annotated["Untagged | Flat", tagged(u8)]

    with pytest.raises(SchemaError, match=r"Same.left: Same or Flat: Same and Flat have one tag, 0: choose another"):

        @subtype(tag=0)
        class Same:
            left: Annotated["Same | Flat", tagged(u8)]

    with pytest.raises(SchemaError, match=r"Keyed.left: Keyed or Flat: Keyed has a field of the key 'type'"):

        @subtype(tag=4)
        class Keyed:
            left: Annotated["Keyed | Flat", tagged(u8)]
            kind: u8 = field(key="type")

    with pytest.raises(SchemaError, match=r"Endless.left: each Endless would hold another one, without an end"):

        @subtype(tag=4)
        class Endless:
            left: Annotated["Endless", tagged(u8)]

    with pytest.raises(SchemaError, match=r"Mixed.left: Mixed or Flat: tags should be all integers or all texts"):

        @subtype(tag="text")
        class Mixed:
            left: Annotated["Mixed | Flat", tagged("is")]


def test_behind_a_flag_and_a_size() -> None:
    @message(0x8C1B, codec="bolt")
    class Boxed(Message):
        one: Annotated[Flat | Open | None, tagged(u8), counted(u16), flag(u8)]
        many: tuple[Annotated[Flat | Last | UnknownVariant, tagged(u16), counted(u8)], ...]

    plan = BoltCodec().compile(schema_of(Boxed))
    whole = Boxed(one=Open(name="a", amount=1), many=(Flat(price=1), Last(data=b"ab"), UnknownVariant(9, b"x")))
    payload = bytes.fromhex("8c1b010007010001610101010003040000000104012c616203000978")
    assert plan.encode(whole) == payload == payload[:2] + write_message(schema_of(Boxed), whole)
    assert plan.decode(payload) == whole == read_message(schema_of(Boxed), payload)
    assert plan.encode(Boxed(one=None, many=())).hex() == "8c1b000000"


# Others


def test_in_an_envelope() -> None:
    codec = enveloped("json", envelope={"version": 1}, body="params")

    @message(0x8C15, codec=codec)
    class Inside(Message):
        id: int | str
        contract: Annotated[Flat | Open, tagged("kind")]

    plan = codec.compile(schema_of(Inside))
    whole = Inside(id="a", contract=Flat(price=1))
    assert plan.encode(whole)[2:] == b'{"version":1,"params":{"id":"a","contract":{"kind":0,"price":1}}}'
    assert plan.decode(plan.encode(whole)) == whole
    payload = b'\x8c\x15{"version":1,"params":{"id":"a","contract":{"kind":7,"price":1}}}'
    with pytest.raises(MalformedMessage) as caught:
        plan.decode(payload)
    assert (caught.value.path, caught.value.offset) == ("$.params.contract.kind", payload.index(b"7,"))


def test_a_message_in_a_message_in_trees() -> None:
    @message(0x8C17)
    class Holder(Message):
        part: Part
        parts: tuple[Part, ...] = ()

    plan = MsgpackCodec().compile(schema_of(Holder))
    whole = Holder(part=Part(flag=True), parts=(Part(flag=False, more=2),))
    assert plan.decode(plan.encode(whole)) == whole
    assert repr(whole) == "Holder 0x8c17 part=Part(flag=True, more=None) parts=[Part(flag=False, more=2)]"


def test_json_sends_no_unknown_body_that_a_peer_refuses() -> None:
    @message(0x8C1C, codec="json")
    class Kept(Message):
        contract: Annotated[Flat | UnknownVariant, tagged()]

    def body(levels: int) -> dict[str, Any]:
        return {"a": body(levels - 1)} if levels > 1 else {}

    plan = JsonCodec().compile(schema_of(Kept))
    deepest = Kept(contract=UnknownVariant(5, body(31)))
    assert plan.decode(plan.encode(deepest)) == deepest
    with pytest.raises(EncodeError, match="nests more than 32 levels deep, maps and arrays in all") as caught:
        plan.encode(Kept(contract=UnknownVariant(5, body(32))))
    assert caught.value.path == "$.contract" + "['a']" * 31


def test_an_unknown_body_ends_where_what_holds_it_does() -> None:
    @message(0x8C1D, codec="bolt")
    class Counted(Message):
        contract: Annotated[Annotated[Flat | UnknownVariant, tagged(u16)], counted(u8)]
        more: u8

    plan = BoltCodec().compile(schema_of(Counted))
    assert plan.decode(bytes.fromhex("8c1d 02 0005 07")) == Counted(contract=UnknownVariant(5, b""), more=7)
    assert plan.decode(bytes.fromhex("8c1d 03 0005 09 07")) == Counted(contract=UnknownVariant(5, b"\x09"), more=7)
    for decode in (plan.decode, lambda payload: read_message(schema_of(Counted), payload)):
        with pytest.raises(Truncated) as caught:
            decode(bytes.fromhex("8c1d 01 00 05"))  # the tag ends behind what the count leaves for it
        assert caught.value.path == "$.contract"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"type": 7, "x": float("nan")}, "numbers should be finite"),
        ({"type": 7, "x": [float("inf")]}, "numbers should be finite"),
        ({"type": 7, b"": 2}, "keys should be str"),
        ({"type": 7, "x": {b"": 2}}, "keys should be str"),
    ],
)
def test_msgpack_keeps_no_unknown_body_that_it_could_not_send(body: Any, reason: str) -> None:
    @message(0x8C1E)
    class Kept(Message):
        contract: Annotated[Flat | UnknownVariant, tagged()]

    plan = MsgpackCodec().compile(schema_of(Kept))
    with pytest.raises(MalformedMessage, match=reason) as caught:
        plan.decode(b"\x8c\x1e" + msgpack.packb({"contract": body}))
    assert caught.value.path == "$.contract"
    with pytest.raises(EncodeError, match=reason):
        plan.encode(Kept(contract=UnknownVariant(7, {key: body[key] for key in body if key != "type"})))


@pytest.mark.parametrize(("length", "most"), [(u8, 255), (bigsize, 252), (bigsize, 253)])
def test_bodies_of_a_fixed_size_that_a_length_just_counts(length: Any, most: int) -> None:
    @subtype(tag=1)
    class Full:
        data: Annotated[bytes, fixed(most)]

    @message(0x8C1F, codec="bolt")
    class Whole(Message):
        contract: Annotated[Full, tagged(u8, length=length)]

    plan = BoltCodec().compile(schema_of(Whole))
    whole = Whole(contract=Full(data=bytes(most)))
    prefix = bytes([most]) if most != 253 else b"\xfd\0\xfd"
    assert plan.encode(whole) == b"\x8c\x1f\1" + prefix + bytes(most)
    assert plan.decode(plan.encode(whole)) == whole

    @subtype(tag=1)
    class Over:
        data: Annotated[bytes, fixed(256)]

    with pytest.raises(SchemaError, match="takes 256 bytes or more, but length=u8 counts to 255 only"):

        @message(0x8C1F, codec="bolt")
        class Never(Message):
            contract: Annotated[Over, tagged(u8, length=u8)]


def test_an_unknown_variant_encoded_again() -> None:
    @message(0x8C20, codec="json")
    class Kept(Message):
        contract: Annotated[Flat | UnknownVariant, tagged()]

    plan = JsonCodec().compile(schema_of(Kept))
    received = plan.decode(b'\x8c\x20{"contract":{"a":1e2,"type":9}}')
    assert plan.encode(received) == b'\x8c\x20{"contract":{"type":9,"a":100.0}}'
    assert plan.decode(plan.encode(received)) == received
