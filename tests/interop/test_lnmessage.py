"""The bolt8 transport dialed by lnmessage, which sends its init only after ours, from Node.js and from a browser."""

from __future__ import annotations

import pytest

from oddwire.proto import NodeId

pytestmark = pytest.mark.interop

ODD = 32769


@pytest.fixture(params=["tcp", "websocket", "browser"])
def dialer(request):
    """A function that starts an lnmessage client, and what our transport listens at for it."""
    if request.param == "browser":
        return request.getfixturevalue("start_browser"), ["ws://127.0.0.1:0"]
    listen = {"tcp": "127.0.0.1:0", "websocket": "ws://127.0.0.1:0"}[request.param]
    return request.getfixturevalue("start_lnmessage"), [listen]


@pytest.fixture
async def link(dialer, start_ours):
    """lnmessage, connected to our transport, and our sink."""
    start, listen = dialer
    lnmessage = await start()
    transport, sink = await start_ours(listen=listen)
    await lnmessage.connect(transport.uris[0])
    await lnmessage.event("connected")
    info = await sink.connected.get()
    assert info.node_id == NodeId(lnmessage.node_id)
    return transport, sink, lnmessage


async def test_payloads_arrive_unchanged_both_ways(link, make_payload):
    transport, sink, lnmessage = link
    peer = NodeId(lnmessage.node_id)
    for size in (2, 3, 102, 65535):
        await transport.send(peer, make_payload(ODD, size))
        event = await lnmessage.event("received", peer=str(transport.node_id))
        while bytes.fromhex(event["payload"])[:2] != ODD.to_bytes(2, "big"):  # our init is told as well
            event = await lnmessage.event("received")
        assert bytes.fromhex(event["payload"]) == make_payload(ODD, size)
        await lnmessage.send(str(transport.node_id), make_payload(ODD, size))
        assert await sink.payloads.get() == (peer, make_payload(ODD, size))


async def test_each_side_sees_the_other_hang_up(link, dialer):
    transport, sink, lnmessage = link
    await transport.disconnect(NodeId(lnmessage.node_id))
    await lnmessage.event("disconnected")
    assert (await sink.disconnected.get())[0] == NodeId(lnmessage.node_id)
    again = await dialer[0]()
    await again.connect(transport.uris[0])
    await again.event("connected")
    await again.command("disconnect")
    assert (await sink.disconnected.get())[0] == NodeId(again.node_id)
