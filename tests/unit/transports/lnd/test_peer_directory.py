"""Peers and their messages as a scripted LND tells them: staged, told, asked for, held."""

from tests.support.lnd import Refusal
from tests.support.loopback import settle
from tests.support.waiting import until

from oddwire.proto.keys import NodeId
from oddwire.testing.sinks import Disconnected
from oddwire.transports.lnd import LndLimits

PEER = NodeId("02" + "11" * 32)


async def test_other_types_are_dropped_at_once(lnd, opened):
    lnd.add_peer(PEER)
    _, sink = await opened(lnd)
    for type_id in (0x8C03, 0x8C02, 0xFFFF, 0x8C01):
        lnd.deliver(PEER, type_id, b"")
    lnd.deliver(NodeId("03" + "11" * 32), 0x8C03, b"")
    await sink.until(lambda sink: len(sink.payloads) == 2)
    assert sink.payloads == [b"\x8c\x02", b"\x8c\x01"]
    assert lnd.count("ListPeers") == 1


async def test_messages_before_online_are_staged(lnd, opened):
    _, sink = await opened(lnd)
    lnd.tells_events = False
    lnd.add_peer(PEER, features=frozenset())
    for number in range(3):
        lnd.deliver(PEER, 0x8C01, b"%d" % number)
    await until(lambda: lnd.count("ListPeers") == 3)  # asked again, as the peer is in its handshake
    assert sink.events == []
    lnd.peers[PEER].features = frozenset({1})
    await sink.until(lambda sink: len(sink.payloads) == 3)
    lnd.tell(PEER, online=True)
    await settle()
    assert [type(event).__name__ for event in sink.events] == ["Connected", *["Received"] * 3]
    assert sink.payloads == [b"\x8c\x010", b"\x8c\x011", b"\x8c\x012"]


async def test_a_message_after_offline_is_told_with_a_brief_connection(lnd, opened):
    lnd.add_peer(PEER)
    _, sink = await opened(lnd)
    lnd.remove_peer(PEER)
    await sink.until(lambda sink: sink.disconnected)
    lnd.deliver(PEER, 0x8C01, b"last")
    await sink.until(lambda sink: len(sink.disconnected) == 2)
    assert [type(event).__name__ for event in sink.events[2:]] == ["Connected", "Received", "Disconnected"]


async def test_a_new_connection_of_a_peer_that_is_told(lnd, opened):
    _, sink = await opened(lnd)
    lnd.add_peer(PEER)
    await sink.until(lambda sink: sink.connected)
    lnd.add_peer(PEER)
    await sink.until(lambda sink: len(sink.connected) == 2)
    lnd.tell(PEER, online=False)  # of the first, late
    await until(lambda: lnd.count("ListPeers") == 4)
    lnd.deliver(PEER, 0x8C01, b"")
    await sink.until(lambda sink: sink.payloads)
    assert [type(event).__name__ for event in sink.events] == ["Connected", "Disconnected", "Connected", "Received"]
    assert sink.events[1] == Disconnected(PEER, "connected anew")


async def test_a_burst_of_events_is_few_questions(lnd, opened):
    _, sink = await opened(lnd)
    peers = [NodeId(bytes([2, number]) + bytes(31)) for number in range(50)]
    for peer in peers:
        lnd.add_peer(peer)
    await sink.until(lambda sink: len(sink.connected) == 50)
    assert lnd.count("ListPeers") < 25


async def test_a_list_that_fails_is_asked_for_again(lnd, opened, caplog):
    _, sink = await opened(lnd)
    lnd.script("ListPeers", Refusal(2, "not now"))
    lnd.add_peer(PEER)
    await sink.until(lambda sink: sink.connected)
    assert "LND does not list its peers: not now" in caplog.text


async def test_a_paused_peer_is_held_and_what_is_too_much_is_counted(lnd, opened):
    lnd.add_peer(PEER)
    transport, sink = await opened(lnd, limits=LndLimits(held=3000))
    transport.pause(PEER)
    for number in range(10):
        lnd.deliver(PEER, 0x8C01, bytes([number]) * 900)
    await until(lambda: transport.dropped.total == 7)
    assert transport.dropped.peers == {PEER: 7}
    assert sink.payloads == []
    transport.resume(PEER)
    await sink.until(lambda sink: len(sink.payloads) == 3)
    assert [payload[2] for payload in sink.payloads] == [0, 1, 2]


async def test_a_sink_that_raises_is_logged(lnd, opened, caplog):
    lnd.add_peer(PEER)
    _, sink = await opened(lnd)

    def fail(peer, payload):
        sink.on_payload = None
        raise RuntimeError("this sink raises")

    sink.on_payload = fail
    lnd.deliver(PEER, 0x8C01, b"1")
    lnd.deliver(PEER, 0x8C01, b"2")
    await sink.until(lambda sink: len(sink.payloads) == 2)
    assert "the sink raised over a payload" in caplog.text
