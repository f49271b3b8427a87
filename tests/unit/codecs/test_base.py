"""What codecs share."""

import pytest

from oddwire.codecs.base import Codec, Plan, check_size, type_bytes, with_type
from oddwire.errors import EncodeError, PayloadTooLarge
from oddwire.schema import Message, message, schema_of


@message(0x8C01)
class Sample(Message):
    pass


def test_a_codec_has_to_compile():
    with pytest.raises(TypeError, match="abstract"):
        Codec()


def test_plans_are_frozen():
    plan = Plan(lambda message: b"", lambda payload: None)
    with pytest.raises(AttributeError):
        plan.encode = None


def test_the_largest_payload():
    assert len(check_size(bytes(65535))) == 65535
    with pytest.raises(PayloadTooLarge, match="65536 bytes; a message has at most 65535"):
        check_size(bytes(65536))


def test_what_a_payload_starts_with():
    assert type_bytes(schema_of(Sample)) == b"\x8c\x01"


def test_errors_learn_their_type():
    error = with_type(EncodeError("wrong", path="$.x"), schema_of(Sample))
    assert str(error) == "type 0x8c01, $.x: wrong"
