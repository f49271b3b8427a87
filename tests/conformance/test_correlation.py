"""Requests to a plain peer, and waiting for its messages, are the same on every transport."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conformance.test_transports import Relayed
from tests.support.correlation import TYPES, Transported, make_extension, play
from tests.support.waiting import until

from oddwire.app import Application
from oddwire.proto.keys import PrivateKey
from oddwire.schema import Message
from oddwire.testing import RecordingSink
from oddwire.transports.base import Manifest, Transport
from oddwire.transports.bolt8.transport import Bolt8Transport
from oddwire.transports.memory import MemoryNetwork

Make = Callable[[], tuple[Transport, Transport]]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as found:  # a socket's path has to be short
        yield Path(found)


@pytest.fixture(params=["memory", "slow memory", "bolt8", "cln by hook", "cln by notification"])
def make(request: pytest.FixtureRequest, folder: Path) -> Make:
    """Return a function that makes two transports; the left one is to be dialed."""

    def two() -> tuple[Transport, Transport]:
        if request.param == "bolt8":
            left = Bolt8Transport(PrivateKey(b"\x01" * 32), network="regtest", listen=["127.0.0.1:0"])
            return left, Bolt8Transport(PrivateKey(b"\x02" * 32), network="regtest")
        if request.param.startswith("cln"):
            return (
                Relayed(folder, receive="hook" if request.param.endswith("hook") else "notification"),
                Bolt8Transport(PrivateKey(b"\x02" * 32), network="bitcoin"),
            )
        network = MemoryNetwork(delay=0.001 if request.param.startswith("slow") else 0.0)
        return network.transport(), network.transport()

    return two


@pytest.mark.parametrize("session", [True, False])
async def test_a_peer_that_answers_as_it_likes(make: Make, session: bool, caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = make()
    handled: list[Message] = []
    sink = RecordingSink()
    async with asyncio.timeout(60), Application(make_extension(handled), transport=ours, session=session) as app:
        await theirs.open(Manifest(type_ids=frozenset(TYPES.values())), sink)
        try:
            await theirs.connect(ours.uris[0])
            await until(lambda: app.peers and sink.connected)
            await play(app, Transported(theirs, sink), handled, caplog, until)
        finally:
            await theirs.aclose()
