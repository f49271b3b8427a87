"""The mechanics of waiting; tests/unit/app/test_requests.py has what authors see of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oddwire.errors import ConnectionClosed, QuotaExceeded, RemoteFailure, ReplyTimeout, ValueOutOfRange
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Limits
from oddwire.session.wire.frame_types import Cancel, Code, Failure, Reply, Request, Scope
from oddwire.session.wire.frames import decode
from oddwire.testing import ScriptedTransport

ALICE = NodeId("02" + "aa" * 32)


def requests(stage: Any) -> list[Request]:
    return [frame for frame in stage.sent() if isinstance(frame, Request)]


async def test_ids_ascend_from_a_random_one(stage: Any) -> None:
    firsts = set()
    for _ in range(3):
        one = stage()
        link = await one.meet()
        tasks = [asyncio.create_task(link.calls.ask(b"\x8c\x01", None)) for _ in range(3)]
        await one.idle()
        ids = [request.id for request in requests(one)]
        assert ids == [ids[0], ids[0] + 1, ids[0] + 2]
        assert ids[0] < 1 << 63
        firsts.add(ids[0])
        one.session.peer_disconnected(ALICE, "gone")
        await asyncio.gather(*tasks, return_exceptions=True)
        one.session.close()
    assert len(firsts) == 3


async def test_a_request_that_cannot_be_sent_in_time_gives_up_and_is_not_cancelled_at_the_peer(stage: Any) -> None:
    stage = stage()
    link = await stage.meet()
    stage.transport.stick()
    with pytest.raises(ReplyTimeout):
        await link.calls.ask(b"\x8c\x01", 0.01)
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
    stage.transport.stuck.set()
    await stage.idle()
    assert stage.sent() == []
    stage.session.close()


async def test_what_cannot_be_sent_is_not_cancelled_at_the_peer(stage: Any) -> None:
    stage = stage()
    link = await stage.meet()
    with pytest.raises(ValueOutOfRange, match="content should be a message"):
        await link.calls.ask(b"", None)
    await stage.idle()
    assert stage.sent() == []
    assert len(link.calls.asked) == 0
    stage.session.close()


async def test_what_can_be_sent_at_once_does_not_wait_but_for_its_turn(stage: Any) -> None:
    class Quick(ScriptedTransport):
        async def send(self, peer: NodeId, payload: bytes) -> None:
            raise AssertionError("it should have been sent at once")

        def send_nowait(self, peer: NodeId, payload: bytes) -> bool:
            self.sent.append((peer, payload))
            return True

    stage = stage()
    link = await stage.meet()
    link.shared.transport = quick = Quick()
    tasks = [asyncio.create_task(link.calls.ask(b"\x8c\x01", None)) for _ in range(3)]
    await asyncio.sleep(0)
    numbers = [frame.id for frame in map(decode, (payload for _, payload in quick.sent)) if isinstance(frame, Request)]
    assert len(numbers) == 3
    for number in numbers:
        stage.say(Reply(number, 0, b"\x8c\x03"))
    assert await asyncio.gather(*tasks) == [b"\x8c\x03"] * 3
    link.shared.timer.close()


async def test_a_cancellation_of_the_callers_own_goes_on(stage: Any) -> None:
    stage = stage()
    link = await stage.meet()
    for stuck in (True, False):
        if stuck:
            stage.transport.stick()
        task = asyncio.create_task(link.calls.ask(b"\x8c\x01", None))
        await stage.idle()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        stage.transport.stuck.set()
        await stage.idle()
    [request] = requests(stage)
    assert stage.sent()[-1] == Cancel(Scope.REQUEST, request.id)
    assert len(link.calls.asked) == 0
    stage.session.close()


async def test_who_waits_for_a_turn_ends_with_the_rest(stage: Any) -> None:
    stage = stage()
    link = await stage.meet(requests=1)
    tasks = [asyncio.create_task(link.calls.ask(b"\x8c\x01", None)) for _ in range(3)]
    late = asyncio.create_task(link.calls.ask(b"\x8c\x01", 0.01))
    with pytest.raises(ReplyTimeout):
        await late
    assert len(requests(stage)) == 1
    stage.session.fail_requests("closing")
    for task in tasks:
        with pytest.raises(ConnectionClosed, match="closing"):
            await task
    await stage.idle()
    assert len(requests(stage)) == 1
    stage.session.close()


async def test_each_answer_lets_the_next_one_go(stage: Any) -> None:
    stage = stage()
    link = await stage.meet(requests=2)
    tasks = [asyncio.create_task(link.calls.ask(b"\x8c\x01", None)) for _ in range(5)]
    for answered in range(5):
        await stage.idle()
        assert len(requests(stage)) == min(5, answered + 2)
        number = requests(stage)[answered].id
        frame = Reply(number, 0, b"\x8c\x03") if answered % 2 else Failure(Scope.REQUEST, number, Code.REFUSED, "no")
        stage.say(frame)
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in done] == [RemoteFailure, bytes, RemoteFailure, bytes, RemoteFailure]
    stage.session.close()


async def test_too_many_are_refused_here(stage: Any) -> None:
    stage = stage(limits=Limits(open_requests=2))
    link = await stage.meet()
    tasks = [asyncio.create_task(link.calls.ask(b"\x8c\x01", None)) for _ in range(2)]
    await stage.idle()
    with pytest.raises(QuotaExceeded):
        await link.calls.ask(b"\x8c\x01", None)
    with pytest.raises(QuotaExceeded):
        await anext(link.calls.stream(b"\x8c\x01", 1, None))
    stage.session.fail_requests("closing")
    await asyncio.gather(*tasks, return_exceptions=True)
    stage.session.close()


async def test_many_deadlines_cost_one_timer(stage: Any) -> None:
    stage = stage()
    link = await stage.meet()
    tasks = [asyncio.create_task(link.calls.ask(b"\x8c\x01", 0.01 + 0.001 * number)) for number in range(10)]
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in done] == [ReplyTimeout] * 10
    assert [f"{error.timeout:.3f}" for error in done] == [f"{0.01 + 0.001 * number:.3f}" for number in range(10)]
    await stage.idle()
    assert len([frame for frame in stage.sent() if isinstance(frame, Cancel)]) == 10
    stage.session.close()


async def test_a_failure_without_a_text_says_what_its_code_means(stage: Any) -> None:
    stage = stage()
    link = await stage.meet()
    for code, text in ((Code.INTERNAL, "the peer's handler failed"), (4711, "the peer failed")):
        task = asyncio.create_task(link.calls.ask(b"\x8c\x01", None))
        await stage.idle()
        stage.say(Failure(Scope.REQUEST, requests(stage)[-1].id, code, ""))
        with pytest.raises(RemoteFailure, match=text) as caught:
            await task
        assert caught.value.code == code
    stage.session.close()
