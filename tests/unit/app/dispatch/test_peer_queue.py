from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oddwire.app.context import Peer
from oddwire.app.dispatch.peer_queue import HIGH_WATER, HIGH_WATER_ASKING, LOW_WATER, MESSAGE_WEIGHT, PeerQueue, Waiter
from oddwire.errors import ConnectionClosed
from oddwire.schema import Message, message
from oddwire.transports.base import NodeId, PeerInfo

ALICE = NodeId("02" + "aa" * 32)


@message(0x8C01)
class Ask(Message): ...


@message(0x8C03)
class Answer(Message): ...


def make_lane(*, tracing: bool = False) -> PeerQueue:
    messenger: Any = None  # a lane never uses it
    return PeerQueue(Peer(messenger, ALICE), PeerInfo(node_id=ALICE), 2, tracing)


def waiter(asked: float) -> Waiter:
    return asyncio.get_running_loop().create_future(), asked


async def test_a_message_answers_the_first_request_that_waits_for_its_class() -> None:
    lane = make_lane()
    first, second, other = waiter(1.0), waiter(2.0), waiter(3.0)
    for reply, entry in ((Answer, first), (Answer, second), (Ask, other)):
        lane.ask(reply, entry)
    assert lane.attentive
    assert lane.answer(Answer()) == 1.0
    assert first[0].result() == Answer()
    assert not second[0].done()
    assert lane.answer(Ask()) == 3.0
    assert lane.answer(Ask()) is None
    lane.leave(Answer, first)
    lane.leave(Ask, other)
    assert lane.attentive
    lane.leave(Answer, second)
    assert not lane.attentive
    assert lane.answer(Answer()) is None


async def test_a_request_that_gave_up_is_passed_over() -> None:
    lane = make_lane()
    first, second = waiter(1.0), waiter(2.0)
    lane.ask(Answer, first)
    lane.ask(Answer, second)
    first[0].cancel()
    assert lane.answer(Answer()) == 2.0


async def test_a_traced_lane_stays_attentive() -> None:
    lane = make_lane(tracing=True)
    assert lane.attentive
    entry = waiter(1.0)
    lane.ask(Answer, entry)
    lane.leave(Answer, entry)
    lane.leave(Answer, entry)
    assert lane.attentive


async def test_giving_up_fails_every_request() -> None:
    lane = make_lane()
    entries = [waiter(1.0), waiter(2.0)]
    lane.ask(Answer, entries[0])
    lane.ask(Ask, entries[1])
    lane.give_up("cable cut")
    lane.give_up("again")
    for future, _ in entries:
        with pytest.raises(ConnectionClosed, match="cable cut"):
            future.result()


async def test_is_full_by_weight_and_later_while_a_request_waits() -> None:
    lane = make_lane()
    lane.held = HIGH_WATER
    assert not lane.is_full
    lane.held = HIGH_WATER + 1
    assert lane.is_full
    lane.ask(Answer, waiter(1.0))
    assert not lane.is_full
    assert lane.has_room
    lane.held = HIGH_WATER_ASKING + 1
    assert lane.is_full
    assert not lane.has_room


async def test_has_room_again_only_when_it_is_much_emptier() -> None:
    lane = make_lane()
    lane.held = LOW_WATER + 1
    assert not lane.has_room
    lane.held = LOW_WATER
    assert lane.has_room


async def test_drops_messages_but_not_greetings_and_farewells() -> None:
    async def run(*_: object) -> None: ...

    lane = make_lane()
    for owner in (0, 1, 2, 0):
        lane.queue.append((run, owner, None, MESSAGE_WEIGHT))
    lane.drop_messages()
    assert [entry[1] for entry in lane.queue] == [0, 0]
