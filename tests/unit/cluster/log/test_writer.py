"""The owner's way to write a log."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.partition_logs import MemoryPlace

from oddwire.cluster.log.entries import OVERHEAD, START, Kind, encode, follow
from oddwire.cluster.log.jetstream import JetStreamLog
from oddwire.cluster.log.reading import Done, LogReader
from oddwire.cluster.log.subject import LogPlace
from oddwire.cluster.log.writer import LogWriter
from oddwire.errors import StoreError
from oddwire.proto.keys import NodeId
from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.errors import BrokerUnavailable


async def read(place: LogPlace) -> list[Done]:
    reader = LogReader("log")
    return [done async for message in place.log.read(0) if (done := reader.take(message))]


async def test_entries_follow_on_the_fence(place: LogPlace) -> None:
    first = await LogWriter.take(place, "one")
    assert (first.term, first.sequence) == (first.sequence, first.term)
    sequence, link = await first.append(Kind.COMMIT, b"pages")
    second = await LogWriter.take(place, "two")
    assert second.term > sequence
    await second.append(Kind.COMMIT, b"")
    found = await read(place)
    assert [(done.kind, done.term) for done in found] == [
        (Kind.FENCE, first.term),
        (Kind.COMMIT, first.term),
        (Kind.FENCE, second.term),
        (Kind.COMMIT, second.term),
    ]
    assert found[0].body[16:] == b"one"
    assert (found[1].sequence, found[1].link, found[1].body) == (sequence, link, b"pages")


async def test_a_long_body_is_in_several_entries() -> None:
    place = MemoryPlace()
    writer = await LogWriter.take(place, "")
    place.max_message = OVERHEAD + 10
    await writer.append(Kind.COMMIT, bytes(range(100)))
    await writer.append(Kind.COMMIT, bytes(range(10)))
    found = await read(place)
    assert [done.body for done in found[1:]] == [bytes(range(100)), bytes(range(10))]
    assert len(place.log.messages) == 1 + 10 + 1


async def test_what_is_appended_at_once_is_in_order(place: LogPlace) -> None:
    writer = await LogWriter.take(place, "")
    await asyncio.gather(*(writer.append(Kind.COMMIT, b"%d" % number) for number in range(20)))
    assert [done.body for done in (await read(place))[1:]] == [b"%d" % number for number in range(20)]


async def test_a_log_whose_stream_is_gone(connection: BrokerConnection) -> None:
    place = JetStreamLog(connection, NodeId("02" + "77" * 32), 0)
    with pytest.raises(
        StoreError, match=r"stream not found; the stores in it are lost, .* gateway begins them"
    ) as caught:
        await LogWriter.take(place, "")
    assert caught.value.reason == "io"
    with pytest.raises(BrokerUnavailable, match=r"ow\.log\.0277.*\.0: nobody answers$"):
        await read(place)


async def test_who_is_not_the_owner_any_more_is_told_who_is(place: LogPlace) -> None:
    stale = await LogWriter.take(place, "stale")
    owner = await LogWriter.take(place, "other\n")
    with pytest.raises(StoreError, match=rf"other.n, term {owner.term}, has written here") as caught:
        await stale.append(Kind.COMMIT, b"")
    assert caught.value.reason == "fenced"
    await owner.append(Kind.COMMIT, b"")
    await place.log.purge(owner.sequence)
    with pytest.raises(StoreError, match=f"the owner of term {owner.term} has written here"):
        await stale.append(Kind.COMMIT, b"")
    await place.log.purge()
    with pytest.raises(StoreError, match="has lost its last entries; was its stream purged") as caught:
        await owner.append(Kind.COMMIT, b"")
    assert caught.value.reason == "fenced"


async def test_what_is_no_entry_is_said() -> None:
    place = MemoryPlace()
    await place.log.append(b"junk", 0)
    with pytest.raises(StoreError, match=r"message 1 of ow.log.test.0: it has 4 bytes") as caught:
        await LogWriter.take(place, "")
    assert caught.value.reason == "corrupt"
    place.log.messages[:] = []
    writer = await LogWriter.take(place, "")
    await place.log.append(b"junk", writer.sequence)
    with pytest.raises(StoreError, match="something that is no entry has written here"):
        await writer.append(Kind.COMMIT, b"")


async def test_a_broker_that_takes_nothing_that_long_is_said() -> None:
    place = MemoryPlace(max_message=10)
    with pytest.raises(StoreError, match="takes no entry") as caught:
        await LogWriter.take(place, "")
    assert caught.value.reason == "io"
    place = MemoryPlace()
    writer = await LogWriter.take(place, "")
    place.log._stream.max_message = 10
    with pytest.raises(StoreError, match="takes no entry") as caught:
        await writer.append(Kind.COMMIT, b"")
    assert caught.value.reason == "io"


async def test_the_chain_goes_on_from_the_last_entry() -> None:
    place = MemoryPlace()
    data, link = encode(Kind.COMMIT, 3, START, b"")
    await place.log.append(data, 0)
    await LogWriter.take(place, "")
    assert follow(link, place.log.messages[1].data).number == 2
