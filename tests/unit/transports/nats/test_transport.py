"""The transport of a partition's owner, against a real nats-server and a gateway whose answers are written here."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator

import pytest
from tests.support.broker import Broker
from tests.support.scripted_gateway import ScriptedGateway
from tests.support.waiting import until, until_answered

from oddwire.errors import ConnectionClosed, EncodeError, NodeRefused, PeerNotConnected, TransportError
from oddwire.proto.keys import NodeId
from oddwire.session.constants import SESSION_TYPE_BYTES
from oddwire.testing import RecordingSink
from oddwire.testing.sinks import Connected, Disconnected, Received
from oddwire.transports.base import Manifest
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.packing import DISCONNECTED, MARKER, PAYLOAD, ROOM, Accepted, Outgoing
from oddwire.transports.nats.subjects import in_stream
from oddwire.transports.nats.transport import NatsTransport

ALICE = NodeId("02" + "aa" * 32)
BOB = NodeId("03" + "bb" * 32)


def note(number: int) -> bytes:
    return b"\x8c\x05" + number.to_bytes(8, "big")


class Cluster:
    """A gateway, and the transports of its partition's owners, which are closed at the end."""

    def __init__(self, connection: BrokerConnection) -> None:
        self.connection = connection
        self.gateway = ScriptedGateway(connection, NodeId(b"\x02" + os.urandom(32)))
        self.opened: list[NatsTransport] = []

    def transport(self, term: int = 1) -> NatsTransport:
        transport = NatsTransport(self.connection, self.gateway.node, 0, term=term, patience=0.2)
        self.opened.append(transport)
        return transport

    async def owner(self, term: int = 1, *, settles: bool = True) -> tuple[NatsTransport, RecordingSink]:
        """Open a transport; with ``settles`` off the test says when something is handled."""
        transport, sink = self.transport(term), RecordingSink()
        sink.unsettled = None if settles else []
        await transport.open(Manifest(), sink)
        return transport, sink

    async def is_empty(self) -> bool:
        return not await self.gateway.left()


@pytest.fixture
async def cluster(connection: BrokerConnection) -> AsyncIterator[Cluster]:
    made = Cluster(connection)
    await made.gateway.start()
    yield made
    for transport in made.opened:
        await transport.aclose()
    await made.gateway.stop()


def handle(sink: RecordingSink) -> None:
    assert sink.unsettled is not None
    calls = [*sink.unsettled]
    sink.unsettled.clear()
    for _, call in calls:
        call()


# In ---------------------------------------------------------------------------------------------------


async def test_what_comes_is_handed_on_in_order_and_leaves_the_stream(cluster: Cluster) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE, b"\x02"))
    transport, sink = await cluster.owner()
    assert (transport.run, transport.uris, transport.node_id) == (1, ["somewhere"], gateway.node)
    await gateway.put([PAYLOAD, 1, 1, note(1)], gateway.connected(2, BOB), [PAYLOAD, 2, 1, note(2)])
    await gateway.put([PAYLOAD, 1, 2, note(3)], [DISCONNECTED, 1, "bye"])
    await sink.until(lambda sink: len(sink.events) == 6)
    assert [type(event) for event in sink.events] == [Connected, Received, Connected, Received, Received, Disconnected]
    assert sink.payloads == [note(1), note(2), note(3)]
    assert (sink.connected[0].features, sink.connected[0].address) == (b"\x02", "address 1")
    await until_answered(cluster.is_empty)


async def test_a_message_is_acknowledged_when_it_is_handled_and_what_was_sent_is_accepted(cluster: Cluster) -> None:
    gateway = cluster.gateway
    transport, sink = await cluster.owner(settles=False)
    await gateway.put(gateway.connected(1, ALICE), [PAYLOAD, 1, 1, note(1)])
    await gateway.put([PAYLOAD, 1, 2, note(2)])
    await sink.until(lambda sink: len(sink.payloads) == 2)
    await until_answered(lambda: _has(gateway, 2))  # the marker is acknowledged, the messages are not
    gateway.silent = True
    await transport.send(ALICE, note(9))
    handle(sink)
    await until(lambda: gateway.batches)
    assert await gateway.left() == 2
    await gateway.speak()
    await until_answered(cluster.is_empty)


async def test_the_next_owner_gets_what_is_left_before_all_else(cluster: Cluster) -> None:
    gateway = cluster.gateway
    former, sink = await cluster.owner(1, settles=False)
    await gateway.put(gateway.connected(1, ALICE), gateway.connected(2, BOB), [PAYLOAD, 2, 1, note(0)])
    hello = SESSION_TYPE_BYTES + b"hello"
    await gateway.put([PAYLOAD, 1, 1, note(1)], [PAYLOAD, 1, 2, hello], [PAYLOAD, 1, 3, note(2)])
    await gateway.put([PAYLOAD, 2, 2, note(3)])
    await gateway.put([DISCONNECTED, 2, "bob has left"])
    await sink.until(lambda sink: sink.disconnected)
    assert sink.unsettled is not None
    sink.unsettled.pop(0)[1]()  # bob's first is handled, the others are not
    await until_answered(lambda: _has(gateway, 2))
    former.lost("killed")

    _, heir = await cluster.owner(2)
    await gateway.put([PAYLOAD, 1, 4, SESSION_TYPE_BYTES + b"for us"], [PAYLOAD, 1, 5, note(4)])
    await heir.until(lambda sink: note(4) in sink.payloads)
    assert heir.payloads == [note(1), note(2), note(3), SESSION_TYPE_BYTES + b"for us", note(4)]
    assert [info.node_id for info in heir.connected] == [ALICE, BOB]
    assert heir.disconnected == [BOB]
    assert isinstance(heir.events[-3], Disconnected), "at the marker, behind which bob is not"
    await until_answered(cluster.is_empty)


async def _has(gateway: ScriptedGateway, count: int) -> bool:
    return await gateway.left() == count


async def test_a_former_owner_is_told_by_the_marker_of_the_next(cluster: Cluster) -> None:
    former, sink = await cluster.owner(1)
    await cluster.owner(2)
    await until(lambda: former.ended)
    assert former.stale
    assert "later owner" in sink.stopped[0]
    # Whether it had read the marker before its consumer was deleted, or has found the other one's
    assert all(name.startswith("t0-2-") for name in await cluster.gateway.consumers())


async def test_numbers_seen_before_are_dropped_and_a_hole_ends_the_connection(cluster: Cluster) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE), gateway.connected(2, BOB))
    _, sink = await cluster.owner()
    for number in (1, 1, 2, 1):
        await gateway.put([PAYLOAD, 1, number, note(number)])
    await gateway.put([PAYLOAD, 1, 4, note(4)], [PAYLOAD, 1, 5, note(5)], [PAYLOAD, 2, 1, note(6)])
    await sink.until(lambda sink: note(6) in sink.payloads)
    assert sink.payloads == [note(1), note(2), note(6)]
    assert sink.disconnected == [ALICE]
    await until(lambda: gateway.asked)
    assert (gateway.asked[0]["do"], gateway.asked[0]["conn"]) == ("disconnect", 1)
    await until_answered(cluster.is_empty)


async def test_a_paused_peer_is_held_and_the_gateway_told_when_it_is_much(cluster: Cluster) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE), gateway.connected(2, BOB))
    transport, sink = await cluster.owner()
    await sink.until(lambda sink: len(sink.connected) == 2)
    transport.pause(ALICE)
    for number in range(1, 5):
        await gateway.put([PAYLOAD, 1, number, note(number) + bytes(20000)], [PAYLOAD, 2, number, note(0)])
    await sink.until(lambda sink: len(sink.payloads) == 4)
    assert sink.payloads == [note(0)] * 4
    await until(lambda: gateway.asked)
    assert gateway.asked == [{"do": "pause", "k": 0, "term": 1, "run": 1, "conn": 1}]
    assert await gateway.left() == 4
    transport.resume(ALICE)
    await sink.until(lambda sink: len(sink.payloads) == 8)
    assert [payload[:10] for payload in sink.payloads[4:]] == [note(number) for number in range(1, 5)]
    await until(lambda: len(gateway.asked) == 2)
    assert gateway.asked[1]["do"] == "resume"
    await until_answered(cluster.is_empty)


async def test_what_cannot_be_read_is_skipped_but_not_if_it_is_of_a_later_version(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = cluster.gateway
    transport, sink = await cluster.owner()
    await gateway.put_raw(b"\x93\x01\x02")
    await gateway.put(gateway.connected(1, ALICE), [PAYLOAD, 1, 1, note(1)])
    await sink.until(lambda sink: sink.payloads)
    assert "is skipped: a batch" in caplog.text
    await until_answered(cluster.is_empty)
    await gateway.put_raw(b"\x94\x02\x01\x80\x90")
    await until(lambda: transport.ended)
    assert "version 2" in sink.stopped[0]
    assert not transport.stale
    assert await gateway.left() == 1


# Out --------------------------------------------------------------------------------------------------


async def test_one_batch_is_under_way_and_is_sent_again_until_it_is_answered(
    cluster: Cluster, connection: BrokerConnection
) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE), gateway.connected(2, BOB))
    transport, sink = await cluster.owner()
    await sink.until(lambda sink: len(sink.connected) == 2)
    await gateway.stop()
    assert transport.send_nowait(ALICE, note(1))
    await transport.send(BOB, note(2))
    gateway.silent = True
    await asyncio.sleep(0)
    subscribe = connection.client.subscribe
    await subscribe(f"ow.out.{gateway.node}", cb=gateway._take)
    await until(lambda: gateway.batches)
    await transport.send(ALICE, note(3))
    assert [batch.batch for batch in gateway.batches] == [1]
    await gateway.speak()
    await until(lambda: len(gateway.sent) == 3)
    assert gateway.batches[0] == Outgoing(0, 1, 1, 1, [[1, note(1)], [2, note(2)]])  # type: ignore[list-item]
    assert gateway.batches[-1] == Outgoing(0, 1, 1, 2, [[1, note(3)]])  # type: ignore[list-item]


@pytest.mark.parametrize(("status", "stale"), [("stale", True), ("run", False), ("batch", False)])
async def test_a_gateway_that_takes_nothing_ends_it(cluster: Cluster, status: str, stale: bool) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE), [PAYLOAD, 1, 1, note(1)])
    transport, sink = await cluster.owner(settles=False)
    await sink.until(lambda sink: sink.payloads)
    await until_answered(lambda: _has(gateway, 1))  # without the marker
    gateway.accept = lambda _: Accepted(status, "so it says")
    await transport.send(ALICE, note(1))
    await until(lambda: sink.stopped)
    assert "so it says" in transport.ended
    assert transport.stale is stale
    with pytest.raises(PeerNotConnected):
        await transport.send(ALICE, note(2))
    handle(sink)
    await transport.aclose()
    assert sink.disconnected == [ALICE]
    assert await gateway.left() == 1, "what it had not handled is for the next owner"
    assert all(asked["do"] != "release" for asked in gateway.asked)


async def test_lost_ends_it_at_once_and_fails_who_waits(cluster: Cluster) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE), [PAYLOAD, 1, 1, note(1)])
    transport, sink = await cluster.owner(settles=False)
    await sink.until(lambda sink: sink.payloads)
    await until_answered(lambda: _has(gateway, 1))  # without the marker
    gateway.silent = True
    gateway.answers["call"] = None
    sending = [asyncio.create_task(transport.send(ALICE, note(number) + bytes(60000))) for number in range(30)]
    calling = asyncio.create_task(transport.call("getinfo"))
    await until(lambda: gateway.batches and gateway.asked)
    assert not all(task.done() for task in sending)
    transport.lost("the lease is over")
    transport.lost("again")
    assert sink.stopped == ["the lease is over"]
    outcomes = await asyncio.gather(*sending, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {type(None), ConnectionClosed}
    with pytest.raises(ConnectionClosed, match="the lease is over; it may be done or not"):
        await calling
    handle(sink)
    await gateway.speak()
    await gateway.put([PAYLOAD, 1, 2, note(2)])
    await transport.aclose()
    assert sink.payloads == [note(1)]
    assert await gateway.left() == 2, "with what was handled too late"


async def test_a_peer_that_is_full_is_sent_nothing_until_there_is_room(cluster: Cluster) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE), gateway.connected(2, BOB))
    transport, sink = await cluster.owner()
    await sink.until(lambda sink: len(sink.connected) == 2)
    gateway.accept = lambda batch: Accepted(full=[1] if batch.batch == 1 else [])
    await transport.send(ALICE, note(1))
    await until(lambda: gateway.batches)
    await transport.send(BOB, note(2))
    await until(lambda: len(gateway.batches) == 2)
    await transport.send(ALICE, note(3))
    await transport.send(BOB, note(4))
    await until(lambda: len(gateway.batches) == 3)
    assert gateway.sent == [(1, note(1)), (2, note(2)), (2, note(4))]
    await gateway.put([ROOM, 1])
    await until(lambda: len(gateway.batches) == 4)
    assert gateway.sent[-1] == (1, note(3))


async def test_what_a_gateway_refuses(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE), gateway.connected(2, BOB))
    transport, sink = await cluster.owner()
    await sink.until(lambda sink: len(sink.connected) == 2)
    with pytest.raises(EncodeError, match="WIRE_INIT"):
        await transport.send(ALICE, b"\x00\x10")
    refused = [(0, "gone", "no such"), (1, "reserved", "not\x1b yours"), (7, "x", "y")]
    gateway.accept = lambda _: Accepted(refused=refused)
    assert transport.send_nowait(ALICE, note(1))
    assert transport.send_nowait(BOB, note(2))
    await until(lambda: "not\\x1b yours" in caplog.text)
    with pytest.raises(PeerNotConnected):
        transport.send_nowait(ALICE, note(3))
    assert transport.send_nowait(BOB, note(3))
    assert sink.disconnected == [], "that comes by the stream"


async def test_a_warning_and_a_disconnect_come_after_what_was_sent(cluster: Cluster) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE))
    transport, sink = await cluster.owner()
    await sink.until(lambda sink: sink.connected)
    gateway.silent = True
    await transport.send(ALICE, note(1))
    transport.warn(ALICE, "careful")
    leaving = asyncio.create_task(transport.disconnect(ALICE, "enough"))
    await until(lambda: gateway.batches)
    assert gateway.asked == []
    await gateway.speak()
    await leaving
    await until(lambda: len(gateway.asked) == 2)
    assert {(asked["do"], asked["conn"], asked.get("text", asked.get("reason"))) for asked in gateway.asked} == {
        ("warn", 1, "careful"),
        ("disconnect", 1, "enough"),
    }
    with pytest.raises(PeerNotConnected):
        await transport.send(ALICE, note(2))
    await transport.disconnect(BOB)
    transport.warn(BOB, "nobody")


# The gateway ------------------------------------------------------------------------------------------


async def test_connecting(cluster: Cluster) -> None:
    gateway = cluster.gateway
    transport, _ = await cluster.owner()
    entry = gateway.connected(4, ALICE)
    gateway.answers["connect"] = {"ok": {"conn": [4, ALICE, "there", "out", b"", 1], "k": 0}}
    connecting = asyncio.create_task(transport.connect(f"{ALICE}@there"))
    await until(lambda: gateway.asked)
    assert gateway.asked[0]["uri"] == f"{ALICE}@there"
    assert not connecting.done()
    await gateway.put(entry)
    assert (await connecting).node_id == ALICE
    assert (await transport.connect(f"{ALICE}@there")).node_id == ALICE
    assert len(gateway.asked) == 1, "it is connected"
    gateway.answers["connect"] = {"ok": {"conn": [5, BOB, "there", "out", b"", 1], "k": 3}}
    with pytest.raises(TransportError, match=r"is connected, and in partition 3, .* this one has partition 0"):
        await transport.connect(str(BOB))
    gateway.answers["connect"] = {"ok": {"conn": [6, BOB, "there", "out", b"", 1], "k": 0}}
    connecting = asyncio.create_task(transport.connect(str(BOB)))
    await gateway.put(gateway.connected(6, BOB), [DISCONNECTED, 6, "no"])
    with pytest.raises(ConnectionClosed, match="closed as soon as it was open"):
        await connecting
    for answer, error in (
        ({"error": ["failed", "no route"]}, TransportError),
        ({"error": ["node", "Unknown peer", 400, None]}, NodeRefused),
        ({"ok": 7}, TransportError),
        ({"error": "what?"}, TransportError),
        ({}, TransportError),
    ):
        gateway.answers["connect"] = answer
        with pytest.raises(error):
            await transport.connect("02@where")
    assert not transport.ended


async def test_calls_of_the_host(cluster: Cluster) -> None:
    gateway = cluster.gateway
    transport, _ = await cluster.owner()
    gateway.answers["call"] = {"ok": {"result": {"alias": "node"}}}
    assert await transport.call("getinfo", {"verbose": True}) == {"alias": "node"}
    assert gateway.asked[0] | {"do": "call", "method": "getinfo", "params": {"verbose": True}} == gateway.asked[0]
    gateway.answers["call"] = {"error": ["node", "No such peer", -1, {"hint": 1}]}
    with pytest.raises(NodeRefused, match="No such peer") as caught:
        await transport.call("disconnect", [str(ALICE)])
    assert (caught.value.code, caught.value.data) == (-1, {"hint": 1})
    gateway.answers["call"] = {"error": ["method", "not allowed"]}
    with pytest.raises(TransportError, match="not allowed"):
        await transport.call("pay")
    gateway.answers["call"] = None
    with pytest.raises(TimeoutError):
        await transport.call("getinfo", timeout=0.05)
    with pytest.raises(TransportError, match="cannot be sent"):
        await transport.call("getinfo", [object()])
    gateway.answers["call"] = {"error": ["run", "this gateway is in run 7"]}
    with pytest.raises(TransportError, match="run 7"):
        await transport.call("getinfo")
    assert "run 7" in transport.ended
    with pytest.raises(ConnectionClosed, match="run 7"):
        await transport.call("getinfo")


async def test_a_gateway_that_was_started_anew(cluster: Cluster) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE), [PAYLOAD, 1, 1, note(1)])
    transport, sink = await cluster.owner(settles=False)
    await sink.until(lambda sink: sink.payloads)
    gateway.run, gateway.conns = 5, {}
    await gateway.put(gateway.connected(1, BOB), [PAYLOAD, 1, 1, note(2)])
    await until(lambda: sink.stopped)
    assert "started anew" in transport.ended
    assert not transport.stale
    await transport.aclose()

    heir, sink = await cluster.owner(2)
    assert heir.run == 5
    await gateway.put([PAYLOAD, 1, 2, note(3)])
    await sink.until(lambda sink: len(sink.payloads) == 3)
    assert sink.payloads == [note(1), note(2), note(3)]
    kinds = [type(event) for event in sink.events]
    assert kinds == [Connected, Received, Disconnected, Connected, Received, Received]
    await gateway.put([PAYLOAD, 1, 2, note(9)], run=1)  # of the former one, which comes to itself
    await gateway.put([PAYLOAD, 1, 3, note(4)])
    await sink.until(lambda sink: len(sink.payloads) == 4)
    assert sink.payloads[-1] == note(4)
    await until_answered(cluster.is_empty)


async def test_what_lies_before_the_marker_is_of_no_later_run_and_no_later_owner(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, BOB), [PAYLOAD, 1, 1, note(1)], run=1 << 40)
    await gateway.put(gateway.connected(2, ALICE), [MARKER, 1 << 40])
    transport, sink = await cluster.owner()
    await gateway.put([PAYLOAD, 2, 1, note(2)])
    await sink.until(lambda sink: sink.payloads)
    assert sink.payloads == [note(2)]
    assert "is skipped: it is of run 1099511627776, which came before run 1" in caplog.text
    assert not transport.ended
    await until_answered(cluster.is_empty)


async def test_open_without_a_gateway_or_beside_a_later_owner(cluster: Cluster) -> None:
    gateway = cluster.gateway
    await cluster.owner(7)
    late = cluster.transport(6)
    with pytest.raises(TransportError, match="cannot be taken: the partition has a later owner, with the term 7"):
        await late.open(Manifest(), RecordingSink())
    assert late.stale
    gateway.answers["owner"] = {"error": ["stale", "there is term 9"]}
    late = cluster.transport(8)
    with pytest.raises(TransportError, match="there is term 9"):
        await late.open(Manifest(), RecordingSink())
    assert late.stale
    gateway.answers["owner"] = {"ok": {"run": 1, "conns": [[1]], "marker": 1}}
    late = cluster.transport(8)
    with pytest.raises(TransportError, match="cannot be read"):
        await late.open(Manifest(), RecordingSink())
    await gateway.stop()
    alone = cluster.transport(8)
    with pytest.raises(TransportError, match="nobody answers"):
        await alone.open(Manifest(), RecordingSink())
    assert not alone.stale
    with pytest.raises(TransportError, match="make a new one"):
        await alone.open(Manifest(), RecordingSink())


async def test_aclose_gives_up_in_good_order(cluster: Cluster) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE), [PAYLOAD, 1, 1, note(1)])
    transport, sink = await cluster.owner(settles=False)
    await gateway.put([PAYLOAD, 1, 2, note(2)])
    await sink.until(lambda sink: len(sink.payloads) == 2)
    assert sink.unsettled is not None
    gateway.silent = True
    await transport.send(ALICE, note(9))
    sink.unsettled.pop(0)[1]()
    closing = asyncio.create_task(transport.aclose())
    await until(lambda: gateway.batches)
    await gateway.put([PAYLOAD, 1, 3, note(3)])
    await gateway.speak()
    await closing
    assert gateway.sent == [(1, note(9))]
    assert await gateway.consumers() == []
    assert [asked["do"] for asked in gateway.asked] == ["release"]
    assert await gateway.left() == 2, "what was not handled, and what came after"
    assert sink.payloads == [note(1), note(2)]
    assert sink.disconnected == [ALICE]
    assert sink.stopped == []
    with pytest.raises(PeerNotConnected):
        await transport.send(ALICE, note(1))


async def test_a_broker_that_is_killed_loses_and_repeats_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Broker(tmp_path_factory.mktemp("killed"), sync="2m") as broker:
        connection = await BrokerConnection.open(broker.address)
        theirs = await BrokerConnection.open(broker.address)
        logging.getLogger("oddwire.transports.nats").setLevel(logging.ERROR)
        try:
            made = Cluster(connection)
            gateway = made.gateway = ScriptedGateway(theirs, made.gateway.node)
            await gateway.start()
            transport, sink = await made.owner(settles=False)
            await gateway.put(gateway.connected(1, ALICE), [PAYLOAD, 1, 1, note(1)])
            await sink.until(lambda sink: sink.payloads)
            broker.kill()
            await until(lambda: not connection.is_connected)
            assert transport.send_nowait(ALICE, note(9))
            handle(sink)
            broker.start()
            await until(lambda: connection.is_connected and theirs.is_connected)
            await gateway.put([PAYLOAD, 1, 2, note(2)])
            await sink.until(lambda sink: len(sink.payloads) == 2)
            handle(sink)
            await until_answered(made.is_empty)
            assert sink.payloads == [note(1), note(2)]
            assert gateway.sent == [(1, note(9))]
            await transport.aclose()
        finally:
            logging.getLogger("oddwire.transports.nats").setLevel(logging.NOTSET)
            await connection.aclose()
            await theirs.aclose()


async def test_messages_that_somebody_else_takes_from_its_consumer_come_again(cluster: Cluster) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE))
    transport, sink = await cluster.owner()
    await sink.until(lambda sink: sink.connected)
    (name,) = await gateway.consumers()
    exchange = transport._exchange
    assert exchange is not None
    exchange._consumer._place -= 1  # as if one had not come
    for number in range(1, 4):
        await gateway.put([PAYLOAD, 1, number, note(number)])
    await sink.until(lambda sink: len(sink.payloads) == 3)
    assert sink.payloads == [note(1), note(2), note(3)]
    assert await gateway.consumers() != [name]
    await until_answered(cluster.is_empty)


async def test_a_consumer_that_is_deleted_is_made_anew(cluster: Cluster, connection: BrokerConnection) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE), [PAYLOAD, 1, 1, note(1)])
    _, sink = await cluster.owner(settles=False)
    await sink.until(lambda sink: sink.payloads)
    (name,) = await gateway.consumers()
    await connection.api(f"CONSUMER.DELETE.{in_stream(gateway.node)}.{name}")
    await gateway.put([PAYLOAD, 1, 2, note(2)])
    await sink.until(lambda sink: len(sink.payloads) == 2)
    handle(sink)
    await until_answered(cluster.is_empty)
    assert sink.payloads == [note(1), note(2)]


async def test_a_hand_over_repeats_nothing_of_a_message_that_is_handled_in_part(cluster: Cluster) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE), gateway.connected(2, BOB))
    former, sink = await cluster.owner(1)
    await sink.until(lambda sink: len(sink.connected) == 2)
    former.pause(BOB)
    await gateway.put([PAYLOAD, 1, 1, note(1)], [PAYLOAD, 2, 1, note(2)], [PAYLOAD, 1, 2, note(3)])
    await gateway.put([PAYLOAD, 1, 3, note(4)], [PAYLOAD, 2, 2, note(5)])
    await sink.until(lambda sink: len(sink.payloads) == 3)
    await former.aclose()
    assert gateway.asked[-1]["do"] == "release"
    assert gateway.asked[-1]["handled"] == [[1, 1, 3]]
    gateway.welcome = {"handled": gateway.asked[-1]["handled"]}
    _, heir = await cluster.owner(2)
    await gateway.put([PAYLOAD, 1, 4, note(6)])
    await heir.until(lambda sink: len(sink.payloads) == 3)
    assert sink.payloads == [note(1), note(3), note(4)]
    assert heir.payloads == [note(2), note(5), note(6)]
    await until_answered(cluster.is_empty)


async def test_a_hand_over_in_the_middle_of_a_message(cluster: Cluster) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE))
    former, sink = await cluster.owner(1)
    await sink.until(lambda sink: sink.connected)
    sink.on_payload = lambda peer, payload: former.pause(peer) if payload == note(2) else None
    await gateway.put(*([PAYLOAD, 1, number, note(number)] for number in range(1, 5)))
    await sink.until(lambda sink: len(sink.payloads) == 2)
    await former.aclose()
    gateway.welcome = {"handled": gateway.asked[-1]["handled"]}
    _, heir = await cluster.owner(2)
    await heir.until(lambda sink: len(sink.payloads) == 2)
    assert heir.payloads == [note(3), note(4)]
    await until_answered(cluster.is_empty)


async def test_nothing_is_handled_again_behind_what_is_newer_of_its_peer(cluster: Cluster) -> None:
    """Bob's handler hangs: what Alice sent in the same message is left with it, and is not for the next owner."""
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE), gateway.connected(2, BOB))
    former, sink = await cluster.owner(1, settles=False)
    await gateway.put([PAYLOAD, 1, 1, note(1)], [PAYLOAD, 2, 1, note(2)])
    await gateway.put([PAYLOAD, 1, 2, note(3)])
    await sink.until(lambda sink: len(sink.payloads) == 3)
    assert sink.unsettled is not None
    waiting = [*sink.unsettled]
    gateway.answers["handled"] = None
    for peer, call in waiting:
        if peer == ALICE:
            call()
    await until(lambda: gateway.asked)
    assert await gateway.left() == 2, "the newer one waits until the gateway knows of the older one"
    assert (gateway.asked[0]["do"], gateway.asked[0]["handled"]) == ("handled", [[1, 1, 2]])
    del gateway.answers["handled"]
    await former.aclose()
    assert gateway.asked[-1]["do"] == "release"
    gateway.welcome = {"handled": gateway.asked[-1]["handled"]}
    for term in (2, 3):
        heir, found = await cluster.owner(term, settles=False)
        await found.until(lambda sink: sink.payloads)
        assert found.payloads == [note(2)]
        heir.lost("killed")


async def test_what_is_newer_leaves_the_stream_once_the_gateway_knows_of_what_is_older(cluster: Cluster) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE), gateway.connected(2, BOB), [PAYLOAD, 2, 1, note(0)])
    gateway.welcome = {"handled": [[0, 7, 3]]}
    transport, sink = await cluster.owner(1, settles=False)
    await gateway.put([PAYLOAD, 1, 1, note(1)], [PAYLOAD, 2, 2, note(2)])
    for number in range(2, 30):
        await gateway.put([PAYLOAD, 1, number, note(number)])
    await sink.until(lambda sink: len(sink.payloads) == 31)
    assert sink.unsettled is not None
    for peer, call in [*sink.unsettled]:
        if peer == ALICE:
            call()

    async def two_are_left() -> bool:
        return await gateway.left() == 2

    await until_answered(two_are_left)
    assert gateway.asked[-1]["handled"] == [[0, 7, 3], [1, 1, 29]], "and what was told to us is for the next one, too"
    assert len(gateway.asked) < 10, "it is told of many at once"
    handle(sink)
    await until_answered(cluster.is_empty)
    await transport.aclose()
    assert gateway.asked[-1]["do"] == "release"
    assert [0, 7, 3] not in gateway.asked[-1]["handled"], "nothing is left of what it was about"


async def test_a_peer_that_keeps_all_others_waiting_is_given_up(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """Much of Bob lies in the stream, and his handler hangs: no more is read, but for a while only."""
    gateway = cluster.gateway
    await gateway.put(gateway.connected(3, BOB), *([PAYLOAD, 3, n, note(n)] for n in range(1, 10)), run=0)
    gateway.conns.clear()  # which was in a former run
    await gateway.put(gateway.connected(1, ALICE), gateway.connected(2, BOB))
    for number in range(1, 5):
        await gateway.put([PAYLOAD, 2, number, note(number) + bytes(1000)])
    transport, sink = cluster.transport(), RecordingSink()
    sink.unsettled = []
    sink.on_payload = lambda peer, _: transport.pause(peer)
    await transport.open(Manifest(), sink)
    exchange = transport._exchange
    assert exchange is not None
    exchange.patience, exchange.deliveries.most_held = 0.0, 1000
    await sink.until(lambda sink: sink.payloads)
    await gateway.put(*([PAYLOAD, 2, number, note(number) + bytes(1000)] for number in range(5, 9)))
    await gateway.put([PAYLOAD, 1, 1, note(99)])
    await sink.until(lambda sink: note(99) in sink.payloads)
    await until(lambda: [asked["conn"] for asked in gateway.asked if asked["do"] == "disconnect"] == [2])
    assert "kept others waiting" in caplog.text
    assert [event.peer for event in sink.events if isinstance(event, Disconnected)][-1] == BOB


async def test_the_connections_come_in_pages_if_they_are_many(cluster: Cluster) -> None:
    gateway = cluster.gateway
    peers = [NodeId(b"\x02" + number.to_bytes(32, "big")) for number in range(7)]
    await gateway.put(*(gateway.connected(number, peer) for number, peer in enumerate(peers, 1)))
    gateway.page = 3
    _, sink = await cluster.owner()
    await sink.until(lambda sink: len(sink.connected) == 7)
    assert [info.node_id for info in sink.connected] == peers


async def test_pages_of_a_gateway_that_is_started_anew_between_them(cluster: Cluster) -> None:
    gateway = cluster.gateway
    await gateway.put(*(gateway.connected(number, peer) for number, peer in ((1, ALICE), (2, BOB))))
    gateway.page = 1

    def begin_anew() -> None:
        gateway.run, gateway.conns = 2, {2: (ALICE, 1), 3: (BOB, 1)}
        gateway.page = 5

    gateway.after_page = begin_anew
    transport, sink = await cluster.owner()
    await sink.until(lambda sink: len(sink.connected) == 4)  # those of the former run first, which are in the stream
    assert transport.run == 2
    assert [(info.node_id, info.address) for info in sink.connected[2:]] == [(ALICE, "address 2"), (BOB, "address 3")]


async def test_a_gateway_that_is_busy_is_asked_again(cluster: Cluster) -> None:
    gateway = cluster.gateway
    await gateway.put(gateway.connected(1, ALICE))
    transport, sink = await cluster.owner()
    await sink.until(lambda sink: sink.connected)
    gateway.answers["disconnect"] = {"error": ["busy", "too many"]}
    leaving = asyncio.create_task(transport.disconnect(ALICE))
    await until(lambda: len(gateway.asked) == 2)
    assert not leaving.done()
    del gateway.answers["disconnect"]
    await leaving
    gateway.answers["call"] = {"error": ["busy", "too many"]}
    with pytest.raises(TransportError, match="too many"):
        await transport.call("getinfo")


async def test_a_stream_that_is_another_one_is_not_read_on(cluster: Cluster, connection: BrokerConnection) -> None:
    gateway = cluster.gateway
    transport, sink = await cluster.owner()
    exchange = transport._exchange
    assert exchange is not None
    exchange._consumer._seen = 1000  # as before an older copy was put back
    await connection.api(f"CONSUMER.DELETE.{in_stream(gateway.node)}.{(await gateway.consumers())[0]}")
    await until(lambda: sink.stopped)
    assert "is not the stream that it was" in transport.ended
    assert not transport.stale
