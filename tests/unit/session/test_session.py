from __future__ import annotations

import asyncio
from typing import Any

import pytest

from oddwire.proto.keys import NodeId
from oddwire.session.limits import Limits
from oddwire.session.session import HELLO_WAIT
from oddwire.session.wire.frame_types import Hello, HelloFlag, Request, Spoken

ALICE = NodeId("02" + "aa" * 32)
BOB = NodeId("03" + "bb" * 32)


async def test_greets_whoever_connects_and_answers_who_wants_an_answer(stage: Any) -> None:
    stage = stage(spoken=[Spoken("b", ("1",), ()), Spoken("a", ("2",), (5,))], limits=Limits(requests=9))
    await stage.connect()
    [greeting] = stage.sent()
    assert greeting == Hello(
        flags=HelloFlag.ANSWER,
        lowest=1,
        highest=1,
        program=70,
        extensions=(Spoken("a", ("2",), (5,)), Spoken("b", ("1",), ())),
        assembles=Limits().reassembly_bytes,
        requests=9,
    )
    stage.say(Hello(HelloFlag.ANSWER, 1, 1, program=10))
    await stage.idle()
    assert stage.sent() == [greeting, greeting._replace(flags=0)]
    stage.say(Hello(0, 1, 1, program=10))
    await stage.idle()
    assert len(stage.sent()) == 2
    assert [what for what in stage.host.told if what[0] == "hello"] == [("hello", ALICE, True), ("hello", ALICE, False)]
    stage.session.close()


async def test_who_says_no_hello_is_known_after_a_wait_and_may_still_come(stage: Any) -> None:
    stage = stage(hello_wait=0.2)
    link = await stage.connect()
    assert not link.settled
    assert not await link.wait_for_hello()
    assert link.settled
    stage.say(Hello(0, 1, 1, program=10))
    assert await link.wait_for_hello()
    stage.session.close()


def test_the_wait_is_short() -> None:
    assert HELLO_WAIT == 1.0


async def test_all_who_wait_for_a_peer_hear_when_it_goes(stage: Any) -> None:
    stage = stage()
    link = await stage.connect()
    waiting = [asyncio.create_task(link.wait_for_hello()) for _ in range(3)]
    await stage.idle()
    stage.session.peer_disconnected(ALICE, "gone")
    assert await asyncio.gather(*waiting) == [False, False, False]
    assert link.closed
    assert stage.session.peers == {}
    stage.session.peer_disconnected(ALICE, "gone again")
    link.post(b"\xc0\xdd")  # to nobody
    await stage.idle()
    assert len(stage.transport.sent) == 1
    stage.session.close()


@pytest.mark.parametrize(
    "payload",
    [b"\xc0\xdd\x0b\0\0\0\x07\0\0\0\x01", b"\xc0\xdd\x0a\0\0\0\x07\0\0\0\x01\0", b"\xc0\xdd\x09\0\0\0\0\0\0\0\x05"],
)
async def test_a_frame_that_cannot_be_read_is_the_hosts_to_judge(stage: Any, payload: bytes) -> None:
    stage = stage()
    await stage.meet()
    stage.hear(payload)
    assert stage.host.told[1:] == [("malformed", ALICE, payload)]
    stage.session.close()


@pytest.mark.parametrize(
    "payload",
    [
        b"\xc0\xdd",
        b"\xc0\xdd\x01",
        b"\xc0\xdd\x0b\0\0\0\x07\0\0\0",
        b"\xc0\xdd\x0b\0\0\0\x07\0\0\0\0" + bytes(30),
        b"\xc0\xdd\x09\0\0\0\x07\0\0\0\0" + bytes(30),
        b"\xc0\xdd\x0b\0\0\0\0\0\0\0\x01" + bytes(30),
        b"\xc0\xdd\x0b\0\0\0\x08\0\0\0\x01" + bytes(30),
        b"\xc0\xdd\x01\x01\x01\x01" + bytes(8) + bytes(4),  # a hello of the draft without addresses
    ],
)
async def test_a_frame_for_nobody_here_is_ignored(stage: Any, payload: bytes) -> None:
    stage = stage()
    await stage.meet()
    stage.hear(payload)
    await stage.idle()
    assert stage.host.told == [("hello", ALICE, True)]
    assert stage.sent() == []
    assert stage.session.shared.counters.dropped == {"frames": 1}
    stage.session.close()


async def test_a_peer_that_does_not_read_is_not_told_without_end(stage: Any) -> None:
    stage = stage(limits=Limits(faults_per_second=1e9))
    await stage.connect()
    stage.say(Hello(0, 1, 1, program=10))
    stage.transport.stick()
    for number in range(5000):
        stage.say(Request(number, 0, b"\x8c\x01"))  # the first 64 are handled, the rest refused
    assert stage.session.shared.counters.refused["requests"] == 5000 - 64
    assert 0 < 5000 - 64 - stage.session.shared.counters.dropped["failures"] <= 1025
    stage.transport.stuck.set()
    async with asyncio.timeout(30):
        while stage.host.tasks:
            await asyncio.sleep(0)
    stage.session.close()
