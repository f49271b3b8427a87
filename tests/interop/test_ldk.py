"""The bolt8 transport with an LDK node at the other end, dialing and dialed."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest

from oddwire.errors import ConnectionClosed, HandshakeFailed, PeerNotConnected
from oddwire.proto import NodeId, PrivateKey
from oddwire.proto.features import feature_bits
from oddwire.transports.bolt8.limits import Bolt8Limits

pytestmark = pytest.mark.interop

ODD, EVEN = 32769, 40000
UNKNOWN_ODD, UNKNOWN_EVEN = 32771, 40002  # LDK knows only the two above
OUR_FEATURE, LDK_FEATURE = 513, 515
SIZES = [2, 3, 102, 65535]

# Where it cannot matter who dialed
either_way = pytest.mark.parametrize("start_link", ["dialed"], indirect=True)

LDK_OWN_FEATURES = feature_bits(bytes.fromhex("08a0000a0aa222"))


class Link:
    """Our transport and the LDK node it has to do with."""

    def __init__(self, transport, sink, ldk, we_dial):
        self.transport = transport
        self.sink = sink
        self.ldk = ldk
        self.we_dial = we_dial
        self.us = str(transport.node_id)
        self.peer = NodeId(ldk.node_id)
        self.info = None

    async def dial(self):
        if self.we_dial:
            await self.transport.connect(self.ldk.uri, keep=False)
        else:
            await self.ldk.connect(self.transport.uris[0])

    async def connect(self):
        await self.dial()
        await self.ldk.event("connected", peer=self.us)
        self.info = await self.sink.connected.get()

    async def received(self):
        peer, payload = await self.sink.payloads.get()
        assert peer == self.peer
        return payload


@pytest.fixture(params=["dialing", "dialed"])
def start_link(request, start_ldk, start_ours):
    """Start both ends without connecting them; the parameter is what we do."""

    async def start(ldk_features=(LDK_FEATURE,), features=(OUR_FEATURE,), **options):
        ldk = await start_ldk(types=[ODD, EVEN], features=list(ldk_features))
        await ldk.listen()
        transport, sink = await start_ours(features, **options)
        return Link(transport, sink, ldk, request.param == "dialing")

    return start


@pytest.fixture
async def link(start_link):
    """Both ends, connected."""
    link = await start_link()
    await link.connect()
    return link


# init -------------------------------------------------------------------------------------------------


async def test_each_side_sees_the_others_features(start_link):
    link = await start_link()
    await link.dial()
    seen = await link.ldk.event("connected", peer=link.us, inbound=link.we_dial)
    assert {OUR_FEATURE, 9} <= feature_bits(bytes.fromhex(seen["features"]))
    info = await link.sink.connected.get()
    assert info.node_id == link.peer
    assert info.direction == ("out" if link.we_dial else "in")
    assert feature_bits(info.features) == LDK_OWN_FEATURES | {LDK_FEATURE}
    assert info.has_feature(LDK_FEATURE)
    assert not info.has_feature(OUR_FEATURE)


async def test_ldk_refuses_a_compulsory_feature_of_ours_that_it_does_not_know(start_link):
    link = await start_link(features=[512])
    with contextlib.suppress(ConnectionClosed):  # it depends on whose init is read first
        await link.dial()
    assert (await link.ldk.event("disconnected"))["by"] == "ldk"
    assert link.ldk.waiting("connected") == []


# Messages ---------------------------------------------------------------------------------------------


async def test_payloads_of_odd_and_even_types_arrive_unchanged_both_ways(link, make_payload):
    for type_id in (ODD, EVEN):
        for size in SIZES:
            payload = make_payload(type_id, size)
            await link.transport.send(link.peer, payload)
            assert await link.ldk.received() == payload
            await link.ldk.send(link.us, payload)
            assert await link.received() == payload


@pytest.mark.parametrize(("count", "size"), [(2500, 102), (150, 65535)], ids=["five key rotations", "large"])
async def test_many_messages_cross_whole_and_in_order(link, flood, count, size):
    there, back = flood(ODD, count, size), flood(EVEN, count, size)

    async def send():
        for payload in there:
            await link.transport.send(link.peer, payload)

    async def receive():
        return [await link.received() for _ in range(count)]

    async with link.ldk.collecting(there):
        _, received, _ = await asyncio.gather(send(), receive(), link.ldk.flood(link.us, back))
    assert received == list(back)


@either_way
async def test_a_paused_peer_is_held_up_and_loses_nothing(link, flood, make_payload):
    back = flood(ODD, 300, 65535)
    link.transport.pause(link.peer)
    await link.ldk.send(link.us, make_payload(EVEN, 20))  # in our socket's buffer when this returns
    sending = asyncio.create_task(link.ldk.flood(link.us, back))
    await link.ldk.command("stats")
    assert link.sink.payloads.empty()
    link.transport.resume(link.peer)
    assert await link.received() == make_payload(EVEN, 20)
    assert [await link.received() for _ in back] == list(back)
    await sending


@either_way
async def test_ldk_ignores_an_unknown_odd_type(link, make_payload):
    await link.transport.send(link.peer, make_payload(UNKNOWN_ODD, 20))
    await link.transport.send(link.peer, make_payload(ODD, 20))
    assert await link.ldk.received() == make_payload(ODD, 20)


async def test_ldk_hangs_up_on_an_unknown_even_type(link, make_payload):
    await link.transport.send(link.peer, make_payload(UNKNOWN_EVEN, 20))
    assert (await link.ldk.event("disconnected", peer=link.us))["by"] == "ldk"
    peer, _ = await link.sink.disconnected.get()
    assert peer == link.peer
    with pytest.raises(PeerNotConnected):
        await link.transport.send(link.peer, make_payload(ODD, 20))


@either_way
async def test_our_warning_reaches_ldk(link):
    link.transport.warn(link.peer, "mind the gap")
    assert "Received message Warning" in await link.ldk.logged("mind the gap")


# Ping and pong ----------------------------------------------------------------------------------------


async def test_we_answer_ldks_pings(link, make_payload):
    for _ in range(2):  # LDK would hang up at the second tick, had the first ping not been answered
        await link.ldk.tick()
        await link.ldk.logged("Received message Pong")
    await link.transport.send(link.peer, make_payload(ODD, 20))
    assert await link.ldk.received() == make_payload(ODD, 20)
    assert link.sink.payloads.empty()  # pings are not for the application


async def test_ldk_answers_our_pings(start_link):
    link = await start_link(limits=Bolt8Limits(ping_after=0.05))
    await link.connect()
    for _ in range(2):  # we send no second ping while we wait for the first one's pong
        await link.ldk.logged("Received message Ping")
        await link.ldk.logged("Enqueueing message Pong")
    assert link.sink.disconnected.empty()
    assert link.sink.payloads.empty()


# Connections that end, and that never come about ------------------------------------------------------


async def test_ldk_disconnects_and_both_connect_again(link, make_payload):
    await link.ldk.disconnect(link.us)
    peer, _ = await link.sink.disconnected.get()
    assert peer == link.peer
    await link.ldk.event("disconnected", peer=link.us)
    await link.connect()
    await link.transport.send(link.peer, make_payload(ODD, 20))
    assert await link.ldk.received() == make_payload(ODD, 20)


async def test_we_disconnect_and_both_connect_again(link, make_payload):
    await link.transport.send(link.peer, make_payload(ODD, 20))
    await link.transport.disconnect(link.peer)
    assert await link.ldk.received() == make_payload(ODD, 20)  # what was sent before still arrives
    assert (await link.ldk.event("disconnected", peer=link.us))["by"] == "peer"
    await link.sink.disconnected.get()
    await link.connect()
    await link.ldk.send(link.us, make_payload(EVEN, 20))
    assert await link.received() == make_payload(EVEN, 20)


async def test_a_peer_to_keep_is_dialed_again_by_itself(start_ldk, start_ours):
    ldk = await start_ldk(types=[ODD])
    await ldk.listen()
    transport, sink = await start_ours(connect=[ldk.uri], limits=Bolt8Limits(redial_first=0.01))
    us = str(transport.node_id)
    for _ in range(3):
        await ldk.event("connected", peer=us, inbound=True)
        await ldk.disconnect(us)
        await ldk.event("disconnected", peer=us)
    await ldk.event("connected", peer=us)
    assert sink.connected.qsize() - sink.disconnected.qsize() <= 1


async def test_both_dialing_at_once_end_with_one_connection(start_ldk, start_ours, make_payload):
    ldk = await start_ldk(types=[ODD])
    await ldk.listen()
    transport, sink = await start_ours()
    us, peer = str(transport.node_id), NodeId(ldk.node_id)
    await asyncio.gather(transport.connect(ldk.uri, keep=False), ldk.connect(transport.uris[0]), return_exceptions=True)
    await ldk.event("disconnected")
    await ldk.event("connected", peer=us)
    await ldk.send(us, make_payload(ODD, 20))
    assert await sink.payloads.get() == (peer, make_payload(ODD, 20))
    await transport.send(peer, make_payload(ODD, 30))
    assert await ldk.received() == make_payload(ODD, 30)


async def test_ldk_refuses_us_if_we_have_its_key_wrong(start_ldk, start_ours):
    ldk = await start_ldk()
    await ldk.listen()
    transport, sink = await start_ours()
    other = PrivateKey(os.urandom(32)).public_key().hex()
    with pytest.raises(HandshakeFailed) as caught:
        await transport.connect(ldk.uri.replace(ldk.node_id, other))
    assert caught.value.act == 2
    assert (await ldk.event("disconnected", peer=None))["by"] == "ldk"
    assert sink.connected.empty()


async def test_we_refuse_ldk_if_it_has_our_key_wrong(start_ldk, start_ours):
    ldk = await start_ldk()
    transport, sink = await start_ours()
    other = PrivateKey(os.urandom(32)).public_key().hex()
    await ldk.connect(transport.uris[0].replace(str(transport.node_id), other))
    assert (await ldk.event("disconnected", peer=other))["by"] == "peer"
    assert sink.connected.empty()
