"""What codecs share."""

import pytest

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
from oddwire.errors import EncodeError, MalformedMessage, PayloadTooLarge
from oddwire.schema import Message, message, schema_of


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
