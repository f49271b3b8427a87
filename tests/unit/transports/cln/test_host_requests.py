"""What the node asks of the application, and every way to answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from oddwire.errors import NodeRefused
from oddwire.transports.base import PROGRESS, HostMethod, HostOption, Manifest
from oddwire.transports.cln.host_requests import HostRequests


class Host:
    """Asks `HostRequests`; ``answers`` are what it said, in order."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []
        self.calls = HostRequests(lambda data: self.answers.append(json.loads(data)))
        self.checked: list[Any] = []
        self.values: list[Any] = []
        self.release = asyncio.Event()
        self.shows: list[Any] = []
        method = HostMethod(name="quote", usage="", description="", call=self.call, check=self.check)
        options = (
            HostOption(name="asset", type="string", description="", dynamic=True, set=self.set_asset),
            HostOption(name="fixed", type="string", description="", set=self.set_asset),
        )
        self.manifest = Manifest(rpc_methods=(method,), options=options)

    async def call(self, params: Any) -> Any:
        what = params[0] if isinstance(params, list) and params else None
        if what == "wait":
            await self.release.wait()
        elif what == "refuse":
            raise NodeRefused("no", code=7, data={"a": 1})
        elif what == "raise":
            raise RuntimeError("a secret of the handler's")
        elif what == "exit":
            raise SystemExit(3)
        elif what == "object":
            return object()
        elif what == "progress":
            show = PROGRESS.get()
            for done in range(params[1] + 1):
                show(done, params[1])
            self.shows.append(show)
        return {"params": params}

    def check(self, params: Any) -> None:
        self.checked.append(params)
        if params == ["bad"]:
            raise NodeRefused("bad", code=-32602)

    def set_asset(self, value: Any) -> None:
        if value == "bad":
            raise ValueError("not bad, please")
        self.values.append(value)

    async def ask(self, method: Any, params: Any = None, key: Any = "1") -> dict[str, Any]:
        before = len(self.answers)
        self.calls.take_request({"jsonrpc": "2.0", "id": key, "method": method, "params": params})
        async with asyncio.timeout(20):
            while len(self.answers) == before:
                await asyncio.sleep(0)
        answer = self.answers[-1]
        assert answer["id"] == key
        assert answer["jsonrpc"] == "2.0"
        assert set(answer) - {"jsonrpc", "id"} in ({"result"}, {"error"})
        return answer


@pytest.fixture
async def host() -> Host:
    host = Host()
    host.calls.begin(host.manifest)
    return host


@pytest.mark.parametrize("params", [[], {}, [1, "b"], {"asset": "eur"}])
@pytest.mark.parametrize("key", ["a", 3, None, [1]])
async def test_a_call(host: Host, params: Any, key: Any) -> None:
    assert (await host.ask("quote", params, key))["result"] == {"params": params}


async def test_params_that_are_none(host: Host) -> None:
    assert (await host.ask("quote", "text"))["result"] == {"params": {}}


async def test_errors(host: Host) -> None:
    assert (await host.ask("quote", ["refuse"]))["error"] == {"code": 7, "message": "no", "data": {"a": 1}}
    assert (await host.ask("quote", ["raise"]))["error"] == {"code": -32603, "message": "quote: RuntimeError"}
    assert (await host.ask("quote", ["exit"]))["error"] == {"code": -32603, "message": "quote: SystemExit"}
    error = (await host.ask("quote", ["object"]))["error"]
    assert error["code"] == -32603
    assert error["message"].startswith("quote: TypeError: ")  # the rest is json's, which pyln-client changes
    assert (await host.ask("other"))["error"] == {"code": -32601, "message": "Unknown command 'other'"}
    assert (await host.ask({}))["error"]["code"] == -32601


async def test_calls_do_not_wait_for_each_other(host: Host) -> None:
    host.calls.take_request({"id": "slow", "method": "quote", "params": ["wait"]})
    assert (await host.ask("quote", [2]))["result"] == {"params": [2]}
    host.release.set()
    while len(host.answers) < 2:
        await asyncio.sleep(0)
    assert host.answers[1]["id"] == "slow"


async def test_check(host: Host) -> None:
    by_name = {"command_to_check": "quote", "asset": "eur"}
    assert (await host.ask("check", by_name))["result"] == {"command_to_check": "quote"}
    assert (await host.ask("check", ["quote", "eur"]))["result"] == {"command_to_check": "quote"}
    assert host.checked == [{"asset": "eur"}, ["eur"]]
    assert (await host.ask("check", ["quote", "bad"]))["error"] == {"code": -32602, "message": "bad"}
    for params in ([], {}, ["other"], [["quote"]]):
        assert (await host.ask("check", params))["error"]["code"] == -32601
    checked = await host.ask("check", {"command_to_check": "setconfig", "config": "asset", "val": "usd"})
    assert checked["result"] == {"command_to_check": "setconfig"}
    assert host.values == []


async def test_setconfig(host: Host) -> None:
    assert (await host.ask("setconfig", {"config": "asset", "val": "usd"}))["result"] == {}
    assert (await host.ask("setconfig", ["asset", "eur"]))["result"] == {}
    assert (await host.ask("setconfig", {"config": "asset"}))["result"] == {}
    assert host.values == ["usd", "eur", None]
    bad = await host.ask("setconfig", {"config": "asset", "val": "bad"})
    assert bad["error"] == {"code": -32602, "message": "asset: not bad, please"}
    for name in ("fixed", "other", None, []):
        assert (await host.ask("setconfig", {"config": name, "val": 1}))["error"]["code"] == -32602


async def test_early_calls_wait() -> None:
    host = Host()
    for number in range(3):
        host.calls.take_request({"id": number, "method": "quote", "params": [number]})
    await asyncio.sleep(0)
    assert host.answers == []
    host.calls.begin(host.manifest)
    assert (await host.ask("quote", [9]))["result"] == {"params": [9]}
    assert [answer["id"] for answer in host.answers] == [0, 1, 2, "1"]


async def test_each_call_waits_until_we_are_ready_for_it() -> None:
    host = Host()
    gate = asyncio.Event()

    async def ready() -> None:
        await gate.wait()

    host.calls.begin(host.manifest, ready)
    assert (await host.ask("setconfig", ["asset", "usd"]))["result"] == {}  # which needs no peers
    host.calls.take_request({"id": 1, "method": "quote", "params": []})
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(host.answers) == 1
    gate.set()
    assert (await host.ask("quote", [9]))["result"] == {"params": [9]}
    assert [answer["id"] for answer in host.answers[1:]] == [1, "1"]


async def test_the_end_answers_everybody() -> None:
    host = Host()
    host.calls.take_request({"id": "early", "method": "quote", "params": []})
    await host.calls.aclose()
    host.calls.take_request({"id": "late", "method": "quote", "params": []})
    assert [(answer["id"], answer["error"]["code"]) for answer in host.answers] == [("early", -4), ("late", -4)]
    host = Host()
    host.calls.begin(host.manifest)
    host.calls.take_request({"id": "slow", "method": "quote", "params": ["wait"]})
    await asyncio.sleep(0)
    await host.calls.aclose()
    await host.calls.aclose()
    assert [(answer["id"], answer["error"]["code"]) for answer in host.answers] == [("slow", -4)]


async def test_a_method_says_how_far_it_is() -> None:
    host = Host()
    host.calls.begin(host.manifest)
    for total in (3000, 0):
        host.answers.clear()
        host.calls.take_request({"jsonrpc": "2.0", "id": "7", "method": "quote", "params": ["progress", total]})
        async with asyncio.timeout(20):
            while not host.answers or "method" in host.answers[-1]:
                await asyncio.sleep(0)
        *notifications, answer = host.answers
        assert answer["id"] == "7"
        assert {(notified["method"], notified["params"]["id"]) for notified in notifications} == {("progress", "7")}
        shown = [(notified["params"]["num"], notified["params"]["total"]) for notified in notifications]
        # The first, the last, and those for which it was time; lightning-cli counts from 0 to one less than the total
        assert shown[0] == (0, max(total, 1))
        assert shown[-1] == (max(total - 1, 0), max(total, 1))
        assert len(shown) < 100
        before = len(host.answers)
        host.shows[-1](1, 2)  # something that the method has left behind
        assert len(host.answers) == before
    await host.calls.aclose()
    assert PROGRESS.get() is None
