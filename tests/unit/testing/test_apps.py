from __future__ import annotations

import asyncio

from oddwire.app import Extension
from oddwire.testing.apps import app_pair, run_app
from oddwire.transports.memory import MemoryNetwork


def test_work_without_any_plugin_for_async_tests() -> None:
    network = MemoryNetwork()
    extension = Extension("test", version="1.0", feature=513)

    async def main() -> None:
        async with run_app(network)(extension) as app, app_pair(network)(extension) as (left, right):
            assert {app.node_id, left.node_id, right.node_id} == set(network.nodes)
            assert right.peers[0].supports(extension)

    asyncio.run(main())
    assert network.nodes == {}
