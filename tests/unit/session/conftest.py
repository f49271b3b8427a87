"""Two ends of reliable delivery, with a link between them that a test has in its hand; and a session by itself."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oddwire.app.dispatch.request_tasks import RequestTask
from oddwire.errors import MalformedMessage
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Allowance, Limits
from oddwire.session.peer.link import Link
from oddwire.session.peer.peer_session import PeerSession
from oddwire.session.peer.request_tables import HandledRequest
from oddwire.session.reliable.delivery import Delivery
from oddwire.session.reliable.outbox_state import Loss
from oddwire.session.session import Session
from oddwire.session.store.ages import Ages
from oddwire.session.store.extension_store import ExtensionStore
from oddwire.session.store.unit import Store
from oddwire.session.wire.frame_types import Ack, Data, Hello, Refusal, Request
from oddwire.session.wire.frames import decode, encode
from oddwire.testing import RecordingSink, ScriptedTransport
from oddwire.transports.base import Manifest

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
        self.store = Store(self.path, ages=ages, extensions=self.extensions)
        self.delivery = Delivery(self.store, limits=self.limits, allowances=self.allowances.values(), pause=0.001)
        self.outbox, self.inbox = self.delivery.outbox, self.delivery.inbox
        self.door = ExtensionStore(self.store, "test")
        try:
            await self.store.open()
        finally:
            self.delivery.start(self, self.peers, self.spawn, lambda: self.now)

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


# What databases were before, as they were: the present schema may change
_FIRST = """
CREATE TABLE oddwire_state (clean INTEGER NOT NULL);
INSERT INTO oddwire_state VALUES (1);
CREATE TABLE oddwire_routes (
    id INTEGER PRIMARY KEY, peer BLOB NOT NULL, lane BLOB NOT NULL, epoch INTEGER NOT NULL, start INTEGER NOT NULL,
    base INTEGER NOT NULL, next INTEGER NOT NULL, UNIQUE (peer, lane)
);
CREATE TABLE oddwire_outbox (
    route INTEGER NOT NULL, number INTEGER NOT NULL, made REAL NOT NULL, payload BLOB NOT NULL,
    PRIMARY KEY (route, number)
) WITHOUT ROWID;
CREATE TABLE oddwire_inbox (
    peer BLOB NOT NULL, lane BLOB NOT NULL, epoch INTEGER NOT NULL, last INTEGER NOT NULL, tries INTEGER NOT NULL,
    PRIMARY KEY (peer, lane)
) WITHOUT ROWID;
CREATE TABLE oddwire_refusals (
    peer BLOB NOT NULL, lane BLOB NOT NULL, epoch INTEGER NOT NULL, sequence INTEGER NOT NULL,
    code INTEGER NOT NULL, text TEXT NOT NULL, PRIMARY KEY (peer, lane, epoch, sequence)
) WITHOUT ROWID;
CREATE TABLE oddwire_values (
    extension TEXT NOT NULL, key BLOB NOT NULL, value NOT NULL, PRIMARY KEY (extension, key)
) WITHOUT ROWID;
PRAGMA application_id = 14532829;
"""
_SECOND = """
CREATE TABLE oddwire_clock (
    id INTEGER PRIMARY KEY CHECK (id = 1), seconds REAL NOT NULL, wall REAL NOT NULL, boot TEXT NOT NULL,
    uptime REAL NOT NULL
);
ALTER TABLE oddwire_values ADD COLUMN form INTEGER NOT NULL DEFAULT 0;
"""


# What version 3 added, as programs of before have it on their disks.
_THIRD = """
CREATE TABLE oddwire_stores (place INTEGER PRIMARY KEY, number BLOB NOT NULL UNIQUE);
CREATE TABLE oddwire_moves (id BLOB PRIMARY KEY, target TEXT, what TEXT NOT NULL) WITHOUT ROWID;
ALTER TABLE oddwire_routes ADD COLUMN extension TEXT;
ALTER TABLE oddwire_routes ADD COLUMN program BLOB;
ALTER TABLE oddwire_routes ADD COLUMN stores BLOB;
ALTER TABLE oddwire_routes ADD COLUMN used REAL NOT NULL DEFAULT 0;
ALTER TABLE oddwire_inbox ADD COLUMN seen REAL NOT NULL DEFAULT 0;
ALTER TABLE oddwire_inbox ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;
CREATE INDEX oddwire_routes_used ON oddwire_routes (used);
CREATE INDEX oddwire_inbox_seen ON oddwire_inbox (seen);
CREATE INDEX oddwire_inbox_refused ON oddwire_inbox (seen) WHERE refused > 0;
INSERT INTO oddwire_stores VALUES (0, x'0000000000000001');
"""


@contextmanager
def _former(path: Path, version: int) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript("".join((_FIRST, _SECOND, _THIRD)[:version]))
        database.execute(f"PRAGMA user_version = {version}")
        yield database
    path.chmod(0o600)


@pytest.fixture
def former() -> Callable[[Path, int], AbstractContextManager[sqlite3.Connection]]:
    """Make a database of version 1, 2 or 3 and open it."""
    return _former


@pytest.fixture
def limits() -> Limits:
    return Limits(outbox_messages=2000, window_messages=8)


@pytest.fixture
def allowances() -> Mapping[str, Allowance]:
    """What extensions allow, by their names."""
    return {}


@pytest.fixture
async def pair(tmp_path: Path, limits: Limits, allowances: Mapping[str, Allowance]) -> AsyncIterator[Pair]:
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
    """A host and delivery that writes down what it is told, and says no to nothing."""

    def __init__(self) -> None:
        self.crowded: set[NodeId] = set()
        self.paused: set[NodeId] = set()
        self.waiting: list[Link] = []
        self.told: list[tuple[Any, ...]] = []
        self.ticks: list[tuple[NodeId, float]] = []
        self.allowances: dict[int, Allowance] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def message_received(self, node_id: NodeId, payload: bytes) -> None:
        self.told.append(("message", node_id, payload))

    def hello_received(self, link: Link, new: bool) -> None:
        self.told.append(("hello", link.node_id, new))

    def request_received(self, link: Link, handling: HandledRequest[RequestTask], request: Request) -> None:
        self.told.append(("request", link.node_id, request))

    def reliable_refused(self, node_id: NodeId, payload: bytes, refusal: Refusal) -> None:
        self.told.append(("refused", node_id, payload))

    def data_received(self, link: Link, data: Data) -> bool:
        return True

    def ack_received(self, link: Link, ack: Ack) -> bool:
        return True

    def session_ended(self, link: Link) -> None:
        self.told.append(("ended", link.node_id, link.instance))

    def peer_disconnected(self, node_id: NodeId) -> None: ...

    def tick(self, peer: PeerSession, now: float) -> None:
        self.ticks.append((peer.node_id, now))

    def malformed(self, node_id: NodeId, payload: bytes, error: MalformedMessage) -> None:
        self.told.append(("malformed", node_id, payload))

    def throttle(self, node_id: NodeId, seconds: float) -> None:
        self.told.append(("throttle", node_id))

    def is_paused(self, node_id: NodeId) -> bool:
        return node_id in self.paused

    def is_waiting(self, link: Link) -> bool:
        return link in self.waiting

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
        self.session.use_delivery(self.host, self.session.shared.own.hello.stores)

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
