from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest
from tests.support.texts import Answer, Ask

from oddwire.app import AppContext, Context, Extension
from oddwire.errors import ExtensionError, LocalProtocolError, NotSupported
from oddwire.proto.keys import PrivateKey
from oddwire.session.limits import Limits
from oddwire.testing import AppPair, RunApp, ScriptedTransport
from oddwire.testing.apps import AppRunner
from oddwire.transports.bolt8.transport import Bolt8Transport
from oddwire.transports.memory import MemoryNetwork


@pytest.fixture
def extension() -> Extension:
    extension = Extension("test", version="1.0", feature=513)

    @extension.option("test-size")
    def size(value: int = 1) -> int:
        return value

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> Answer:
        return Answer(text=request.text.upper())

    return extension


def test_they_work_without_any_plugin_for_async_tests_and_without_pytest(extension: Extension) -> None:
    network = MemoryNetwork()

    async def main() -> Path:
        runner = AppRunner(network)
        async with runner.run(extension) as app, runner.pair(extension) as (left, right):
            assert {app.node_id, left.node_id, right.node_id} == set(network.nodes)
            assert right.peers[0].supports(extension)
            await app.store("test").set("key", 1)
            (file,) = [path for path in runner._folder.iterdir() if path.suffix == ".sqlite3"]
            assert file.exists()
            return file

    file = asyncio.run(main())
    assert network.nodes == {}
    gc.collect()
    assert not file.exists()


async def test_an_application_is_run_with_what_it_takes(run_app: RunApp, extension: Extension, tmp_path: Path) -> None:
    key = PrivateKey(bytes(31) + b"\x07")
    async with (
        run_app(extension) as plain,
        run_app(extension, options={"test-size": 5}, store=None, key=key, program=9, session=False, grace=0.5) as other,
        run_app(extension, store=tmp_path / "mine", limits=Limits(outbox_messages=1)) as mine,
        run_app(extension, store=":memory:") as memory,
    ):
        assert (plain.options["test-size"], other.options["test-size"]) == (1, 5)
        assert await plain.store("test").get("key") is None
        with pytest.raises(LocalProtocolError, match="store"):
            other.store("test")
        assert bytes(other.node_id) == bytes(key.public_key())
        assert other.program == 9
        await mine.store("test").set("key", 1)
        assert (tmp_path / "mine").exists()
        await memory.store("test").set("key", 1)


async def test_each_application_has_a_store_of_its_own(app_pair: AppPair, extension: Extension) -> None:
    async with app_pair(extension) as (left, right):
        await left.store("test").set("key", "left")
        await right.store("test").set("key", "right")
        assert await left.store("test").get("key") == "left"


async def test_a_store_that_is_not_used_is_not_made(run_app: RunApp, extension: Extension, tmp_path: Path) -> None:
    async with run_app(extension, store=tmp_path / "store"):
        pass
    assert [*tmp_path.iterdir()] == []


async def test_node_ids_are_the_same_in_every_test(extension: Extension) -> None:
    ids = []
    for _ in range(2):
        async with AppRunner(MemoryNetwork()).pair(extension) as (left, right):
            ids.append((left.node_id, right.node_id))
    assert ids[0] == ids[1]


@pytest.mark.parametrize("transport", ["memory", "bolt8"])
async def test_the_same_on_both_transports(app_pair: AppPair, extension: Extension, transport) -> None:
    async with app_pair(extension, transport=transport) as (left, right):
        assert await right.peer(left.node_id).request(Ask(text="a"), Answer) == Answer(text="A")
        assert (left.uris[0].endswith("@memory")) is (transport == "memory")


async def test_on_a_transport_of_ones_own(run_app: RunApp, extension: Extension) -> None:
    keys = []

    def make(key: PrivateKey) -> Bolt8Transport:
        keys.append(key)
        return Bolt8Transport(key, listen=["127.0.0.1:0"])

    async with run_app(extension, transport=make) as app:
        assert bytes(app.node_id) == bytes(keys[0].public_key())
        await app.restart()
        assert keys == [keys[0], keys[0]]
    async with run_app(extension, transport=lambda key: ScriptedTransport()) as app:
        assert app.node_id is None


@pytest.mark.parametrize("transport", ["bolt9", 7, None, lambda key: "memory"])
async def test_what_is_no_transport_is_refused(run_app: RunApp, extension: Extension, transport) -> None:
    with pytest.raises(ExtensionError, match="transport should"):
        async with run_app(extension, transport=transport):
            pass


# Pairs ------------------------------------------------------------------------------------------------------------


async def test_a_value_is_for_both_and_a_tuple_for_one_each(app_pair: AppPair, extension: Extension) -> None:
    async with app_pair(extension, options={"test-size": 3}) as (left, right):
        assert (left.options["test-size"], right.options["test-size"]) == (3, 3)
    async with app_pair(extension, options=({"test-size": 3}, None), store=(None, ...)) as (left, right):
        assert (left.options["test-size"], right.options["test-size"]) == (3, 1)
        await right.store("test").set("key", 1)
        with pytest.raises(LocalProtocolError, match="store"):
            left.store("test")


async def test_a_client_without_a_session(app_pair: AppPair, extension: Extension) -> None:
    async with app_pair(extension, session=(True, False), limits=(Limits(), None), grace=(1.0, 2.0)) as (_, client):
        assert await client.peers[0].request(Ask(text="a"), Answer) == Answer(text="A")
        with pytest.raises(NotSupported):
            async for _ in client.peers[0].stream(Ask(text="a"), Answer):
                pass


async def test_what_is_for_both_is_shared_out_by_who_knows_it(app_pair: AppPair, extension: Extension) -> None:
    taken = []
    client = Extension("client", version="1.0")

    @client.option("client-size")
    def size(value: int = 1) -> int:
        return value

    @client.on_startup
    async def start(context: AppContext, fake: list[int]) -> None:
        taken.append(fake)

    options = {"test-size": 2, "client-size": 3}
    async with app_pair(extension, client, options=options, provide={list[int]: [5]}) as (left, right):
        assert dict(left.options) == {"test-size": 2}
        assert dict(right.options) == {"client-size": 3}
        assert taken == [[5]]
    with pytest.raises(ExtensionError, match="tset-size"):
        async with app_pair(extension, client, options={"tset-size": 2}, provide={list[int]: []}):
            pass


@pytest.mark.parametrize("values", [(True,), (True, False, True)])
async def test_a_tuple_is_of_two(app_pair: AppPair, extension: Extension, values) -> None:
    with pytest.raises(ExtensionError, match="session should be one value, or a tuple of two"):
        async with app_pair(extension, session=values):
            pass


async def test_two_do_not_share_a_store(app_pair: AppPair, extension: Extension, tmp_path: Path) -> None:
    with pytest.raises(ExtensionError, match="two applications cannot share a store"):
        async with app_pair(extension, store=tmp_path / "store"):
            pass
    async with app_pair(extension, store=":memory:") as (left, right):
        await left.store("test").set("key", 1)
        assert await right.store("test").get("key") is None
