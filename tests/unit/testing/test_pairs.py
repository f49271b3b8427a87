from __future__ import annotations

import asyncio

import pytest

from oddwire.proto.keys import NodeId
from oddwire.testing import RecordingSink, ScriptedTransport
from oddwire.testing.pairs import Flood, Pair, Side, has_more_than, payload_of, raises
from oddwire.transports.base import Manifest

ALICE = NodeId("02" + "aa" * 32)


async def side() -> Side:
    transport, sink = ScriptedTransport(), RecordingSink()
    await transport.open(Manifest(), sink)
    transport.connect_peer(ALICE)
    return Side(transport, sink, ALICE)


def test_payloads_say_their_number_and_have_their_size() -> None:
    assert payload_of(0x01020304, 8) == b"\x8c\x01\x01\x02\x03\x04\x00\x01"
    assert [len(payload_of(7, size)) for size in (2, 3, 100, 65535)] == [2, 3, 100, 65535]
    assert len({payload_of(number) for number in range(1000)}) == 1000


async def test_a_side_sends_to_the_other_end() -> None:
    one = await side()
    await one.send(b"\x8c\x01")
    assert one.transport.sent == [(ALICE, b"\x8c\x01")]
    other = await side()
    pair = Pair(one, other)
    assert pair.ways == ((one, other), (other, one))


async def test_a_flood_ends_with_its_total() -> None:
    one = await side()
    flood = Flood(one, total=180_000)
    await flood.task
    assert flood.accepted == len(one.transport.sent) == 3


async def test_a_flood_can_be_given_up_while_it_waits() -> None:
    one = await side()
    one.transport.stick()
    flood = Flood(one)
    await asyncio.sleep(0)
    await flood.cancel()
    assert flood.task.cancelled()
    assert (flood.accepted, one.transport.sent) == (0, [])


def test_raises_keeps_what_it_caught() -> None:
    with raises(LookupError) as caught:
        raise KeyError("a")
    assert isinstance(caught[0], KeyError)
    with pytest.raises(AssertionError, match="LookupError should have been raised"), raises(LookupError):
        pass
    with pytest.raises(ValueError, match="other"), raises(LookupError):
        raise ValueError("other")


async def test_counts_what_a_sink_has() -> None:
    sink = RecordingSink()
    assert not has_more_than(0, sink)
    sink.payload_received(ALICE, b"\x8c\x01")
    assert has_more_than(0, sink)
