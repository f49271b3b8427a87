"""Transports on a scripted LND."""

from __future__ import annotations

import pytest
from tests.support.lnd import ScriptedLnd

from oddwire.testing.sinks import RecordingSink
from oddwire.transports.base import Manifest
from oddwire.transports.lnd import LndLimits, LndTransport

MANIFEST = Manifest(type_ids=frozenset({0x8C01, 0x8C02}))
QUICK = LndLimits(retry_first=0.01, retry_most=0.02, redial_first=0.01, redial_most=0.02, linger=0.2)


@pytest.fixture
async def lnd(tmp_path):
    async with ScriptedLnd(tmp_path / "alice") as node:
        yield node


@pytest.fixture
async def other(tmp_path):
    async with ScriptedLnd(tmp_path / "bob", "bob") as node:
        yield node


@pytest.fixture
async def make():
    """Make a transport on a double, which is closed at the end."""
    made = []

    def make_one(node, macaroon="oddwire", **options):
        credentials = node.credentials(macaroon)
        options.setdefault("limits", QUICK)
        transport = LndTransport(
            node.address, tlscert=credentials.tlscert, macaroon=credentials.macaroon_file, network="regtest", **options
        )
        made.append(transport)
        return transport

    yield make_one
    for transport in made:
        await transport.aclose()


@pytest.fixture
async def opened(make):
    """Make a transport on a double, and open it; return it and its sink."""

    async def open_one(node, manifest=MANIFEST, **options):
        transport, sink = make(node, **options), RecordingSink()
        await transport.open(manifest, sink)
        return transport, sink

    return open_one
