"""`LndClient` with a real LND: that its calls are what LND takes, and its errors what LND says."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.interop.conftest import LIMIT
from tests.interop.lnd.lnd_node import CALLS, CONNECTING, Lnd, connect
from tests.support.lnd.sending import send

from oddwire.proto.keys import NodeId
from oddwire.transports.lnd.calls import CONNECTING as THEIR_CONNECTING
from oddwire.transports.lnd.calls import NEEDED
from oddwire.transports.lnd.client import LndClient
from oddwire.transports.lnd.credentials import LndCredentials
from oddwire.transports.lnd.errors import LndError, LndRefused, LndUnavailable

pytestmark = [pytest.mark.lnd, pytest.mark.interop]


def credentials(lnd: Lnd, macaroon: Path | None = None) -> LndCredentials:
    return LndCredentials(lnd.rpc, tlscert=lnd.tlscert, macaroon=macaroon or lnd.macaroon)


@contextlib.asynccontextmanager
async def client_of(lnd: Lnd, macaroon: Path | None = None, keepalive: float = 30.0) -> AsyncIterator[LndClient]:
    client = LndClient(credentials(lnd, macaroon), keepalive=keepalive)
    try:
        await client.connect()
        yield client
    finally:
        await client.aclose()


def test_the_calls_that_it_needs_are_those_that_macaroons_were_tried_with() -> None:
    assert set(NEEDED) == set(CALLS)
    assert set(THEIR_CONNECTING) == set(CONNECTING)


async def test_each_call_with_the_macaroon_for_its_calls_alone(lnds: list[Lnd], tmp_path: Path) -> None:
    left, right = lnds
    await connect(left, right)
    macaroon = tmp_path / "oddwire.macaroon"
    macaroon.write_bytes(left.bake(NEEDED))
    us, other = NodeId(left.node_id), NodeId(right.node_id)
    async with client_of(left, macaroon) as client, client_of(right) as theirs:
        assert client.macaroon is not None
        assert [str(permission) for permission in client.macaroon.permissions] == [
            f"uri:/lnrpc.Lightning/{method}" for method in sorted(NEEDED)
        ]
        assert await client.state() == "SERVER_ACTIVE"
        info = await client.call("GetInfo")
        assert info["identity_pubkey"] == left.node_id
        assert info["version"].startswith("0.")
        peer = next(peer for peer in await client.peers() if peer.node_id == other)
        assert {0, 8, 12, 14, 44} <= peer.features
        assert peer.bytes_sent > 0
        assert peer.bytes_recv > 0
        messages, back = theirs.custom_messages(), client.custom_messages()
        await theirs.call("GetInfo")
        for data in (b"", b"\1", b"\xab" * 65_533):
            await send(client, other, 33793, data)
            assert await anext(messages) == (us, b"\x84\x01" + data)
            await send(theirs, us, 33794, data)
            assert await anext(back) == (other, b"\x84\x02" + data)
        with pytest.raises(LndError) as refused:
            await client.call("DisconnectPeer", {"pub_key": right.node_id})
        assert (refused.value.code, refused.value.text) == (2, "permission denied")


async def test_connecting_and_the_events_of_it(lnds: list[Lnd]) -> None:
    left, right = lnds
    await connect(left, right)
    async with client_of(left) as client:
        events = client.peer_events()
        await client.call("GetInfo")
        await client.call("DisconnectPeer", {"pub_key": right.node_id})
        assert await anext(events) == (NodeId(right.node_id), False)
        with pytest.raises(LndError) as gone:
            await send(client, NodeId(right.node_id), 33793, b"")
        assert (gone.value.code, gone.value.text) == (5, "peer is not connected")
        await client.call("ConnectPeer", {"addr": {"pubkey": right.node_id, "host": right.address}})
        assert await anext(events) == (NodeId(right.node_id), True)


async def introduced(client: LndClient) -> None:
    await client.connect()
    await client.call("GetInfo")


async def test_who_is_not_let_in_is_told_why(lnds: list[Lnd], tmp_path: Path) -> None:
    left, right = lnds
    nothing = tmp_path / "empty.macaroon"
    nothing.write_bytes(b"")
    wrong = [
        (credentials(left, right.macaroon), "another LND's"),
        (LndCredentials(left.rpc, tlscert=right.tlscert, macaroon=left.macaroon), "certificate"),
        (LndCredentials(left.rpc, tlscert=left.tlscert), "macaroon"),
        (LndCredentials(left.address, tlscert=left.tlscert, macaroon=left.macaroon), "rpclisten"),
        (credentials(left, nothing), "macaroon"),
    ]
    for theirs, text in wrong:
        client = LndClient(theirs)
        with pytest.raises((LndRefused, LndUnavailable), match=text) as refused:
            await introduced(client)
        await client.aclose()
        assert left.macaroon.read_bytes().hex() not in str(refused.value)


async def test_every_end_of_lnd_is_noticed(rough_lnd: Lnd) -> None:
    lnd = rough_lnd
    await asyncio.to_thread(lnd.start)
    ends = (lambda: lnd.signal(signal.SIGSTOP), lnd.kill, lnd.end)
    for end in ends:
        async with client_of(lnd, keepalive=12.0 if end is ends[0] else 30.0) as client:
            messages, events = client.custom_messages(), client.peer_events()
            waiting = [asyncio.ensure_future(anext(stream)) for stream in (messages, events)]
            await client.call("GetInfo")
            await asyncio.to_thread(end)
            async with asyncio.timeout(LIMIT):
                done = await asyncio.gather(*waiting, return_exceptions=True)
            assert isinstance(done[0], LndUnavailable), done
            assert isinstance(done[1], LndUnavailable | StopAsyncIteration), done
            with pytest.raises(LndUnavailable):
                await client.call("GetInfo")
        lnd.signal(signal.SIGCONT) if end is ends[0] else await asyncio.to_thread(lnd.start)


async def test_a_wallet_that_is_not_there_is_locked_and_is_unlocked(rough_lnd: Lnd) -> None:
    lnd = rough_lnd
    lnd.launch()
    await asyncio.to_thread(lnd.until_state, 0)
    async with client_of(lnd) as client:
        assert await client.state() == "NON_EXISTING"
        await asyncio.to_thread(lnd.make_wallet)
        await asyncio.to_thread(lnd.ready)
        assert (await client.call("GetInfo"))["identity_pubkey"] == lnd.node_id
    await asyncio.to_thread(lnd.end)
    lnd.launch()
    await asyncio.to_thread(lnd.until_state, 1)
    async with client_of(lnd) as client:
        assert await client.state() == "LOCKED"
        with pytest.raises(LndError, match="wallet locked"):
            await client.call("GetInfo")
        await asyncio.to_thread(lnd.unlock)
        await asyncio.to_thread(lnd.ready)
        assert (await client.call("GetInfo"))["identity_pubkey"] == lnd.node_id
