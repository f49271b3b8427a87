from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire.proto import NodeId
from oddwire.transports.lnd.fields import WireError
from oddwire.transports.lnd.messages import (
    CUSTOM_MESSAGE,
    decode_custom_message,
    encode_custom_message,
)

PEER = NodeId(b"\x02" + bytes(range(32)))
PEERS_FIELDS = {"pub_key": str(PEER), "address": "10.0.0.1:9735", "bytes_sent": "5", "bytes_recv": "6", "inbound": True}


@given(st.integers(1, 65535), st.integers(0, 65533), st.binary(max_size=8))
def test_a_custom_message_is_written_and_read_as_by_its_shape(type_id, size, start):
    data = start.ljust(size, b"\xab")[:65533]
    raw = encode_custom_message(PEER, type_id, data)
    message = {"peer": bytes(PEER), "type": type_id, "data": data}
    assert CUSTOM_MESSAGE.decode(raw) == CUSTOM_MESSAGE.decode(CUSTOM_MESSAGE.encode(message))
    for sent in (raw, CUSTOM_MESSAGE.encode(message)):  # the second leaves data of no bytes out
        assert decode_custom_message(sent) == (PEER, type_id.to_bytes(2, "big") + data)


@given(st.binary(max_size=60), st.sampled_from([0, 2, 35, 36, 39, 41]), st.integers(32768, 65535))
def test_any_bytes_are_a_custom_message_or_an_error(tail, kept, type_id):
    raw = encode_custom_message(PEER, type_id, b"some data")[:kept] + tail
    with contextlib.suppress(WireError):
        peer, payload = decode_custom_message(raw)
        message = CUSTOM_MESSAGE.decode(raw)
        assert payload[:2] == message["type"].to_bytes(2, "big")
        assert CUSTOM_MESSAGE.decode(encode_custom_message(peer, message["type"], payload[2:])) == message


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"peer": b"\x02" * 33, "type": 65536}, "custom message has the type 65536"),
        ({"peer": b"\x02" * 32, "type": 40001}, "node id should be 33 bytes starting with 02 or 03, not " + "02" * 32),
        ({"type": 40001}, "node id should be 33 bytes starting with 02 or 03, not nothing"),
    ],
)
def test_what_no_lnd_sends(message, text):
    with pytest.raises(WireError) as caught:
        decode_custom_message(CUSTOM_MESSAGE.encode(message))
    assert str(caught.value) == text


def test_a_later_version_may_add_fields_to_a_message():
    raw = encode_custom_message(PEER, 40001, b"data") + bytes.fromhex("2a0161")
    assert decode_custom_message(raw) == (PEER, b"\x9c\x41data")
