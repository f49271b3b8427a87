"""What waits for the application is delivered in turns of the loop."""

from __future__ import annotations

from tests.support.waiting import until

from oddwire.proto.keys import NodeId
from oddwire.testing import Disconnected, RecordingSink
from oddwire.transports.base import PeerInfo
from oddwire.transports.cln.pacing import ClnLimits
from oddwire.transports.inbound_delivery import InboundDelivery
from oddwire.transports.inbound_queue import Dropped, InboundQueue

ONE, OTHER = NodeId("02" + "11" * 32), NodeId("02" + "22" * 32)
LAST = b"\xff\xff"
MANY = [number.to_bytes(2, "big") for number in range(1000)]


def start() -> tuple[InboundDelivery, RecordingSink]:
    sink = RecordingSink()
    delivery = InboundDelivery(InboundQueue(sink, ClnLimits(), Dropped()))
    for peer in (ONE, OTHER):
        delivery.push(peer, PeerInfo(node_id=peer))
        delivery.inbound.pause(peer)
    for payload in MANY:
        delivery.push(ONE, payload)
    delivery.push(OTHER, LAST)
    return delivery, sink


async def test_a_long_queue_lets_others_have_their_turn() -> None:
    delivery, sink = start()
    assert sink.payloads == []
    delivery.resume(ONE)
    delivery.resume(OTHER)
    await until(lambda: len(sink.payloads) == len(MANY) + 1)
    assert sink.payloads.index(LAST) < len(MANY)
    assert [payload for payload in sink.payloads if payload != LAST] == MANY
    delivery.resume(ONE)  # not paused


async def test_nothing_is_delivered_after_its_end() -> None:
    delivery, sink = start()
    delivery.resume(ONE)
    delivery.close("the end")
    delivery.close("the end")
    assert [event.reason for event in sink.events if isinstance(event, Disconnected)] == ["the end", "the end"]
    delivered = len(sink.payloads)
    await until(lambda: True)
    assert len(sink.payloads) == delivered
