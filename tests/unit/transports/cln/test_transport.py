"""The transport against a node that does what the test says. What both sides of a real one do, the kit tests."""

from __future__ import annotations

import asyncio
import threading

import pytest

from oddwire.errors import (
    ConnectionClosed,
    EncodeError,
    NodeRefused,
    PayloadTooLarge,
    PeerNotConnected,
    TransportError,
)
from oddwire.proto.keys import NodeId
from oddwire.testing.sinks import Connected, Disconnected, Received, RecordingSink
from oddwire.transports.base import HostMethod, HostOption, Manifest, PeerInfo
from oddwire.transports.cln import ClnLimits, ClnTransport

PEER = "02" + "11" * 32
PEER_ID = NodeId(PEER)
MANIFEST = Manifest(type_ids=frozenset({0x8C01}))


def custommsg(number: int, payload: str, peer: str = PEER) -> bytes:
    return (
        f'{{"jsonrpc":"2.0","id":"cln:custommsg#{number}","method":"custommsg",'
        f'"params":{{"payload":"{payload}","peer_id":"{peer}"}}}}\n\n'
    ).encode()


CONTINUE = {"result": "continue"}


# The beginning


async def test_configure_then_open(node) -> None:
    transport = ClnTransport(stdin=node.fd, stdout=node.fd)
    manifest = Manifest(options=(HostOption(name="a", type="int", description=""),))
    introduced = asyncio.create_task(node.introduce({"a": 3, "b": 4}))
    assert await transport.configure(manifest) == {"a": 3}
    assert (await introduced)["options"] == [{"name": "a", "type": "int", "description": ""}]
    assert await transport.call("help") == ["help", {}]  # as startup hooks may
    assert "init" not in node.answers
    node.has_peer()
    sink = RecordingSink()
    await transport.open(manifest, sink)
    assert (await node.answer_to("init"))["result"] == {}
    assert sink.connected == [PeerInfo(node_id=PEER_ID, address="127.0.0.1:1", features=b"\x80")]
    assert str(transport.node_id) == "03" + "77" * 32
    assert transport.uris == [f"{transport.node_id}@127.0.0.1:9"]
    with pytest.raises(TransportError, match="opened before"):
        await transport.open(manifest, sink)
    await transport.aclose()
    with pytest.raises(TransportError, match="closed"):
        await transport.configure(manifest)


async def test_refused_while_starting(node) -> None:
    transport = ClnTransport(stdin=node.fd, stdout=node.fd)
    introduced = asyncio.create_task(node.introduce())
    await transport.configure(MANIFEST)
    await introduced
    transport.refuse("option a: too small")
    assert (await node.answer_to("init"))["result"] == {"disable": "option a: too small"}
    await transport.aclose()


async def test_refused_before_anything(node) -> None:
    transport = ClnTransport(stdin=node.fd, stdout=node.fd)
    transport.refuse("no such extension")
    closing = asyncio.create_task(transport.aclose())
    answer = await node.request("getmanifest", {})
    assert answer["result"] == {"disable": "no such extension"}
    await closing
    await transport.aclose()


async def test_refused_before_anything_and_the_node_ends(node) -> None:
    transport = ClnTransport(stdin=node.fd, stdout=node.fd)
    transport.refuse("no such extension")
    node.way.shutdown(1)
    await transport.aclose()


async def test_closed_while_starting_says_so(node) -> None:
    transport = ClnTransport(stdin=node.fd, stdout=node.fd)
    introduced = asyncio.create_task(node.introduce())
    await transport.configure(MANIFEST)
    await introduced
    await transport.aclose()
    assert "disable" in (await node.answer_to("init"))["result"]


async def test_configure_cancelled(node) -> None:
    transport = ClnTransport(stdin=node.fd, stdout=node.fd)
    configuring = asyncio.create_task(transport.configure(MANIFEST))
    await node.request("getmanifest", {})
    configuring.cancel()
    await asyncio.wait([configuring])
    assert configuring.cancelled()
    await transport.aclose()


async def test_closed_before_configure(node) -> None:
    transport = ClnTransport(stdin=node.fd, stdout=node.fd)
    await transport.aclose()
    transport.finish()
    with pytest.raises(PeerNotConnected):
        await transport.send(PEER_ID, b"\x8c\x01")


@pytest.mark.parametrize("how", ["shutdown", "end", "half", "garbage"])
async def test_the_node_ends_before_init(node, how: str) -> None:
    reasons: list[str] = []
    transport = ClnTransport(stdin=node.fd, stdout=node.fd, on_stop=reasons.append)
    configuring = asyncio.create_task(transport.configure(MANIFEST))
    await node.request("getmanifest", {})
    if how == "shutdown":
        await node.tell("shutdown", {"shutdown": {}})
    elif how == "garbage":
        await node.write(b"Segmentation fault }")
    else:
        await node.write(b'{"jsonrpc":' if how == "half" else b"")
        node.way.shutdown(1)
    with pytest.raises(ConnectionClosed) as caught:
        await configuring
    assert reasons == [str(caught.value)]
    assert ("middle" in reasons[0]) is (how == "half")
    await transport.aclose()


async def test_a_node_that_does_not_say_who_it_is(node) -> None:
    node.methods["getinfo"] = lambda params: {"id": "me"}
    transport = ClnTransport(stdin=node.fd, stdout=node.fd)
    introduced = asyncio.create_task(node.introduce())
    with pytest.raises(TransportError, match="id and peers cannot be fetched"):
        await transport.open(MANIFEST, RecordingSink())
    await introduced


async def test_an_old_node_is_heard_by_the_hook(node) -> None:
    transport = ClnTransport(stdin=node.fd, stdout=node.fd, receive="notification", version="v23.11")
    introduced = asyncio.create_task(node.introduce())
    await transport.open(MANIFEST, RecordingSink())
    manifest = await introduced
    assert transport.receive == "hook"
    assert manifest["hooks"] == [{"name": "custommsg", "filters": [0x8C01]}]
    await node.until(lambda: node.log)
    assert "v23.11" in node.log[0]
    await transport.aclose()


async def test_by_default_an_old_node_is_heard_by_the_hook_without_a_word(node) -> None:
    transport = ClnTransport(stdin=node.fd, stdout=node.fd, version="v23.11")
    introduced = asyncio.create_task(node.introduce())
    await transport.open(MANIFEST, RecordingSink())
    assert (await introduced)["hooks"] == [{"name": "custommsg", "filters": [0x8C01]}]
    await transport.aclose()
    assert node.log == []


async def test_by_default_a_new_node_tells_and_waits_for_nothing(node, opened) -> None:
    transport, sink = await opened(receive=None)
    assert transport.receive == "notification"
    await node.connects()
    await node.tell("custommsg", {"custommsg": {"peer_id": PEER, "payload": "8c01aa"}})
    await node.ask("custommsg", {"peer_id": PEER, "payload": "8c01bb"}, "a hook that was not claimed")
    assert (await node.answer_to("a hook that was not claimed"))["result"] == {"result": "continue"}
    await node.tell("custommsg", {"custommsg": {"peer_id": PEER, "payload": "8c01cc"}})
    await sink.until(lambda sink: len(sink.payloads) == 2)
    assert [bytes(payload) for payload in sink.payloads] == [b"\x8c\x01\xaa", b"\x8c\x01\xcc"]


# Messages


async def test_messages_before_connect_wait_for_it(node, opened) -> None:
    _, sink = await opened()
    node.has_peer()
    node.peers[PEER]["connected"] = False
    await node.write(custommsg(1, "8c0101"))
    assert (await node.answer_to("cln:custommsg#1"))["result"] == CONTINUE
    await node.connects()
    await node.write(custommsg(2, "8c0102"))
    await sink.until(lambda sink: len(sink.payloads) == 2)
    assert [type(event) for event in sink.events] == [Connected, Received, Received]


async def test_messages_after_disconnect_have_a_session(node, opened) -> None:
    _, sink = await opened()
    await node.connects()
    await sink.until(lambda sink: sink.connected)
    await node.disconnects()
    await node.write(custommsg(1, "8c0101"))
    await sink.until(lambda sink: len(sink.disconnected) == 2)
    assert [type(event) for event in sink.events] == [Connected, Disconnected, Connected, Received, Disconnected]
    assert sink.connected[1] == sink.connected[0]


async def test_notifications_of_old_nodes_are_flat(node, opened) -> None:
    _, sink = await opened()
    node.has_peer()
    await node.tell("connect", {"id": PEER, "direction": "out"})
    await sink.until(lambda sink: sink.connected)
    node.peers.clear()
    await node.tell("disconnect", {"id": PEER})
    await sink.until(lambda sink: sink.disconnected)


async def test_notifications_that_cannot_be_read_are_survived(node, opened, caplog) -> None:
    _, sink = await opened()
    for params in (None, [], {}, {"connect": 3}, {"id": "xx"}, {"connect": {"id": None}}):
        await node.tell("connect", params)
    await node.connects()
    await sink.until(lambda sink: sink.connected)
    assert caplog.text.count("cannot be read") == 6


async def test_answers_come_whatever_the_loop_does(node, opened) -> None:
    """A handler that blocks the loop: seen from a thread, for the loop is blocked."""
    _, sink = await opened()
    await node.connects()
    await sink.until(lambda sink: sink.connected)
    answered = threading.Event()
    blocking = node.way.dup()

    def from_outside() -> None:
        blocking.setblocking(True)
        blocking.sendall(custommsg(1, "8c01"))
        if b'"cln:custommsg#1","result":{"result":"continue"}' in blocking.recv(65536):
            answered.set()

    node._reader.cancel()
    await asyncio.wait([node._reader])
    thread = threading.Thread(target=from_outside)
    thread.start()
    assert answered.wait(20)  # this blocks the loop
    thread.join()
    blocking.setblocking(False)
    blocking.close()
    await sink.until(lambda sink: sink.payloads)


async def test_what_a_blocked_loop_does_not_take_is_counted(node, opened, caplog) -> None:
    transport, sink = await opened(limits=ClnLimits(held_total=100_000))
    await node.connects()
    await sink.until(lambda sink: sink.connected)
    node._reader.cancel()
    await asyncio.wait([node._reader])
    way = node.way.dup()
    way.setblocking(True)
    with way:
        for number in range(100):  # the loop is busy with this
            way.sendall(custommsg(number, "8c01" + f"{number:04x}" * 1000))
            assert b'"continue"' in way.recv(65536)
    way.close()
    node.way.setblocking(False)
    while len(sink.payloads) + transport.dropped.total < 100:
        await asyncio.sleep(0.01)
    numbers = [int.from_bytes(payload[2:4], "big") for payload in sink.payloads]
    assert numbers == sorted(set(numbers))
    assert transport.dropped.total > 0
    assert transport.dropped.peers == {PEER_ID: transport.dropped.total}
    await node.write(custommsg(100, "8c01ff"))
    await sink.until(lambda sink: sink.payloads[-1] == b"\x8c\x01\xff")
    assert caplog.messages[-1] == f"{transport.dropped.total} messages of {PEER} had to be dropped"


# Sending


async def up(node, opened, **options):
    transport, sink = await opened(**options)
    await node.connects()
    await sink.until(lambda sink: sink.connected)
    return transport, sink


async def test_what_is_refused_before_the_node_is_asked(node, opened) -> None:
    transport, _ = await up(node, opened)
    for size in (0, 1):
        with pytest.raises(EncodeError):
            await transport.send(PEER_ID, bytes(size))
    with pytest.raises(PayloadTooLarge):
        await transport.send(PEER_ID, bytes(65536))
    with pytest.raises(EncodeError, match=r"0x0010.*WIRE_INIT") as caught:
        await transport.send(PEER_ID, b"\x00\x10")
    assert caught.value.type_id == 16
    assert node.sent == []
    await transport.send(PEER_ID, b"\x00\x07peer storage")
    assert node.sent == [(PEER, b"\x00\x07peer storage")]


@pytest.mark.parametrize("text", ["No such peer: 02", "Peer is not connected"])
async def test_the_node_does_not_know_the_peer(node, opened, text: str) -> None:
    transport, _ = await up(node, opened)
    node.methods["sendcustommsg"] = lambda params: _refuse(text, -32600)
    with pytest.raises(PeerNotConnected) as caught:
        await transport.send(PEER_ID, b"\x8c\x01")
    assert caught.value.node_id == PEER


async def test_the_node_refuses(node, opened) -> None:
    transport, _ = await up(node, opened)
    node.methods["sendcustommsg"] = lambda params: _refuse("no", -7)
    with pytest.raises(NodeRefused, match="no") as caught:
        await transport.send(PEER_ID, b"\x8c\x01")
    assert caught.value.code == -7


def _refuse(text: str, code: int) -> None:
    raise NodeRefused(text, code=code)


async def test_the_socket_drops_and_comes_back(node, opened) -> None:
    transport, _ = await up(node, opened)
    node.gate.clear()
    sending = asyncio.create_task(transport.send(PEER_ID, b"\x8c\x01"))
    await node.until(lambda: ("sendcustommsg", {"node_id": PEER, "msg": "8c01"}) in node.asked)
    for connection in list(node.server.connections):
        connection.abort()
    with pytest.raises(ConnectionClosed):
        await sending
    node.gate.set()
    await transport.send(PEER_ID, b"\x8c\x01again")
    assert node.sent[-1] == (PEER, b"\x8c\x01again")


async def test_sends_keep_their_order_and_cancelled_ones_are_not_sent(node, opened) -> None:
    transport, _ = await up(node, opened, limits=ClnLimits(rate=None, depth=2))
    node.gate.clear()
    tasks = [asyncio.create_task(transport.send(PEER_ID, b"\x8c\x01" + bytes([number]))) for number in range(10)]
    await node.until(lambda: len([name for name, _ in node.asked if name == "sendcustommsg"]) == 2)
    for number in (4, 7):
        tasks[number].cancel()
    node.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [payload[2] for _, payload in node.sent] == [0, 1, 2, 3, 5, 6, 8, 9]


async def test_a_disconnect_ends_waiting_sends(node, opened) -> None:
    transport, sink = await up(node, opened, limits=ClnLimits(rate=1, burst=65535))
    await transport.send(PEER_ID, b"\x8c\x01" + bytes(65000))
    waiting = asyncio.create_task(transport.send(PEER_ID, b"\x8c\x01" + bytes(65000)))
    await asyncio.sleep(0)
    await node.disconnects()
    with pytest.raises(ConnectionClosed):
        await waiting
    await sink.until(lambda sink: sink.disconnected)
    with pytest.raises(PeerNotConnected):
        await transport.send(PEER_ID, b"\x8c\x01")


async def test_one_peers_pace_is_not_anothers(node, opened) -> None:
    other = "02" + "22" * 32
    transport, sink = await up(node, opened, limits=ClnLimits(rate=1, burst=65535))
    await node.connects(other)
    await sink.until(lambda sink: len(sink.connected) == 2)
    await transport.send(PEER_ID, b"\x8c\x01" + bytes(65000))
    waiting = asyncio.create_task(transport.send(PEER_ID, b"\x8c\x01" + bytes(65000)))
    await asyncio.sleep(0)
    for number in range(100):
        await transport.send(NodeId(other), b"\x8c\x01" + bytes([number]))
    assert not waiting.done()
    assert len(node.sent) == 101
    waiting.cancel()
    await asyncio.wait([waiting])


# The node's commands


async def test_connect_waits_until_the_peer_was_told_of(node, opened) -> None:
    transport, sink = await opened()

    def connect(params) -> dict:
        node.has_peer()
        return {"id": PEER, "features": "80", "direction": "out"}

    node.methods["connect"] = connect
    info = await transport.connect(f"{PEER}@127.0.0.1:1")
    assert sink.connected == [info]
    assert (await transport.connect(f"{PEER}@127.0.0.1:1")) is transport._directory._table.info(PEER_ID)
    await node.connects()
    await node.disconnects()
    await sink.until(lambda sink: sink.disconnected)
    assert len(sink.connected) == 1


async def test_connected_and_gone(node, opened) -> None:
    transport, sink = await opened()
    node.methods["connect"] = lambda params: {"id": PEER}
    connecting = asyncio.create_task(transport.connect(f"{PEER}@127.0.0.1:1"))
    await node.until(lambda: ("listpeers", [PEER]) in node.asked)
    await node.disconnects()
    with pytest.raises(ConnectionClosed):
        await connecting
    assert sink.events == []


async def test_calls_and_disconnect(node, opened) -> None:
    transport, _ = await opened()
    assert await transport.call("listpeerchannels", {"id": 3}) == ["listpeerchannels", {"id": 3}]
    node.gate.clear()
    with pytest.raises(TimeoutError):
        await transport.call("wait", timeout=0.01)
    node.gate.set()
    await transport.disconnect(PEER_ID, "enough")
    assert node.asked[-1] == ("disconnect", [PEER, True])
    node.methods["disconnect"] = lambda params: _refuse("Peer not connected", -1)
    await transport.disconnect(PEER_ID, "enough")


async def test_call_before_configure(node) -> None:
    transport = ClnTransport(stdin=node.fd, stdout=node.fd)
    with pytest.raises(TransportError, match="init"):
        await transport.call("getinfo")
    await transport.disconnect(PEER_ID)
    transport.pause(PEER_ID)
    transport.resume(PEER_ID)
    await transport.aclose()


async def test_methods_wait_for_open_and_end_with_it(node) -> None:
    forever = asyncio.Event()

    async def call(params):
        if params == ["wait"]:
            await forever.wait()
        return {"got": params}

    method = HostMethod(name="quote", usage="", description="", call=call, check=lambda params: None)
    manifest = Manifest(rpc_methods=(method,))
    transport = ClnTransport(stdin=node.fd, stdout=node.fd)
    introduced = asyncio.create_task(node.introduce())
    await transport.configure(manifest)
    await introduced
    await node.ask("quote", ["early"], "early")
    await transport.open(manifest, RecordingSink())
    assert (await node.answer_to("early"))["result"] == {"got": ["early"]}
    await node.ask("quote", ["wait"], "late")
    assert (await node.request("quote", {}, 17))["result"] == {"got": {}}
    await transport.aclose()
    assert (await node.answer_to("late"))["error"]["code"] == -4


# The end


@pytest.mark.parametrize("how", ["shutdown", "end"])
async def test_the_node_wants_us_to_end(node, opened, how: str) -> None:
    reasons: list[str] = []
    _, sink = await opened(on_stop=reasons.append)
    if how == "shutdown":
        await node.tell("shutdown", {"shutdown": {}})
    else:
        node.way.shutdown(1)
    await sink.until(lambda sink: sink.stopped)
    assert sink.stopped == reasons
    assert len(reasons) == 1


async def test_the_node_wants_us_to_end_while_we_open(node) -> None:
    transport = ClnTransport(stdin=node.fd, stdout=node.fd)
    introduced = asyncio.create_task(node.introduce())
    await transport.configure(MANIFEST)
    await introduced
    await node.tell("shutdown", {})
    await node.write(custommsg(1, "8c01"))
    await node.answer_to("cln:custommsg#1")
    sink = RecordingSink()
    node.has_peer()
    await transport.open(MANIFEST, sink)
    await sink.until(lambda sink: sink.payloads and sink.stopped)
    assert sink.stopped == ["the node shuts us down"]
    await transport.aclose()


async def test_hooks_are_answered_after_aclose_if_it_lingers(node, opened) -> None:
    transport, sink = await up(node, opened, linger=True)
    await transport.aclose()
    assert sink.disconnected == [PEER_ID]
    await node.write(custommsg(1, "8c01"))
    assert (await node.answer_to("cln:custommsg#1"))["result"] == CONTINUE
    assert (await node.request("quote", {}, 1))["error"]["code"] == -4
    transport.log("info", "still here")
    transport.finish()
    await node.until(lambda: "still here" in node.log)
    assert sink.payloads == []
