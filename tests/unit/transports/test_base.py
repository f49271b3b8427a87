"""oddwire.transports.base."""

import pytest

from oddwire.errors import EncodeError, PayloadTooLarge, TransportError
from oddwire.proto.keys import NodeId
from oddwire.transports.base import (
    MAX_PAYLOAD,
    MIN_PAYLOAD,
    Manifest,
    PeerInfo,
    Transport,
    fast_send,
    takes_turns,
    wrong_length,
)

PEER = NodeId("02" + "11" * 32)


class Least(Transport):
    """A transport that does no more than it must."""

    async def open(self, manifest, sink):
        """Do nothing."""

    async def send(self, peer, payload):
        """Do nothing."""

    def pause(self, peer):
        """Do nothing."""

    def resume(self, peer):
        """Do nothing."""

    async def aclose(self):
        """Do nothing."""


def test_the_even_ids_of_a_manifest_are_found():
    manifest = Manifest(type_ids=frozenset({0x8C01, 0x8C02, 0x8C04}))
    assert manifest.even_ids == {0x8C02, 0x8C04}
    assert Manifest().even_ids == frozenset()


def test_manifests_and_infos_cannot_be_changed():
    for value, name in ((Manifest(), "type_ids"), (PeerInfo(node_id=PEER), "features")):
        with pytest.raises(AttributeError, match=f"cannot assign to '{name}'"):
            setattr(value, name, None)


@pytest.mark.parametrize("bit", [512, 513])
def test_a_peer_has_a_feature_if_it_offers_either_bit(bit):
    info = PeerInfo(node_id=PEER, features=(1 << bit).to_bytes(65, "big"))
    assert info.has_feature(512)
    assert info.has_feature(513)
    assert not info.has_feature(510)
    assert not info.has_feature(514)


def test_a_peer_whose_features_are_not_known_has_none():
    assert not PeerInfo(node_id=PEER).has_feature(0)


def test_a_wrong_length_is_named():
    assert (MIN_PAYLOAD, MAX_PAYLOAD) == (2, 65535)
    for size in (0, 1):
        assert type(wrong_length(size)) is EncodeError
    error = wrong_length(65536)
    assert type(error) is PayloadTooLarge
    assert str(error) == "payload of 65536 bytes; it should have 2 to 65535, its two-byte type included"


@pytest.mark.parametrize("missing", ["open", "send", "pause", "resume", "aclose"])
def test_a_transport_without_one_of_its_five_methods_cannot_be_made(missing):
    methods = {name: getattr(Least, name) for name in ("open", "send", "pause", "resume", "aclose") if name != missing}
    with pytest.raises(TypeError, match=missing):
        type("Incomplete", (Transport,), methods)()


async def test_what_a_transport_cannot_do_is_left_out_quietly():
    least = Least()
    await least.disconnect(PEER, "why")
    least.warn(PEER, "what")
    least.wasted(PEER)
    least.worked(PEER, 0.1, wasted=True)
    await least.turn(PEER)
    assert (least.shared, least.node_id, tuple(least.uris)) == (False, None, ())
    assert (least.dropped.total, dict(least.dropped.peers)) == (0, {})


async def test_a_transport_that_does_not_connect_says_so():
    with pytest.raises(TransportError, match="Least does not connect on request"):
        await Least().connect("somewhere")


async def test_what_cannot_be_sent_without_waiting_is_not_sent():
    assert not Least().send_nowait(PEER, b"\x8c\x01")


def test_a_send_of_a_subclass_is_not_gone_around():
    class Quick(Least):
        def send_nowait(self, peer, payload):
            return True

    class Noisy(Quick):
        async def send(self, peer, payload):
            """Do nothing, noisily."""

    class Named(Noisy):
        """As it was."""

    class Both(Noisy):
        send_nowait = Quick.send_nowait

        async def send(self, peer, payload):
            """Do nothing again."""

    class Sending:
        async def send(self, peer, payload):
            """Do nothing, for whom it is mixed into."""

    class Mixed(Sending, Quick):
        """With both."""

    quick = [fast_send(kind())(PEER, b"\x8c\x01") for kind in (Least, Quick, Noisy, Named, Both, Mixed)]
    assert quick == [False, True, False, False, True, False]


def test_a_transport_with_a_turn_of_its_own_takes_turns() -> None:
    class Fair(Least):
        async def turn(self, peer):
            """Do not wait, but might."""

    class Named(Fair):
        """As it was."""

    assert [takes_turns(kind()) for kind in (Least, Fair, Named)] == [False, True, True]
