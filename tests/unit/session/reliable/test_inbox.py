"""The inbox: every message's handler takes effect once, in order, and is acknowledged once that is on disk."""

from __future__ import annotations

import asyncio
import functools
import random
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from typing import Any

import pytest

from oddwire.errors import Refuse, RemoteFailure
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Limits
from oddwire.session.reliable.inbox import ATTEMPTS, MAX_LANES, NotNow
from oddwire.session.wire.frame_types import MAX_WINDOW, Ack, AckFlag, Code, Data

LANE = 7


def acks(end: Any) -> list[Ack]:
    return [frame for frame in end.sent if isinstance(frame, Ack)]


def receive(end: Any, sequence: int, payload: bytes = b"", *, base: int = 1, lane: int = LANE, epoch: int = 1) -> bool:
    data = Data(lane, epoch, base, sequence, b"\x80\x01" + payload)
    source = end.program_there if end.linked else None
    found: bool = end.inbox.receive(end.peer.node_id, data, end.now, source)
    return found


async def test_acks_come_after_the_commit_and_not_for_each_message(pair: Any) -> None:
    pair.link()
    for sequence in range(1, 101):
        assert receive(pair.bob, sequence)
    assert acks(pair.bob) == []
    await pair.settle()
    assert acks(pair.bob)[-1].value == 100
    assert len(acks(pair.bob)) < 20
    assert await pair.bob.door.get("count") == 100


async def test_nothing_is_acknowledged_that_is_not_on_disk(pair: Any) -> None:
    pair.link()
    writer = pair.bob.store._database.writer
    writer.execute("PRAGMA query_only = 1")
    receipts = [await pair.alice.send(b"%d" % number) for number in range(3)]
    await pair.settle()
    assert all(ack.value == 0 for ack in acks(pair.bob))
    assert pair.alice.outbox.waiting(pair.bob.node_id)[0] == 3
    writer.execute("PRAGMA query_only = 0")
    for _ in range(3):
        pair.alice.wait(100)
        await pair.settle()
    await asyncio.gather(*(receipt.delivered() for receipt in receipts))
    assert await pair.bob.door.get("count") == 3


async def test_a_full_disk_at_the_receiver(pair: Any) -> None:
    async def keep(payload: bytes) -> None:
        await pair.bob.door.set(payload[2:].decode(), bytes(5000))

    pair.bob.handler = keep
    pair.link()
    writer = pair.bob.store._database.writer
    writer.execute("PRAGMA max_page_count = 40")
    receipts = [await pair.alice.send(b"%d" % number) for number in range(50)]
    await pair.settle()
    kept = {key for key, _ in await pair.bob.door.items()}
    assert 0 <= len(kept) < 50
    assert max((ack.value for ack in acks(pair.bob)), default=0) == len(kept)
    writer.execute("PRAGMA max_page_count = 100000")
    while pair.alice.outbox.waiting(pair.bob.node_id)[0]:
        pair.alice.wait(100)
        await pair.settle()
    await asyncio.gather(*(receipt.delivered() for receipt in receipts))
    assert {key for key, _ in await pair.bob.door.items()} == {f"{number}" for number in range(50)}


async def test_a_crash_of_the_receiver_repeats_what_was_not_committed(pair: Any) -> None:
    hang = asyncio.Event()

    async def handle(payload: bytes) -> None:
        await pair.bob.count(payload)
        if payload.endswith(b"5"):
            await hang.wait()

    pair.bob.handler = handle
    pair.link()
    receipts = [await pair.alice.send(b"%d" % number) for number in range(8)]
    while not acks(pair.bob) or acks(pair.bob)[-1].value < 5:
        await asyncio.sleep(0)
    await pair.bob.restart(crash=True)
    assert await pair.bob.door.get("count") == 5
    hang.set()
    pair.link()
    await asyncio.gather(*(receipt.delivered() for receipt in receipts))
    assert await pair.bob.door.get("count") == 8


async def test_refusals_reach_the_sender_even_after_crashes(pair: Any) -> None:
    async def handle(payload: bytes) -> None:
        await pair.bob.door.set("seen", payload)
        if payload.endswith(b"no"):
            raise Refuse("not this one" * 100, code=1234)

    pair.bob.handler = handle
    pair.link()
    pair.bob.lose = set(range(100))  # nobody hears Bob
    bad, good = await pair.alice.send(b"no"), await pair.alice.send(b"yes")
    await pair.settle()
    await pair.bob.restart(crash=True)
    pair.bob.lose = set()
    pair.link()
    with pytest.raises(RemoteFailure) as caught:
        await bad.delivered()
    assert caught.value.code == 1234
    assert caught.value.text == ("not this one" * 100)[:1000]
    await good.delivered()
    assert await pair.bob.door.get("seen") == b"\x80\x01yes"
    await (await pair.alice.send(b"later")).delivered()
    await pair.settle()
    await (await pair.alice.send(b"later")).delivered()
    reader = pair.bob.store._database.reader
    assert reader.execute("SELECT count(*) FROM oddwire_refusals").fetchone() == (0,), "its sender knows"


async def test_a_handler_that_fails_is_tried_again_then_refused_and_the_lane_goes_on(pair: Any) -> None:
    async def handle(payload: bytes) -> None:
        await pair.bob.count(payload)
        if payload.endswith(b"bad"):
            raise ValueError("a mistake")

    pair.bob.handler = handle
    pair.link()
    bad, good = await pair.alice.send(b"bad"), await pair.alice.send(b"good")
    with pytest.raises(RemoteFailure) as caught:
        await bad.delivered()
    assert (caught.value.code, caught.value.text) == (Code.INTERNAL, ""), "no word of ours reaches the peer"
    await good.delivered()
    assert pair.bob.failed == [("a mistake", attempt) for attempt in range(1, ATTEMPTS + 1)]
    assert await pair.bob.door.get("count") == 1


async def test_a_handler_that_recovers(pair: Any) -> None:
    async def handle(payload: bytes) -> None:
        await pair.bob.count(payload)
        if len(pair.bob.failed) < ATTEMPTS - 1:
            raise ValueError

    pair.bob.handler = handle
    pair.link()
    await (await pair.alice.send(b"1")).delivered()
    assert await pair.bob.door.get("count") == 1


@pytest.mark.parametrize("crashed", [False, True])
async def test_what_a_handler_cannot_take_now_comes_again_however_often(pair: Any, crashed: bool) -> None:
    times = []

    async def handle(payload: bytes) -> None:
        times.append(payload)
        await pair.bob.count(payload)
        if len(times) <= 2 * ATTEMPTS:
            raise NotNow("what it needs is not there")

    pair.link()
    await (await pair.alice.send(b"before")).delivered()
    if crashed:
        await pair.bob.restart(crash=True)  # from now on attempts are noted before they are made
        pair.link()
    pair.bob.handler = handle
    receipt = await pair.alice.send(b"1")
    while not receipt._settled:
        pair.alice.wait(100)
        await pair.settle()
    await receipt.delivered()
    assert len(times) == 2 * ATTEMPTS + 1
    assert pair.bob.failed == []
    assert await pair.bob.door.get("count") == 2


async def test_closing_ends_what_is_being_handled_and_begins_nothing_more(pair: Any) -> None:
    going, go_on = asyncio.Event(), asyncio.Event()

    async def handle(payload: bytes) -> None:
        await pair.bob.count(payload)
        going.set()
        await go_on.wait()

    pair.bob.handler = handle
    pair.link()
    receipts = [await pair.alice.send(b"%d" % number) for number in range(3)]
    await going.wait()
    pair.bob.inbox.close()
    go_on.set()
    receipts.append(await pair.alice.send(b"3"))
    await pair.settle()
    assert pair.bob.handled == [b"\x80\x010"]
    assert acks(pair.bob)[-1].value == 1
    await pair.bob.restart()
    pair.link()
    await asyncio.gather(*(receipt.delivered() for receipt in receipts))
    assert await pair.bob.door.get("count") == 4
    assert pair.bob.failed == []


async def test_closing_waits_for_no_other_attempt(pair: Any) -> None:
    async def fail(payload: bytes) -> None:
        raise ValueError("a mistake")

    pair.bob.handler, handler = fail, pair.bob.handler
    pair.bob.inbox._pause = 1e9
    pair.link()
    receipt = await pair.alice.send(b"1")
    while not pair.bob.failed:
        await asyncio.sleep(0)
    pair.bob.inbox.close()
    await pair.settle()
    assert pair.bob.failed == [("a mistake", 1)]
    await pair.bob.restart()
    pair.bob.handler = handler
    pair.link()
    await receipt.delivered()


async def test_attempts_are_counted_across_restarts(pair: Any) -> None:
    async def handle(payload: bytes) -> None:
        raise ValueError

    pair.bob.handler = handle
    pair.bob.inbox._pause = 3600
    pair.link()
    receipt = await pair.alice.send(b"bad")
    for attempt in range(1, ATTEMPTS):
        while len(pair.bob.failed) < attempt:
            await asyncio.sleep(0)
        await pair.bob.store.touch().durable()
        await pair.bob.restart()
        pair.bob.inbox._pause = 3600
        pair.link()
    with pytest.raises(RemoteFailure):
        await receipt.delivered()
    assert [attempt for _, attempt in pair.bob.failed] == [1, 2, 3, 4, 5]


async def test_a_handler_that_kills_the_process_is_given_up_too(pair: Any) -> None:
    deaths = []

    async def handle(payload: bytes) -> None:
        await pair.bob.count(payload)
        if payload.endswith(b"deadly"):
            deaths.append(payload)
            await asyncio.Event().wait()  # as far as the process comes

    pair.bob.handler = handle
    pair.link()
    await (await pair.alice.send(b"before")).delivered()
    receipts = [await pair.alice.send(name) for name in (b"good", b"deadly", b"after")]
    # The first time is not counted: nobody knew yet that it would be deadly
    for death in range(1, ATTEMPTS + 2):
        while len(deaths) < death:
            await asyncio.sleep(0)
        await pair.bob.restart(crash=True)
        pair.link()
    await receipts[0].delivered()
    with pytest.raises(RemoteFailure) as caught:
        await receipts[1].delivered()
    assert caught.value.code == Code.INTERNAL
    await receipts[2].delivered()
    assert len(deaths) == ATTEMPTS + 1
    assert await pair.bob.door.get("count") == 3


async def test_lanes_do_not_wait_for_each_other(pair: Any) -> None:
    hang = asyncio.Event()

    async def handle(payload: bytes) -> None:
        if payload.endswith(b"slow"):
            await hang.wait()

    pair.bob.handler = handle
    pair.link()
    slow = [await pair.alice.send(name) for name in (b"slow", b"behind")]
    other = await pair.alice.send(b"other", extension="other")
    await other.delivered()
    assert pair.bob.handled == [b"\x80\x01other"]
    hang.set()
    await slow[1].delivered()
    assert pair.bob.handled[1:] == [b"\x80\x01slow", b"\x80\x01behind"]


async def test_a_handler_that_awaits_what_was_cancelled_has_failed(pair: Any) -> None:
    async def handle(payload: bytes) -> None:
        if not pair.bob.failed:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    pair.bob.handler = handle
    pair.link()
    await (await pair.alice.send(b"1")).delivered()
    assert pair.bob.failed == [("the handler awaited something that was cancelled", 1)]


@pytest.mark.parametrize("waits", [True, False])
async def test_a_handler_that_cancels_its_own_task_has_failed(pair: Any, waits: bool) -> None:
    async def handle(payload: bytes) -> None:
        await pair.bob.count(payload)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        if payload.endswith(b"1") and len(pair.bob.failed) < 2:
            task.cancel()
            if waits:
                await asyncio.Event().wait()

    pair.bob.handler = handle
    pair.link()
    receipts = [await pair.alice.send(name) for name in (b"1", b"2", b"3")]
    for receipt in receipts:
        await receipt.delivered()
    assert pair.bob.failed == [("the handler cancelled its own task", number) for number in (1, 2)]
    assert list(dict.fromkeys(pair.bob.handled)) == [b"\x80\x011", b"\x80\x012", b"\x80\x013"]
    assert await pair.bob.door.get("count") == 3  # what failed has left nothing


async def test_what_is_given_up_while_it_is_handled_leaves_nothing(pair: Any) -> None:
    hang = asyncio.Event()

    async def handle(payload: bytes) -> None:
        await pair.bob.count(payload)
        if payload.endswith(b"slow"):
            await hang.wait()

    pair.bob.handler = handle
    pair.link()
    slow = await pair.alice.send(b"slow")
    await asyncio.sleep(0.01)
    lane = pair.alice.lane()
    pair.alice.outbox.drop(pair.bob.node_id, lane.lane, lane.sender.epoch, 1, Code.TOO_LARGE, "")
    with pytest.raises(RemoteFailure):
        await slow.delivered()
    receipt = await pair.alice.send(b"next")
    hang.set()
    await receipt.delivered()
    assert await pair.bob.door.get("count") == 1


async def test_who_has_no_handler_refuses(pair: Any) -> None:
    def handler_of(node_id: object, payload: bytes) -> Any:
        raise Refuse.of_session("what is this", Code.UNKNOWN_MESSAGE)

    pair.bob.handler_of = handler_of
    pair.link()
    with pytest.raises(RemoteFailure, match="what is this") as caught:
        await (await pair.alice.send(b"1")).delivered()
    assert caught.value.code == Code.UNKNOWN_MESSAGE


async def test_a_stranger_costs_no_disk_and_little_memory(pair: Any) -> None:
    async def refuse(payload: bytes) -> None:
        raise Refuse.of_session("who are you", Code.NOT_ALLOWED)

    pair.bob.handler = refuse
    pair.link()
    for lane in range(3 * MAX_LANES):
        assert receive(pair.bob, 1, lane=lane)
        assert receive(pair.bob, 2, lane=lane)
        await pair.settle()
        ack = acks(pair.bob)[-1]
        assert (ack.id, ack.value, len(ack.failures)) == (lane, 2, 2)
    assert len(pair.bob.inbox._peers[pair.alice.node_id].lanes) == 16
    reader = pair.bob.store._database.reader
    assert reader.execute("SELECT count(*) FROM oddwire_inbox").fetchone() == (0,)
    assert reader.execute("SELECT count(*) FROM oddwire_refusals").fetchone() == (0,)
    # One that was forgotten begins again
    assert receive(pair.bob, 3, lane=0, base=3)
    await pair.settle()
    assert acks(pair.bob)[-1].value == 3


async def test_what_was_refused_before_the_first_was_handled_is_remembered_with_it(pair: Any) -> None:
    async def handle(payload: bytes) -> None:
        if payload.endswith(b"no"):
            raise Refuse("no")

    pair.bob.handler = handle
    pair.link()
    pair.bob.lose = set(range(100))
    receipt = await pair.alice.send(b"no")
    await pair.settle()
    await pair.alice.send(b"yes")
    await pair.settle()
    await pair.bob.restart(crash=True)
    pair.bob.handler = pair.bob.count
    pair.bob.lose = set()
    pair.link()
    with pytest.raises(RemoteFailure, match="no"):
        await receipt.delivered()
    assert await pair.bob.door.get("count") is None, "it was not asked again"


def lanes_on_disk(end: Any) -> list[int]:
    with closing(sqlite3.connect(end.path)) as database:
        return [
            int.from_bytes(lane) for (lane,) in database.execute("SELECT lane FROM oddwire_inbox ORDER BY seen, lane")
        ]


async def test_of_a_peers_lanes_those_not_used_for_longest_are_forgotten(pair: Any) -> None:
    pair.link()
    for lane in range(MAX_LANES):
        assert receive(pair.bob, 1, lane=lane)
        if lane % 8 == 0:
            await pair.settle()
            pair.bob.grow_old(1)
    await pair.settle()
    assert lanes_on_disk(pair.bob) == [*range(MAX_LANES)]
    pair.bob.unlink()
    pair.bob.link()
    pair.bob.grow_old(7 * 86_400)
    assert receive(pair.bob, 1, lane=0), "it comes again, and is not handled again"
    await pair.settle()
    assert len(pair.bob.handled) == MAX_LANES
    for lane in range(MAX_LANES, MAX_LANES + 10):
        assert receive(pair.bob, 1, lane=lane)
        await pair.settle()
        pair.bob.grow_old(1)
    assert lanes_on_disk(pair.bob) == [*range(11, MAX_LANES), 0, *range(MAX_LANES, MAX_LANES + 10)]
    assert pair.bob.inbox.counters.dropped["lanes"] == 10
    assert receive(pair.bob, 1, lane=5), "it was forgotten"
    await pair.settle()
    assert len(pair.bob.handled) == MAX_LANES + 11


async def test_lanes_that_are_busy_are_not_forgotten_and_one_more_is_not_taken(pair: Any) -> None:
    hang = asyncio.Event()
    pair.link()
    for lane in range(MAX_LANES):
        assert receive(pair.bob, 1, lane=lane)
        await pair.settle()

    async def handle(payload: bytes) -> None:
        await hang.wait()

    pair.bob.handler = handle
    for lane in range(MAX_LANES):
        assert receive(pair.bob, 2, lane=lane)
    assert not receive(pair.bob, 1, lane=MAX_LANES)
    hang.set()
    await pair.settle()
    assert receive(pair.bob, 1, lane=MAX_LANES)


async def test_what_waits_for_a_slow_handler_is_bounded(pair: Any) -> None:
    hang = asyncio.Event()

    async def handle(payload: bytes) -> None:
        await hang.wait()

    pair.bob.handler = handle
    pair.link()
    for sequence in range(1, MAX_WINDOW + 1):
        assert receive(pair.bob, sequence, bytes(65_000))
    held = pair.bob.inbox._peers[pair.alice.node_id].held
    assert 8_000_000 < held <= 8 << 20
    hang.set()
    await pair.settle()
    last = acks(pair.bob)[-1]
    assert last.value == held // 65_002
    assert last.flags == AckFlag.AGAIN, "what there was no room for is wanted now"
    assert pair.bob.inbox._peers[pair.alice.node_id].held == 0


async def test_peers_that_are_gone_leave_nothing_in_memory(pair: Any) -> None:
    pair.link()
    await (await pair.alice.send(b"1")).delivered()
    await pair.settle()
    pair.bob.unlink()
    assert pair.bob.inbox._peers == {}
    pair.link()
    hang = asyncio.Event()

    async def handle(payload: bytes) -> None:
        await hang.wait()

    pair.bob.handler = handle
    await pair.alice.send(b"2")
    await asyncio.sleep(0.01)
    pair.bob.unlink()
    hang.set()
    await pair.settle()
    assert pair.bob.handled == [b"\x80\x011", b"\x80\x012"], "what was begun ends"
    assert pair.bob.inbox._peers == {}


async def test_who_is_back_before_all_of_before_is_handled_is_not_gone(pair: Any) -> None:
    gates = {b"\x80\x01before": asyncio.Event(), b"\x80\x01after": asyncio.Event()}

    async def handle(payload: bytes) -> None:
        await gates[payload].wait()

    pair.bob.handler = handle
    pair.link()
    receive(pair.bob, 1, b"before")
    await asyncio.sleep(0.01)
    pair.bob.unlink()
    pair.bob.link()
    receive(pair.bob, 1, b"after", lane=8)
    await asyncio.sleep(0.01)
    for gate in gates.values():
        gate.set()
        async with asyncio.timeout(30):
            while (lanes := pair.bob.inbox._peers[pair.alice.node_id].lanes) and lanes.get(LANE) and lanes[LANE].busy:
                await asyncio.sleep(0.001)
        await pair.bob.store.touch().durable()
    await pair.settle()
    assert [(ack.id, ack.value) for ack in acks(pair.bob)] == [(8, 1)]


async def test_while_the_store_cannot_be_opened_nothing_is_taken(pair: Any) -> None:
    await pair.bob.stop()
    pair.bob.path = pair.bob.path.parent / "missing" / "bob"
    with pytest.raises(Exception, match="cannot be opened"):
        await pair.bob.start()
    pair.link()
    receipt = await pair.alice.send(b"1")
    await pair.settle()
    assert acks(pair.bob) == []
    pair.bob.path.parent.mkdir()
    await pair.bob.store.open()
    pair.alice.wait(5)
    await receipt.delivered()


async def test_an_inbox_that_cannot_be_read_is_told_of_once_and_no_fault_of_the_peers(
    pair: Any, caplog: pytest.LogCaptureFixture
) -> None:
    reader = pair.bob.store._database.reader
    pair.link()
    with closing(sqlite3.connect(pair.bob.path)) as other:
        other.execute("ALTER TABLE oddwire_inbox RENAME TO somewhere_else")
        for sequence in (1, 2, 3):
            assert receive(pair.bob, sequence)
        assert caplog.text.count("no reliable messages are accepted") == 1
        assert acks(pair.bob) == []
        other.execute("ALTER TABLE somewhere_else RENAME TO oddwire_inbox")
    assert reader.execute("SELECT count(*) FROM oddwire_inbox").fetchone() == (0,)
    assert receive(pair.bob, 1)
    await pair.settle()
    assert acks(pair.bob)[-1].value == 1


@pytest.mark.parametrize("seed", range(6))
async def test_a_rough_day(pair: Any, seed: int) -> None:
    """Either end crashes, frames are lost, handlers refuse or fail: each message takes effect once, in its order."""
    chance = random.Random(seed)
    alice, bob = pair.alice, pair.bob
    attempts: Counter[bytes] = Counter()

    async def handle(payload: bytes) -> None:
        number = int(payload[2:])
        if number % 5 == 0:
            raise Refuse("not this one", code=1000)
        seen = await bob.door.get("seen", "")
        assert isinstance(seen, str)
        await bob.door.set("seen", f"{seen} {number}")
        await bob.outbox.send(alice.node_id, "test", b"\x80\x01%d" % number)
        if chance.random() < 0.3:
            await asyncio.sleep(0)
        attempts[payload] += 1
        if number % 7 == 0 and attempts[payload] == 1:
            raise ValueError("at first")

    async def note(payload: bytes) -> None:
        seen = await alice.door.get("seen", "")
        assert isinstance(seen, str)
        await alice.door.set("seen", f"{seen} {payload[2:].decode()}")

    bob.handler, alice.handler = handle, note
    sent, receipts = 0, dict[int, Any]()
    while sent < 120:
        match chance.randrange(12):
            case 0:
                await chance.choice((alice, bob)).restart(crash=chance.random() < 0.7)
                receipts.clear()  # those of a process that is gone are of no use
            case 1 | 2:
                for end in (alice, bob):
                    end.lose = {chance.randrange(30) for _ in range(chance.randrange(4))}
                pair.link()
            case 3:
                for end in (alice, bob):
                    end.wait(chance.choice((1, 10, 100)))
            case 4:
                await pair.settle()
            case 5:
                await asyncio.sleep(0.002)
            case _:
                for _ in range(chance.randrange(1, 5)):
                    sent += 1
                    receipts[sent] = await alice.send(b"%d" % sent)
    for _ in range(50):
        for end in (alice, bob):
            end.lose = set()
        pair.link()
        await pair.settle()
    assert alice.outbox.waiting(bob.node_id) == bob.outbox.waiting(alice.node_id) == (0, 0)
    expected = "".join(f" {number}" for number in range(1, sent + 1) if number % 5)
    assert await bob.door.get("seen") == expected
    assert await alice.door.get("seen") == expected
    for number, receipt in receipts.items():
        if number % 5:
            await receipt.delivered()
        else:
            with pytest.raises(RemoteFailure, match="not this one"):
                await receipt.delivered()


# What is forgotten -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [Limits(lane_seconds=1000)], ids=["1000 seconds"])
async def test_lanes_not_used_for_long_are_forgotten_and_others_are_not(pair: Any) -> None:
    bob = pair.bob

    async def refuse_third(payload: bytes) -> None:
        if payload.endswith(b"no"):
            raise Refuse("no")

    bob.handler = refuse_third
    pair.link()
    for lane in range(4):
        assert receive(bob, 1, lane=lane)
        assert receive(bob, 2, b"no", lane=lane)
        await pair.settle()
        bob.grow_old(100)
    bob.unlink()
    bob.grow_old(650)
    assert bob.inbox.expire() == 1
    assert bob.inbox.expire() == 0
    await bob.store.touch().durable()
    assert lanes_on_disk(bob) == [1, 2, 3]
    assert bob.inbox.counters.dropped == {"lane_seconds": 1}
    bob.link()
    assert receive(bob, 2, lane=1), "it comes again: it is in use"
    bob.grow_old(200)
    assert bob.inbox.expire() == 1
    await bob.store.touch().durable()
    assert lanes_on_disk(bob) == [3, 1]
    reader = bob.store._database.reader
    assert reader.execute("SELECT count(*) FROM oddwire_refusals").fetchone() == (2,)
    assert (bob.inbox._records.rows, bob.inbox._records.refusals) == (2, 2)
    await bob.restart(crash=True)
    assert (bob.inbox._records.rows, bob.inbox._records.refusals) == (2, 2)


async def test_by_default_they_are_kept_for_60_days_however_often_it_restarts(pair: Any) -> None:
    pair.link()
    assert receive(pair.bob, 1)
    await pair.settle()
    for day in range(61):
        assert pair.bob.inbox.expire() == 0, day
        await pair.bob.store.touch().durable()
        await pair.bob.restart(crash=day % 2 > 0)
        pair.bob.grow_old(86_000)
        assert pair.bob.inbox.expire() == 0, day
        await pair.bob.store.touch().durable()  # as the clocks are written down
        await pair.bob.reboot(27.0)  # 1970: nobody knows for how long
        if day == 30:
            pair.bob.grow_old(3600)
            assert receive(pair.bob, 1) is True
    pair.bob.grow_old(31 * 86_400)
    assert pair.bob.inbox.expire() == 1


@pytest.mark.parametrize("limits", [Limits(total_lanes=10)], ids=["10 lanes"])
async def test_beyond_the_limit_those_of_all_peers_not_used_for_longest_are_forgotten(
    pair: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bob = pair.bob
    for number in range(30):
        node_id = NodeId(bytes([2, number]) + bytes(31))
        assert bob.inbox.receive(node_id, Data(number, 1, 1, 1, b"\x80\x01"), 0.0, None)
        await pair.settle()
        bob.inbox.disconnected(node_id)
        bob.grow_old(1)
    assert lanes_on_disk(bob) == [*range(20, 30)]
    assert bob.inbox.counters.dropped == {"total_lanes": 20}
    assert "1 lanes of peers' reliable messages are dropped, as there are too many" in caplog.text
    assert bob.inbox._peers == {}


@pytest.mark.parametrize("limits", [Limits(total_lanes=10)], ids=["10 lanes"])
async def test_lanes_in_use_are_not_forgotten_and_many_new_ones_at_once_cost_as_many(pair: Any) -> None:
    bob = pair.bob
    pair.link()
    assert receive(bob, 1, lane=99)
    await pair.settle()
    bob.grow_old(1)
    for start in range(0, 40, 8):
        for number in range(start, start + 8):
            node_id = NodeId(bytes([2, number]) + bytes(31))
            assert bob.inbox.receive(node_id, Data(number, 1, 1, 1, b"\x80\x01"), 0.0, None)
        await pair.settle()
        for number in range(start, start + 8):
            bob.inbox.disconnected(NodeId(bytes([2, number]) + bytes(31)))
        bob.grow_old(1)
    found = lanes_on_disk(bob)
    assert len(found) <= 18
    assert 99 in found
    assert receive(bob, 1, lane=99)
    await pair.settle()
    assert len(bob.handled) == 41, "it was known"


async def test_refusals_that_senders_may_not_know_of_are_bounded(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oddwire.session.reliable.inbox._REFUSALS", 20)
    bob = pair.bob

    async def refuse(payload: bytes) -> None:
        if payload.endswith(b"no"):
            raise Refuse("no")

    bob.handler = refuse
    quiet = NodeId(b"\x02" + b"q" * 32)
    assert bob.inbox.receive(quiet, Data(1, 1, 1, 1, b"\x80\x01"), 0.0, None)
    await pair.settle()
    bob.inbox.disconnected(quiet)
    for number in range(10):
        bob.grow_old(1)
        node_id = NodeId(bytes([2, number]) + bytes(31))
        assert bob.inbox.receive(node_id, Data(number + 2, 1, 1, 1, b"\x80\x01"), 0.0, None)
        for sequence in range(2, 8):
            assert bob.inbox.receive(node_id, Data(number + 2, 1, 1, sequence, b"\x80\x01no"), 0.0, None)
        await pair.settle()
        bob.inbox.disconnected(node_id)
    reader = bob.store._database.reader
    (count,) = reader.execute("SELECT count(*) FROM oddwire_refusals").fetchone()
    assert count <= 26
    assert bob.inbox._records.refusals == count
    assert lanes_on_disk(bob)[0] == 1, "one without refusals is not in the way"
    assert bob.inbox.counters.dropped["refusals"] > 0


def _hold_commit(release: threading.Event, statement: str) -> None:
    if statement == "COMMIT":
        release.wait(30)


@pytest.mark.parametrize("limits", [Limits(lane_seconds=1000)], ids=["1000 seconds"])
async def test_a_lane_that_comes_back_as_it_is_forgotten_is_not_lost(pair: Any) -> None:
    bob = pair.bob

    async def refuse(payload: bytes) -> None:
        if payload.endswith(b"no"):
            raise Refuse("no")

    bob.handler = refuse
    pair.link()
    receive(bob, 1)
    receive(bob, 2, b"no")
    await pair.settle()
    bob.unlink()
    bob.grow_old(2000)
    for under_way in (False, True):
        assert bob.inbox.expire() == 1
        found = threading.Event()  # the commit under way is held until the lane was looked for
        hold = functools.partial(_hold_commit, found)
        bob.store._database.writer.set_trace_callback(hold)
        commit = bob.store.touch()
        if under_way:
            await asyncio.sleep(0)
            assert bob.inbox._writing.dropped
        bob.link()
        assert receive(bob, 2, b"no")
        found.set()
        await commit.durable()
        assert receive(bob, 3)
        await pair.settle()
        assert len(bob.handled) == 2, "1 and 3"
        assert acks(bob)[-1].failures[0].sequence == 2
        await bob.restart(crash=True)
        reader = bob.store._database.reader
        assert reader.execute("SELECT last, refused FROM oddwire_inbox").fetchall() == [(3, 1)]
        assert reader.execute("SELECT sequence FROM oddwire_refusals").fetchall() == [(2,)]
        bob.link()
        assert receive(bob, 3)
        await pair.settle()
        assert len(bob.handled) == 2
        bob.unlink()
        bob.grow_old(2000)


async def test_that_it_cannot_be_read_what_to_forget_is_told(pair: Any, caplog: pytest.LogCaptureFixture) -> None:
    pair.link()
    with closing(sqlite3.connect(pair.bob.path)) as other:
        other.execute("DROP INDEX oddwire_inbox_seen")
        other.execute("DROP INDEX oddwire_inbox_refused")
        other.execute("ALTER TABLE oddwire_inbox RENAME COLUMN refused TO elsewhere")
    assert pair.bob.inbox.expire() == 0
    assert "cannot be read" in caplog.text


async def test_what_peers_who_are_gone_have_waiting_is_bounded_in_sum(pair: Any) -> None:
    """It comes again by itself, so to forget what waits of them is no loss."""
    go = asyncio.Event()

    async def wait(payload: bytes) -> None:
        await go.wait()

    pair.bob.handler = wait
    pair.link()
    inbox, most = pair.bob.inbox, 256 << 20
    payload = b"\x80\x01" + bytes(3 << 20)  # one object, so that the test takes no memory
    for number in range(300):
        stranger = type(pair.alice.node_id)(bytes([2]) + number.to_bytes(32, "big"))
        for sequence in (1, 2):
            inbox.receive(stranger, Data(LANE, 1, 1, sequence, payload), pair.bob.now, None)
        await asyncio.sleep(0)
        inbox.disconnected(stranger)
        assert inbox._held <= 2 * most, f"after {number + 1} strangers"
    go.set()
    await pair.settle()
    assert inbox._held == 0


async def test_who_comes_back_while_its_message_is_handled_has_the_others_handled_in_order(pair: Any) -> None:
    go, begun = asyncio.Event(), asyncio.Event()

    async def wait(payload: bytes) -> None:
        begun.set()
        await go.wait()

    pair.bob.handler = wait
    pair.link()
    for number in range(4):
        await pair.alice.send(bytes([number]))
    async with asyncio.timeout(30):
        await begun.wait()
    pair.link()  # again
    go.set()
    await pair.settle()
    assert pair.bob.handled == [b"\x80\x01" + bytes([number]) for number in range(4)]
