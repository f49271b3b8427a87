"""Pace, and what waits for the application: no clock, no loop."""

from __future__ import annotations

import logging

import pytest

from oddwire.transports.base import NodeId, PeerInfo
from oddwire.transports.cln.flow import ClnLimits, Dropped, InboundQueue, Pace

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

    def host_stopping(self, reason: str) -> None:
        raise AssertionError(reason)


@pytest.fixture
def sink() -> Sink:
    return Sink()


def inbox_of(sink: Sink, **limits: int) -> InboundQueue:
    return InboundQueue(sink, ClnLimits(**limits), Dropped())


INFO = PeerInfo(node_id=ONE)


# Pace


def test_a_burst_then_the_rate() -> None:
    pace = Pace(ClnLimits(rate=1000, burst=100_000, depth=99), 0.0)
    assert pace.start(60_000, 0.0)
    assert pace.start(40_000, 0.0)
    assert not pace.start(1000, 0.0)
    assert pace.delay(1000) == pytest.approx(1.0)
    assert not pace.start(1000, 0.5)
    assert pace.delay(1000) == pytest.approx(0.5)
    assert pace.start(1000, 1.0)


def test_what_is_saved_goes_whatever_time_it_is() -> None:
    pace = Pace(ClnLimits(rate=1000, burst=100_000, depth=3), 0.0)
    assert pace.begin(60_000)
    assert pace.begin(40_000)
    assert not pace.begin(1000)
    assert pace.delay(1000) == pytest.approx(1.0)
    assert pace.start(1000, 1.0)
    assert not pace.begin(0), "so many at once"
    pace.done()
    assert pace.begin(0)
    pace = Pace(ClnLimits(rate=None, burst=70_000, depth=99), 0.0)
    assert pace.begin(60_000)
    assert not pace.begin(60_000)
    assert pace.start(60_000, 0.0), "there is no rate"


def test_rest_is_saved_up_to_the_burst() -> None:
    pace = Pace(ClnLimits(rate=1000, burst=70_000, depth=99), 0.0)
    assert pace.start(70_000, 0.0)
    assert pace.start(65_000, 1e6)
    assert pace.start(5_000, 1e6)
    assert not pace.start(1, 1e6)


def test_the_largest_message_fits_any_burst() -> None:
    assert Pace(ClnLimits(burst=1), 0.0).start(65535, 0.0)


def test_so_many_at_once() -> None:
    pace = Pace(ClnLimits(rate=None, depth=2), 0.0)
    assert pace.start(1, 0.0)
    assert pace.start(1, 0.0)
    assert not pace.start(1, 0.0)
    assert pace.delay(1) is None
    pace.done()
    assert pace.start(1, 0.0)


# Inbox


def test_straight_through(sink: Sink) -> None:
    inbox = inbox_of(sink)
    for event in (INFO, b"a", b"b", "gone"):
        assert not inbox.push(ONE, event)
    assert sink.told == [INFO, b"a", b"b", "gone"]
    assert inbox.lanes == {}


def test_what_is_staged_follows_the_greeting(sink: Sink) -> None:
    inbox = inbox_of(sink)
    inbox.stage(ONE, b"a")
    inbox.stage(ONE, b"b")
    assert sink.told == []
    inbox.push(ONE, INFO)
    inbox.push(ONE, "gone")
    assert sink.told == [INFO, b"a", b"b", "gone"]
    assert inbox.held == 0


def test_paused_within_a_payload(sink: Sink) -> None:
    inbox = inbox_of(sink)
    for payload in (b"a", b"b", b"c"):
        inbox.stage(ONE, payload)
    sink.on_payload = lambda payload: inbox.pause(ONE)
    inbox.push(ONE, INFO)
    assert sink.told == [INFO, b"a"]
    inbox.push(ONE, b"d")
    inbox.push(ONE, "gone")
    inbox.push(ONE, INFO)
    for so_far in ([b"b"], [b"c"], [b"d"]):
        before = len(sink.told)
        assert inbox.resume(ONE)
        assert not inbox.drain(ONE)
        assert sink.told[before : before + 1] == so_far
    assert inbox.resume(ONE)
    inbox.drain(ONE)
    assert sink.told == [INFO, b"a", b"b", b"c", b"d", "gone", INFO]
    assert inbox.held == 0
    inbox.push(ONE, b"e")
    assert sink.told[-1] == b"e"


def test_pausing_and_resuming_a_stranger(sink: Sink) -> None:
    inbox = inbox_of(sink)
    inbox.pause(ONE)
    assert not inbox.resume(ONE)
    inbox.stage(ONE, b"a")
    inbox.pause(ONE)  # the sink does not know it yet
    inbox.push(ONE, INFO)
    assert sink.told == [INFO, b"a"]


def test_a_long_queue_is_handed_on_in_turns(sink: Sink) -> None:
    inbox = inbox_of(sink)
    for number in range(1000):
        inbox.stage(ONE, number.to_bytes(2, "big"))
    more = inbox.push(ONE, INFO)
    turns = 1
    while more:
        assert len(sink.told) < 1001
        more = inbox.drain(ONE)
        turns += 1
    assert sink.told[1:] == [number.to_bytes(2, "big") for number in range(1000)]
    assert turns > 2


def test_one_peer_takes_no_room_of_others_and_all_have_an_end(sink: Sink, caplog) -> None:
    caplog.set_level(logging.WARNING)
    dropped = Dropped()
    inbox = InboundQueue(sink, ClnLimits(held=1000, held_total=1500), dropped)
    for peer in (ONE, OTHER):
        inbox.push(peer, PeerInfo(node_id=peer))
        inbox.pause(peer)
    sink.told.clear()
    for number in range(20):
        inbox.push(ONE, bytes([number] * 100))
    kept_of_one = 1000 // 164
    assert dropped.total == dropped.peers[ONE] == 20 - kept_of_one
    inbox.push(OTHER, b"b")
    assert dropped.total == 20 - kept_of_one
    for _ in range(20):
        inbox.push(OTHER, bytes(100))
    assert inbox.held <= 1500
    assert dropped.peers[OTHER] > 0
    assert len(caplog.records) == 2  # the beginning of each burst
    inbox.resume(ONE)
    inbox.drain(ONE)
    assert sink.told == [bytes([number] * 100) for number in range(kept_of_one)]
    assert f"{20 - kept_of_one} messages of {ONE} had to be dropped" in caplog.text
    inbox.push(ONE, b"next")
    assert sink.told[-1] == b"next"
    inbox.close("over")
    assert f"{dropped.peers[OTHER]} messages of {OTHER} had to be dropped" in caplog.text
    assert sink.told[-2:] == ["over", "over"]
    assert (inbox.held, inbox.lanes) == (0, {})


def test_a_sink_that_raises_is_logged_and_goes_on(sink: Sink, caplog) -> None:
    def fail(payload: bytes) -> None:
        raise RuntimeError("the sink fails")

    inbox = inbox_of(sink)
    sink.on_payload = fail
    inbox.push(ONE, INFO)
    inbox.push(ONE, b"a")
    inbox.push(ONE, b"b")
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
