"""A plain peer on LDK that answers out of order, late, twice and never: each request has its own answer, or none."""

from __future__ import annotations

import os

import pytest
from tests.support.correlation import TYPES, is_ours, make_extension, play, raw
from tests.support.waiting import until

from oddwire.app import Application
from oddwire.proto import PrivateKey
from oddwire.transports.bolt8.transport import Bolt8Transport

pytestmark = pytest.mark.interop


class OnLdk:
    """The plain peer: LDK's, told over its pipe what to send."""

    def __init__(self, ldk, us):
        self._ldk = ldk
        self._us = us

    async def send(self, payload):
        await self._ldk.send(self._us, payload)

    async def received(self):
        while not is_ours(payload := await self._ldk.received()):
            pass
        return payload


@pytest.mark.parametrize("dial", ["we dial", "ldk dials"])
async def test_a_plain_peer_on_ldk_answers_as_it_likes(start_ldk, caplog, dial):
    ldk = await start_ldk(types=list(TYPES.values()))
    await ldk.listen()
    handled = []
    transport = Bolt8Transport(PrivateKey(os.urandom(32)), network="regtest", listen=["127.0.0.1:0"])
    async with Application(make_extension(handled), transport=transport) as app:
        if dial == "we dial":
            await app.connect(ldk.uri)
        else:
            await ldk.connect(app.uris[0])
        await until(lambda: app.peers)
        us = str(transport.node_id)
        await ldk.event("connected", peer=us)
        await play(app, OnLdk(ldk, us), handled, caplog, until)
        await ldk.send(us, raw("Cancelled", 3))  # LDK is still there
        await until(lambda: len(handled) == 2)
