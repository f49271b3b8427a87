"""How far one message goes inside oddwire: its calls, the modules it passes, and how often it changes sides.

A *walk* is all that oddwire does for one message of its kind, once the first one has made what later ones find. A
*call* is one frame of a function, method or coroutine of oddwire's (once, however often a coroutine goes on; the frames
of comprehensions are not counted, as newer Pythons have none). A *crossing* is a call that a frame of `oddwire.app`
makes directly into `oddwire.session`, or one of `oddwire.session` into `oddwire.app`: whoever reads along has to change
sides there. What the store does in its thread is not seen.

The numbers are upper bounds. One that grows has to be argued for; one that shrinks should be written down.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from types import FrameType
from typing import Any, NamedTuple

import pytest

from oddwire.app import Application, Context, Extension
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.session.wire.frame_types import Ack, Data, Hello, Reply, Request, Scope, Spoken
from oddwire.session.wire.frames import addresses, decode, encode
from oddwire.testing import ScriptedTransport

ALICE = NodeId("02" + "aa" * 32)
PROGRAM = 3  # the instance of the program behind her


@message(0x8C01)
class Ask(Message):
    data: bytes


@message(0x8C03)
class Answer(Message):
    data: bytes


@message(0x8C05)
class Note(Message):
    data: bytes


@message(0x8C07)
class Kept(Message):
    data: bytes


class Walk(NamedTuple):
    """What one message costs."""

    calls: int
    modules: int
    crossings: int


class Footprints:
    """Sees every call on this thread from `begin` to `end`."""

    def __init__(self) -> None:
        self._frames: dict[int, FrameType] = {}  # kept: a coroutine is called again with the same one as it goes on
        self.calls: list[str] = []
        self.crossings: list[str] = []

    def begin(self) -> None:
        sys.setprofile(self._see)

    def end(self) -> Walk:
        sys.setprofile(None)
        self._frames.clear()
        return Walk(len(self.calls), len({call.partition(":")[0] for call in self.calls}), len(self.crossings))

    def _see(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or id(frame) in self._frames:
            return
        name = _name(frame)
        if not name.startswith("oddwire.") or frame.f_code.co_name in ("<listcomp>", "<genexpr>", "<dictcomp>"):
            return
        if name.startswith("oddwire.testing"):
            return
        self._frames[id(frame)] = frame
        self.calls.append(name)
        caller = _name(frame.f_back)
        if {_side(caller), _side(name)} == {"app", "session"}:
            self.crossings.append(f"{caller} -> {name}")


def _name(frame: FrameType | None) -> str:
    return "" if frame is None else f"{frame.f_globals.get('__name__', '')}:{frame.f_code.co_qualname}"


def _side(name: str) -> str:
    return next((side for side in ("app", "session") if name.startswith(f"oddwire.{side}.")), "")


class Prompt(ScriptedTransport):
    """A transport that can send at once, as ours do while no queue is full."""

    def send_nowait(self, peer: NodeId, payload: bytes) -> bool:
        self.sent.append((peer, payload))
        return True


class Scene:
    """An application, and Alice, who is one program that speaks its extension."""

    def __init__(self) -> None:
        extension = Extension("walk", version="1.0")
        extension.register(Answer)
        self.handled: list[Message] = []

        @extension.on(Ask)
        async def ask(context: Context, message: Ask) -> Answer:
            return Answer(data=message.data)

        @extension.on(Note)
        async def note(context: Context, message: Note) -> None:
            self.handled.append(message)

        @extension.on(Kept, reliable=True)
        async def kept(context: Context, message: Kept) -> None:
            self.handled.append(message)

        self.transport = Prompt()
        self.app = Application(extension, transport=self.transport, store=":memory:", grace=0.0)
        self.footprints = Footprints()
        self._number = 0

    async def meet(self) -> None:
        self.transport.connect_peer(ALICE)
        await self.idle()
        hello = next(frame for frame in self.sent(Hello))
        self.own = addresses(self._payloads[-1])[1]
        assert hello.highest == 1
        types = (*range(0x8C01, 0x8C09, 2),)
        self.say(Hello(0, 1, 1, program=10, extensions=(Spoken("walk", ("1.0",), types),), stores=(77,)))
        await self.idle()

    @property
    def _payloads(self) -> list[bytes]:
        return [payload for peer, payload in self.transport.sent if peer == ALICE]

    def sent(self, kind: type[Any]) -> list[Any]:
        frames = [decode(payload) for payload in self._payloads if payload[:2] == b"\xc0\xdd"]
        return [frame for frame in frames if isinstance(frame, kind)]

    def payload(self, kind: Callable[..., Message]) -> bytes:
        return self.app.registry.encode(kind(data=b"some bytes"))

    def say(self, frame: Any) -> None:
        self.hear(encode(frame, self.own << 32 | PROGRAM))

    def hear(self, payload: bytes) -> None:
        self.transport.receive(ALICE, payload)

    async def idle(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)

    # The walks. What is said to the transport is written before, so that it does not count

    async def plain(self) -> None:
        payload, count = self.payload(Note), len(self.handled)
        self.footprints.begin()
        self.hear(payload)
        await self.idle()
        assert len(self.handled) == count + 1

    async def request(self) -> None:
        self._number += 1
        frame, count = (
            encode(Request(self._number, 0, self.payload(Ask)), self.own << 32 | PROGRAM),
            len(self.sent(Reply)),
        )
        self.footprints.begin()
        self.hear(frame)
        await self.idle()
        sys.setprofile(None)
        assert len(self.sent(Reply)) == count + 1

    async def reliable_in(self) -> None:
        self._number += 1
        data = Data(lane=5, epoch=1, base=self._number, sequence=self._number, content=self.payload(Kept))
        frame, count = encode(data, self.own << 32 | PROGRAM), len(self.handled)
        self.footprints.begin()
        self.hear(frame)
        await self.idle()
        sys.setprofile(None)
        assert len(self.handled) == count + 1
        assert self.sent(Ack)[-1].value == self._number

    async def reliable_out(self) -> None:
        count, peer = len(self.sent(Data)), self.app.peer(ALICE)
        self.footprints.begin()
        receipt = await peer.deliver(Kept(data=b"kept"))
        await self.idle()
        sys.setprofile(None)
        (data,) = self.sent(Data)[count:]
        ack = encode(Ack(Scope.LANE, 0, data.lane, data.epoch, data.sequence), self.own << 32 | PROGRAM)
        self.footprints.begin()
        self.hear(ack)
        await receipt.delivered()
        await self.idle()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    async with scene.app:
        await scene.meet()
        yield scene


BOUNDS = {
    "plain": Walk(calls=4, modules=3, crossings=0),
    "request": Walk(calls=25, modules=9, crossings=4),
    "reliable_in": Walk(calls=97, modules=27, crossings=6),
    "reliable_out": Walk(calls=117, modules=28, crossings=3),
}


@pytest.mark.parametrize("kind", BOUNDS)
async def test_no_walk_is_longer_than_it_was(scene: Scene, kind: str, record_property: Callable[..., None]) -> None:
    walk = getattr(scene, kind)
    try:
        await walk()  # the first one makes what all later ones use
        sys.setprofile(None)
        await asyncio.sleep(0.3)  # what is committed later, as nobody waits for it, is no part of the next one
        scene.footprints = Footprints()
        await walk()
    finally:
        found = scene.footprints.end()
    print(f"{kind}: {found}", *scene.footprints.calls, "crossings:", *scene.footprints.crossings, sep="\n  ")
    record_property("walk", found._asdict())
    bound = BOUNDS[kind]
    grown = [name for name, count in found._asdict().items() if count > getattr(bound, name)]
    crossings = "\n  ".join(scene.footprints.crossings)
    assert not grown, f"the walk of {kind} was {bound} at most, and is {found}; it changes sides at\n  {crossings}"
