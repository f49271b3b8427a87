"""An application on `LndTransport`: unchanged, whatever LND does."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
from tests.support.lnd import ScriptedLnd
from tests.support.waiting import until
from tests.unit.transports.lnd.conftest import QUICK

from oddwire import AppContext, Application, Context, Extension, Message, message
from oddwire.errors import ConnectionClosed, TransportError
from oddwire.transports.lnd import LndTransport


@message(0x9C41, codec="raw")
class Ask(Message):
    data: bytes


@message(0x9C43, codec="raw")
class Answer(Message):
    data: bytes


@message(0x9C45, codec="raw")
class Count(Message):
    data: bytes


@message(0x9C47, codec="raw")
class Note(Message):
    data: bytes


class Program:
    """An application that answers requests, streams, and keeps what is delivered to it."""

    def __init__(self, lnd: ScriptedLnd, **options) -> None:
        self.notes: list[bytes] = []
        self.lost: list[str] = []
        extension = Extension("vocal", version="1.0")

        self.ready = asyncio.Event()

        @extension.on_ready
        async def ready(context: AppContext) -> None:
            self.ready.set()

        @extension.on(Ask)
        async def answer(context: Context, message: Ask) -> Answer:
            return Answer(data=message.data)

        @extension.on(Count)
        async def count(context: Context, message: Count) -> AsyncIterator[Answer]:
            for number in range(message.data[0]):
                yield Answer(data=bytes([number]))

        @extension.on(Note, reliable=True)
        async def keep(context: Context, message: Note) -> None:
            self.notes.append(message.data)

        transport = LndTransport(lnd.address, lnddir=lnd.folder, network="regtest", limits=QUICK, **options)
        self.app = Application(extension, transport=transport, store=lnd.folder / "store.db", grace=1.0)


async def test_requests_streams_and_reliable_messages(lnd, other):
    one, two = Program(lnd), Program(other)
    async with one.app, two.app:
        assert one.app.node_id == lnd.node_id
        peer = await one.app.connect(other.uri)
        assert (await peer.request(Ask(data=b"how"), Answer)).data == b"how"
        large = os.urandom(200_000)
        assert (await peer.request(Ask(data=large), Answer)).data == large
        assert [part.data for part in [part async for part in peer.stream(Count(data=b"\x05"), Answer)]] == [
            bytes([number]) for number in range(5)
        ]
        receipt = await two.app.peer(lnd.node_id).deliver(Note(data=b"kept"))
        await receipt.delivered()
        assert one.notes == [b"kept"]
        assert (await one.app.node.call("GetInfo"))["identity_pubkey"] == str(lnd.node_id)
        with pytest.raises(TransportError, match="LND calls it GetInfo"):
            await one.app.node.call("getinfo")


async def test_reliable_messages_while_lnd_restarts(lnd, other):
    """None is lost, and none arrives twice."""
    one, two = Program(lnd, connect=[other.uri]), Program(other)
    sent = [b"%d" % number for number in range(60)]
    async with one.app, two.app:
        await until(lambda: one.app.peers)
        receipts = []
        for number, data in enumerate(sent):
            receipts.append(await one.app.peer(other.node_id).deliver(Note(data=data)))
            if number % 20 == 10:
                await until(lambda number=number: len(two.notes) >= number - 9)
                await (lnd if number % 40 == 10 else other).restart()
        async with asyncio.timeout(30):
            for receipt in receipts:
                await receipt.delivered()
        assert two.notes == sent


async def test_a_request_under_way_ends_with_lnd(lnd, other):
    one, two = Program(lnd), Program(other)
    async with one.app, two.app:
        peer = await one.app.connect(other.uri)
        await peer.request(Ask(data=b""), Answer)
        lnd.script("SendCustomMessage", asyncio.Event())
        asking = asyncio.create_task(peer.request(Ask(data=b""), Answer, timeout=30))
        sent = lnd.count("SendCustomMessage")
        await until(lambda: lnd.count("SendCustomMessage") > sent)
        await lnd.kill()
        with pytest.raises(ConnectionClosed):
            await asking


@pytest.mark.parametrize("end", ["stop", "signal"])
async def test_stopped_while_it_waits_for_lnd(tmp_path, caplog, end):
    caplog.set_level("INFO", logger="oddwire.transports.lnd")
    async with ScriptedLnd(tmp_path, state="LOCKED") as lnd:
        program = Program(lnd)
        running = asyncio.create_task(program.app.run_until_stopped())
        await until(lambda: "wallet locked" in caplog.text)
        if end == "stop":
            program.app.stop()
        else:
            os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await running


async def test_another_node_ends_the_application(lnd):
    program = Program(lnd)
    running = asyncio.create_task(program.app.run_until_stopped(signals=False))
    await program.ready.wait()
    lnd.node_id = type(lnd.node_id)("02" + "11" * 32)
    await lnd.restart()
    async with asyncio.timeout(10):
        await running
