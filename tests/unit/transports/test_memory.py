from __future__ import annotations

import asyncio

import pytest

from oddwire.errors import ConnectionClosed, PeerNotConnected, TransportError
from oddwire.proto.keys import NodeId, PrivateKey, PublicKey
from oddwire.testing import Connected, Disconnected, Received, RecordingSink
from oddwire.transports.base import Manifest
from oddwire.transports.memory import MemoryNetwork, MemoryTransport

# What every transport does is checked by tests/conformance; here is what only this one does.


async def opened(network: MemoryNetwork, *features: int) -> tuple[MemoryTransport, RecordingSink]:
    transport, sink = network.transport(), RecordingSink()
    await transport.open(Manifest(features=frozenset(features)), sink)
    return transport, sink


async def pair(network: MemoryNetwork) -> tuple[MemoryTransport, RecordingSink, MemoryTransport, RecordingSink]:
    left, left_sink = await opened(network, 513)
    right, right_sink = await opened(network, 515)
    await left.connect(right.uris[0])
    return left, left_sink, right, right_sink


def test_node_ids_are_real_and_the_same_in_every_run() -> None:
    first, second = MemoryNetwork(), MemoryNetwork()
    ids = [first.transport().node_id, first.transport().node_id]
    assert len(set(ids)) == 2
    assert ids[0] == second.transport().node_id
    for node_id in ids:
        PublicKey(node_id)
    key = PrivateKey(b"\x07" * 32)
    assert first.transport(key).node_id == NodeId(key.public_key())
    assert MemoryTransport(key).node_id == NodeId(key.public_key())


async def test_peers_know_features_address_and_direction() -> None:
    left, left_sink, right, right_sink = await pair(MemoryNetwork())
    [ours], [theirs] = left_sink.connected, right_sink.connected
    assert (ours.node_id, ours.direction, ours.address) == (right.node_id, "out", "memory")
    assert (theirs.node_id, theirs.direction, theirs.address) == (left.node_id, "in", "memory")
    assert ours.has_feature(515)
    assert not ours.has_feature(513)
    assert theirs.has_feature(513)
    assert left.peers == [ours]
    assert right.peers == [theirs]


async def test_uris_are_there_while_the_node_is_open() -> None:
    network = MemoryNetwork()
    transport = network.transport()
    assert transport.uris == []
    await transport.open(Manifest(), RecordingSink())
    assert transport.uris == [f"{transport.node_id}@memory"]
    assert network.nodes == {transport.node_id: transport}
    await transport.aclose()
    assert transport.uris == []
    assert network.nodes == {}


async def test_connecting_twice_is_connecting_once() -> None:
    left, left_sink, right, right_sink = await pair(MemoryNetwork())
    again = await asyncio.gather(left.connect(right.uris[0]), right.connect(str(left.node_id)))
    assert again == [left_sink.connected[0], right_sink.connected[0]]
    assert (len(left_sink.events), len(right_sink.events)) == (1, 1)


async def test_dialing_each_other_at_once_makes_one_connection() -> None:
    network = MemoryNetwork()
    left, left_sink = await opened(network)
    right, right_sink = await opened(network)
    await asyncio.gather(left.connect(right.uris[0]), right.connect(left.uris[0]))
    assert (len(left_sink.connected), len(right_sink.connected)) == (1, 1)


async def test_refuses_to_connect_where_it_cannot() -> None:
    network = MemoryNetwork()
    left, _ = await opened(network)
    other, _ = await opened(MemoryNetwork())
    closed = network.transport()
    with pytest.raises(ValueError, match="that is this node itself"):
        await left.connect(left.uris[0])
    with pytest.raises(ValueError, match="node id should be 66 hex digits"):
        await left.connect("nobody@memory")
    with pytest.raises(TransportError, match=f"no node {closed.node_id} is on this network"):
        await left.connect(str(closed.node_id))
    with pytest.raises(TransportError, match="open the transport before you connect"):
        await closed.connect(left.uris[0])
    await left.aclose()
    with pytest.raises(TransportError, match="open the transport before you connect"):
        await left.connect(f"{closed.node_id}@memory")
    assert other.peers == []


async def test_opens_once_and_a_node_id_is_one_node() -> None:
    network = MemoryNetwork()
    transport, sink = await opened(network)
    with pytest.raises(TransportError, match="opened before"):
        await transport.open(Manifest(), sink)
    twin = network.transport(PrivateKey((1).to_bytes(32, "big")))
    assert twin.node_id == transport.node_id
    with pytest.raises(TransportError, match="is on this network already"):
        await twin.open(Manifest(), sink)
    await transport.aclose()
    with pytest.raises(TransportError, match="opened before"):
        await transport.open(Manifest(), sink)
    await twin.open(Manifest(), sink)


async def test_warnings_reach_the_peer() -> None:
    left, _, right, _ = await pair(MemoryNetwork())
    left.warn(right.node_id, "odd of you")
    assert list(right.warnings) == [(left.node_id, "odd of you")]
    for number in range(200):
        left.warn(right.node_id, str(number))
    assert len(right.warnings) == 100
    right.warn(NodeId("02" + "aa" * 32), "who are you?")


async def test_a_lost_connection_takes_what_is_under_way_with_it() -> None:
    network = MemoryNetwork()
    left, left_sink, right, right_sink = await pair(network)
    await left.send(right.node_id, b"\x8c\x01lost")
    await right.send(left.node_id, b"\x8c\x01lost too")
    network.drop(left.node_id, right.node_id, "cable cut")
    network.drop(left.node_id, right.node_id, "cut again")
    network.drop(NodeId("02" + "aa" * 32), right.node_id)
    await asyncio.sleep(0)
    assert left_sink.events[1:] == [Disconnected(right.node_id, "cable cut")]
    assert right_sink.events[1:] == [Disconnected(left.node_id, "cable cut")]
    await left.connect(right.uris[0])
    await left.send(right.node_id, b"\x8c\x01back")
    await right_sink.until(lambda sink: sink.payloads)
    assert right_sink.payloads == [b"\x8c\x01back"]


async def test_a_lost_connection_ends_waiting_sends() -> None:
    network = MemoryNetwork(queue_size=10)
    left, _, right, _ = await pair(network)
    right.pause(left.node_id)
    await left.send(right.node_id, bytes(10))
    waiting = asyncio.create_task(left.send(right.node_id, bytes(10)))
    await asyncio.sleep(0)
    left.drop(right.node_id, "cable cut")
    with pytest.raises(ConnectionClosed, match="cable cut"):
        await waiting


async def test_a_payload_is_accepted_while_the_queue_is_not_full() -> None:
    network = MemoryNetwork(queue_size=100)
    left, _, right, right_sink = await pair(network)
    right.pause(left.node_id)
    await left.send(right.node_id, bytes(99))
    await left.send(right.node_id, bytes(60_000))  # one byte is free: any payload may be the last
    senders = [asyncio.create_task(left.send(right.node_id, bytes([0x8C, 1, number]))) for number in range(3)]
    await asyncio.sleep(0)
    assert not any(sender.done() for sender in senders)
    senders[1].cancel()
    await asyncio.sleep(0)
    right.resume(left.node_id)
    await senders[0]
    await senders[2]
    await right_sink.until(lambda sink: len(sink.payloads) == 4)
    assert right_sink.payloads[2:] == [b"\x8c\x01\x00", b"\x8c\x01\x02"]


async def test_a_turn_that_was_given_to_a_cancelled_send_goes_to_the_next() -> None:
    network = MemoryNetwork(queue_size=2)
    left, _, right, right_sink = await pair(network)
    right.pause(left.node_id)
    await left.send(right.node_id, b"\x8c\x01")
    first, second = (asyncio.create_task(left.send(right.node_id, bytes([0x8C, 1, n]))) for n in (1, 2))
    await asyncio.sleep(0)
    right.resume(left.node_id)
    asyncio.get_running_loop().call_soon(first.cancel)  # after the turn is given, before it is taken
    await second
    await right_sink.until(lambda sink: sink.payloads[-1:] == [b"\x8c\x01\x02"])
    assert first.cancelled()
    assert right_sink.payloads == [b"\x8c\x01", b"\x8c\x01\x02"]


async def test_a_slow_network_delays_payloads_and_keeps_their_order() -> None:
    network = MemoryNetwork(delay=0.05)
    left, _, right, right_sink = await pair(network)
    await left.send(right.node_id, b"\x8c\x01slow")
    network.delay = 0.0
    await left.send(right.node_id, b"\x8c\x01quick")
    await left.disconnect(right.node_id)
    await right_sink.until(lambda sink: sink.disconnected)
    assert right_sink.payloads == [b"\x8c\x01slow", b"\x8c\x01quick"]


async def test_nothing_arrives_before_its_time() -> None:
    network = MemoryNetwork(delay=3600)
    left, left_sink = await opened(network)
    right, right_sink = await opened(network)
    network.delay = 0.0
    await left.connect(right.uris[0])
    network.delay = 3600
    await left.send(right.node_id, b"\x8c\x01later")
    await left.disconnect(right.node_id)
    for _ in range(20):
        await asyncio.sleep(0)
    assert [type(event) for event in right_sink.events] == [Connected]
    assert [type(event) for event in left_sink.events] == [Connected, Disconnected]
    await right.aclose()


async def test_a_peer_that_comes_back_before_its_end_was_read_is_one_peer() -> None:
    left, _, right, right_sink = await pair(MemoryNetwork())
    right.pause(left.node_id)
    await left.send(right.node_id, b"\x8c\x01never read")
    await left.disconnect(right.node_id)
    assert not right_sink.disconnected
    await left.connect(right.uris[0])
    assert [type(event) for event in right_sink.events] == [Connected, Disconnected, Connected]
    await left.send(right.node_id, b"\x8c\x01hello")
    await right_sink.until(lambda sink: sink.payloads)
    assert right_sink.payloads == [b"\x8c\x01hello"]


async def test_what_is_sent_to_a_peer_that_has_hung_up_unnoticed_is_lost() -> None:
    left, left_sink, right, right_sink = await pair(MemoryNetwork())
    left.pause(right.node_id)
    await right.disconnect(left.node_id)
    await left.send(right.node_id, b"\x8c\x01too late")
    left.resume(right.node_id)
    await left_sink.until(lambda sink: sink.disconnected)
    with pytest.raises(PeerNotConnected):
        await left.send(right.node_id, b"\x8c\x01too late")
    assert right_sink.payloads == []


async def test_a_sink_may_hang_up_as_it_is_called() -> None:
    network = MemoryNetwork()
    left, _ = await opened(network)
    right = network.transport()

    class Unfriendly(RecordingSink):
        def peer_connected(self, peer: object) -> None:
            super().peer_connected(peer)  # type: ignore[arg-type]
            network.drop(right.node_id, left.node_id, "not you")

    await right.open(Manifest(), Unfriendly())
    with pytest.raises(ConnectionClosed, match="closed as soon as it was open"):
        await left.connect(right.uris[0])
    assert (left.peers, right.peers) == ([], [])


async def test_a_sink_that_raises_loses_nothing_but_its_own_call(caplog: pytest.LogCaptureFixture) -> None:
    left, _, right, right_sink = await pair(MemoryNetwork())

    def fail(peer: NodeId, payload: bytes) -> None:
        raise ZeroDivisionError

    right_sink.on_payload = fail
    for number in range(3):
        await left.send(right.node_id, bytes([0x8C, 1, number]))
    await right_sink.until(lambda sink: len(sink.payloads) == 3)
    assert caplog.text.count("the sink raised in payload_received") == 3
    assert [type(event) for event in right_sink.events] == [Connected, Received, Received, Received]


async def test_many_payloads_do_not_keep_other_peers_waiting() -> None:
    network = MemoryNetwork(queue_size=1 << 20)
    left, _, right, right_sink = await pair(network)
    third, _ = await opened(network)
    await third.connect(right.uris[0])
    for _ in range(2000):
        await left.send(right.node_id, b"\x8c\x01left")
    await third.send(right.node_id, b"\x8c\x01third")
    await right_sink.until(lambda sink: len(sink.payloads) == 2001)
    assert right_sink.payloads.index(b"\x8c\x01third") <= 512
