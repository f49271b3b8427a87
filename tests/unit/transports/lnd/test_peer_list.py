import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddwire.proto.keys import NodeId
from oddwire.transports.lnd.fields import WireError
from oddwire.transports.lnd.messages import PEERS, LndPeer
from oddwire.transports.lnd.peer_list import read_peers

PEER = NodeId(b"\x02" + bytes(range(32)))
LISTED = {"pub_key": str(PEER), "address": "10.0.0.1:9735", "bytes_sent": "5", "bytes_recv": "600", "inbound": True}


def test_a_peer():
    features = {"9": {"name": "x"}, 0: {}, 2023: {"is_known": True}}
    [peer] = read_peers(PEERS.encode({"peers": [{**LISTED, "features": features, "ping_time": "7"}]}))
    assert peer == LndPeer(
        node_id=PEER,
        address="10.0.0.1:9735",
        inbound=True,
        features=frozenset((0, 9, 2023)),
        bytes_sent=5,
        bytes_recv=600,
    )
    assert peer.direction == "in"


def test_a_peer_in_its_handshake_has_no_features():
    [peer] = read_peers(PEERS.encode({"peers": [{"pub_key": str(PEER)}]}))
    assert peer == LndPeer(node_id=PEER)
    assert peer.direction == "out"


@pytest.mark.parametrize("key", ["", "02", "é"])
def test_a_peer_whose_key_is_none_is_left_out_alone(key, caplog):
    assert read_peers(PEERS.encode({"peers": [{"pub_key": key}, LISTED]})) == [
        LndPeer(node_id=PEER, address="10.0.0.1:9735", inbound=True, bytes_sent=5, bytes_recv=600)
    ]
    assert "LND lists a peer that is left out: node id should be 66 hex digits" in caplog.text


def test_bits_that_no_init_has_room_for_are_none():
    [peer] = read_peers(PEERS.encode({"peers": [{"pub_key": str(PEER), "features": {2**32 - 1: {}, 524279: {}}}]}))
    assert peer.features == {524279}


def test_an_address_that_is_no_text():
    raw = PEERS.encode({"peers": [{"pub_key": str(PEER), "address": "??"}]}).replace(b"??", b"\xff?")
    assert [peer.address for peer in read_peers(raw)] == ["\ufffd?"]


@given(st.binary(max_size=60))
def test_any_bytes_are_peers_or_an_error(data):
    for raw in (data, b"\x0a" + bytes([len(data)]) + data):
        with contextlib.suppress(WireError):
            assert isinstance(read_peers(raw), list)
