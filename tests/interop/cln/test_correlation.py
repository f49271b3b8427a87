"""An application inside of lightningd, and a plain peer that answers out of order, late, twice and never."""

from __future__ import annotations

import os

import pytest
from tests.interop.cln.test_transport import Relayed
from tests.support.correlation import TYPES, Transported, make_extension, play
from tests.support.waiting import until

from oddwire.app import Application
from oddwire.proto import PrivateKey
from oddwire.testing import RecordingSink
from oddwire.transports.base import Manifest
from oddwire.transports.bolt8.transport import Bolt8Transport

pytestmark = [pytest.mark.cln, pytest.mark.interop]


@pytest.mark.parametrize("receive", ["hook", "notification"])
async def test_a_plain_peer_of_lightningd_answers_as_it_likes(start, tmp_path_factory, caplog, receive):
    ours = Relayed(start, tmp_path_factory.mktemp("r"), receive=receive)
    theirs, sink, handled = Bolt8Transport(PrivateKey(os.urandom(32)), network="regtest"), RecordingSink(), []
    async with Application(make_extension(handled), transport=ours) as app:
        await theirs.open(Manifest(type_ids=frozenset(TYPES.values())), sink)
        try:
            await theirs.connect(ours.uris[0], keep=False)
            await until(lambda: app.peers and sink.connected)
            await play(app, Transported(theirs, sink), handled, caplog, until)
        finally:
            await theirs.aclose()
