"""The bolt8 transport with LND at the other end, dialing and dialed; and whom LND talks to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from tests.interop.conftest import LIMIT
from tests.interop.lnd.lnd_node import CUSTOM_BIT, Api, Lnd, Subscription
from tests.interop.test_other_nodes_rules import LND

from oddwire.errors import ConnectionClosed
from oddwire.proto import NodeId, PrivateKey, connect
from oddwire.proto.bolt1 import Init, Ping, Pong
from oddwire.proto.features import ASSUMED_FEATURES, feature_bits, feature_bytes
from oddwire.proto.keys import PublicKey

pytestmark = [pytest.mark.lnd, pytest.mark.interop]

ODD, EVEN = 33793, 33794
AT_ONCE = 25  # peers without a channel have 100 places


class Link:
    """A transport of ours that is connected to LND, its sink, and both ends of the other side."""

    def __init__(self, transport: Any, sink: Any, lnd: Lnd, api: Api, messages: Subscription) -> None:
        self.transport = transport
        self.sink = sink
        self.api = api
        self.messages = messages
        self.us = str(transport.node_id)
        self.peer = NodeId(lnd.node_id)


@pytest.fixture(params=["dialing", "dialed"])
async def link(
    request: pytest.FixtureRequest, lnd: Lnd, api: Api, messages: Subscription, start_ours: Any
) -> AsyncIterator[Link]:
    transport, sink = await start_ours(features=[519])
    if request.param == "dialing":
        await transport.connect(lnd.uri, keep=False)
    else:
        await api.connect(transport.uris[0])
    info = await sink.connected.get()
    assert info.node_id == NodeId(lnd.node_id)
    told = await api.until_connected(str(transport.node_id))
    assert told.inbound is (request.param == "dialing")
    assert told.features == ASSUMED_FEATURES | {519}
    # The double of LND has optional bits, too, which are there with options of lnd.conf
    theirs = feature_bits(info.features) - {CUSTOM_BIT}
    assert theirs <= LND.bits | LND.legacy
    assert {bit for bit in theirs if bit % 2 == 0} == {bit for bit in LND.bits if bit % 2 == 0}
    yield Link(transport, sink, lnd, api, messages)
    await transport.aclose()
    await api.until_gone(str(transport.node_id))


async def test_messages_of_all_sizes_and_types_both_ways(link: Link) -> None:
    for type_id, size in ((ODD, 0), (ODD, 1), (EVEN, 100), (EVEN, 0), (65535, 65532), (32768, 65533)):
        payload = type_id.to_bytes(2, "big") + b"\xab" * size
        await link.transport.send(link.peer, payload)
        assert await link.messages.message() == (link.us, payload)
        await link.api.send(link.us, payload)
        assert await link.sink.payloads.get() == (link.peer, payload)
    assert link.transport.is_connected(link.peer)


async def test_many_messages_both_ways_at_once_arrive_in_order(link: Link) -> None:
    payloads = [ODD.to_bytes(2, "big") + number.to_bytes(4, "big") for number in range(2500)]

    async def ours() -> None:
        for payload in payloads:
            await link.transport.send(link.peer, payload)

    async def theirs() -> None:
        for payload in payloads:
            await link.api.send(link.us, payload)

    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as tasks:
        tasks.create_task(ours())
        tasks.create_task(theirs())
    assert [await link.messages.message() for _ in payloads] == [(link.us, payload) for payload in payloads]
    assert [await link.sink.payloads.get() for _ in payloads] == [(link.peer, payload) for payload in payloads]


async def test_who_was_disconnected_comes_again(link: Link, lnd: Lnd) -> None:
    await link.api.disconnect(link.us)
    assert (await link.sink.disconnected.get())[0] == link.peer
    await link.api.until_gone(link.us)
    await link.transport.connect(lnd.uri, keep=False)
    await link.api.until_connected(link.us)
    await link.transport.send(link.peer, b"\x84\x01again")
    assert await link.messages.message() == (link.us, b"\x84\x01again")


async def test_a_second_start_of_ours_with_the_same_key(
    lnd: Lnd, api: Api, messages: Subscription, start_ours: Any
) -> None:
    key = os.urandom(32)
    for number in range(3):
        transport, _ = await start_ours(key=key)
        await transport.connect(lnd.uri, keep=False)
        await transport.send(NodeId(lnd.node_id), bytes([0x84, 1, number]))
        assert await messages.message() == (str(transport.node_id), bytes([0x84, 1, number]))
        await transport.aclose()  # LND may see the end of this connection after the next has begun


async def test_lnd_starts_again_and_is_dialed_again(rough_lnd: Lnd, start_ours: Any) -> None:
    await asyncio.to_thread(rough_lnd.start)
    transport, sink = await start_ours()
    await transport.connect(rough_lnd.uri)
    await sink.connected.get()
    await asyncio.to_thread(rough_lnd.kill)
    assert (await sink.disconnected.get())[0] == NodeId(rough_lnd.node_id)
    await asyncio.to_thread(rough_lnd.start)
    await sink.connected.get()
    async with rough_lnd.api() as api:
        await api.until_connected(str(transport.node_id))
        await api.send(str(transport.node_id), b"\x84\x01back")
    assert (await sink.payloads.get())[1] == b"\x84\x01back"


# Whom it talks to ---------------------------------------------------------------------------------------


async def stays(lnd: Lnd, features: frozenset[int]) -> bool:
    """Return whether LND talks on with a peer whose ``init`` has these bits."""
    host, _, port = lnd.address.partition(":")
    connection = await connect(PrivateKey(os.urandom(32)), PublicKey(bytes.fromhex(lnd.node_id)), host, int(port))
    try:
        await connection.send_message(Init(features=feature_bytes(features)).encode())
        await connection.send_message(Ping(7, 0).encode())
        while await connection.read_message() != Pong(7).encode():
            pass
    except ConnectionClosed:
        return False
    finally:
        connection.abort("seen")
    return True


async def differing(lnd: Lnd, all_features: Iterable[frozenset[int]]) -> list[str]:
    """Have LND and its double judge each, a bunch at once; tell where they differ."""
    at_once, found = asyncio.Semaphore(AT_ONCE), []

    async def judge(features: frozenset[int]) -> None:
        async with at_once:
            verdict = await stays(lnd, features)
        why = LND.judge(LND, features)
        if verdict is not (why is None):
            found.append(f"{sorted(features)}: LND {'stays' if verdict else 'hangs up'}, its double: {why}")

    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as tasks:
        for features in all_features:
            tasks.create_task(judge(features))
    return found


async def test_its_double_judges_as_it_does(lnd: Lnd) -> None:
    """Each bit that LND may know or not, beside ours and nearly alone, and each of our own that is missing."""
    ours, bits = ASSUMED_FEATURES, (*range(300), 512, 513, *range(2016, 2032), 4096)
    beside, alone = [ours | {bit} for bit in bits], [frozenset({1, bit}) for bit in bits]
    one_missing, least = [ours - {bit} for bit in ours], [ours, frozenset(), frozenset({0})]
    found = await differing(lnd, [*least, *beside, *alone, *one_missing])
    assert not found, "\n".join(sorted(found))
