from __future__ import annotations

import subprocess
import sys

import pytest

from oddwire.app import Context, Extension
from oddwire.schema import Message, message
from oddwire.transports.memory import MemoryNetwork


@message(0x8C01)
class Ask(Message):
    text: str


@message(0x8C03)
class Answer(Message):
    text: str


@pytest.fixture
def extension() -> Extension:
    extension = Extension("test", version="1.0")

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> Answer:
        return Answer(text=request.text.upper())

    return extension


async def test_run_app_runs_one_application(extension: Extension, run_app, memory_network: MemoryNetwork) -> None:
    async with run_app(extension) as app:
        assert app.node_id in memory_network.nodes
        assert app.peers == []
    assert memory_network.nodes == {}


async def test_app_pair_runs_two_that_are_connected(extension: Extension, app_pair) -> None:
    async with app_pair(extension) as (left, right):
        assert [peer.node_id for peer in right.peers] == [left.node_id]
        assert await right.peers[0].request(Ask(text="hello"), Answer) == Answer(text="HELLO")


async def test_app_pair_takes_one_or_several_extensions_each(extension: Extension, app_pair) -> None:
    client = Extension("client", version="1.0")
    client.register(Ask)
    client.register(Answer)
    other = Extension("other", version="1.0")
    async with app_pair([extension, other], client) as (left, right):
        names = [[plugin.name for plugin in app.plugins.contributions] for app in (left, right)]
        assert names == [["oddwire", "test", "other"], ["oddwire", "client"]]


def test_the_plugin_costs_nothing_until_it_is_used() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import oddwire.testing.pytest_plugin; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before} & "
        "{'coincurve', 'cryptography', 'hypothesis', 'msgpack', 'typer', 'rich', 'asyncio'}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "\n"


def test_names_are_imported_when_they_are_used() -> None:
    import oddwire.testing

    for name in oddwire.testing.__all__:
        assert getattr(oddwire.testing, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = oddwire.testing.Nothing
