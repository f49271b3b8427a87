"""oddwire.transports.bolt8.transport: transports on loopback, or one and a raw peer that says what the test wants."""

import asyncio
import contextlib
import gc
import socket

import pytest
from tests.support.ports import free_port
from tests.support.waiting import until

from oddwire.errors import (
    ConnectionClosed,
    EncodeError,
    HandshakeFailed,
    LocalProtocolError,
    PayloadTooLarge,
    PeerNotConnected,
    TransportError,
)
from oddwire.proto import NodeId, NodeUri, PrivateKey, connect, serve
from oddwire.proto.bolt1 import CHAINS, DEFAULT_NETWORK, DEFAULT_PORTS, Bolt1, Init, Notice, Ping, Pong
from oddwire.proto.features import ASSUMED_FEATURES, feature_bits, feature_bytes
from oddwire.testing.sinks import Connected, Disconnected, RecordingSink
from oddwire.transports.base import Manifest
from oddwire.transports.bolt8.limits import Bolt8Limits
from oddwire.transports.bolt8.transport import Bolt8Transport

LOOPS = ["asyncio", "uvloop"]
LOW, HIGH = sorted((PrivateKey(bytes([n]) * 32) for n in (0x11, 0x21)), key=lambda key: bytes(key.public_key()))
RAW = PrivateKey(b"\x31" * 32)
RAW_ID = NodeId(RAW.public_key())
REGTEST = CHAINS["regtest"]
INIT = Init(networks=(REGTEST,)).encode()
QUICK = Bolt8Limits(redial_first=0.02, redial_most=0.1)
ANY_PORT = ["127.0.0.1:0"]


def message(type_id, body=b""):
    return type_id.to_bytes(2, "big") + body


def hung_up(payload):
    """Why a peer that was sent ``payload`` as the last thing was hung up on."""
    notice = Notice.decode(payload)
    assert notice.kind == "warning"
    return notice.text


async def settle(turns=5):
    """Let callbacks that are due run."""
    for _ in range(turns):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def transport(key=LOW, *, listen=ANY_PORT, features=(), on_payload=None, **kwargs):
    """An open transport and its sink."""
    kwargs.setdefault("network", "regtest")
    node = Bolt8Transport(key, listen=listen, **kwargs)
    sink = RecordingSink(on_payload, patience=1200.0)  # a hurried loop's seconds are short
    await node.open(Manifest(features=frozenset(features)), sink)
    try:
        yield node, sink
    finally:
        await node.aclose()


def port_of(node):
    return int(node.uris[0].rpartition(":")[2])


@contextlib.asynccontextmanager
async def dialed(node, *, init=INIT, key=RAW, on_open=None):
    """A raw peer that dialed ``node``; it has read the node's init, and sent ``init`` unless that is None."""
    peer = await connect(key, node.node_id, "127.0.0.1", port_of(node), on_open=on_open)
    try:
        Init.decode(await peer.read_message())
        if init is not None:
            await peer.send_message(init)
        yield peer
    finally:
        await peer.aclose()


async def rest_of(peer):
    """Everything the node still says until it hangs up."""
    return [payload async for payload in peer]


@contextlib.asynccontextmanager
async def raw_listener(handler, *, key=RAW):
    """A raw peer that can be dialed; gives its URI."""
    async with await serve(handler, key, "127.0.0.1", 0) as server:
        yield f"{key.public_key().hex()}@127.0.0.1:{server.port}"


# Making and opening


async def test_tcp_and_websocket_side_by_side():
    async with transport(listen=["127.0.0.1:0", "ws://127.0.0.1:0"]) as (node, sink):
        tcp, ws = node.uris
        assert ws.startswith(f"{node.node_id}@ws://127.0.0.1:")
        for key, uri in ((HIGH, tcp), (RAW, ws)):
            async with transport(key, listen=()) as (other, others):
                info = await other.connect(uri, keep=False)
                assert info.address == uri.rpartition("/")[2].rpartition("@")[2]
                await other.send(node.node_id, message(0x8001, uri.encode()))
                await sink.until(lambda sink, uri=uri: message(0x8001, uri.encode()) in sink.payloads)
                await node.send(other.node_id, message(0x8003, b"there"))
                await others.until(lambda sink: sink.payloads == [message(0x8003, b"there")])


async def test_a_websocket_address_is_dialed_again():
    async with (
        transport(listen=["ws://127.0.0.1:0"]) as (node, sink),
        transport(HIGH, listen=(), connect=[node.uris[0]], limits=QUICK) as (other, _),
    ):
        await sink.until(lambda sink: sink.connected)
        await node.disconnect(other.node_id)
        await sink.until(lambda sink: len(sink.connected) == 2)


def test_what_cannot_be_read_is_a_value_error_at_once():
    for kwargs, why in (
        ({"network": "mainnet"}, "network should be one of bitcoin, testnet, testnet4, signet, regtest, not 'mainnet'"),
        ({"listen": ["here:there"]}, "port should be"),
        ({"listen": ["wss://here:1"]}, "TLS needs a certificate"),
        ({"connect": ["127.0.0.1:1"]}, "URI should be"),
        ({"connect": [f"02{'ff' * 32}@127.0.0.1:1"]}, "not a point"),
        ({"connect": [f"{LOW.public_key().hex()}@127.0.0.1:1"]}, "this node itself"),
    ):
        with pytest.raises(ValueError, match=why):
            Bolt8Transport(LOW, **kwargs)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"listen": 9735}, "listen should be a list of texts, not 9735"),
        ({"listen": [9735]}, r"listen should be a list of texts, not \[9735\]"),
        ({"connect": [None]}, r"connect should be a list of texts, not \[None\]"),
        ({"proxy": 9050}, "proxy should be host:port or a URL, not 9050"),
    ],
)
def test_arguments_of_another_kind_are_told_what_would_be_right(given, told):
    with pytest.raises(TypeError, match=told):
        Bolt8Transport(LOW, **given)


async def test_uris_can_be_dialed_even_of_a_wildcard():
    async with transport(LOW, listen=["0.0.0.0:0", "[::1]:0"]) as (node, _), transport(HIGH, listen=()) as (other, _):
        assert other.uris == []
        first, second = node.uris
        assert first.startswith(f"{LOW.public_key().hex()}@127.0.0.1:")
        assert second.startswith(f"{LOW.public_key().hex()}@[::1]:")
        for uri in (first, second):
            assert (await other.connect(uri, keep=False)).node_id == node.node_id
            await other.disconnect(node.node_id)


async def test_a_transport_opens_once():
    node = Bolt8Transport(LOW)
    with pytest.raises(TransportError, match="open the transport before you connect"):
        await node.connect(f"{HIGH.public_key().hex()}@127.0.0.1:1")
    await node.open(Manifest(), RecordingSink())
    with pytest.raises(TransportError, match="opened before"):
        await node.open(Manifest(), RecordingSink())
    await node.aclose()
    with pytest.raises(TransportError, match="opened before"):
        await node.open(Manifest(), RecordingSink())
    with pytest.raises(TransportError, match="open the transport before you connect"):
        await node.connect(f"{HIGH.public_key().hex()}@127.0.0.1:1")


async def test_an_address_that_is_taken_leaves_the_others_closed():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first, second = free_port(), taken.getsockname()[1]
        node = Bolt8Transport(LOW, listen=[f"127.0.0.1:{first}", f"127.0.0.1:{second}"])
        with pytest.raises(TransportError, match=f"cannot listen on 127.0.0.1:{second}"):
            await node.open(Manifest(), RecordingSink())
        assert node.uris == []
        assert asyncio.all_tasks() == {asyncio.current_task()}
        with pytest.raises(TransportError, match="refused"):
            await connect(RAW, node.node_id, "127.0.0.1", first)


# Init


async def test_both_sides_learn_of_each_other():
    async with transport(LOW, features={513}) as (left, heard), transport(HIGH, features={515}) as (right, told):
        info = await right.connect(left.uris[0])
        await heard.until(lambda sink: sink.connected)
        assert told.connected == [info]
        assert (info.node_id, info.direction) == (left.node_id, "out")
        assert info.address == left.uris[0].partition("@")[2]
        assert feature_bits(info.features) == {*ASSUMED_FEATURES, 513}
        (other,) = heard.connected
        assert (other.node_id, other.direction) == (right.node_id, "in")
        assert feature_bits(other.features) == {*ASSUMED_FEATURES, 515}
        assert (left.peers, right.peers) == ([other], [info])


async def test_two_networks_meet_in_an_error_that_names_both_and_the_option_on_both_sides(caplog):
    caplog.set_level("INFO", logger="oddwire.transports.bolt8")
    async with transport(LOW, network="regtest") as (left, _), transport(HIGH, network="bitcoin") as (right, _):
        text = "the peer is on regtest, this node is on bitcoin; both should be on one, with --network regtest"
        with pytest.raises(TransportError, match=text):
            await right.connect(left.uris[0], keep=False)
        text = "the peer is on bitcoin, this node is on regtest; both should be on one, with --network bitcoin"
        await until(lambda: f"{right.node_id} " in caplog.text and text in caplog.text)
        assert len(caplog.records) == 1, "who dialed has the error"


def test_the_network_decides_the_port_of_an_address_without_one_as_lightningds_does():
    for network, port in DEFAULT_PORTS.items():
        node = Bolt8Transport(LOW, network=network, listen=["127.0.0.1"], connect=[f"{RAW_ID}@there"])
        assert node._listen == [("127.0.0.1", port, "")]
        assert node._wanted == [NodeUri(RAW_ID, "there", port)]
    assert Bolt8Transport(LOW).network == DEFAULT_NETWORK == "bitcoin"


async def test_our_init_is_the_first_thing_said_and_names_network_and_features():
    async with transport(features={513}, network="signet") as (node, _):
        peer = await connect(RAW, node.node_id, "127.0.0.1", port_of(node))
        ours = Init.decode(await peer.read_message())
        assert ours == Init(features=feature_bytes({*ASSUMED_FEATURES, 513}), networks=(CHAINS["signet"],))
        assert ours.remote_addr is None, "127.0.0.1 is nothing to tell"
        await peer.aclose()


async def test_what_core_lightning_requires_is_accepted():
    theirs = Init(features=feature_bytes({0, 8, 12, 14, 44}), networks=(REGTEST,)).encode()
    async with transport() as (node, sink), dialed(node, init=theirs):
        await sink.until(lambda sink: sink.connected)


@pytest.mark.parametrize(
    ("init", "why"),
    [
        (Init(features=feature_bytes({512})).encode(), "unknown feature bits 512"),
        (Init(networks=(CHAINS["bitcoin"],)).encode(), "no network in common"),
        (Init(networks=()).encode(), "the peer is on none"),
        (message(16, b"\0"), "u16 needs 2 bytes"),
        (message(0x8C02), "type 35842 before init"),
    ],
)
async def test_a_bad_start_is_answered_with_a_warning_and_the_end(init, why):
    async with transport() as (node, sink), dialed(node, init=init) as peer:
        (last,) = await rest_of(peer)
        assert why in hung_up(last)
        assert sink.events == []
        assert not node.is_connected(RAW_ID)


async def test_dialing_a_peer_whose_init_is_bad_fails():
    async def handler(connection):
        await connection.send_message(Init(networks=(CHAINS["bitcoin"],)).encode())
        async for _ in connection:
            pass

    async with raw_listener(handler) as uri, transport() as (node, sink):
        with pytest.raises(ConnectionClosed, match="no network in common"):
            await node.connect(uri)
        assert sink.events == []


async def test_before_init_nothing_odd_reaches_the_sink_and_short_messages_are_no_reason_to_hang_up():
    async with transport() as (node, sink), dialed(node, init=None) as peer:
        for payload in (message(0x8C01, b"early"), message(7, b"early"), message(257), b"", b"\x8c"):
            await peer.send_message(payload)
        await peer.send_message(INIT)
        await peer.send_message(message(0x8C01, b"in time"))
        await sink.until(lambda sink: sink.payloads)
        assert sink.payloads == [message(0x8C01, b"in time")]


@pytest.mark.asyncio(loop_factories=["hurried"])
async def test_a_peer_without_init_has_thirty_seconds():
    async with transport() as (node, sink), dialed(node, init=None) as peer:
        (last,) = await rest_of(peer)
        assert hung_up(last).startswith("no init within ")
        assert sink.events == []


# Payloads


async def test_payloads_both_ways():
    async with transport(LOW) as (left, heard), transport(HIGH) as (right, told):
        await right.connect(left.uris[0])
        await heard.until(lambda sink: sink.connected)
        sent = [message(0x8C01, bytes(size)) for size in (0, 1, 100, 65533)]
        for payload in sent:
            await right.send(left.node_id, payload)
            await left.send(right.node_id, payload)
        for sink in (heard, told):
            await sink.until(lambda sink: len(sink.payloads) == 4)
            assert sink.payloads == sent


async def test_gossip_after_init_is_ignored():
    async with transport() as (node, sink), dialed(node) as peer:
        for type_id in range(256, 266):
            await peer.send_message(message(type_id, bytes(100)))
        await peer.send_message(message(0x8C01))
        await sink.until(lambda sink: sink.payloads)
        assert sink.payloads == [message(0x8C01)]
        assert node.is_connected(RAW_ID)


@pytest.mark.parametrize("type_id", [7, 9, 3, 4, 19533, 32767, 32768, 0x8C01, 0x8C02, 65534, 65535])
async def test_peer_storage_and_every_unknown_type_reach_the_sink(type_id):
    """What an unknown even type means is the application's to say."""
    async with transport() as (node, sink), dialed(node) as peer:
        await peer.send_message(message(type_id, b"body"))
        await sink.until(lambda sink: sink.payloads)
        assert sink.payloads == [message(type_id, b"body")]


@pytest.mark.parametrize("payload", [b"", b"\0", b"\x7f", b"\x80", b"\x8c", b"\xff"])
async def test_what_has_no_type_is_answered_with_a_warning(payload):
    async with transport() as (node, sink), dialed(node) as peer:
        await peer.send_message(payload)
        assert f"{len(payload)} bytes has no type" in hung_up(await peer.read_message())
        await peer.send_message(message(0x8C01))
        await sink.until(lambda sink: sink.payloads)
        assert sink.payloads == [message(0x8C01)]


async def test_pings_are_answered_unless_they_are_padding():
    async with transport() as (node, _), dialed(node) as peer:
        for wanted in (0, 65532, 65535, 5, 65531):
            await peer.send_message(Ping(wanted, 10).encode())
        assert [await peer.read_message() for _ in range(3)] == [Pong(size).encode() for size in (0, 5, 65531)]


async def test_a_channel_is_refused():
    async with transport() as (node, _), dialed(node) as peer:
        await peer.send_message(message(32, REGTEST + b"\x42" * 32 + bytes(200)))
        notice = Notice.decode(await peer.read_message())
        assert (notice.kind, notice.channel_id) == ("error", b"\x42" * 32)


async def test_notices_are_logged_with_their_text_made_safe(caplog):
    async with transport() as (node, _), dialed(node) as peer:
        await peer.send_message(message(17, bytes(32) + b"\0\x07\x1b[2Jbye"))
        await peer.send_message(message(1, bytes(32) + b"\0\x05hello"))
        await until(lambda: len(caplog.records) >= 2)
        texts = [record.getMessage() for record in caplog.records if record.name.startswith("oddwire")]
        assert texts == [f"{RAW_ID} sent error: 1b5b324a627965", f"{RAW_ID} sent warning: hello"]


async def test_a_second_init_ends_the_connection():
    async with transport() as (node, sink), dialed(node) as peer:
        await peer.send_message(INIT)
        (last,) = await rest_of(peer)
        assert "init a second time" in hung_up(last)
        await sink.until(lambda sink: sink.disconnected)
        assert "init a second time" in sink.events[-1].reason


async def test_a_warning_is_sent():
    async with transport() as (node, sink), dialed(node) as peer:
        await sink.until(lambda sink: sink.connected)
        node.warn(RAW_ID, "type 0x8c01 is malformed")
        assert hung_up(await peer.read_message()) == "type 0x8c01 is malformed"
        assert node.is_connected(RAW_ID)


async def test_wrong_lengths_and_strangers_are_refused():
    async with transport() as (node, sink), dialed(node):
        await sink.until(lambda sink: sink.connected)
        for send in (node.send, nowait(node)):
            for size, error in ((0, EncodeError), (1, EncodeError), (65536, PayloadTooLarge)):
                with pytest.raises(error):
                    await send(RAW_ID, bytes(size))
            with pytest.raises(PeerNotConnected) as caught:
                await send(NodeId(HIGH.public_key()), message(0x8C01))
            assert caught.value.node_id == HIGH.public_key().hex()


def nowait(node):
    async def send(peer, payload):
        return node.send_nowait(peer, payload)

    return send


# Back-pressure


async def test_send_nowait_says_when_it_would_have_to_wait():
    async with transport() as (node, sink), dialed(node) as peer:
        await sink.until(lambda sink: sink.connected)
        peer.pause()
        accepted = 0
        while node.send_nowait(RAW_ID, message(0x8C01, accepted.to_bytes(4, "big") + bytes(60_000))):
            accepted += 1
            await asyncio.sleep(0)
        peer.resume()
        for number in range(accepted):
            assert (await peer.read_message())[2:6] == number.to_bytes(4, "big")


async def test_a_peer_that_asks_and_does_not_read_the_answers_is_not_read_either():
    """A ping of 40 bytes may ask for an answer of 65 565: unread ones must not pile up without end."""
    async with transport() as (node, sink), dialed(node) as peer:
        await sink.until(lambda sink: sink.connected)
        connection = node._peers[RAW_ID].connection
        peer.pause()
        for _ in range(200):
            for _ in range(10):
                peer.send_nowait(Ping(65531).encode())
            await asyncio.sleep(0)
        await until(lambda: connection.congested)
        await asyncio.sleep(0.1)
        held = connection._transport.get_write_buffer_size()
        assert held < 1_000_000, "2 000 answers are 131 MB"
        assert not connection.paused, "it is not the application that does not read"
        await peer.send_message(message(0x8C01, b"after the pings"))
        peer.resume()
        for _ in range(2000):
            assert len(await peer.read_message()) == 65535
        await sink.until(lambda sink: sink.payloads)
        assert sink.payloads == [message(0x8C01, b"after the pings")]


async def test_choked_and_paused_are_two_things():
    """What the application paused stays paused though the peer reads its answers, and the other way round."""
    async with transport() as (node, sink), dialed(node) as peer:
        await sink.until(lambda sink: sink.connected)
        connection = node._peers[RAW_ID].connection
        peer.pause()
        for _ in range(100):
            peer.send_nowait(Ping(65531).encode())
        peer.send_nowait(message(0x8C01, b"last"))
        await until(lambda: connection.congested)
        node.pause(RAW_ID)
        node.resume(RAW_ID)
        await asyncio.sleep(0.05)
        assert connection._frames.held, "resumed by the application, and still choked"
        node.pause(RAW_ID)
        peer.resume()
        while connection.congested:
            assert len(await peer.read_message()) == 65535
        await asyncio.sleep(0.05)
        assert connection.paused
        assert sink.payloads == []
        node.resume(RAW_ID)
        reading = asyncio.create_task(rest_of(peer))
        await sink.until(lambda sink: sink.payloads)
        await node.disconnect(RAW_ID)
        await reading


# One connection a peer


@pytest.mark.parametrize("turn", range(20))
async def test_dialing_each_other_at_once_leaves_one_connection_and_it_is_the_same(turn):
    limits = Bolt8Limits(twin_patience=0.05)
    async with transport(LOW, limits=limits) as (left, heard), transport(HIGH, limits=limits) as (right, told):
        dials = [left.connect(right.uris[0], keep=False), right.connect(left.uris[0], keep=False)]
        first = asyncio.create_task(dials[turn % 2])
        await settle(turn // 2)
        await asyncio.gather(first, asyncio.create_task(dials[1 - turn % 2]))
        for node in (left, right):
            await until(lambda node=node: len(node._all) == 1 and node.peers)
        await asyncio.sleep(0.01)
        (ours,), (theirs,) = left.peers, right.peers
        assert {ours.direction, theirs.direction} == {"in", "out"}, "two ends of one connection"
        await left.send(right.node_id, message(0x8C01, b"to the right"))
        await right.send(left.node_id, message(0x8C01, b"to the left"))
        await told.until(lambda sink: sink.payloads)
        await heard.until(lambda sink: sink.payloads)
        for sink in (heard, told):
            assert_in_order(sink)


def assert_in_order(sink):
    """Connected, then disconnected, then connected: never two of a kind in a row."""
    kinds = [type(event) for event in sink.events if isinstance(event, (Connected, Disconnected))]
    assert kinds == [Connected, Disconnected] * (len(kinds) // 2) + [Connected] * (len(kinds) % 2)


@contextlib.asynccontextmanager
async def twins(key, peer_key):
    """A node, its sink, and both ends that a raw peer has of two connections dialed crosswise: (theirs, ours)."""
    ours = []

    async def answer(peer):
        ours.append(peer)
        await peer.send_message(INIT)
        await asyncio.Event().wait()

    async with transport(key) as (node, sink), raw_listener(answer, key=peer_key) as uri:
        await node.connect(uri, keep=False)
        async with dialed(node, key=peer_key) as theirs:
            await until(lambda: len(node._all) == 2 and node._aside)
            yield node, sink, theirs, ours[0]


@pytest.mark.parametrize(("key", "peer_key"), [(LOW, HIGH), (HIGH, LOW)], ids=["lesser id", "greater id"])
@pytest.mark.parametrize("kept", ["theirs", "ours"])
async def test_of_twins_the_one_stays_that_the_peer_keeps(key, peer_key, kept):
    """As lightningd does, which keeps the newest: whatever the ids say, what the peer closes is gone."""
    async with twins(key, peer_key) as (node, sink, theirs, ours):
        keeps, closes = (theirs, ours) if kept == "theirs" else (ours, theirs)
        await closes.aclose()
        await until(lambda: len(node._all) == 1 and not node._aside and node.peers)
        await node.send(node.peers[0].node_id, message(0x8C01, b"still there"))
        while await keeps.read_message() != message(0x8C01, b"still there"):
            pass  # its init came first
        assert_in_order(sink)
        assert isinstance([e for e in sink.events if isinstance(e, (Connected, Disconnected))][-1], Connected)


async def test_what_comes_on_a_twin_counts_and_waits_while_paused():
    async with twins(LOW, HIGH) as (node, sink, theirs, ours):
        peer = node.peers[0].node_id
        for end, text in ((theirs, b"one"), (ours, b"two")):
            await end.send_message(message(0x8C01, text))
            await sink.until(lambda sink, text=text: sink.payloads and sink.payloads[-1].endswith(text))
        node.pause(peer)
        await asyncio.gather(*(end.send_message(message(0x8C01, b"three")) for end in (theirs, ours)))
        await asyncio.sleep(0.05)
        assert len(sink.payloads) == 2
        node.resume(peer)
        await sink.until(lambda sink: len(sink.payloads) == 4)


async def test_to_disconnect_ends_both_twins():
    async with twins(LOW, HIGH) as (node, _, theirs, ours):
        await node.disconnect(node.peers[0].node_id)
        assert not node.peers
        for end in (theirs, ours):
            await rest_of(end)


@pytest.mark.asyncio(loop_factories=["hurried"])
async def test_a_twin_that_nobody_closes_is_closed_after_a_second():
    async with twins(LOW, HIGH) as (node, sink, *_):
        await until(lambda: len(node._all) == 1, patience=120)
        assert len(node.peers) == 1
        assert_in_order(sink)


async def test_dialing_one_peer_many_times_at_once_makes_one_connection():
    async with transport(LOW) as (left, heard), transport(HIGH) as (right, told):
        infos = await asyncio.gather(*(right.connect(left.uris[0]) for _ in range(10)))
        assert infos == [infos[0]] * 10
        await heard.until(lambda sink: sink.connected)
        await asyncio.sleep(0.05)
        assert len(told.events) == len(heard.events) == 1


async def test_connecting_to_who_is_connected_just_says_so():
    async with transport(LOW) as (left, _), transport(HIGH) as (right, told):
        info = await right.connect(left.uris[0])
        assert await right.connect(f"{left.node_id}@127.0.0.1:1") == info
        assert len(told.events) == 1


async def test_a_peer_that_comes_anew_replaces_its_old_connection():
    async with transport() as (node, sink), dialed(node) as old:
        await sink.until(lambda sink: sink.connected)
        async with dialed(node) as new:
            await sink.until(lambda sink: len(sink.connected) == 2)
            assert await rest_of(old) == []
            kinds = [type(event) for event in sink.events]
            assert kinds == [Connected, Disconnected, Connected]
            assert sink.events[1].reason == "the peer connected anew"
            await node.send(RAW_ID, message(0x8C01, b"to the new one"))
            assert await new.read_message() == message(0x8C01, b"to the new one")
            assert len(node.peers) == 1
        await sink.until(lambda sink: len(sink.disconnected) == 2)


async def test_what_the_old_connection_still_brings_is_not_delivered():
    async with transport() as (node, sink), dialed(node) as old:
        await sink.until(lambda sink: sink.connected)
        node.pause(RAW_ID)
        await old.send_message(message(0x8C01, b"old"))
        async with dialed(node) as new:
            await sink.until(lambda sink: len(sink.connected) == 2)
            await new.send_message(message(0x8C01, b"new"))
            await sink.until(lambda sink: sink.payloads)
            assert sink.payloads == [message(0x8C01, b"new")], "and the new connection is not paused"


# Limits


async def test_one_peer_more_than_allowed_is_told_so():
    async with transport(limits=Bolt8Limits(max_peers=1)) as (node, sink), dialed(node) as first:
        await sink.until(lambda sink: sink.connected)
        async with dialed(node, key=HIGH) as second:
            (last,) = await rest_of(second)
            assert hung_up(last) == "this node accepts no more than 1 peers"
        await first.send_message(message(0x8C01))
        await sink.until(lambda sink: sink.payloads)
        assert len(sink.connected) == 1
        async with dialed(node) as again:
            await sink.until(lambda sink: len(sink.connected) == 2)
            await again.send_message(message(0x8C01, b"the same peer may come anew"))
            await sink.until(lambda sink: len(sink.payloads) == 2)


async def test_connections_that_never_send_an_init_are_limited_too():
    async with (
        transport(limits=Bolt8Limits(max_peers=2, max_handshakes=2)) as (node, _),
        contextlib.AsyncExitStack() as stack,
    ):
        mute = [await stack.enter_async_context(dialed(node, init=None)) for _ in range(4)]
        await stack.enter_async_context(dialed(node))
        assert len(node._all) == 4
        assert await rest_of(mute[0]) == [], "who has said nothing for longest goes"
        assert not any(peer.closed for peer in mute[1:])
        assert node.counters["max_handshakes"] == 1


async def test_an_honest_peer_among_200_silent_dialers():
    async with transport() as (node, sink), contextlib.AsyncExitStack() as stack:
        for _ in range(200):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port_of(node)))
        await stack.enter_async_context(dialed(node))
        await sink.until(lambda sink: sink.connected)


# Keepalive


SHORT = Bolt8Limits(ping_after=10.0, ping_patience=4.0)


@pytest.mark.asyncio(loop_factories=["hurried"])
async def test_a_mute_peer_is_pinged_and_then_given_up():
    async with transport(limits=SHORT) as (node, sink), dialed(node) as peer:
        payloads = await rest_of(peer)
        assert payloads == [Ping().encode()]
        await sink.until(lambda sink: sink.disconnected)
        assert sink.events[-1].reason == "ping not answered in 4 s"


@pytest.mark.asyncio(loop_factories=["hurried"])
async def test_a_peer_that_answers_pings_stays():
    async with transport(limits=SHORT) as (node, sink), dialed(node) as peer:
        for _ in range(3):
            assert await peer.read_message() == Ping().encode()
            await peer.send_message(Pong().encode())
        assert not sink.disconnected


@pytest.mark.asyncio(loop_factories=["hurried"])
async def test_a_peer_that_talks_is_not_pinged():
    async with transport(limits=SHORT) as (node, sink), dialed(node) as peer:
        for number in range(20):
            await peer.send_message(message(0x8C01, bytes([number])))
            await asyncio.sleep(2)
        await sink.until(lambda sink: len(sink.payloads) == 20)
        await node.disconnect(RAW_ID)
        assert await rest_of(peer) == []


@pytest.mark.asyncio(loop_factories=["hurried"])
async def test_a_paused_peer_is_not_taken_for_dead():
    async with transport(limits=SHORT) as (node, sink), dialed(node) as peer:
        await sink.until(lambda sink: sink.connected)
        node.pause(RAW_ID)
        await peer.send_message(message(0x8C01))
        await asyncio.sleep(60)
        assert not sink.disconnected
        node.resume(RAW_ID)
        await sink.until(lambda sink: sink.payloads)


@pytest.mark.asyncio(loop_factories=["hurried"])
async def test_a_peer_that_does_not_read_its_answers_is_given_up():
    async with transport(limits=SHORT) as (node, sink), dialed(node) as peer:
        await sink.until(lambda sink: sink.connected)
        peer.pause()
        while not node._peers[RAW_ID].connection.congested:
            peer.send_nowait(Ping(65531).encode())
            await asyncio.sleep(0)
        await sink.until(lambda sink: sink.disconnected)


# Pings of our own


async def test_a_ping_waits_for_its_pong():
    async with transport(LOW) as (left, heard), transport(HIGH) as (right, _):
        await right.connect(left.uris[0])
        await heard.until(lambda sink: sink.connected)
        assert await left.ping(right.node_id, padding=100, num_pong_bytes=128) == 132
        assert await right.ping(left.node_id) == 4
        assert await left.ping(right.node_id, num_pong_bytes=65532) == 0


async def test_one_ping_at_a_time_and_none_to_strangers():
    async with transport() as (node, sink), dialed(node) as peer:
        await sink.until(lambda sink: sink.connected)
        with pytest.raises(PeerNotConnected):
            await node.ping(NodeId(HIGH.public_key()))
        waiting = asyncio.create_task(node.ping(RAW_ID, num_pong_bytes=7))
        await settle()
        with pytest.raises(LocalProtocolError, match="under way"):
            await node.ping(RAW_ID)
        await peer.send_message(Pong(8).encode())
        await peer.send_message(Pong(7).encode())
        assert await waiting == 11
        waiting = asyncio.create_task(node.ping(RAW_ID))
        await settle()
        await peer.aclose()
        with pytest.raises(ConnectionClosed):
            await waiting


# Dialing again


async def test_a_peer_to_keep_is_dialed_again():
    async with transport(LOW) as (left, heard), transport(HIGH, limits=QUICK) as (right, told):
        await right.connect(left.uris[0])
        for count in range(2, 5):
            await left.disconnect(right.node_id)
            await told.until(lambda sink, count=count: len(sink.connected) == count)
        assert_in_order(told)
        assert_in_order(heard)


async def test_a_peer_not_to_keep_is_not():
    async with transport(LOW) as (left, _), transport(HIGH, limits=QUICK) as (right, told):
        await right.connect(left.uris[0], keep=False)
        await left.disconnect(right.node_id)
        await told.until(lambda sink: sink.disconnected)
        await asyncio.sleep(0.2)
        assert len(told.connected) == 1


async def test_a_listener_that_comes_late_and_comes_back_is_found():
    port = free_port()
    uri = f"{LOW.public_key().hex()}@127.0.0.1:{port}"
    async with transport(HIGH, connect=[uri], limits=QUICK) as (_, told):
        await asyncio.sleep(0.05)
        assert told.events == []
        for count in (1, 2):
            async with transport(LOW, listen=[f"127.0.0.1:{port}"]):
                await told.until(lambda sink, count=count: len(sink.connected) == count)
            await told.until(lambda sink, count=count: len(sink.disconnected) == count)
        assert_in_order(told)


async def test_the_addresses_of_a_peer_are_tried_in_turn():
    async with transport(LOW) as (left, _):
        uris = [f"{left.node_id}@127.0.0.1:{free_port()}", f"{left.node_id}@no-such-host.invalid:1", left.uris[0]]
        async with transport(HIGH, connect=uris, limits=QUICK) as (_, told):
            await told.until(lambda sink: sink.connected)
            assert told.connected[0].address == left.uris[0].partition("@")[2]


async def test_an_attempt_that_fails_is_told_and_not_repeated():
    uri = f"{LOW.public_key().hex()}@127.0.0.1:{free_port()}"
    async with transport(HIGH, limits=QUICK) as (node, told):
        with pytest.raises(TransportError, match="refused"):
            await node.connect(uri)
        async with transport(LOW, listen=[uri.partition("@")[2]]):
            await asyncio.sleep(0.2)
        assert told.events == []


async def test_another_node_at_the_address_is_no_connection():
    async with transport(LOW) as (left, heard), transport(HIGH) as (right, told):
        address = left.uris[0].partition("@")[2]
        with pytest.raises(HandshakeFailed) as caught:
            await right.connect(f"{RAW_ID}@{address}")
        assert str(caught.value).startswith(f"{address}: ")
        assert str(caught.value).endswith(f"; is {RAW_ID} the node there?")
        assert (told.events, heard.events) == ([], [])


async def test_a_peer_that_is_not_dialed_any_more_is_disconnected_and_not_dialed_again():
    async with transport(LOW) as (left, _), transport(HIGH, limits=QUICK) as (right, told):
        await right.connect(left.uris[0])
        await right.stop_dialing(left.node_id, "enough of you")
        assert told.events[-1] == Disconnected(left.node_id, "enough of you")
        await asyncio.sleep(0.2)
        assert len(told.connected) == 1
        await right.stop_dialing(left.node_id)
        await right.connect(left.uris[0])
        assert len(told.connected) == 2


async def test_a_peer_behind_a_proxy_is_shown_by_its_own_address():
    """The socket's other end is the proxy, which is not worth telling."""
    async with transport(LOW) as (left, _):

        async def proxy(reader, writer):
            await reader.readexactly(3)
            writer.write(b"\x05\x00")
            await reader.readexactly(4 + 1 + len("xyz.onion") + 2)
            writer.write(b"\x05\x00\x00\x01" + bytes(6))
            there = await asyncio.open_connection("127.0.0.1", port_of(left))
            await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))

        async def pipe(reader, writer):
            while data := await reader.read(65536):
                writer.write(data)
            writer.close()

        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        async with transport(HIGH, proxy=f"{host}:{port}") as (right, told):
            await right.connect(f"{left.node_id}@xyz.onion")
            assert told.connected[0].address == "xyz.onion:19846", "regtest's port"
        server.close()
        await until(lambda: len(asyncio.all_tasks()) <= 2)


@pytest.mark.parametrize("stage", ["handshake", "init"])
async def test_a_dial_that_takes_too_long_names_the_limit_and_what_allows_more(stage):
    async def says_nothing(connection):
        await connection.read_message()
        await asyncio.Event().wait()

    async with contextlib.AsyncExitStack() as stack:
        if stage == "init":
            uri = await stack.enter_async_context(raw_listener(says_nothing))
        else:
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            uri = f"{RAW_ID}@127.0.0.1:{listening.getsockname()[1]}"
        limits = Bolt8Limits(connect_timeout=0.3)
        node, _ = await stack.enter_async_context(transport(LOW, limits=limits))
        with pytest.raises(TransportError) as caught:
            await node.connect(uri, keep=False)
        limit = "no connection within 0.3 s" if stage == "handshake" else "no init within 0.3 s"
        assert limit in str(caught.value)
        assert "--connect-timeout SECONDS, or connect_timeout of Bolt8Limits, allows more" in str(caught.value)


@pytest.mark.asyncio(loop_factories=["hurried"])
@pytest.mark.parametrize(("options", "seconds"), [({}, 10), ({"proxy": "127.0.0.1:{port}"}, 120)])
async def test_by_proxy_a_dial_may_take_as_long_as_tor_does(options, seconds):
    """A proxy that takes the connection and then looks for a circuit."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        options = {name: value.format(port=port) for name, value in options.items()}
        async with transport(LOW, **options) as (node, _):
            with pytest.raises(TransportError, match=f"no connection within {seconds} s: "):
                await node.connect(f"{RAW_ID}@127.0.0.1:{port}", keep=False)


@pytest.mark.asyncio(loop_factories=["asyncio"])  # uvloop looks names up by itself
async def test_a_name_is_dialed_at_each_of_its_addresses_and_looked_up_again_when_the_peer_is_lost(monkeypatch):
    real, asked = socket.getaddrinfo, []

    def look_up(host, port, *rest, **named):
        if host != "several.test":
            return real(host, port, *rest, **named)
        asked.append(port)
        return [one for address in ("127.0.0.2", "127.0.0.1") for one in real(address, port, *rest, **named)]

    async with transport(LOW) as (left, _):
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        uri = f"{left.node_id}@several.test:{port_of(left)}"
        async with transport(HIGH, connect=[uri], limits=QUICK) as (right, told):
            await until(lambda: told.connected)
            await left.disconnect(right.node_id)
            await until(lambda: len(told.connected) == 2)
            assert len(asked) >= 2


# The end


async def test_disconnect_says_why_to_the_sink_and_lets_what_was_sent_arrive():
    async with transport() as (node, sink), dialed(node) as peer:
        await sink.until(lambda sink: sink.connected)
        await node.send(RAW_ID, message(0x8C01, b"bye"))
        await node.disconnect(RAW_ID, "good-bye")
        assert await rest_of(peer) == [message(0x8C01, b"bye")]
        assert sink.events[-1] == Disconnected(RAW_ID, "good-bye")
        await node.disconnect(RAW_ID, "good-bye again")
        assert len(sink.events) == 2


async def test_our_last_warning_arrives_though_the_peer_had_sent_what_was_never_read():
    async with transport() as (node, sink), dialed(node) as peer:
        await sink.until(lambda sink: sink.connected)
        node.pause(RAW_ID)
        for _ in range(100):
            await peer.send_message(message(0x8C01, bytes(10_000)))
        node.warn(RAW_ID, "type 35842 is not known here")
        await node.disconnect(RAW_ID)
        (last,) = await rest_of(peer)
        assert hung_up(last) == "type 35842 is not known here"
        assert sink.payloads == []


async def test_aclose_ends_every_connection_with_an_event_each():
    async with transport(LOW) as (left, heard), transport(HIGH) as (right, told):
        await right.connect(left.uris[0])
        await heard.until(lambda sink: sink.connected)
        await asyncio.gather(right.aclose(), right.aclose())
        await right.aclose()
        assert told.events[1:] == [Disconnected(left.node_id, "closed by us")]
        await heard.until(lambda sink: sink.disconnected)
        assert right.peers == []
        with pytest.raises(PeerNotConnected):
            await right.send(left.node_id, message(0x8C01))


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20])
async def test_aclose_after_any_turn_of_a_dial_ends_it_and_leaves_nothing(turns):
    before = asyncio.all_tasks()
    async with transport(LOW) as (left, heard):
        async with transport(HIGH) as (right, told):
            dialing = asyncio.create_task(right.connect(left.uris[0]))
            await settle(turns)
            if turns == 0:
                await settle(1)
            await right.aclose()
            assert not right._all
            events = list(told.events)
            (result,) = await asyncio.gather(dialing, return_exceptions=True)
            if isinstance(result, Exception):
                assert isinstance(result, TransportError)
            await asyncio.sleep(0.01)
            assert told.events == events, "nothing is told after aclose"
            assert_in_order(told)
        await until(lambda: not left._all)
        assert_in_order(heard)
    await until(lambda: asyncio.all_tasks() == before)
    gc.collect()  # a transport left open warns when it is collected, and warnings are errors here


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20])
async def test_cancelling_connect_after_any_turn_leaves_nothing(turns):
    async with transport(LOW) as (left, heard), transport(HIGH) as (right, told):
        dialing = asyncio.create_task(right.connect(left.uris[0], keep=False))
        await settle(turns)
        dialing.cancel()
        await asyncio.wait([dialing])
        assert not right._dials
        if not right.peers:  # what has come about in the same turn stays
            await until(lambda: not right._all and not left._all)
        assert_in_order(told)
        await right.connect(left.uris[0])
        await heard.until(lambda sink: len(sink.connected) > len(sink.disconnected))


@pytest.mark.parametrize("kept", [False, True], ids=["once", "kept"])
async def test_aclose_while_a_silent_listener_is_dialed(kept):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"{LOW.public_key().hex()}@127.0.0.1:{silent.getsockname()[1]}"
        async with transport(HIGH, connect=[uri] * kept) as (node, told):
            dialing = asyncio.create_task(node.connect(uri))
            await asyncio.sleep(0.02)
            await node.aclose()
            with pytest.raises(ConnectionClosed, match="closed by us"):
                await dialing
            assert told.events == []
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_listener_that_never_sends_its_init_is_given_up():
    async def mute(connection):
        async for _ in connection:
            pass

    limits = Bolt8Limits(init_timeout=0.1)
    async with raw_listener(mute) as uri, transport(limits=limits) as (node, sink):
        with pytest.raises(ConnectionClosed, match="no init within "):
            await node.connect(uri)
        assert sink.events == []


async def test_an_honest_raw_peer_can_be_dialed():
    """The rules, driven by hand over a plain connection: what a peer written with oddwire.proto alone looks like."""

    async def handler(connection):
        rules = Bolt1(networks=[REGTEST], now=0.0)
        await connection.send_message(rules.start())
        async for payload in connection:
            rules.receive(payload, 0.0)
            for out in rules.outgoing():
                await connection.send_message(out)
            if payload[:2] == b"\x8c\x01":
                await connection.send_message(payload)

    async with raw_listener(handler) as uri, transport() as (node, sink):
        info = await node.connect(uri)
        assert info.node_id == RAW_ID
        await node.send(RAW_ID, message(0x8C01, b"echo"))
        await sink.until(lambda sink: sink.payloads)
        assert sink.payloads == [message(0x8C01, b"echo")]


# Strangers


def a_key(number):
    return PrivateKey(bytes([number]) * 32)


def id_of(key):
    return NodeId(key.public_key())


@contextlib.asynccontextmanager
async def crowd(node, keys):
    """Raw peers that have dialed ``node``, in this order, each connected before the next one comes."""
    async with contextlib.AsyncExitStack() as stack:
        peers = []
        for key in keys:
            peers.append(await stack.enter_async_context(dialed(node, key=key)))
            await until(lambda key=key: node.is_connected(id_of(key)) or peers[-1].closed)
        yield peers


async def test_strangers_cannot_have_the_places_that_are_kept():
    known = a_key(0x40)
    limits = Bolt8Limits(max_peers=8)
    async with (
        transport(limits=limits, known=lambda node_id: node_id == id_of(known)) as (node, _),
        crowd(node, [a_key(0x50 + number) for number in range(7)]),
    ):
        assert len(node.peers) == 7
        async with dialed(node, key=a_key(0x60)) as stranger:
            (last,) = await rest_of(stranger)
            assert hung_up(last) == "this node accepts no more than 8 peers"
        async with crowd(node, [known]):
            assert len(node.peers) == 8
            assert node.counters["max_peers"] == 1


async def test_a_known_peer_takes_the_place_of_a_stranger_when_there_is_no_other():
    known = [a_key(0x40), a_key(0x41)]
    limits = Bolt8Limits(max_peers=2, max_strangers=2)
    async with (
        transport(limits=limits, known=lambda node_id: node_id in map(id_of, known)) as (node, _),
        crowd(node, [a_key(0x50), a_key(0x51)]) as strangers,
        crowd(node, known),
    ):
        assert {info.node_id for info in node.peers} == {id_of(key) for key in known}
        for stranger in strangers:
            (last,) = await rest_of(stranger)
            assert hung_up(last) == "idle, and its place is needed"
        async with dialed(node, key=a_key(0x52)) as stranger:
            (last,) = await rest_of(stranger)
            assert hung_up(last) == "this node accepts no more than 2 peers"


async def test_whom_we_dial_always_has_a_place_and_a_kept_one_too_when_it_dials_us():
    ready = asyncio.Event()

    async def answer(connection):
        await connection.send_message(INIT)
        ready.set()
        async for _ in connection:
            pass

    async with (
        transport(limits=Bolt8Limits(max_peers=1)) as (node, _),
        crowd(node, [a_key(0x50)]) as (stranger,),
        raw_listener(answer) as uri,
    ):
        await node.connect(uri, keep=False)
        assert {info.node_id for info in node.peers} == {id_of(a_key(0x50)), RAW_ID}
        await node.disconnect(RAW_ID)
        async with crowd(node, [RAW]):
            assert {info.node_id for info in node.peers} == {RAW_ID}, "we had dialed it, so it is no stranger"
        await rest_of(stranger)


@pytest.mark.asyncio(loop_factories=["hurried"])
async def test_a_stranger_that_has_long_said_nothing_gives_its_place_to_a_new_one():
    limits = Bolt8Limits(max_peers=2, idle_seconds=60.0, ping_after=4000.0, ping_patience=4000.0, init_timeout=4.0)
    async with (
        transport(limits=limits) as (node, sink),
        crowd(node, [a_key(0x50), a_key(0x51)]) as (talker, idler),
    ):
        for _ in range(80):
            await talker.send_message(message(0x8C01))
            await asyncio.sleep(1.0)
        async with crowd(node, [a_key(0x52)]):
            (last,) = await rest_of(idler)
            assert hung_up(last) == "idle, and its place is needed"
            assert {info.node_id for info in node.peers} == {id_of(a_key(0x50)), id_of(a_key(0x52))}
            assert node.counters["idle_seconds"] == 1
            assert sink.disconnected


async def test_keepalive_is_not_talk():
    async with transport() as (node, sink), dialed(node) as peer:
        await sink.until(lambda sink: sink.connected)
        entry = node._peers[RAW_ID]
        entry.connection.spoke = False
        await peer.send_message(Ping(3).encode())
        assert await peer.read_message() == Pong(3).encode()
        assert not entry.connection.spoke
        await peer.send_message(message(0x8C01))
        await sink.until(lambda sink: sink.payloads)
        assert entry.connection.spoke
        entry.connection.spoke = False
        await node.send(RAW_ID, message(0x8C03))
        assert entry.connection.spoke


async def test_connections_that_are_closed_count_until_their_sockets_are_gone():
    async with transport(limits=Bolt8Limits(max_lingering=3)) as (node, _), contextlib.AsyncExitStack() as stack:
        for _ in range(8):  # the same peer anew and anew, and it does not see that its old ones are closed
            peer = await connect(RAW, node.node_id, "127.0.0.1", port_of(node))
            await peer.send_message(INIT)
            await until(lambda peer=peer: peer._inbox)
            peer.pause()
            stack.callback(peer.abort, "test over")
        await until(lambda: len(node._all) == 1)
        assert len(node._lingering) == 3
        assert node.counters["max_lingering"] == 4


@pytest.mark.asyncio(loop_factories=["hurried"])
async def test_a_peer_that_reads_nothing_is_given_up():
    limits = Bolt8Limits(write_patience=60.0)
    async with transport(limits=limits) as (node, sink), dialed(node) as peer:
        await sink.until(lambda sink: sink.connected)
        peer.pause()
        while node.send_nowait(RAW_ID, message(0x8C01, bytes(60_000))):
            await asyncio.sleep(0)
        node.pause(RAW_ID)  # as an application does whose handlers wait for their replies to go out
        await sink.until(lambda sink: sink.disconnected)
        assert sink.events[-1].reason == "the peer has read nothing for 60 s"


async def test_pings_and_notices_are_charged():
    async with transport() as (node, sink), dialed(node) as peer:
        await sink.until(lambda sink: sink.connected)
        share, charged = node._share, []
        share.settle = lambda connection, work, messages, size, wasted: charged.append((messages, wasted))
        for payload in (Ping(3).encode(), Notice("warning", "x").encode(), b"\x00", message(0x0102), Pong(1).encode()):
            await peer.send_message(payload)
        await until(lambda: sum(wasted for _, wasted in charged) == 5)
        assert all(messages == wasted for messages, wasted in charged)
        node.wasted(RAW_ID)
        node.wasted(NodeId(HIGH.public_key()))  # who is not connected is nobody's
        assert node._peers[RAW_ID].connection.wasted == 1


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"max_peers": 0}, "max_peers should be a number greater than 0, not 0"),
        ({"max_peers": 2.5}, "max_peers should be a whole number greater than 0, not 2.5"),
        ({"max_lingering": "3"}, "max_lingering should be a number greater than 0, not '3'"),
        ({"ping_after": -1.0}, "ping_after should be a number greater than 0, not -1.0"),
        ({"wasted_share": 2.0}, "wasted_share should be a number greater than 0 and at most 1, not 2.0"),
        ({"max_strangers": 0}, "max_strangers should be a number greater than 0, not 0"),
    ],
)
def test_limits_that_cannot_be(limits, why):
    with pytest.raises(ValueError, match=why):
        Bolt8Limits(**limits)


def test_limits_that_fit_descriptors():
    assert Bolt8Limits().fitting(10_000) == Bolt8Limits()
    for descriptors in (16, 100, 896, 5000):
        fitted = Bolt8Limits().fitting(descriptors)
        assert fitted.descriptors <= descriptors
        assert 1 <= fitted.max_peers < 4096
        assert fitted.max_peers >= descriptors // 2
    assert Bolt8Limits(max_peers=10, max_strangers=9).fitting(50).strangers == 9
