"""One message under way for a partition, stored once, whatever the broker answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire.cluster.gateway.partition_queue import PartitionQueue
from oddwire.cluster.gateway.publisher import Publisher
from oddwire.proto.keys import NodeId
from oddwire.transports.nats.connection import Stored
from oddwire.transports.nats.errors import BrokerFailure, BrokerRefused, BrokerUnavailable, StreamFull
from oddwire.transports.nats.packing import PAYLOAD, Batch

PEER = NodeId("02" + "11" * 32)
SILENT, FULL = BrokerUnavailable("it is silent"), StreamFull("maximum bytes exceeded", 10077)


class Stream:
    """A stream that stores, and answers with these errors first; ``gone`` is what it says once it is asked for."""

    def __init__(self, *errors: BrokerFailure, gone: BrokerFailure | None = None) -> None:
        self.errors = [*errors]
        self.gone = gone
        self.stored: dict[str, Batch] = {}
        self.tried = 0
        self.let = asyncio.Event()
        self.let.set()

    async def append(self, _: str, data: bytes, *, message_id: str) -> Stored:
        self.tried += 1
        await self.let.wait()
        duplicate = message_id in self.stored
        self.stored.setdefault(message_id, Batch.unpack(data))
        if self.errors:
            raise self.errors.pop(0)
        return Stored([*self.stored].index(message_id) + 1, duplicate)

    async def api(self, _: str) -> dict[str, Any]:
        if self.gone is not None:
            raise self.gone
        return {}


class Scene:
    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.queue = PartitionQueue(lambda *_: None)
        self.sequences: list[int] = []
        self.progress = 0
        self.publisher = Publisher(stream, "OW_IN", "ow.in.0", 0, self.queue, self._progress)  # type: ignore[arg-type]
        self.task = asyncio.create_task(self.publisher.publish(5))

    def _progress(self) -> None:
        self.progress += 1

    def add(self, number: int) -> None:
        self.queue.add([PAYLOAD, 7, number, b"\x8c\x01"], 7, PEER, 2, self.sequences.append)
        self.publisher.wake()

    @property
    def numbers(self) -> list[list[int]]:
        """The numbers of the payloads that are stored, by message."""
        return [[entry[2] for entry in batch.entries] for batch in self.stream.stored.values()]

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


@pytest.fixture
async def scene():
    made = list[Scene]()

    def make(stream: Stream) -> Scene:
        made.append(Scene(stream))
        return made[-1]

    yield make
    for each in made:
        await each.end()


Make = Callable[[Stream], Scene]


async def test_what_comes_while_a_message_is_under_way_is_in_the_next(scene: Make) -> None:
    one = scene(Stream())
    one.stream.let.clear()
    one.add(1)
    await until(lambda: one.stream.tried)
    for number in (2, 3, 4):
        one.add(number)
    assert one.stream.tried == 1
    one.stream.let.set()
    await until(lambda: len(one.sequences) == 4)
    assert one.numbers == [[1], [2, 3, 4]]
    assert one.sequences == [1, 2, 2, 2]
    assert one.progress == 2
    assert {batch.run for batch in one.stream.stored.values()} == {5}


async def test_a_message_whose_answer_was_lost_is_sent_again_under_its_name(scene: Make, caplog) -> None:
    one = scene(Stream(SILENT, SILENT))
    one.add(1)
    await until(lambda: one.sequences)
    one.add(2)
    await until(lambda: len(one.sequences) == 2)
    assert one.numbers == [[1], [2]]
    assert one.stream.tried == 4
    assert [record.message for record in caplog.records] == [
        "partition 0 waits: it is silent",
        "partition 0 goes on",
    ]


async def test_a_full_stream_is_told_until_it_has_room(scene: Make, caplog) -> None:
    one = scene(Stream(*[FULL] * 2))
    one.stream.let.clear()
    one.add(1)
    await until(lambda: one.stream.tried)
    assert not one.publisher.is_full
    one.stream.let.set()
    await until(lambda: one.publisher.is_full)
    assert one.queue.size  # counts until it is stored
    await until(lambda: one.sequences)
    assert not one.publisher.is_full
    assert not one.queue.size
    assert "partition 0 waits: the stream is full" in caplog.text


async def test_a_stream_that_is_gone_ends_it(scene: Make) -> None:
    gone = BrokerRefused("stream not found", 10059)
    one = scene(Stream(*[SILENT] * 100, gone=gone))
    one.add(1)
    with pytest.raises(BrokerRefused, match="stream not found"):
        await one.task


async def test_a_broker_that_says_nothing_at_all_is_waited_for(scene: Make) -> None:
    one = scene(Stream(*[SILENT] * 7, gone=SILENT))
    one.add(1)
    await until(lambda: one.sequences)


async def test_runs_give_their_messages_other_names(scene: Make) -> None:
    stream = Stream()
    for number in (1, 2):
        one = scene(stream)
        one.add(number)
        await until(lambda one=one: one.sequences)
    assert one.numbers == [[1], [2]]
