"""A program's methods at its own socket answer as they do under lightningd."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from oddwire import AppContext, Application, Extension, NodeRefused, RpcError
from oddwire.app.local_rpc import LocalRpc, program_facts
from oddwire.jsonrpc import JsonRpcClient
from oddwire.transports.memory import MemoryTransport


class Gates:
    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()


@pytest.fixture
def gates() -> Gates:
    return Gates()


@pytest.fixture
async def app(gates: Gates) -> AsyncIterator[Application]:
    extension = Extension("shop", version="1.2")

    @extension.rpc("shop-add")
    async def add(context: AppContext, a: int, b: int = 1) -> dict[str, int]:
        return {"sum": a + b}

    @extension.rpc("shop-fail")
    async def fail(context: AppContext, how: str) -> None:
        if how == "refuse":
            raise RpcError(102, "out of stock", data={"left": 0})
        if how == "value":
            raise ValueError("no such thing")
        raise KeyError(how)

    @extension.rpc("shop-hang")
    async def hang(context: AppContext) -> None:
        context.progress(1, 10)
        gates.begun.set()
        await gates.ended.wait()

    async with Application(extension, transport=MemoryTransport()) as app:
        yield app


@pytest.fixture
async def rpc(app: Application, tmp_path: Path) -> AsyncIterator[LocalRpc]:
    rpc = LocalRpc(app, tmp_path / "rpc", name="shop", kind="run")
    assert await rpc.open()
    yield rpc
    await rpc.aclose()


@pytest.fixture
async def client(rpc: LocalRpc, tmp_path: Path) -> AsyncIterator[JsonRpcClient]:
    async with JsonRpcClient(tmp_path / "rpc") as client:
        yield client


async def refused(client: JsonRpcClient, method: str, params: Any) -> tuple[int, str, Any]:
    with pytest.raises(NodeRefused) as caught:
        await client.call(method, params)
    return caught.value.code, str(caught.value), caught.value.data


async def test_parameters_by_position_and_by_name(client: JsonRpcClient) -> None:
    assert await client.call("shop-add", [1, 2]) == {"sum": 3}
    assert await client.call("shop-add", {"a": "5"}) == {"sum": 6}
    assert await client.call("check", ["shop-add", 1]) == {"command_to_check": "shop-add"}
    assert await client.call("check", {"command_to_check": "shop-add", "a": 1}) == {"command_to_check": "shop-add"}


async def test_errors_have_the_codes_that_they_have_under_lightningd(client: JsonRpcClient) -> None:
    assert (await refused(client, "shop-add", []))[:2] == (-32602, "missing required parameter: a")
    assert (await refused(client, "shop-add", ["x"]))[0] == -32602
    assert (await refused(client, "check", ["shop-add", "x"]))[0] == -32602
    assert await refused(client, "shop-fail", ["refuse"]) == (102, "out of stock", {"left": 0})
    assert (await refused(client, "shop-fail", ["value"]))[:2] == (-1, "no such thing")
    assert (await refused(client, "shop-fail", ["bug"]))[:2] == (-32603, "shop-fail: internal error (see logs)")
    assert (await refused(client, "shop-sell", []))[:2] == (-32601, "Unknown command 'shop-sell'")


async def test_it_lists_its_methods_and_says_what_it_is(client: JsonRpcClient, app: Application) -> None:
    listed = [entry["command"] for entry in (await client.call("help", []))["help"]]
    assert {"shop-add a [b]", "shop-hang ", "help [command]", "oddwire-program "} <= {*listed}
    told = await client.call("oddwire-program", [])
    assert told == program_facts(app, "shop", "run")
    assert told["extensions"] == [{"name": "shop", "version": "1.2"}]


async def test_a_call_that_hangs_holds_up_no_other(client: JsonRpcClient, gates: Gates, tmp_path: Path) -> None:
    hanging = asyncio.create_task(client.call("shop-hang", []))
    await gates.begun.wait()
    async with contextlib.AsyncExitStack() as stack:
        others = [await stack.enter_async_context(JsonRpcClient(tmp_path / "rpc")) for _ in range(50)]
        found = await asyncio.gather(*(other.call("shop-add", [n, 0]) for n, other in enumerate(others)))
    assert found == [{"sum": n} for n in range(50)]
    assert await client.call("shop-add", [1]) == {"sum": 2}
    gates.ended.set()
    assert await hanging == {}


async def test_progress_is_shown_to_who_wants_it(rpc: LocalRpc, gates: Gates, tmp_path: Path) -> None:
    seen: list[tuple[str, Any]] = []
    gates.ended.set()
    async with JsonRpcClient(tmp_path / "rpc", on_notification=lambda *told: seen.append(told)) as client:
        await client.call("shop-hang", [])
        assert seen == []
        await client.call("notifications", [True])
        await client.call("shop-hang", [])
    ((method, params),) = seen
    assert (method, params["num"], params["total"]) == ("progress", 1, 10)


async def test_at_the_end_calls_under_way_are_told(rpc: LocalRpc, client: JsonRpcClient, gates: Gates) -> None:
    hanging = asyncio.create_task(refused(client, "shop-hang", []))
    await gates.begun.wait()
    rpc.end()
    assert (await refused(client, "shop-add", [1]))[:2] == (-5, "the program is shutting down")
    await rpc.aclose()
    assert (await hanging)[:2] == (-4, "the program ended before it had answered")


async def test_an_extensions_method_of_one_of_our_names_wins(tmp_path: Path) -> None:
    extension = Extension("own", version="1.0")

    @extension.rpc("oddwire-program")
    async def mine(context: AppContext) -> str:
        return "mine"

    async with Application(extension, transport=MemoryTransport()) as app:
        rpc = LocalRpc(app, tmp_path / "rpc", name="own", kind="run")
        assert await rpc.open()
        async with JsonRpcClient(tmp_path / "rpc") as client:
            assert await client.call("oddwire-program", []) == "mine"
        await rpc.aclose()


async def test_a_socket_of_another_process_is_left_alone(
    app: Application, rpc: LocalRpc, tmp_path: Path, caplog
) -> None:
    second = LocalRpc(app, tmp_path / "rpc", name="shop", kind="run")
    assert not await second.open()
    assert "'oddwire call' does not reach this program: cannot listen" in caplog.text
    await second.aclose()
    async with JsonRpcClient(tmp_path / "rpc") as client:
        assert await client.call("shop-add", [1]) == {"sum": 2}


async def test_one_that_ends_is_waited_for(app: Application, rpc: LocalRpc, tmp_path: Path) -> None:
    second = LocalRpc(app, tmp_path / "rpc", name="shop", kind="run", patience=30.0)
    assert not await second.open()
    await rpc.aclose()
    await second.opened()
    async with JsonRpcClient(tmp_path / "rpc") as client:
        assert await client.call("shop-add", [1]) == {"sum": 2}
    await second.aclose()
