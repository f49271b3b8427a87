"""The sink of a gateway whose stream takes nothing: however peers behave, what is held stays within its limits."""

from __future__ import annotations

import random

import pytest

from oddwire.cluster.gateway.inbound import Inbound
from oddwire.cluster.gateway.limits import GatewayLimits
from oddwire.cluster.gateway.partition_queue import OVERHEAD, PartitionQueue
from oddwire.cluster.gateway.peer_conns import Conn
from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo
from oddwire.transports.nats.packing import CONNECTED, DISCONNECTED, MAX_BATCH, PAYLOAD, Batch

LIMITS = GatewayLimits(peer_waiting=10_000, waiting=50_000)


class PublisherDouble:
    """A partition whose queue is taken by `store` alone."""

    def __init__(self, inbound: Inbound) -> None:
        self.queue = PartitionQueue(inbound.released)
        self.is_full = False
        self._inbound = inbound

    def wake(self) -> None: ...

    def store(self) -> list[list[object]]:
        taken = self.queue.take(MAX_BATCH)
        self.queue.settle(taken, 1)
        self._inbound.relax()
        return Batch.unpack(Batch(1, taken.table, taken.entries).pack()).entries


class TransportDouble:
    """Pauses and resumes."""

    def __init__(self) -> None:
        self.paused: set[NodeId] = set()

    def pause(self, peer: NodeId) -> None:
        self.paused.add(peer)

    def resume(self, peer: NodeId) -> None:
        self.paused.discard(peer)


class Scene:
    def __init__(self, partitions: int = 1) -> None:
        self.transport = TransportDouble()
        self.inbound = Inbound(self.transport, LIMITS)  # type: ignore[arg-type]
        self.publishers = [PublisherDouble(self.inbound) for _ in range(partitions)]

    def begin(self) -> None:
        self.inbound.begin(self.publishers)  # type: ignore[arg-type]

    def connect(self, peer: NodeId, features: bytes = b"") -> None:
        self.transport.paused.discard(peer)
        self.inbound.peer_connected(PeerInfo(node_id=peer, features=features))

    def send(self, peer: NodeId, payload: bytes = b"\x8c\x01") -> bool:
        """Send as a peer does whose socket is not read while it is paused; return whether it was."""
        if peer in self.transport.paused:
            return False
        self.inbound.payload_received(peer, payload)
        return True


def peer(number: int) -> NodeId:
    return NodeId(b"\x02" + number.to_bytes(32, "big"))


@pytest.fixture
def scene() -> Scene:
    made = Scene()
    made.begin()
    return made


def test_a_peer_is_paused_above_its_limit_and_resumed_at_half(scene: Scene) -> None:
    scene.connect(peer(1))
    scene.connect(peer(2))
    count = 0
    while scene.send(peer(1), bytes(1000)):
        count += 1
    assert LIMITS.peer_waiting < scene.inbound.waiting < LIMITS.peer_waiting + 3000
    assert scene.send(peer(2))
    entries = scene.publishers[0].store()
    assert scene.transport.paused == set()
    assert sum(entry[0] == PAYLOAD for entry in entries) == count + 1
    assert scene.inbound.waiting == 0


def test_all_that_send_are_paused_above_the_limit_for_all(scene: Scene) -> None:
    for number in range(100):
        scene.connect(peer(number))
        while number < 99 and scene.send(peer(number), bytes(5000)):
            pass
    assert scene.inbound.waiting < LIMITS.waiting + 100 * (OVERHEAD + 5000)
    assert peer(99) in scene.transport.paused


def test_strangers_that_come_and_go_leave_nothing(scene: Scene) -> None:
    for number in range(5_000):
        scene.connect(peer(number), bytes(2000))
        scene.send(peer(number))
        scene.inbound.peer_disconnected(peer(number), "x" * 100_000)
    assert scene.inbound.waiting < LIMITS.waiting + 3000
    assert len(scene.publishers[0].queue) < 1000
    assert len(scene.inbound.table.peers) < 1000
    while scene.publishers[0].queue:
        scene.publishers[0].store()
    assert (scene.inbound.waiting, scene.inbound.table.peers) == (0, {})


def test_a_peer_that_comes_and_goes_is_told_once_it_has_said_something(scene: Scene) -> None:
    scene.connect(peer(1))
    scene.inbound.peer_disconnected(peer(1), "x")
    scene.connect(peer(1))
    scene.send(peer(1))
    scene.inbound.peer_disconnected(peer(1), "y\udcff")
    assert scene.publishers[0].store() == [
        [CONNECTED, 2, "", "out", b""],
        [PAYLOAD, 2, 1, b"\x8c\x01"],
        [DISCONNECTED, 2, "y?"],
    ]


def test_an_owner_that_was_told_of_a_connection_is_told_of_its_end(scene: Scene) -> None:
    scene.connect(peer(1))
    conns = scene.inbound.mark(0, 5, lambda _: None)
    scene.inbound.peer_disconnected(peer(1), "x")
    assert [conn.number for conn in conns] == [1]
    assert [entry[0] for entry in scene.publishers[0].store()] == [CONNECTED, 3, DISCONNECTED]


def test_what_comes_before_there_are_partitions_is_kept_and_paused() -> None:
    scene = Scene(2)
    scene.connect(peer(1))
    scene.connect(peer(2))
    assert scene.transport.paused == {peer(1), peer(2)}
    scene.inbound.payload_received(peer(1), b"\x8c\x01")  # it was on its way
    scene.inbound.peer_disconnected(peer(2), "gone")
    scene.begin()
    assert peer(1) not in scene.transport.paused
    entries = [entry for publisher in scene.publishers for entry in publisher.store()]
    assert [entry[0] for entry in entries] == [CONNECTED, PAYLOAD]


def test_a_run_that_is_over_leaves_nothing(scene: Scene) -> None:
    gone: list[Conn] = []
    scene.inbound.on_gone = gone.append
    scene.connect(peer(1))
    while scene.send(peer(1), bytes(1000)):
        pass
    assert [info.node_id for info in scene.inbound.start_over()] == [peer(1)]
    assert (scene.inbound.waiting, len(scene.publishers[0].queue), scene.transport.paused) == (0, 0, set())
    assert [conn.number for conn in gone] == [1]
    assert scene.send(peer(1))  # of a connection that is not counted any more
    assert scene.inbound.waiting == 0
    scene.inbound.peer_disconnected(peer(1), "x")
    scene.connect(peer(1))
    assert scene.publishers[0].store() == [[CONNECTED, 2, "", "out", b""]]


def test_whatever_happens_the_sizes_are_right() -> None:
    chance = random.Random(7)
    for _ in range(30):
        scene, up = Scene(3), set[NodeId]()
        scene.begin()
        for _ in range(600):
            who = peer(chance.randrange(6))
            match chance.randrange(8):
                case 0 if who not in up:
                    scene.connect(who, bytes(chance.randrange(3000)))
                    up.add(who)
                case 1 if who in up:
                    scene.inbound.peer_disconnected(who, "x" * chance.randrange(900))
                    up.discard(who)
                case 2 | 3 | 4 if who in up:
                    scene.send(who, bytes(chance.randrange(2, 3000)))
                case 5 | 6:
                    chance.choice(scene.publishers).store()
                case 7:
                    chance.choice(scene.publishers).is_full = chance.random() < 0.3
            held = sum(publisher.queue.size for publisher in scene.publishers)
            assert scene.inbound.waiting == held == sum(each.waiting for each in scene.inbound.table.peers.values())
        for publisher in scene.publishers:
            publisher.is_full = False
            while publisher.queue:
                publisher.store()
            publisher.store()
        assert scene.inbound.waiting == 0
        assert set(scene.inbound.table.peers) == up
        assert not scene.transport.paused & up
