"""What a link does with frames one by one; tests/unit/app/dispatch/test_session_host.py has what comes of them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from oddwire.errors import ConnectionClosed
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Limits
from oddwire.session.wire.frame_types import (
    Ack,
    Cancel,
    Code,
    Failure,
    Fragment,
    Hello,
    HelloFlag,
    Reply,
    Request,
    Scope,
)
from oddwire.session.wire.frames import encode
from oddwire.testing import RecordingSink
from oddwire.transports.base import Manifest

ALICE = NodeId("02" + "aa" * 32)
ROUTE = 7 << 32 | 1
"""Of what the peer's program sends us."""


async def test_frames_sent_without_waiting_keep_their_order(stage: Any) -> None:
    stage = stage()
    link = await stage.meet()
    stage.transport.stick()
    for number in range(50):
        link.post(encode(Cancel(Scope.REQUEST, number), link.route))
    await stage.idle()
    stage.transport.stuck.set()
    await stage.idle()
    assert stage.sent() == [Cancel(Scope.REQUEST, number) for number in range(50)]
    assert stage.host.tasks == set()
    stage.session.close()


async def test_whoever_waits_for_a_session_sends_after_our_hello(stage: Any) -> None:
    """Though the peer's hello be there first: a peer ignores all that comes before ours."""
    stage = stage()
    await stage.transport.open(Manifest(), RecordingSink())
    stage.transport.connect_peer(ALICE)

    async def ask() -> None:
        async with asyncio.timeout(30):
            while ALICE not in stage.session.peers or not stage.session.peers[ALICE].ready:
                await asyncio.sleep(0)
        link = stage.session.peers[ALICE].links[1]
        await link.send(encode(Cancel(Scope.REQUEST, 1), link.route))

    asking = asyncio.create_task(ask())
    await stage.idle()
    peer = stage.session.peer_connected(ALICE)
    stage.say(Hello(HelloFlag.ANSWER, 1, 1, program=10))
    await asking
    await stage.idle()
    assert [type(frame) for frame in stage.sent()] in ([Hello, Cancel, Hello], [Hello, Hello, Cancel])
    assert peer.links[1].spoken == {}
    stage.session.close()


async def test_frames_for_a_peer_that_goes_are_dropped(stage: Any) -> None:
    stage = stage()
    link = await stage.meet()
    stage.transport.lose_peer(ALICE)  # before the session hears of it
    link.post(encode(Cancel(Scope.REQUEST, 1), link.route))
    await stage.idle()
    assert stage.host.tasks == set()
    stage.session.close()


async def test_frames_of_one_connection_do_not_go_out_on_the_next(stage: Any) -> None:
    stage = stage()
    link = await stage.meet()
    stage.transport.stick()
    for number in range(3):
        link.post(encode(Cancel(Scope.REQUEST, number), link.route))
    await stage.idle()
    stage.transport.lose_peer(ALICE)
    stage.session.peer_disconnected(ALICE, "gone")
    stage.transport.connect_peer(ALICE)
    stage.session.peer_connected(ALICE)
    stage.transport.stuck.set()
    await stage.idle()
    late = [frame for frame in stage.sent() if isinstance(frame, Cancel)]
    assert late in ([], [Cancel(Scope.REQUEST, 0)])  # one was the transport's already
    stage.session.close()


async def test_a_request_goes_to_the_host_with_its_place(stage: Any) -> None:
    stage = stage(limits=Limits(requests=1))
    await stage.meet()
    stage.say(Request(1, 0, b"\x8c\x01one"))
    stage.say(Request(2, 0, b"\x8c\x01two"))
    await stage.idle()
    assert [what[2].content for what in stage.host.told if what[0] == "request"] == [b"\x8c\x01one"]
    [refusal] = stage.sent()
    assert (refusal.scope, refusal.id, refusal.code) == (Scope.REQUEST, 2, Code.QUOTA)
    assert refusal.text == "1 requests are handled at once"
    stage.session.close()


async def test_handlers_that_take_their_time_to_end_count_too(stage: Any) -> None:
    stage = stage(limits=Limits(requests=2))
    link = await stage.meet()
    link.working = 4  # as the host says: cancelled, all of them, and not over
    stage.say(Request(1, 0, b"\x8c\x01"))
    await stage.idle()
    assert [frame.code for frame in stage.sent()] == [Code.QUOTA]
    link.working = 3
    stage.say(Request(1, 0, b"\x8c\x01"))
    assert [what for what in stage.host.told if what[0] == "request"] != []
    stage.session.close()


async def test_whole_messages_and_frames_come_out_of_fragments(stage: Any) -> None:
    stage = stage()
    await stage.meet()
    for transfer, payload in enumerate(
        (b"\x8c\x01" + bytes(2000), encode(Request(5, 0, b"\x8c\x01" + bytes(2000)), ROUTE))
    ):
        for piece, start in enumerate(range(0, len(payload), 1024)):
            stage.say(Fragment(transfer, len(payload), 1024, piece, payload[start : start + 1024]))
    assert [what[0] for what in stage.host.told[1:]] == ["message", "request"]
    assert stage.host.told[1][2] == b"\x8c\x01" + bytes(2000)
    assert stage.host.told[2][2].content == b"\x8c\x01" + bytes(2000)
    assert stage.session.shared.budget.held == 0
    stage.session.close()


async def test_a_peer_that_goes_leaves_nothing_behind(stage: Any) -> None:
    stage = stage()
    link = await stage.meet(assembles=1 << 20)
    stage.say(Fragment(0, 3000, 1024, 0, b"\x8c\x01" + bytes(1022)))
    assert stage.session.shared.budget.held > 0
    asked = asyncio.create_task(link.calls.ask(b"\x8c\x01", None))
    await stage.idle()
    stage.session.peer_disconnected(ALICE, "cable cut")
    with pytest.raises(ConnectionClosed, match="cable cut"):
        await asked
    assert stage.session.shared.budget.held == 0
    stage.session.close()


@pytest.mark.parametrize(
    "frame",
    [
        Reply(1, 0, b"\x8c\x01"),
        Failure(Scope.REQUEST, 1, 1, ""),
        Failure(Scope.TRANSFER, 1, 1, ""),
        Cancel(Scope.REQUEST, 1),
        Cancel(Scope.TRANSFER, 1),
    ],
    ids=lambda frame: repr(frame)[:40],
)
async def test_who_sends_much_of_what_is_good_for_nothing_is_read_later(stage: Any, frame: Any) -> None:
    stage = stage(limits=Limits(faults_per_second=1))
    await stage.meet()
    for _ in range(10):
        stage.say(frame)
    assert ("throttle", ALICE) not in stage.host.told
    stage.say(frame)
    assert ("throttle", ALICE) in stage.host.told
    assert stage.session.shared.counters.throttled == {"faults_per_second": 1}
    stage.session.close()


async def test_many_hellos_are_too_many(stage: Any) -> None:
    stage = stage(limits=Limits(faults_per_second=1))
    await stage.meet()
    for number in range(2, 200):
        stage.say(Hello(0, 1, 1, program=10), instance=number)
    assert ("throttle", ALICE) in stage.host.told
    assert 60 <= sum(1 for told in stage.host.told if told[0] == "hello" and told[2]) <= 80
    stage.session.close()


async def test_failures_of_what_expires_are_not_kept_without_end(stage: Any) -> None:
    """For a peer that does not read."""
    stage = stage(limits=Limits(requests=4000, faults_per_second=1e9))
    link = await stage.meet()
    stage.transport.stick()
    for number in range(3000):
        stage.say(Request(number, 0, b"\x8c\x01", wait_ms=1))
    link.tick(stage.session.shared.loop.time() + 60)
    assert stage.session.shared.counters.refused["expired"] == 3000
    assert len(link.peer._posted) <= 1100
    assert stage.session.shared.counters.dropped["failures"] >= 1900
    stage.transport.stuck.set()
    await stage.idle()
    stage.session.close()


async def test_what_is_ignored_is_counted_and_told(stage: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "oddwire.session")
    stage = stage()
    link = await stage.connect()
    stage.say(Cancel(Scope.REQUEST, 1))
    stage.say(Hello(0, 1, 1, program=10))
    await stage.idle()
    for frame in (Cancel(Scope.REQUEST, 1), Reply(5, 0, b"\x80\x01"), Ack(Scope.REQUEST, 0, 9, 0, 1)):
        stage.say(frame)
    assert link.shared.counters.dropped == {"frames": 4}
    assert [r.getMessage() for r in caplog.records if "is ignored" in r.getMessage()] == [
        f"a frame outside of a session from {ALICE} is ignored",
        f"a cancel of no open request or transfer from {link.node_id} is ignored",
        f"a reply to no open request from {link.node_id} is ignored",
        f"credit for no stream from {link.node_id} is ignored",
    ]


async def test_requests_whose_caller_goes_are_counted(stage: Any) -> None:
    scene = stage()
    link = await scene.meet()
    scene.say(Request(1, 0, b"\x80\x01"))
    scene.session.peer_disconnected(link.node_id, "gone")
    assert scene.session.shared.counters.dropped == {"abandoned": 1}
