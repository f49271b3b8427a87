from __future__ import annotations

import json
from typing import Annotated, Any

import pytest

from oddwire import DecodeError, EncodeError, MalformedMessage, Message, SchemaError, as_text, message, schema_of, u64
from oddwire.codecs import TYPE_ID, Codec, Registry, enveloped
from oddwire.errors import PayloadTooLarge
from oddwire.schema import to_dict

HIVE = enveloped("json", magic=b"HIVE", envelope={"type": TYPE_ID, "version": 1}, body="payload")


@message(32769, codec=HIVE)
class Hello(Message):
    """cl-hive's HELLO, as its ``serialize`` writes it."""

    ticket: str
    protocol_version: int = 1


@message(32771, codec=HIVE)
class Challenge(Message):
    nonce: str
    hive_id: str


HELLO = b'\x80\x01HIVE{"type":32769,"version":1,"payload":{"ticket":"abc","protocol_version":1}}'


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.register(Hello, "hive")
    registry.register(Challenge, "hive")
    return registry


def test_the_format_of_cl_hive(registry: Registry) -> None:
    assert registry.encode(Hello(ticket="abc")) == HELLO
    assert registry.decode(HELLO) == Hello(ticket="abc")
    theirs = {"type": 32771, "version": 1, "payload": {"nonce": "00" * 32, "hive_id": "main"}}
    payload = b"\x80\x03HIVE" + json.dumps(theirs, separators=(",", ":")).encode()
    assert registry.encode(Challenge(nonce="00" * 32, hive_id="main")) == payload
    spaced = b"\x80\x03HIVE " + json.dumps({"new": [1], **theirs}, indent=2).encode()
    assert registry.decode(spaced) == Challenge(nonce="00" * 32, hive_id="main")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (b"HIVE", b"HIVX", "hive.Hello 0x8001: should begin with 48495645, not with 48495658 (at byte 2)"),
        (HELLO[2:], b"HI", "hive.Hello 0x8001: should begin with 48495645, not with 4849 (at byte 2)"),
        (HELLO[2:], b"", "hive.Hello 0x8001: should begin with 48495645, not with nothing (at byte 2)"),
        (b":32769", b":32771", "$.type: type should be one of 32769, not 32771 (at byte 14)"),
        (b":32769", b':"32769"', "$.type: should be int, not str (at byte 14)"),
        (b'"version":1', b'"version":2', "$.version: version should be one of 1, not 2 (at byte 30)"),
        (b'"version":1,', b"", "$.version: is missing and has no default (at byte 6)"),
        (b'"abc"', b"5", "$.payload.ticket: should be str, not int (at byte 52)"),
        (b'"payload"', b'"other"', "$.payload: is missing and has no default (at byte 6)"),
        (b'{"ticket":"abc","protocol_version":1}', b"[]", "$.payload: should be a map, not list (at byte 42)"),
        (b"}}", b"}", "is not JSON: Expecting ',' delimiter (at byte 79)"),
    ],
)
def test_what_is_wrong_has_its_place(registry: Registry, old: bytes, new: bytes, text: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        registry.decode(HELLO.replace(old, new))
    assert str(caught.value).endswith(text)
    assert caught.value.type_id == 32769
    if caught.value.offset is not None and "missing" not in text:
        assert caught.value.offset <= len(HELLO)


def test_wrong_values_and_classes_are_not_written(registry: Registry) -> None:
    with pytest.raises(EncodeError, match=r"^hive.Hello 0x8001, \$\.payload\.ticket: should be str, not int$"):
        registry.encode(Hello(ticket=5))  # type: ignore[arg-type]
    plan = HIVE.compile(schema_of(Hello))
    with pytest.raises(EncodeError, match="should be Hello, not Challenge"):
        plan.encode(Challenge(nonce="", hive_id=""))


def test_the_whole_is_within_the_messages_size() -> None:
    @message(0x8C01, codec=HIVE, max_size=100)
    class Small(Message):
        text: str

    registry = Registry()
    registry.register(Small)
    size = len(registry.encode(Small(text="")))
    longest = Small(text="x" * (100 - size))
    assert registry.decode(registry.encode(longest)) == longest
    with pytest.raises(PayloadTooLarge, match="Small has at most 100"):
        registry.encode(Small(text="x" * (101 - size)))
    with pytest.raises(MalformedMessage, match="Small has at most 100"):
        registry.decode(b"\x8c\x01HIVE" + b" " * 95)


def test_of_several_values_the_first_is_written_and_any_is_read() -> None:
    codec = enveloped("json", envelope={"v": (2, 1), "kind": ("x", "y"), "t-y": TYPE_ID, "class": 0, "_": 1}, body="b")

    @message(0x8C03, codec=codec)
    class Versions(Message):
        number: int

    registry = Registry()
    registry.register(Versions)
    payload = registry.encode(Versions(number=5))
    assert payload == b'\x8c\x03{"v":2,"kind":"x","t-y":35843,"class":0,"_":1,"b":{"number":5}}'
    for old, new in ((b'"v":2', b'"v":1'), (b'"x"', b'"y"')):
        assert registry.decode(payload.replace(old, new)) == Versions(number=5)
    with pytest.raises(MalformedMessage, match=r"\$\.v: v should be one of 2, 1, not 3"):
        registry.decode(payload.replace(b'"v":2', b'"v":3'))
    with pytest.raises(MalformedMessage, match="t-y should be one of 35843, not 1"):
        registry.decode(payload.replace(b"35843", b"1"))


def test_msgpack_has_envelopes_too() -> None:
    @message(0x8C05, codec=enveloped("msgpack", magic=b"M", envelope={"t": TYPE_ID}, body="p"))
    class Packed(Message):
        data: bytes
        number: u64 = 0

    registry = Registry()
    registry.register(Packed)
    payload = registry.encode(Packed(data=b"\xff"))
    assert payload == b"\x8c\x05M\x82\xa1t\xcd\x8c\x05\xa1p\x82\xa4data\xc4\x01\xff\xa6number\x00"
    assert registry.decode(payload) == Packed(data=b"\xff")
    with pytest.raises(MalformedMessage, match=r"\$\.p\.data: should be bytes, not int \(at byte 17\)"):
        registry.decode(payload.replace(b"\xc4\x01\xff", b"\x05"))


def test_magic_alone_is_for_any_codec() -> None:
    @message(0x8C07, codec=enveloped("bolt", magic=b"\x01\x02"))
    class Bolt(Message):
        number: u64

    @message(0x8C09, codec=enveloped("raw", magic=b"\x00"))
    class Raw(Message):
        data: bytes

    registry = Registry()
    registry.register(Bolt)
    registry.register(Raw)
    assert registry.encode(Bolt(number=5)) == b"\x8c\x07\x01\x02" + bytes(7) + b"\x05"
    assert registry.decode(registry.encode(Raw(data=b"xy"))) == Raw(data=b"xy")
    with pytest.raises(DecodeError, match=r"u64 needs 8 bytes, 5 remain \(at byte 4\)"):  # behind type and magic
        registry.decode(b"\x8c\x07\x01\x02" + bytes(5))


def test_codecs_of_others_may_be_inside() -> None:
    class Own(Codec):
        name = "own"

        def compile(self, schema: Any) -> Any:
            assert [field.key for field in schema.fields] == ["t", "b"]
            raise SchemaError("seen")

    @message(0x8C0B, codec=enveloped(Own(), envelope={"t": TYPE_ID}, body="b"))
    class Theirs(Message): ...

    with pytest.raises(SchemaError, match="seen"):
        Registry().register(Theirs)


def test_fields_are_checked_by_the_rules_of_the_codec_inside() -> None:
    with pytest.raises(SchemaError, match="bolt needs to know the size of an int"):

        @message(0x8C0D, codec=enveloped("bolt", magic=b"x"))
        class Unsized(Message):
            number: int


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({}, "should have a magic, or an envelope and a body, or all of them"),
        (
            {"codec": "lines", "magic": b"x"},
            r"should be a Codec, or the name of a built-in one \(bolt, json, msgpack, raw\), n",
        ),
        ({"codec": 5, "magic": b"x"}, "not 5"),
        ({"magic": "HIVE"}, "magic should be bytes, b'HIVE' say, not 'HIVE'"),
        ({"envelope": {}}, "envelope and body come together; there is no body, the message's key"),
        ({"body": "b"}, "there is no envelope, a map of its constant keys; {} for none"),
        (
            {"codec": "bolt", "envelope": {}, "body": "b"},
            "'bolt' writes no keys, so it has no envelope: json and msgpack do",
        ),
        ({"codec": "raw", "envelope": {}, "body": "b"}, "'raw' writes no keys"),
        ({"envelope": ["a"], "body": "b"}, r"envelope should be a dict of keys and values, not \['a'\]"),
        ({"envelope": {}, "body": ""}, "body should be the key of the message, a text, not ''"),
        ({"envelope": {"b": 1}, "body": "b"}, "'b' is the key of the message, and in the envelope, too"),
        ({"envelope": {5: 1}, "body": "b"}, "the envelope's keys should be texts, not 5"),
        (
            {"envelope": {"a": None}, "body": "b"},
            "the envelope's 'a' should be an integer, a text, TYPE_ID, or a tuple",
        ),
        ({"envelope": {"a": True}, "body": "b"}, "not True"),
        ({"envelope": {"a": ()}, "body": "b"}, r"not \(\)"),
        ({"envelope": {"a": (1, "x")}, "body": "b"}, r"not \(1, 'x'\)"),
        ({"envelope": {"a": (TYPE_ID, "x")}, "body": "b"}, r"not \(TYPE_ID, 'x'\)"),
        ({"envelope": {"a": 1 << 64}, "body": "b"}, "the envelope's 'a' should have 64 bits at most"),
        ({"envelope": {"\ud800": 1}, "body": "b"}, r"'\\ud800' should be a text that UTF-8 can hold"),
        ({"envelope": {"a": ("x", "\ud800")}, "body": "b"}, r"'\\ud800' should be a text that UTF-8 can hold"),
        ({"envelope": {}, "body": "\ud800"}, r"'\\ud800' should be a text that UTF-8 can hold"),
    ],
)
def test_what_cannot_be_an_envelope(told: dict[str, Any], text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        enveloped(**told)


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        (Codec, "an instance, Codec"),
        (5, "should be a name, 'json' say, or a Codec, not 5"),
        (None, "not None"),
        (type("Nameless", (), {"compile": lambda *_: None})(), "should have a name, a text"),
    ],
)
def test_what_is_no_codec(codec: Any, text: str) -> None:
    with pytest.raises(SchemaError, match=text):

        @message(0x8C0F, codec=codec)
        class Wrong(Message): ...


def test_integers_as_text_in_every_codec() -> None:
    class Amounts(Message):
        sat: Annotated[u64, as_text]
        delta: Annotated[int | None, as_text] = None

    @message(0x8C11, codec="json")
    class Json(Amounts): ...

    @message(0x8C13, codec="msgpack")
    class Msgpack(Amounts): ...

    registry = Registry()
    registry.register(Json)
    registry.register(Msgpack)
    largest = Json(sat=(1 << 64) - 1, delta=-5)
    assert registry.encode(largest) == b'\x8c\x11{"sat":"18446744073709551615","delta":"-5"}'
    assert registry.decode(registry.encode(largest)) == largest
    assert to_dict(largest) == {"sat": "18446744073709551615", "delta": "-5"}
    assert registry.encode(Msgpack(sat=5)) == b"\x8c\x13\x81\xa3sat\x05"
    for wrong in (b"5", b'"05"', b'"+5"', b'" 5"', b'"5.0"', b'""', b'"-0"', b'"\xd9\xa5"'):
        with pytest.raises(MalformedMessage, match=r"\$\.sat: u64 should be a string of digits"):
            registry.decode(b'\x8c\x11{"sat":' + wrong + b"}")
    for large, shown in ((b"-5", "-5"), (b"1" + b"0" * 20, "100000000000000000000"), (b"9" * 5000, "9" * 40 + r" \(")):
        with pytest.raises(MalformedMessage, match=r"\$\.sat: u64 should be 0 to 18446744073709551615, not " + shown):
            registry.decode(b'\x8c\x11{"sat":"' + large + b'"}')


def test_as_text_is_for_integers() -> None:
    with pytest.raises(SchemaError, match="as_text beside str should stand beside an integer"):

        @message(0x8C15)
        class Wrong(Message):
            text: Annotated[str, as_text]
