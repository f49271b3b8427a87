"""oddwire.proto's connections with pyln-proto at the other end, dialing and dialed: BOLT 8 alone."""

from __future__ import annotations

import asyncio
import os

import pytest

from oddwire.errors import AuthenticationFailed, ConnectionClosed
from oddwire.proto import connect, serve
from oddwire.proto.connection import LightningConnection
from oddwire.proto.keys import PrivateKey, PublicKey

pytestmark = pytest.mark.interop

ODD, EVEN = 32769, 32770
SIZES = [0, 1, 2, 3, 102, 65535]


class Ours:
    """One end: a key, and the connections that were made to it."""

    def __init__(self):
        self.key = PrivateKey(os.urandom(32))
        self.connections = asyncio.Queue()
        self.server = None

    @property
    def node_id(self):
        return self.key.public_key().hex()

    def uri(self, node_id=None):
        return f"{node_id or self.node_id}@127.0.0.1:{self.server.port}"

    async def handle(self, connection):
        self.connections.put_nowait(connection)
        await asyncio.Event().wait()  # until the server closes


@pytest.fixture
async def ours():
    end = Ours()
    async with await serve(end.handle, end.key, "127.0.0.1", 0) as end.server:
        yield end


@pytest.fixture(params=["dialing", "dialed"])
async def link(request, ours, start_pyln):
    """Our connection and the pyln-proto peer at its other end; the parameter is what we did."""
    pyln = await start_pyln()
    if request.param == "dialing":
        await pyln.listen()
        connection = await connect(ours.key, pyln.node_id, "127.0.0.1", pyln.port)
    else:
        await pyln.connect(ours.uri())
        connection = await ours.connections.get()
    await pyln.event("connected", peer=ours.node_id, inbound=request.param == "dialing")
    yield connection, pyln
    await connection.aclose()


async def receive(connection: LightningConnection, count: int) -> list[bytes]:
    return [await connection.read_message() for _ in range(count)]


async def test_each_side_learns_the_others_key(link):
    connection, pyln = link
    assert connection.remote_pubkey == PublicKey(bytes.fromhex(pyln.node_id))


async def test_payloads_of_every_size_arrive_unchanged_both_ways(link, ours, make_payload):
    connection, pyln = link
    for size in SIZES:
        payload = make_payload(ODD, size)[:size]
        await connection.send_message(payload)
        assert await pyln.received() == payload
        await pyln.send(ours.node_id, payload)
        assert await connection.read_message() == payload


async def test_2500_messages_each_way_over_five_key_rotations(link, ours, flood):
    connection, pyln = link
    there, back = flood(ODD, 2500, 102), flood(EVEN, 2500, 102)

    async def send():
        for payload in there:
            await connection.send_message(payload)

    async with pyln.collecting(there):
        _, received, _ = await asyncio.gather(send(), receive(connection, back.count), pyln.flood(ours.node_id, back))
    assert received == list(back)


async def test_large_messages_cross_without_stalling(link, ours, flood):
    connection, pyln = link
    there, back = flood(ODD, 100, 65535), flood(EVEN, 100, 65535)

    async def send():
        for payload in there:
            await connection.send_message(payload)

    async with pyln.collecting(there):
        _, received, _ = await asyncio.gather(send(), receive(connection, back.count), pyln.flood(ours.node_id, back))
    assert received == list(back)


async def test_its_hanging_up_ends_reading(link, ours):
    connection, pyln = link
    await pyln.send(ours.node_id, b"last")
    await pyln.disconnect(ours.node_id)
    assert await connection.read_message() == b"last"
    with pytest.raises(ConnectionClosed):
        await connection.read_message()


async def test_our_hanging_up_ends_it_after_our_last_message(link, ours):
    connection, pyln = link
    await connection.send_message(b"last")
    await connection.aclose()
    assert await pyln.received() == b"last"
    await pyln.event("disconnected", peer=ours.node_id)


async def test_both_sides_connect_again(link, ours):
    connection, pyln = link
    await connection.aclose()
    await pyln.event("disconnected", peer=ours.node_id)
    if pyln.port:
        connection = await connect(ours.key, pyln.node_id, "127.0.0.1", pyln.port)
    else:
        await pyln.connect(ours.uri())
        connection = await ours.connections.get()
    await pyln.event("connected", peer=ours.node_id)
    await connection.send_message(b"again")
    assert await pyln.received() == b"again"
    await connection.aclose()


async def test_we_refuse_a_caller_who_has_our_key_wrong(ours, start_pyln):
    pyln = await start_pyln()
    other = PrivateKey(os.urandom(32)).public_key().hex()
    await pyln.connect(ours.uri(node_id=other))
    refused = await pyln.event("refused", inbound=False)  # it got no act two from us
    assert "Short read from peer reading act2" in refused["error"]
    assert ours.connections.empty()


async def test_we_refuse_a_node_that_has_another_key_than_we_dialed(ours, start_pyln):
    pyln = await start_pyln()
    await pyln.listen()
    other = PrivateKey(os.urandom(32)).public_key()
    with pytest.raises(AuthenticationFailed) as caught:  # pyln-proto answers act one whatever its MAC says
        await connect(ours.key, other, "127.0.0.1", pyln.port)
    assert (caught.value.act, caught.value.code) == (2, "ACT2_BAD_TAG")
    assert "act3" in (await pyln.event("refused", inbound=True))["error"]


async def test_a_silent_caller_does_not_delay_others(ours, start_pyln):
    silent = await asyncio.open_connection("127.0.0.1", ours.server.port)
    pyln = await start_pyln()
    await pyln.connect(ours.uri())
    await pyln.event("connected", peer=ours.node_id)
    silent[1].close()
    await silent[1].wait_closed()
