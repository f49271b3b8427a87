"""The transport kit over two real LNDs, which stay up from test to test; and how its errors come out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.conftest import Recorder
from tests.interop.lnd.lnd_node import CALLS, Lnd, connect

from oddwire.errors import EncodeError, PayloadTooLarge, PeerNotConnected, TransportError
from oddwire.proto.keys import NodeId
from oddwire.testing.transport_conformance import TransportConformance
from oddwire.transports.base import Manifest, Transport
from oddwire.transports.lnd.limits import LndLimits
from oddwire.transports.lnd.transport import LndTransport

pytestmark = [pytest.mark.lnd, pytest.mark.interop]


def transport_of(lnd: Lnd, **options: object) -> LndTransport:
    given = {"tlscert": lnd.tlscert, "macaroon": lnd.small_macaroon, "limits": LndLimits(held=4_000_000), **options}
    return LndTransport(lnd.rpc, **given)  # type: ignore[arg-type]


async def part(left: Lnd, right: Lnd) -> None:
    """End the connection of the two, and what an earlier test has left on its way with it."""
    async with left.api() as ours, right.api() as theirs:
        if right.node_id in await ours.peers():
            await ours.disconnect(right.node_id)
        await ours.until_gone(right.node_id)
        await theirs.until_gone(left.node_id)


class TestLnd(TransportConformance):
    """LND has the feature bit of the kit's manifest in its configuration."""

    pushes_back = False
    hangs_up_on_close = False

    @pytest.fixture(autouse=True)
    def _two(self, lnds: list[Lnd]) -> Iterator[None]:
        self.lnds = lnds
        yield
        asyncio.run(part(*lnds))

    async def make(self) -> tuple[Transport, Transport]:
        left, right = (transport_of(lnd) for lnd in self.lnds)
        return left, right

    async def connect(self, left: Transport, right: Transport) -> None:
        assert isinstance(left, LndTransport)
        await left.connect(self.lnds[1].uri)


async def test_one_transport_more_on_the_same_lnd_hears_the_same(lnds: list[Lnd]) -> None:
    """LND tells every subscriber everything."""
    left, right = lnds
    await connect(left, right)
    transports, sinks = [transport_of(left), transport_of(left), transport_of(right)], [Recorder() for _ in range(3)]
    try:
        for transport, sink in zip(transports, sinks, strict=True):
            await transport.open(Manifest(type_ids=frozenset({0x8C01})), sink)
            await sink.connected.get()
        await transports[2].send(NodeId(left.node_id), b"\x8c\x01all of you")
        for sink in sinks[:2]:
            assert await sink.payloads.get() == (NodeId(right.node_id), b"\x8c\x01all of you")
    finally:
        for transport in transports:
            await transport.aclose()


async def test_what_lnd_would_do_harm_with_is_refused_before(lnds: list[Lnd]) -> None:
    """It hangs up on the peer for a message that is too long, and sends no type below 32768."""
    left, right = lnds
    await connect(left, right)
    transport, sink = transport_of(left), Recorder()
    try:
        await transport.open(Manifest(), sink)
        await sink.connected.get()
        with pytest.raises(PayloadTooLarge):
            await transport.send(NodeId(right.node_id), bytes(65_536))
        with pytest.raises(EncodeError, match=r"protocol\.custom-message=515"):
            await transport.send(NodeId(right.node_id), b"\x02\x03low")
        with pytest.raises(PeerNotConnected):
            await transport.send(NodeId("02" + "11" * 32), b"\x8c\x01")
        await transport.send(NodeId(right.node_id), b"\x8c\x02still there")
        async with right.api() as api:
            assert left.node_id in await api.peers()
    finally:
        await transport.aclose()


async def test_who_may_not_do_all_is_told_the_line_for_it(lnds: list[Lnd], tmp_path: Path) -> None:
    left, right = lnds
    await connect(left, right)
    readonly = transport_of(left, macaroon=left.macaroon.with_name("readonly.macaroon"))
    with pytest.raises(TransportError, match=r"SendCustomMessage; .* lncli bakemacaroon"):
        await readonly.open(Manifest(), Recorder())
    await readonly.aclose()
    file = tmp_path / "oddwire.macaroon"
    file.write_bytes(left.bake(CALLS))
    transport, sink = transport_of(left, macaroon=file), Recorder()
    try:
        await transport.open(Manifest(), sink)
        await sink.connected.get()
        await transport.send(NodeId(right.node_id), b"\x8c\x01all that is needed")
        with pytest.raises(TransportError, match=r"bakemacaroon .*/ConnectPeer"):
            await transport.connect("02" + "11" * 32 + "@127.0.0.1:9")
    finally:
        await transport.aclose()
