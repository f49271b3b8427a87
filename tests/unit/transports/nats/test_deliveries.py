"""What waits for the sink: order, pauses, turns, and when a message is handled."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from oddwire.proto.keys import NodeId
from oddwire.testing import RecordingSink
from oddwire.testing.sinks import Connected, Disconnected
from oddwire.transports.base import PeerInfo
from oddwire.transports.nats.deliveries import Deliveries, DeliveryOwner
from oddwire.transports.nats.peer_connections import PeerConnection, StreamMessage

ALICE = NodeId("02" + "aa" * 32)
BOB = NodeId("03" + "bb" * 32)


class Desk(DeliveryOwner):
    """Owns `Deliveries`, and keeps what they tell."""

    def __init__(self) -> None:
        self.sink = RecordingSink()
        self.sink.unsettled = []
        self.soon: list[Callable[[], object]] = []
        self.flows: list[tuple[int, bool]] = []
        self.crowds: list[bool] = []
        self.done: list[int] = []
        self.deliveries = Deliveries(self.sink, self)

    def flow(self, connection: PeerConnection) -> None:
        self.flows.append((connection.number, connection.stopped))

    def crowded(self, crowded: bool) -> None:
        self.crowds.append(crowded)

    def handled(self, message: StreamMessage) -> None:
        assert message.complete
        self.done.append(message.sequence)

    def call_soon(self, call: Callable[[], object]) -> None:
        self.soon.append(call)

    def connect(self, number: int, peer: NodeId) -> PeerConnection:
        connection = PeerConnection(number, PeerInfo(node_id=peer), 1)
        self.deliveries.connected(connection)
        return connection

    def disconnect(self, connection: PeerConnection) -> None:
        connection.gone = "gone"
        self.deliveries.disconnected(connection)

    def settle(self, peer: NodeId) -> None:
        """Say that the first that waits for a peer is handled."""
        assert self.sink.unsettled is not None
        place = next(place for place, (one, _) in enumerate(self.sink.unsettled) if one == peer)
        self.sink.unsettled.pop(place)[1]()


def test_a_message_is_handled_when_all_its_peers_have() -> None:
    desk = Desk()
    alice, bob = desk.connect(1, ALICE), desk.connect(2, BOB)
    message = StreamMessage(9, 1)
    inboxes = {desk.deliveries.received(alice, 4, b"aa"): None, desk.deliveries.received(bob, 7, b"bb"): None}
    desk.deliveries.received(alice, 5, b"aaa")
    desk.deliveries.delivered(message, inboxes)
    assert message.peers == (ALICE, BOB)
    desk.settle(ALICE)
    assert desk.done == []
    assert message.handled == [(1, 5)]
    assert not message.complete
    desk.settle(BOB)
    assert desk.done == [9]
    desk.deliveries.delivered(StreamMessage(10, 1), ())
    assert desk.done == [9, 10]


def test_a_paused_peer_is_asked_for_when_it_has_got_all() -> None:
    desk = Desk()
    alice = desk.connect(1, ALICE)
    desk.deliveries.pause(ALICE)
    inbox = desk.deliveries.received(alice, 1, b"aa")
    message = StreamMessage(1, 1)
    desk.deliveries.delivered(message, [inbox])
    desk.deliveries.received(alice, 2, b"bb")
    later = StreamMessage(2, 1)
    desk.deliveries.delivered(later, [inbox])
    assert desk.sink.unsettled == []
    assert desk.deliveries.held == 2 * (2 + 64)
    desk.deliveries.resume(ALICE)
    assert desk.sink.payloads == [b"aa", b"bb"]
    assert desk.deliveries.held == 0
    desk.settle(ALICE)
    desk.settle(ALICE)
    assert desk.done == [1, 2]
    assert (message.handled, later.handled) == ([(1, 1)], [(1, 2)])


def test_a_pause_in_the_middle_and_a_connection_after_it() -> None:
    desk = Desk()
    first = desk.connect(1, ALICE)
    desk.sink.on_payload = lambda peer, _: desk.deliveries.pause(peer)
    for number in (1, 2, 3):
        desk.deliveries.received(first, number, bytes(2 + number))
    desk.disconnect(first)
    second = desk.connect(2, ALICE)
    assert desk.deliveries.told(ALICE) is first
    assert desk.deliveries.last(ALICE) is second
    for _ in range(3):
        desk.deliveries.resume(ALICE)
    kinds = [type(event).__name__ for event in desk.sink.events]
    assert kinds == ["Connected", "Received", "Received", "Received", "Disconnected", "Connected"]
    assert desk.deliveries.told(ALICE) is second
    assert desk.deliveries.connections == [second]


def test_a_paused_peer_that_comes_and_goes_takes_no_room() -> None:
    desk = Desk()
    first = desk.connect(1, ALICE)
    desk.deliveries.pause(ALICE)
    desk.deliveries.received(first, 1, b"aa")
    desk.disconnect(first)
    arrived: list[int] = []
    desk.deliveries.await_arrival(7, lambda: arrived.append(7))
    for number in range(2, 50):
        desk.disconnect(desk.connect(number, ALICE))
    assert arrived == [7]
    assert len(desk.deliveries._inboxes[ALICE].queue) == 2
    desk.deliveries.resume(ALICE)
    assert [type(event) for event in desk.sink.events][-1] is Disconnected
    assert desk.deliveries._inboxes == {}
    assert desk.deliveries.told(ALICE) is None
    assert desk.deliveries.last(ALICE) is None


def test_much_of_one_peer_is_handed_on_in_turns() -> None:
    desk = Desk()
    alice = desk.connect(1, ALICE)
    desk.deliveries.pause(ALICE)
    for number in range(1, 601):
        desk.deliveries.received(alice, number, number.to_bytes(2, "big"))
    desk.deliveries.resume(ALICE)
    assert len(desk.sink.payloads) == 256
    desk.deliveries.received(alice, 601, b"\x02\x59")
    while desk.soon:
        desk.soon.pop()()
    assert desk.sink.payloads == [number.to_bytes(2, "big") for number in range(1, 602)]


def test_the_gateway_is_told_of_much_and_of_little() -> None:
    desk = Desk()
    alice = desk.connect(1, ALICE)
    desk.deliveries.pause(ALICE)
    for number in range(1, 2001):
        desk.deliveries.received(alice, number, bytes(40_000))
    assert desk.flows == [(1, True)]
    assert desk.crowds == [True]
    desk.deliveries.resume(ALICE)
    while desk.soon:
        desk.soon.pop()()
    assert desk.flows == [(1, True), (1, False)]
    assert desk.crowds == [True, False]


def test_what_is_held_of_the_peer_with_the_most_is_dropped() -> None:
    desk = Desk()
    deliveries = desk.deliveries
    deliveries.most_held = 1000
    alice, bob = desk.connect(1, ALICE), desk.connect(2, BOB)
    for connection in (alice, bob):
        deliveries.pause(connection.peer)
    first, second, third = (StreamMessage(number, 1) for number in (1, 2, 3))
    deliveries.delivered(first, {deliveries.received(alice, 1, bytes(900)): None})
    deliveries.delivered(second, {deliveries.received(bob, 1, bytes(100)): None})
    assert desk.crowds == [True]
    desk.disconnect(alice)
    again = desk.connect(3, ALICE)
    deliveries.delivered(third, {deliveries.received(again, 1, bytes(10)): None})
    assert deliveries.drop_most() is again
    assert (desk.crowds, desk.done) == ([True, False], [1, 3])
    assert (first.handled, third.handled) == ([(1, 1)], [(3, 1)])
    assert [type(event) for event in desk.sink.events] == [Connected, Connected, Disconnected, Connected]
    assert desk.sink.payloads == []
    deliveries.resume(BOB)
    desk.settle(BOB)
    assert desk.done == [1, 3, 2]
    assert deliveries.drop_most() is None


def test_silence_and_close() -> None:
    desk = Desk()
    alice = desk.connect(1, ALICE)
    desk.connect(2, BOB)
    message = StreamMessage(1, 1)
    desk.deliveries.delivered(message, [desk.deliveries.received(alice, 1, b"aa")])
    desk.deliveries.pause(BOB)
    desk.deliveries.silence()
    assert desk.deliveries.is_silent
    desk.settle(ALICE)
    assert desk.done == [], "nobody acknowledges any more"
    desk.deliveries.resume(BOB)
    desk.deliveries.close("the end")
    desk.deliveries.close("again")
    assert [event for event in desk.sink.events if isinstance(event, Disconnected)] == [
        Disconnected(ALICE, "the end"),
        Disconnected(BOB, "the end"),
    ]
    desk.deliveries.pause(ALICE)
    desk.deliveries.resume(ALICE)


def test_a_sink_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()

    def fail(*_: object) -> None:
        raise RuntimeError("a sink's fault")

    desk.sink.on_payload = fail
    alice = desk.connect(1, ALICE)
    desk.deliveries.received(alice, 1, b"aa")
    assert "a sink's fault" in caplog.text
    assert isinstance(desk.sink.events[0], Connected)
    desk.sink.settled = fail  # type: ignore[method-assign]
    message = StreamMessage(1, 1)
    desk.deliveries.delivered(message, [desk.deliveries.received(alice, 2, b"bb")])
    assert caplog.text.count("a sink's fault") >= 2
    assert desk.done == [], "for want of an answer it stays in the stream"
