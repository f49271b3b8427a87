"""A plain peer that answers out of order, late, twice and never, and an application that asks it.

The peer is whatever sends and receives payloads: a transport without an application, another implementation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import pytest

from oddwire import Context, Extension, Message, Peer, ReplyTimeout, message, u64
from oddwire.app import Application
from oddwire.errors import OutOfStep
from oddwire.testing import RecordingSink

UNANSWERED = 0.5  # seconds; a request that is not sent within them is another case
TYPES = {"Ask": 0x8D91, "Answer": 0x8D93, "Swap": 0x8D95, "Agreed": 0x8D97, "Cancelled": 0x8D99}


@message(TYPES["Answer"], codec="bolt")
class Answer(Message):
    number: u64


@message(TYPES["Ask"], codec="bolt", replies=Answer)
class Ask(Message):
    number: u64


@message(TYPES["Agreed"], codec="bolt")
class Agreed(Message):
    number: u64


@message(TYPES["Cancelled"], codec="bolt")
class Cancelled(Message):
    number: u64


@message(TYPES["Swap"], codec="bolt", replies=(Agreed, Cancelled), match="number")
class Swap(Message):
    number: u64


class Other(Protocol):
    """The plain peer."""

    async def send(self, payload: bytes) -> None:
        """Send a payload to the application."""

    async def received(self) -> bytes:
        """Return the next payload that the application sent, of one of the ``TYPES``."""
        raise NotImplementedError


class Transported:
    """A plain peer that is a transport and its sink."""

    def __init__(self, transport: Any, sink: RecordingSink) -> None:
        self._transport = transport
        self._sink = sink
        self._seen = 0

    async def send(self, payload: bytes) -> None:
        await self._transport.send(self._sink.connected[-1].node_id, payload)

    async def received(self) -> bytes:
        def found() -> list[bytes]:
            return [payload for payload in self._sink.payloads if is_ours(payload)]

        await self._sink.until(lambda sink: len(found()) > self._seen)
        self._seen += 1
        return found()[self._seen - 1]


def is_ours(payload: bytes) -> bool:
    """Return whether a payload is one of these messages, and not one of the session's."""
    return int.from_bytes(payload[:2], "big") in TYPES.values()


def raw(name: str, number: int) -> bytes:
    """Return a payload."""
    return TYPES[name].to_bytes(2, "big") + number.to_bytes(8, "big")


def make_extension(handled: list[Message]) -> Extension:
    """Return the extension that asks; it notes what its handler of `Cancelled` gets."""
    extension = Extension("swaps", version="1.0")
    extension.register(Ask)
    extension.register(Swap)

    @extension.on(Cancelled)
    async def cancelled(context: Context, message: Cancelled) -> None:
        handled.append(message)

    return extension


async def out_of_order(peer: Peer, other: Other) -> None:
    """Each request has its own answer, whatever the order."""
    asked = [asyncio.create_task(peer.request(Swap(number=number), timeout=20)) for number in range(3)]
    assert [await other.received() for _ in asked] == [raw("Swap", number) for number in range(3)]
    await other.send(raw("Agreed", 2))
    await other.send(raw("Cancelled", 0))
    await other.send(raw("Agreed", 1))
    assert await asyncio.gather(*asked) == [Cancelled(number=0), Agreed(number=1), Agreed(number=2)]


async def in_order(peer: Peer, other: Other) -> None:
    """Without a match one request is under way, and each has its own answer."""
    asked = [asyncio.create_task(peer.request(Ask(number=number), Answer, timeout=20)) for number in range(3)]
    for number in range(3):
        assert await other.received() == raw("Ask", number)
        await other.send(raw("Answer", number))
    assert await asyncio.gather(*asked) == [Answer(number=number) for number in range(3)]


async def late(peer: Peer, other: Other) -> None:
    """A late answer is for nobody, and the next request has its own."""
    for late, right in (("Answer", "Answer"), ("Agreed", "Cancelled")):
        question = Ask if late == "Answer" else Swap
        with pytest.raises(ReplyTimeout):
            await peer.request(question(number=1), timeout=UNANSWERED)
        assert await other.received() == raw(question.__name__, 1)
        asked = asyncio.create_task(peer.request(question(number=2), timeout=20))
        await other.send(raw(late, 1))
        assert await other.received() == raw(question.__name__, 2)
        await other.send(raw(right, 2))
        assert (await asked) == (Answer if right == "Answer" else Cancelled)(number=2)


async def waited_for(peer: Peer, other: Other) -> None:
    """What is waited for comes to who waits."""
    async with peer.messages(Agreed | Cancelled, lambda found: found.number > 0) as stream:
        waiting = asyncio.create_task(peer.wait_for(Cancelled, timeout=20))
        asked = asyncio.create_task(peer.request(Swap(number=9), timeout=20))
        assert await other.received() == raw("Swap", 9)
        for name, number in (("Agreed", 7), ("Agreed", 9), ("Cancelled", 8), ("Cancelled", 0)):
            await other.send(raw(name, number))
        assert await asked == Agreed(number=9)
        assert await waiting == Cancelled(number=8)
        assert [await anext(stream), await anext(stream)] == [Agreed(number=7), Cancelled(number=8)]


async def never_and_twice(peer: Peer, other: Other, caplog: pytest.LogCaptureFixture) -> None:
    """A class that is out of step is asked for no more on the connection; with a match it still is."""
    with pytest.raises(ReplyTimeout) as caught:
        await peer.request(Ask(number=1), Answer, timeout=UNANSWERED)
    assert not isinstance(caught.value, OutOfStep)
    with pytest.raises(OutOfStep, match="Ask was not sent"):
        await peer.request(Ask(number=2), Answer, timeout=UNANSWERED)
    assert await other.received() == raw("Ask", 1)
    with caplog.at_level(logging.WARNING, logger="oddwire.app"):
        for _ in range(3):
            await other.send(raw("Answer", 1))
        await out_of_order(peer, other)  # what was sent before is here by then
    told = [record for record in caplog.records if "reply that nobody asked for" in record.getMessage()]
    assert len(told) == 1
    with pytest.raises(OutOfStep, match="Ask was not sent"):
        await peer.request(Ask(number=3), Answer)
    asked = asyncio.create_task(peer.request(Ask(number=4), Answer, match="number", timeout=20))
    assert await other.received() == raw("Ask", 4)
    await other.send(raw("Answer", 4))
    assert await asked == Answer(number=4)


async def play(
    app: Application, other: Other, handled: list[Message], caplog: pytest.LogCaptureFixture, settle: Settle
) -> None:
    """Play it all with a connected peer; ``settle`` waits until what a condition says is so."""
    peer = app.peers[0]
    await out_of_order(peer, other)
    await in_order(peer, other)
    await late(peer, other)
    await waited_for(peer, other)
    await settle(lambda: handled == [Cancelled(number=0)])
    assert app.counters.dropped["late_reply"] == 2
    await never_and_twice(peer, other, caplog)
    assert app.counters.dropped["late_reply"] == 5


Settle = Callable[[Callable[[], object]], Awaitable[None]]
