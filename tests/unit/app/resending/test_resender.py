"""When kept messages are sent, and what ends them, by a clock that jumps."""

from __future__ import annotations

import asyncio
import logging
import math
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from tests.unit.app.resending.conftest import ALICE, BOB, Ask, Even, No, Note, Prompt, Scene, Yes

from oddwire import Again, ConnectionClosed, Context, Extension, NodeRefused, Refuse, ReplyTimeout
from oddwire.app import Application, TraceEvent, hookimpl
from oddwire.app.resending.keys import encode_key
from oddwire.app.resending.resender import Resender
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Limits
from oddwire.testing import ScriptedTransport

LOOPS = ("jumping",)

TEN = Again(every=10)


def resender(scene: Scene) -> Resender:
    found = scene.app._dispatcher.core.resender  # type: ignore[union-attr]
    assert found is not None
    return found


async def test_it_goes_at_once_and_each_ten_seconds_until_it_is_settled(scene: Any) -> None:
    async with scene() as here:
        here.transport.connect_peer(ALICE)
        await here.idle()
        await here.alice.send(Ask(swap_id="1"), again=TEN)
        await here.idle()
        assert here.sent() == [Ask(swap_id="1")]
        await here.pass_time(9.0)
        assert len(here.sent()) == 1
        await here.pass_time(1.5)
        assert len(here.sent()) == 2
        await here.pass_time(40.0)
        assert here.sent() == [Ask(swap_id="1")] * 6
        assert await here.alice.settle("1") is True
        assert await here.alice.settle("1") is False
        await here.pass_time(100.0)
        assert len(here.sent()) == 6


async def test_nothing_goes_to_who_is_not_there_and_all_of_it_once_they_come(scene: Any) -> None:
    async with scene() as here:
        await here.alice.send(Ask(swap_id="1"), again=TEN)
        await here.alice.send(Ask(swap_id="2"), again=Again(every=None))
        await here.alice.send(Note(text="3"), again=Again(every=20, on_connect=False, key=3))
        await here.pass_time(25.0)
        assert here.sent() == []
        assert [one.due for one in await here.alice.pending()] == [None] * 3
        here.transport.connect_peer(ALICE)
        await here.idle()
        assert here.sent() == [Ask(swap_id="1"), Ask(swap_id="2"), Note(text="3")]
        here.transport.lose_peer(ALICE)
        await here.pass_time(5.0)
        here.transport.connect_peer(ALICE)
        await here.idle()
        assert here.sent()[3:] == [Ask(swap_id="1"), Ask(swap_id="2")], "the third is not due"
        await here.pass_time(14.9)
        assert here.sent()[5:] == [Ask(swap_id="1")]
        await here.pass_time(0.2)
        assert here.sent()[6:] == [Note(text="3")]
        here.transport.lose_peer(ALICE)
        await here.pass_time(60.0)
        here.transport.connect_peer(ALICE)
        await here.idle()
        assert {*here.sent()[7:]} == {Ask(swap_id="1"), Ask(swap_id="2"), Note(text="3")}, "it is overdue"


async def test_what_is_sent_first_goes_first(scene: Any) -> None:
    async with scene(Scene, Prompt()) as here:
        here.transport.connect_peer(ALICE)
        await here.idle()
        await here.alice.send(Ask(swap_id="1"), again=TEN)
        await here.alice.send(Note(text="2"))
        assert here.sent() == [Ask(swap_id="1"), Note(text="2")]


async def test_an_on_connect_goes_first_and_its_extension_alone_is_waited_for(scene: Any) -> None:
    class Greeting(Scene):
        def prepare(self, extension: Extension) -> None:
            self.met = asyncio.Event()

            @extension.on_connect
            async def greet(context: Context) -> None:
                await context.peer.send(Note(text="hello"))
                await self.met.wait()

    async with scene(Greeting) as here:
        await here.alice.send(Ask(swap_id="1"), again=TEN)
        here.transport.connect_peer(ALICE)
        await here.alice.send(Ask(swap_id="2"), again=TEN)
        await here.idle()
        assert here.sent() == [Note(text="hello")]
        assert [one.due for one in await here.alice.pending()] == [None, None]
        here.met.set()
        await here.idle()
        assert here.sent()[1:] == [Ask(swap_id="1"), Ask(swap_id="2")]
        await here.pass_time(10.5)
        assert here.sent()[3:] == [Ask(swap_id="1"), Ask(swap_id="2")], "each once"


async def test_a_slow_peer_holds_up_nobody_else_and_gets_nothing_twice(scene: Any) -> None:
    class Slow(ScriptedTransport):
        async def send(self, peer: NodeId, payload: bytes) -> None:
            if peer == ALICE:
                await gate.wait()
            await super().send(peer, payload)

    gate = asyncio.Event()
    async with scene(Scene, Slow(), session=False) as here:
        for peer in (ALICE, BOB):
            here.transport.connect_peer(peer)
        await here.idle()
        await here.alice.send(Ask(swap_id="1"), again=TEN)
        await here.alice.send(Ask(swap_id="2"), again=TEN)
        await here.app.peer(BOB).send(Ask(swap_id="3"), again=TEN)
        await here.pass_time(35.0)
        assert here.sent() == []
        assert [one.due for one in await here.alice.pending()] == [0.0, 0.0]
        assert len(here.sent(BOB)) == 4
        await here.alice.settle("2")
        gate.set()
        await here.idle()
        assert here.sent() == [Ask(swap_id="1")]


async def test_a_peer_that_comes_back_while_a_sending_fails_gets_it(scene: Any) -> None:
    class Breaking(ScriptedTransport):
        async def send(self, peer: NodeId, payload: bytes) -> None:
            if not gate.is_set():
                await gate.wait()
                raise ConnectionClosed("gone")
            await super().send(peer, payload)

    gate = asyncio.Event()
    async with scene(Scene, Breaking(), session=False) as here:
        here.transport.connect_peer(ALICE)
        await here.idle()
        await here.alice.send(Ask(swap_id="1"), again=Again(every=None))
        await here.idle()
        here.transport.lose_peer(ALICE)
        here.transport.connect_peer(ALICE)
        await here.idle()
        gate.set()
        await here.idle()
        assert here.sent() == [Ask(swap_id="1")]


async def test_one_that_fails_on_a_connection_that_is_still_listed_waits_for_the_next(scene: Any) -> None:
    class Breaking(ScriptedTransport):
        tries = 0

        async def send(self, peer: NodeId, payload: bytes) -> None:
            self.tries += 1
            raise ConnectionClosed("gone")

    async with scene(Scene, Breaking(), session=False) as here:
        here.transport.connect_peer(ALICE)
        await here.idle()
        await here.alice.send(Ask(swap_id="1"), again=TEN)
        await here.pass_time(100.0)
        assert here.transport.tries == 1
        here.transport.lose_peer(ALICE)
        here.transport.connect_peer(ALICE)
        await here.idle()
        assert here.transport.tries == 2


# What ends it ------------------------------------------------------------------------------------------------------


async def test_an_answer_settles_it_and_goes_to_its_handler(scene: Any) -> None:
    async with scene() as here:
        here.transport.connect_peer(ALICE)
        await here.idle()
        await here.alice.send(Ask(swap_id="1"), again=TEN)
        await here.alice.send(Ask(swap_id="2"), again=TEN)
        here.say(Yes(swap_id="3"))
        here.say(Yes(swap_id="2"))
        await here.idle()
        assert here.handled == [Yes(swap_id="3"), Yes(swap_id="2")]
        assert [one.key for one in await here.alice.pending()] == ["1"]
        await here.pass_time(10.5)
        assert here.sent()[2:] == [Ask(swap_id="1")]
        here.say(No(swap_id="1"))  # which nobody handles
        await here.idle()
        assert await here.alice.pending() == []
        queue = here.app._dispatcher.core.queues[ALICE]
        assert not queue.needs_slow_path, "messages go the fast way again"


async def test_an_answer_goes_to_the_request_that_waits_for_it(scene: Any) -> None:
    async with scene(session=False) as here:
        here.transport.connect_peer(ALICE)
        await here.idle()
        await here.alice.send(Ask(swap_id="1"), again=TEN)
        asking = asyncio.create_task(here.alice.request(Ask(swap_id="1"), Yes))
        await here.idle()
        here.say(Yes(swap_id="1"))
        assert await asking == Yes(swap_id="1")
        assert here.handled == []
        assert await here.alice.pending() == []


async def test_another_peers_answer_settles_nothing(scene: Any) -> None:
    async with scene() as here:
        for peer in (ALICE, BOB):
            here.transport.connect_peer(peer)
        await here.alice.send(Ask(swap_id="1"), again=TEN)
        here.say(Yes(swap_id="1"), BOB)
        await here.idle()
        assert len(await here.alice.pending()) == 1


async def test_while_its_answer_is_handled_it_is_neither_sent_nor_settled(scene: Any) -> None:
    async with scene() as here:
        here.transport.connect_peer(ALICE)
        await here.idle()
        here.gate.clear()
        await here.alice.send(Ask(swap_id="1"), again=Again(every=10, until=60))
        here.say(Yes(swap_id="1"))
        await here.pass_time(200.0)
        assert len(here.sent()) == 1
        assert here.lost == []
        assert len(await here.alice.pending()) == 1
        here.gate.set()
        await here.idle()
        assert await here.alice.pending() == []


async def test_a_handler_that_raises_leaves_it_kept_and_one_that_refuses_does_not(scene: Any) -> None:
    async with scene() as here:
        here.transport.connect_peer(ALICE)
        await here.idle()
        here.error = RuntimeError("ouch")
        await here.alice.send(Ask(swap_id="1"), again=TEN)
        here.say(Yes(swap_id="1"))
        await here.idle()
        await here.pass_time(10.5)
        assert here.sent() == [Ask(swap_id="1")] * 2
        here.error = Refuse("no")
        here.say(Yes(swap_id="1"))
        await here.idle()
        assert await here.alice.pending() == []


@pytest.mark.parametrize("every", [None, 1000])
async def test_a_peer_that_comes_back_while_its_answers_handler_runs_and_raises_gets_it(
    scene: Any, every: float | None
) -> None:
    class Beside(Scene):
        def prepare(self, extension: Extension) -> None:
            @extension.on(No, concurrent=True)
            async def no(context: Context, message: No) -> None:
                await self.gate.wait()
                raise RuntimeError("ouch")

    async with scene(Beside) as here:
        here.transport.connect_peer(ALICE)
        await here.idle()
        here.gate.clear()
        await here.alice.send(Ask(swap_id="1"), again=Again(every=every))
        here.say(No(swap_id="1"))
        await here.idle()
        here.transport.lose_peer(ALICE)
        here.transport.connect_peer(ALICE)
        await here.idle()
        assert here.sent() == [Ask(swap_id="1")], "its answer may settle it yet"
        here.gate.set()
        await here.idle()
        assert here.sent() == [Ask(swap_id="1")] * 2
        await here.pass_time(500.0)
        assert here.sent() == [Ask(swap_id="1")] * 2


async def test_what_an_answers_handler_sends_under_the_same_key_is_kept(scene: Any) -> None:
    class Going(Scene):
        def prepare(self, extension: Extension) -> None:
            @extension.on(No)
            async def no(context: Context, message: No) -> None:
                await context.peer.send(Note(text="next"), again=Again(every=10, key=message.swap_id))

    async with scene(Going) as here:
        here.transport.connect_peer(ALICE)
        await here.idle()
        await here.alice.send(Ask(swap_id="1"), again=TEN)
        here.say(No(swap_id="1"))
        await here.pass_time(10.5)
        assert here.sent() == [Ask(swap_id="1"), Note(text="next"), Note(text="next")]
        [kept] = await here.alice.pending()
        assert (kept.key, kept.message) == ("1", Note(text="next"))


async def test_its_age_is_told_of_counted_and_logged(scene: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with scene() as here:
        here.transport.connect_peer(ALICE)
        await here.idle()
        await here.alice.send(Ask(swap_id="1"), again=Again(every=10, until=timedelta(minutes=1)))
        await here.app.peer(BOB).send(Note(text="2"), again=Again(until=90, key=b"\x00k"))
        with caplog.at_level(logging.WARNING, "oddwire.app"):
            await here.pass_time(59.0)
            assert here.lost == []
            await here.pass_time(45.0)
        [first, second] = here.lost
        assert (first[0], second[0]) == (Ask(swap_id="1"), Note(text="2"))
        assert isinstance(first[1], ReplyTimeout)
        assert first[1].timeout == pytest.approx(60.0, abs=0.1)
        assert str(first[1]) == f"swap.Ask 0x8e05 to {ALICE} was not settled within 60 s"
        lines = [record.getMessage() for record in caplog.records]
        what = f"message not settled: swap.Ask 0x8e05 of 'swap' to {ALICE}, key '1'"
        assert lines[0] == f"{what}; it was 60 s old, and sent 6 times since the start"
        what = f"message not settled: swap.Note 0x8e07 of 'swap' to {BOB}, key b'\\x00k'"
        assert lines[1] == f"{what}; it was 90 s old, and sent 0 times since the start"
        assert here.app.counters.undelivered == {"unsettled": 2}
        assert await here.alice.pending() == []
        await here.pass_time(100.0)
        assert len(here.sent()) == 6
        assert len(here.lost) == 2


async def test_the_limit_ends_what_would_go_on(scene: Any) -> None:
    async with scene(limits=Limits(outbox_seconds=50)) as here:
        await here.alice.send(Ask(swap_id="1"), again=Again(until=timedelta(days=400)))
        await here.pass_time(51.0)
        assert len(here.lost) == 1


async def test_a_machine_that_was_suspended_drops_what_is_too_old(scene: Any) -> None:
    async with scene() as here:
        await here.alice.send(Ask(swap_id="1"), again=Again(until=3600))
        here.app.resources.delivery().store.ages._offset += 3600.0  # the loop's clock stands still meanwhile
        await here.pass_time(61.0)
        assert len(here.lost) == 1


# Even types, errors ------------------------------------------------------------------------------------------------


async def test_an_even_type_waits_for_who_knows_it_and_that_is_told_once(
    scene: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene(session=False) as here:
        await here.alice.send(Even(text="1"), again=Again(every=10, key=1))
        for _ in range(2):
            here.transport.connect_peer(ALICE)
            await here.pass_time(60.0)
            here.transport.lose_peer(ALICE)
        assert here.sent() == []
        [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert line.startswith(
            f"swap.Even 0x8e08 of 'swap' for {ALICE} waits for the next connection: Even has the even"
        )
        here.transport.connect_peer(ALICE, features=[901])
        await here.pass_time(15.0)
        assert here.sent() == [Even(text="1")] * 2
        await here.app.peer(BOB).send(Even(text="2"), again=Again(key=1), force=True)
        here.transport.connect_peer(BOB)
        await here.idle()
        assert here.sent(BOB) == [Even(text="2")]


async def test_a_sending_that_fails_is_tried_again_and_told_once(scene: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(ScriptedTransport):
        left = 3

        async def send(self, peer: NodeId, payload: bytes) -> None:
            if self.left:
                self.left -= 1
                raise NodeRefused("not now", code=-1)
            await super().send(peer, payload)

    async with scene(Scene, Failing(), session=False) as here:
        here.transport.connect_peer(ALICE)
        await here.idle()
        await here.alice.send(Ask(swap_id="1"), again=TEN)
        await here.pass_time(31.0)
        assert here.sent() == [Ask(swap_id="1")]
        told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert told == [f"swap.Ask 0x8e05 of 'swap' for {ALICE} is kept, and could not be sent: not now"]
        [kept] = await here.alice.pending()
        assert (kept.sent, kept.due) == (1, pytest.approx(9.0, abs=0.1))


async def test_each_sending_is_traced(scene: Any) -> None:
    class Tracer:
        name = "tracer"

        def __init__(self) -> None:
            self.seen: list[TraceEvent] = []

        @hookimpl
        def message_traced(self, event: TraceEvent) -> None:
            self.seen.append(event)

    tracer = Tracer()

    class Traced(Scene):
        def __init__(self, **keywords: Any) -> None:
            from oddwire.app import PluginManager

            plugins = PluginManager()
            plugins.register(tracer)
            super().__init__(plugins=plugins, session=False, **keywords)

    async with scene(Traced) as here:
        here.transport.connect_peer(ALICE)
        await here.idle()
        await here.alice.send(Ask(swap_id="1"), again=TEN)
        await here.pass_time(10.5)
        here.say(Yes(swap_id="1"))
        await here.idle()
    assert [(event.direction, event.message) for event in tracer.seen] == [
        ("sent", Ask(swap_id="1")),
        ("sent", Ask(swap_id="1")),
        ("received", Yes(swap_id="1")),
    ]


# How much ----------------------------------------------------------------------------------------------------------


async def test_many_have_one_timer_and_one_task_for_each_peer(scene: Any) -> None:
    async with scene(session=False) as here:
        for number in range(300):
            await here.alice.send(Ask(swap_id=f"{number}"), again=TEN)
        for number in range(300):
            peer = NodeId(b"\x02" + number.to_bytes(32, "big"))
            await here.app.peer(peer).send(Ask(swap_id="x"), again=Again(until=1000 + number))
        before = here.app._dispatcher.tasks.count
        timers = len([each for each in here.loop._scheduled if not each.cancelled()])
        here.transport.connect_peer(ALICE)
        await here.idle()
        assert here.app._dispatcher.tasks.count <= before + 2  # the peer's queue, and what sends
        assert len([each for each in here.loop._scheduled if not each.cancelled()]) <= timers + 1
        await here.pass_time(50.0)
        assert len(here.sent()) >= 300 * 5
        places = [place for _, place, entry in resender(here)._heap if entry.place == place]
        assert len(places) == 600, "each has one place"
        assert len(resender(here)._heap) <= 2 * 600 + 64
        for number in range(300):
            await here.alice.settle(f"{number}")
        assert len(resender(here)._heap) <= 2 * 300 + 64


async def test_a_connection_with_many_lets_others_have_their_turn(scene: Any) -> None:
    async with scene(Scene, Prompt(), session=False) as here:
        many = [Ask(swap_id=f"{number}") for number in range(1000)]
        for each in many:
            await here.alice.send(each, again=TEN)
        here.transport.connect_peer(ALICE)
        entries, counts = [*resender(here)._kept.entries.values()], [0]
        while counts[-1] < 1000:
            await asyncio.sleep(0)
            counts.append(sum(entry.connection is not None for entry in entries))
            if 0 < counts[-1] < 1000:
                assert resender(here).due_in(entries[-1]) == 0.0, "it is about to be sent"
        assert max(after - before for before, after in pairwise(counts)) <= 2 * 200
        await here.idle()
        assert here.sent() == many
        assert ALICE not in resender(here)._renewals
        await here.pass_time(10.5)
        assert here.sent()[1000:] == many


async def test_what_is_new_goes_behind_the_many_that_have_waited(scene: Any) -> None:
    async with scene(Scene, Prompt(), session=False) as here:
        many = [Ask(swap_id=f"{number}") for number in range(500)]
        for each in many:
            await here.alice.send(each, again=TEN)
        here.transport.connect_peer(ALICE)
        await here.alice.send(Ask(swap_id="new"), again=TEN)
        assert ALICE in resender(here)._renewals, "that was in between"
        await here.alice.settle("450")
        await here.alice.send(Ask(swap_id="460"), again=Again(every=20))
        await here.pass_time(1.0)
        wanted = [each for each in many if each.swap_id not in ("450", "460")]
        assert here.sent() == [*wanted, Ask(swap_id="new"), Ask(swap_id="460")]


@pytest.mark.parametrize("turns", range(1, 8))
async def test_a_peer_that_leaves_while_many_are_made_due_gets_each_once_when_it_is_back(
    scene: Any, turns: int
) -> None:
    async with scene(session=False) as here:
        many = [Ask(swap_id=f"{number}") for number in range(1000)]
        for each in many:
            await here.alice.send(each, again=TEN)
        here.transport.connect_peer(ALICE)
        for _ in range(turns):
            await asyncio.sleep(0)
        here.transport.lose_peer(ALICE)
        assert ALICE not in resender(here)._renewals
        first = here.sent()
        assert first == many[: len(first)]
        assert len(first) < 1000
        here.transport.connect_peer(ALICE)
        await here.pass_time(1.0)
        again = here.sent()[len(first) :]
        assert again == many
        assert ALICE not in resender(here)._renewals
        here.transport.lose_peer(ALICE)
        await here.pass_time(100.0)
        assert len(here.sent()) == len(first) + 1000


async def test_what_falls_due_while_many_are_made_due_goes_once_and_in_order(scene: Any) -> None:
    async with scene(Scene, Prompt(), session=False) as here:
        many = [Ask(swap_id=f"{number}") for number in range(1000)]
        for each in many:
            await here.alice.send(each, again=TEN)
        here.transport.connect_peer(ALICE)
        await here.idle()
        here.transport.lose_peer(ALICE)
        due = max(entry.due for entry in resender(here)._kept.entries.values())
        here.loop.call_at(math.nextafter(due, 0.0), here.transport.connect_peer, ALICE)  # just before the timer
        await here.pass_time(11.0)
        assert here.sent()[1000:] == many


@pytest.mark.parametrize("turns", range(1, 6))
async def test_an_on_connect_that_ends_while_many_are_made_due_opens_the_rest(turns: int) -> None:
    one, two = Extension("one", version="1.0"), Extension("two", version="1.0")
    one.register(Ask)
    two.register(Note)

    @one.on_connect
    async def greet(context: Context) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    transport = ScriptedTransport()
    async with Application(one, two, transport=transport, session=False, store=":memory:") as app:
        asks, notes = [Ask(swap_id=f"{number}") for number in range(300)], [Note(text=f"{n}") for n in range(300)]
        for ask, note in zip(asks, notes, strict=True):
            await app.peer(ALICE).send(ask, again=Again(every=10))
            await app.peer(ALICE).send(note, again=Again(every=10, key=note.text))
        transport.connect_peer(ALICE)
        await asyncio.sleep(1.0)
        sent = [app.registry.decode(payload) for _, payload in transport.sent]
        assert [each for each in sent if isinstance(each, Ask)] == asks
        assert [each for each in sent if isinstance(each, Note)] == notes


async def test_without_any_nothing_is_made(scene: Any) -> None:
    async with scene() as here:
        here.transport.connect_peer(ALICE)
        await here.idle()
        await here.app.store("swap").set("a", 1)
        core = here.app._dispatcher.core
        assert core.resender is None
        assert core.queues[ALICE].answers is None
        assert len(core.resources.delivery().store._parts) == 5, "it takes no part in commits"
    assert encode_key("a") == b"sa"


@pytest.mark.asyncio(loop_factories=["asyncio"])  # the clock is the test's
@pytest.mark.parametrize("every", [0.1, 0.3, 1.1, 1 / 3, 0.001])
async def test_each_of_its_times_comes_however_it_is_rounded(every: float, run_app, raw_peer, clock) -> None:
    """A timer that asyncio runs a nanosecond early would find nothing due, for ever."""
    extension = Extension("test", version="1.0")
    extension.register(Note)
    async with clock, run_app(extension) as app, raw_peer(app) as peer:
        await app.peer(peer.node_id).send(Note(text="1"), again=Again(every=every, key=1))
        await clock.advance(20 * every)
        assert len([payload for payload in peer.received if payload.startswith("8e07")]) == 21
