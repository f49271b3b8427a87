"""The raw codec: bytes as they are."""

from typing import Annotated

import pytest

from oddwire.codecs.raw import RawCodec
from oddwire.errors import EncodeError, MalformedMessage, PayloadTooLarge
from oddwire.schema import Message, max_length, message, schema_of


@message(0x8C01, codec="raw")
class Blob(Message):
    data: Annotated[bytes, max_length(70_000)]


@message(0x8C03, codec="raw")
class Short(Message):
    data: Annotated[bytes, max_length(3)]


PLAN = RawCodec().compile(schema_of(Blob))
SHORT = RawCodec().compile(schema_of(Short))


@pytest.mark.parametrize("data", [b"", b"\x00", bytes(range(256)), bytes(65533)], ids=len)
def test_there_and_back(data):
    payload = PLAN.encode(Blob(data=data))
    assert payload == b"\x8c\x01" + data
    assert PLAN.decode(payload) == Blob(data=data)


def test_what_cannot_be_sent():
    with pytest.raises(PayloadTooLarge) as caught:
        PLAN.encode(Blob(data=bytes(65534)))
    assert caught.value.type_id == 0x8C01
    for wrong in ("text", None, [1, 2, 3]):
        with pytest.raises(EncodeError, match=r"type 0x8c01, \$.data: should be bytes"):
            PLAN.encode(Blob(data=wrong))


def test_what_cannot_be_read():
    with pytest.raises(MalformedMessage) as caught:
        SHORT.decode(b"\x8c\x03four")
    assert str(caught.value) == "type 0x8c03, $.data: bytes should be at most 3 bytes, not 4 (at byte 2)"
