"""The pytest plugin: fixtures for extension authors. Loaded by every pytest where oddwire is installed, so it is small.

The fixtures are plain functions that return asynchronous context managers, so they work under pytest-asyncio, anyio or
`asyncio.run` alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from oddwire.testing.fixture_types import AppPair, RunApp
    from oddwire.transports.memory import MemoryNetwork

__all__ = ["app_pair", "memory_network", "run_app"]

pytest.register_assert_rewrite("oddwire.testing.transport_conformance", "oddwire.testing.codec_conformance")


@pytest.fixture
def memory_network() -> MemoryNetwork:
    """Return an in-memory network of the test's own; `run_app` and `app_pair` use it."""
    from oddwire.transports.memory import MemoryNetwork

    return MemoryNetwork()


@pytest.fixture
def run_app(memory_network: MemoryNetwork) -> RunApp:
    """Run an application on the test's memory network.

    ``async with run_app(extension, ...) as app:``; ``provide={Database: fake}`` puts things in place of what providers
    would make.
    """
    from oddwire.testing.apps import run_app

    return run_app(memory_network)


@pytest.fixture
def app_pair(memory_network: MemoryNetwork) -> AppPair:
    """Run two applications that are connected.

    ``async with app_pair(server, client) as (left, right):``. Each argument is an extension or a
    sequence of them; with one, both run it. Right dialed left, so ``right.peers[0]`` is left.
    ``provide={Database: fake}`` puts things in place of what providers of both would make.
    """
    from oddwire.testing.apps import app_pair

    return app_pair(memory_network)
