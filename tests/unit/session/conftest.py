"""Two ends of reliable delivery, with a link between them that a test has in its hand; and a session by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest

from oddwire.errors import MalformedMessage
from oddwire.proto.keys import NodeId
from oddwire.session.ages import Ages
from oddwire.session.answering import Answering
from oddwire.session.door import ExtensionStore
from oddwire.session.frames import Ack, Data, Hello, Refusal, Request, decode, encode
from oddwire.session.inbox import Inbox
from oddwire.session.limits import Allowance, Limits
from oddwire.session.link import Link
from oddwire.session.outbox import Outbox
from oddwire.session.peer import PeerSession
from oddwire.session.requests import Handling
from oddwire.session.routes import Loss
from oddwire.session.session import Session
from oddwire.session.store import Store
from oddwire.testing import RecordingSink, ScriptedTransport
from oddwire.transports.base import Manifest

LANE = 7


class End:
    """One end: its store, and what its handler does. ``handled`` are the payloads whose handlers have ended well."""

    def __init__(self, path: Path, name: bytes, limits: Limits, allowances: Mapping[int, Allowance]) -> None:
        self.path = path
        self.allowances = allowances
        self.node_id = NodeId(b"\x02" + name * 32)
        self.limits = limits
        self.peer: End
        self.linked = False
        self.lost: set[int] = set()  # the numbers of frames, of all sent since `link`, that do not arrive
        self.sent: list[Any] = []
        self.handled: list[bytes] = []
        self.failed: list[tuple[str, int]] = []
        self.now = 0.0
        self.wall = 1_795_000_000.0
        self.uptime = 1000.0
        self.boot = "first"
        self.losses: list[Loss] = []
        self.refusals: list[tuple[bytes, Refusal]] = []
        self.handler: Callable[[bytes], Awaitable[object]] = self.count
        self.tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self.store = Store(self.path)
        self.outbox = Outbox(
            self.store,
            limits=self.limits,
            allowances=self.allowances,
            ready=self.pump,
            lost=self.losses.append,
            ages=Ages(wall=lambda: self.wall, uptime=lambda: self.uptime, boot=lambda: self.boot),
        )
        self.inbox = Inbox(self.store, self, pause=0.001)
        self.door = ExtensionStore(self.store, "test")
        await self.store.open()

    async def count(self, payload: bytes) -> None:
        number = await self.door.get("count", 0)
        assert isinstance(number, int)
        await self.door.set("count", number + 1)

    # The session's part

    async def admit(self, node_id: NodeId, payload: bytes) -> None: ...

    def handler_of(self, node_id: NodeId, payload: bytes) -> tuple[str, Callable[[], Awaitable[object]]]:
        async def run() -> None:
            await self.handler(payload)
            self.handled.append(payload)

        return "test", run

    def acknowledge(self, node_id: NodeId, ack: Ack) -> None:
        self.post(encode(ack))

    def attempt_failed(self, node_id: NodeId, payload: bytes, error: Exception, attempt: int) -> None:
        self.failed.append((str(error), attempt))

    def refused(self, node_id: NodeId, payload: bytes, refusal: Refusal) -> None:
        self.refusals.append((payload, refusal))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def pump(self, node_id: NodeId) -> None:
        for frame in self.outbox.outgoing(self.peer.node_id, self.now):
            self.post(frame)

    def post(self, payload: bytes) -> None:
        if self.linked:
            self.sent.append(decode(payload))
            if len(self.sent) - 1 not in self.lost:
                asyncio.get_running_loop().call_soon(self.peer.take, payload)

    def take(self, payload: bytes) -> None:
        frame = decode(payload)
        if not self.linked:
            return
        if isinstance(frame, Data):
            self.inbox.receive(self.peer.node_id, frame, self.now)
        elif isinstance(frame, Ack):
            self.outbox.acknowledged(self.peer.node_id, frame, self.now)
            self.pump(self.peer.node_id)

    # The test's

    async def send(self, payload: bytes, lane: int = LANE) -> Any:
        return await self.outbox.send(self.peer.node_id, lane, b"\x80\x01" + payload)

    def wait(self, seconds: float) -> None:
        """Let time pass, for this end."""
        self.now += seconds
        if self.outbox.deadline(self.peer.node_id) <= self.now:
            self.outbox.tick(self.peer.node_id, self.now)
            self.pump(self.peer.node_id)

    def grow_old(self, seconds: float) -> None:
        """Let time pass, for what waits at this end."""
        self.wall += seconds
        self.uptime += seconds

    async def restart(self, crash: bool = False) -> None:
        """End and begin again; after a crash with what is on disk."""
        self.unlink()
        self.peer.unlink()
        await self.stop(crash)
        await self.start()

    async def reboot(self, wall: float) -> None:
        """Lose power, and begin again with a clock on the wall that says something else."""
        self.unlink()
        self.peer.unlink()
        await self.stop(crash=True)
        self.wall, self.uptime, self.boot = wall, 5.0, self.boot + "'"
        await self.start()

    async def stop(self, crash: bool = False) -> None:
        self.outbox.close()
        self.inbox.close()  # as applications do before they cancel anything
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if crash and self.store._database is not None:
            async with self.store._writing:
                self.store._database.abandon()
            self.store._database = None
        await self.store.aclose()

    def unlink(self) -> None:
        if self.linked:
            self.linked = False
            self.outbox.disconnected(self.peer.node_id)
            self.inbox.disconnected(self.peer.node_id)

    def link(self) -> None:
        self.linked = True
        self.sent.clear()
        self.outbox.connected(self.peer.node_id)


class Pair:
    """Alice and Bob."""

    def __init__(self, folder: Path, limits: Limits, allowances: Mapping[int, Allowance]) -> None:
        self.alice = End(folder / "alice", b"a", limits, allowances)
        self.bob = End(folder / "bob", b"b", limits, allowances)
        self.alice.peer, self.bob.peer = self.bob, self.alice

    def link(self) -> None:
        for end in (self.alice, self.bob):
            end.unlink()
        for end in (self.alice, self.bob):
            end.link()
        for end in (self.alice, self.bob):
            end.pump(end.peer.node_id)

    async def settle(self) -> None:
        """Wait until nothing goes on that would without time passing."""
        quiet = 0
        while quiet < 3:
            busy = [task for end in (self.alice, self.bob) for task in (*end.tasks, end.store._committer) if task]
            if busy:
                quiet = 0
                await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)
            else:
                quiet += 1
                await asyncio.sleep(0)


@pytest.fixture
def limits() -> Limits:
    return Limits(outbox_messages=2000, window_messages=8)


@pytest.fixture
def allowances() -> Mapping[int, Allowance]:
    """What extensions allow, by their lanes."""
    return {}


@pytest.fixture
async def pair(tmp_path: Path, limits: Limits, allowances: Mapping[int, Allowance]) -> AsyncIterator[Pair]:
    pair = Pair(tmp_path, limits, allowances)
    for end in (pair.alice, pair.bob):
        await end.start()
    yield pair
    for end in (pair.alice, pair.bob):
        end.unlink()
        await end.stop()


# A session with nothing above it but what writes down what it is told --------------------------------------------

ALICE = NodeId("02" + "aa" * 32)


class RecordingHost:
    """A host that writes down what it is told, and says no to nothing."""

    def __init__(self) -> None:
        self.crowded: set[NodeId] = set()
        self.told: list[tuple[Any, ...]] = []
        self.ticks: list[tuple[NodeId, float]] = []
        self.allowances: dict[int, Allowance] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def message_received(self, node_id: NodeId, payload: bytes) -> None:
        self.told.append(("message", node_id, payload))

    def hello_received(self, link: Link, new: bool) -> None:
        self.told.append(("hello", link.node_id, new))

    def request_received(self, link: Link, handling: Handling[Answering], request: Request) -> None:
        self.told.append(("request", link.node_id, request))

    def data_received(self, link: Link, data: Data) -> bool:
        return True

    def ack_received(self, link: Link, ack: Ack) -> bool:
        return True

    def session_ended(self, link: Link) -> None:
        self.told.append(("ended", link.node_id, link.instance))

    def ticked(self, peer: PeerSession, now: float) -> None:
        self.ticks.append((peer.node_id, now))

    def malformed(self, node_id: NodeId, payload: bytes, error: MalformedMessage) -> None:
        self.told.append(("malformed", node_id, payload))

    def throttle(self, node_id: NodeId, seconds: float) -> None:
        self.told.append(("throttle", node_id))

    def is_crowded(self, node_id: NodeId) -> bool:
        return node_id in self.crowded

    def title_of(self, type_id: int) -> str:
        return f"type {type_id:#06x}"

    def max_size_of(self, type_id: int) -> int:
        return 1 << 20

    def allowance_of(self, type_id: int) -> Allowance | None:
        return self.allowances.get(type_id)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class Stage:
    """A session over a scripted transport; what it sends can be read frame by frame."""

    def __init__(self, **options: Any) -> None:
        self.host = RecordingHost()
        self.transport = ScriptedTransport()
        self.session = Session(self.host, self.transport, instance=7, program=70, **options)

    async def connect(self, node_id: NodeId = ALICE) -> PeerSession:
        if self.transport.manifest is None:
            await self.transport.open(Manifest(), RecordingSink())
        self.transport.connect_peer(node_id)
        peer = self.session.peer_connected(node_id)
        await self.idle()
        return peer

    def say(self, frame: Any, instance: int = 1, to: int = 7, node_id: NodeId = ALICE) -> None:
        """Have a program of a peer send a frame."""
        self.hear(encode(frame, to << 32 | instance), node_id)

    def hear(self, payload: bytes, node_id: NodeId = ALICE) -> None:
        self.session.peers[node_id].receive(payload)

    async def idle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    def sent(self, node_id: NodeId = ALICE) -> list[Any]:
        return [decode(payload) for peer, payload in self.transport.sent if peer == node_id]

    async def meet(self, **more: Any) -> Link:
        """Connect the first peer, one program of which says hello."""
        peer = await self.connect()
        self.say(Hello(0, 1, 1, program=10, **more))
        await self.idle()
        self.transport.sent.clear()
        return peer.links[1]


@pytest.fixture
def stage() -> Callable[..., Stage]:
    """Make a stage, with the options of a session."""
    return Stage
