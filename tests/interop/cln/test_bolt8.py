"""The bolt8 transport, and an application on it, with Core Lightning at the other end, dialing and dialed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import types

import pytest
from pyln.client import RpcError

from oddwire.app import Application, Extension
from oddwire.errors import ConnectionClosed, HandshakeFailed, PeerNotConnected
from oddwire.proto import NodeId, PrivateKey, PublicKey, connect
from oddwire.proto.bolt1 import CHAINS, Init, Ping, Pong, encode_error
from oddwire.proto.features import ASSUMED_FEATURES, feature_bits
from oddwire.schema import Message, message, u64
from oddwire.transports.base import Manifest
from oddwire.transports.bolt8.limits import Bolt8Limits
from oddwire.transports.bolt8.transport import Bolt8Transport

pytestmark = [pytest.mark.cln, pytest.mark.interop]

ODD, EVEN = 32769, 40000  # collector.py lists the even one
UNKNOWN_EVEN = 40002
OUR_FEATURE, STORES_FOR_PEERS = 513, 43
PEER_STORAGE = 7
SIZES = [2, 3, 102, 65535]

# Where it cannot matter who dialed
either_way = pytest.mark.parametrize("start_link", ["dialed"], indirect=True)


class Link:
    """Our transport and the Core Lightning node it has to do with."""

    def __init__(self, transport, sink, cln, we_dial):
        self.transport = transport
        self.sink = sink
        self.cln = cln
        self.we_dial = we_dial
        self.us = str(transport.node_id)
        self.peer = NodeId(cln.node_id)
        self.info = None

    async def connect(self):
        if self.we_dial:
            await self.transport.connect(self.cln.uri, keep=False)
        else:
            await self.cln.connect(self.transport.uris[0])
        self.info = await self.sink.connected.get()
        await self.cln.until_connected(self.us)

    async def received(self):
        peer, payload = await self.sink.payloads.get()
        assert peer == self.peer
        return payload

    async def check_that_it_works(self, payload):
        await self.transport.send(self.peer, payload)
        assert await self.cln.taken(self.us) == [payload]
        await self.cln.send(self.us, payload)
        assert await self.received() == payload


@pytest.fixture(params=["dialing", "dialed"])
def start_link(request, lightningd, start_ours):
    """Make our end, without connecting; the parameter is what we do."""

    async def start(features=(OUR_FEATURE,), cln=lightningd, **options):
        transport, sink = await start_ours(features, **options)
        return Link(transport, sink, cln, request.param == "dialing")

    return start


@pytest.fixture
async def link(start_link):
    """Both ends, connected."""
    link = await start_link()
    await link.connect()
    return link


# init -------------------------------------------------------------------------------------------------


async def test_each_side_sees_the_others_features(link):
    announced = (await link.cln.call("getinfo"))["our_features"]["init"]
    assert link.info.features.hex() == announced
    assert {bit for bit in feature_bits(link.info.features) if bit % 2 == 0} >= {0, 8, 12, 14, 44}
    assert link.info.direction == ("out" if link.we_dial else "in")
    seen = await link.cln.peer(link.us)
    assert feature_bits(bytes.fromhex(seen["features"])) == {*ASSUMED_FEATURES, OUR_FEATURE}


async def test_it_stores_its_backup_with_a_peer_that_offers_to(start_link):
    link = await start_link(features=[STORES_FOR_PEERS])
    await link.connect()
    assert int.from_bytes((await link.received())[:2], "big") == PEER_STORAGE


@either_way
async def test_a_compulsory_feature_of_ours_that_it_does_not_know(start_link):
    link = await start_link(features=[512])
    code, _ = await link.cln.refusal("connect", link.transport.uris[0])
    assert code == 401
    assert await link.cln.logged(link.us, "Unsupported feature 512")
    assert await link.cln.peer(link.us) is None


async def test_another_network(lightningd, start_ours):
    transport = Bolt8Transport(PrivateKey(os.urandom(32)), network="bitcoin")
    sink = (await start_ours())[1]
    await transport.open(Manifest(), sink)
    try:
        with pytest.raises(ConnectionClosed):
            await transport.connect(lightningd.uri, keep=False)
    finally:
        await transport.aclose()
    assert sink.connected.empty()


async def test_the_node_id_that_is_dialed_has_to_be_its_own(lightningd, start_ours):
    transport, _ = await start_ours()
    wrong = PrivateKey(os.urandom(32)).public_key().hex()
    with pytest.raises(HandshakeFailed):
        await transport.connect(f"{wrong}@{lightningd.address}", keep=False)


# Messages ---------------------------------------------------------------------------------------------


async def test_payloads_of_odd_and_even_types_arrive_unchanged_both_ways(link, make_payload):
    for type_id in (ODD, EVEN):
        for size in SIZES:
            await link.check_that_it_works(make_payload(type_id, size))


@pytest.mark.parametrize(("count", "size"), [(2500, 102), (20, 65535)], ids=["five key rotations", "large"])
async def test_many_messages_cross_whole_and_in_order(link, flood, count, size):
    there, back = flood(ODD, count, size), flood(EVEN, count, size)

    async def send():
        for payload in there:
            await link.transport.send(link.peer, payload)

    async def receive():
        return [await link.received() for _ in range(count)]

    _, taken, received, _ = await asyncio.gather(
        send(), link.cln.taken(link.us, count), receive(), link.cln.send(link.us, *back)
    )
    assert taken == list(there)
    assert received == list(back)


@either_way
async def test_a_paused_peer_is_held_up_and_loses_nothing(link, flood):
    back = flood(ODD, 150, 65535)  # more than the sockets between us hold
    link.transport.pause(link.peer)
    await link.cln.send(link.us, *back)
    assert link.sink.payloads.empty()
    link.transport.resume(link.peer)
    assert [await link.received() for _ in back] == list(back)


async def test_sendcustommsg_right_after_connect(lightningd, start_ours, make_payload):
    transport, sink = await start_ours()
    await lightningd.connect(transport.uris[0])
    await lightningd.send(str(transport.node_id), make_payload(ODD, 40))
    assert (await sink.payloads.get())[1] == make_payload(ODD, 40)


async def test_a_message_sent_from_its_connect_notification_is_the_first_to_come(start, start_link, make_payload):
    greeting = make_payload(ODD, 40)
    cln = start.lightningd("collector", options=[f"--collector-greeting={greeting.hex()}"])
    link = await start_link(cln=cln)
    await link.connect()
    assert await link.received() == greeting


async def test_it_hangs_up_on_an_even_type_that_no_plugin_lists(link, make_payload, caplog):
    payload = make_payload(UNKNOWN_EVEN, 20)
    with caplog.at_level(logging.WARNING, "oddwire"):
        await link.transport.send(link.peer, payload)
        peer, _ = await link.sink.disconnected.get()
    assert peer == link.peer
    (warning,) = [record.message for record in caplog.records if link.cln.node_id in record.message]
    assert warning.endswith(f"sent warning: Invalid unknown even msg {payload.hex()}")
    with pytest.raises(PeerNotConnected):
        await link.transport.send(link.peer, make_payload(ODD, 20))
    await link.cln.until_gone(link.us)
    await link.connect()  # it was the message, not the peer
    await link.check_that_it_works(make_payload(ODD, 20))


@either_way
async def test_our_warning_reaches_its_log(link):
    link.transport.warn(link.peer, "mind the gap")
    assert "WARNING" in (await link.cln.logged(link.us, "mind the gap")).upper()


@either_way
async def test_a_channel_it_wants_to_open_is_refused_by_an_error(link, make_payload):
    _, text = await link.cln.refusal("fundchannel_start", id=link.us, amount=100_000, feerate="253perkw")
    assert "this node has no channels" in text
    await link.check_that_it_works(make_payload(ODD, 20))


async def raw(cln, init):
    """Connect as a node that says what no oddwire node says; gives the connection after both inits."""
    node_id, _, address = cln.uri.partition("@")
    host, _, port = address.rpartition(":")
    connection = await connect(PrivateKey(os.urandom(32)), PublicKey(bytes.fromhex(node_id)), host, int(port))
    await connection.read_message()
    await connection.send_message(init.encode())
    return connection


async def ends(connection):
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await connection.read_message()


FEATURES = bytes.fromhex("5200")  # var_onion_optin, static_remotekey, payment_secret (BOLT 9)


async def test_both_hang_up_on_who_is_on_no_network(lightningd, start_ours):
    await ends(await raw(lightningd, Init(features=FEATURES, networks=())))
    transport, _ = await start_ours()
    await ends(await raw(types.SimpleNamespace(uri=transport.uris[0]), Init(features=FEATURES, networks=())))


async def test_an_error_for_all_channels_ends_a_connection_there_and_none_here(lightningd, start_ours):
    """BOLT 1: it fails all channels with the sender, and is to be ignored where there are none."""
    init = Init(features=FEATURES, networks=(CHAINS["regtest"],))
    connection = await raw(lightningd, init)
    await connection.send_message(encode_error("by a test"))
    await ends(connection)
    transport, _ = await start_ours()
    connection = await raw(types.SimpleNamespace(uri=transport.uris[0]), init)
    await connection.send_message(encode_error("by a test"))
    await connection.send_message(Ping(3).encode())
    async with asyncio.timeout(30):
        assert await connection.read_message() == Pong(3).encode()
    connection.abort("done")


# Ping and pong ----------------------------------------------------------------------------------------


async def test_pings_are_answered_both_ways(link, make_payload):
    for wanted in (0, 1, 128, 65531):
        assert await link.cln.call("ping", link.us, 10, wanted) == {"totlen": 4 + wanted}
        assert await link.transport.ping(link.peer, padding=10, num_pong_bytes=wanted) == 4 + wanted
    assert await link.cln.call("ping", link.us, 10, 65532) == {"totlen": 0}
    assert await link.transport.ping(link.peer, num_pong_bytes=65532) == 0
    await link.check_that_it_works(make_payload(ODD, 20))


# Connections that end ---------------------------------------------------------------------------------


async def test_it_disconnects_and_both_connect_again(link, make_payload):
    await link.cln.call("disconnect", link.us)
    peer, _ = await link.sink.disconnected.get()
    assert peer == link.peer
    await link.cln.until_gone(link.us)
    await link.connect()
    await link.check_that_it_works(make_payload(ODD, 20))


async def test_we_disconnect_and_both_connect_again(link, make_payload):
    last = make_payload(ODD, 65535)
    await link.transport.send(link.peer, last)
    await link.transport.disconnect(link.peer)
    await link.cln.until_gone(link.us)
    assert await link.cln.taken(link.us) == [last]  # what was sent before is not lost
    await link.connect()
    await link.check_that_it_works(make_payload(ODD, 20))


async def test_a_peer_we_keep_is_dialed_again_after_it_was_restarted(start, start_ours, make_payload):
    cln = start.lightningd("collector")
    transport, sink = await start_ours(limits=Bolt8Limits(redial_first=0.05, redial_most=0.1))
    await transport.connect(cln.uri)
    await sink.connected.get()
    await cln.until_connected(str(transport.node_id))
    await cln.call("disconnect", str(transport.node_id))
    await sink.disconnected.get()
    assert (await sink.connected.get()).node_id == NodeId(cln.node_id)
    cln.end()
    await sink.disconnected.get()
    cln.start()
    assert (await sink.connected.get()).node_id == NodeId(cln.node_id)
    await cln.until_connected(str(transport.node_id))
    await cln.send(str(transport.node_id), make_payload(ODD, 20))
    assert (await sink.payloads.get())[1] == make_payload(ODD, 20)


async def test_both_dialing_at_once_settle_on_one_connection(lightningd, start_ours, make_payload):
    payload = make_payload(ODD, 20)
    for _ in range(5):
        transport, sink = await start_ours(limits=Bolt8Limits(redial_first=0.05, redial_most=0.1))
        us, peer = str(transport.node_id), NodeId(lightningd.node_id)

        async def dial(transport=transport):
            with contextlib.suppress(ConnectionClosed):  # the one that was given up
                await transport.connect(lightningd.uri)

        async def be_dialed(transport=transport):
            with contextlib.suppress(RpcError):
                await lightningd.connect(transport.uris[0])

        async def keep_sending(transport=transport, peer=peer):
            while True:  # what was sent on the one that was given up is lost
                with contextlib.suppress(PeerNotConnected, ConnectionClosed):
                    await transport.send(peer, payload)
                await asyncio.sleep(0.1)

        await asyncio.gather(dial(), be_dialed())
        sending = asyncio.create_task(keep_sending())
        assert await lightningd.taken(us) == [payload]
        sending.cancel()
        await lightningd.send(us, payload)
        assert (await sink.payloads.get()) == (peer, payload)
        assert [info.node_id for info in transport.peers] == [peer]
        await transport.aclose()


# A whole application ----------------------------------------------------------------------------------


@message(0x8C01, codec="bolt")
class Ask(Message):
    nonce: u64


@message(0x8C03, codec="bolt")
class Answer(Message):
    nonce: u64


def make(type_id: int, nonce: int) -> bytes:
    return type_id.to_bytes(2, "big") + nonce.to_bytes(8, "big")


@pytest.fixture
async def app():
    extension = Extension("interop", version="1.0", feature=OUR_FEATURE)

    @extension.on(Ask)
    async def answer(context, ask: Ask) -> Answer:
        return Answer(nonce=ask.nonce + 1)

    transport = Bolt8Transport(PrivateKey(os.urandom(32)), listen=["127.0.0.1:0"], network="regtest")
    async with Application(extension, transport=transport) as app:
        yield app


@pytest.fixture(params=["dialing", "dialed"])
def connect_app(request, app, lightningd):
    async def connect():
        if request.param == "dialing":
            await app.transport.connect(lightningd.uri, keep=False)
        else:
            await lightningd.connect(app.uris[0])
        await lightningd.until_connected(str(app.node_id))

    return connect


async def test_a_handler_answers_it_and_a_request_is_answered_by_it(app, connect_app, lightningd):
    us = str(app.node_id)
    await connect_app()
    await lightningd.send(us, *(make(0x8C01, nonce) for nonce in range(100)))
    assert await lightningd.taken(us, 100) == [make(0x8C03, nonce + 1) for nonce in range(100)]
    request = asyncio.create_task(app.peer(lightningd.node_id).request(Ask(nonce=1), Answer, timeout=30))
    assert await lightningd.taken(us) == [make(0x8C01, 1)]
    await lightningd.send(us, make(0x8C03, 99))
    assert await request == Answer(nonce=99)


async def test_we_ignore_its_odd_type_and_hang_up_with_a_warning_on_its_even_one(app, connect_app, lightningd):
    us = str(app.node_id)
    await connect_app()
    await lightningd.send(us, make(0x9001, 0), make(0x8C01, 7))
    assert await lightningd.taken(us) == [make(0x8C03, 8)]
    await lightningd.send(us, make(0x9002, 0))
    await lightningd.logged(us, "0x9002")
    await lightningd.until_gone(us)
    await connect_app()  # it was the message, not the peer
    await lightningd.send(us, make(0x8C01, 9))
    assert await lightningd.taken(us) == [make(0x8C03, 10)]
