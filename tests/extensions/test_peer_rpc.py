"""JSON-RPC between two applications, over every transport: both serve and call, from two extensions on one type."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest

from oddwire import Application, Context, Extension, ReplyTimeout, RpcError, as_text, short_channel_id, subtype, u64
from oddwire.app import PeerRpc
from oddwire.errors import ConnectionClosed, RemoteRpcError
from oddwire.proto.keys import NodeId, PublicKey, ShortChannelId

from .conftest import Pair, Recorder

TYPE = 37913


@subtype
class Info:
    protocols: tuple[int, ...]
    fee_sat: Annotated[u64, as_text]
    scid: short_channel_id


def lsps0() -> tuple[Extension, PeerRpc]:
    extension = Extension("lsps0", version="1.0", feature=729)
    rpc = PeerRpc(extension, TYPE)

    @rpc.method("lsps0.list_protocols")
    async def list_protocols(context: Context) -> Info:
        return Info(protocols=(1, 2), fee_sat=2**64 - 1, scid=ShortChannelId.from_str("539268x845x1"))

    @rpc.method("lsps0.wait")
    async def wait(context: Context, seconds: float) -> None:
        await asyncio.sleep(seconds)

    return extension, rpc


def lsps1() -> tuple[Extension, PeerRpc, asyncio.Queue[object]]:
    extension = Extension("lsps1", version="1.0")
    rpc, heard = PeerRpc(extension, TYPE), asyncio.Queue[object]()

    @rpc.method("lsps1.order")
    async def order(context: Context, key: Any, size: int) -> str:
        if size > 60_000:
            raise RpcError(100, "Option mismatch", {"property": "size"})
        mine = await rpc.call(context.peer, "lsps1.who", {"back": size}, result=str)
        return mine + "x" * size

    @rpc.method("lsps1.who")
    async def who(context: Context, back: int) -> str:
        return f"{context.app.node_id}"

    @rpc.notification("lsps1.paid")
    async def paid(context: Context, number: int) -> None:
        heard.put_nowait((context.peer.node_id, number))

    return extension, rpc, heard


async def test_both_ends_serve_and_call_at_once(pair: Pair) -> None:
    (zero, rpc0), (one, rpc1, heard) = lsps0(), lsps1()
    async with pair((zero, one), (one, zero)) as (left, right):
        peer = right.peers[0]
        info = await rpc0.call(peer, "lsps0.list_protocols", result=Info)
        assert info == Info(protocols=(1, 2), fee_sat=2**64 - 1, scid=ShortChannelId.from_str("539268x845x1"))
        # Any extension's PeerRpc finds the methods of all
        assert (await rpc1.call(peer, "lsps0.list_protocols"))["fee_sat"] == "18446744073709551615"
        key = PublicKey.from_hex(str(left.node_id))
        orders = [rpc1.call(peer, "lsps1.order", key=key, size=1000 * number) for number in range(50)]
        backs = [rpc1.call(left.peers[0], "lsps1.order", key=key, size=number) for number in range(50)]
        found = await asyncio.gather(*orders, *backs)
        assert found[:50] == [f"{right.node_id}" + "x" * 1000 * number for number in range(50)]
        assert found[50:] == [f"{left.node_id}" + "x" * number for number in range(50)]
        with pytest.raises(RemoteRpcError) as caught:
            await rpc1.call(peer, "lsps1.order", key=key, size=60_001)
        assert (caught.value.code, caught.value.data) == (100, {"property": "size"})
        for number in range(100):
            await rpc1.notify(peer, "lsps1.paid", number=number)
        assert [await heard.get() for _ in range(100)] == [(right.node_id, number) for number in range(100)]


async def test_answers_come_in_any_order_and_late_ones_are_dropped(pair: Pair) -> None:
    zero, rpc = lsps0()
    async with pair((zero,), (zero,)) as (_, right):
        peer = right.peers[0]
        slow = asyncio.create_task(rpc.call(peer, "lsps0.wait", seconds=0.3))
        with pytest.raises(ReplyTimeout):
            await rpc.call(peer, "lsps0.wait", seconds=0.2, timeout=0.05)
        assert await rpc.call(peer, "lsps0.list_protocols", result=Info)
        assert not slow.done()
        assert await slow is None
        assert right.counters.dropped == {"unasked_reply": 1}


async def test_a_call_ends_with_the_connection_on_either_side(pair: Pair) -> None:
    zero, rpc = lsps0()
    async with pair((zero,), (zero,)) as (left, right):
        node_id = right.node_id
        assert isinstance(node_id, NodeId)
        calls = [
            asyncio.create_task(rpc.call(app.peers[0], "lsps0.wait", seconds=1, timeout=None)) for app in (left, right)
        ]
        await rpc.call(right.peers[0], "lsps0.list_protocols")
        await rpc.call(left.peers[0], "lsps0.list_protocols")
        await left.transport.disconnect(node_id, "enough")
        for call in calls:
            with pytest.raises(ConnectionClosed):
                await call


async def test_a_call_ends_with_the_application(pair: Pair) -> None:
    zero, rpc = lsps0()
    async with pair((zero,), (zero,)) as (_, right):
        call = asyncio.create_task(rpc.call(right.peers[0], "lsps0.wait", seconds=1, timeout=None))
        await rpc.call(right.peers[0], "lsps0.list_protocols")
    with pytest.raises(ConnectionClosed):
        await call


async def test_it_is_one_plain_message_each_way(pair: Pair, recorder: Recorder) -> None:
    zero, rpc = lsps0()
    async with pair((zero,), (zero, recorder)) as (_, right):
        await rpc.call(right.peers[0], "lsps0.list_protocols")
        (received,) = await recorder.until("received", TYPE)
        (sent,) = await recorder.until("sent", TYPE)
    assert sent.payload.startswith(b'\x94\x19{"jsonrpc":"2.0","method":"lsps0.list_protocols","params":{},"id":"')
    assert received.payload.startswith(b'\x94\x19{"jsonrpc":"2.0","id":"')
    assert received.latency is not None


async def test_a_node_without_it_ignores_calls(pair: Pair) -> None:
    zero, rpc = lsps0()
    async with pair((Extension("other", version="1.0"),), (zero,)) as (left, right):
        assert isinstance(left, Application)
        with pytest.raises(ReplyTimeout):
            await rpc.call(right.peers[0], "lsps0.list_protocols", timeout=0.05)
        assert len(right.peers) == 1
