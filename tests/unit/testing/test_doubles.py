from __future__ import annotations

import asyncio

import pytest

from oddwire.errors import EncodeError, PayloadTooLarge, PeerNotConnected, TransportError
from oddwire.proto.keys import NodeId
from oddwire.testing import Connected, Disconnected, Received, RecordingSink, ScriptedTransport
from oddwire.transports.base import Manifest

ALICE = NodeId("02" + "aa" * 32)


async def opened() -> tuple[ScriptedTransport, RecordingSink]:
    transport, sink = ScriptedTransport(), RecordingSink()
    await transport.open(Manifest(), sink)
    return transport, sink


async def test_peers_do_what_the_test_says() -> None:
    transport, sink = await opened()
    transport.connect_peer(ALICE, [513])
    transport.receive(ALICE, b"\x8c\x01")
    transport.lose_peer(ALICE, "bye")
    assert [type(event) for event in sink.events] == [Connected, Received, Disconnected]
    assert sink.connected[0].has_feature(513)


async def test_remembers_what_was_asked_of_it() -> None:
    transport, sink = await opened()
    transport.connect_peer(ALICE)
    await transport.send(ALICE, b"\x8c\x01")
    transport.warn(ALICE, "odd of you")
    await transport.disconnect(ALICE, "enough")
    assert transport.manifest == Manifest()
    assert transport.sent == [(ALICE, b"\x8c\x01")]
    assert transport.warnings == [(ALICE, "odd of you")]
    assert transport.hangups == [(ALICE, "enough")]
    assert sink.disconnected == [ALICE]
    await transport.aclose()
    assert transport.closed


async def test_holds_what_a_paused_peer_says() -> None:
    transport, sink = await opened()
    transport.connect_peer(ALICE)
    transport.pause(ALICE)
    transport.receive(ALICE, b"one")
    transport.receive(ALICE, b"two")
    assert sink.payloads == []
    transport.resume(ALICE)
    assert sink.payloads == [b"one", b"two"]
    assert transport.flow == [("pause", ALICE), ("resume", ALICE)]


async def test_sends_wait_while_it_sticks() -> None:
    transport, _ = await opened()
    transport.connect_peer(ALICE)
    transport.stick()
    sending = asyncio.create_task(transport.send(ALICE, b"\x8c\x01"))
    await asyncio.sleep(0)
    assert not sending.done()
    transport.stuck.set()
    await sending
    assert transport.sent == [(ALICE, b"\x8c\x01")]


async def test_refuses_as_a_transport_does() -> None:
    transport, _ = await opened()
    with pytest.raises(PeerNotConnected):
        await transport.send(ALICE, b"\x8c\x01")
    transport.connect_peer(ALICE)
    with pytest.raises(EncodeError):
        await transport.send(ALICE, b"\x8c")
    with pytest.raises(PayloadTooLarge):
        await transport.send(ALICE, bytes(65536))
    with pytest.raises(TransportError, match="open the transport first"):
        ScriptedTransport().connect_peer(ALICE)
