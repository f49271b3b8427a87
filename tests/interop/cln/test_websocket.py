"""Core Lightning's WebSocket address (``bind-addr=ws:``), dialed by ours."""

from __future__ import annotations

import pytest
from tests.support.ports import free_port

from oddwire.errors import TransportError
from oddwire.proto import PrivateKey, PublicKey, connect

pytestmark = [pytest.mark.cln, pytest.mark.interop]

ODD = 32769


@pytest.fixture
def node(start):
    """A Core Lightning node, and its port for WebSocket."""
    port = free_port()
    return start.lightningd("collector", options=[f"--bind-addr=ws:127.0.0.1:{port}"]), port


async def test_messages_of_any_size_both_ways_and_the_end(node, start_ours, make_payload):
    cln, port = node
    transport, sink = await start_ours(listen=())
    info = await transport.connect(f"{cln.node_id}@ws://127.0.0.1:{port}", keep=False)
    assert info.features, "its init has come"
    assert (await sink.connected.get()).node_id == info.node_id
    us = str(transport.node_id)
    await cln.until_connected(us)
    for size in (2, 3, 102, 65535):
        await transport.send(info.node_id, make_payload(ODD, size))
        assert await cln.taken(us) == [make_payload(ODD, size)]
        await cln.send(us, make_payload(ODD, size))
        assert await sink.payloads.get() == (info.node_id, make_payload(ODD, size))
    await cln.call("disconnect", us)
    assert (await sink.disconnected.get())[0] == info.node_id


async def test_many_messages_arrive_in_order(node, start_ours):
    cln, port = node
    transport, _ = await start_ours(listen=())
    info = await transport.connect(f"{cln.node_id}@ws://127.0.0.1:{port}", keep=False)
    payloads = [ODD.to_bytes(2, "big") + number.to_bytes(4, "big") * 500 for number in range(200)]
    for payload in payloads:
        await transport.send(info.node_id, payload)
    assert await cln.taken(str(transport.node_id), len(payloads)) == payloads


async def test_its_address_for_tcp_is_no_websocket(node):
    cln, _ = node
    host, _, port = cln.address.partition(":")
    with pytest.raises(TransportError, match="it hung up before the upgrade to WebSocket"):
        await connect(
            PrivateKey(b"\x07" * 32), PublicKey(bytes.fromhex(cln.node_id)), host, int(port), scheme="ws", timeout=20
        )
