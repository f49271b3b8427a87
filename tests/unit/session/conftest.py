"""Two ends of reliable delivery, with a link between them that a test has in its hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from oddwire.proto.keys import NodeId
from oddwire.session.door import ExtensionStore
from oddwire.session.frames import Ack, Data, decode, encode
from oddwire.session.inbox import Inbox
from oddwire.session.limits import Limits
from oddwire.session.outbox import Outbox
from oddwire.session.store import Store

LANE = 7


class End:
    """One end: its store, and what its handler does. ``handled`` are the payloads whose handlers have ended well."""

    def __init__(self, path: Path, name: bytes, limits: Limits) -> None:
        self.path = path
        self.node_id = NodeId(b"\x02" + name * 32)
        self.limits = limits
        self.peer: End
        self.linked = False
        self.lost: set[int] = set()  # the numbers of frames, of all sent since `link`, that do not arrive
        self.sent: list[Any] = []
        self.handled: list[bytes] = []
        self.failed: list[tuple[str, int]] = []
        self.now = 0.0
        self.wall = 1000.0
        self.handler: Callable[[bytes], Awaitable[object]] = self.count
        self.tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self.store = Store(self.path)
        self.outbox = Outbox(self.store, limits=self.limits, ready=self.pump, clock=lambda: self.wall)
        self.inbox = Inbox(self.store, self, pause=0.001)
        self.door = ExtensionStore(self.store, "test")
        await self.store.open()

    async def count(self, payload: bytes) -> None:
        number = await self.door.get("count", 0)
        assert isinstance(number, int)
        await self.door.set("count", number + 1)

    # The session's part

    def handler_of(self, node_id: NodeId, payload: bytes) -> tuple[str, Callable[[], Awaitable[object]]]:
        async def run() -> None:
            await self.handler(payload)
            self.handled.append(payload)

        return "test", run

    def acknowledge(self, node_id: NodeId, ack: Ack) -> None:
        self.post(encode(ack))

    def attempt_failed(self, node_id: NodeId, payload: bytes, error: Exception, attempt: int) -> None:
        self.failed.append((str(error), attempt))

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
            assert self.inbox.receive(self.peer.node_id, frame, self.now)
        elif isinstance(frame, Ack):
            assert self.outbox.acknowledged(self.peer.node_id, frame, self.now)
            self.pump(self.peer.node_id)

    # The test's

    async def send(self, payload: bytes) -> Any:
        return await self.outbox.send(self.peer.node_id, LANE, b"\x80\x01" + payload)

    def wait(self, seconds: float) -> None:
        """Let time pass, for this end."""
        self.now += seconds
        if self.outbox.deadline(self.peer.node_id) <= self.now:
            self.outbox.tick(self.peer.node_id, self.now)
            self.pump(self.peer.node_id)

    async def restart(self, crash: bool = False) -> None:
        """End and begin again; after a crash with what is on disk."""
        self.unlink()
        self.peer.unlink()
        await self.stop(crash)
        await self.start()

    async def stop(self, crash: bool = False) -> None:
        self.outbox.close()
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

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.alice = End(folder / "alice", b"a", limits)
        self.bob = End(folder / "bob", b"b", limits)
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
async def pair(tmp_path: Path, limits: Limits) -> AsyncIterator[Pair]:
    pair = Pair(tmp_path, limits)
    for end in (pair.alice, pair.bob):
        await end.start()
    yield pair
    for end in (pair.alice, pair.bob):
        end.unlink()
        await end.stop()
