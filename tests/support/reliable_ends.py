"""Two ends of reliable delivery, with a link between them that a test has in its hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from oddwire.proto.keys import NodeId
from oddwire.session.limits import Allowance, Limits
from oddwire.session.peer.link import Link
from oddwire.session.peer.peer_session import PeerSession
from oddwire.session.reliable.delivery import Delivery
from oddwire.session.reliable.outbox_state import Loss
from oddwire.session.store.ages import Ages
from oddwire.session.store.extension_store import ExtensionStore
from oddwire.session.store.unit import Store
from oddwire.session.wire.frame_types import Ack, Data, Refusal
from oddwire.session.wire.frames import decode

EXTENSION = "test"


class Wire:
    """The transport of an end: it counts what a peer is charged, and hands on what an end posts."""

    def __init__(self, end: End) -> None:
        self.end = end

    async def send(self, node_id: NodeId, payload: bytes) -> None:
        self.end.post(payload)

    def worked(self, node_id: NodeId, seconds: float, *, wasted: bool = False) -> None: ...


class Program(Link):
    """The other end's program, as one end has its session with it."""

    def __init__(self, peer: Behind, end: End) -> None:
        other = end.peer
        self.peer = peer
        self.shared = SimpleNamespace(transport=Wire(end))  # type: ignore[assignment]
        self.end = end
        self.node_id = other.node_id
        self.instance = other.instance
        self.route = end.route
        self.program, self.stores = other.program, other.store.identity.numbers
        self.common = self.ready = True
        self.closed = False

    @property
    def spoken(self) -> Any:  # type: ignore[override]
        names = [lane.extension for lane in self.end.outbox.lanes(self.node_id)]
        return {name: SimpleNamespace(types=()) for name in names if self._speaks(name)}

    agreed = spoken  # type: ignore[assignment]

    def _speaks(self, name: str) -> bool:
        speaks = self.end.peer.speaks
        return speaks is None or name in speaks

    async def send(self, payload: bytes, *, progress: Any = None, failed: Any = None) -> None:
        self.end.post(payload)


class Behind(PeerSession):
    """A connection to the other end, behind which there is one program."""

    def __init__(self, end: End) -> None:
        self.node_id = end.peer.node_id
        self.closed = False
        self.links = {end.peer.instance: Program(self, end)}
        self._waiting, self._owed = False, {}

    def wake(self, when: float) -> None: ...


class End:
    """One end: its store, and what its handler does. ``handled`` are the payloads whose handlers have ended well."""

    def __init__(self, path: Path, name: bytes, limits: Limits, allowances: Mapping[str, Allowance]) -> None:
        self.path = path
        self.allowances = allowances
        self.node_id = NodeId(b"\x02" + name * 32)
        self.limits = limits
        self.peer: End
        self.peers: dict[NodeId, PeerSession] = {}  # those that messages go to
        self.instance = name[0]
        self.program = 1000 + name[0]
        self.speaks: set[str] | None = None  # the extensions; None is all
        self.extensions: list[str] = []  # that are loaded
        self.deaf = False  # it hears nothing until it is linked again
        self.lose: set[int] = set()  # the numbers of frames, of all sent since `link`, that do not arrive
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
        self._behind: Behind | None = None

    async def start(self) -> None:
        ages = Ages(wall=lambda: self.wall, uptime=lambda: self.uptime, boot=lambda: self.boot)
        self.store = await self.make_store(ages)
        self.delivery = Delivery(self.store, limits=self.limits, allowances=self.allowances.values(), pause=0.001)
        self.outbox, self.inbox = self.delivery.outbox, self.delivery.inbox
        self.door = ExtensionStore(self.store, "test")
        try:
            await self.store.open()
        finally:
            self.delivery.start(self, self.peers, self.spawn, lambda: self.now)

    async def make_store(self, ages: Ages) -> Store:
        return Store(self.path, ages=ages, extensions=self.extensions)

    async def count(self, payload: bytes) -> None:
        number = await self.door.get("count", 0)
        assert isinstance(number, int)
        await self.door.set("count", number + 1)

    # The application's part

    async def admit(self, node_id: NodeId, payload: bytes) -> None: ...

    def handler_of(self, node_id: NodeId, payload: bytes) -> tuple[str, Callable[[], Awaitable[object]]]:
        async def run() -> None:
            await self.handler(payload)
            self.handled.append(payload)

        return "test", run

    def attempt_failed(self, node_id: NodeId, payload: bytes, error: Exception, attempt: int) -> None:
        self.failed.append((str(error), attempt))

    def reliable_refused(self, node_id: NodeId, payload: bytes, refusal: Refusal) -> None:
        self.refusals.append((payload, refusal))

    def lost(self, loss: Loss, extension: str) -> None:
        self.losses.append(loss)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    # The session's part

    @property
    def route(self) -> int:
        """The addresses of what this end sends."""
        return self.peer.instance << 32 | self.instance

    @property
    def linked(self) -> bool:
        return self._behind is not None

    @property
    def program_there(self) -> Link:
        """What it has of the other end's program."""
        assert self._behind is not None
        return self._behind.links[self.peer.instance]

    def say_hello(self) -> None:
        """Have the other end's program say hello."""
        self.delivery.hello_received(self.program_there, True)

    def hold(self) -> None:
        """Send nothing any more: it is for the test to have it send."""
        self.peers.clear()

    def post(self, payload: bytes) -> None:
        if self.linked:
            self.sent.append(decode(payload))
            if len(self.sent) - 1 not in self.lose:
                asyncio.get_running_loop().call_soon(self.peer.take, payload)

    def take(self, payload: bytes) -> None:
        frame = decode(payload)
        if not self.linked or self.deaf:
            return
        if isinstance(frame, Data):
            self.delivery.data_received(self.program_there, frame)
        elif isinstance(frame, Ack):
            self.delivery.ack_received(self.program_there, frame)

    # The test's

    async def send(self, payload: bytes, extension: str = EXTENSION) -> Any:
        return await self.delivery.send(self.peer.node_id, extension, b"\x80\x01" + payload)

    def lane(self, extension: str = EXTENSION) -> Any:
        """Return what the outbox has of an extension's lane to the other end."""
        return self.outbox._lanes.peers[self.peer.node_id].current[extension]

    def wait(self, seconds: float) -> None:
        """Let time pass, for this end."""
        self.now += seconds
        if self._behind is not None:
            self.delivery.tick(self._behind, self.now)

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
        self.delivery.stop()  # as applications do before they cancel anything
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await (self.delivery.abandon() if crash else self.delivery.aclose())

    def unlink(self) -> None:
        if self._behind is not None:
            self._behind.closed = self.program_there.closed = True
            self._behind = None
            self.peers.clear()
            self.delivery.peer_disconnected(self.peer.node_id)

    def link(self) -> None:
        self._behind = Behind(self)
        self.peers[self.peer.node_id] = self._behind
        self.sent.clear()
        self.deaf = False


class Pair:
    """Alice and Bob."""

    def __init__(self, folder: Path, limits: Limits, allowances: Mapping[str, Allowance]) -> None:
        self.alice = End(folder / "alice", b"a", limits, allowances)
        self.bob = End(folder / "bob", b"b", limits, allowances)
        self.alice.peer, self.bob.peer = self.bob, self.alice

    def link(self) -> None:
        for end in (self.alice, self.bob):
            end.unlink()
        for end in (self.alice, self.bob):
            end.link()
        for end in (self.alice, self.bob):
            end.say_hello()

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
