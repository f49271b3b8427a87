"""Values of unions in trees: the order of keys, the forms of unknown variants, and the words of errors."""

import json
from enum import Enum
from typing import Annotated, Any

import pytest

from oddwire.errors import CodecError, EncodeError, MalformedMessage, ValueOutOfRange
from oddwire.schema import (
    Message,
    UnknownVariant,
    field,
    from_dict,
    from_strings,
    message,
    point,
    subtype,
    tagged,
    to_dict,
    u8,
)
from oddwire.schema.annotations import kind_of
from oddwire.schema.forms import JSON, KEPT, MSGPACK, SHOWN
from oddwire.schema.tree import dump, load


@subtype(tag=0)
class One:
    number: u8
    note: str | None = None


@subtype(tag=1)
class Two:
    names: tuple[str, ...] = field(key="n")


CLOSED = kind_of(Annotated[One | Two, tagged(u8)])
OPEN = kind_of(Annotated[One | Two | UnknownVariant, tagged(u8)])
TEXTS = kind_of(Annotated[One | Two | UnknownVariant, tagged("is", tags={One: "one", Two: "two"})])
ANY = kind_of(Annotated[UnknownVariant, tagged("is")])
EITHER = kind_of(str | bytes | float)


@pytest.mark.parametrize(
    ("kind", "value", "form", "plain"),
    [
        (CLOSED, One(number=5), MSGPACK, {"type": 0, "number": 5}),
        (CLOSED, Two(names=("a",)), JSON, {"type": 1, "n": ["a"]}),
        (TEXTS, One(number=5, note="x"), JSON, {"is": "one", "number": 5, "note": "x"}),
        (OPEN, UnknownVariant(7, {"a": [1]}), MSGPACK, {"type": 7, "a": [1]}),
        (TEXTS, UnknownVariant("x", {"type": None}), JSON, {"is": "x", "type": None}),
        (ANY, UnknownVariant("x", {}), JSON, {"is": "x"}),
        (ANY, UnknownVariant(-1, {}), MSGPACK, {"is": -1}),
        (OPEN, UnknownVariant(7, b"\xff"), SHOWN, {"type": 7, "body": "ff"}),
        (OPEN, UnknownVariant(7, b"\xff"), KEPT, {"type": 7, "body": b"\xff"}),
        (OPEN, UnknownVariant(7, {"a": b"b"}), KEPT, {"type": 7, "body": {"a": b"b"}}),
        (OPEN, UnknownVariant(7, {"body": "x"}), SHOWN, {"type": 7, "body": {"body": "x"}}),
        (EITHER, "x", MSGPACK, "x"),
        (EITHER, b"x", MSGPACK, b"x"),
        (EITHER, b"x", JSON, {"bytes": "78"}),
        (EITHER, 1.5, JSON, 1.5),
    ],
)
def test_values_there_and_back(kind, value, form, plain):
    made = dump(kind, value, form)
    assert made == plain
    assert not isinstance(made, dict) or list(made) == list(plain)
    assert load(kind, made, form) == value


def test_the_key_of_a_body():
    kind = kind_of(Annotated[UnknownVariant, tagged(u8, key="body")])
    assert dump(kind, UnknownVariant(7, b"\xff"), SHOWN) == {"body": 7, "data": "ff"}
    assert load(kind, {"body": 7, "data": "ff"}, SHOWN) == UnknownVariant(7, b"\xff")


@pytest.mark.parametrize(
    ("kind", "value", "form", "error", "text"),
    [
        (CLOSED, 5, MSGPACK, EncodeError, "$: should be One or Two, not int"),
        (CLOSED, UnknownVariant(7, {}), MSGPACK, EncodeError, "$: should be One or Two, not UnknownVariant"),
        (CLOSED, One(number=500), MSGPACK, ValueOutOfRange, "$.number: u8 should be 0 to 255"),
        (OPEN, UnknownVariant(1, {}), MSGPACK, ValueOutOfRange, "has the tag 1, which is that of Two: send one"),
        (
            OPEN,
            UnknownVariant(256, {}),
            MSGPACK,
            ValueOutOfRange,
            "the tag should be 0 to 255, as u8 holds it, not 256",
        ),
        (OPEN, UnknownVariant(True, {}), MSGPACK, EncodeError, "the tag of UnknownVariant should be int, not bool"),
        (TEXTS, UnknownVariant(5, {}), MSGPACK, EncodeError, "the tag of UnknownVariant should be str, not int"),
        (ANY, UnknownVariant(2**64, {}), MSGPACK, ValueOutOfRange, "as int holds it"),
        (ANY, UnknownVariant("\ud800", {}), MSGPACK, ValueOutOfRange, "the tag holds a lone surrogate"),
        (ANY, UnknownVariant(None, {}), MSGPACK, EncodeError, "should be int or str, not nil"),
        (
            OPEN,
            UnknownVariant(7, b""),
            JSON,
            EncodeError,
            "body of UnknownVariant should be a dict with json, not bytes",
        ),
        (OPEN, UnknownVariant(7, {"type": 1}), JSON, EncodeError, "should have no key 'type', the tag's"),
        (OPEN, UnknownVariant(7, {"a": b""}), JSON, EncodeError, "json cannot carry bytes"),
        (OPEN, UnknownVariant(7, {1: 2}), MSGPACK, EncodeError, "keys should be str"),
        (EITHER, True, MSGPACK, EncodeError, "$: should be str, bytes or float, not bool"),
        (EITHER, None, MSGPACK, EncodeError, "$: should be str, bytes or float, not nil"),
        (EITHER, float("nan"), MSGPACK, ValueOutOfRange, "finite"),
    ],
)
def test_values_that_cannot_be_sent(kind, value, form, error, text):
    with pytest.raises(CodecError) as caught:
        dump(kind, value, form)
    assert type(caught.value) is error
    assert text in f"{caught.value.path}: {caught.value.args[0]}"


@pytest.mark.parametrize(
    ("kind", "plain", "form", "text"),
    [
        (CLOSED, [], JSON, "$: should be a map, not list"),
        (CLOSED, {}, JSON, "$.type: the tag is missing: should be 0 (One) or 1 (Two)"),
        (CLOSED, {"type": 7}, JSON, "$.type: the tag should be 0 (One) or 1 (Two), not 7"),
        (CLOSED, {"type": True}, JSON, "$.type: the tag should be 0 (One) or 1 (Two), not bool"),
        (CLOSED, {"type": 0.0}, JSON, "$.type: the tag should be 0 (One) or 1 (Two), not float"),
        (CLOSED, {"type": 0, "number": 256}, JSON, "$.number: u8 should be 0 to 255, not 256"),
        (CLOSED, {"type": 1}, JSON, "$.names: is missing"),
        (OPEN, {"type": 256}, JSON, "$.type: the tag should be 0 to 255, as u8 holds it, not 256"),
        (OPEN, {"type": "a"}, JSON, "$.type: the tag should be 0 (One) or 1 (Two), or another, not str"),
        (OPEN, {"type": 7, "a": float("inf")}, MSGPACK, "$: numbers should be finite"),
        (OPEN, {"type": 7, "body": 5}, SHOWN, "$.body: bytes should be hex digits"),
        (OPEN, {"type": 7}, KEPT, "$.body: should be bytes, not nil"),
        (ANY, {"is": None}, JSON, "$.is: the tag should be an integer or a text, not nil"),
        (EITHER, None, MSGPACK, "$: should be str, bytes or float, not nil"),
        (EITHER, {"bytes": "zz"}, JSON, "$: bytes should be hex digits"),
        (EITHER, {"bytes": "ff", "x": 1}, JSON, "$: should be str, bytes or float, not dict"),
        (kind_of(point | int), b"", MSGPACK, "bytes"),
    ],
)
def test_trees_that_are_malformed(kind, plain, form, text):
    with pytest.raises(MalformedMessage) as caught:
        load(kind, plain, form)
    assert text in f"{caught.value.path}: {caught.value.args[0]}"


@subtype
class Bytes:
    bytes: str


class Hue(Enum):
    RED = "red"


@message(0x8C41)
class Mixed(Message):
    table: str | bytes | dict[str, Any] = ""
    single: str | bytes | Bytes = ""
    union: str | bytes | Annotated[Bytes | UnknownVariant, tagged("dict", tags={Bytes: 1})] = ""
    names: tuple[str | bytes | dict[str, Hue], ...] = ()


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("table", {"bytes": "ff"}, {"dict": {"bytes": "ff"}}),
        ("table", {"bytes": {}}, {"dict": {"bytes": {}}}),
        ("table", {"bytes": "zz"}, {"dict": {"bytes": "zz"}}),
        ("table", {"dict": "ff"}, {"dict": "ff"}),
        ("table", {"dict": {}}, {"dict": {"dict": {}}}),
        ("table", {"dict": {"bytes": "ff"}}, {"dict": {"dict": {"dict": {"bytes": "ff"}}}}),
        ("table", {"bytes": "ff", "x": 1}, {"bytes": "ff", "x": 1}),
        ("table", {}, {}),
        ("table", b"\xff", {"bytes": "ff"}),
        ("single", Bytes(bytes="ff"), {"Bytes": {"bytes": "ff"}}),
        ("union", Bytes(bytes="ff"), {"dict": 1, "bytes": "ff"}),
        ("names", ({"bytes": Hue.RED}, b"r"), [{"dict": {"bytes": "red"}}, {"bytes": "72"}]),
    ],
)
def test_what_looks_like_the_form_of_bytes(name: str, value: Any, shown: Any) -> None:
    mixed = Mixed(**{name: value})
    assert to_dict(mixed)[name] == shown
    assert from_dict(Mixed, json.loads(json.dumps(to_dict(mixed)))) == mixed
    if name == "names":  # the only one that is typed as JSON
        assert from_strings(Mixed, {name: json.dumps(shown)}) == mixed


@message(0x8C42)
class Anyhow(Message):
    value: Any = None
    contract: Annotated[One | UnknownVariant, tagged(u8)] = One(number=1)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"\xff", {"bytes": "ff"}),
        ({"bytes": "ff"}, {"dict": {"bytes": "ff"}}),
        ({"bytes": b""}, {"dict": {"bytes": {"bytes": ""}}}),
        ({"dict": b"x"}, {"dict": {"dict": {"bytes": "78"}}}),
        ({"dict": 1}, {"dict": 1}),
        ({"dict": {}}, {"dict": {"dict": {}}}),
        ([{"a": [b"x", None]}, {}], [{"a": [{"bytes": "78"}, None]}, {}]),
        ({"bytes": 1, "dict": {}}, {"bytes": 1, "dict": {}}),
    ],
)
def test_bytes_in_values_of_any_type(value: Any, shown: Any) -> None:
    whole = Anyhow(value=value, contract=UnknownVariant(7, {"body": value, "bytes": value}))
    assert to_dict(whole) == {"value": shown, "contract": {"type": 7, "body": shown, "bytes": shown}}
    assert from_dict(Anyhow, json.loads(json.dumps(to_dict(whole)))) == whole
    alone = Anyhow(contract=UnknownVariant(7, {"bytes": value}))
    assert from_dict(Anyhow, json.loads(json.dumps(to_dict(alone)))) == alone
    with pytest.raises(EncodeError, match="bytes should be hex digits"):
        from_dict(Anyhow, {"value": {"bytes": "zz"}})
