"""What codecs share."""

import traceback
from typing import Annotated

import pytest

from oddwire.codecs import Registry, WrappedCodec, enveloped
from oddwire.codecs.base import (
    Codec,
    Plan,
    check_received,
    check_size,
    quick_size,
    too_many_values,
    type_bytes,
    with_type,
)
from oddwire.errors import EncodeError, MalformedMessage, PayloadTooLarge, Truncated
from oddwire.schema import Message, field, max_length, message, schema_of, subtype, u8


@message(0x8C01)
class Sample(Message):
    pass


@message(0x8C03, max_size=100)
class Small(Message):
    pass


def test_a_codec_has_to_compile():
    with pytest.raises(TypeError, match="abstract"):
        Codec()


def test_plans_are_frozen():
    plan = Plan(lambda message: b"", lambda payload: None)
    with pytest.raises(AttributeError):
        plan.encode = None


def test_a_payload_has_its_messages_size_at_most():
    schema = schema_of(Small)
    assert len(check_size(bytes(100), schema)) == 100
    check_received(bytes(100), schema)
    with pytest.raises(PayloadTooLarge) as sent:
        check_size(bytes(101), schema)
    with pytest.raises(MalformedMessage) as received:
        check_received(bytes(101), schema)
    assert str(sent.value) == "Small 0x8c03: 101 bytes; Small has at most 100, its type included"
    assert str(received.value) == f"{sent.value} (at byte 100)"


def test_what_a_message_can_hold_is_taken_without_a_second_look():
    assert quick_size(schema_of(Sample)) == 65535
    assert quick_size(schema_of(Small)) == 100


def test_too_many_values_say_where():
    error = too_many_values("$.numbers", 7)
    assert str(error) == "$.numbers: holds more than 262144 values; bulk data should be bytes (at byte 7)"


def test_what_a_payload_starts_with():
    assert type_bytes(schema_of(Sample)) == b"\x8c\x01"


def test_errors_learn_their_type():
    error = with_type(EncodeError("wrong", path="$.x"), schema_of(Sample))
    assert str(error) == "Sample 0x8c01, $.x: wrong"


@subtype
class Inner:
    small: u8 = 0


@message(0x8C05, codec="msgpack")
class Msgpack(Message):
    number: u8 = 0
    text: Annotated[str, max_length(3)] = ""
    inner: tuple[Inner, ...] = ()


@message(0x8C07, codec="json")
class Json(Message):
    number: u8 = 0
    text: Annotated[str, max_length(3)] = ""
    inner: tuple[Inner, ...] = ()


@message(0x8C09, codec="bolt")
class Bolt(Message):
    number: u8 = 0
    text: Annotated[str, max_length(3)] = ""
    inner: tuple[Inner, ...] = ()


@message(0x8C0B, codec="raw")
class Raw(Message):
    number: Annotated[bytes, max_length(3)]


def shown(error):
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("cls", [Msgpack, Json, Bolt, Raw])
@pytest.mark.parametrize(
    "values",
    [
        {"number": 256},
        {"number": "x"},
        {"number": None},
        {"number": b"1234"},
        {"text": "1234"},
        {"text": 5},
        {"inner": (Inner(small=300),)},
        {"inner": 5},
    ],
    ids=str,
)
def test_an_error_shows_nothing_of_the_codecs_inside(cls, values):
    fits = {name: value for name, value in values.items() if schema_of(cls).field(name) is not None}
    if cls is Raw:
        fits = {"number": fits.get("number", 5)}
        if fits["number"] == b"1234":
            fits = {"number": b"12345"}
    registry = Registry()
    registry.register(cls, "hive")
    with pytest.raises(EncodeError) as caught:
        registry.encode(cls(**fits))
    text = shown(caught.value)
    assert "Retry" not in text
    assert "During handling" not in text
    assert "direct cause" not in text
    assert str(caught.value).startswith(f"hive.{cls.__name__} {schema_of(cls).type_id:#06x}, $.")


@pytest.mark.parametrize("cls", [Msgpack, Json, Bolt])
@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"\0\0", b"{}x", b"\x81\xa6number\xcd\x01\0", b"\x80" * 9, b"\0\0\1x\0\5"]
)
def test_an_error_of_decoding_shows_nothing_of_it_either(cls, body):
    registry = Registry()
    registry.register(cls, "hive")
    with pytest.raises(MalformedMessage) as caught:
        registry.decode(type_bytes(schema_of(cls)) + body)
    text = shown(caught.value)
    assert "Retry" not in text
    assert "During handling" not in text
    assert str(caught.value).startswith(f"hive.{cls.__name__} {schema_of(cls).type_id:#06x}")


def test_a_message_is_named_by_its_owner_where_it_is_registered():
    registry = Registry()
    registry.register(Sample, "hive")
    registry.register(Small)
    assert registry.title_of(0x8C01) == "hive.Sample 0x8c01"
    assert registry.title_of(0x8C03) == "Small 0x8c03"
    assert registry.title_of(0x8C7F) == "type 0x8c7f"


class Reversed(WrappedCodec):
    def wrap(self, body):
        return body[::-1]

    def unwrap(self, data, max_size):
        return data[::-1]


@pytest.mark.parametrize("codec", ["bolt", "msgpack", "json", "raw", "empty", "enveloped", "magic", "wrapped"])
@pytest.mark.parametrize("payload", [b"", b"\x8c"])
def test_what_is_too_short_for_a_type_is_said_to_be(codec, payload):
    if codec == "empty":

        @message(0x8C41, codec="bolt")
        class Short(Message):
            more: u8 | None = field(tlv=1, default=None)
            data: bytes = field(tlv=3, default=b"")

    else:
        inside = {
            "enveloped": enveloped("json", envelope={"v": 1}, body="body"),
            "magic": enveloped("json", magic=b"x"),
            "wrapped": Reversed("msgpack"),
        }

        @message(0x8C41, codec=inside.get(codec, codec))
        class Short(Message):
            data: bytes

    schema = schema_of(Short)
    plan = (schema.own_codec or Registry().codecs[schema.codec]).compile(schema)
    with pytest.raises(Truncated) as caught:
        plan.decode(payload)
    assert str(caught.value) == f"Short 0x8c41: a message starts with a type of 2 bytes, not {len(payload)} (at byte 0)"
