from __future__ import annotations

import asyncio

import pytest

from oddwire.app import Extension
from oddwire.errors import LocalProtocolError
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


def test_an_application_is_run_with_what_it_takes() -> None:
    extension = Extension("test", version="1.0")

    @extension.option("test-size")
    def size(value: int = 1) -> int:
        return value

    async def main() -> None:
        run = run_app(MemoryNetwork())
        async with run(extension) as plain, run(extension, options={"test-size": 5}, store=None) as other:
            assert (plain.options["test-size"], other.options["test-size"]) == (1, 5)
            assert await plain.store("test").get("key") is None
            with pytest.raises(LocalProtocolError, match="store"):
                other.store("test")

    asyncio.run(main())
