"""Several plugins at each of two nodes, started in every order: none notices that it is not alone.

`python -m tests.interop.programs` does it with more of everything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from itertools import count
from typing import Any

import pytest
from tests.interop.programs.scene import (
    Load,
    Side,
    Workshop,
    connect,
    pair,
    some,
    start_one_by_one,
    started_with_the_nodes,
    talk,
)

pytestmark = pytest.mark.interop

MUCH = Load(requests=100, streams=10, large=3, orders=250)
LITTLE = Load(requests=6, streams=2, large=1, orders=20)
FIRSTS = count(step=LITTLE.orders)  # the numbers of reliable messages, in stores that stay

# Two plugins at each node are alike but for which of all is first, so these are all orders there are; three at each
# node start in every order, while those of the other do so, too
TWO = ["L0 L1 R0 R1", "L0 R0 L1 R1", "L1 R1 R0 L0", "R0 L1 L0 R1", "R1 L0 R0 L1", "R1 R0 L1 L0"]
THREE = [" ".join(starts) for starts in some(3, 3, 6, seed=1)]
FIVE = [" ".join(starts) for starts in some(5, 5, 2, seed=1)]


@pytest.mark.parametrize("starts", [TWO[2], THREE[0], pytest.param(FIVE[0], marks=pytest.mark.long)])
async def test_plugins_that_start_with_their_node(launch: Callable[..., Any], shop: Workshop, starts: str) -> None:
    order, size = starts.split(), len(starts.split()) // 2
    outcome = await started_with_the_nodes(launch, shop, (size, size), tuple(order), MUCH if size == 2 else LITTLE)
    assert outcome.troubles == {}, outcome.texts
    assert outcome["asked"]
    assert outcome["reliable"]


@pytest.fixture(scope="module")
def nodes(kind: str, starter: Any) -> Sequence[Side]:
    """Two nodes without plugins."""
    launch = getattr(starter, kind)
    return pair(launch(), launch())


@pytest.fixture
async def bare(nodes: Sequence[Side]) -> AsyncIterator[Sequence[Side]]:
    """Two nodes that are connected, and have plugins only while a test runs."""
    await connect(nodes)
    yield nodes
    for side in nodes:
        for plugin in list(side.plugins):
            await side.stop(plugin)
    assert [side.warnings() for side in nodes] == [[], []]


@pytest.mark.parametrize("starts", [*TWO, *THREE, FIVE[1]])
async def test_plugins_that_start_one_after_the_other(bare: Sequence[Side], shop: Workshop, starts: str) -> None:
    order, size = starts.split(), len(starts.split()) // 2
    await start_one_by_one(bare, shop.layout(size, size), tuple(order))
    outcome = await talk(bare, LITTLE, first=next(FIRSTS))
    assert outcome.troubles == {}, outcome.texts
    assert outcome["asked"]
    assert outcome["reliable"]
