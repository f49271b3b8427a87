"""An application on an LND that is stopped, killed, frozen, renewed, locked and unlocked: it goes on each time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.interop.conftest import LIMIT, Recorder
from tests.interop.lnd.lnd_node import Lnd, connect
from tests.support.waiting import until

from oddwire.errors import ConnectionClosed, PeerNotConnected, TransportError
from oddwire.proto.keys import NodeId
from oddwire.transports.base import Manifest
from oddwire.transports.lnd.transport import LndTransport

pytestmark = [pytest.mark.lnd, pytest.mark.interop]

MANIFEST = Manifest(type_ids=frozenset({0x8C01}))


@contextlib.asynccontextmanager
async def opened(lnd: Lnd, **options: object) -> AsyncIterator[tuple[LndTransport, Recorder]]:
    given = {"tlscert": lnd.tlscert, "macaroon": lnd.small_macaroon, **options}
    transport = LndTransport(lnd.rpc, **given)  # type: ignore[arg-type]
    sink = Recorder()
    try:
        async with asyncio.timeout(2 * LIMIT):
            await transport.configure(MANIFEST)
            await transport.open(MANIFEST, sink)
            yield transport, sink
    finally:
        await transport.aclose()


@pytest.fixture
async def rough_pair(rough_lnd: Lnd, lnd: Lnd) -> tuple[Lnd, Lnd]:
    """One that a test may end, and one that stays; connected."""
    await asyncio.to_thread(rough_lnd.start)
    await connect(rough_lnd, lnd)
    return rough_lnd, lnd


async def passes_messages(transport: LndTransport, sink: Recorder, other: Lnd) -> None:
    """Send one each way between the transport and the other LND's API."""
    async with other.api() as api, api.subscribed() as messages:
        await transport.send(NodeId(other.node_id), b"\x8c\x01there")
        assert await messages.message() == (str(transport.node_id), b"\x8c\x01there")
        await api.send(str(transport.node_id), b"\x8c\x01back")
        assert await sink.payloads.get() == (NodeId(other.node_id), b"\x8c\x01back")


def frozen(lnd: Lnd) -> None:
    lnd.signal(signal.SIGSTOP)


def renewed(lnd: Lnd) -> None:
    """Have it end, and make a new certificate when it starts."""
    lnd.end()
    lnd.tlscert.unlink()
    (lnd.folder / "tls.key").unlink()


ENDS: dict[str, Callable[[Lnd], None]] = {"stopped": Lnd.end, "killed": Lnd.kill, "renewed": renewed, "frozen": frozen}


async def test_an_application_outlives_every_end_of_lnd(rough_pair: tuple[Lnd, Lnd]) -> None:
    """Its peers are told gone, sends fail, and all is back when LND is; one transport goes through all of it."""
    rough, other = rough_pair
    async with opened(rough, connect=[other.uri]) as (transport, sink):
        for name, end in ENDS.items():
            assert (await sink.connected.get()).node_id == NodeId(other.node_id), name
            await passes_messages(transport, sink, other)
            await asyncio.to_thread(end, rough)
            gone, reason = await sink.disconnected.get()
            assert gone == NodeId(other.node_id), name
            assert reason, name
            with pytest.raises((ConnectionClosed, PeerNotConnected)):
                await transport.send(gone, b"\x8c\x01nobody")
            if end is frozen:
                rough.signal(signal.SIGCONT)
            else:
                await asyncio.to_thread(rough.start)
        assert (await sink.connected.get()).node_id == NodeId(other.node_id)
        await passes_messages(transport, sink, other)


async def test_it_waits_for_lnd_and_its_wallet_and_says_for_what(
    rough_lnd: Lnd, caplog: pytest.LogCaptureFixture
) -> None:
    """From nothing at all to a wallet that is made; then to one that is unlocked."""
    caplog.set_level(logging.INFO, "oddwire")
    macaroon = rough_lnd.macaroon
    rough_lnd.launch()
    await asyncio.to_thread(rough_lnd.until_state, 0)
    for words, go_on in (("no wallet", rough_lnd.make_wallet), ("locked", rough_lnd.unlock)):
        caplog.clear()
        transport = LndTransport(rough_lnd.rpc, lnddir=rough_lnd.folder, network="regtest")
        configured = asyncio.create_task(transport.configure(MANIFEST))
        try:
            await until(lambda words=words: words in caplog.text)
            assert not configured.done()
            await asyncio.to_thread(go_on)
            async with asyncio.timeout(LIMIT):
                await configured
            assert macaroon.read_bytes().hex() not in caplog.text
        finally:
            configured.cancel()
            await asyncio.wait([configured])
            await transport.aclose()
        await asyncio.to_thread(rough_lnd.end)
        rough_lnd.launch()
        await asyncio.to_thread(rough_lnd.until_state, 1)


async def test_it_waits_no_longer_than_it_was_told(rough_lnd: Lnd, tmp_path: Path, lnd: Lnd) -> None:
    transport = LndTransport(rough_lnd.rpc, tlscert=lnd.tlscert, macaroon=lnd.macaroon, start_timeout=0.5)
    async with asyncio.timeout(LIMIT):
        with pytest.raises(TransportError, match="not running"):
            await transport.configure(MANIFEST)
    await transport.aclose()


async def test_features_that_lnd_does_not_offer_are_told_with_the_line_for_its_configuration(
    lnd: Lnd, caplog: pytest.LogCaptureFixture
) -> None:
    transport = LndTransport(lnd.rpc, tlscert=lnd.tlscert, macaroon=lnd.macaroon)
    await transport.configure(Manifest(features=frozenset({513, 4099})))
    await transport.aclose()
    assert "protocol.custom-init=4099" in caplog.text
    assert "custom-init=513" not in caplog.text
