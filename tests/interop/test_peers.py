"""The peers against themselves: what the other tests here rely on, without any oddwire in between."""

from __future__ import annotations

import asyncio

import pytest

pytestmark = pytest.mark.interop

ODD, EVEN = 32769, 40000
SIZES = [2, 3, 102, 65535]


@pytest.fixture(params=["ldk", "pyln"])
async def pair(request, start_ldk, start_pyln):
    """Two peers of one kind, the first connected to the second."""
    if request.param == "ldk":
        dialer, listener = await asyncio.gather(start_ldk(types=[ODD, EVEN]), start_ldk(types=[ODD, EVEN]))
    else:
        dialer, listener = await asyncio.gather(start_pyln(), start_pyln())
    await listener.listen()
    await dialer.connect(listener.uri)
    await dialer.event("connected", peer=listener.node_id, inbound=False)
    await listener.event("connected", peer=dialer.node_id, inbound=True)
    return dialer, listener


async def test_payloads_arrive_unchanged_both_ways(pair, make_payload):
    dialer, listener = pair
    for type_id in (ODD, EVEN):
        for size in SIZES:
            payload = make_payload(type_id, size)
            await dialer.send(listener.node_id, payload)
            assert await listener.received() == payload
            await listener.send(dialer.node_id, payload)
            assert await dialer.received() == payload


async def test_floods_cross_whole_and_in_order(pair, flood):
    dialer, listener = pair
    for count, size in ((2500, 102), (200, 65535)):  # large ones fill every buffer on the way
        there, back = flood(ODD, count, size), flood(EVEN, count, size)
        async with listener.collecting(there), dialer.collecting(back):
            await asyncio.gather(dialer.flood(listener.node_id, there), listener.flood(dialer.node_id, back))


async def test_disconnect_is_seen_and_peers_connect_again(pair):
    dialer, listener = pair
    await listener.disconnect(dialer.node_id)
    await dialer.event("disconnected", peer=listener.node_id)
    await listener.event("disconnected", peer=dialer.node_id)
    assert (await dialer.command("stats"))["peers"] == []
    await dialer.connect(listener.uri)
    await listener.event("connected", peer=dialer.node_id)


async def test_a_command_that_cannot_be_done_is_an_error(pair):
    dialer, _ = pair
    with pytest.raises(RuntimeError, match="unknown command dance"):
        await dialer.command("dance")
    with pytest.raises(RuntimeError, match="02" * 33):
        await dialer.send("02" * 33, b"\x80\x01")
