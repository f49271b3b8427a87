"""What extensions may ask of a peer, where they say how much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from oddwire.app import Application, Context, Extension, Peer
from oddwire.app.limits.request_quotas import LimitedMessenger
from oddwire.errors import QuotaExceeded, ReplyTimeout
from oddwire.schema import Message, message, u64
from oddwire.session.limits import Limits
from oddwire.testing import ScriptedTransport
from oddwire.transports.memory import MemoryNetwork


@message(0x8C01)
class Ask(Message):
    number: u64 = 0


@message(0x8C03)
class Answer(Message):
    number: u64 = 0


@message(0x8C05)
class Count(Message):
    parts: u64


@message(0x8C07)
class Part(Message):
    number: u64


@message(0x8C09)
class Other(Message): ...


class Server:
    """Answers as soon as its gate is open; yields as many parts as it is let."""

    def __init__(self, **options: Any) -> None:
        self.extension = Extension("shop", version="1.0", **options)
        self.other = Extension("other", version="1.0")
        self.gate = asyncio.Event()
        self.yielded = 0

        @self.extension.on(Ask)
        async def ask(context: Context, request: Ask) -> Answer:
            await self.gate.wait()
            return Answer(number=request.number)

        @self.other.on(Other)
        async def other(context: Context, request: Other) -> Answer:
            return Answer(number=7)

        @self.extension.on(Count)
        async def count(context: Context, request: Count) -> AsyncIterator[Part]:
            for number in range(request.parts):
                self.yielded = number + 1
                yield Part(number=number)

    def app(self, network: MemoryNetwork, **options: Any) -> Application:
        return Application(self.extension, self.other, transport=network.transport(), grace=0.0, **options)


async def ask(peer: Peer, **options: Any) -> Answer:
    return await peer.request(Ask(), Answer, **options)


async def test_an_extension_asks_no_more_than_it_may() -> None:
    network, server = MemoryNetwork(), Server()
    async with server.app(network) as left, Server(limits=Limits(open_requests=2)).app(network) as right:
        peer = await right.connect(left.uris[0])
        tasks = [asyncio.create_task(ask(peer)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(QuotaExceeded, match=r"^extension 'shop': 2 requests to this peer wait") as caught:
            await ask(peer)
        assert (caught.value.limit, caught.value.extension) == ("open_requests", "shop")
        with pytest.raises(QuotaExceeded):
            await anext(peer.stream(Count(parts=1), Part))
        assert await peer.request(Other(), Answer) == Answer(number=7), "another's"
        server.gate.set()
        await asyncio.gather(*tasks)
        assert await ask(peer) == Answer()
        assert right.counters.exceeded == right.counters_of("shop").exceeded == {"open_requests": 2}
        assert right.counters_of("other").to_json() == {}


async def test_who_gave_up_makes_room() -> None:
    network = MemoryNetwork()
    async with Server().app(network) as left, Server(limits=Limits(open_requests=1)).app(network) as right:
        peer = await right.connect(left.uris[0])
        for _ in range(3):
            with pytest.raises(ReplyTimeout):
                await ask(peer, timeout=0.001)
        stream = peer.stream(Count(parts=100), Part)
        assert await anext(stream) == Part(number=0)
        with pytest.raises(QuotaExceeded):
            await ask(peer)
        await stream.aclose()
        with pytest.raises(ReplyTimeout):
            await ask(peer, timeout=0.001)


@pytest.mark.parametrize(("own", "credit", "sent"), [(3, None, 3), (3, 2, 2), (3, 50, 3), (500, None, 16)])
async def test_an_extension_s_streams_have_its_credit(own: int, credit: int | None, sent: int) -> None:
    network, server = MemoryNetwork(), Server()
    async with server.app(network) as left, Server(limits=Limits(stream_credit=own)).app(network) as right:
        peer = await right.connect(left.uris[0])
        stream = peer.stream(Count(parts=1000), Part, credit=credit)
        await anext(stream)
        for _ in range(100):
            await asyncio.sleep(0)
        assert server.yielded <= sent + 2  # one in use, one that waits for credit
        assert server.yielded >= sent
        await stream.aclose()


async def test_streams_of_other_extensions_are_as_ever() -> None:
    network, server = MemoryNetwork(), Server()
    limited = Server(limits=Limits(open_requests=5))
    streams = Extension("streams", version="1.0")

    @message(0x8C0B)
    class Tell(Message): ...

    @streams.on(Tell)
    async def tell(context: Context, request: Tell) -> AsyncIterator[Part]:
        for number in range(100):
            yield Part(number=number)

    async with (
        Application(server.extension, streams, transport=network.transport(), grace=0.0) as left,
        Application(limited.extension, streams, transport=network.transport(), grace=0.0) as right,
    ):
        peer = await right.connect(left.uris[0])
        assert [part.number async for part in peer.stream(Tell(), Part)] == list(range(100))


async def test_without_such_limits_nothing_is_counted() -> None:
    async with Application(Server(limits=Limits(requests=3)).extension, transport=ScriptedTransport()) as app:
        assert not isinstance(app._running().messenger, LimitedMessenger)
