"""The pytest plugin: fixtures for extension authors. Loaded by every pytest where oddwire is installed, so it is small.

The fixtures are plain functions that return asynchronous context managers, so they work under pytest-asyncio, anyio or
`asyncio.run` alike. Their types, for annotations, are in `oddwire.testing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from oddwire.testing.apps import AppRunner
    from oddwire.testing.clock import Clock
    from oddwire.testing.fixture_types import AppPair, RawPeers, RunApp
    from oddwire.transports.memory import MemoryNetwork

__all__ = ["app_pair", "clock", "memory_network", "raw_peer", "run_app"]

pytest.register_assert_rewrite("oddwire.testing.transport_conformance", "oddwire.testing.codec_conformance")


@pytest.fixture
def memory_network() -> MemoryNetwork:
    """Return an in-memory network of the test's own; `run_app`, `app_pair` and `raw_peer` use it."""
    from oddwire.transports.memory import MemoryNetwork

    return MemoryNetwork()


@pytest.fixture
def _oddwire_runner(memory_network: MemoryNetwork, tmp_path_factory: pytest.TempPathFactory) -> AppRunner:
    from oddwire.testing.apps import AppRunner

    return AppRunner(memory_network, lambda: tmp_path_factory.mktemp("oddwire"))


@pytest.fixture
def run_app(_oddwire_runner: AppRunner) -> RunApp:
    """Return what runs an application.

    ``async with run_app(extension, ...) as app:``, then ``await app.restart()``. Its keywords are
    those of `Application`; it has a store of its own on disk, and runs on the test's memory network.
    """
    return _oddwire_runner.run


@pytest.fixture
def app_pair(_oddwire_runner: AppRunner) -> AppPair:
    """Return what runs two applications that are connected.

    ``async with app_pair(server, client) as (left, right):``. Each argument is an extension or a sequence
    of them; with one, both run it. Right dialed left, so ``right.peers[0]`` is left. A keyword's value is for both; a
    tuple of two is for left and right.
    """
    return _oddwire_runner.pair


@pytest.fixture
def raw_peer(memory_network: MemoryNetwork) -> RawPeers:
    """Return what connects a peer without oddwire to an application.

    ``async with raw_peer(app) as peer: await peer.send("8cc1")``. It sends and sees payloads in
    hex, on the network of the application or by BOLT 8, and speaks no session.
    """
    from oddwire.testing.raw_peers import raw_peers

    return raw_peers(memory_network)


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands still, and is moved by the test: ``async with clock: await clock.advance(3600)``."""
    from oddwire.testing.clock import Clock

    return Clock()
