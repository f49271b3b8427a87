"""What a plugin that is behind is told, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oddwire.node.plugins.notification_backlog import Backlog
from oddwire.node.plugins.process import PluginLimits

LOOPS = ("asyncio",)


class Way:
    """A backlog whose plugin has as much to read as the test says."""

    def __init__(self, **limits: Any) -> None:
        self.queued = 0
        self.sent: list[bytes] = []
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.backlog = Backlog(PluginLimits(unread=400, **limits), lambda: self.queued, self.told.put_nowait)
        self.backlog.send = self.sent.append

    def fill(self, queued: int) -> None:
        self.queued = queued
        self.backlog.set_crowded(queued > 100)

    def events(self, *events: tuple[str, str]) -> None:
        for topic, peer in events:
            self.backlog.notify(topic, f"{topic} {peer}".encode(), peer=peer)


async def test_who_reads_is_told_at_once() -> None:
    way = Way()
    way.events(("connect", "02"), ("disconnect", "02"))
    for topic in ("log", "warning", "plugin_started", "mine"):
        way.backlog.notify(topic, topic.encode())
    assert way.sent == [b"connect 02", b"disconnect 02", b"log", b"warning", b"plugin_started", b"mine"]
    assert not way.backlog.left_out


@pytest.mark.parametrize(
    ("queued", "heard"),
    [
        (101, ["connect", "disconnect", "plugin_started", "foreign"]),
        (201, ["plugin_started", "foreign"]),
        (301, ["plugin_started"]),
    ],
)
async def test_what_is_left_out_first(queued: int, heard: list[str]) -> None:
    way = Way()
    way.fill(queued)
    way.events(("connect", "02"), ("disconnect", "03"))
    for topic in ("log", "warning", "plugin_started"):
        way.backlog.notify(topic, topic.encode())
    way.backlog.notify("foreign", b"foreign", foreign=True)
    assert [data.split()[0].decode() for data in way.sent] == heard
    way.fill(0)
    late = [b"connect 02", b"disconnect 03"] if queued > 200 else []
    assert way.sent[len(heard) :] == late, "what still holds is told when there is room"
    left_out = {"log": 1, "warning": 1} | ({"foreign": 1} if queued > 300 else {})
    assert dict(way.backlog.left_out) == left_out


async def test_who_comes_and_goes_leaves_nothing() -> None:
    """However often: a plugin that was told of `there` hears how that ended, and of no one else."""
    way = Way()
    way.fill(201)
    for number in range(1000):
        way.events(("connect", f"{number}"), ("disconnect", f"{number}"))
        way.events(("disconnect", "there"), ("connect", "there"))
    way.events(("connect", "stays"))
    assert way.sent == []
    way.fill(0)
    assert way.sent == [b"disconnect there", b"connect there", b"connect stays"]
    assert way.backlog.left_out == {"connect": 1999, "disconnect": 1999}


async def test_order_holds_behind_what_is_late() -> None:
    way = Way()
    way.fill(201)
    way.events(("connect", "02"))
    way.queued = 150  # still crowded, and there would be room again
    way.events(("connect", "03"))
    way.fill(0)
    assert way.sent == [b"connect 02", b"connect 03"]


async def test_who_waits_goes_on_in_order_and_as_far_as_there_is_room() -> None:
    way = Way()
    way.fill(101)
    went: list[int] = []

    def make(number: int) -> Any:
        def call() -> None:
            if way.backlog.crowded:
                way.backlog.when_there_is_room(call)
                return
            went.append(number)
            if len(went) == 2:
                way.fill(101)

        return call

    calls = [make(number) for number in range(5)]
    for call in calls:
        way.backlog.when_there_is_room(call)
    way.backlog.cancel_call(calls[1])
    way.fill(0)
    assert went == [0, 2]
    way.fill(0)
    assert went == [0, 2, 3, 4]


async def test_waiting_for_room_ends_with_the_plugin_and_can_be_given_up() -> None:
    way = Way()
    await way.backlog.room()
    way.fill(101)
    waiting = [asyncio.ensure_future(way.backlog.room()) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    assert not waiting[1].done()
    way.backlog.set_stalled()
    await asyncio.sleep(0)
    assert not waiting[1].done(), "who decides about peers is not passed over"
    way.backlog.close()
    await waiting[1]


async def test_one_line_says_how_much_was_left_out() -> None:
    way = Way(report=0.01)
    way.fill(101)
    for _ in range(1000):
        way.backlog.notify("log", b"line")
    way.backlog.leave_out("custommsg")
    expected = "does not read fast enough; notifications dropped: 1 custommsg, 1000 log"
    assert await way.told.get() == expected
    way.backlog.notify("log", b"line")
    way.backlog.close()
    assert way.told.get_nowait() == "does not read fast enough; notifications dropped: 1 log"
    assert way.told.empty()
    assert way.backlog.left_out == {"custommsg": 1, "log": 1001}
