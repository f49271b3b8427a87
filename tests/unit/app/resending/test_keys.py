from __future__ import annotations

from enum import Enum, IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire.app.resending.keys import decode_key, encode_key
from oddwire.errors import ValueOutOfRange
from oddwire.proto.keys import NodeId, PrivateKey, ShortChannelId

KEY = PrivateKey(b"\x01" * 32).public_key()


class Kind(Enum):
    IN = "in"
    BOTH = b"both"
    NOTHING = None


class Number(IntEnum):
    ONE = 1


@given(st.one_of(st.text(max_size=250), st.binary(max_size=1000), st.integers()))
def test_a_key_is_read_as_it_was_written(key: str | bytes | int) -> None:
    found = decode_key(encode_key(key))
    assert (type(found), found) == (type(key), key)


@given(*[st.one_of(st.text(max_size=20), st.binary(max_size=20), st.integers(-300, 300))] * 2)
def test_keys_are_alike_only_if_they_are_equal(one: object, other: object) -> None:
    assert (encode_key(one) == encode_key(other)) is (one == other)


@pytest.mark.parametrize(
    ("key", "same"),
    [
        (bytearray(b"ab"), b"ab"),
        (NodeId(KEY.serializeCompressed()), KEY.serializeCompressed()),
        (KEY, NodeId(KEY.serializeCompressed())),
        (Kind.IN, "in"),
        (Kind.BOTH, b"both"),
        (Number.ONE, 1),
    ],
    ids=repr,
)
def test_what_is_spelled_as_another_is_that(key: object, same: object) -> None:
    assert encode_key(key) == encode_key(same)


def test_a_channel_is_no_integer() -> None:
    channel = ShortChannelId(539268, 845, 1)
    assert decode_key(encode_key(channel)) == channel
    assert encode_key(channel) != encode_key(channel.to_int())


@pytest.mark.parametrize("key", [None, True, 1.5, ["a"], ("a",), Kind.NOTHING], ids=repr)
def test_anything_else_is_refused_with_what_it_should_be(key: object) -> None:
    with pytest.raises(TypeError, match=r"^a key should be a str, bytes, int, NodeId, PublicKey, ShortChannelId, or "):
        encode_key(key)


@pytest.mark.parametrize("key", ["x" * 1024, b"x" * 1024, 1 << 9000, -(1 << 5000)], ids=["str", "bytes", "huge", "int"])
def test_one_that_is_too_long_is_refused(key: object) -> None:
    with pytest.raises(ValueOutOfRange, match=r"^a key should have 1023 bytes at most, not 1"):
        encode_key(key)


def test_what_utf_8_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueOutOfRange, match=r"^a key should be a str that UTF-8 can hold, not "):
        encode_key("\ud800")
