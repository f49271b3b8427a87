"""Who takes a lane, and when it is sent; tests/unit/app/dispatch/test_reliable_handlers.py has it with programs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from oddwire.errors import PeerNotConnected
from oddwire.session.limits import Limits
from oddwire.session.reliable.delivery import Delivery
from oddwire.session.store.unit import Store
from oddwire.session.wire.frame_types import Data


def pumps(end: Any) -> list[str]:
    """Return the names of the tasks that an end starts to send, from now on."""
    started: list[str] = []
    spawn = end.delivery._spawn

    def recording(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        started.append(work.__qualname__)
        return spawn(work)  # type: ignore[no-any-return]

    end.delivery._spawn = recording
    return started


async def test_one_lone_message_starts_one_pump(pair: Any) -> None:
    pair.link()
    await pair.settle()
    started = pumps(pair.alice)
    await (await pair.alice.send(b"the first of its lane")).delivered()
    await pair.settle()
    assert started == ["Delivery._pump"]
    await (await pair.alice.send(b"the second")).delivered()
    await pair.settle()
    assert started == ["Delivery._pump"] * 2
    assert pair.alice.delivery._pumps == set()


async def test_many_at_once_need_no_pump_each(pair: Any) -> None:
    pair.link()
    started = pumps(pair.alice)
    receipts = await asyncio.gather(*(pair.alice.send(b"%d" % number) for number in range(500)))
    await asyncio.gather(*(receipt.delivered() for receipt in receipts))
    await pair.settle()
    assert pair.bob.handled == [b"\x80\x01%d" % number for number in range(500)]
    assert 1 <= len(started) < 250, "the window is of 8 messages: one for each ack at most"


async def test_what_comes_while_it_sends_goes_with_the_same_pump(pair: Any) -> None:
    pair.link()
    link, posted, free = pair.alice.program_there, pair.alice.post, asyncio.Event()

    async def slow(payload: bytes, **_: object) -> None:
        await free.wait()
        posted(payload)

    link.send = slow
    started = pumps(pair.alice)
    await pair.alice.send(b"1")
    await pair.alice.send(b"2", extension="other")
    await asyncio.sleep(0)
    free.set()
    await pair.settle()
    assert sorted(pair.bob.handled) == [b"\x80\x011", b"\x80\x012"]
    assert started == ["Delivery._pump"]


async def test_a_peer_that_goes_while_it_is_sent_to_has_it_when_it_is_back(pair: Any) -> None:
    pair.link()

    async def gone(payload: bytes, **_: object) -> None:
        raise PeerNotConnected("gone", node_id=str(pair.bob.node_id))

    pair.alice.program_there.send = gone
    receipt = await pair.alice.send(b"1")
    await pair.settle()
    assert pair.bob.handled == []
    assert pair.alice.delivery._pumps == set()
    pair.link()
    await receipt.delivered()


async def test_until_it_is_started_messages_are_kept(pair: Any, tmp_path: Any) -> None:
    store = Store(tmp_path / "early")
    early = Delivery(store, limits=Limits())
    await early.open(0.0)
    await early.send(pair.bob.node_id, "test", b"\x80\x01early")
    assert early.outbox.waiting(pair.bob.node_id) == (1, 7)
    assert early.inbox.receive(pair.bob.node_id, Data(1, 1, 1, 1, b"\x80\x01"), 0.0, None), "it comes again"
    assert early.inbox._peers == {}
    await early.aclose()
