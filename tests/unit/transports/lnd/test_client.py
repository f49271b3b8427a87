from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import threading
import traceback

import pytest
from tests.support.lnd import Refusal, ScriptedLnd
from tests.support.lnd.macaroons import bake
from tests.support.lnd.sending import send
from tests.support.waiting import until

from oddwire.transports.lnd.client import LndClient
from oddwire.transports.lnd.credentials import LndCredentials
from oddwire.transports.lnd.errors import LndError, LndRefused, LndUnavailable


@contextlib.asynccontextmanager
async def connected(credentials, **options):
    client = LndClient(credentials, **options)
    await client.connect()
    try:
        yield client
    finally:
        await client.aclose()


@pytest.fixture
async def lnd(tmp_path):
    async with ScriptedLnd(tmp_path / "alice") as node:
        yield node


@pytest.fixture
async def other(tmp_path):
    async with ScriptedLnd(tmp_path / "bob", "bob") as node:
        yield node


@pytest.fixture
async def client(lnd):
    async with connected(lnd.credentials()) as made:
        yield made


# Calls


async def test_a_call_is_as_in_json(lnd, client):
    info = await client.call("GetInfo")
    assert info["identity_pubkey"] == str(lnd.node_id)
    assert info["chains"] == [{"chain": "bitcoin", "network": "regtest"}]
    assert info["features"]["5"] == {"name": "unknown", "is_required": False, "is_known": True}


async def test_the_peers(lnd, other, client):
    lnd.join(other)
    [peer] = await client.peers()
    assert (peer.node_id, peer.address, peer.direction) == (other.node_id, other.host, "out")
    assert {0, 5} < peer.features
    assert lnd.calls[-1] == ("ListPeers", {"latest_error": True})


async def test_the_state_needs_no_macaroon(tmp_path):
    async with (
        ScriptedLnd(tmp_path, state="LOCKED") as lnd,
        connected(LndCredentials(lnd.address, tlscert=lnd.tlscert)) as client,
    ):
        assert await client.state() == "LOCKED"
        lnd.set_state("RPC_ACTIVE")
        assert await client.state() == "RPC_ACTIVE"


async def test_before_lnd_is_ready_its_error_is_told(tmp_path):
    async with ScriptedLnd(tmp_path, state="LOCKED") as lnd, connected(lnd.credentials()) as client:
        with pytest.raises(LndError) as caught:
            await client.call("GetInfo")
    assert str(caught.value) == "wallet locked, unlock it to enable full RPC access (gRPC status 2)"


async def test_messages_come_as_they_were_sent(lnd, other, client):
    lnd.join(other)
    async with connected(other.credentials()) as receiver:
        messages = receiver.custom_messages()
        await receiver.call("GetInfo")
        sent = [(32768, b""), (65535, b"\xff"), (40001, bytes(65533)), (33793, b"hi")]
        for type_id, data in sent:
            await send(client, other.node_id, type_id, data)
        for type_id, data in sent:
            assert await anext(messages) == (lnd.node_id, type_id.to_bytes(2, "big") + data)


async def test_calls_at_once_may_overtake_one_another(lnd, other, client):
    lnd.join(other)
    lnd.overtakes = True
    async with connected(other.credentials()) as receiver:
        messages = receiver.custom_messages()
        await receiver.call("GetInfo")
        first = asyncio.ensure_future(send(client, other.node_id, 40001, b"1"))
        await until(lambda: lnd.count("SendCustomMessage"))
        await asyncio.gather(first, send(client, other.node_id, 40001, b"2"))
        assert [(await anext(messages))[1][2:] for _ in range(2)] == [b"2", b"1"]


async def test_a_message_whose_call_is_cancelled_or_closed_ends_all_the_same(lnd, other):
    lnd.join(other)
    lnd.script("SendCustomMessage", asyncio.Event(), asyncio.Event())
    ends = []
    async with connected(lnd.credentials()) as client:
        call = client.post_custom_message(other.node_id, 40001, b"1", ends.append)
        await until(lambda: lnd.count("SendCustomMessage"))
        call.cancel()
        await until(lambda: ends)
        assert isinstance(ends.pop(), LndError)
        client.post_custom_message(other.node_id, 40001, b"2", ends.append)
        await until(lambda: lnd.count("SendCustomMessage") == 2)
    await until(lambda: ends)
    assert isinstance(ends.pop(), LndUnavailable)
    assert str(client.post_custom_message(other.node_id, 40001, b"3", ends.append).cancel()) == "False"
    assert ends == []  # not before it returns
    await until(lambda: ends)
    assert isinstance(ends.pop(), LndUnavailable)


async def test_events_of_peers(lnd, other, client):
    events = client.peer_events()
    await client.call("GetInfo")
    lnd.join(other)
    lnd.part(other)
    assert [await anext(events), await anext(events)] == [(other.node_id, True), (other.node_id, False)]


@pytest.mark.parametrize(
    ("method", "request_", "code", "text"),
    [
        ("getinfo", {}, 12, "getinfo is unknown; calls are ConnectPeer, DisconnectPeer, GetInfo, GetState, ListPeers,"),
        ("SubscribePeerEvents", {}, 12, "SubscribePeerEvents is a stream"),
        ("ListPeers", {"latest": True}, 3, "ListPeers: has no field 'latest'; did you mean latest_error?"),
        ("ConnectPeer", {"addr": {"pubkey": 1}}, 3, "ConnectPeer: addr: pubkey: should be text, not 1"),
        ("DisconnectPeer", {"pub_key": "02"}, 2, "unable to disconnect peer: peer 02 is not connected"),
        ("DisconnectPeer", {"pub_key": "\x1b"}, 2, "unable to disconnect peer: peer \\x1b is not connected"),
    ],
)
async def test_errors_of_calls(method, request_, code, text, client):
    with pytest.raises(LndError) as caught:
        await client.call(method, request_)
    assert caught.value.code == code
    assert caught.value.text.startswith(text)


async def test_a_call_that_takes_too_long(lnd, client):
    lnd.script("GetInfo", asyncio.Event())
    with pytest.raises(LndError) as caught:
        await client.call("GetInfo", timeout=0.05)
    assert (caught.value.code, caught.value.text) == (4, "LND has not answered GetInfo in time")
    assert await client.state() == "SERVER_ACTIVE"


async def test_a_call_that_is_cancelled_leaves_the_connection_as_it_is(lnd, client):
    lnd.script("GetInfo", asyncio.Event())
    call = asyncio.ensure_future(client.call("GetInfo"))
    await until(lambda: lnd.count("GetInfo"))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await client.call("GetInfo")


async def test_an_answer_that_cannot_be_read(lnd, client):
    lnd.script("ListPeers", {"raw": b"\x0a\x05\x0a"})
    with pytest.raises(LndError) as caught:
        await client.peers()
    assert (caught.value.code, caught.value.text) == (
        15,
        "LND's answer to ListPeers cannot be read: list of peers ends within field 1, which has 5 bytes",
    )


async def test_a_long_answer_does_not_stop_the_loop(lnd, client, caplog):
    peers = [{"pub_key": "02"}, {"pub_key": str(lnd.node_id), "features": {bit: {} for bit in range(1, 40001, 2)}}]
    lnd.script("ListPeers", {"peers": peers}, {"peers": peers})
    [peer] = await client.peers()
    assert len(peer.features) == 20000
    [record] = caplog.records
    assert record.thread != threading.get_ident(), "another thread has read it"
    assert (await client.call("ListPeers"))["peers"][0]["pub_key"] == "02"


async def test_a_message_that_cannot_be_read_is_logged_and_the_next_one_comes(lnd, client, caplog):
    messages = client.custom_messages()
    await client.call("GetInfo")
    lnd.publish("SubscribeCustomMessages", {"type": 40001})
    lnd.deliver(lnd.node_id, 40001, b"x")
    assert await anext(messages) == (lnd.node_id, b"\x9c\x41x")
    assert "SubscribeCustomMessages what cannot be read, which is dropped: node id should be" in caplog.text


# Macaroons


async def test_a_macaroon_that_lnd_does_not_accept(lnd, tmp_path):
    file = tmp_path / "our.macaroon"
    file.write_bytes(bake(b"another's key", {"info": ["read"]}))
    text = "verification failed: signature mismatch after caveat verification"
    async with connected(LndCredentials(lnd.address, tlscert=lnd.tlscert, macaroon=file)) as client:
        with pytest.raises(LndRefused) as caught:
            await client.call("GetInfo")
    assert caught.value.reason == (
        f"LND does not accept the macaroon {file}: {text}; it is another LND's, has expired or was revoked: make one by"
        " the line of `oddwire lnd macaroon`"
    )


async def test_a_macaroon_that_does_not_permit_a_call(lnd):
    async with connected(lnd.credentials("readonly")) as client:
        assert client.macaroon.lacking() == ["SendCustomMessage"]
        with pytest.raises(LndError, match="permission denied"):
            await send(client, lnd.node_id, 40001, b"")
        assert await client.call("GetInfo")


async def test_no_macaroon_where_one_is_wanted(lnd):
    async with connected(LndCredentials(lnd.address, tlscert=lnd.tlscert)) as client:
        with pytest.raises(LndRefused, match="LND wants a macaroon: give its file"):
            await client.call("GetInfo")


async def test_no_macaroon_where_none_is_wanted(tmp_path):
    async with ScriptedLnd(tmp_path, no_macaroons=True) as lnd:
        (lnd.macaroons / "admin.macaroon").unlink()
        for credentials in (
            LndCredentials(lnd.address, tlscert=lnd.tlscert),
            LndCredentials(lnd.address, lnddir=lnd.folder, network="regtest"),
        ):
            async with connected(credentials) as client:
                assert await client.call("GetInfo")


async def test_a_macaroon_that_is_not_there(lnd):
    with pytest.raises(LndRefused) as caught:
        await LndClient(lnd.credentials("none")).connect()
    assert caught.value.reason == (
        f"macaroon {lnd.macaroons}/none.macaroon: no such file; LND makes admin.macaroon when the wallet is made, and"
        " `oddwire lnd macaroon` prints the line that makes one for oddwire alone"
    )


async def test_a_macaroon_that_is_made_with_the_wallet(tmp_path):
    async with ScriptedLnd(tmp_path, state="NON_EXISTING") as lnd:
        file = lnd.macaroons / "oddwire.macaroon"
        whole = file.read_bytes()
        file.unlink()
        async with connected(lnd.credentials()) as client:
            lnd.set_state("SERVER_ACTIVE")
            with pytest.raises(LndRefused, match="no such file"):
                await client.call("GetInfo")
            file.write_bytes(whole)
            assert await client.call("GetInfo")
            assert client.macaroon is not None


async def test_the_macaroon_is_in_no_log_error_or_repr(lnd, other, caplog):
    caplog.set_level(logging.DEBUG)
    client = LndClient(lnd.credentials())
    shown = [repr(client), repr(client.credentials)]
    await client.connect()
    shown += [repr(client), repr(vars(client)), repr(client.macaroon)]
    for failing in (
        client.call("GetInfo", {"x": 1}),
        send(client, other.node_id, 17, b""),
        send(client, other.node_id, 40001, b""),
    ):
        with pytest.raises(LndError) as caught:
            await failing
        full = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        shown.append("".join(full.format()))
    lnd.script("GetInfo", asyncio.Event())
    call = asyncio.ensure_future(client.call("GetInfo"))
    await until(lambda: lnd.count("GetInfo"))
    shown += [repr(call), repr(asyncio.all_tasks())]
    await lnd.kill()
    with pytest.raises(LndUnavailable) as lost:
        await call
    shown.append("".join(traceback.TracebackException.from_exception(lost.value, capture_locals=True).format()))
    await client.aclose()
    secret = (lnd.macaroons / "oddwire.macaroon").read_bytes()[-32:].hex()
    assert not [text for text in (*shown, caplog.text) if secret in text]


# Connections


@contextlib.asynccontextmanager
async def no_call_left():
    """Check that no task of the client's, or of its calls, outlives the block; the double has tasks of its own."""
    yield
    await until(
        lambda: not [task for task in asyncio.all_tasks() if "Call." in repr(task) or "LndClient" in repr(task)]
    )


async def test_nobody_listens(lnd):
    await lnd.kill()
    with pytest.raises(LndUnavailable, match="is not running: nothing listens there"):
        await LndClient(lnd.credentials()).connect()


async def test_a_wrong_file_is_told_before_anything_is_asked(lnd):
    with pytest.raises(LndRefused, match="no such file"):
        await LndClient(LndCredentials(lnd.address, tlscert=lnd.folder / "none")).connect()
    assert lnd.connections == 0


async def test_another_certificate(lnd, other):
    with pytest.raises(LndRefused, match=r"is not .*tls\.cert \(self-signed certificate\)"):
        await LndClient(LndCredentials(lnd.address, tlscert=other.tlscert)).connect()


async def test_a_server_of_grpc_that_is_no_lnd(lnd):
    lnd.script("SubscribeState", Refusal(12, "Method not found!"))
    with pytest.raises(LndRefused, match=r"speaks gRPC, but is no LND, or one before v0\.14"):
        await LndClient(lnd.credentials()).connect()


async def test_a_server_that_answers_otherwise_than_lnd(lnd):
    lnd.script("SubscribeState", {"raw": b"\x0a"})
    with pytest.raises(LndRefused, match=r"speaks gRPC, but is no LND, or one before v0\.14"):
        await LndClient(lnd.credentials()).connect()


async def test_a_server_that_tells_no_state(lnd):
    lnd.script("SubscribeState", {})
    with pytest.raises(LndUnavailable, match="ended the connection at once"):
        await LndClient(lnd.credentials()).connect()


async def test_lnd_is_frozen_when_we_connect(lnd):
    lnd.freeze()
    with pytest.raises(LndUnavailable, match="does not answer"):
        await LndClient(lnd.credentials(), keepalive=0.1).connect()
    lnd.thaw()


async def test_a_call_before_connecting(lnd):
    client = LndClient(lnd.credentials())
    for failing in (client.state(), client.call("GetInfo"), send(client, lnd.node_id, 40001, b"")):
        with pytest.raises(LndUnavailable, match="not connected to LND at"):
            await failing
    with pytest.raises(LndUnavailable, match="not connected to LND at"):
        client.peer_events()


@pytest.mark.parametrize("end", ["LndError", "LndRefused", "StopAsyncIteration"])
async def test_a_stream_that_lnd_ends(end, lnd, client):
    answers = {"LndError": Refusal(8, "too slow"), "LndRefused": Refusal(2, "verification failed: x")}
    lnd.script("SubscribePeerEvents", answers.get(end, {}))
    kind = {"LndError": LndError, "LndRefused": LndRefused}.get(end, StopAsyncIteration)
    with pytest.raises(kind):
        await anext(client.peer_events())
    assert await client.state() == "SERVER_ACTIVE"  # the connection stays


async def test_lnds_state_is_followed_until_it_cannot_be_read(lnd, client):
    lnd.publish("SubscribeState", {"raw": b"\x0a"})
    await until(lambda: client.lost)
    assert "the state of LND at" in client.lost


async def test_an_error_of_one_call_that_says_unavailable_is_a_loss(lnd, client):
    lnd.script("GetInfo", Refusal(14, "server is shutting down"))
    with pytest.raises(LndUnavailable, match="has gone: server is shutting down"):
        await client.call("GetInfo")


async def test_a_connection_over_a_unix_socket(tmp_path):
    async with ScriptedLnd(tmp_path, socket_path=str(tmp_path / "s")) as lnd, connected(lnd.credentials()) as client:
        assert await client.state() == "SERVER_ACTIVE"


async def test_a_proxy_of_the_environment_is_not_asked(lnd, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with connected(lnd.credentials()) as client:
        assert await client.state() == "SERVER_ACTIVE"


async def everything(client):
    """Have a call and both streams wait, and return them as tasks."""
    streams = [client.custom_messages(), client.peer_events()]
    await client.call("GetInfo")
    return [asyncio.ensure_future(waiting) for waiting in (client.call("GetInfo"), *map(anext, streams))]


@pytest.mark.parametrize(
    ("end", "reason"), [("kill", "has ended the connection"), ("freeze", "has not answered for 1 s")]
)
async def test_a_lost_connection_fails_everything(end, reason, lnd):
    held = asyncio.Event()
    async with connected(lnd.credentials(), keepalive=1) as client:
        lnd.script("GetInfo", {}, held)
        waiting = await everything(client)
        await until(lambda: lnd.count("GetInfo") == 2)
        if end == "kill":
            await lnd.kill()
        else:
            lnd.freeze()
        for task in waiting:
            with pytest.raises(LndUnavailable, match=reason):
                await task
        await until(lambda: client.lost)
        with pytest.raises(LndUnavailable, match=reason):
            await client.state()
        with pytest.raises(LndUnavailable, match=reason):
            client.custom_messages()
        lnd.thaw()


async def test_lnds_own_stop_ends_the_events_well_and_the_messages_not(lnd, client):
    messages, events = client.custom_messages(), client.peer_events()
    await client.call("GetInfo")
    tasks = [asyncio.ensure_future(anext(stream)) for stream in (events, messages)]
    await until(lambda: lnd.subscribers("SubscribePeerEvents") and lnd.subscribers("SubscribeCustomMessages"))
    await lnd.stop()
    with pytest.raises(StopAsyncIteration):
        await tasks[0]
    with pytest.raises(LndUnavailable, match="has ended the connection"):
        await tasks[1]


async def test_a_client_does_not_outlive_its_connection(lnd, client):
    await lnd.restart()
    await until(lambda: client.lost)
    with pytest.raises(LndUnavailable):
        await client.state()
    async with connected(lnd.credentials()) as again:
        assert await again.state() == "SERVER_ACTIVE"


async def test_a_renewed_certificate_is_read_anew(lnd):
    credentials = lnd.credentials()
    async with connected(credentials) as client:
        await lnd.kill()
        await until(lambda: client.lost)
    lnd.renew_certificate()
    await lnd.start()
    async with connected(credentials) as client:
        assert await client.state() == "SERVER_ACTIVE"
    await lnd.kill()
    lnd.renew_certificate(write=False)
    await lnd.start()
    with pytest.raises(LndRefused, match="or was renewed"):
        await LndClient(credentials).connect()


async def test_closing_fails_what_waits_and_leaves_nothing(lnd):
    async with no_call_left():
        client = LndClient(lnd.credentials())
        await client.connect()
        lnd.script("GetInfo", {}, asyncio.Event())
        waiting = await everything(client)
        await until(lambda: lnd.count("GetInfo") == 2)
        await client.aclose()
        await client.aclose()
        for task in waiting:
            with pytest.raises(LndUnavailable, match="was closed"):
                await task
        with pytest.raises(LndUnavailable, match="was closed"):
            await client.call("GetInfo")


async def test_connecting_may_be_cancelled(lnd):
    lnd.freeze()
    async with no_call_left():
        connecting = asyncio.ensure_future(LndClient(lnd.credentials()).connect())
        await until(lambda: lnd.connections)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
    lnd.thaw()


async def test_calls_go_on_while_messages_are_not_read(lnd, client):
    messages = client.custom_messages()
    await client.call("GetInfo")
    for _ in range(200):
        lnd.deliver(lnd.node_id, 40001, bytes(60000))
    await until(lambda: lnd.unread("SubscribeCustomMessages") < 200)
    assert await client.call("GetInfo")
    for _ in range(200):
        assert len((await anext(messages))[1]) == 60002
    assert lnd.unread("SubscribeCustomMessages") == 0


# The library


def python(code):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment, check=False
    )


def test_without_grpcio_it_says_what_to_install():
    result = python("import sys; sys.modules['grpc'] = None; import oddwire.transports.lnd.client")
    assert result.stderr.splitlines()[-1] == (
        "oddwire.errors.TransportError: the transport lnd needs grpcio: pip install 'oddwire[lnd]'"
    )


def test_only_the_client_imports_grpc_and_leaves_the_environment_as_it_was():
    result = python(
        "import os, sys, oddwire.transports.lnd.probe, oddwire.transports.lnd.channel\n"
        "print('grpc' in sys.modules, 'cryptography' in sys.modules)\n"
        "import oddwire.transports.lnd.client\n"
        "print('grpc' in sys.modules, [name for name in os.environ if name.startswith('GRPC')])\n"
    )
    assert (result.stdout, result.stderr) == ("False False\nTrue []\n", "")
