"""With a disk that takes no more, who sends reliably is told, and all else works on; with room, all is well again."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oddwire import Application, Context, Extension, Message, PrivateKey, StoreError, message, u64
from oddwire.transports.memory import MemoryNetwork

SERVER, CLIENT = PrivateKey(b"\1" * 32), PrivateKey(b"\2" * 32)


@message(0x9B01)
class Order(Message):
    number: u64
    filling: bytes


@message(0x9B03)
class Question(Message):
    number: u64


@message(0x9B05)
class Answer(Message):
    number: u64


def shop(orders: list[int]) -> Extension:
    extension = Extension("shop", version="1.0")

    @extension.on(Order, reliable=True)
    async def order(context: Context, order: Order) -> None:
        kept = await context.store.get("kept", 0)
        assert isinstance(kept, int)
        await context.store.set("kept", kept + 1)
        await context.store.set(f"{order.number}", order.filling)
        orders.append(order.number)

    @extension.on(Question)
    async def answer(context: Context, question: Question) -> Answer:
        return Answer(number=question.number)

    return extension


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk(tmp_path: Path) -> None:
    network, orders = MemoryNetwork(), list[int]()
    server = Application(shop(orders), transport=network.transport(SERVER), store=tmp_path / "server")
    client = Application(shop([]), transport=network.transport(CLIENT), store=tmp_path / "client")
    async with server, client:
        peer = await client.connect(server.uris[0])
        await (await peer.deliver(Order(number=0, filling=b""))).delivered()
        receipts = []
        with files_up_to(1_000_000):
            with pytest.raises(StoreError) as caught:  # noqa: PT012 - how many fit is the database's business
                while True:
                    order = Order(number=len(receipts) + 1, filling=bytes(50_000))
                    receipts.append(await peer.deliver(order))
            assert caught.value.reason in ("full", "io")
            assert str(tmp_path / "client") in str(caught.value)
            for number in range(100):
                reply = await peer.request(Question(number=number), Answer)
                assert reply.number == number
        assert receipts, "some of them fit"
        receipts.append(await peer.deliver(Order(number=1000, filling=b"")))
        async with asyncio.timeout(120):  # the server's disk was full, too: it may take until frames are sent again
            for receipt in receipts:
                await receipt.delivered()
        assert await server.store("shop").get("kept") == len(receipts) + 1
        # What was refused for want of room never went out; what the server could not keep at first was done again
        assert set(orders) == {*range(len(receipts)), 1000}
