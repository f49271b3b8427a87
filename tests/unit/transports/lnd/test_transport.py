"""`LndTransport` on scripted LNDs: sending, receiving, connecting, calling, closing."""

import asyncio
import base64
import gc
import logging
import traceback

import pytest
from tests.support.lnd import Refusal
from tests.support.lnd.macaroons import bake, uris
from tests.support.loopback import settle
from tests.support.waiting import until

from oddwire.errors import ConnectionClosed, EncodeError, NodeRefused, PeerNotConnected, TransportError
from oddwire.proto.keys import NodeId
from oddwire.testing.sinks import Connected, RecordingSink
from oddwire.transports.base import Manifest, PeerInfo
from oddwire.transports.host import HostTransport
from oddwire.transports.lnd import LndTransport

PEER = NodeId("02" + "11" * 32)
HELLO = b"\x8c\x01hello"


def payloads_sent(lnd):
    sent = [request for name, request in lnd.calls if name == "SendCustomMessage"]
    return [request["type"].to_bytes(2, "big") + base64.b64decode(request["data"]) for request in sent]


# Start


async def test_the_node_of_lnd(lnd, opened):
    transport, sink = await opened(lnd)
    assert isinstance(transport, HostTransport)
    assert transport.shared
    assert transport.node_id == lnd.node_id
    assert transport.uris == []
    assert transport.address == lnd.address
    assert sink.events == []


async def test_configure_then_open(lnd, make):
    transport = make(lnd)
    assert await transport.configure(Manifest()) == {}
    assert transport.node_id == lnd.node_id
    assert (await transport.call("GetInfo"))["identity_pubkey"] == str(lnd.node_id)
    assert not lnd.count("SubscribeCustomMessages")
    with pytest.raises(TransportError, match="configured before"):
        await transport.configure(Manifest())
    await transport.open(Manifest(), RecordingSink())
    with pytest.raises(TransportError, match="opened before"):
        await transport.open(Manifest(), RecordingSink())


async def test_subscribes_before_it_lists_and_tells_who_is_connected(lnd, opened):
    lnd.add_peer(PEER, address="10.0.0.1:50000", inbound=True, features=frozenset({0, 513}))
    transport, sink = await opened(lnd)
    [connected] = sink.events
    assert connected.info == PeerInfo(
        node_id=PEER, address="10.0.0.1:50000", direction="in", features=(1 << 513 | 1).to_bytes(65, "big")
    )
    names = [name for name, _ in lnd.calls]
    assert names.index("ListPeers") > max(names.index("SubscribeCustomMessages"), names.index("SubscribePeerEvents"))
    assert transport.dropped.total == 0


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"address": "https://localhost:8080"}, ValueError, "without https://"),
        ({"network": "litecoin"}, ValueError, "mainnet, testnet"),
        ({"connect": "02@host"}, TypeError, "list of URIs"),
        ({"connect": ["02@host"]}, ValueError, "66 hex digits"),
        ({"connect": [f"{PEER}@ws://host:80"]}, ValueError, "by TCP"),
        ({"limits": 3}, TypeError, "LndLimits"),
        ({"start_timeout": -1}, ValueError, "0 or more, or None"),
    ],
)
def test_arguments_that_make_no_sense(options, error, text):
    with pytest.raises(error, match=text):
        LndTransport(**options)


# Sending


async def test_a_stranger_and_lengths_are_refused_without_a_call(lnd, opened):
    lnd.add_peer(PEER)
    transport, _ = await opened(lnd)
    with pytest.raises(PeerNotConnected):
        await transport.send(NodeId("03" + "11" * 32), HELLO)
    for size in (0, 1, 65536):
        with pytest.raises(EncodeError):
            await transport.send(PEER, bytes(size))
    assert payloads_sent(lnd) == []
    assert not transport.send_nowait(PEER, HELLO)


async def test_one_call_a_peer_keeps_the_order(lnd, opened):
    other_peer = NodeId("03" + "11" * 32)
    lnd.overtakes = True
    for peer in (PEER, other_peer):
        lnd.add_peer(peer)
    transport, _ = await opened(lnd)
    gate = asyncio.Event()
    lnd.script("SendCustomMessage", gate)
    sent = [b"\x8c\x01%d" % number for number in range(4)]
    sending = [asyncio.create_task(transport.send(PEER, payload)) for payload in sent]
    await until(lambda: payloads_sent(lnd) == sent[:1])
    await transport.send(other_peer, HELLO)  # another peer's does not wait
    assert payloads_sent(lnd) == [sent[0], HELLO]
    gate.set()
    await asyncio.gather(*sending)
    assert payloads_sent(lnd) == [sent[0], HELLO, *sent[1:]]


async def test_cancelled_while_it_waits_it_is_not_sent_and_in_flight_it_is(lnd, opened):
    lnd.add_peer(PEER)
    transport, _ = await opened(lnd)
    gate = asyncio.Event()
    lnd.script("SendCustomMessage", gate)
    sent = [b"\x8c\x01%d" % number for number in range(3)]
    first, second, third = (asyncio.create_task(transport.send(PEER, payload)) for payload in sent)
    await until(lambda: lnd.count("SendCustomMessage"))
    for task in (first, second):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await settle()
    assert payloads_sent(lnd) == [sent[0]]
    gate.set()
    await third
    assert payloads_sent(lnd) == [sent[0], sent[2]]


@pytest.mark.parametrize(
    ("code", "text", "error", "said"),
    [
        (2, "peer exiting", ConnectionClosed, "peer exiting"),
        (14, "connection reset", ConnectionClosed, "has gone"),
        (5, "peer is not connected", PeerNotConnected, str(PEER)),
        (2, "permission denied", NodeRefused, "lncli bakemacaroon .*SendCustomMessage"),
        (8, "too many", NodeRefused, "too many"),
    ],
)
async def test_what_lnd_answers_to_a_send(lnd, opened, code, text, error, said):
    lnd.add_peer(PEER)
    transport, sink = await opened(lnd)
    lnd.script("SendCustomMessage", Refusal(code, text))
    with pytest.raises(error, match=said) as caught:
        await transport.send(PEER, HELLO)
    assert type(caught.value) is error
    if isinstance(caught.value, NodeRefused):
        assert caught.value.code == code
    await transport.send(PEER, HELLO)
    assert not sink.disconnected


async def test_a_type_that_lnd_does_not_send(lnd, opened):
    lnd.add_peer(PEER)
    transport, _ = await opened(lnd)
    with pytest.raises(EncodeError, match=r"protocol.custom-message=17 there") as caught:
        await transport.send(PEER, b"\x00\x11hello")
    assert caught.value.type_id == 17


async def test_a_peer_that_lnd_does_not_find_is_asked_about(lnd, opened):
    lnd.add_peer(PEER)
    transport, sink = await opened(lnd)
    lnd.tells_events = False
    lnd.remove_peer(PEER)
    with pytest.raises(PeerNotConnected):
        await transport.send(PEER, HELLO)
    await sink.until(lambda sink: sink.disconnected)


async def test_what_waits_fails_when_the_peer_is_gone(lnd, opened):
    lnd.add_peer(PEER)
    transport, sink = await opened(lnd)
    gate = asyncio.Event()
    lnd.script("SendCustomMessage", gate)
    first, second = (asyncio.create_task(transport.send(PEER, HELLO)) for _ in range(2))
    await until(lambda: lnd.count("SendCustomMessage"))
    lnd.remove_peer(PEER)
    await sink.until(lambda sink: sink.disconnected)
    with pytest.raises(ConnectionClosed, match="disconnected"):
        await second
    gate.set()
    with pytest.raises(PeerNotConnected):
        await first
    assert lnd.count("SendCustomMessage") == 1


# Connecting


async def test_connect_waits_until_the_peer_is_ready(lnd, other, opened):
    transport, sink = await opened(lnd)
    info = await transport.connect(other.uri)
    assert info == sink.connected[0]
    assert info.node_id == other.node_id
    assert await transport.connect(other.uri) == info
    assert lnd.count("ConnectPeer") == 1
    request = next(request for name, request in lnd.calls if name == "ConnectPeer")
    assert request["addr"] == {"pubkey": str(other.node_id), "host": other.host}
    assert request["perm"] is False


async def test_connect_to_one_that_is_connected_already_and_not_told_yet(lnd, other, opened):
    transport, _ = await opened(lnd)
    lnd.tells_events = False
    lnd.join(other)
    assert (await transport.connect(other.uri)).node_id == other.node_id


@pytest.mark.parametrize(
    ("uri", "error", "text"),
    [
        (f"{PEER}@127.0.0.1:1", NodeRefused, "connection refused"),
        ("nonsense", ValueError, "node_id@host:port"),
        (f"{PEER}@ws://127.0.0.1:1", ValueError, "by TCP"),
    ],
)
async def test_connect_fails(lnd, opened, uri, error, text):
    transport, _ = await opened(lnd)
    with pytest.raises(error, match=text):
        await transport.connect(uri)


async def test_connect_to_one_that_leaves_in_its_handshake(lnd, opened):
    transport, _ = await opened(lnd)
    lnd.tells_events = False
    lnd.script("ConnectPeer", {"status": "initiated"})
    lnd.add_peer(PEER, features=frozenset())
    connecting = asyncio.create_task(transport.connect(f"{PEER}@127.0.0.1:1"))
    await until(lambda: lnd.count("ListPeers") > 1)
    lnd.remove_peer(PEER)
    lnd.tell(PEER, online=False)
    with pytest.raises(ConnectionClosed, match="during its handshake"):
        await connecting


async def test_a_cancelled_connect_is_forgotten(lnd, opened):
    transport, _ = await opened(lnd)
    lnd.script("ConnectPeer", {"status": "initiated"})
    connecting = asyncio.create_task(transport.connect(f"{PEER}@127.0.0.1:1"))
    await until(lambda: lnd.count("ListPeers") > 1)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    for _ in range(20):  # calls take longer than the first waits between questions
        await transport.call("GetInfo")
    assert lnd.count("ListPeers") <= 3


async def test_connect_and_disconnect_need_permissions(lnd, opened):
    (lnd.macaroons / "few.macaroon").write_bytes(
        bake(
            lnd.root_key,
            uris("SendCustomMessage", "SubscribeCustomMessages", "SubscribePeerEvents", "ListPeers", "GetInfo"),
        )
    )
    transport, _ = await opened(lnd, macaroon="few")
    with pytest.raises(NodeRefused, match=r"does not permit ConnectPeer; .*lncli bakemacaroon .*ConnectPeer"):
        await transport.connect(f"{PEER}@127.0.0.1:1")
    with pytest.raises(NodeRefused, match=r"does not permit DisconnectPeer; .*lncli bakemacaroon .*DisconnectPeer"):
        await transport.disconnect(PEER)


async def test_disconnect(lnd, other, opened, caplog):
    transport, sink = await opened(lnd)
    await transport.disconnect(PEER, "nobody")
    await transport.connect(other.uri)
    await transport.disconnect(other.node_id, "enough")
    await sink.until(lambda sink: sink.disconnected)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_peers_that_are_kept(lnd, other, opened):
    transport, sink = await opened(lnd, connect=[other.uri])
    await sink.until(lambda sink: sink.connected)
    await transport.disconnect(other.node_id)
    await sink.until(lambda sink: len(sink.connected) == 2)
    lnd.part(other)
    await sink.until(lambda sink: len(sink.connected) == 3)


async def test_lnd_is_not_to_connect_to_itself(lnd, opened):
    with pytest.raises(TransportError, match=f"connect: {lnd.uri} is this LND itself"):
        await opened(lnd, connect=[lnd.uri])


async def test_a_peer_that_is_kept_is_tried_until_it_is_there(lnd, other, opened, caplog):
    caplog.set_level("INFO", logger="oddwire.transports.lnd")
    await other.kill()
    _, sink = await opened(lnd, connect=[other.uri])
    await until(lambda: lnd.count("ConnectPeer") >= 2)
    assert "connection refused; trying again in" in caplog.text
    await other.start()
    await sink.until(lambda sink: sink.connected)


# Calls


async def test_calls_of_lnd(lnd, opened):
    lnd.add_peer(PEER)
    transport, _ = await opened(lnd)
    [peer] = (await transport.call("ListPeers", {"latest_error": True}))["peers"]
    assert peer["pub_key"] == str(PEER)
    data = base64.b64encode(b"hi").decode()
    await transport.call("SendCustomMessage", {"peer": base64.b64encode(PEER).decode(), "type": 40001, "data": data})
    assert payloads_sent(lnd) == [b"\x9c\x41hi"]


@pytest.mark.parametrize(
    ("method", "params", "code", "text"),
    [
        ("getinfo", None, 12, "LND calls it GetInfo; the calls of LND that can be made are ConnectPeer, "),
        ("ListPeers", {"latest": True}, 3, "latest"),
        ("SendCustomMessage", {"type": 40001, "data": base64.b64encode(bytes(65534)).decode()}, 3, "65533 bytes"),
        ("DisconnectPeer", {"pub_key": str(PEER)}, 2, "is not connected"),
    ],
)
async def test_calls_that_are_refused(lnd, opened, method, params, code, text):
    transport, _ = await opened(lnd)
    made = len(lnd.calls)
    with pytest.raises(NodeRefused, match=text) as caught:
        await transport.call(method, params)
    assert caught.value.code == code
    assert len(lnd.calls) == made + (code == 2)


async def test_a_call_that_takes_too_long(lnd, opened):
    transport, _ = await opened(lnd)
    lnd.script("GetInfo", asyncio.Event())
    with pytest.raises(TimeoutError, match=r"not answered GetInfo in 0.05 s"):
        await transport.call("GetInfo", timeout=0.05)


async def test_before_and_after(lnd, make):
    transport = make(lnd)
    with pytest.raises(ConnectionClosed, match="not connected yet"):
        await transport.call("GetInfo")
    with pytest.raises(TransportError, match="open the transport"):
        await transport.connect(f"{PEER}@host:1")
    with pytest.raises(PeerNotConnected):
        await transport.send(PEER, HELLO)
    await transport.disconnect(PEER)
    transport.pause(PEER)
    transport.resume(PEER)
    await transport.aclose()
    with pytest.raises(ConnectionClosed, match="closed by us"):
        await transport.call("GetInfo")
    with pytest.raises(TransportError, match="or closed"):
        await transport.configure(Manifest())
    with pytest.raises(TransportError, match="or closed"):
        await transport.open(Manifest(), RecordingSink())


# The secret


async def test_nothing_shows_the_macaroon(lnd, opened, caplog):
    """Neither logs nor errors nor texts of objects, whatever happens."""
    caplog.set_level("DEBUG")
    lnd.add_peer(PEER)
    transport, sink = await opened(lnd, manifest=Manifest(features=frozenset({901})), macaroon="admin")
    errors = []
    for code, text in ((2, "permission denied"), (2, "verification failed: signature mismatch"), (8, "no")):
        lnd.script("SendCustomMessage", Refusal(code, text))
        lnd.script("GetInfo", Refusal(code, text))
        for work in (transport.send(PEER, HELLO), transport.call("GetInfo")):
            with pytest.raises(TransportError) as caught:
                await work
            errors.append("".join(traceback.format_exception(caught.value)))
    await lnd.restart()
    await sink.until(lambda sink: sink.disconnected)
    await until(lambda: "is back" in caplog.text)
    shown = [repr(thing) for thing in gc.get_objects() if type(thing).__module__.startswith("oddwire.transports.lnd")]
    said = "\n".join([*errors, *shown, *(logging.Formatter().format(record) for record in caplog.records)])
    for macaroon in lnd.macaroons.glob("*.macaroon"):
        raw = macaroon.read_bytes()
        for spelled in (raw.hex(), raw.hex()[-64:], base64.b64encode(raw).decode(), repr(raw)[2:-1], repr(raw[-32:])):
            assert spelled not in said
    assert "permits more than oddwire needs" in said
    assert isinstance(sink.events[0], Connected)
