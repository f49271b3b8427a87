"""Two ends of reliable delivery, former databases, and a session by itself."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.reliable_ends import Pair

from oddwire.app.dispatch.request_tasks import RequestTask
from oddwire.errors import MalformedMessage
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Allowance, Limits
from oddwire.session.peer.link import Link
from oddwire.session.peer.peer_session import PeerSession
from oddwire.session.peer.request_tables import HandledRequest
from oddwire.session.session import Session
from oddwire.session.wire.frame_types import Ack, Data, Hello, Refusal, Request
from oddwire.session.wire.frames import decode, encode
from oddwire.testing import RecordingSink, ScriptedTransport
from oddwire.transports.base import Manifest

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
