"""The order of messages to one peer, whatever is cancelled."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.loopback import nothing_left, settle

from oddwire.errors import ConnectionClosed
from oddwire.transports.lnd.errors import LndError
from oddwire.transports.lnd.send_queue import Ended, SendQueue

LOOPS = ("jumping",)


class Flying:
    """A call that ends soon after it is cancelled."""

    def __init__(self, ended: Ended) -> None:
        self.ended = ended

    def cancel(self) -> None:
        asyncio.get_running_loop().call_soon(self.ended, LndError(1, "cancelled"))


class Calls:
    """Calls of LND, which end when a test says so."""

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.ends: dict[bytes, Ended] = {}
        self.queue = SendQueue(self.begin, asyncio.get_running_loop())

    def begin(self, payload: bytes, ended: Ended) -> Flying:
        self.begun.append(payload)
        self.ends[payload] = ended
        return Flying(ended)

    async def end(self, payload: bytes, error: Exception | None = None) -> None:
        self.ends[payload](error)
        await settle()


async def test_one_call_is_in_flight_and_the_next_begins_when_it_ends() -> None:
    calls = Calls()
    async with nothing_left():
        first, second, third = (calls.queue.put(payload) for payload in (b"1", b"2", b"3"))
        await settle()
        assert calls.begun == [b"1"]
        await calls.end(b"1")
        assert first.done()
        assert calls.begun == [b"1", b"2"]
        await calls.end(b"2", ConnectionClosed("peer exiting"))
        assert calls.begun == [b"1", b"2", b"3"]  # LND says by itself whether the next one is lost, too
        await calls.end(b"3")
        with pytest.raises(ConnectionClosed, match="peer exiting"):
            await second
        await third


async def test_cancelled_while_it_waits_it_is_not_sent() -> None:
    calls = Calls()
    first, second, third = (calls.queue.put(payload) for payload in (b"1", b"2", b"3"))
    await settle()
    second.cancel()
    await calls.end(b"1")
    assert calls.begun == [b"1", b"3"]
    await calls.end(b"3")
    await asyncio.gather(first, third)


async def test_cancelled_in_flight_the_call_is_finished_before_the_next() -> None:
    calls = Calls()
    first, second = calls.queue.put(b"1"), calls.queue.put(b"2")
    await settle()
    first.cancel()
    await settle()
    assert calls.begun == [b"1"]
    await calls.end(b"1", ConnectionClosed("nobody hears it"))
    assert calls.begun == [b"1", b"2"]
    await calls.end(b"2")
    await second


async def test_closed_what_waits_fails_and_the_call_in_flight_ends_by_itself() -> None:
    calls = Calls()
    async with nothing_left():
        first, second = calls.queue.put(b"1"), calls.queue.put(b"2")
        await settle()
        calls.queue.close("disconnected")
        with pytest.raises(ConnectionClosed, match="disconnected"):
            await second
        with pytest.raises(ConnectionClosed, match="disconnected"):
            await calls.queue.put(b"3")
        assert not first.done()
        await calls.end(b"1")
        await first


async def test_finish_waits_for_all_that_was_put() -> None:
    calls = Calls()
    async with nothing_left():
        sent = [calls.queue.put(payload) for payload in (b"1", b"2")]
        finishing = asyncio.create_task(calls.queue.finish())
        await settle()
        await calls.end(b"1")
        assert not finishing.done()
        await calls.end(b"2")
        await finishing
        await asyncio.gather(*sent)
        await calls.queue.finish()


async def test_abandoned_the_call_in_flight_is_given_up() -> None:
    calls = Calls()
    async with nothing_left():
        first, second = calls.queue.put(b"1"), calls.queue.put(b"2")
        await settle()
        await calls.queue.abandon("closed by us")
        for future in (first, second):
            with pytest.raises(ConnectionClosed, match="closed by us"):
                await future
        assert calls.begun == [b"1"]
        await calls.queue.abandon("closed by us")
