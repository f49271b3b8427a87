"""Unions in what reads schemas: dicts, typed text, weights, replies, CSV, the command line, strategies, the store."""

import json
from enum import Enum
from typing import Annotated, Any

import pytest
from hypothesis import Phase, find, given, settings
from tests.support.weighing import check_weight

from oddwire.app.declarations.jsonable import to_plain
from oddwire.cli.message_arguments import from_assignments, spell_fields
from oddwire.codecs.registry import Registry
from oddwire.errors import EncodeError, SchemaError
from oddwire.schema import (
    Message,
    UnknownVariant,
    bigsize,
    field,
    from_dict,
    from_strings,
    message,
    schema_of,
    subtype,
    tagged,
    to_dict,
    u8,
    u64,
)
from oddwire.schema.annotations import kind_of
from oddwire.schema.bolt_csv import dump_csv, load_csv
from oddwire.schema.replies import can_be_equal
from oddwire.schema.spelling import show_value
from oddwire.schema.weight import weigher
from oddwire.session.store.value_encoding import keep, read
from oddwire.testing import messages


class Side(Enum):
    BUY = 1
    SELL = 2


@subtype(tag=0)
class Flat:
    price: u8
    side: Annotated[Side, u8] = Side.BUY


@subtype(tag=1)
class Names:
    names: tuple[str, ...]


@message(0x8C01, codec="bolt")
class Wire(Message):
    one: Annotated[Flat | Names | UnknownVariant, tagged(bigsize, length=bigsize)]
    many: tuple[Annotated[Flat | Names, tagged(u8)], ...] = ()


@message(0x8C03)
class Packed(Message):
    one: Annotated[Flat | Names | UnknownVariant, tagged("is")]
    id: str | int | None = None
    mixed: tuple[str | bytes | float | bool, ...] = ()
    number: int | float = 0
    tree: dict[str, int] | tuple[Side, ...] = ()


@message(0x8C05, codec="bolt")
class Part(Message):
    number: u8


@message(0x8C07, codec="bolt")
class Whole(Message):
    part: Part
    parts: tuple[Part, ...]


FLAT, NAMES = Flat(price=1), Names(names=("a", "b"))
WIRES = [Wire(one=FLAT, many=(NAMES, FLAT)), Wire(one=UnknownVariant(7, b"\xff")), Wire(one=NAMES)]
PACKED = [
    Packed(one=FLAT, id="a"),
    Packed(one=UnknownVariant(7, {"body": "x", "a": [1.5]}), id=5, mixed=("bytes", b"x", 1.0, True), number=7.0),
    Packed(one=NAMES, tree=(Side.BUY, Side.SELL)),
    Packed(one=NAMES, tree={"a": 1}),
]


# Dicts and text


@pytest.mark.parametrize("sample", [*WIRES, *PACKED, Whole(part=Part(number=1), parts=(Part(number=2),))], ids=repr)
def test_to_a_dict_and_back(sample: Message) -> None:
    plain = json.loads(json.dumps(to_dict(sample)))
    assert repr(from_dict(type(sample), plain)) == repr(sample)
    assert to_plain(sample) == plain


def test_dicts_read_well() -> None:
    assert to_dict(WIRES[1]) == {"one": {"type": 7, "body": "ff"}, "many": []}
    assert to_dict(PACKED[1])["one"] == {"is": 7, "body": "x", "a": [1.5]}
    assert to_dict(PACKED[1])["mixed"] == ["bytes", {"bytes": "78"}, 1.0, True]
    assert to_dict(FLAT) == {"price": 1, "side": 1}


@pytest.mark.parametrize(
    ("cls", "name", "text", "value"),
    [
        (Wire, "one", '{"type": 0, "price": 3, "side": "SELL"}', Flat(price=3, side=Side.SELL)),
        (Wire, "one", '{"type": 7, "body": "ff00"}', UnknownVariant(7, b"\xff\0")),
        (Wire, "many", '[{"type": 1, "names": ["x"]}]', (Names(names=("x",)),)),
        (Packed, "one", '{"is": 7, "x": 1}', UnknownVariant(7, {"x": 1})),
        (Packed, "id", "5", 5),
        (Packed, "id", '"5"', "5"),
        (Packed, "id", '"', '"'),
        (Packed, "id", '"a"b"', '"a"b"'),
        (Packed, "id", "five", "five"),
        (Packed, "id", "none", None),
        (Packed, "number", "5", 5),
        (Packed, "number", "5.0", 5.0),
        (Packed, "tree", '{"a": 1}', {"a": 1}),
        (Packed, "tree", '["SELL", 1]', (Side.SELL, Side.BUY)),
        (Packed, "mixed", '["x", {"bytes": "ff"}, true, 1.5]', ("x", b"\xff", True, 1.5)),
    ],
)
def test_typed_text(cls: Any, name: str, text: str, value: Any) -> None:
    others = {} if name == "one" else {"one": json.dumps({"type" if cls is Wire else "is": 0, "price": 1})}
    found = getattr(from_strings(cls, {**others, name: text}), name)
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    ("cls", "name", "text", "words"),
    [
        (Wire, "one", "5", r"\$.one: should be a map, not int"),
        (Wire, "one", "x", r"should be a JSON object whose 'type' is 0 \(Flat\) or 1 \(Names\), not 'x'"),
        (Wire, "one", '{"type": 0, "prize": 3}', r"\$.one: has no field 'prize'; its fields are price, side"),
        (Wire, "one", '{"type": 0, "price": 3, "side": "X"}', r"\$.one.side: should be one of BUY, SELL, not 'X'"),
        (Wire, "one", '{"price": 3}', r"\$.one.type: the tag is missing"),
        (Wire, "one", '{"type": [], "price": 3}', r"\$.one.type: the tag should be 0 \(Flat\)"),
        (Packed, "number", "x", r"\$.number: should be a number from .*, or a number, not 'x'"),
        (Packed, "id", "\ud800", "lone surrogate"),
        (Packed, "tree", "5", r"\$.tree: should be JSON, or a JSON array, not '5'"),
    ],
)
def test_text_that_makes_no_value(cls: Any, name: str, text: str, words: str) -> None:
    others = {} if name == "one" else {"one": '{"is": 0, "price": 1}'}
    with pytest.raises(EncodeError, match=words):
        from_strings(cls, {**others, name: text})


def test_words_for_booleans_in_unions_are_those_of_json() -> None:
    @message(0x8C09)
    class Choice(Message):
        x: bool | int | str

    for text, value in (("true", True), ("1", 1), ("yes", "yes"), ("0x10", 16)):
        assert repr(from_strings(Choice, {"x": text}).x) == repr(value)


def test_the_command_line() -> None:
    wire = from_assignments(schema_of(Wire), "Wire", ['one={"type":0,"price":5}'])
    assert wire == Wire(one=Flat(price=5))
    assert spell_fields(schema_of(Wire)).startswith(
        "one: Flat(type: 0, price: u8, side: Side) or Names(type: 1, names: list of str) or UnknownVariant, many: list"
    )
    assert "id: str or int or None = None" in spell_fields(schema_of(Packed))


def test_it_prints_well() -> None:
    assert repr(WIRES[0]) == (
        "Wire 0x8c01 one=Flat(price=1, side=BUY) many=[Names(names=['a', 'b']), Flat(price=1, side=BUY)]"
    )
    assert repr(WIRES[1]) == "Wire 0x8c01 one=UnknownVariant(tag=7, body=ff) many=[]"
    assert show_value(Part(number=1)) == "Part(number=1)"
    assert repr(Part(number=1)) == "Part 0x8c05 number=1"


# Weights


@message(0x8C0B, codec="bolt")
class Heavy(Message):
    items: tuple[Annotated[Flat | Names | UnknownVariant, tagged(u8, length=u8)], ...]


@message(0x8C0D)
class Loose(Message):
    items: list[str | u64 | bytes | float | list[u64] | dict[str, u64] | None]
    free: list[Annotated[Flat | UnknownVariant, tagged("is")]] = field(default_factory=list)


@pytest.mark.parametrize(
    "whole",
    [
        Heavy(items=(FLAT,) * 3000),
        Heavy(items=(Names(names=("some", "names", "of things")),) * 1000),
        Heavy(items=(UnknownVariant(9, b"x"),) * 3000),
        Loose(items=["some text", 1 << 40, b"some data", 0.5, [1 << 40, 1 << 41], {"a": 1 << 40}, None] * 300),
        Loose(items=[], free=[Flat(price=3), UnknownVariant(9, {"a": ["b", {}, 1.5]})] * 500),
    ],
    ids=lambda whole: repr(whole)[:60],
)
def test_a_weight_is_about_what_python_takes(whole: Message) -> None:
    check_weight(whole)


def test_a_few_values_need_no_weighing() -> None:
    @message(0x8C0F)
    class Few(Message):
        one: Annotated[Flat | Part, tagged(bigsize)]
        id: str | int | None = None

    assert weigher(schema_of(Few)) is None


# Replies


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (str | int, str, True),
        (str | int | None, u8, True),
        (str | int, bytes, False),
        (str | int, bytes | int, True),
        (str | int, bool | bytes, False),
        (Annotated[Flat | Names, tagged(u8)], Annotated[Names | Part, tagged(bigsize)], True),
        (Annotated[Flat, tagged(u8)], Annotated[Names | UnknownVariant, tagged(u8)], False),
        (Annotated[Flat | UnknownVariant, tagged(u8)], Annotated[Names | UnknownVariant, tagged(u8)], True),
        (Annotated[Flat | Names, tagged(u8)], Flat, True),
        (Part, Annotated[Flat | Names, tagged(u8)], False),
        (Part, Part, True),
        (Flat, str | int, False),
    ],
)
def test_kinds_that_can_be_equal(one: Any, other: Any, expected: bool) -> None:
    assert can_be_equal(kind_of(one), kind_of(other)) is expected
    assert can_be_equal(kind_of(other), kind_of(one)) is expected


def test_ids_of_json_rpc_belong_to_their_request() -> None:
    @message(0x8C11)
    class Answer(Message):
        id: str | int | None

    @message(0x8C13, replies=Answer, match="id")
    class Question(Message):
        id: str | int

    assert schema_of(Question).match == "id"
    with pytest.raises(SchemaError, match="should be a single value that is compared exactly"):

        @message(0x8C15, replies=Answer, match="id")
        class Inexact(Message):
            id: float | str


# CSV


@message(0x8C17, codec="bolt")
class Many(Message):
    many: tuple[Annotated[Flat, tagged(u8)], ...]


def test_csv_has_no_unions() -> None:
    for cls, path in ((Wire, "Wire.one"), (Many, "Many.many")):
        with pytest.raises(SchemaError, match=rf"{path}: CSV has no unions, so it cannot say what Flat"):
            dump_csv([cls])


def test_csv_of_a_message_in_a_message() -> None:
    text = dump_csv([Whole, Part])
    loaded = load_csv(text).messages["Whole"]
    part = load_csv(text).messages["Part"]
    registry = Registry()
    registry.register(Whole)
    wire = registry.encode(Whole(part=Part(number=1), parts=(Part(number=2),)))
    again = registry_of(loaded).decode(wire)
    assert (again.part.number, [each.number for each in again.parts]) == (1, [2])
    assert part(number=3).number == 3


def registry_of(cls: type[Message]) -> Registry:
    registry = Registry()
    registry.register(cls)
    return registry


# Strategies


@settings(max_examples=50)
@given(made=messages(Wire) | messages(Packed))
def test_what_strategies_make_can_be_sent(made: Message) -> None:
    registry = registry_of(type(made))
    assert registry.decode(registry.encode(made)) == made


@pytest.mark.parametrize("wanted", [Flat, Names, UnknownVariant])
def test_strategies_reach_every_member(wanted: type) -> None:
    quick = settings(phases=[Phase.generate], max_examples=500, database=None)
    find(messages(Wire), lambda made: isinstance(made.one, wanted), settings=quick)
    find(messages(Packed), lambda made: isinstance(made.one, wanted), settings=quick)


# The store


@pytest.mark.parametrize("value", [*WIRES, *PACKED, Packed(one=UnknownVariant(9, {"body": b"x"}))], ids=repr)
def test_the_store_keeps_them(value: Message) -> None:
    assert repr(read("key", keep("key", value), type(value))) == repr(value)
