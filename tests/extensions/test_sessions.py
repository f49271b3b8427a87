"""What a session adds, over every transport there is."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from oddwire import Context, Extension, Message, ReplyTimeout, message, sha256, u32


@message(0x8CD1)
class Sum(Message):
    data: bytes


@message(0x8CD3)
class Digest(Message):
    digest: sha256


@message(0x8CD5)
class Count(Message):
    parts: u32
    size: u32


@message(0x8CD7)
class Part(Message):
    number: u32
    data: bytes


@message(0x8CD9)
class Sleep(Message): ...


def make() -> Extension:
    extension = Extension("sums", version="2.0", versions=("1.0", "2.0"))

    @extension.on(Sum)
    async def sum_up(context: Context, request: Sum) -> Digest:
        return Digest(digest=hashlib.sha256(request.data).digest())

    @extension.on(Count)
    async def count(context: Context, request: Count) -> AsyncIterator[Part]:
        for number in range(request.parts):
            yield Part(number=number, data=bytes(request.size))

    @extension.on(Sleep)
    async def sleep(context: Context, request: Sleep) -> None:
        await asyncio.Event().wait()

    return extension


async def test_peers_know_what_the_other_speaks(pair) -> None:
    async with pair((make(),), (make(),)) as (listener, dialer):
        for app in (listener, dialer):
            peer = app.peers[0]
            assert await peer.wait_for_hello()
            assert peer.extensions == {"sums": ("1.0", "2.0")}
            assert (peer.supports("sums"), peer.version_of("sums")) == (True, "2.0")


async def test_many_requests_at_once_in_both_directions(pair) -> None:
    async with pair((make(),), (make(),)) as (listener, dialer):
        data = [number.to_bytes(2, "big") * 50 for number in range(300)]
        peers = [listener.peers[0], dialer.peers[0]]
        digests = await asyncio.gather(*(peer.request(Sum(data=d), Digest) for d in data for peer in peers))
        assert [digest.digest for digest in digests[::2]] == [hashlib.sha256(d).digest() for d in data]
        assert digests[::2] == digests[1::2]


@pytest.mark.parametrize("size", [65_500, 65_536, 1_000_000, 5_000_000])
async def test_large_requests(pair, size: int) -> None:
    async with pair((make(),), (make(),)) as (_, dialer):
        data = bytes(range(256)) * (size // 256)
        digest = await dialer.peers[0].request(Sum(data=data), Digest, timeout=60)
        assert digest.digest == hashlib.sha256(data).digest()


async def test_a_stream_of_large_parts(pair) -> None:
    async with pair((make(),), (make(),)) as (_, dialer):
        parts = [part async for part in dialer.peers[0].stream(Count(parts=20, size=300_000), Part, timeout=60)]
        assert [part.number for part in parts] == list(range(20))
        assert {len(part.data) for part in parts} == {300_000}


async def test_a_small_message_does_not_wait_for_a_large_one(pair) -> None:
    async with pair((make(),), (make(),)) as (_, dialer):
        peer = dialer.peers[0]
        await peer.wait_for_hello()
        large = asyncio.create_task(peer.request(Sum(data=bytes(15_000_000)), Digest, timeout=60))
        await asyncio.sleep(0)  # it goes first
        await peer.request(Sum(data=b""), Digest, timeout=30)
        assert not large.done()
        await large


async def test_a_timeout_leaves_nothing_open(pair) -> None:
    async with pair((make(),), (make(),)) as (_, dialer):
        peer = dialer.peers[0]
        await peer.wait_for_hello()
        for _ in range(100):  # more than are handled at once
            with pytest.raises(ReplyTimeout):
                await peer.request(Sleep(), Digest, timeout=0.001)
        assert await peer.request(Sum(data=b""), Digest) == Digest(digest=hashlib.sha256().digest())
