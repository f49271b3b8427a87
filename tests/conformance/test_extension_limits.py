"""What an extension allows a peer takes effect on the wire, and costs other extensions nothing: on both transports."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oddwire import Application, Context, Extension, Limits, Message, QuotaExceeded, RemoteFailure, message
from oddwire.proto import PrivateKey
from oddwire.proto.keys import NodeId
from oddwire.session.wire.frame_types import Code
from oddwire.transports.base import Transport
from oddwire.transports.bolt8.transport import Bolt8Transport
from oddwire.transports.memory import MemoryNetwork

LARGE = 1 << 22


@message(0x8C01, max_size=LARGE)
class Order(Message):
    data: bytes


@message(0x8C03)
class Done(Message):
    size: int


@message(0x8C05, max_size=LARGE)
class Say(Message):
    data: bytes


@message(0x8C07)
class Heard(Message):
    size: int


@message(0x8C09)
class Parcel(Message):
    number: int


class Program:
    """A shop and a chat, each with its own limits."""

    def __init__(self, shop: Limits | None = None) -> None:
        self.shop = Extension("shop", version="1.0", limits=shop)
        self.chat = Extension("chat", version="1.0")
        self.parcels: list[int] = []

        @self.shop.on(Order)
        async def order(context: Context, order: Order) -> Done:
            return Done(size=len(order.data))

        @self.chat.on(Say)
        async def say(context: Context, say: Say) -> Heard:
            return Heard(size=len(say.data))

        @self.shop.on(Parcel, reliable=True)
        async def parcel(context: Context, parcel: Parcel) -> None:
            self.parcels.append(parcel.number)

    def on(self, transport: Transport, store: Path | str = ":memory:", **options: Any) -> Application:
        return Application(self.shop, self.chat, transport=transport, store=store, grace=0.0, **options)


@pytest.fixture(params=["memory", "bolt8"])
def make_transport(request: pytest.FixtureRequest) -> Callable[[PrivateKey], Transport]:
    network = MemoryNetwork()

    def make(key: PrivateKey) -> Transport:
        if request.param == "memory":
            return network.transport(key)
        return Bolt8Transport(key, listen=["127.0.0.1:0"], network="regtest")

    return make


def make_key() -> PrivateKey:
    return PrivateKey(os.urandom(32))


async def test_one_extension_takes_less_than_the_others(make_transport: Callable[[PrivateKey], Transport]) -> None:
    server = Program(Limits(reassembly_bytes=100_000)).on(make_transport(make_key()))
    client = Program().on(make_transport(make_key()))
    async with server, client:
        peer = await client.connect(server.uris[0])
        with pytest.raises(RemoteFailure, match=r"^extension 'shop': 20\d+ bytes .*; at most 100000 at once") as caught:
            await peer.request(Order(data=bytes(200_000)), Done)
        assert caught.value.code == Code.TOO_LARGE, "it is not worth another try"
        assert await peer.request(Say(data=bytes(200_000)), Heard) == Heard(size=200_000)
        assert await peer.request(Order(data=bytes(90_000)), Done) == Done(size=90_000)
        assert server.counters_of("shop").to_json() == {"refused": {"reassembly_bytes": 1}}
        assert server.counters_of("chat").to_json() == {}
        assert server.counters.to_json() == {"refused": {"reassembly_bytes": 1}}


async def test_one_extension_takes_fewer_at_once_than_the_others(
    make_transport: Callable[[PrivateKey], Transport],
) -> None:
    server = Program(Limits(transfers=1)).on(make_transport(make_key()))
    client = Program().on(make_transport(make_key()))
    async with server, client:
        peer = await client.connect(server.uris[0])
        size = 3_000_000
        orders = [peer.request(Order(data=bytes(size)), Done, timeout=60) for _ in range(3)]
        talk = peer.request(Say(data=bytes(size)), Heard, timeout=60)
        heard, *found = await asyncio.gather(talk, *orders, return_exceptions=True)
        assert heard == Heard(size=size)
        refused = [error for error in found if isinstance(error, RemoteFailure)]
        assert [error for error in found if not isinstance(error, RemoteFailure)].count(Done(size=size)) >= 1
        assert {(error.code, error.text) for error in refused} == {
            (Code.QUOTA, "extension 'shop': more than 1 transfers at once")
        }
        assert server.counters_of("shop").refused == {"transfers": len(refused)}
        assert await peer.request(Order(data=bytes(size)), Done, timeout=60) == Done(size=size)


async def test_one_extension_keeps_less_than_the_others_also_after_a_restart(
    make_transport: Callable[[PrivateKey], Transport], tmp_path: Path
) -> None:
    keys = make_key(), make_key()
    absent = NodeId(keys[0].public_key())
    limits = Limits(outbox_messages=3)
    for count in (3, 0):
        async with Program(limits).on(make_transport(keys[1]), tmp_path / "client") as client:
            for number in range(count):
                await client.peer(absent).deliver(Parcel(number=number))
            with pytest.raises(QuotaExceeded, match=r"^extension 'shop': 3 reliable messages to ") as caught:
                await client.peer(absent).deliver(Parcel(number=9))
            assert (caught.value.limit, caught.value.extension) == ("outbox_messages", "shop")
            assert client.counters_of("shop").to_json() == {"exceeded": {"outbox_messages": 1}}
    program = Program()
    async with (
        program.on(make_transport(keys[0])) as server,
        Program(limits).on(make_transport(keys[1]), tmp_path / "client") as client,
    ):
        peer = await client.connect(server.uris[0])
        async with asyncio.timeout(30):
            while len(program.parcels) < 3:
                await asyncio.sleep(0.001)
            while True:
                try:
                    receipt = await peer.deliver(Parcel(number=3))
                    break
                except QuotaExceeded:  # the last ack is on its way
                    await asyncio.sleep(0.001)
            await receipt.delivered()
        assert program.parcels == [0, 1, 2, 3]


async def test_the_application_s_limits_are_counted_as_its_own(
    make_transport: Callable[[PrivateKey], Transport],
) -> None:
    server = Program(Limits(transfers=50)).on(make_transport(make_key()), limits=Limits(reassembly_bytes=100_000))
    client = Program(Limits(outbox_messages=50)).on(make_transport(make_key()), limits=Limits(outbox_messages=1))
    async with server, client:
        peer = await client.connect(server.uris[0])
        with pytest.raises(QuotaExceeded) as caught:
            await peer.request(Order(data=bytes(200_000)), Done)
        assert (caught.value.limit, caught.value.extension) == ("assembles", None)
        absent = client.peer("02" + "aa" * 32)
        await absent.deliver(Parcel(number=1))
        with pytest.raises(QuotaExceeded) as caught:
            await absent.deliver(Parcel(number=2))
        assert (caught.value.limit, caught.value.extension) == ("outbox_messages", None)
        assert client.counters.to_json() == {"exceeded": {"assembles": 1, "outbox_messages": 1}}
        assert client.counters_of("shop").to_json() == {}
