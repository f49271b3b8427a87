"""Real LNDs, which the tests of this folder share: starting one takes seconds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.interop.lnd.lnd_node import CUSTOM_BIT, Api, Lnd, Subscription


@pytest.fixture(scope="session")
def lnds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Lnd]]:
    """Two that run, and which no test ends; those that they are connected to may be there from the test before."""
    nodes = [Lnd(tmp_path_factory.mktemp("lnd"), f"--protocol.custom-init={CUSTOM_BIT}") for _ in range(2)]
    try:
        for node in nodes:
            node.launch("--noseedbackup")  # both at once
        yield [node.ready() for node in nodes]
    finally:
        for node in nodes:
            node.end()


@pytest.fixture(scope="session")
def lnd(lnds: list[Lnd]) -> Lnd:
    """One of them."""
    return lnds[0]


@pytest.fixture
def rough_lnd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lnd]:
    """One for a test alone, which may kill it; not started yet."""
    node = Lnd(tmp_path_factory.mktemp("lnd"))
    yield node
    node.end()


@pytest.fixture
async def api(lnd: Lnd) -> AsyncIterator[Api]:
    """Bare calls to it."""
    async with lnd.api() as api:
        yield api


@pytest.fixture
async def messages(api: Api) -> AsyncIterator[Subscription]:
    """The custom messages that it gets."""
    async with api.subscribed() as subscription:
        yield subscription
