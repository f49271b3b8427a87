"""A partition's consumer, against a real nats-server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.support.waiting import until, until_answered

from oddwire.transports.nats.connection import BrokerConnection
from oddwire.transports.nats.consumer import Consumer, StaleOwner


class Reader:
    """A stream of its own, and a `Consumer` of one of its subjects."""

    def __init__(self, connection: BrokerConnection, stream: str) -> None:
        self.connection = connection
        self.stream = stream
        self.got: list[tuple[int, bytes]] = []
        self.ended: list[tuple[bool, str]] = []
        self.consumer = self.another(1)

    def another(self, term: int) -> Consumer:
        return Consumer(
            self.connection,
            self.stream,
            f"{self.stream}.a",
            prefix="t3",
            term=term,
            received=lambda sequence, data: self.got.append((sequence, data)),
            ended=lambda stale, reason: self.ended.append((stale, reason)),
        )

    async def put(self, *contents: bytes) -> None:
        await asyncio.gather(*(self.connection.append(f"{self.stream}.a", content) for content in contents))

    async def left(self) -> int:
        return int((await self.connection.api(f"STREAM.INFO.{self.stream}"))["state"]["messages"])

    async def consumers(self) -> list[str]:
        return (await self.connection.api(f"CONSUMER.NAMES.{self.stream}"))["consumers"] or []


@asynccontextmanager
async def reading(connection: BrokerConnection, stream: str) -> AsyncIterator[Reader]:
    settings = {"name": stream, "subjects": [f"{stream}.*"], "retention": "workqueue", "storage": "memory"}
    await connection.api(f"STREAM.CREATE.{stream}", settings)
    reader = Reader(connection, stream)
    yield reader
    await reader.consumer.aclose()
    await connection.api(f"STREAM.DELETE.{stream}")


@pytest.mark.parametrize(("count", "size"), [(2500, 10), (30, 400_000)])
async def test_more_than_is_asked_for_at_once(connection: BrokerConnection, count: int, size: int) -> None:
    async with reading(connection, f"many{count}") as reader:
        await reader.put(*(bytes(size) for _ in range(count // 2)))
        await reader.consumer.open()
        await reader.put(*(bytes(size) for _ in range(count - count // 2)))
        await until(lambda: len(reader.got) == count)
        assert [sequence for sequence, _ in reader.got] == [*range(1, count + 1)]
        assert reader.consumer.unacknowledged == count
        for sequence, _ in reader.got:
            reader.consumer.acknowledge(sequence)
        reader.consumer.acknowledge(1)
        await until_answered(lambda: _is_empty(reader))
        assert reader.ended == []
        assert await reader.consumer.give_up()
        assert await reader.consumers() == []


async def _is_empty(reader: Reader) -> bool:
    return not await reader.left()


async def test_a_consumer_that_is_held_asks_for_no_more(connection: BrokerConnection) -> None:
    async with reading(connection, "held") as reader:
        reader.consumer.hold(True)
        await reader.consumer.open()  # which asks once
        await reader.put(*(b"" for _ in range(1200)))
        await until(lambda: len(reader.got) == 1000)
        for sequence, _ in reader.got:
            reader.consumer.acknowledge(sequence)
        await until_answered(lambda: _has(reader, 200))
        assert len(reader.got) == 1000
        reader.consumer.hold(False)
        await until(lambda: len(reader.got) == 1200)


async def _has(reader: Reader, count: int) -> bool:
    return await reader.left() == count


async def test_what_was_handled_while_it_is_made_anew_is_acknowledged_then(connection: BrokerConnection) -> None:
    async with reading(connection, "anew") as reader:
        await reader.put(b"1", b"2", b"3")
        await reader.consumer.open()
        await until(lambda: len(reader.got) == 3)
        for call in connection.on_back:  # as after the connection was lost
            call()
        reader.consumer.acknowledge(2)
        await until_answered(lambda: _has(reader, 2))
        reader.consumer.acknowledge(1)
        reader.consumer.acknowledge(3)
        await until_answered(lambda: _is_empty(reader))
        assert len(reader.got) == 3, "nothing twice"
        assert await reader.consumers() == ["t3-1-2"]


async def test_a_later_owner_takes_over_and_an_earlier_one_does_not(connection: BrokerConnection) -> None:
    async with reading(connection, "owners") as reader:
        await reader.put(b"1", b"2")
        await reader.consumer.open()
        await until(lambda: len(reader.got) == 2)
        reader.consumer.acknowledge(1)
        await until_answered(lambda: _has(reader, 1))
        heir = reader.another(2)
        await heir.open()
        await until(lambda: len(reader.got) == 3)
        assert reader.got[-1] == (2, b"2")
        await until(lambda: reader.ended)
        assert reader.ended == [(True, "the partition has a later owner, with the term 2")]
        with pytest.raises(StaleOwner):
            await reader.another(1).open()
        await heir.give_up()
