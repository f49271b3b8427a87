"""LSPS0, 1 and 2 with an LSP and with a client that are not ours: on LDK's custom messages, written from the bLIPs."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyln.client import RpcError as LightningError
from tests.support.waiting import until

from oddwire import Application, PrivateKey, RpcError, replace
from oddwire.proto.features import feature_bits
from oddwire.transports import Bolt8Transport
from oddwire_extensions.lsps import server
from oddwire_extensions.lsps.client import extension as client
from oddwire_extensions.lsps.demo import DemoLsp
from oddwire_extensions.lsps.times import write_time

pytestmark = pytest.mark.interop

WISH = {
    "lsp_balance_sat": "100000",
    "client_balance_sat": "5000",
    "required_channel_confirmations": 0,
    "funding_confirms_within_blocks": 6,
    "channel_expiry_blocks": 144,
    "announce_channel": False,
}
REFUND = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


@contextlib.asynccontextmanager
async def ours(*extensions: Any, **options: Any) -> AsyncIterator[Application]:
    transport = Bolt8Transport(PrivateKey(os.urandom(32)), network="regtest", listen=["127.0.0.1:0"])
    async with Application(*extensions, transport=transport, **options) as app:
        yield app


class Ldk:
    """LDK's client: calls us."""

    def __init__(self, peer: Any, us: str) -> None:
        self.peer = peer
        self.us = us

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = await self.peer.command("call", peer=self.us, method=method, params=params)
        return answer

    async def get(self, method: str, **params: Any) -> dict[str, Any]:
        answer = await self.ask(method, **params)
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def error(self, method: str, **params: Any) -> tuple[int, Any]:
        error = (await self.ask(method, **params))["error"]
        return error["code"], error.get("data")


class Lsp(DemoLsp):
    """The demo, with times that have no fraction of a second: LDK writes ``.000Z`` as ``Z``."""

    async def pay(self, order_id: str) -> None:
        self.paid.add(order_id)

    async def offers(self, context: Any, token: str | None) -> Any:
        whole = write_time((datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0))
        return [replace(one, valid_until=whole) for one in await super().offers(context, token)]


@pytest.mark.parametrize("dial", ["we dial", "ldk dials"])
async def test_ldk_is_our_client(start_ldk_lsps: Any, dial: str) -> None:
    ldk, lsp = await start_ldk_lsps(lsp=False), Lsp()
    await ldk.listen()
    async with ours(server(lsp), store=":memory:") as app:
        if dial == "we dial":
            await app.connect(ldk.uri)
        else:
            await ldk.connect(app.uris[0])
        us = str(app.node_id)
        seen = await ldk.event("connected", peer=us)
        assert 729 in feature_bits(bytes.fromhex(seen["features"]))
        await use_lsp(Ldk(ldk, us), lsp.pay)
        assert ldk.waiting("wrong") == []
        # What is no request is answered, by bLIP-50, -32700 with a null id
        for text in ("{", " [ ] ", "{}{}", '{"jsonrpc":"2.0","method":5,"id":"1"}', '{"jsonrpc":"2.0","id":"1"}'):
            await ldk.command("raw", peer=us, text=text)
            assert (await ldk.event("unread"))["error"]["code"] == -32700
        assert (await Ldk(ldk, us).get("lsps0.list_protocols"))["protocols"] == [1, 2]


async def use_lsp(ldk: Ldk, pay: Callable[[str], Awaitable[object]]) -> None:
    """Have LDK's client use all that a demo sells."""
    assert await ldk.get("lsps0.list_protocols") == {"protocols": [1, 2]}
    assert await ldk.error("lsps9.any") == (-32601, None)
    code, data = await ldk.error("lsps0.list_protocols", more=1)
    assert (code, data["unrecognized"]) == (-32602, ["more"])

    assert (await ldk.get("lsps1.get_info"))["min_initial_lsp_balance_sat"] == "20000"
    order = await ldk.get("lsps1.create_order", **WISH, refund_onchain_address=REFUND, token="DEMO")
    assert {key: order[key] for key in WISH} == WISH
    assert (order["order_state"], order["token"], order["channel"]) == ("CREATED", "DEMO", None)
    assert order["payment"]["bolt11"]["order_total_sat"] == "5500"
    assert (await ldk.get("lsps1.create_order", **WISH, token=None))["token"] == ""  # as LDK leaves it out
    assert await ldk.error("lsps1.create_order", **WISH, token="x") == (102, None)
    code, data = await ldk.error("lsps1.create_order", **{**WISH, "client_balance_sat": "1000001"})
    assert (code, data["property"]) == (100, "max_initial_client_balance_sat")
    code, data = await ldk.error("lsps1.create_order", **{**WISH, "lsp_balance_sat": 100000})
    assert (code, data["property"]) == (-32602, "lsp_balance_sat")
    assert await ldk.get("lsps1.get_order", order_id=order["order_id"]) == order
    await pay(order["order_id"])
    done = await ldk.get("lsps1.get_order", order_id=order["order_id"])
    assert (done["order_state"], done["payment"]["bolt11"]["state"]) == ("COMPLETED", "PAID")
    assert done["channel"]["funding_outpoint"].endswith(":0")
    assert await ldk.error("lsps1.get_order", order_id="x") == (101, None)

    menu = (await ldk.get("lsps2.get_info", token=None))["opening_fee_params_menu"]
    assert set(menu[0]) == {
        *("min_fee_msat", "proportional", "valid_until", "min_lifetime", "max_client_to_self_delay"),
        *("min_payment_size_msat", "max_payment_size_msat", "promise"),
    }
    params = menu[0]
    as_ldk = {**params, "valid_until": params["valid_until"].replace(".000Z", "Z")}
    for one in (params, as_ldk):
        bought = await ldk.get("lsps2.buy", opening_fee_params=one, payment_size_msat="5000000")
        assert bought["jit_channel_scid"].count("x") == 2
    assert (await ldk.error("lsps2.buy", opening_fee_params={**params, "min_fee_msat": "1"}))[0] == 201
    assert (await ldk.error("lsps2.buy", opening_fee_params=params, payment_size_msat="1000000000001"))[0] == 203
    assert (await ldk.error("lsps2.buy", opening_fee_params=params, payment_size_msat="5"))[0] == 202
    assert (await ldk.error("lsps2.get_info", token="x"))[0] == 200


@pytest.mark.parametrize("dial", ["we dial", "ldk dials"])
async def test_ldk_is_our_lsp(start_ldk_lsps: Any, dial: str) -> None:
    ldk = await start_ldk_lsps(lsp=True)
    await ldk.listen()
    async with ours(client) as app:
        if dial == "we dial":
            await app.connect(ldk.uri)
        else:
            await ldk.connect(app.uris[0])
            await until(lambda: app.peers)
        lsp = ldk.node_id
        seen = await ldk.event("connected")
        assert 729 not in feature_bits(bytes.fromhex(seen["features"]))
        await use_ldk(app.call, lsp)
        assert ldk.waiting("wrong") == []


async def use_ldk(call: Any, lsp: str) -> None:
    """Use all that LDK's LSP has, by our RPC methods."""
    found = await call("lsps-protocols", lsp)
    assert (list(found["protocols"]), found["announced"]) == ([1, 2], True)
    assert (await call("lsps1-get-info", lsp))["max_channel_expiry_blocks"] == 1000
    order = await call("lsps1-create-order", lsp, 100_000, 5_000, None, None, REFUND)
    assert order["payment"]["bolt11"]["order_total_sat"] == "13888"
    assert order["payment"]["onchain"]["refund_onchain_address"] == REFUND
    assert (order["channel_expiry_blocks"], order["funding_confirms_within_blocks"]) == (1000, 6)
    assert await call("lsps1-get-order", lsp, order["order_id"]) == order
    menu = (await call("lsps2-get-info", lsp))["opening_fee_params_menu"]
    assert [one["proportional"] for one in menu] == [1200, 2400]
    assert menu[0]["valid_until"] == "2100-02-23T08:47:30Z"  # and so it goes back
    bought = await call("lsps2-buy", lsp, menu[0], 50_000_000)
    assert (bought["jit_channel_scid"], bought["client_trusts_lsp"]) == ("29451x4815x1", False)
    assert bought["opening_fee_msat"] == "546000"
    for calling, code, data in (
        (call("lsps1-get-order", lsp, "x"), 101, {}),
        (call("lsps1-create-order", lsp, 100_000, 0, None, "x"), 102, {}),
        (call("lsps1-create-order", lsp, 100_000, 10_001), 100, {"property": "max_initial_client_balance_sat"}),
        (call("lsps2-buy", lsp, {**menu[0], "promise": "x"}), 201, None),
        (call("lsps5-list-webhooks", lsp), -32601, None),
    ):
        assert await refused(calling) == (code, data)


async def refused(calling: Awaitable[object]) -> tuple[int, object]:
    """Return the code and data of an error: of our own program's, or of lightningd's JSON-RPC."""
    try:
        await calling
    except RpcError as error:
        return error.code, error.data
    except LightningError as error:
        return error.error["code"], error.error.get("data")
    raise AssertionError("no error")


# Inside a host node -----------------------------------------------------------------------------------


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[[str], Path]:
    """Return a program for ``--plugin=`` that runs a module: ``plugin("oddwire_extensions.lsps")``."""

    def make(module: str) -> Path:
        path = tmp_path / module.rpartition(".")[2]
        path.write_text(f"#!/bin/sh\nexec {sys.executable} -m {module}\n")
        path.chmod(0o755)
        return path

    return make


@pytest.fixture(params=["node", pytest.param("lightningd", marks=pytest.mark.cln)])
def host(request: pytest.FixtureRequest, start: Any, plugin: Callable[[str], Path]) -> Callable[..., Any]:
    """Start a node with modules as its plugins."""
    return lambda *modules: getattr(start, request.param)(*(plugin(f"oddwire_extensions.{one}") for one in modules))


async def test_ldk_is_the_client_of_a_host_node(host: Callable[..., Any], start_ldk_lsps: Any) -> None:
    # The client is another process on the same messages, and answers nothing
    ldk, node = await start_ldk_lsps(lsp=False), host("lsps.demo", "lsps.client")
    await ldk.connect(node.uri)
    seen = await ldk.event("connected", peer=node.node_id)
    assert 729 in feature_bits(bytes.fromhex(seen["features"]))
    await use_lsp(Ldk(ldk, node.node_id), lambda order_id: node.call("lsps-demo-pay", order_id))
    assert ldk.waiting("wrong") == []
    assert {order["client"] for order in await node.call("lsps-orders")} == {ldk.node_id}


async def test_a_host_node_is_the_client_of_ldk(host: Callable[..., Any], start_ldk_lsps: Any) -> None:
    ldk, node = await start_ldk_lsps(lsp=True), host("lsps.client")
    await ldk.listen()
    await node.connect(ldk.uri)
    await use_ldk(node.call, ldk.node_id)
    assert ldk.waiting("wrong") == []


async def test_a_host_node_answers_lsps0(host: Callable[..., Any], start_ldk_lsps: Any) -> None:
    ldk, node = await start_ldk_lsps(lsp=False), host("lsps")
    await ldk.connect(node.uri)
    await ldk.event("connected", peer=node.node_id)
    peer = Ldk(ldk, node.node_id)
    assert await peer.get("lsps0.list_protocols") == {"protocols": []}
    assert await peer.error("lsps1.get_info") == (-32601, None)
    assert ldk.waiting("wrong") == []
