"""Several programs behind one peer, and several of our own: what each session keeps to itself."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from oddwire.errors import ConnectionClosed, NodeRefused
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Limits
from oddwire.session.wire.frame_types import (
    Cancel,
    Code,
    Failure,
    Fragment,
    Hello,
    HelloFlag,
    Reply,
    Request,
    Scope,
    Spoken,
)
from oddwire.session.wire.frames import addresses, encode

ALICE = NodeId("02" + "aa" * 32)


def speaks(*names: str, types: tuple[int, ...] = ()) -> tuple[Spoken, ...]:
    return tuple(Spoken(name, ("1",), types) for name in sorted(names))


OURS = (*speaks("quote", types=(0x8C01, 0x8C03)), *speaks("chat", types=(0x8C11,)))


def routes(stage: Any) -> list[tuple[int, int]]:
    return [addresses(payload) for _, payload in stage.transport.sent]


async def two(stage: Any) -> tuple[Any, Any, Any]:
    """Meet a peer with two programs, 1 and 2, numbers 10 and 20; 1 speaks quote and 2 chat."""
    peer = await stage.connect()
    stage.say(Hello(0, 1, 1, 10, speaks("quote", types=(0x8C01,))), 1)
    stage.say(Hello(0, 1, 1, 20, speaks("chat")), 2)
    await stage.idle()
    stage.transport.sent.clear()
    return peer, peer.links[1], peer.links[2]


async def test_greets_all_programs_and_answers_each_by_itself(stage: Any) -> None:
    stage = stage()
    await stage.connect()
    assert routes(stage) == [(0, 7)]
    stage.say(Hello(HelloFlag.ANSWER, 1, 1, 10), 1, to=0)
    stage.say(Hello(HelloFlag.ANSWER, 1, 1, 20), 2, to=7)
    stage.say(Hello(HelloFlag.ANSWER, 1, 1, 30), 3, to=8)  # which is not us
    await stage.idle()
    assert routes(stage) == [(0, 7), (1, 7), (2, 7)]
    assert [frame.flags for frame in stage.sent()] == [1, 0, 0]
    assert [what[0] for what in stage.host.told] == ["hello", "hello"]
    stage.session.close()


async def test_each_program_has_ids_of_its_own(stage: Any) -> None:
    stage = stage()
    _, one, other = await two(stage)
    asked = [asyncio.create_task(link.calls.ask(b"\x8c\x01", None)) for link in (one, other)]
    await stage.idle()
    ids = {route[0]: frame.id for route, frame in zip(routes(stage), stage.sent(), strict=True)}
    stage.say(Reply(ids[1], 0, b"\x8c\x03of another"), 2)  # an id that is open, with another program
    stage.say(Reply(ids[2], 0, b"\x8c\x03two"), 2)
    stage.say(Failure(Scope.REQUEST, ids[1], Code.REFUSED, "no"), 1)
    assert await asked[1] == b"\x8c\x03two"
    with pytest.raises(Exception, match="no"):
        await asked[0]
    for instance in (1, 2):  # the same id, and both are handled
        stage.say(Request(5, 0, b"\x8c\x01"), instance)
    assert [link.handled.is_open(5) for link in (one, other)] == [True, True]
    stage.say(Cancel(Scope.REQUEST, 5), 2)
    assert [link.handled.is_open(5) for link in (one, other)] == [True, False]
    assert stage.session.shared.counters.dropped == {"frames": 1}
    stage.session.close()


async def test_transfers_of_several_programs_do_not_mix(stage: Any) -> None:
    stage = stage()
    await two(stage)
    whole = {number: encode(Request(9, 0, b"\x8c\x01" + bytes([number]) * 2000), 7 << 32 | number) for number in (1, 2)}
    for piece, start in enumerate(range(0, len(whole[1]), 1024)):
        for number in (1, 2):
            content = whole[number][start : start + 1024]
            stage.say(Fragment(4, len(whole[number]), 1024, piece, content), number)
    requests = [what[2].content for what in stage.host.told if what[0] == "request"]
    assert requests == [b"\x8c\x01" + bytes([number]) * 2000 for number in (1, 2)]
    stage.session.close()


async def test_a_frame_in_fragments_of_another_program_is_refused(stage: Any) -> None:
    stage = stage()
    await two(stage)
    payload = encode(Request(9, 0, b"\x8c\x01" + bytes(2000)), 7 << 32 | 2)
    stage.say(Fragment(4, len(payload), 1024, 0, payload[:1024]), 1)
    await stage.idle()
    [failure] = stage.sent()
    assert (failure.scope, failure.id, failure.code) == (Scope.TRANSFER, 4, Code.MALFORMED)
    assert "other addresses than its fragments" in failure.text
    stage.session.close()


async def test_a_restart_ends_what_was_under_way_with_that_program_alone(
    stage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "oddwire.session")
    stage = stage(spoken=OURS)
    peer, one, other = await two(stage)
    asked = [asyncio.create_task(link.calls.ask(b"\x8c\x01", None)) for link in (one, other)]
    await stage.idle()
    stage.say(Request(5, 0, b"\x8c\x01"), 1)
    stage.say(Request(5, 0, b"\x8c\x01"), 2)
    stage.say(Hello(HelloFlag.ANSWER, 1, 1, 10, speaks("quote")), 3)
    with pytest.raises(ConnectionClosed, match="the peer has restarted"):
        await asked[0]
    assert not asked[1].done()
    assert one.closed
    assert not one.handled.is_open(5)
    assert other.handled.is_open(5)
    assert list(peer.links) == [2, 3]
    assert ("ended", ALICE, 1) in stage.host.told
    with pytest.raises(ConnectionClosed, match="the peer has restarted"):
        _ = one.calls
    stage.say(Reply(1, 0, b"\x8c\x03late"), 1)
    assert stage.session.shared.counters.dropped == {"abandoned": 1, "frames": 1}
    text = f"a program of {ALICE} (quote) has restarted: its open requests and transfers have failed"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("INFO", text)]
    asked[1].cancel()
    stage.session.close()


async def test_a_restart_is_told_where_reliable_messages_wait(stage: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "oddwire.session")
    stage = stage(spoken=OURS)
    _, _, other = await two(stage)
    stage.host.waiting = {other}
    stage.say(Hello(0, 1, 1, 10, speaks("quote")), 3)
    assert not [each for each in caplog.records if each.levelno > logging.DEBUG]
    stage.say(Hello(0, 1, 1, 20, speaks("chat")), 4)
    text = f"a program of {ALICE} (chat) has restarted: its open requests and transfers have failed"
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("INFO", text)]
    stage.session.close()


async def test_a_program_that_leaves_ends_its_own_session(stage: Any) -> None:
    stage = stage()
    peer, one, other = await two(stage)
    asked = asyncio.create_task(one.calls.ask(b"\x8c\x01", None))
    await stage.idle()
    stage.transport.sent.clear()
    stage.say(Hello(HelloFlag.LEAVING, 1, 1, 10), 1, to=0)
    with pytest.raises(ConnectionClosed, match="its program has ended"):
        await asked
    await stage.idle()
    assert stage.sent() == []
    assert list(peer.links.values()) == [other]
    assert peer.waiting  # another may come in its place
    stage.say(Hello(HelloFlag.LEAVING, 1, 1, 30), 9, to=0)  # whom nobody knew
    assert list(peer.links.values()) == [other]
    stage.session.close()


async def test_two_programs_of_one_number_are_two_once_both_have_spoken(
    stage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "oddwire.session")
    stage = stage(spoken=OURS)
    peer = await stage.connect()
    for instance in (1, 2, 1, 2, 1):
        stage.say(Hello(0, 1, 1, 10, speaks("quote")), instance)
    assert sorted(peer.links) == [1, 2]
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [line for line in told if not any(text in line[1] for text in ("the session with", " speaks "))] == [
        ("DEBUG", f"a program of {ALICE} (quote) has restarted"),
        ("WARNING", f"two programs of {ALICE} have one number, {10:016x}: their node should give each its own"),
    ]
    stage.session.close()


async def test_asks_the_program_that_names_the_extension_and_type(stage: Any) -> None:
    stage = stage(spoken=OURS)
    peer, one, other = await two(stage)
    assert peer.speaker(["quote"], 0x8C01) is one
    assert peer.speaker(["chat"], 0x8C11) is other
    assert peer.speaker(["market"], 0x8C21) is None
    assert peer.speaker(["market"], 0x8C01) is one  # it lists the type, under another name
    assert peer.only() is None
    stage.say(Hello(0, 1, 1, 5, speaks("quote")), 3)  # of a lesser number, without the type
    assert peer.speaker(["quote"], 0x8C01) is one
    assert peer.speaker(["quote"], 0x8C03) is peer.links[3]
    stage.say(Hello(0, 1, 1, 4, speaks("quote", types=(0x8C01,))), 4)
    assert peer.speaker(["quote"], 0x8C01) is peer.links[4]
    assert peer.version_of("quote") == "1"
    assert peer.extensions() == {"quote": ("1",), "chat": ("1",)}
    stage.session.close()


async def test_an_extension_is_waited_for_whoever_speaks_it(stage: Any) -> None:
    stage = stage(spoken=OURS, hello_wait=1.0)
    peer = await stage.connect()
    waiting = [asyncio.create_task(peer.wait_for_hello(name)) for name in ("chat", "quote", "quote")]
    stage.say(Hello(0, 1, 1, 10, speaks("chat")), 1)
    assert await waiting[0]
    await stage.idle()
    assert not waiting[1].done()
    assert await asyncio.gather(*waiting[1:]) == [False, False]
    assert await peer.wait_for_hello("chat")
    stage.say(Hello(0, 1, 1, 20, speaks("quote")), 2)
    assert await peer.wait_for_hello("quote")
    stage.session.close()


async def test_who_waits_for_a_program_hears_when_it_comes(stage: Any) -> None:
    stage = stage(spoken=OURS, hello_wait=1000)
    peer = await stage.connect()
    stage.say(Hello(0, 1, 1, 10, speaks("chat")), 1)

    async def find() -> Any:
        while (link := peer.speaker(["quote"], 0x8C01)) is None and peer.waiting:
            await peer.change()
        return link

    finding = [asyncio.create_task(find()) for _ in range(3)]
    await stage.idle()
    finding.pop().cancel()  # nobody else notices
    await stage.idle()
    stage.say(Hello(0, 1, 1, 20, speaks("quote")), 2)
    assert await asyncio.gather(*finding) == [peer.links[2]] * 2
    stage.session.close()


async def test_frames_for_other_programs_of_our_node_are_no_faults_where_there_are_some(stage: Any) -> None:
    stage = stage(limits=Limits(faults_per_second=1))
    stage.transport.shared = True
    await two(stage)
    for _ in range(100):
        stage.say(Request(5, 0, b"\x8c\x01"), 1, to=8)
        stage.say(Hello(0, 1, 1, 50), 5, to=8)
    await stage.idle()
    assert stage.sent() == []
    assert stage.session.shared.counters.dropped == {}
    assert ("throttle", ALICE) not in stage.host.told
    stage.session.close()


async def test_who_takes_us_for_one_it_knows_is_greeted_but_seldom(stage: Any) -> None:
    stage = stage()
    await two(stage)
    for _ in range(3):
        stage.say(Request(5, 0, b"\x8c\x01"), 9)
    await stage.idle()
    assert routes(stage) == [(9, 7), (9, 7)]
    assert [hello.flags for hello in stage.sent()] == [HelloFlag.LEAVING, HelloFlag.ANSWER]
    stage.session.close()


async def test_programs_of_a_peer_are_limited_and_those_with_work_stay(stage: Any) -> None:
    stage = stage(limits=Limits(programs=3))
    peer = await stage.connect()
    for instance in (1, 2, 3):
        stage.say(Hello(0, 1, 1, 10 * instance), instance)
    stage.say(Request(5, 0, b"\x8c\x01"), 1)
    stage.say(Cancel(Scope.REQUEST, 1), 2)  # it is last_received of last
    stage.say(Hello(0, 1, 1, 40), 4)
    assert sorted(peer.links) == [1, 2, 4]
    for instance in (2, 4):
        stage.say(Request(5, 0, b"\x8c\x01"), instance)
    stage.say(Hello(HelloFlag.ANSWER, 1, 1, 50), 5)
    assert sorted(peer.links) == [1, 2, 4]
    assert stage.session.shared.counters.refused == {"programs": 1}
    stage.session.close()


async def test_requests_of_all_programs_of_a_peer_are_limited(stage: Any) -> None:
    stage = stage(limits=Limits(requests=2, faults_per_second=1e6))
    await stage.connect()
    for instance in range(1, 7):
        stage.say(Hello(0, 1, 1, instance), instance)
    await stage.idle()
    stage.transport.sent.clear()
    for instance in range(1, 7):
        for number in range(2):
            stage.say(Request(number, 0, b"\x8c\x01"), instance)
    await stage.idle()
    assert len([what for what in stage.host.told if what[0] == "request"]) == 8
    assert [frame.code for frame in stage.sent()] == [Code.QUOTA] * 4
    stage.session.close()


async def test_a_program_that_does_not_answer_any_more_is_taken_for_dead(stage: Any) -> None:
    stage = stage()
    peer, one, other = await two(stage)
    asked = asyncio.create_task(one.calls.ask(b"\x8c\x01", None))
    stage.host.waiting.append(other)
    await stage.idle()
    stage.transport.sent.clear()
    start = stage.session.shared.loop.time()

    async def look(seconds: float) -> list[tuple[int, int]]:
        stage.transport.sent.clear()
        peer.tick(start + seconds)
        await stage.idle()
        return routes(stage)

    assert await look(5) == []
    assert await look(15) == [(1, 7), (2, 7)]  # asked whether they are there
    stage.say(Hello(0, 1, 1, 20, speaks("chat")), 2)
    other.last_received = start + 16
    assert await look(25) == []
    assert await look(35) == []
    assert peer.links == {1: one, 2: other}
    assert await look(46) == [(2, 7)]  # after longer, as it was there
    assert list(peer.links) == [2]
    with pytest.raises(ConnectionClosed, match="does not answer any more"):
        await asked
    assert ("ended", ALICE, 1) in stage.host.told
    stage.session.close()


async def test_who_was_taken_for_dead_and_is_not_hears_that_its_session_is_over(stage: Any) -> None:
    """Else what it asked in it would wait for ever."""
    stage = stage()
    peer, one, _ = await two(stage)
    stage.say(Request(5, 0, b"\x8c\x01"), 1)
    stage.host.waiting.append(one)
    start = stage.session.shared.loop.time()
    for seconds in (5, 15, 25, 35, 46):
        peer.tick(start + seconds)
    await stage.idle()
    assert list(peer.links) == [2]
    stage.transport.sent.clear()
    stage.say(Hello(HelloFlag.ANSWER, 1, 1, 10, speaks("quote")), 1)
    await stage.idle()
    assert list(peer.links) == [2]
    assert routes(stage) == [(1, 7), (1, 7)]
    assert [hello.flags for hello in stage.sent()] == [HelloFlag.LEAVING, HelloFlag.ANSWER]
    stage.say(Hello(0, 1, 1, 10, speaks("quote")), 1)
    assert list(peer.links) == [2, 1]
    assert peer.links[1] is not one
    stage.session.close()


@pytest.mark.parametrize("how", ["paused", "stalled", "idle"])
async def test_who_could_not_be_heard_is_not_taken_for_dead(stage: Any, how: str) -> None:
    stage = stage()
    peer, one, _ = await two(stage)
    if how != "idle":
        stage.host.waiting.append(one)
    start = stage.session.shared.loop.time()
    for seconds in (5, 15, 25, 35, 44):
        peer.tick(start + seconds)
    if how == "paused":
        stage.host.paused.add(ALICE)
    peer.tick(start + (46 if how != "stalled" else 100))
    assert one in peer.links.values()
    stage.host.paused.clear()
    for seconds in range(110, 150, 10):
        peer.tick(start + seconds)
    assert (one in peer.links.values()) == (how == "idle")
    stage.session.close()


async def test_new_stores_are_told_of_once(stage: Any) -> None:
    stage = stage(stores=(5,))
    await two(stage)
    stage.session.set_stores((5,))
    stage.session.set_stores((5, 6))
    await stage.idle()
    assert routes(stage) == [(0, 7)]
    [hello] = stage.sent()
    assert (hello.flags, hello.stores) == (0, (5, 6))
    stage.session.close()


@pytest.mark.parametrize("shared", [False, True])
async def test_says_goodbye_where_connections_stay(stage: Any, shared: bool) -> None:
    stage = stage()
    stage.transport.shared = shared
    await two(stage)
    await stage.session.leave(30)
    assert routes(stage) == ([(0, 7)] if shared else [])
    assert [frame.flags for frame in stage.sent()] == ([HelloFlag.LEAVING] if shared else [])
    stage.session.close()


# What comes in which order -------------------------------------------------------------------------------


async def test_a_program_that_has_just_started_hears_who_we_are_before_anything_else(stage: Any) -> None:
    stage = stage(spoken=OURS)
    peer, one, _ = await two(stage)
    send, line = stage.transport.send, asyncio.Lock()

    async def one_after_the_other(node_id: NodeId, payload: bytes) -> None:  # as a node takes messages of a plugin
        async with line:
            await asyncio.sleep(0)
            await send(node_id, payload)

    stage.transport.send = one_after_the_other
    stage.transport.stick()
    for number in (1, 2, 3):  # refused for want of a type of our host's: what waits to be sent
        one.refuse(Scope.REQUEST, number, Code.UNKNOWN_MESSAGE, "")
    await stage.idle()
    stage.say(Hello(HelloFlag.ANSWER, 1, 1, 5, speaks("quote", types=(0x8C01,))), 3, to=0)

    async def ask() -> bytes:
        while (link := peer.speaker(["quote"], 0x8C01)) is None or link.program != 5:
            await peer.change()
        return await link.calls.ask(b"\x8c\x01", None)

    asked = asyncio.create_task(ask())
    await stage.idle()
    assert peer.waiting, "it is about to hear of us"
    stage.say(Request(5, 0, b"\x8c\x01"), 3)  # it may know us already, if ours has crossed its own
    assert peer.links[3].handled.is_open(5)
    stage.transport.stuck.set()
    async with asyncio.timeout(30):
        while len(stage.sent()) < 5:
            await asyncio.sleep(0)
    assert [(to, type(frame)) for (to, _), frame in zip(routes(stage), stage.sent(), strict=True) if to == 3] == [
        (3, Hello),
        (3, Request),
    ]
    asked.cancel()
    stage.session.close()


async def test_who_asks_in_the_turn_of_a_hello_is_not_faster_than_ours(stage: Any) -> None:
    stage = stage(spoken=OURS)
    peer = await stage.connect()
    stage.transport.sent.clear()
    stage.say(Hello(HelloFlag.ANSWER, 1, 1, 10, speaks("quote")), 1, to=0)
    assert peer.speaker(["quote"], 0x8C01) is None
    assert not peer.settled
    assert await peer.wait_for_hello("quote")
    assert [type(frame) for frame in stage.sent()] == [Hello]
    stage.session.close()


async def test_a_program_that_answers_us_may_be_asked_at_once(stage: Any) -> None:
    stage = stage(spoken=OURS)
    peer = await stage.connect()
    stage.say(Hello(0, 1, 1, 10, speaks("quote")), 1)
    assert peer.speaker(["quote"], 0x8C01) is peer.links[1]
    assert peer.settled
    stage.session.close()


async def test_who_waits_for_nobody_hears_so_once_a_hello_is_answered(stage: Any) -> None:
    stage = stage(spoken=OURS, hello_wait=0.01)
    peer, _, _ = await two(stage)
    async with asyncio.timeout(30):
        while peer.waiting:
            await asyncio.sleep(0.001)
        stage.say(Hello(HelloFlag.ANSWER, 1, 1, 20, speaks("other")), 2, to=0)  # it is known, and asks again
        assert peer.waiting
        assert not await peer.wait_for_hello("chat")
        assert await peer.wait_for_hello("quote")
    stage.session.close()


async def test_hellos_are_answered_though_the_peer_does_not_read_and_once(stage: Any) -> None:
    stage = stage(limits=Limits(faults_per_second=1e9))
    peer, one, _ = await two(stage)
    stage.transport.stick()
    for number in range(2000):
        one.refuse(Scope.REQUEST, number, Code.UNKNOWN_MESSAGE, "")
    for _ in range(10):
        stage.say(Hello(HelloFlag.ANSWER, 1, 1, 30), 3, to=0)
    for instance in range(10, 50):  # each takes the place of the one before
        stage.say(Hello(HelloFlag.ANSWER, 1, 1, instance), instance, to=0)
    assert len(peer.links) == 16
    stage.transport.stuck.set()
    async with asyncio.timeout(30):
        while stage.host.tasks:
            await asyncio.sleep(0)
    hellos = [to for (to, _), frame in zip(routes(stage), stage.sent(), strict=True) if type(frame) is Hello]
    assert sorted(hellos) == sorted(set(hellos))
    assert {*peer.links} == {*hellos}, "all others have gone before their turn"
    assert peer.settled
    stage.session.close()


async def test_nothing_has_peers_take_us_for_alive_after_our_farewell(stage: Any) -> None:
    stage = stage()
    stage.transport.shared = True
    peer, one, _ = await two(stage)
    stage.transport.stick()
    for number in (1, 2):
        one.refuse(Scope.REQUEST, number, Code.UNKNOWN_MESSAGE, "")
    await stage.idle()
    stage.session.set_stores((9,))
    stage.say(Hello(HelloFlag.ANSWER, 1, 1, 30), 3, to=0)
    leaving = asyncio.create_task(stage.session.leave(30))
    await stage.idle()
    stage.say(Hello(HelloFlag.ANSWER, 1, 1, 40), 4, to=0)
    bob = NodeId("02" + "bb" * 32)
    await stage.connect(bob)
    stage.transport.stuck.set()
    await leaving
    stage.session.set_stores((9, 10))
    stage.say(Hello(HelloFlag.ANSWER, 1, 1, 50), 5, to=0)
    stage.say(Request(5, 0, b"\x8c\x01"), 99)
    await stage.idle()
    assert [getattr(frame, "flags", None) for frame in stage.sent()] == [None, None, HelloFlag.LEAVING]
    assert stage.sent(bob) == []
    assert not peer.waiting or 3 in peer.links
    stage.session.close()


async def test_who_may_have_heard_of_us_hears_our_farewell(stage: Any) -> None:
    stage = stage()
    stage.transport.shared = True
    await stage.connect()
    await stage.session.leave(30)
    assert [frame.flags for frame in stage.sent()] == [HelloFlag.ANSWER, HelloFlag.LEAVING]
    stage.session.close()


async def test_who_may_have_heard_of_us_hears_of_new_stores(stage: Any) -> None:
    stage = stage()
    await stage.connect()
    stage.session.set_stores((5,))
    await stage.idle()
    assert [(frame.flags, frame.stores) for frame in stage.sent()] == [(HelloFlag.ANSWER, ()), (0, (5,))]
    stage.session.close()


# What strangers may do -----------------------------------------------------------------------------------


async def test_a_peer_that_sends_back_what_we_say_is_nobody(stage: Any) -> None:
    stage = stage(spoken=OURS)
    peer = await stage.connect()
    for _ in range(5):
        for _, payload in list(stage.transport.sent):
            stage.hear(payload)
        await stage.idle()
    assert peer.links == {}
    assert [type(frame) for frame in stage.sent()] == [Hello]
    stage.say(Hello(HelloFlag.ANSWER, 1, 1, 71, speaks("quote")), 7, to=0)  # another that has our instance by chance
    await stage.idle()
    assert peer.links[7].ready
    stage.session.close()


async def test_handlers_that_are_slow_to_end_are_counted_however_often_a_program_restarts(stage: Any) -> None:
    stage = stage(limits=Limits(requests=4, faults_per_second=1e9))
    peer = await stage.connect()
    begun, links = 0, []
    for instance in range(1, 60):
        stage.say(Hello(0, 1, 1, 10), instance)
        link = peer.links[instance]
        before = len(stage.host.told)
        for number in range(4):
            stage.say(Request(number, 0, b"\x8c\x01"), instance)
        links.append((link, len(stage.host.told) - before))
        link.working += links[-1][1]  # as the host counts those that it begins
        begun += links[-1][1]
    assert begun <= 16
    for link, count in links:
        link.working -= count
    stage.say(Hello(0, 1, 1, 10), 500)
    stage.say(Request(1, 0, b"\x8c\x01"), 500)
    assert peer.links[500].handled.is_open(1)
    stage.session.close()


async def test_a_program_that_is_sent_something_large_keeps_its_place(stage: Any) -> None:
    stage = stage(limits=Limits(programs=2))
    peer = await stage.connect()
    for instance in (1, 2):
        stage.say(Hello(0, 1, 1, instance, assembles=1 << 20), instance)
    stage.transport.stick()
    sending = asyncio.create_task(peer.links[1].send(bytes(2) + bytes(200_000)))
    await stage.idle()
    stage.say(Hello(0, 1, 1, 3), 3)
    assert [*peer.links] == [1, 3]
    stage.transport.stuck.set()
    await sending
    stage.session.close()


async def test_of_two_with_one_number_the_later_is_asked_as_the_other_may_be_dead(stage: Any) -> None:
    stage = stage(spoken=OURS)
    peer = await stage.connect()
    for instance in (1, 2, 1, 1, 3):  # the first is told that its session has ended, and comes anew
        stage.say(Hello(0, 1, 1, 10, speaks("quote")), instance)
    assert [*peer.links] == [2, 1, 3]
    assert peer.speaker(["quote"], 0x8C01) is peer.links[3]
    stage.session.close()


async def test_ten_thousand_programs_leave_nothing_behind(stage: Any) -> None:
    stage = stage(limits=Limits(faults_per_second=1e9))
    peer = await stage.connect()
    for instance in range(10, 10_010):
        stage.say(Hello(HelloFlag.ANSWER, 1, 1, instance % 7 or instance), instance, to=0)
        if instance % 100 == 0:
            await stage.idle()
    await stage.idle()
    assert len(peer.links) <= 16
    assert len(peer.addressed) == len(peer.links)
    assert len(peer._former) <= 64
    assert len(stage.session.shared.timer._due) <= 100
    assert not peer._owed
    assert not peer.left
    assert not stage.host.tasks
    stage.session.close()


async def test_a_frame_that_the_node_does_not_take_keeps_no_other_back(stage: Any) -> None:
    stage = stage()
    _, one, _ = await two(stage)
    send, refused = (
        stage.transport.send,
        [ConnectionClosed("the way to the node is lost"), NodeRefused("not now", code=-1)],
    )

    async def unwilling(node_id: NodeId, payload: bytes) -> None:
        await send(node_id, payload)
        if refused:
            raise refused.pop()

    stage.transport.send = unwilling
    for number in range(4):
        one.refuse(Scope.REQUEST, number, Code.UNKNOWN_MESSAGE, "")
    stage.say(Hello(HelloFlag.ANSWER, 1, 1, 30), 3, to=0)
    await stage.idle()
    assert [getattr(frame, "id", None) for frame in stage.sent()] == [0, 1, 2, 3, None]
    assert type(stage.sent()[-1]) is Hello
    assert not refused
    stage.session.close()
