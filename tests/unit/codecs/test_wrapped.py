from __future__ import annotations

import pytest

from oddwire import MalformedMessage, Message, SchemaError, message
from oddwire.codecs import Registry, WrappedCodec
from oddwire.errors import PayloadTooLarge


class Doubled(WrappedCodec):
    """Writes each byte twice."""

    def wrap(self, body: bytes) -> bytes:
        return bytes(byte for each in body for byte in (each, each))

    def unwrap(self, data: bytes, max_size: int) -> bytes:
        if data[::2] != data[1::2]:
            raise MalformedMessage("should have each byte twice", offset=2)
        return data[::2]


class Runs(WrappedCodec):
    """Says how often a byte comes, a bomb in the hands of a peer."""

    def wrap(self, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + body[:1]

    def unwrap(self, data: bytes, max_size: int) -> bytes:
        count = int.from_bytes(data[:4], "big")
        if count > max_size:
            raise MalformedMessage(f"unpacks to more than {max_size} bytes")
        return data[4:5] * count


def registry_of(*messages: type[Message]) -> Registry:
    registry = Registry()
    for each in messages:
        registry.register(each)
    return registry


def test_what_is_inside_is_wrapped_and_unwrapped() -> None:
    @message(0x8C01, codec=Doubled("json"))
    class Text(Message):
        text: str

    registry = registry_of(Text)
    payload = registry.encode(Text(text="a"))
    assert payload == b"\x8c\x01" + b"".join(bytes([each, each]) for each in b'{"text":"a"}')
    assert registry.decode(payload) == Text(text="a")
    with pytest.raises(MalformedMessage, match=r"^Text 0x8c01: should have each byte twice \(at byte 2\)$"):
        registry.decode(payload[:-1])
    with pytest.raises(MalformedMessage, match=r"^Text 0x8c01, \$\.text: is missing and has no default$") as caught:
        registry.decode(b"\x8c\x01{{}}")
    assert caught.value.offset is None  # nobody can say where that is in what came


def test_the_default_is_what_messages_have() -> None:
    assert Doubled().name == "msgpack"
    assert Doubled(Doubled("json")).name == "json"


def test_sizes_hold_for_both() -> None:
    @message(0x8C01, codec=Doubled("raw"), max_size=20)
    class Small(Message):
        data: bytes

    registry = registry_of(Small)
    assert registry.decode(registry.encode(Small(data=b"123456789"))) == Small(data=b"123456789")
    with pytest.raises(PayloadTooLarge, match="22 bytes; Small has at most 20"):
        registry.encode(Small(data=b"1234567890"))
    with pytest.raises(MalformedMessage, match="22 bytes; Small has at most 20"):
        registry.decode(b"\x8c\x01" + b"1" * 20)


def test_what_is_inside_may_be_larger_than_what_is_sent() -> None:
    @message(0x8C01, codec=Runs("raw", max_inner=1000), max_size=20)
    class Run(Message):
        data: bytes

    @message(0x8C03, codec=Runs("raw"), max_size=20)
    class Short(Message):
        data: bytes

    registry = registry_of(Run, Short)
    longest = Run(data=b"x" * 998)
    assert len(registry.encode(longest)) == 7
    assert registry.decode(registry.encode(longest)) == longest
    with pytest.raises(PayloadTooLarge, match="1001 bytes; Run has at most 1000"):
        registry.encode(Run(data=b"x" * 999))
    with pytest.raises(MalformedMessage, match="unpacks to more than 998 bytes"):
        registry.decode(b"\x8c\x01\xff\xff\xff\xffx")
    with pytest.raises(PayloadTooLarge, match="21 bytes; Short has at most 20"):
        registry.encode(Short(data=b"x" * 19))


@pytest.mark.parametrize("most", [0, 1, -5, 2.5, "5", True])
def test_a_size_that_cannot_be(most: int) -> None:
    with pytest.raises(SchemaError, match="Doubled: max_inner should be a number of bytes"):
        Doubled("json", max_inner=most)
