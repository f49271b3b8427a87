"""Handshakes between any two keys, over any split of the bytes, with anything changed on the way."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from oddwire.errors import HandshakeFailed
from oddwire.proto.framing import FrameReceiver, FrameSender
from oddwire.proto.keys import PrivateKey
from oddwire.proto.noise import Handshake

keys = st.binary(min_size=32, max_size=32).filter(lambda raw: 0 < int.from_bytes(raw, "big") < 1 << 255).map(PrivateKey)
cuts = st.lists(st.integers(0, 200), max_size=6)


def pieces(data, cuts):
    """Cut ``data`` at any places, leaving out empty pieces."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:stop] for start, stop in itertools.pairwise(places)]


def deliver(handshake, data, cuts):
    return b"".join(handshake.receive(piece) for piece in pieces(data, cuts))


@settings(deadline=None)
@given(keys, keys, keys, keys, cuts, cuts, cuts)
def test_any_keys_and_any_split_agree(local, remote, ephemeral, other_ephemeral, first, second, third):
    left = Handshake.initiator(local, remote.public_key(), ephemeral)
    right = Handshake.responder(remote, other_ephemeral)
    two = deliver(right, left.start(), first)
    three = deliver(left, two, second)
    assert deliver(right, three, third) == b""
    assert right.remote_key == local.public_key()
    for sending, receiving in ((left.sending, right.receiving), (right.sending, left.receiving)):
        received = []
        FrameReceiver(receiving, received.append).feed(FrameSender(sending).frame(b"hello"))
        assert received == [b"hello"]


@settings(deadline=None)
@given(keys, keys, keys, keys, st.integers(1, 3), st.integers(0), st.integers(1, 255))
def test_no_change_on_the_way_goes_unnoticed(local, remote, ephemeral, other_ephemeral, act, at, mask):
    """Whoever gets the changed act fails; the other end then never finishes."""
    left = Handshake.initiator(local, remote.public_key(), ephemeral)
    right = Handshake.responder(remote, other_ephemeral)

    def change(packet):
        changed = bytearray(packet)
        changed[at % len(changed)] ^= mask
        return bytes(changed)

    failed = None
    try:
        two = right.receive(change(left.start()) if act == 1 else left.start())
        three = left.receive(change(two) if act == 2 else two)
        right.receive(change(three))
    except HandshakeFailed as error:
        failed = error
    assert failed is not None
    assert failed.act == act
    assert not right.done
