"""Chunks on their way to the loop, without a thread: the loop is one that runs when the test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from oddwire.proto.keys import NodeId
from oddwire.transports.cln.loop_queue import LoopQueue
from oddwire.transports.cln.stdin_watch import StdinWatch

ONE, OTHER = NodeId("02" + "11" * 32), NodeId("02" + "22" * 32)


class Loop:
    """Keeps what is to be called; each `run_once` is an iteration."""

    def __init__(self) -> None:
        self.due: list[Callable[[], object]] = []
        self.closed = False

    def call_soon(self, function: Callable[[], object]) -> None:
        self.due.append(function)

    def call_soon_threadsafe(self, function: Callable[[], object]) -> None:
        if self.closed:
            raise RuntimeError("Event loop is closed")
        self.due.append(function)

    def run_once(self) -> None:
        due, self.due = self.due, []
        for function in due:
            function()


class Taken:
    def __init__(self, backlog: int = 100_000) -> None:
        self.loop = Loop()
        self.chunks: list[tuple[list[Any], dict[NodeId, int]]] = []
        self.watch = StdinWatch(lambda: False)
        self.queue = LoopQueue(self.loop, self.take, backlog, self.watch)  # type: ignore[arg-type]

    def take(self, items: list[Any], dropped: dict[NodeId, int]) -> None:
        self.chunks.append((items, dropped))

    def put(self, *payloads: bytes, peer: NodeId = ONE) -> None:
        self.queue.put_items([(peer, payload) for payload in payloads], sum(map(len, payloads)))


@pytest.fixture
def taken() -> Taken:
    return Taken()


def test_chunks_come_in_order_one_an_iteration_after_one_wake_up(taken: Taken) -> None:
    for payload in (b"a", b"b", b"c"):
        taken.put(payload)
        assert taken.queue.wake_loop()
    assert len(taken.loop.due) == 1
    for number in range(1, 4):
        taken.loop.run_once()
        assert [items for items, _ in taken.chunks] == [[(ONE, payload)] for payload in (b"a", b"b", b"c")[:number]]
    assert taken.loop.due == []


def test_what_is_delivered_now_does_not_overtake_what_is_due(taken: Taken) -> None:
    taken.put(b"a")
    taken.queue.wake_loop()
    taken.put(b"b")
    taken.queue.deliver_now()
    assert taken.chunks == []
    taken.loop.run_once()
    taken.loop.run_once()
    assert [items for items, _ in taken.chunks] == [[(ONE, b"a")], [(ONE, b"b")]]
    taken.put(b"c")
    taken.queue.deliver_now()
    assert taken.chunks[-1] == ([(ONE, b"c")], {})


def test_beyond_the_backlog_payloads_are_dropped_and_counted_and_all_else_is_not() -> None:
    taken = Taken(backlog=2 * (1000 + 128))
    for _ in range(2):
        taken.put(bytes(1000))
    taken.queue.put_items([(ONE, b"x"), {"method": "connect"}, (OTHER, b"y"), (ONE, b"z")], 3)
    taken.queue.put_end("the node has ended")
    taken.queue.deliver_now()
    while taken.loop.due:
        taken.loop.run_once()
    assert taken.chunks[2:] == [
        ([{"method": "connect"}], {ONE: 2, OTHER: 1}),
        (["the node has ended"], {}),
        ([], {}),  # caught up
    ]
    taken.put(bytes(1000))
    taken.queue.deliver_now()
    assert taken.chunks[-1] == ([(ONE, bytes(1000))], {})


def test_a_take_that_raises_does_not_stop_the_rest(taken: Taken) -> None:
    def fail(items: list[Any], dropped: dict[NodeId, int]) -> None:
        raise ValueError(items)

    take, taken.queue.take_items = taken.queue.take_items, fail
    taken.put(b"a")
    taken.put(b"b")
    with pytest.raises(ValueError, match="a"):
        taken.queue.deliver_now()
    taken.queue.take_items = take
    taken.loop.run_once()
    assert taken.chunks == [([(ONE, b"b")], {})]


def test_a_closed_loop_takes_nothing_and_nothing_is_kept_for_it(taken: Taken) -> None:
    taken.loop.closed = True
    taken.put(b"a")
    assert not taken.queue.wake_loop()
    assert taken.queue.wake_loop()  # for nothing waits any more
    taken.queue.deliver_now()
    assert taken.chunks == []


def test_a_loop_that_takes_what_was_read_has_come(taken: Taken) -> None:
    taken.put(b"a")
    taken.queue.wake_loop()
    assert taken.watch.beat == 0
    taken.loop.run_once()
    assert taken.watch.beat == 1
