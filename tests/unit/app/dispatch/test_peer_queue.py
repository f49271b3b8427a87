from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oddwire.app.context import Peer
from oddwire.app.dispatch.exchanges import Exchange, Exchanges, Fate, State
from oddwire.app.dispatch.listeners import NextMessage
from oddwire.app.dispatch.peer_queue import HIGH_WATER, HIGH_WATER_ASKING, LOW_WATER, MESSAGE_WEIGHT, PeerQueue
from oddwire.app.dispatch.questions import Question
from oddwire.errors import ConnectionClosed
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.session.limits import Counters
from oddwire.transports.base import PeerInfo

ALICE = NodeId("02" + "aa" * 32)


@message(0x8C01)
class Ask(Message): ...


@message(0x8C03)
class Answer(Message): ...


def make_queue(*, tracing: bool = False) -> PeerQueue:
    messenger: Any = None  # a queue never uses it
    return PeerQueue(Peer(messenger, ALICE), PeerInfo(node_id=ALICE), 2, tracing)


def opened(queue: PeerQueue, *accepted: type[Message]) -> Exchange:
    """Open an exchange of the queue, and say that it is sent."""
    if queue.exchanges is None:
        loop = asyncio.get_running_loop()
        queue.exchanges = Exchanges(ALICE, loop, Counters(), 10, queue.look)
    exchange = queue.exchanges.open(Question("Ask", accepted))
    queue.exchanges.advance(exchange, State.SENT)
    return exchange


async def test_messages_take_the_slow_path_while_one_may_be_an_answer() -> None:
    queue = make_queue()
    assert not queue.needs_slow_path
    exchange = opened(queue, Answer)
    assert queue.needs_slow_path
    assert queue.exchanges is not None
    assert queue.exchanges.receive(Answer()) == (Fate.ANSWER, exchange.asked)
    assert not queue.needs_slow_path


async def test_messages_take_the_slow_path_while_somebody_waits_for_one() -> None:
    queue = make_queue()
    first, second = (NextMessage(None, asyncio.get_running_loop()) for _ in range(2))
    queue.listen((Answer,), first)
    queue.listen((Answer, Ask), second)
    queue.unlisten((Answer,), first)
    assert queue.needs_slow_path
    queue.unlisten((Answer, Ask), second)
    assert not queue.needs_slow_path
    queue.unlisten((Answer, Ask), second)  # nothing happens


async def test_a_traced_lane_stays_attentive() -> None:
    queue = make_queue(tracing=True)
    assert queue.needs_slow_path
    exchange = opened(queue, Answer)
    assert queue.exchanges is not None
    queue.exchanges.receive(Answer())
    queue.exchanges.close(exchange)
    assert queue.needs_slow_path


async def test_giving_up_fails_all_who_wait() -> None:
    queue = make_queue()
    exchange, waiting = opened(queue, Answer), NextMessage(None, asyncio.get_running_loop())
    queue.listen((Ask,), waiting)
    queue.fail_requests("cable cut")
    queue.fail_requests("again")
    for future in (exchange.answer, waiting.future):
        with pytest.raises(ConnectionClosed, match="cable cut"):
            future.result()
    assert not queue.needs_slow_path


async def test_is_full_by_weight_and_later_while_a_request_waits() -> None:
    queue = make_queue()
    queue.held = HIGH_WATER
    assert not queue.is_full
    queue.held = HIGH_WATER + 1
    assert queue.is_full
    queue.request_begun()
    assert queue.is_asking
    assert not queue.is_full
    assert queue.has_room
    queue.held = HIGH_WATER_ASKING + 1
    assert queue.is_full
    assert not queue.has_room


async def test_has_room_again_only_when_it_is_much_emptier() -> None:
    queue = make_queue()
    queue.held = LOW_WATER + 1
    assert not queue.has_room
    queue.held = LOW_WATER
    assert queue.has_room


async def test_drops_messages_but_not_greetings_and_farewells() -> None:
    async def run(*_: object) -> None: ...

    queue = make_queue()
    for owner in (0, 1, 2, 0):
        queue.waiting.append((run, owner, None, MESSAGE_WEIGHT))
    queue.drop_messages()
    assert [entry[1] for entry in queue.waiting] == [0, 0]
