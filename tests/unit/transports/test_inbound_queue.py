"""What waits for the application: no clock, no loop."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo
from oddwire.transports.cln.pacing import ClnLimits
from oddwire.transports.inbound_queue import Dropped, InboundQueue

ONE, OTHER = NodeId("02" + "11" * 32), NodeId("02" + "22" * 32)


class Sink:
    """Keeps what it is told; ``on_payload`` is called with each payload."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.on_payload = lambda payload: None

    def peer_connected(self, peer: PeerInfo) -> None:
        self.told.append(peer)

    def payload_received(self, peer: NodeId, payload: bytes) -> None:
        self.told.append(payload)
        self.on_payload(payload)

    def peer_disconnected(self, peer: NodeId, reason: str) -> None:
        self.told.append(reason)

    def settled(self, peer: NodeId, call: Callable[[], object]) -> None:
        call()

    def host_stopping(self, reason: str) -> None:
        raise AssertionError(reason)


@pytest.fixture
def sink() -> Sink:
    return Sink()


def queue_of(sink: Sink, **limits: int) -> InboundQueue:
    return InboundQueue(sink, ClnLimits(**limits), Dropped())


INFO = PeerInfo(node_id=ONE)


def test_straight_through(sink: Sink) -> None:
    queue = queue_of(sink)
    for event in (INFO, b"a", b"b", "gone"):
        assert not queue.push(ONE, event)
    assert sink.told == [INFO, b"a", b"b", "gone"]
    assert queue.peers == {}


def test_what_is_staged_follows_the_greeting(sink: Sink) -> None:
    queue = queue_of(sink)
    queue.stage(ONE, b"a")
    queue.stage(ONE, b"b")
    assert sink.told == []
    queue.push(ONE, INFO)
    queue.push(ONE, "gone")
    assert sink.told == [INFO, b"a", b"b", "gone"]
    assert queue.held == 0


def test_paused_within_a_payload(sink: Sink) -> None:
    queue = queue_of(sink)
    for payload in (b"a", b"b", b"c"):
        queue.stage(ONE, payload)
    sink.on_payload = lambda payload: queue.pause(ONE)
    queue.push(ONE, INFO)
    assert sink.told == [INFO, b"a"]
    queue.push(ONE, b"d")
    queue.push(ONE, "gone")
    queue.push(ONE, INFO)
    for so_far in ([b"b"], [b"c"], [b"d"]):
        before = len(sink.told)
        assert queue.resume(ONE)
        assert not queue.drain(ONE)
        assert sink.told[before : before + 1] == so_far
    assert queue.resume(ONE)
    queue.drain(ONE)
    assert sink.told == [INFO, b"a", b"b", b"c", b"d", "gone", INFO]
    assert queue.held == 0
    queue.push(ONE, b"e")
    assert sink.told[-1] == b"e"


def test_pausing_and_resuming_a_stranger(sink: Sink) -> None:
    queue = queue_of(sink)
    queue.pause(ONE)
    assert not queue.resume(ONE)
    queue.stage(ONE, b"a")
    queue.pause(ONE)  # the sink does not know it yet
    queue.push(ONE, INFO)
    assert sink.told == [INFO, b"a"]


def test_a_long_queue_is_handed_on_in_turns(sink: Sink) -> None:
    queue = queue_of(sink)
    for number in range(1000):
        queue.stage(ONE, number.to_bytes(2, "big"))
    more = queue.push(ONE, INFO)
    turns = 1
    while more:
        assert len(sink.told) < 1001
        more = queue.drain(ONE)
        turns += 1
    assert sink.told[1:] == [number.to_bytes(2, "big") for number in range(1000)]
    assert turns > 2


def test_one_peer_takes_no_room_of_others_and_all_have_an_end(sink: Sink, caplog) -> None:
    caplog.set_level(logging.WARNING)
    dropped = Dropped()
    queue = InboundQueue(sink, ClnLimits(held=1000, held_total=1500), dropped)
    for peer in (ONE, OTHER):
        queue.push(peer, PeerInfo(node_id=peer))
        queue.pause(peer)
    sink.told.clear()
    for number in range(20):
        queue.push(ONE, bytes([number] * 100))
    kept_of_one = 1000 // 164
    assert dropped.total == dropped.peers[ONE] == 20 - kept_of_one
    queue.push(OTHER, b"b")
    assert dropped.total == 20 - kept_of_one
    for _ in range(20):
        queue.push(OTHER, bytes(100))
    assert queue.held <= 1500
    assert dropped.peers[OTHER] > 0
    assert len(caplog.records) == 2  # the beginning of each burst
    queue.resume(ONE)
    queue.drain(ONE)
    assert sink.told == [bytes([number] * 100) for number in range(kept_of_one)]
    assert f"{20 - kept_of_one} messages of {ONE} had to be dropped" in caplog.text
    queue.push(ONE, b"next")
    assert sink.told[-1] == b"next"
    queue.close("over")
    assert f"{dropped.peers[OTHER]} messages of {OTHER} had to be dropped" in caplog.text
    assert sink.told[-2:] == ["over", "over"]
    assert (queue.held, queue.peers) == (0, {})


def test_a_sink_that_raises_is_logged_and_goes_on(sink: Sink, caplog) -> None:
    def fail(payload: bytes) -> None:
        raise RuntimeError("the sink fails")

    queue = queue_of(sink)
    sink.on_payload = fail
    queue.push(ONE, INFO)
    queue.push(ONE, b"a")
    queue.push(ONE, b"b")
    assert sink.told == [INFO, b"a", b"b"]
    assert caplog.messages == [f"the sink raised over a payload of {ONE}"] * 2


def test_one_message_is_no_messages(caplog) -> None:
    dropped = Dropped()
    dropped.add(ONE)
    dropped.end_burst(ONE)
    dropped.end_burst(ONE)
    assert caplog.messages[1] == f"1 message of {ONE} had to be dropped"
    assert len(caplog.messages) == 2
    assert repr(dropped) == "<1 dropped>"


def test_a_paused_peer_that_connects_for_ever_takes_no_room_for_ever(sink: Sink) -> None:
    queue = queue_of(sink, held=10000)
    info = PeerInfo(node_id=ONE, features=b"x" * 4000)
    for event in (INFO, b"a"):
        queue.push(ONE, event)
    queue.pause(ONE)
    queue.push(ONE, b"b")
    for _ in range(100):
        for event in ("gone", info):
            queue.push(ONE, event)
    assert len(queue.peers[ONE].queue) == 3
    for _ in range(100):
        for event in (b"c", "gone", info):
            queue.push(ONE, event)
    assert queue.held == queue.peers[ONE].held <= 16000
    assert len(queue.peers[ONE].queue) < 10
    queue.resume(ONE)
    queue.drain(ONE)
    assert sink.told == [INFO, b"a", b"b", "gone", info, b"c", "gone", info, b"c", "gone", info]
    assert queue.held == 0
    queue.push(ONE, "gone")
    assert queue.peers == {}
