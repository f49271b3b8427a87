"""The outbox: what is on its way survives, within its limits, until it is settled."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from oddwire.errors import ConnectionClosed, LocalProtocolError, QuotaExceeded, Refuse, RemoteFailure, StoreError
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Allowance, Limits
from oddwire.session.reliable.receivers import Known
from oddwire.session.store.database import former_lane_of
from oddwire.session.wire.frame_types import Ack, Code, Data, Scope
from oddwire.session.wire.frames import addresses, decode

TEST = "test"


def rows(end: Any) -> int:
    with closing(sqlite3.connect(end.path)) as database:
        (count,) = database.execute("SELECT count(*) FROM oddwire_outbox").fetchone()
        return int(count)


def waiting(end: Any) -> Any:
    return end.outbox.waiting(end.peer.node_id)


def drop(end: Any, sequence: int) -> None:
    lane = end.lane()
    end.outbox.drop(end.peer.node_id, lane.lane, lane.sender.epoch, sequence, Code.TOO_LARGE, "too large")


async def test_what_is_sent_is_on_disk_and_delivered_is_off_it(pair: Any) -> None:
    receipts = await asyncio.gather(*(pair.alice.send(b"%d" % number) for number in range(100)))
    assert rows(pair.alice) == 100
    assert waiting(pair.alice) == (100, 390)
    pair.link()
    await asyncio.gather(*(receipt.delivered() for receipt in receipts))
    assert sorted(pair.bob.handled) == sorted(b"\x80\x01%d" % number for number in range(100))
    assert await pair.bob.door.get("count") == 100
    assert waiting(pair.alice) == (0, 0)
    await pair.alice.stop()
    assert rows(pair.alice) == 0
    for receipt in receipts:
        await receipt.delivered()  # as often as one likes


async def test_a_restart_continues_where_it_was(pair: Any) -> None:
    for number in range(20):
        await pair.alice.send(b"%d" % number)
    await pair.alice.restart(crash=True)
    assert waiting(pair.alice) == (20, 70)
    receipt = await pair.alice.send(b"20")
    pair.link()
    await receipt.delivered()
    assert pair.bob.handled == [b"\x80\x01%d" % number for number in range(21)]
    await pair.alice.restart()
    assert waiting(pair.alice) == (0, 0)
    receipt = await pair.alice.send(b"21")
    pair.link()
    await receipt.delivered()
    assert await pair.bob.door.get("count") == 22


async def test_what_was_acknowledged_and_not_yet_deleted_is_not_handled_twice(pair: Any) -> None:
    pair.link()
    receipt = await pair.alice.send(b"once")
    await receipt.delivered()
    await pair.alice.restart(crash=True)
    assert waiting(pair.alice) == (1, 6)
    pair.link()
    receipt = await pair.alice.send(b"next")
    await receipt.delivered()
    await pair.settle()
    assert await pair.bob.door.get("count") == 2
    assert waiting(pair.alice) == (0, 0)


async def test_lanes_and_peers_are_apart(pair: Any) -> None:
    alice, other = pair.alice, NodeId(b"\x03" + b"o" * 32)
    await alice.outbox.send(other, TEST, b"\x80\x01other")
    await alice.outbox.send(pair.bob.node_id, TEST, b"\x80\x01far")
    await alice.outbox.send(pair.bob.node_id, "near", b"\x80\x01near")
    await alice.restart(crash=True)
    pair.link()
    await pair.settle()
    assert sorted(pair.bob.handled) == [b"\x80\x01far", b"\x80\x01near"]
    assert alice.outbox.waiting(other) == (1, 7)
    assert not alice.outbox.acknowledged(other, Ack(Scope.LANE, 0, 5, 1, 1), 0.0, 1), "no such lane"
    assert alice.outbox.outgoing(other, 0.0) == []


async def test_frames_that_are_lost_go_again_in_time(pair: Any) -> None:
    pair.link()
    pair.alice.lose = {0}
    receipts = [await pair.alice.send(b"%d" % number) for number in range(3)]
    await pair.settle()
    assert [frame.sequence for frame in pair.alice.sent].count(1) == 2, "the second told Bob that one was missing"
    await asyncio.gather(*(receipt.delivered() for receipt in receipts))
    pair.alice.lose = {len(pair.alice.sent)}
    receipt = await pair.alice.send(b"last")
    await pair.settle()
    assert waiting(pair.alice)[0] == 1
    pair.alice.wait(5)
    await receipt.delivered()
    assert await pair.bob.door.get("count") == 4


async def test_frames_carry_the_base_that_is_on_disk(pair: Any) -> None:
    pair.link()
    pair.alice.lose = {1, 2}
    for number in range(3):
        await pair.alice.send(b"%d" % number)
    await pair.settle()
    assert waiting(pair.alice)[0] == 2
    writer = pair.alice.store._database.writer
    await pair.alice.store.touch().durable()
    pair.alice.lose = set(range(3, 100))
    pair.alice.wait(5)
    await pair.settle()
    assert pair.alice.sent[3].base == 2
    writer.execute("PRAGMA query_only = 1")
    lane, epoch = pair.alice.sent[3][:2]
    pair.alice.outbox.acknowledged(pair.bob.node_id, Ack(Scope.LANE, 0, lane, epoch, 2), 6.0, pair.alice.route)
    with pytest.raises(StoreError, match="read-only"):
        await pair.alice.send(b"more")
    count = len(pair.alice.sent)
    pair.alice.wait(100)
    await asyncio.sleep(0)
    assert [(frame.base, frame.sequence) for frame in pair.alice.sent[count:]] == [(2, 3)], "2 is settled, not on disk"
    writer.execute("PRAGMA query_only = 0")
    await pair.alice.store.touch().durable()
    pair.alice.wait(100)
    await asyncio.sleep(0)
    assert pair.alice.sent[-1][2:4] == (3, 3)


async def test_a_quota_of_messages(pair: Any) -> None:
    await asyncio.gather(*(pair.alice.send(b"") for _ in range(2000)))
    with pytest.raises(QuotaExceeded, match=r"2000 reliable messages to .* are not acknowledged yet") as caught:
        await pair.alice.send(b"")
    assert (caught.value.limit, caught.value.extension) == ("outbox_messages", None)
    assert pair.alice.outbox.counters.to_json() == {"exceeded": {"outbox_messages": 1}}
    pair.link()
    await pair.settle()
    await pair.alice.send(b"")


@pytest.mark.parametrize("limits", [Limits(outbox_bytes=1000)], ids=["1000 bytes"])
async def test_a_quota_of_bytes(pair: Any) -> None:
    await pair.alice.send(bytes(600))
    with pytest.raises(QuotaExceeded, match="would be 1004 bytes; at most 1000 are kept") as caught:
        await pair.alice.send(bytes(400))
    assert caught.value.limit == "outbox_bytes"
    await pair.alice.send(bytes(396))


@pytest.mark.parametrize("limits", [Limits(outbox_seconds=100)], ids=["100 seconds"])
async def test_what_is_too_old_is_given_up_and_the_rest_goes_on(pair: Any) -> None:
    alice = pair.alice
    old = [await alice.send(b"old") for _ in range(3)]
    alice.grow_old(60)
    young = await alice.send(b"young")
    alice.grow_old(60)
    assert alice.outbox.expire() == 3
    assert alice.outbox.expire() == 0
    for receipt in old:
        with pytest.raises(QuotaExceeded, match="not acknowledged within 100 s") as caught:
            await receipt.delivered()
        assert (caught.value.limit, caught.value.extension) == ("outbox_seconds", None)
    assert alice.outbox.counters.to_json() == {
        "exceeded": {"outbox_seconds": 3},
        "undelivered": {"expired": 3},
    }
    await pair.settle()
    assert rows(alice) == 1
    pair.link()
    await young.delivered()
    assert pair.bob.handled == [b"\x80\x01young"]
    alice.grow_old(1000)
    await alice.send(b"left")
    assert alice.outbox.expire() == 0
    alice.grow_old(1000)
    pair.alice.unlink()
    last = await alice.send(b"x")
    alice.grow_old(101)
    alice.outbox.expire()
    with pytest.raises(QuotaExceeded):
        await last.delivered()


YEARS = 30 * 365 * 86_400.0


@pytest.mark.parametrize("limits", [Limits(outbox_seconds=100)], ids=["100 seconds"])
@pytest.mark.parametrize("step", [YEARS, -YEARS, 3600, -3600], ids=repr)
async def test_a_clock_that_is_set_makes_nothing_old_and_keeps_nothing_young(pair: Any, step: float) -> None:
    alice = pair.alice
    receipt = await alice.send(b"1")
    alice.wall += step
    alice.grow_old(99)
    assert alice.outbox.expire() == 0
    await alice.restart(crash=True)  # with what was written down before the clock was set
    assert alice.outbox.expire() == 0
    receipt = await alice.send(b"2")
    alice.grow_old(2)
    assert alice.outbox.expire() == 1
    alice.wall -= step
    alice.grow_old(97)
    assert alice.outbox.expire() == 0
    alice.grow_old(2)
    assert alice.outbox.expire() == 1
    with pytest.raises(QuotaExceeded):
        await receipt.delivered()


async def test_a_boot_in_the_past_that_is_set_right_expires_nothing(pair: Any) -> None:
    alice = pair.alice
    alice.wall = 27.0  # 1970
    await alice.restart()
    await alice.send(b"1")
    alice.grow_old(10)
    alice.wall = 1_795_000_000.0  # NTP
    assert alice.outbox.expire() == 0
    for wall in (27.0, 1_795_000_000.0, 27.0, 1_460_000_000.0, 1_795_100_000.0):
        await alice.reboot(wall)
        assert alice.outbox.expire() == 0
    receipt = await alice.send(b"2")
    pair.link()
    await receipt.delivered()
    assert pair.bob.handled == [b"\x80\x011", b"\x80\x012"]
    alice.unlink()
    await alice.send(b"3")
    for _ in range(14):  # it ages while it runs
        alice.grow_old(86_400)
        assert alice.outbox.expire() == 0
        assert alice.store._timer is not None, "the clocks are to be written down"
        await alice.store.touch().durable()
        await alice.reboot(27.0)
    alice.grow_old(60)
    assert alice.outbox.expire() == 1


async def test_what_is_lost_is_told_with_its_age_and_what_it_was(pair: Any) -> None:
    async def refuse(payload: bytes) -> None:
        if payload.endswith(b"1"):
            raise Refuse("never", code=1234)

    pair.bob.handler = refuse
    await pair.alice.send(b"1")
    receipt = await pair.alice.send(b"2")
    pair.alice.grow_old(50)
    pair.link()
    await receipt.delivered()
    [loss] = pair.alice.losses
    assert (loss.node_id, loss.extension, loss.payload, loss.code) == (pair.bob.node_id, TEST, b"\x80\x011", 1234)
    assert loss.age == pytest.approx(50)
    assert str(loss.failure()) == "never"
    assert pair.alice.outbox.counters.to_json() == {"undelivered": {"application": 1}}
    assert [(payload, refusal.code) for payload, refusal in pair.bob.refusals] == [(b"\x80\x011", 1234)]


async def test_a_loss_that_is_not_on_disk_is_told_again_by_the_next_process(pair: Any) -> None:
    pair.link()
    pair.bob.deaf = True
    await pair.alice.send(b"1")
    pair.alice.store._database.writer.execute("PRAGMA query_only = 1")
    drop(pair.alice, 1)
    await pair.settle()
    assert [loss.code for loss in pair.alice.losses] == [Code.TOO_LARGE]
    await pair.alice.restart(crash=True)
    assert waiting(pair.alice) == (1, 3)


def allow(**limits: Any) -> Any:
    """Let the extension have these limits."""
    return pytest.mark.parametrize("allowances", [{TEST: Allowance(TEST, Limits(**limits))}], ids=[TEST])


@allow(outbox_messages=3)
async def test_a_quota_of_an_extension_s_messages(pair: Any, allowances: Any) -> None:
    alice, own = pair.alice, allowances[TEST]
    for number in range(3):
        await alice.send(b"%d" % number)
    with pytest.raises(
        QuotaExceeded, match=r"^extension 'test': 3 reliable messages to .* no more are kept$"
    ) as caught:
        await alice.send(b"3")
    assert (caught.value.limit, caught.value.extension) == ("outbox_messages", "test")
    assert own.counters.exceeded["outbox_messages"] == 1
    assert alice.outbox.counters.to_json() == {}
    await alice.send(b"another's", extension="other")
    await alice.outbox.send(NodeId(b"\x03" + b"o" * 32), TEST, b"\x80\x01 another peer's")
    assert waiting(alice)[0] == 4


@allow(outbox_messages=3, outbox_bytes=20)
async def test_an_extension_s_quotas_survive_restarts(pair: Any) -> None:
    alice = pair.alice
    await alice.send(b"12345678")
    await alice.send(b"another's", extension="other")
    await alice.restart(crash=True)
    with pytest.raises(QuotaExceeded, match=r"'test'.* would be 21 bytes; at most 20 are kept") as caught:
        await alice.send(b"123456789")
    assert caught.value.limit == "outbox_bytes"
    await alice.send(b"2")
    await alice.restart()
    await alice.send(b"3")
    with pytest.raises(QuotaExceeded) as caught:
        await alice.send(b"")
    assert caught.value.limit == "outbox_messages"
    pair.link()
    await pair.settle()
    for number in range(3):
        await alice.send(b"%d" % number)


@allow(outbox_bytes=10)
async def test_a_message_larger_than_an_extension_keeps_is_not_kept(pair: Any) -> None:
    with pytest.raises(QuotaExceeded, match="would be 11 bytes; at most 10 are kept"):
        await pair.alice.send(b"123456789")
    assert waiting(pair.alice) == (0, 0)
    await pair.alice.send(b"12345678")


@allow(outbox_messages=1)
async def test_what_a_handler_did_not_send_after_all_does_not_count(pair: Any) -> None:
    alice = pair.alice

    async def handle() -> None:
        async with alice.store.unit("test"):
            await alice.send(b"1")
            await alice.send(b"2")

    with pytest.raises(QuotaExceeded):
        await handle()
    await alice.send(b"3")
    with pytest.raises(QuotaExceeded):
        await alice.send(b"4")


@allow(outbox_messages=1)
async def test_what_the_disk_did_not_take_does_not_count(pair: Any) -> None:
    writer = pair.alice.store._database.writer
    writer.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreError, match="read-only"):
        await pair.alice.send(b"1")
    writer.execute("PRAGMA query_only = 0")
    await pair.alice.send(b"2")


@allow(outbox_seconds=50)
async def test_an_extension_s_messages_may_be_too_old_sooner(pair: Any, allowances: Any) -> None:
    alice = pair.alice
    ours, others = await alice.send(b"1"), await alice.send(b"2", extension="other")
    alice.grow_old(51)
    assert alice.outbox.expire() == 1
    text = "^extension 'test': the message was not acknowledged within 50 s and was dropped$"
    with pytest.raises(QuotaExceeded, match=text) as caught:
        await ours.delivered()
    assert (caught.value.limit, caught.value.extension) == ("outbox_seconds", "test")
    assert allowances[TEST].counters.exceeded["outbox_seconds"] == 1
    assert alice.outbox.counters.to_json() == {"undelivered": {"expired": 1}}
    pair.link()
    await others.delivered()


@allow(window_messages=3)
async def test_an_extension_s_window_is_its_own(pair: Any) -> None:
    pair.link()
    pair.bob.deaf = True
    for _ in range(20):
        await pair.alice.send(b"1")
        await pair.alice.send(b"2", extension="other")
    sent = [(frame.lane, frame.sequence) for frame in pair.alice.sent if isinstance(frame, Data)]
    lanes = [pair.alice.lane(name).lane for name in (TEST, "other")]
    expected = [(lane, n) for lane, most in zip(lanes, (3, 8), strict=True) for n in range(1, most + 1)]
    assert sorted(sent) == sorted(expected)


@allow(window_bytes=100)
async def test_an_extension_s_window_has_its_own_bytes(pair: Any) -> None:
    pair.link()
    pair.bob.deaf = True
    for _ in range(20):
        await pair.alice.send(bytes(58))
    assert [frame.sequence for frame in pair.alice.sent if isinstance(frame, Data)] == [1, 2]


async def test_what_a_peer_cannot_take_is_given_up(pair: Any) -> None:
    pair.link()
    pair.bob.deaf = True  # it hears nothing
    receipts = [await pair.alice.send(b"%d" % number) for number in range(3)]
    drop(pair.alice, 1)
    with pytest.raises(RemoteFailure, match="too large") as caught:
        await receipts[0].delivered()
    assert caught.value.code == Code.TOO_LARGE
    await pair.settle()
    pair.link()
    await receipts[2].delivered()
    assert pair.bob.handled == [b"\x80\x011", b"\x80\x012"]
    lane = pair.alice.lane()
    pair.alice.outbox.drop(NodeId(b"\x03" * 33), lane.lane, lane.sender.epoch, 1, Code.TOO_LARGE, "")  # nothing
    pair.alice.outbox.drop(pair.bob.node_id, 99, lane.sender.epoch, 1, Code.TOO_LARGE, "")
    pair.alice.outbox.drop(pair.bob.node_id, lane.lane, lane.sender.epoch - 1, 1, Code.TOO_LARGE, "")


async def test_what_is_given_up_is_told_once_that_is_on_disk(pair: Any) -> None:
    pair.link()
    pair.bob.deaf = True
    receipt = await pair.alice.send(b"1")
    writer = pair.alice.store._database.writer
    writer.execute("PRAGMA query_only = 1")
    drop(pair.alice, 1)
    await pair.settle()
    task = asyncio.create_task(receipt.delivered())
    await asyncio.sleep(0)
    assert not task.done()
    writer.execute("PRAGMA query_only = 0")
    await pair.alice.send(b"2")
    with pytest.raises(RemoteFailure, match="too large"):
        await task


async def test_messages_of_a_handler_go_out_if_it_ends_well(pair: Any) -> None:
    pair.link()
    got: list[Any] = []

    async def handle(payload: bytes) -> None:
        got.append(await pair.bob.send(b"re: " + payload[2:]))
        with pytest.raises(LocalProtocolError, match="goes out when the handler ends"):
            await got[-1].delivered()
        if len(got) == 1:
            raise ValueError("first time")

    pair.bob.handler = handle
    receipt = await pair.alice.send(b"hello")
    await receipt.delivered()
    await pair.settle()
    assert pair.alice.handled == [b"\x80\x01re: hello"]
    with pytest.raises(LocalProtocolError, match="it was not sent"):
        await got[0].delivered()
    await got[1].delivered()
    assert waiting(pair.bob) == (0, 0)


async def test_a_full_disk_is_told_to_the_sender_and_nothing_goes_out(pair: Any) -> None:
    pair.link()
    await (await pair.alice.send(b"before")).delivered()
    writer = pair.alice.store._database.writer
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    found = await asyncio.gather(*(pair.alice.send(bytes(10_000)) for _ in range(20)), return_exceptions=True)
    assert all(isinstance(error, StoreError) and error.reason == "full" for error in found)
    await pair.settle()
    assert waiting(pair.alice) == (0, 0)
    writer.execute("PRAGMA max_page_count = 100000")
    await (await pair.alice.send(b"after")).delivered()
    assert pair.bob.handled == [b"\x80\x01before", b"\x80\x01after"]


async def test_an_outbox_put_back_from_a_backup_begins_anew(pair: Any, caplog: pytest.LogCaptureFixture) -> None:
    alice = pair.alice
    await alice.send(b"1")
    await alice.stop()
    backup = alice.path.read_bytes()
    await alice.start()
    pair.link()
    for number in (2, 3, 4):
        await (await alice.send(b"%d" % number)).delivered()
    alice.unlink()
    await alice.stop()
    alice.path.write_bytes(backup)
    await alice.start()
    receipts = [await alice.send(b"%d" % number) for number in (5, 6)]
    pair.link()
    await asyncio.gather(*(receipt.delivered() for receipt in receipts))
    assert re.search(
        rf"has acknowledged more of lane [0-9a-f]{{16}}, of extension '\w+', than the store {alice.path} has sent:",
        caplog.text,
    )
    # What the backup does not know to be done is done again; nothing is taken for something else
    assert pair.bob.handled == [b"\x80\x01%d" % number for number in (1, 2, 3, 4, 1, 5, 6)]
    assert await pair.bob.door.get("count") == 7


async def test_closing_tells_who_waits(pair: Any) -> None:
    receipt = await pair.alice.send(b"1")
    task = asyncio.create_task(receipt.delivered())
    await asyncio.sleep(0)
    pair.alice.outbox.close()
    with pytest.raises(ConnectionClosed, match="is sent after the next start"):
        await task
    assert rows(pair.alice) == 1


async def test_what_is_sent_while_closing_is_kept(pair: Any) -> None:
    pair.alice.outbox.close()
    receipts = [await pair.alice.send(b"1")]
    async with pair.alice.store.unit("test") as unit:
        receipts.append(await pair.alice.send(b"2"))
        await pair.alice.door.set("key", "value")
    await unit.durable()
    for receipt in receipts:
        with pytest.raises(ConnectionClosed, match="is sent after the next start"):
            await receipt.delivered()
    await pair.alice.restart()
    pair.link()
    await (await pair.alice.send(b"3")).delivered()
    assert pair.bob.handled == [b"\x80\x01%d" % number for number in (1, 2, 3)]


async def test_a_window_is_all_that_is_on_its_way(pair: Any) -> None:
    pair.link()
    pair.bob.deaf = True
    for number in range(50):
        await pair.alice.send(b"%d" % number)
    assert [frame.sequence for frame in pair.alice.sent if isinstance(frame, Data)] == list(range(1, 9))


# Lanes -------------------------------------------------------------------------------------------------------------


def lanes(end: Any) -> list[tuple[Any, ...]]:
    """Return the lanes on disk: number, extension, epoch, base, next."""
    with closing(sqlite3.connect(end.path)) as database:
        found = database.execute("SELECT lane, extension, epoch, base, next FROM oddwire_routes ORDER BY id").fetchall()
    return [(int.from_bytes(lane), *rest) for lane, *rest in found]


async def test_lanes_have_random_numbers_for_each_peer_and_extension(pair: Any) -> None:
    other = NodeId(b"\x03" + b"o" * 32)
    for _ in range(2):
        await pair.alice.send(b"1")
        await pair.alice.send(b"1", extension="other")
        await pair.alice.outbox.send(other, TEST, b"\x80\x01")
        await pair.alice.restart()
    found = lanes(pair.alice)
    assert [extension for _, extension, *_ in found] == [TEST, "other", TEST]
    assert len({lane for lane, *_ in found}) == 3
    assert all(lane != former_lane_of(extension) for lane, extension, *_ in found)
    assert {next_ for *_, next_ in found} == {3}


async def test_lanes_without_messages_wait_on_disk(pair: Any) -> None:
    pair.link()
    await (await pair.alice.send(b"1")).delivered()
    await pair.alice.store.touch().durable()
    [(lane, *_)] = lanes(pair.alice)
    assert len(pair.alice.outbox._lanes.peers) == 1
    pair.alice.unlink()
    assert pair.alice.outbox._lanes.peers == {}
    await pair.alice.restart()
    assert pair.alice.outbox._lanes.peers == {}
    receipt = await pair.alice.send(b"2")
    assert [(frame, next_) for frame, *_, next_ in lanes(pair.alice)] == [(lane, 3)]
    pair.link()
    await receipt.delivered()
    assert pair.bob.handled == [b"\x80\x011", b"\x80\x012"]


async def test_what_a_peer_is_not_sent_after_all_leaves_nothing_in_memory(pair: Any) -> None:
    async def handle() -> None:
        async with pair.alice.store.unit("test"):
            await pair.alice.send(b"1")
            raise LocalProtocolError("no")

    with pytest.raises(LocalProtocolError):
        await handle()
    assert pair.alice.outbox._lanes.peers == {}
    pair.alice.store._database.writer.execute("PRAGMA query_only = 1")
    with pytest.raises(StoreError):
        await pair.alice.send(b"1")
    assert pair.alice.outbox._lanes.peers == {}


async def test_a_lane_waits_for_one_who_speaks_its_extension(pair: Any) -> None:
    pair.bob.speaks = {"other"}
    pair.link()
    receipt = await pair.alice.send(b"1")
    await (await pair.alice.send(b"2", extension="other")).delivered()
    assert pair.bob.handled == [b"\x80\x012"]
    pair.bob.speaks = None
    pair.alice.say_hello()
    await receipt.delivered()


def known(end: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(end.path)) as database:
        return database.execute("SELECT hex(program), hex(stores) FROM oddwire_routes ORDER BY id").fetchall()


async def test_to_whom_a_lane_goes_is_on_disk_before_it_does(pair: Any) -> None:
    await pair.alice.send(b"1")
    writer = pair.alice.store._database.writer
    writer.execute("PRAGMA query_only = 1")
    pair.link()
    with pytest.raises(StoreError):
        await pair.alice.store.touch().durable()
    await pair.settle()
    assert pair.alice.sent == []
    assert known(pair.alice) == [("", "")]
    writer.execute("PRAGMA query_only = 0")
    await pair.alice.store.touch().durable()
    await pair.settle()
    assert [frame.sequence for frame in pair.alice.sent] == [1]
    (number,) = pair.bob.store.identity.numbers
    assert known(pair.alice) == [(f"{pair.bob.program:016X}", f"{number:016X}")]
    pair.alice.unlink()
    await pair.alice.send(b"2")
    await pair.alice.restart(crash=True)
    assert pair.alice.lane().known == (pair.bob.program, (number,))


async def test_one_who_is_known_already_costs_no_commit(pair: Any) -> None:
    pair.link()
    await (await pair.alice.send(b"1")).delivered()
    for restart in (False, True):
        if restart:
            await pair.bob.restart()
        pair.alice.unlink()
        await pair.alice.send(b"2")
        pair.alice.store._database.writer.execute("PRAGMA query_only = 1")
        pair.link()
        await asyncio.sleep(0)
        assert [type(frame) for frame in pair.alice.sent] == [Data], "before anything is committed"
        pair.alice.store._database.writer.execute("PRAGMA query_only = 0")
        await pair.settle()


async def test_a_lane_that_goes_elsewhere_starts_from_what_is_not_settled(pair: Any) -> None:
    alice, node_id, there = pair.alice, pair.bob.node_id, 99 << 32 | 1
    pair.link()
    pair.bob.deaf = True
    for number in range(3):
        await alice.send(b"%d" % number)
    assert [frame.sequence for frame in alice.sent] == [1, 2, 3]
    alice.hold()
    lane = alice.lane()

    def acknowledge(value: int, route: int) -> bool:
        known: bool = alice.outbox.acknowledged(
            node_id, Ack(Scope.LANE, 0, lane.lane, lane.sender.epoch, value), 0.0, route
        )
        return known

    assert acknowledge(1, alice.route)
    alice.outbox.connected(node_id, lane.lane, there, Known(5, (6,)))
    assert alice.outbox.outgoing(node_id, 0.0) == [], "first it is written down"
    await alice.store.touch().durable()
    assert known(alice) == [("0000000000000005", "0000000000000006")]
    [(sent, frames)] = alice.outbox.outgoing(node_id, 0.0)
    assert (sent, sent.address) == (lane, there)
    assert [decode(frame)[2:4] for frame in frames] == [(2, 2), (2, 3)]
    assert [addresses(frame) for frame in frames] == [(99, 1), (99, 1)]
    assert acknowledge(3, alice.route), "it is known, and counts for nothing"
    assert waiting(alice)[0] == 2
    assert acknowledge(3, there)
    assert waiting(alice)[0] == 0
    alice.outbox.connected(node_id, lane.lane, there, Known(5, (6, 7)))  # it has said more of itself
    await alice.send(b"3")
    [(_, frames)] = alice.outbox.outgoing(node_id, 0.0)
    assert [decode(frame)[3] for frame in frames] == [4]
    assert known(alice) == [("0000000000000005", "00000000000000060000000000000007")]
    alice.outbox.ended(node_id, there)
    await alice.send(b"4")
    assert alice.outbox.outgoing(node_id, 0.0) == []


@pytest.mark.parametrize("limits", [Limits(total_lanes=5, lane_seconds=1000)], ids=["5 lanes"])
async def test_lanes_not_used_for_long_and_those_beyond_the_limit_are_forgotten(pair: Any) -> None:
    alice, outbox = pair.alice, pair.alice.outbox

    async def settle(peer: NodeId) -> None:
        await outbox.send(peer, TEST, b"\x80\x01")
        lane = outbox._lanes.peers[peer].current[TEST]
        outbox.connected(peer, lane.lane, 1, Known(1, ()))
        await alice.store.touch().durable()
        outbox.outgoing(peer, 0.0)
        outbox.acknowledged(peer, Ack(Scope.LANE, 0, lane.lane, lane.sender.epoch, lane.sender.stop - 1), 0.0, 1)
        outbox.disconnected(peer)
        await alice.store.touch().durable()
        alice.grow_old(1)

    peers = [NodeId(bytes([2, number]) + bytes(31)) for number in range(9)]
    await outbox.send(peers[0], TEST, b"\x80\x01")  # and nobody takes it
    for peer in peers[1:]:
        await settle(peer)
    with closing(sqlite3.connect(alice.path)) as database:
        left = [peer for (peer,) in database.execute("SELECT peer FROM oddwire_routes ORDER BY id")]
    assert left == [peers[0], *peers[5:]]
    assert outbox.counters.dropped == {"total_lanes": 4}
    alice.grow_old(700)
    await settle(peers[8])
    alice.grow_old(400)
    assert outbox.expire() == 3
    await alice.store.touch().durable()
    with closing(sqlite3.connect(alice.path)) as database:
        left = [peer for (peer,) in database.execute("SELECT peer FROM oddwire_routes ORDER BY id")]
    assert left == [peers[0], peers[8]]
    assert outbox.counters.dropped == {"total_lanes": 4, "lane_seconds": 3}
    await settle(peers[7])
    assert outbox._lanes.stored == 3
    await alice.restart()
    assert waiting(alice) == (0, 0)
    assert alice.outbox.waiting(peers[0])[0] == 1


async def test_a_lane_that_is_used_again_as_it_is_forgotten_is_not_lost(pair: Any) -> None:
    pair.link()
    await (await pair.alice.send(b"1")).delivered()
    await pair.alice.store.touch().durable()
    pair.alice.unlink()
    pair.alice.grow_old(61 * 86_400)
    assert pair.alice.outbox.expire() == 1
    commit = pair.alice.store.touch()
    await asyncio.sleep(0)
    assert pair.alice.outbox._writing.dropped, "it is under way"
    await pair.alice.send(b"2")
    await commit.durable()
    await pair.alice.restart(crash=True)
    pair.link()
    await pair.settle()
    assert pair.bob.handled == [b"\x80\x011", b"\x80\x012"]


# Stores of before, put back, copied and renewed --------------------------------------------------------------------


async def test_what_waits_since_version_2_goes_out_once_and_in_its_lane(pair: Any, former: Any) -> None:
    await pair.alice.stop()
    pair.alice.path.unlink()
    lane = former_lane_of(TEST).to_bytes(8)
    with former(pair.alice.path, 2) as old:
        old.execute("INSERT INTO oddwire_routes VALUES (1, ?, ?, 5, 1, 3, 5)", (pair.bob.node_id, lane))
        old.executemany("INSERT INTO oddwire_outbox VALUES (1, ?, 1.8e9, ?)", [(3, b"\x80\x013"), (4, b"\x80\x014")])
    with closing(sqlite3.connect(pair.bob.path)) as theirs:  # of which one was handled, and its ack was lost
        row = (pair.alice.node_id, lane)
        theirs.execute("INSERT INTO oddwire_inbox VALUES (?, ?, 5, 2, 0, 1.8e9, 0)", row)
        theirs.commit()
    pair.alice.extensions = [TEST]
    await pair.alice.start()
    receipt = await pair.alice.send(b"5")
    assert waiting(pair.alice) == (3, 9)
    pair.link()
    await receipt.delivered()
    assert pair.bob.handled == [b"\x80\x014", b"\x80\x015"]
    assert [(frame.lane, frame.epoch, frame.sequence) for frame in pair.alice.sent] == [
        (former_lane_of(TEST), 5, sequence) for sequence in (2, 3, 4)
    ]


async def test_a_store_that_is_renewed_has_other_lanes_and_sequences_from_1(pair: Any) -> None:
    alice = pair.alice
    pair.link()
    await (await alice.send(b"0")).delivered()
    await (await alice.send(b"0", extension="idle")).delivered()
    await alice.store.touch().durable()
    alice.unlink()
    receipts = [await alice.send(b"%d" % number) for number in (1, 2)]
    before, number = lanes(alice), alice.store.identity.numbers
    alice.store.identity.renew()
    alice.outbox.renew()
    pair.link()
    assert alice.sent == [], "not before it is on disk"
    await asyncio.gather(*(receipt.delivered() for receipt in receipts))
    assert [frame.sequence for frame in alice.sent if isinstance(frame, Data)] == [1, 2]
    await alice.store.touch().durable()
    [(lane, extension, epoch, *_)] = lanes(alice)
    assert (lane, extension) not in [row[:2] for row in before]
    assert epoch > before[0][2]
    assert alice.store.identity.numbers != number
    assert pair.bob.handled == [b"\x80\x01%d" % number for number in (0, 0, 1, 2)]
    await alice.restart(crash=True)
    assert lanes(alice)[0][0] == lane


async def test_a_store_that_cannot_be_renewed_sends_nothing(pair: Any) -> None:
    alice = pair.alice
    await alice.send(b"1")
    before = lanes(alice), alice.store.identity.numbers
    writer = alice.store._database.writer
    writer.execute("PRAGMA query_only = 1")
    alice.store.identity.renew()
    alice.outbox.renew()
    with pytest.raises(StoreError):
        await alice.store.touch().durable()
    pair.link()
    await pair.settle()
    assert (lanes(alice), alice.store.identity.numbers) == before
    assert alice.sent == []
    writer.execute("PRAGMA query_only = 0")
    receipt = await alice.send(b"2")
    await receipt.delivered()
    assert lanes(alice) != before[0]
    assert alice.store.identity.numbers != before[1]


async def test_two_senders_with_copied_stores_lose_nothing_once_one_is_renewed(pair: Any) -> None:
    alice, bob = pair.alice, pair.bob
    pair.link()
    await (await alice.send(b"0")).delivered()
    alice.unlink()
    await alice.send(b"waits")
    await alice.stop()
    copy = alice.path.with_name("copy")
    copy.write_bytes(alice.path.read_bytes())
    copy.chmod(0o600)
    await alice.start()
    twin = type(alice)(copy, b"a", alice.limits, {})
    twin.peer, twin.program = bob, 99
    await twin.start()
    twin.store.identity.renew()
    twin.outbox.renew()
    await twin.store.touch().durable()
    await twin.send(b"twin")
    await alice.send(b"alice")
    for sender in (twin, alice, twin):
        bob.unlink()
        for end in (alice, twin):
            end.unlink()
        bob.peer, bob.instance = sender, sender.instance + 1
        for end in (sender, bob):
            end.link()
            end.say_hello()
        await pair.settle()
        for _ in range(3):
            await asyncio.sleep(0.01)
    assert sorted(bob.handled) == [b"\x80\x01" + text for text in (b"0", b"alice", b"twin", b"waits", b"waits")]
    assert waiting(twin) == waiting(alice) == (0, 0)
    twin.unlink()
    await twin.stop()


async def test_a_store_that_is_lost_begins_anew_on_either_side(pair: Any) -> None:
    alice, bob = pair.alice, pair.bob
    pair.link()
    await (await alice.send(b"1")).delivered()
    await alice.store.touch().durable()
    alice.unlink()
    await alice.send(b"2")
    await bob.stop()
    bob.path.unlink()
    await bob.start()
    pair.link()
    await pair.settle()
    assert bob.handled == [b"\x80\x011", b"\x80\x012"], "at once, and nothing that was settled"
    await alice.stop()
    alice.path.unlink()
    await alice.start()
    receipt = await alice.send(b"3")
    pair.link()
    await receipt.delivered()
    assert bob.handled == [b"\x80\x011", b"\x80\x012", b"\x80\x013"], "not taken for the first of the lane before"


async def test_a_lane_that_comes_back_while_it_is_written_that_it_went_waits_for_the_disk(pair: Any) -> None:
    alice, node_id, here, there = pair.alice, pair.bob.node_id, 98 << 32 | 1, 99 << 32 | 1
    one, other = Known(5, (6,)), Known(7, (8,))
    alice.hold()
    await alice.send(b"1")
    lane = alice.lane()
    alice.outbox.connected(node_id, lane.lane, here, one)
    await alice.store.touch().durable()
    assert lane.linked
    alice.outbox.connected(node_id, lane.lane, there, other)
    async with asyncio.timeout(30):
        while lane not in alice.outbox._writing.known:
            await asyncio.sleep(0)
    for _ in range(2):  # it is told as often as the program says something
        alice.outbox.connected(node_id, lane.lane, here, one)
        assert not lane.linked, "what is on disk in a moment is the other"
    await alice.store.touch().durable()
    await pair.settle()
    assert (lane.linked, lane.address, lane.known) == (True, here, one)
    assert known(alice) == [("0000000000000005", "0000000000000006")]
