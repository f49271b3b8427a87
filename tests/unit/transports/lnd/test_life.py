"""`LndTransport` on a scripted LND that is not there, not ready, ends, freezes, returns, or is another one."""

import asyncio
import contextlib
import logging

import pytest
from tests.support.lnd import Refusal, ScriptedLnd
from tests.support.lnd.macaroons import bake, uris
from tests.support.waiting import until

from oddwire.errors import ConnectionClosed, PeerNotConnected, TransportError
from oddwire.proto.keys import NodeId
from oddwire.testing.sinks import Connected, Disconnected, RecordingSink
from oddwire.transports.base import Manifest
from oddwire.transports.lnd import LndTransport
from oddwire.transports.lnd.client import LndClient
from oddwire.transports.lnd.probe import find_fault

PEER = NodeId("02" + "11" * 32)
HELLO = b"\x8c\x01hello"


@pytest.fixture(autouse=True)
def log(caplog):
    """Texts logged so far, from INFO on."""
    caplog.set_level("INFO", logger="oddwire.transports.lnd")
    return caplog


def texts(log):
    return [record.getMessage() for record in log.records if record.name == "oddwire.transports.lnd"]


def kinds(sink):
    return [type(event).__name__ for event in sink.events]


# Waiting


async def test_each_state_is_waited_for_and_told_once(tmp_path, make, log):
    async with ScriptedLnd(tmp_path, state="WAITING_TO_START") as lnd:
        transport = make(lnd)
        configuring = asyncio.create_task(transport.configure(Manifest()))
        for state, said in (
            ("WAITING_TO_START", "LND waits until it may start"),
            ("NON_EXISTING", "no wallet; make one with lncli create; waiting"),
            ("LOCKED", "wallet locked; unlock it with lncli unlock; waiting"),
            ("UNLOCKED", "wallet unlocked, and LND is starting; waiting"),
        ):
            lnd.set_state(state)
            await until(lambda said=said: said in log.text)
            asked = lnd.count("GetState")
            await until(lambda asked=asked: lnd.count("GetState") > asked + 2)
            assert log.text.count(said) == 1
            assert texts(log)[-1].startswith(f"LND at {lnd.address}: ")
        assert not configuring.done()
        lnd.set_state("SERVER_ACTIVE")
        assert await configuring == {}
        assert transport.node_id == lnd.node_id


@pytest.mark.parametrize("call", ["GetState", "GetInfo", "SubscribeCustomMessages", "SubscribePeerEvents", "ListPeers"])
@pytest.mark.parametrize("code", [1, 4, 8, 10, 13])
async def test_what_grpc_or_a_proxy_answers_is_waited_out(lnd, make, log, call, code):
    lnd.script(call, Refusal(code, "stream terminated by RST_STREAM"))
    await make(lnd).open(Manifest(), RecordingSink())
    assert texts(log)[0].endswith("; waiting")


@pytest.mark.parametrize("info", [{}, {"identity_pubkey": "02"}])
async def test_one_that_does_not_say_which_node_it_is(lnd, make, opened, log, info):
    lnd.script("GetInfo", info)
    with pytest.raises(TransportError, match="is no LND, as it does not say which node it is: node id should be"):
        await make(lnd).configure(Manifest())
    lnd.script("GetInfo", lnd._info({}), info)  # while it is subscribed to
    with pytest.raises(TransportError, match="is no LND"):
        await make(lnd).open(Manifest(), RecordingSink())
    _, sink = await opened(lnd)
    lnd.script("GetInfo", info)
    await lnd.restart()
    await until(lambda: f"LND at {lnd.address} is back" in texts(log))
    assert "which node it is" in log.text
    assert sink.events == []


async def test_a_call_that_is_not_served_yet_is_waited_for(lnd, make, log):
    lnd.script("GetInfo", Refusal(2, "wallet locked, unlock it to enable full RPC access"))
    await make(lnd).configure(Manifest())
    assert any("wallet locked, unlock it" in text for text in texts(log))


async def test_while_lnd_waits_for_its_chain_it_is_open_without_peers(tmp_path, opened, log):
    async with ScriptedLnd(tmp_path, state="RPC_ACTIVE") as lnd:
        _, sink = await opened(lnd)
        assert "it waits for its chain" in log.text
        lnd.set_state("SERVER_ACTIVE")
        await until(lambda: lnd.subscribers("SubscribePeerEvents"))
        lnd.add_peer(PEER)
        await sink.until(lambda sink: sink.connected)


async def test_an_lnd_that_is_not_there_is_waited_for(lnd, make, log):
    await lnd.kill()
    transport = make(lnd)
    configuring = asyncio.create_task(transport.configure(Manifest()))
    await until(lambda: "is not running: nothing listens there; waiting" in log.text)
    await lnd.start()
    await configuring
    assert len(texts(log)) == 1


async def test_an_lnd_that_came_between_two_looks_is_tried_again_at_once(lnd, make, log, monkeypatch):
    await lnd.kill()

    async def look(*arguments, **options):
        await lnd.start()
        return await find_fault(*arguments, **options)

    monkeypatch.setattr("oddwire.transports.lnd.client.find_fault", look)
    await make(lnd).configure(Manifest())
    assert texts(log) == []


async def test_what_grpc_says_is_told_of_one_that_accepts_and_refuses(lnd, make, log):
    lnd.script("SubscribeState", *[Refusal(14, "overloaded")] * 2)
    await make(lnd).configure(Manifest())
    assert texts(log) == [f"LND at {lnd.address} cannot be reached: overloaded; waiting"]


async def test_it_is_waited_for_no_longer_than_asked(lnd, make):
    lnd.set_state("LOCKED")
    transport = make(lnd, start_timeout=0.3)
    async with nothing_left_of_ours():
        with pytest.raises(TransportError, match=r"in vain for 0.3 s: LND at .*: wallet locked; unlock it"):
            await transport.open(Manifest(), RecordingSink())
    await lnd.kill()
    with pytest.raises(TransportError, match=r"in vain for 0 s"):
        await make(lnd, start_timeout=0).configure(Manifest())


# What waiting does not mend


async def test_another_certificate(lnd, other, make):
    transport = LndTransport(lnd.address, tlscert=other.tlscert, macaroon=lnd.macaroons / "oddwire.macaroon")
    with pytest.raises(TransportError, match=r"certificate of LND .* is not"):
        await transport.configure(Manifest())
    await transport.aclose()


async def test_another_nodes_macaroon(lnd, other):
    transport = LndTransport(lnd.address, tlscert=lnd.tlscert, macaroon=other.macaroons / "oddwire.macaroon")
    with pytest.raises(TransportError, match=r"does not accept the macaroon .*oddwire lnd macaroon"):
        await transport.configure(Manifest())
    await transport.aclose()


@pytest.mark.parametrize("connect", [(), (f"{PEER}@host:1",)])
async def test_a_macaroon_that_permits_too_little(lnd, make, connect):
    with pytest.raises(TransportError, match=r"permit SendCustomMessage.*this line makes one.*--save_to") as caught:
        await make(lnd, macaroon="readonly", connect=connect).configure(Manifest())
    assert ("ConnectPeer" in str(caught.value)) is bool(connect)


async def test_a_macaroon_whose_list_lnd_does_not_accept(lnd, make):
    lnd.script("ListPeers", Refusal(2, "permission denied"))
    with pytest.raises(TransportError, match="does not permit ListPeers; this line makes one"):
        await make(lnd).open(Manifest(), RecordingSink())


async def test_what_lnd_does_not_permit_any_more_is_waited_for(lnd, opened, log):
    lnd.add_peer(PEER)
    _, sink = await opened(lnd)
    await lnd.kill()
    lnd.add_peer(PEER)
    lnd.script("ListPeers", Refusal(2, "permission denied"))
    await lnd.start()
    await sink.until(lambda sink: len(sink.connected) == 2)
    assert "the macaroon does not permit ListPeers" in log.text
    assert sink.stopped == []


@pytest.mark.parametrize(("macaroon", "warns"), [("oddwire", False), ("admin", True)])
async def test_a_macaroon_that_permits_too_much_is_told_once(lnd, opened, log, macaroon, warns):
    _, sink = await opened(lnd, macaroon=macaroon)
    lnd.add_peer(PEER)
    await sink.until(lambda sink: sink.connected)
    await lnd.restart()
    await until(lambda: "is back" in log.text)
    assert log.text.count("permits more than oddwire needs: address:write") == warns


async def test_no_macaroon_where_none_is_asked_for(tmp_path):
    async with ScriptedLnd(tmp_path, no_macaroons=True) as lnd:
        transport = LndTransport(lnd.address, tlscert=lnd.tlscert)
        await transport.open(Manifest(), RecordingSink())
        await transport.aclose()


# Features


async def test_feature_bits_that_lnd_does_not_offer(tmp_path, make, log):
    async with ScriptedLnd(tmp_path, features=frozenset({0, 512})) as lnd:
        await make(lnd).configure(Manifest(features=frozenset({513})))
        assert texts(log) == []
        await make(lnd).configure(Manifest(features=frozenset({513, 901, 903})))
        [text] = texts(log)
        assert text.startswith(
            "peers do not see feature bits 901, 903, as LND offers no such: put protocol.custom-init=901"
        )
        assert text.endswith("and protocol.custom-init=903 into lnd.conf, and restart LND")


# Ends


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_lnd_ends_and_returns(lnd, opened, log, end):
    lnd.add_peer(PEER)
    transport, sink = await opened(lnd)
    lnd.script("SendCustomMessage", asyncio.Event())
    first, second = (asyncio.create_task(transport.send(PEER, HELLO)) for _ in range(2))
    await until(lambda: lnd.count("SendCustomMessage"))
    await getattr(lnd, end)()
    await sink.until(lambda sink: sink.disconnected)
    for sending in (first, second):
        with pytest.raises(ConnectionClosed):
            await sending
    reason = sink.events[1].reason
    assert lnd.address in reason
    with pytest.raises(PeerNotConnected):
        await transport.send(PEER, HELLO)
    with pytest.raises(ConnectionClosed, match="LND at"):
        await transport.call("GetInfo")
    with pytest.raises(ConnectionClosed, match="LND at"):
        await transport.connect(f"{PEER}@host:1")
    await transport.disconnect(PEER)
    await lnd.start()
    lnd.add_peer(PEER)
    await sink.until(lambda sink: len(sink.connected) == 2)
    await transport.send(PEER, HELLO)
    lnd.deliver(PEER, 0x8C01, b"")
    await sink.until(lambda sink: sink.payloads)
    assert kinds(sink) == ["Connected", "Disconnected", "Connected", "Received"]
    assert sink.stopped == []
    said = texts(log)
    assert said[0] == f"{reason}: its peers are gone until it is back"
    assert said[-1] == f"LND at {lnd.address} is back"
    waits = [text for text in said if text.endswith("; waiting")]
    assert len(waits) == len(set(waits))


async def test_what_was_staged_and_held_is_told_before_lnd_is_gone(lnd, opened):
    lnd.add_peer(PEER)
    transport, sink = await opened(lnd)
    transport.pause(PEER)
    stranger = NodeId("03" + "22" * 32)
    gate = asyncio.Event()
    lnd.script("ListPeers", gate)
    lnd.deliver(PEER, 0x8C01, b"held")
    lnd.deliver(stranger, 0x8C01, b"staged")
    await until(lambda: lnd.count("ListPeers") == 2)
    await lnd.kill()
    await sink.until(lambda sink: sink.disconnected)
    assert [event for event in sink.events if isinstance(event, Connected)][1].info.node_id == stranger
    assert sink.payloads == [b"\x8c\x01staged"]
    transport.resume(PEER)
    await sink.until(lambda sink: len(sink.disconnected) == 2)
    assert sink.payloads == [b"\x8c\x01staged", b"\x8c\x01held"]


async def test_a_frozen_lnd_is_noticed(lnd, opened):
    lnd.add_peer(PEER)
    transport, sink = await opened(lnd)
    await transport.aclose()
    transport = LndTransport(lnd.address, lnddir=lnd.folder, network="regtest")
    transport._make_client = lambda: LndClient(lnd.credentials(), keepalive=2)  # seconds, not half a minute
    sink = RecordingSink()
    await transport.open(Manifest(), sink)
    sending = asyncio.create_task(transport.send(PEER, HELLO))
    await sending
    lnd.freeze()
    sending = asyncio.create_task(transport.send(PEER, HELLO))
    await sink.until(lambda sink: sink.disconnected)
    with pytest.raises(ConnectionClosed):
        await sending
    lnd.thaw()
    await sink.until(lambda sink: len(sink.connected) == 2)
    await transport.aclose()


async def test_a_renewed_certificate_and_macaroon_are_read_anew(lnd, opened):
    lnd.add_peer(PEER)
    _, sink = await opened(lnd)
    await lnd.kill()
    lnd.root_key = b"another" * 4
    lnd.renew_certificate()
    lnd.add_peer(PEER)
    await lnd.start()
    await sink.until(lambda sink: len(sink.connected) == 2)


async def test_files_that_do_not_fit_any_more_are_waited_for(lnd, opened, log):
    lnd.add_peer(PEER)
    _, sink = await opened(lnd)
    await lnd.kill()
    old = lnd.tlscert.read_bytes()
    lnd.renew_certificate()
    new = lnd.tlscert.read_bytes()
    lnd.tlscert.write_bytes(old)
    few = bake(lnd.root_key, uris("GetInfo"))
    permitted = (lnd.macaroons / "oddwire.macaroon").read_bytes()
    lnd.add_peer(PEER)
    await lnd.start()
    await until(lambda: "certificate of LND" in log.text)
    (lnd.macaroons / "oddwire.macaroon").write_bytes(few)
    lnd.tlscert.write_bytes(new)
    await until(lambda: "does not permit SendCustomMessage" in log.text)
    (lnd.macaroons / "oddwire.macaroon").write_bytes(permitted)
    await sink.until(lambda sink: len(sink.connected) == 2)
    assert sink.stopped == []


async def test_another_node_at_its_address_is_the_end(lnd, opened, log):
    lnd.add_peer(PEER)
    transport, sink = await opened(lnd)
    known, lnd.node_id = lnd.node_id, PEER
    await lnd.restart()
    await until(lambda: sink.stopped)
    assert sink.stopped == [f"LND at {lnd.address} is another node now: {PEER}, and was {known}"]
    assert kinds(sink) == ["Connected", "Disconnected"]
    assert log.records[-1].levelno == logging.ERROR
    with pytest.raises(ConnectionClosed):
        await transport.call("GetInfo")


async def test_a_stream_that_ends_alone_ends_all(lnd, opened):
    lnd.add_peer(PEER)
    _, sink = await opened(lnd)
    lnd.end_events()
    await sink.until(lambda sink: len(sink.connected) == 2)
    assert sink.events[1] == Disconnected(PEER, f"LND at {lnd.address} is stopping")


async def test_lost_between_configure_and_open(lnd, make):
    transport, sink = make(lnd), RecordingSink()
    await transport.configure(Manifest())
    await lnd.restart()
    lnd.add_peer(PEER)
    await transport.open(Manifest(), sink)
    await sink.until(lambda sink: sink.connected)


async def test_peers_that_are_kept_return_with_lnd(lnd, other, opened, log):
    _, sink = await opened(lnd, connect=[other.uri])
    await sink.until(lambda sink: sink.connected)
    await lnd.kill()
    await sink.until(lambda sink: sink.disconnected)
    await until(lambda: "nothing listens there; waiting" in log.text)
    await lnd.start()
    await sink.until(lambda sink: len(sink.connected) == 2)
    assert not [text for text in texts(log) if "trying again" in text]


# Closing


@contextlib.asynccontextmanager
async def nothing_left_of_ours():
    """Check that no task, timer or connection of the block outlives it, but the task of the double's next call."""
    loop = asyncio.get_running_loop()
    before, timers = asyncio.all_tasks(), set(getattr(loop, "_scheduled", ()))
    yield
    servers = "AioServer._request_call"
    await until(lambda: all(task.get_coro().__qualname__ == servers for task in asyncio.all_tasks() - before))
    assert not [timer for timer in getattr(loop, "_scheduled", ()) if not timer.cancelled() and timer not in timers]


async def settled(transport):
    async with asyncio.timeout(10):
        await asyncio.gather(transport.aclose(), transport.aclose())
        await transport.aclose()


@pytest.mark.parametrize("state", ["LOCKED", "gone", "frozen", "RPC_ACTIVE", "SERVER_ACTIVE"])
@pytest.mark.parametrize("way", ["aclose", "cancel"])
async def test_closed_while_it_starts(lnd, make, state, way):
    if state == "gone":
        await lnd.kill()
    elif state == "frozen":
        lnd.freeze()
    else:
        lnd.set_state(state)
    gate = asyncio.Event()
    lnd.script("ListPeers", gate)
    transport, sink = make(lnd), RecordingSink()
    async with nothing_left_of_ours():
        opening = asyncio.create_task(transport.open(Manifest(), sink))
        if state == "SERVER_ACTIVE":
            await until(lambda: lnd.count("ListPeers"))
        else:
            await asyncio.sleep(0.05)
        if way == "cancel":
            opening.cancel()
        await settled(transport)
        with pytest.raises(asyncio.CancelledError if way == "cancel" else ConnectionClosed):
            await opening
        lnd.thaw()
    assert sink.events == []


async def test_closed_while_lnd_is_lost(lnd, opened, log):
    lnd.add_peer(PEER)
    transport, sink = await opened(lnd)
    await lnd.kill()
    await until(lambda: "nothing listens there; waiting" in log.text)
    async with nothing_left_of_ours():
        await settled(transport)
    assert kinds(sink) == ["Connected", "Disconnected"]


async def test_closing_goes_on_when_who_waits_for_it_is_cancelled(lnd, opened):
    lnd.add_peer(PEER)
    transport, sink = await opened(lnd)
    gate = asyncio.Event()
    lnd.script("SendCustomMessage", gate)
    sending = asyncio.create_task(transport.send(PEER, HELLO))
    await until(lambda: lnd.count("SendCustomMessage"))
    async with nothing_left_of_ours():
        closing = asyncio.create_task(transport.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        gate.set()
        await sending
        await transport.aclose()
    assert kinds(sink) == ["Connected", "Disconnected"]


async def test_closed_accepted_messages_go_out(lnd, opened):
    lnd.add_peer(PEER)
    transport, sink = await opened(lnd)
    gate = asyncio.Event()
    lnd.script("SendCustomMessage", gate)
    sending = [asyncio.create_task(transport.send(PEER, HELLO)) for _ in range(3)]
    await until(lambda: lnd.count("SendCustomMessage"))
    closing = asyncio.create_task(transport.aclose())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with pytest.raises(PeerNotConnected):
        await transport.send(PEER, HELLO)
    gate.set()
    await closing
    await asyncio.gather(*sending)
    assert lnd.count("SendCustomMessage") == 3
    assert sink.events[-1] == Disconnected(PEER, "closed by us")
    assert PEER in lnd.peers
    assert not lnd.count("DisconnectPeer")


async def test_closed_what_does_not_go_out_in_time_is_given_up(lnd, opened):
    lnd.add_peer(PEER)
    transport, _ = await opened(lnd)
    lnd.script("SendCustomMessage", asyncio.Event())
    connecting = asyncio.create_task(transport.connect(f"{NodeId('03' + '22' * 32)}@host:1"))
    first, second = (asyncio.create_task(transport.send(PEER, HELLO)) for _ in range(2))
    await until(lambda: lnd.count("SendCustomMessage"))
    async with nothing_left_of_ours():
        await settled(transport)
        for work in (first, second):
            with pytest.raises(ConnectionClosed, match="closed by us"):
                await work
        with pytest.raises(TransportError):
            await connecting
