"""Workers that send anything at all: each request is answered, nothing raises, nothing is held beyond the limits."""

from __future__ import annotations

import asyncio
import random

import msgpack
import pytest

from oddwire.cluster.gateway.controls import Controls
from oddwire.cluster.gateway.inbound import Inbound
from oddwire.cluster.gateway.limits import GatewayLimits
from oddwire.cluster.gateway.outbound import Outbound
from oddwire.cluster.gateway.owners import Owners
from oddwire.cluster.gateway.partition_queue import PartitionQueue
from oddwire.cluster.gateway.refusals import Refusals
from oddwire.errors import ConnectionClosed
from oddwire.proto.keys import NodeId
from oddwire.transports.base import Manifest, PeerInfo, Sink, Transport
from oddwire.transports.nats.packing import Accepted, Outgoing, pack_control, unpack_control

RUN = 5
LIMITS = GatewayLimits(peer_unsent=100_000, unsent=300_000, calls=4)
ASK = b"\x8c\x01"


class StuckTransport(Transport):
    """Peers that never read."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def open(self, manifest: Manifest, sink: Sink) -> None: ...

    async def send(self, peer: NodeId, payload: bytes) -> None:
        await self.ended.wait()
        raise ConnectionClosed("gone")

    async def connect(self, uri: str) -> PeerInfo:
        await self.ended.wait()
        raise ConnectionClosed("gone")

    def pause(self, peer: NodeId) -> None: ...

    def resume(self, peer: NodeId) -> None: ...

    async def aclose(self) -> None: ...


class StoredPublisher:
    """A partition whose entries are stored at once."""

    is_full = False

    def __init__(self, inbound: Inbound) -> None:
        self.queue = PartitionQueue(inbound.released)

    def wake(self) -> None:
        asyncio.get_running_loop().call_soon(self._store)

    def _store(self) -> None:
        while self.queue:
            self.queue.settle(self.queue.take(1 << 20), 1)


class Desk:
    """What answers workers, for 20 peers in two partitions whose owners have term 9."""

    def __init__(self) -> None:
        self.transport = StuckTransport()
        self.inbound = Inbound(self.transport, LIMITS)
        self.inbound.begin([StoredPublisher(self.inbound) for _ in range(2)])  # type: ignore[misc]
        self.owners = Owners(2)
        self.refusals = Refusals()
        self.outbound = Outbound(self.transport, self.inbound, self.owners, LIMITS, self.refusals)
        self.controls = Controls(
            self.transport, self.inbound, self.owners, self.refusals, LIMITS, methods=["a"], term_of=self._term_of
        )
        self.controls.begin(RUN)
        for number in range(20):
            self.inbound.peer_connected(PeerInfo(node_id=NodeId(b"\x02" + number.to_bytes(32, "big"))))

    async def _term_of(self, _: int) -> int:
        return 0

    def conns_of(self, partition: int) -> list[int]:
        return [conn.number for conn in self.inbound.table.of(partition)]


@pytest.fixture
async def desk():
    made = Desk()
    yield made
    made.transport.ended.set()
    await made.outbound.aclose()


def anything(chance: random.Random, depth: int = 0) -> object:
    """Some value of msgpack."""
    match chance.randrange(9 if depth < 3 else 6):
        case 0:
            return chance.choice([0, 1, 2, 5, 9, -1, 1 << 63, (1 << 64) - 1, chance.randrange(1 << 32)])
        case 1:
            return chance.choice([None, True, False, 1.5, float("nan")])
        case 2:
            return chance.choice(["", "owner", "call", "a", "x" * 5000, "\x1b[2J"])
        case 3 | 4:
            return chance.randbytes(chance.choice([0, 1, 2, 33, 70_000]))
        case 5:
            return msgpack.ExtType(chance.randrange(128), b"x")
        case 6 | 7:
            return [anything(chance, depth + 1) for _ in range(chance.randrange(6))]
    return {str(anything(chance, 3))[:20]: anything(chance, depth + 1) for _ in range(chance.randrange(5))}


async def test_any_request_to_send_is_answered(desk: Desk) -> None:
    chance = random.Random(1)
    desk.owners.take(0, 9)
    whole = Outgoing(0, 9, RUN, 1, [(desk.conns_of(0)[0], ASK)]).pack()
    for _ in range(1500):
        match chance.randrange(3):
            case 0:
                raw = chance.randbytes(chance.randrange(60))
            case 1:
                raw = msgpack.packb([1, *(anything(chance) for _ in range(chance.randrange(4, 7)))])
            case _:
                changed = bytearray(whole)
                changed[chance.randrange(len(changed))] = chance.randrange(256)
                raw = bytes(changed)
        answer = Accepted.unpack(desk.outbound.take(raw, RUN))
        assert answer.status in ("", "malformed", "run", "partition", "stale", "batch"), answer


async def test_any_control_is_answered(desk: Desk) -> None:
    chance = random.Random(2)
    verbs = ["owner", "release", "pause", "resume", "disconnect", "warn", "call", "nothing"]
    for number in range(600):
        if chance.random() < 0.2:
            raw = chance.randbytes(chance.randrange(60))
        else:
            values = {"do": chance.choice(verbs), "k": chance.choice([0, 1, 2]), "term": 9, "run": RUN}
            for name in ("conn", "method", "params", "text", "reason", "handled", "timeout", "k", "term"):
                if chance.random() < 0.3:
                    values[name] = anything(chance)
            if values.get("do") == "owner" and type(values.get("term")) is int:
                values["term"] = min(values["term"], 9)  # or nobody would own anything any more
            raw = pack_control(values)
        answer = unpack_control(await desk.controls.take(raw, held=bool(number % 50)))
        assert set(answer) in ({"ok"}, {"error"})
        if "error" in answer:
            assert all(isinstance(part, str) for part in answer["error"])
            assert len(answer["error"][1]) <= 1000


async def test_what_is_sent_to_peers_that_never_read_is_bounded(desk: Desk) -> None:
    desk.owners.take(0, 9)
    for number in range(1, 200):
        payloads = [(conn, ASK + bytes(5000)) for conn in desk.conns_of(0) for _ in range(4)]
        desk.outbound.take(Outgoing(0, 9, RUN, number, payloads).pack(), RUN)
        await asyncio.sleep(0)
    assert desk.outbound.unsent < LIMITS.unsent + len(desk.conns_of(0)) * 4 * 5200
    assert desk.refusals.counts["full"] > 1000
    for conn in list(desk.inbound.table.conns.values()):
        desk.inbound.peer_disconnected(conn.peer.node_id, "gone")
    assert desk.outbound.unsent == 0


async def test_a_batch_of_millions_of_nothings_is_not_unpacked(desk: Desk) -> None:
    raw = b"\x96\x01\x00\x09\x05\x01\xdd" + (3 << 20).to_bytes(4, "big") + b"\x90" * (3 << 20)
    assert Accepted.unpack(desk.outbound.take(raw, RUN)).text.startswith("a request to send has at most")
    assert unpack_control(await desk.controls.take(bytes(2 << 20)))["error"][1].startswith("a control has at most")


async def test_dials_and_calls_are_few_at_a_time(desk: Desk) -> None:
    await desk.controls.take(pack_control({"do": "owner", "k": 0, "term": 9}))
    dial = pack_control({"do": "connect", "k": 0, "term": 9, "run": RUN, "uri": "x"})
    tasks = [asyncio.create_task(desk.controls.take(dial)) for _ in range(6)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert [unpack_control(task.result())["error"][0] for task in done] == ["busy", "busy"]
    assert len(pending) == 4
    desk.transport.ended.set()
    for task in pending:
        assert unpack_control(await task)["error"] == ["failed", "ConnectionClosed: gone"]


async def test_a_run_that_ends_answers_who_waits_for_a_marker(desk: Desk) -> None:
    desk.inbound.publishers[0].wake = lambda: None  # type: ignore[method-assign]
    waiting = asyncio.create_task(desk.controls.take(pack_control({"do": "owner", "k": 0, "term": 9})))
    while not desk.inbound.publishers[0].queue:
        await asyncio.sleep(0)
    desk.controls.begin(0)
    assert unpack_control(await waiting)["error"][0] == "run"
