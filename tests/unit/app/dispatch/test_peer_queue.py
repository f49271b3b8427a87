from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oddwire.app.context import Peer
from oddwire.app.dispatch.peer_queue import HIGH_WATER, HIGH_WATER_ASKING, LOW_WATER, MESSAGE_WEIGHT, PeerQueue, Waiter
from oddwire.errors import ConnectionClosed
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.transports.base import PeerInfo

ALICE = NodeId("02" + "aa" * 32)


@message(0x8C01)
class Ask(Message): ...


@message(0x8C03)
class Answer(Message): ...


def make_queue(*, tracing: bool = False) -> PeerQueue:
    messenger: Any = None  # a queue never uses it
    return PeerQueue(Peer(messenger, ALICE), PeerInfo(node_id=ALICE), 2, tracing)


def waiter(asked: float) -> Waiter:
    return asyncio.get_running_loop().create_future(), asked


async def test_a_message_answers_the_first_request_that_waits_for_its_class() -> None:
    queue = make_queue()
    first, second, other = waiter(1.0), waiter(2.0), waiter(3.0)
    for reply, entry in ((Answer, first), (Answer, second), (Ask, other)):
        queue.ask(reply, entry)
    assert queue.needs_slow_path
    assert queue.answer(Answer()) == 1.0
    assert first[0].result() == Answer()
    assert not second[0].done()
    assert queue.answer(Ask()) == 3.0
    assert queue.answer(Ask()) is None
    queue.leave(Answer, first)
    queue.leave(Ask, other)
    assert queue.needs_slow_path
    queue.leave(Answer, second)
    assert not queue.needs_slow_path
    assert queue.answer(Answer()) is None


async def test_a_request_that_gave_up_is_passed_over() -> None:
    queue = make_queue()
    first, second = waiter(1.0), waiter(2.0)
    queue.ask(Answer, first)
    queue.ask(Answer, second)
    first[0].cancel()
    assert queue.answer(Answer()) == 2.0


async def test_a_traced_lane_stays_attentive() -> None:
    queue = make_queue(tracing=True)
    assert queue.needs_slow_path
    entry = waiter(1.0)
    queue.ask(Answer, entry)
    queue.leave(Answer, entry)
    queue.leave(Answer, entry)
    assert queue.needs_slow_path


async def test_giving_up_fails_every_request() -> None:
    queue = make_queue()
    entries = [waiter(1.0), waiter(2.0)]
    queue.ask(Answer, entries[0])
    queue.ask(Ask, entries[1])
    queue.fail_requests("cable cut")
    queue.fail_requests("again")
    for future, _ in entries:
        with pytest.raises(ConnectionClosed, match="cable cut"):
            future.result()


async def test_is_full_by_weight_and_later_while_a_request_waits() -> None:
    queue = make_queue()
    queue.held = HIGH_WATER
    assert not queue.is_full
    queue.held = HIGH_WATER + 1
    assert queue.is_full
    queue.ask(Answer, waiter(1.0))
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
