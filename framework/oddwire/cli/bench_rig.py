"""Two connected applications whose messages `oddwire bench` times: one handles, the other sends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, Literal

from oddwire.app import Application, Context, Extension, Peer
from oddwire.app.plugins.manager import Contribution
from oddwire.cli.bench_timing import Spent, Watch
from oddwire.cli.vocabulary import Vocabulary
from oddwire.proto.keys import PrivateKey
from oddwire.proto.type_numbers import known_owner
from oddwire.schema import Message, message, schema_of
from oddwire.session.constants import SESSION_TYPE
from oddwire.transports.base import Transport
from oddwire.transports.bolt8.transport import Bolt8Transport
from oddwire.transports.memory import MemoryNetwork

__all__ = ["Fence", "Over", "Rig", "client_of"]

Over = Literal["memory", "bolt8"]

_AT_ONCE: Final = 32  # requests that are under way at a time
_OWN: Final = "oddwire-bench"


class Fence:
    """Messages of the benchmark's own: one that comes back when all before it are handled, and one without a schema."""

    def __init__(self, taken: Sequence[type[Message]]) -> None:
        numbers = {schema_of(cls).type_id for cls in taken} | {SESSION_TYPE}
        free = (number for number in range(0xFFFF, 0x8000, -2) if number not in numbers and known_owner(number) is None)

        class Mark(Message):
            """Sent behind the messages that are timed."""

        class Back(Message):
            """The answer to it."""

        class Bytes(Message):
            """The bytes of any message."""

            data: bytes

        self.mark: type[Any] = message(next(free))(Mark)
        self.back: type[Any] = message(next(free))(Back)
        self.bytes: type[Any] = message(next(free), codec="raw")(Bytes)

    def extension(self, came_back: asyncio.Event) -> Extension:
        """Return the extension of one rig, for both its sides."""
        extension, back = Extension(_OWN, version="1.0"), self.back()

        async def mark(context: Context, mark: Any) -> Message:
            return back  # type: ignore[no-any-return]

        async def returned(context: Context, back: Any) -> None:
            came_back.set()

        async def nothing(context: Context, data: Any) -> None:
            return

        for cls, handler in ((self.mark, mark), (self.back, returned), (self.bytes, nothing)):
            extension.on(cls)(handler)
        return extension


def client_of(contribution: Contribution) -> Extension:
    """Return the other end of an extension: it knows all its messages, and does nothing when one comes."""
    vocabulary = Vocabulary(contribution)
    versions = contribution.versions or ("1.0",)
    client = Extension(
        contribution.name, version=versions[0], versions=versions, peer_feature=contribution.peer_feature
    )

    async def nothing(context: Context, found: Any) -> None:
        return

    for schema in vocabulary.schemas.values():
        client.on(schema.cls)(nothing)
    return client


class Rig:
    """``server`` handles and ``client`` sends, in this process. An async context manager.

    ``folder`` is for the stores, which end with it.
    """

    def __init__(
        self,
        server: Sequence[object],
        client: Sequence[object],
        *,
        fence: Fence,
        over: Over,
        folder: Path,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._fence = fence
        self._back = asyncio.Event()
        one, other = _transports(over)
        own = fence.extension(self._back)
        self.server = Application(*server, own, transport=one, options=options, store=folder / "server.sqlite3")
        self.client = Application(*client, own, transport=other, store=folder / "client.sqlite3")
        self.peer: Peer
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Rig:
        try:
            await self._stack.enter_async_context(self.server)
            await self._stack.enter_async_context(self.client)
            self.peer = await self.client.connect(self.server.uris[0])
            await self.peer.wait_for_hello()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def send(self, made: Message, count: int) -> Spent:
        """Send a message so many times, and return what it took until all are handled."""
        send, watch = self.peer.send, Watch()
        for _ in range(count):
            await send(made, force=True)
        await self.settle()
        return watch.spent()

    async def settle(self) -> None:
        """Wait until the server has handled what was sent, and the client what came back."""
        self._back.clear()
        await self.peer.send(self._fence.mark())
        await self._back.wait()

    async def request(self, made: Message, replies: type[Message], count: int) -> Spent:
        """Ask so many times, some at once, and return what it took until all are answered."""
        request, left, watch = self.peer.request, count, Watch()

        async def ask() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await request(made, replies, timeout=None, force=True)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_AT_ONCE, count)):
                group.create_task(ask())
        return watch.spent()

    async def stream(self, made: Message, part: type[Message], most: int, count: int) -> Spent:
        """Ask for streams of ``most`` parts, and return what it took for ``count`` parts."""
        left, watch = count, Watch()
        while left > 0:
            before = left
            parts = self.peer.stream(made, part, timeout=None, force=True)
            async for _ in parts:
                left -= 1
                if left <= max(0, before - most):
                    break
            await parts.aclose()
            if left == before:
                left -= 1  # a stream without parts
        return watch.spent()

    async def deliver(self, made: Message, count: int) -> Spent:
        """Deliver a message so many times, some at once, and return what it took until all have taken effect."""
        left, watch = count, Watch()
        while left > 0:
            several = min(_AT_ONCE, left)
            left -= several
            receipts = [await self.peer.deliver(made) for _ in range(several)]
            for receipt in receipts:
                await receipt.delivered()
        return watch.spent()


def _transports(over: Over) -> tuple[Transport, Transport]:
    if over == "memory":
        network = MemoryNetwork()
        return network.transport(), network.transport()
    keys = [PrivateKey(os.urandom(32)) for _ in range(2)]
    return Bolt8Transport(keys[0], listen=["127.0.0.1:0"]), Bolt8Transport(keys[1])
