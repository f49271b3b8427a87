"""What Core Lightning's nodes are known to send, made by hand and brought by pyln-proto to the bolt8 transport."""

from __future__ import annotations

import asyncio
import os

import pytest

from oddwire.proto import NodeId

pytestmark = pytest.mark.interop

WARNING, INIT, ERROR, PING, PONG = 1, 16, 17, 18, 19
ODD = 32769
# Bits a Core Lightning node has set: compulsory 0, 8, 12, 14 and 44 among them
FEATURES = sum(1 << bit for bit in (0, 5, 7, 8, 11, 12, 14, 17, 19, 23, 25, 27, 35, 39, 43, 44, 47, 51, 55, 63))
REGTEST = bytes.fromhex("06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f")


def make(type_id: int, *fields: bytes) -> bytes:
    return type_id.to_bytes(2, "big") + b"".join(fields)


def counted(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def make_init(features: int = FEATURES, chain: bytes = REGTEST) -> bytes:
    bitmap = features.to_bytes((features.bit_length() + 7) // 8, "big")
    return make(INIT, counted(b""), counted(bitmap), b"\x01\x20", chain)


class Link:
    """A pyln-proto peer whose handshake with our transport is over, and our init read."""

    def __init__(self, transport, sink, pyln, init):
        self.transport = transport
        self.sink = sink
        self.pyln = pyln
        self.init = init

    async def send(self, *payloads):
        for payload in payloads:
            await self.pyln.send(str(self.transport.node_id), payload)

    async def closed_with_warning(self):
        """The text of the warning that comes, and then the end of the connection."""
        warning = await self.pyln.received()
        assert warning[:34] == make(WARNING, bytes(32))
        assert int.from_bytes(warning[34:36], "big") == len(warning) - 36
        await self.pyln.event("disconnected")
        return warning[36:].decode("ascii")


@pytest.fixture
async def link(start_pyln, start_ours):
    pyln = await start_pyln()
    transport, sink = await start_ours()
    await pyln.connect(transport.uris[0])
    await pyln.event("connected")
    return Link(transport, sink, pyln, await pyln.received())


async def test_our_init_comes_unasked_and_names_our_network(link):
    assert link.init[:4] == make(INIT, b"\0\0")
    length = int.from_bytes(link.init[4:6], "big")
    assert link.init[6 + length :] == b"\x01\x20" + REGTEST


async def test_its_init_is_accepted_and_peer_storage_at_once_is_handed_on(link):
    storage = make(7, counted(b"backup"))
    await link.send(make_init(), storage)
    info = await link.sink.connected.get()
    assert info.node_id == NodeId(link.pyln.node_id)
    assert int.from_bytes(info.features, "big") == FEATURES
    assert await link.sink.payloads.get() == (info.node_id, storage)


async def test_gossip_and_odd_messages_before_init_are_no_business_of_the_application(link, make_payload):
    await link.send(make_payload(ODD, 20), make_init())
    gossip = [*range(256, 260), *range(261, 266)]  # BOLT 7 assigns no 260
    await link.send(*(make_payload(type_id, 40) for type_id in gossip), make_payload(ODD, 30))
    assert (await link.sink.payloads.get())[1] == make_payload(ODD, 30)
    assert link.sink.disconnected.empty()


async def test_pings_are_answered_but_not_those_that_are_padding(link):
    def ping(wanted):
        return make(PING, wanted.to_bytes(2, "big"), counted(b"\0" * 10))

    await link.send(make_init(), ping(65535), ping(65532), ping(65531), ping(0))
    assert await link.pyln.received() == make(PONG, counted(bytes(65531)))
    assert await link.pyln.received() == make(PONG, counted(b""))


async def test_open_channel_is_answered_with_error_for_that_channel(link):
    channel = bytes(range(32))
    await link.send(make_init(), make(32, REGTEST, channel, bytes(250)))
    answer = await link.pyln.received()
    assert answer[:34] == make(ERROR, channel)
    assert link.sink.disconnected.empty()


async def test_a_compulsory_feature_nobody_knows_ends_it_with_a_warning(link):
    await link.send(make_init(FEATURES | 1 << 600))
    assert "600" in await link.closed_with_warning()
    assert link.sink.connected.empty()


async def test_another_network_ends_it_with_a_warning(link):
    await link.send(make_init(chain=bytes(32)))
    assert "regtest" in await link.closed_with_warning()
    assert link.sink.connected.empty()


async def test_an_even_message_before_init_ends_it_with_a_warning(link):
    await link.send(make(32768))
    assert "init" in await link.closed_with_warning()


async def test_connect_gives_the_connection_that_came_in_while_its_own_was_refused(start_pyln, start_ours):
    key = os.urandom(32).hex()
    dialed, dialing = await start_pyln(key), await start_pyln(key)  # one node
    await dialed.listen()
    transport, sink = await start_ours()
    us = str(transport.node_id)
    connecting = asyncio.create_task(transport.connect(dialed.uri, keep=False))
    await dialed.event("connected", peer=us)
    await dialing.connect(transport.uris[0])
    await dialing.event("connected", peer=us)
    await dialing.send(us, make_init())
    info = await sink.connected.get()
    await dialed.disconnect(us)
    assert await connecting == info
