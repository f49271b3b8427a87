"""Several programs behind two nodes, killed at any moment, and stores that move: each message counts once.

Each extension is spoken by one program of each node at a time. Now and then it moves, with its part of the store, to
the other one, and whoever moves it is killed on the way. Each end writes down what it handles, in values that move too.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from oddwire.errors import Refuse
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Limits
from oddwire.session.peer.link import Link
from oddwire.session.peer.peer_session import PeerSession
from oddwire.session.reliable.delivery import Delivery
from oddwire.session.reliable.outbox_state import Loss
from oddwire.session.store.ages import Ages
from oddwire.session.store.contents import contents_of
from oddwire.session.store.extension_store import ExtensionStore
from oddwire.session.store.move import move
from oddwire.session.store.unit import Store
from oddwire.session.wire.frame_types import Ack, Data, Refusal
from oddwire.session.wire.frames import addresses, decode

EXTENSIONS = ("shop", "chat")


class Wire:
    """The transport of a program, which hands on what it posts."""

    def __init__(self, program: Program) -> None:
        self.program = program

    async def send(self, node_id: NodeId, payload: bytes) -> None:
        self.program.post(payload)

    def worked(self, node_id: NodeId, seconds: float, *, wasted: bool = False) -> None: ...


class There(Link):
    """A program of the other node, as one of this node has its session with it."""

    def __init__(self, peer: Behind, here: Program, there: Program) -> None:
        self.peer, self.here, self.there = peer, here, there
        self.shared = SimpleNamespace(transport=Wire(here))  # type: ignore[assignment]
        self.node_id, self.instance = there.node_id, there.instance
        self.program, self.stores = there.program, there.store.identity.numbers
        self.route = there.instance << 32 | here.instance
        self.common = self.ready = True
        self.closed = False

    @property
    def spoken(self) -> Any:  # type: ignore[override]
        return {name: SimpleNamespace(types=(), versions=("1.0",)) for name in self.there.speaks}

    agreed = spoken  # type: ignore[assignment]

    async def send(self, payload: bytes, *, progress: Any = None, failed: Any = None) -> None:
        self.here.post(payload)


class Behind(PeerSession):
    """A connection to the other node, and the programs there that have said hello on it."""

    def __init__(self, node_id: NodeId) -> None:
        self.node_id = node_id
        self.closed = False
        self.links = {}
        self._waiting, self._owed = False, {}

    def wake(self, when: float) -> None: ...

    def close(self) -> None:
        self.closed = True
        for link in self.links.values():
            link.closed = True


class Program:
    """One program of a node; ``speaks`` are the extensions that it speaks when it runs."""

    def __init__(self, world: World, node: int, number: int, path: Path) -> None:
        self.world, self.node, self.path = world, node, path
        self.node_id = NodeId(bytes([2, node]) + bytes(31))
        self.other_node = NodeId(bytes([2, 1 - node]) + bytes(31))
        self.program = world.chance.getrandbits(64)
        self.speaks: set[str] = {EXTENSIONS[number]}
        self.instance = 0
        self.runs = False
        self.peers: dict[NodeId, PeerSession] = {}  # the other node, while it is connected
        self.tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self.instance, self.runs = self.world.chance.getrandbits(32) or 1, True
        ages = Ages(wall=lambda: 1_800_000_000.0 + self.world.now, uptime=lambda: self.world.now, boot=lambda: "boot")
        self.store = Store(self.path, ages=ages)
        limits = Limits(window_messages=4)
        self.delivery = Delivery(self.store, limits=limits, extensions=self.speaks, pause=0.001)
        await self.store.open()
        self.delivery.start(self, self.peers, self.spawn, lambda: self.world.now)
        if self.world.connected:
            self.connect()
            for other in self.world.others(self):
                other.greet(self)

    async def stop(self, *, crash: bool) -> None:
        if not self.runs:
            return
        self.runs = False
        self.delivery.stop()
        for task in [*self.tasks]:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if crash and self.store._database is not None:
            async with self.store._writing:
                self.store._database.abandon()
            self.store._database = None
        await self.delivery.aclose()
        self.peers.clear()
        for other in self.world.others(self):
            other.leave(self)

    # What the session tells of

    def connect(self) -> None:
        self.peers[self.other_node] = Behind(self.other_node)
        for other in self.world.others(self):
            self.greet(other)

    def disconnect(self) -> None:
        for peer in self.peers.values():
            peer.close()
        self.peers.clear()
        self.delivery.peer_disconnected(self.other_node)

    def greet(self, other: Program) -> None:
        """A program of the other node says hello."""
        for peer in self.peers.values():
            link = peer.links[other.instance] = There(peer, self, other)
            self.delivery.hello_received(link, True)

    def leave(self, other: Program) -> None:
        """A program of the other node has ended."""
        for peer in self.peers.values():
            if (link := peer.links.pop(other.instance, None)) is not None:
                link.closed = True
                self.delivery.session_ended(link)

    def tick(self) -> None:
        self.delivery.outbox.expire()
        self.delivery.inbox.expire()
        for peer in self.peers.values():
            self.delivery.tick(peer, self.world.now)

    def post(self, frame: bytes) -> None:
        if self.runs and self.world.connected and self.world.chance.random() > self.world.loss:
            asyncio.get_running_loop().call_soon(self.world.deliver, self, self.world.connection, frame)

    def take(self, sender: Program, payload: bytes) -> None:
        link = self.peers[self.other_node].links[sender.instance]
        frame = decode(payload)
        if isinstance(frame, Data):
            assert self.delivery.data_received(link, frame)
        elif isinstance(frame, Ack):
            self.delivery.ack_received(link, frame)

    # What delivery needs

    async def admit(self, node_id: NodeId, payload: bytes) -> None: ...

    def handler_of(self, node_id: NodeId, payload: bytes) -> tuple[str, Callable[[], Awaitable[object]]]:
        name, number = payload[2:].decode().split()
        if name not in self.speaks:
            raise Refuse("not here")

        async def handle() -> None:
            door = ExtensionStore(self.store, name)
            seen = await door.get("seen", [])
            await door.set("seen", [*seen, int(number)])
            if self.world.chance.random() < 0.2:
                await asyncio.sleep(0)

        return name, handle

    def attempt_failed(self, node_id: NodeId, payload: bytes, error: Exception, attempt: int) -> None: ...

    def reliable_refused(self, node_id: NodeId, payload: bytes, refusal: Refusal) -> None:
        self.world.refused.append((payload, refusal))

    def lost(self, loss: Loss, extension: str) -> None:
        self.world.lost.append(loss)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


class World:
    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 1000.0
        self.connected = False
        self.connection = 0
        self.loss = 0.0
        self.lost: list[Any] = []
        self.refused: list[Any] = []
        self.sent = dict.fromkeys(((node, name) for node in (0, 1) for name in EXTENSIONS), 0)
        self.programs = [Program(self, node, n, folder / f"{node}{n}") for node in (0, 1) for n in (0, 1)]

    def others(self, program: Program) -> list[Program]:
        return [other for other in self.programs if other.node != program.node and other.runs and other.store.is_open]

    def deliver(self, sender: Program, connection: int, frame: bytes) -> None:
        to, from_ = addresses(frame)
        if self.connected and connection == self.connection and sender.runs and from_ == sender.instance:
            for other in self.others(sender):
                if other.instance == to:
                    other.take(sender, frame)

    def connect(self) -> None:
        self.disconnect()
        self.connected = True
        for program in self.running():
            program.connect()

    def disconnect(self) -> None:
        self.connected = False
        self.connection += 1
        for program in self.running():
            program.disconnect()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        for program in self.running():
            program.tick()

    def running(self) -> list[Program]:
        return [program for program in self.programs if program.runs]

    async def send(self, node: int, name: str) -> None:
        for program in self.programs:
            if program.node == node and program.runs and name in program.speaks:
                self.sent[node, name] += 1
                payload = f"{name} {self.sent[node, name]}".encode()
                await program.delivery.send(program.other_node, name, b"\x80\x01" + payload)

    async def move(self, node: int, name: str) -> None:
        """Move an extension to the other program of a node, killed at any step, and perhaps begun again."""
        source, target = sorted(
            (program for program in self.programs if program.node == node), key=lambda one: name not in one.speaks
        )
        for program in (source, target):
            await program.stop(crash=self.chance.random() < 0.5)
        if name not in contents_of(source.path)["extensions"]:
            return  # there is nothing of it yet
        killed = self.chance.randrange(8)

        def step(done: int) -> None:
            if done == killed:
                raise KeyboardInterrupt

        try:
            move(source.path, target.path, [name], step=step)
        except KeyboardInterrupt:
            again = self.chance.random() < 0.5
            if again:
                move(source.path, target.path, [name])
        arrived = killed != 1 or again
        if arrived:
            source.speaks.discard(name)
            target.speaks.add(name)

    async def idle(self) -> None:
        quiet = 0
        while quiet < 3:
            busy = [task for one in self.running() for task in (*one.tasks, one.store._committer) if task]
            if busy:
                quiet = 0
                await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED, timeout=1.0)
            else:
                quiet += 1
                await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(8))
async def test_each_message_counts_once_wherever_extensions_move(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path, seed)
    chance = world.chance
    for program in world.programs:
        await program.start()
    for _ in range(200):
        world.loss = chance.choice((0.0, 0.0, 0.1))
        match chance.randrange(16):
            case 0 | 1:
                await chance.choice(world.programs).stop(crash=chance.random() < 0.7)
            case 2 | 3 | 4:
                for program in world.programs:
                    if not program.runs:
                        await program.start()
            case 5:
                world.disconnect()
            case 6 | 7:
                world.connect()
            case 8:
                world.wait(chance.choice((1, 10, 50)))
            case 9:
                await world.move(chance.randrange(2), chance.choice(EXTENSIONS))
            case 10:
                await world.idle()
            case _:
                for _ in range(chance.randrange(1, 6)):
                    await world.send(chance.randrange(2), chance.choice(EXTENSIONS))
    world.loss = 0.0
    for program in world.programs:
        if not program.runs:
            await program.start()
    for _ in range(8):
        world.connect()
        await world.idle()
        world.wait(100)
        await world.idle()
    assert world.lost == world.refused == []
    for program in world.programs:
        assert not any(lane.load.messages for lane in program.delivery.outbox.lanes(program.other_node))
        for name in EXTENSIONS:
            seen = await ExtensionStore(program.store, name).get("seen", [])
            sent = world.sent[1 - program.node, name]
            if name in program.speaks:
                assert seen == [*range(1, sent + 1)]
            else:
                assert seen == []
    assert sum(world.sent.values()) > 50
    for program in world.programs:
        await program.stop(crash=False)
