"""An application with an extension that sends things again, over a transport in the test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from oddwire.app import Application, Context, Extension
from oddwire.errors import OddwireError, PeerNotConnected
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message, schema_of
from oddwire.session.store.ages import Ages
from oddwire.testing import ScriptedTransport

ALICE, BOB = NodeId("02" + "aa" * 32), NodeId("03" + "bb" * 32)


@message(0x8E01, codec="json")
class Yes(Message):
    swap_id: str


@message(0x8E03, codec="json")
class No(Message):
    swap_id: str


@message(0x8E05, codec="json", replies=(Yes, No), match="swap_id")
class Ask(Message):
    swap_id: str


@message(0x8E07, codec="json")
class Note(Message):
    text: str = ""


@message(0x8E08, codec="json")
class Even(Message):
    text: str = ""


class Prompt(ScriptedTransport):
    """Sends at once, as ours do while no queue is full."""

    def send_nowait(self, peer: NodeId, payload: bytes) -> bool:
        if not self.stuck.is_set():
            return False
        if peer not in self._held:
            raise PeerNotConnected(f"no connection to {peer}", node_id=str(peer))
        self.sent.append((peer, payload))
        return True


class Scene:
    """One application; ``answers`` are what its handler of answers does, by their swap ids."""

    def __init__(self, transport: ScriptedTransport | None = None, **keywords: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.extension = extension = Extension("swap", version="1.0", feature=901)
        self.handled: list[Message] = []
        self.lost: list[tuple[Message | None, OddwireError]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: BaseException | None = None
        for each in (Ask, No, Note, Even):
            extension.register(each)

        @extension.on(Yes)
        async def yes(context: Context, message: Yes) -> None:
            self.handled.append(message)
            await self.gate.wait()
            if self.error is not None:
                raise self.error

        @extension.on_undelivered
        async def lost(context: Context, message: Message | None, error: OddwireError) -> None:
            self.lost.append((message, error))

        self.prepare(extension)
        self.transport = transport or ScriptedTransport()
        keywords = {"store": ":memory:", "grace": 0.0, **keywords}
        self.app = Application(extension, transport=self.transport, **keywords)
        self.app.resources.ages = Ages(uptime=self.loop.time, boot=lambda: "boot")

    def prepare(self, extension: Extension) -> None:
        """Let a test declare more."""

    @property
    def alice(self) -> Any:
        return self.app.peer(ALICE)

    def sent(self, node_id: NodeId = ALICE) -> list[Message]:
        """What was sent that is no frame of the session, decoded."""
        payloads = [payload for peer, payload in self.transport.sent if peer == node_id]
        return [self.app.registry.decode(payload) for payload in payloads if payload[:2] != b"\xc0\xdd"]

    def say(self, message: Message, node_id: NodeId = ALICE) -> None:
        """Let a peer send a message."""
        self.transport.receive(node_id, self.app.registry.encode(message))

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def idle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)


@pytest.fixture
def scene() -> Callable[..., AbstractAsyncContextManager[Scene]]:
    """Run a scene: ``async with scene() as scene``."""

    @asynccontextmanager
    async def run(kind: type[Scene] = Scene, *given: Any, **keywords: Any) -> AsyncIterator[Scene]:
        scene = kind(*given, **keywords)
        async with scene.app:
            yield scene

    return run


def type_of(message: type[Message]) -> int:
    return schema_of(message).type_id
