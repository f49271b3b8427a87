"""The raw codec: bytes as they are."""

from typing import Annotated

import pytest

from oddwire.codecs.raw import RawCodec
from oddwire.errors import EncodeError, MalformedMessage, PayloadTooLarge
from oddwire.records import replace
from oddwire.schema import Message, max_length, message, schema_of


@message(0x8C01, codec="raw")
class Blob(Message):
    data: Annotated[bytes, max_length(70_000)]


@message(0x8C03, codec="raw")
class Short(Message):
    data: Annotated[bytes, max_length(3)]


PLAN = RawCodec().compile(schema_of(Blob))
SHORT = RawCodec().compile(schema_of(Short))


@pytest.mark.parametrize("data", [b"", b"\x00", bytes(range(256)), bytes(65533), bytes(65534), bytes(70_000)], ids=len)
def test_there_and_back(data):
    payload = PLAN.encode(Blob(data=data))
    assert payload == b"\x8c\x01" + data
    assert PLAN.decode(payload) == Blob(data=data)


@pytest.mark.parametrize("most", [2, 100, 65535, 65536, 69_000])
def test_the_largest_payload(most):
    plan = RawCodec().compile(replace(schema_of(Blob), max_size=most))
    largest = Blob(data=bytes(most - 2))
    assert plan.decode(plan.encode(largest)) == largest
    with pytest.raises(PayloadTooLarge) as caught:
        plan.encode(Blob(data=bytes(most - 1)))
    assert str(caught.value) == f"Blob 0x8c01: {most + 1} bytes; Blob has at most {most}, its type included"
    with pytest.raises(MalformedMessage, match=f"{most + 1} bytes; Blob has at most {most}"):
        plan.decode(PLAN.encode(Blob(data=bytes(most - 1))))


def test_what_cannot_be_sent():
    for wrong in ("text", None, [1, 2, 3]):
        with pytest.raises(EncodeError, match=r"\w+ 0x8c01, \$.data: should be bytes"):
            PLAN.encode(Blob(data=wrong))


def test_what_cannot_be_read():
    with pytest.raises(MalformedMessage) as caught:
        SHORT.decode(b"\x8c\x03four")
    assert str(caught.value) == "Short 0x8c03, $.data: bytes should be at most 3 bytes, not 4 (at byte 2)"
