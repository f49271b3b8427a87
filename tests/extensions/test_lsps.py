from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from oddwire import (
    AppContext,
    Application,
    Context,
    Extension,
    ExtensionError,
    MalformedMessage,
    PrivateKey,
    RpcError,
    replace,
)
from oddwire.app import PeerRpc
from oddwire.cli.console import Console
from oddwire.cli.events import Printer
from oddwire.errors import RemoteRpcError, ReplyTimeout
from oddwire.known import lsps0, lsps1, lsps2, lsps5
from oddwire.proto.keys import NodeId, PublicKey, ShortChannelId
from oddwire.transports import MemoryNetwork
from oddwire_extensions.lsps import Lsps1, Lsps2, Sale, bad_token, kept, kept_orders, lsp, open_sales, rejected, server
from oddwire_extensions.lsps import client as client_module
from oddwire_extensions.lsps.checks import is_address
from oddwire_extensions.lsps.client import extension as client
from oddwire_extensions.lsps.client import rpc
from oddwire_extensions.lsps.terms import is_promised, with_promise
from oddwire_extensions.lsps.times import read_time, write_time

from .conftest import Pair, Recorder

TYPE = 37913
ADDRESS = "bc1qvmsy0f3yyes6z9jvddk8xqwznndmdwapvrc0xrmhd3vqj5rhdrrq6hz49h"
ALICE = NodeId(PublicKey.from_hex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"))
CAROL = NodeId(PublicKey.from_hex("02f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9"))
BOB = NodeId(PublicKey.from_hex("02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"))

INFO = lsps1.Info(
    min_required_channel_confirmations=1,
    min_funding_confirms_within_blocks=6,
    supports_zero_channel_reserve=True,
    max_channel_expiry_blocks=20160,
    min_initial_client_balance_sat=0,
    max_initial_client_balance_sat=1_000_000,
    min_initial_lsp_balance_sat=20_000,
    max_initial_lsp_balance_sat=2**64 - 1,
    min_channel_balance_sat=50_000,
    max_channel_balance_sat=2**64 - 1,
)
WISH = lsps1.CreateOrder(
    lsp_balance_sat=100_000,
    client_balance_sat=5_000,
    required_channel_confirmations=1,
    funding_confirms_within_blocks=6,
    channel_expiry_blocks=144,
    announce_channel=True,
)
PARAMS = lsps2.OpeningFeeParams(
    min_fee_msat=546_000,
    proportional=1200,
    valid_until="2100-02-23T08:47:30.511Z",
    min_lifetime=1008,
    max_client_to_self_delay=2016,
    min_payment_size_msat=1_000_000,
    max_payment_size_msat=10**12,
    promise="",
)


class Shop(Lsps1, Lsps2):
    """Sells what a test wants it to."""

    def __init__(self) -> None:
        self.expires = datetime.now(UTC) + timedelta(hours=1)
        self.onchain = False
        self.menu: list[lsps2.OpeningFeeParams] = [PARAMS, replace(PARAMS, proportional=2400)]
        self.changes: dict[str, dict[str, Any]] = {}
        self.bought: list[tuple[lsps2.Buy, int | None]] = []
        self.offered = 0
        self.clients: set[NodeId] = set()

    async def info(self, context: Context) -> lsps1.Info:
        return INFO

    async def offer(self, context: Context, order_id: str, wish: lsps1.CreateOrder) -> lsps1.Payment:
        self.offered += 1
        if wish.token == "stale":
            raise bad_token(1)
        if wish.token == "wrong":
            raise KeyError(wish.token)
        way = {
            "state": lsps1.PaymentState.EXPECT_PAYMENT,
            "expires_at": write_time(self.expires),
            "fee_total_sat": 1000,
            "order_total_sat": 1000 + wish.client_balance_sat,
        }
        onchain = lsps1.Onchain(**way, address=ADDRESS, min_onchain_payment_confirmations=1) if self.onchain else None
        return lsps1.Payment(bolt11=lsps1.Bolt11(**way, invoice=f"lnbcrt{order_id}"), onchain=onchain)

    async def refresh(self, context: AppContext, client: NodeId, order: lsps1.Order) -> lsps1.Order:
        self.clients.add(client)
        if order.order_id == "broken":
            raise KeyError(order.order_id)
        return replace(order, **self.changes.get(order.order_id, {}))

    async def offers(self, context: Context, token: str | None) -> Sequence[lsps2.OpeningFeeParams]:
        if token == "stale":
            raise bad_token(2)
        return self.menu

    async def buy(self, context: Context, wish: lsps2.Buy, fee_msat: int | None) -> lsps2.Bought:
        self.bought.append((wish, fee_msat))
        if wish.payment_size_msat == 7_000_000:
            raise rejected("no sevens")
        return lsps2.Bought(jit_channel_scid=ShortChannelId(1, len(self.bought), 1), lsp_cltv_expiry_delta=144)


PAID = {
    "order_state": lsps1.OrderState.COMPLETED,
    "channel": lsps1.Channel(
        funded_at="2025-01-01T00:00:00Z", funding_outpoint=f"{1:064x}:0", expires_at="2025-01-02T00:00:00Z"
    ),
}


@pytest.fixture
def shop() -> Shop:
    return Shop()


async def refusal(calling: Any) -> tuple[int, str, object]:
    """Return the error that an LSP has answered."""
    with pytest.raises(RpcError) as caught:
        await calling
    text = caught.value.text.removeprefix("the LSP answered: ").partition(": ")[0]
    return caught.value.code, text, caught.value.data


async def called(app: Any, method: str, params: object = None) -> Any:
    """Call the LSP as no client of ours would; return its error as `refusal` does, or its result."""
    try:
        return await rpc.call(app.peers[0], method, params)
    except RemoteRpcError as error:
        return error.code, error.text, error.data


# LSPS0 ------------------------------------------------------------------------------------------------


async def test_an_lsp_says_what_it_serves(pair: Pair, shop: Shop) -> None:
    async with pair((server(shop),), (client,)) as (left, right):
        found = await right.call("lsps-protocols", str(left.node_id))
        assert found == {"protocols": (1, 2), "announced": True}
        assert left.peers[0].info is not None
        assert not left.peers[0].info.has_feature(729)  # clients must not set it


# Requests as LDK's client writes them, lightning-liquidity 0.3.0-rc3, but for the ids. It knows no data of an error but
# a text, and ignores an LSP after a message that it cannot read, until they connect again.
LDK_ORDER = (
    '{"jsonrpc":"2.0","id":"a1","method":"lsps1.create_order","params":{"lsp_balance_sat":"100000",'
    '"client_balance_sat":"5000","required_channel_confirmations":1,"funding_confirms_within_blocks":6,'
    '"channel_expiry_blocks":144,"token":"stale","announce_channel":false}}'
)
LDK_BUY = (
    '{"jsonrpc":"2.0","id":"a1","method":"lsps2.buy","params":{"opening_fee_params":{"min_fee_msat":"546000",'
    '"proportional":1200,"valid_until":"2100-02-23T08:47:30.511Z","min_lifetime":1008,'
    '"max_client_to_self_delay":2016,"min_payment_size_msat":"1000000","max_payment_size_msat":"1000000000000",'
    '"promise":"PROMISE"},"payment_size_msat":"SIZE"}}'
)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (
            '{"jsonrpc":"2.0","id":"a1","method":"lsps1.get_order","params":{"order_id":"x"}}',
            '{"code":101,"message":"Not found"}',
        ),
        (LDK_ORDER, '{"code":102,"message":"Unrecognized or stale token"}'),
        (
            '{"jsonrpc":"2.0","id":"a1","method":"lsps2.get_info","params":{"token":"stale"}}',
            '{"code":200,"message":"Unrecognized or stale token"}',
        ),
        (
            LDK_BUY.replace("PROMISE", "00"),
            '{"code":201,"message":"Invalid opening fee params: they were not promised to this client"}',
        ),
        (LDK_BUY.replace("SIZE", "5"), '{"code":202,"message":"Payment size too small: 1000000 msat at least"}'),
        (
            LDK_BUY.replace("SIZE", "1000000000001"),
            '{"code":203,"message":"Payment size too large: 1000000000000 msat at most"}',
        ),
    ],
    ids=("101", "102", "200", "201", "202", "203"),
)
async def test_ldk_reads_each_error_that_needs_no_data(
    run_app: Any, raw_peer: Any, shop: Shop, request_: str, error: str
) -> None:
    async with run_app(server(shop)) as app, raw_peer(app) as peer:

        async def answer(request: str) -> str:
            await peer.send((37913).to_bytes(2, "big") + request.encode())
            return bytes.fromhex(await peer.receive(37913))[2:].decode()

        info = await answer('{"jsonrpc":"2.0","id":"a0","method":"lsps2.get_info","params":{"token":null}}')
        promise = json.loads(info)["result"]["opening_fee_params_menu"][0]["promise"]
        found = await answer(request_.replace("PROMISE", promise).replace("SIZE", "5000000"))
        assert found == f'{{"jsonrpc":"2.0","id":"a1","error":{error}}}'


async def test_one_without_backends_serves_lsps0_alone(pair: Pair, recorder: Recorder) -> None:
    async with pair(("lsps",), ("lsps-client", recorder)) as (left, right):
        found = await right.call("lsps-protocols", str(left.node_id))
        assert found == {"protocols": (), "announced": True}
        assert await refusal(right.call("lsps1-get-info", str(left.node_id))) == (
            -32601,
            "Method not found",
            None,
        )
        first, _ = await recorder.until("sent", TYPE)
        assert first.payload.startswith(b'\x94\x19{"jsonrpc":"2.0","method":"lsps0.list_protocols","params":{},"id":"')


async def test_both_sides_may_be_loaded_in_one_node(pair: Pair, shop: Shop) -> None:
    async with pair((server(shop), client), (server(), client)) as (left, right):
        assert (await right.call("lsps-protocols", str(left.node_id)))["protocols"] == (1, 2)
        assert (await left.call("lsps-protocols", str(right.node_id)))["protocols"] == ()


class OnlyOrders(Lsps1):
    """Inherits what it has to have."""

    info, offer, refresh = Shop.info, Shop.offer, Shop.refresh


async def test_a_backend_serves_what_it_is_one_of(pair: Pair) -> None:
    async with pair((server(OnlyOrders()),), (client,)) as (left, right):
        assert (await right.call("lsps-protocols", str(left.node_id)))["protocols"] == (1,)
        assert (await refusal(right.call("lsps2-get-info", str(left.node_id))))[0] == -32601


@pytest.mark.parametrize("wrong", [Shop, Lsps1, 5, None, "Shop", [], object()])
def test_what_is_no_backend_is_refused(wrong: Any) -> None:
    hint = r"; \w+\(\) is one$" if isinstance(wrong, type) else "$"
    with pytest.raises(TypeError, match=rf"server\(\) takes objects of subclasses of Lsps1 and Lsps2, not .*{hint}"):
        server(wrong)
    with pytest.raises(TypeError, match="takes objects"):
        server(Shop(), wrong)


def test_what_backends_call_says_what_it_takes() -> None:
    assert (bad_token(1).code, bad_token(2).code) == (102, 200)
    for number in (5, "1", None):
        with pytest.raises(
            ValueError, match=r"bad_token\(\) takes 1 or 2: there are tokens in LSPS1 and LSPS2, not in"
        ):
            bad_token(number)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"rejected\(\) takes a text for the client, not 5"):
        rejected(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"read_time\(\) takes a text such as '2023-02-23T08:47:30.511Z', not None"):
        read_time(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"write_time\(\) takes a datetime, datetime.now\(UTC\) say, not '2023'"):
        write_time("2023")  # type: ignore[arg-type]


def test_two_backends_of_one_kind_are_refused(shop: Shop) -> None:
    with pytest.raises(ValueError, match="there are 2 backends of LSPS1; there should be one"):
        server(shop, OnlyOrders())
    with pytest.raises(TypeError, match="abstract"):
        Lsps1()  # type: ignore[abstract]


# LSPS1 ------------------------------------------------------------------------------------------------


async def test_a_channel_is_ordered_paid_and_opened(pair: Pair, shop: Shop) -> None:
    async with pair((server(shop),), (client,)) as (left, right):
        node_id = str(left.node_id)
        assert (await right.call("lsps1-get-info", node_id))["max_initial_lsp_balance_sat"] == "18446744073709551615"
        order = await right.call("lsps1-create-order", node_id, 100_000, 5_000)
        assert order["payment"]["bolt11"]["order_total_sat"] == "6000"
        assert (order["order_state"], order["channel"], order["token"]) == ("CREATED", None, "")
        assert (order["channel_expiry_blocks"], order["required_channel_confirmations"]) == (4320, 1)
        assert len(order["order_id"]) == 36
        assert await right.call("lsps1-get-order", node_id, order["order_id"]) == order
        moment = write_time(datetime.now(UTC))
        channel = lsps1.Channel(funded_at=moment, funding_outpoint=f"{1:064x}:0", expires_at=moment)
        shop.changes[order["order_id"]] = {**PAID, "channel": channel}
        done = await right.call("lsps1-get-order", node_id, order["order_id"])
        assert (done["order_state"], done["channel"]["funding_outpoint"]) == ("COMPLETED", f"{1:064x}:0")
        assert shop.clients == {right.node_id}
        [kept] = await left.call("lsps-orders")
        assert kept == {"id": order["order_id"], "client": str(right.node_id), **done}


async def test_orders_outlive_a_restart(shop: Shop, tmp_path: Path) -> None:
    async with pair_of(shop, tmp_path) as (left, right):
        order = await right.call("lsps1-create-order", str(left.node_id), 100_000)
        menu = (await right.call("lsps2-get-info", str(left.node_id)))["opening_fee_params_menu"]
    async with pair_of(shop, tmp_path) as (left, right):
        assert await right.call("lsps1-get-order", str(left.node_id), order["order_id"]) == order
        await right.call("lsps2-buy", str(left.node_id), menu[0])  # its promise does, too


@asynccontextmanager
async def pair_of(shop: Shop, folder: Path) -> AsyncIterator[tuple[Application, Application]]:
    """Run an LSP with a store, and a client, each with the key that it had before."""
    network = MemoryNetwork()
    left = Application(server(shop), transport=network.transport(PrivateKey(b"\1" * 32)), store=folder / "lsp")
    right = Application(client, transport=network.transport(PrivateKey(b"\2" * 32)))
    async with left, right:
        await right.connect(left.uris[0])
        yield left, right


async def test_an_order_is_its_clients_alone(pair: Pair, shop: Shop) -> None:
    async with pair((server(shop),), (client,)) as (left, right):
        order = await right.call("lsps1-create-order", str(left.node_id), 100_000)
        await left.store("lsps").execute("UPDATE lsps_orders SET client = ?", (str(CAROL),))
        not_found = (101, "Not found", None)
        assert await refusal(right.call("lsps1-get-order", str(left.node_id), order["order_id"])) == not_found
        assert await refusal(right.call("lsps1-get-order", str(left.node_id), "")) == not_found


@pytest.mark.parametrize(
    ("changes", "code", "name"),
    [
        ({"lsp_balance_sat": "0"}, -32602, "lsp_balance_sat"),
        ({"channel_expiry_blocks": 0}, -32602, "channel_expiry_blocks"),
        ({"announce_channel": "yes"}, -32602, "announce_channel"),
        ({"lsp_balance_sat": 100_000}, -32602, "lsp_balance_sat"),
        ({"lsp_balance_sat": "1e5"}, -32602, "lsp_balance_sat"),
        ({"lsp_balance_sat": "+5"}, -32602, "lsp_balance_sat"),
        ({"lsp_balance_sat": "18446744073709551616"}, -32602, "lsp_balance_sat"),
        ({"required_channel_confirmations": -1}, -32602, "required_channel_confirmations"),
        ({"required_channel_confirmations": 65536}, -32602, "required_channel_confirmations"),
        ({"refund_onchain_address": "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"}, -32602, "refund_onchain_address"),
        ({"refund_onchain_address": "x" * 60_000}, -32602, "refund_onchain_address"),
        ({"token": "x" * 1025}, -32602, "token"),
        ({"more": 1}, -32602, "more"),
        ({"required_channel_confirmations": 0}, 100, "min_required_channel_confirmations"),
        ({"funding_confirms_within_blocks": 5}, 100, "min_funding_confirms_within_blocks"),
        ({"channel_expiry_blocks": 20161}, 100, "max_channel_expiry_blocks"),
        ({"client_balance_sat": "1000001"}, 100, "max_initial_client_balance_sat"),
        ({"lsp_balance_sat": "19999"}, 100, "min_initial_lsp_balance_sat"),
        ({"lsp_balance_sat": "44999"}, 100, "min_channel_balance_sat"),
        ({"lsp_balance_sat": "18446744073709551615"}, 100, "max_channel_balance_sat"),
    ],
)
async def test_what_may_not_be_ordered(
    app_pair: Any, shop: Shop, changes: dict[str, Any], code: int, name: str
) -> None:
    async with app_pair(server(shop), client) as (_, right):
        params = {**lsps1.CREATE_ORDER.dump_params(WISH), **changes}
        error = await called(right, "lsps1.create_order", params)
        assert error[0] == code
        assert error[2]["property"] == name
        assert error[2]["message"]
        if code == -32602:
            assert error[2]["unrecognized"] == (["more"] if name == "more" else [])
        assert shop.offered == 0


async def test_a_backend_refuses_and_fails(pair: Pair, shop: Shop) -> None:
    async with pair((server(shop),), (client,)) as (left, right):
        ordering = ("lsps1-create-order", str(left.node_id), 100_000, 0, None)
        assert await refusal(right.call(*ordering, "stale")) == (102, "Unrecognized or stale token", None)
        assert await refusal(right.call(*ordering, "wrong")) == (-32603, "Internal error", None)
        shop.onchain = True
        assert await refusal(right.call(*ordering)) == (-32603, "Internal error", None)  # without an address for it
        assert (await right.call(*ordering, None, ADDRESS))["payment"]["onchain"]["address"] == ADDRESS
        assert len(await left.call("lsps-orders")) == 1


async def test_orders_are_bounded_for_one_and_for_all(pair: Pair, shop: Shop) -> None:
    async with pair((server(shop),), (client,), {"lsps-open": "24"}) as (left, right):
        ordering = ("lsps1-create-order", str(left.node_id), 100_000)
        orders = [await right.call(*ordering) for _ in range(10)]
        full = (1, "Client rejected", {"message": "10 of yours are open"})
        assert await refusal(right.call(*ordering)) == full
        assert shop.offered == 10
        store = left.store("lsps")
        await store.execute("UPDATE lsps_orders SET client = ?", (str(CAROL),))  # another made them
        orders += [await right.call(*ordering) for _ in range(2)]
        too_many = (1, "Client rejected", {"message": "too many are open; try again later"})
        assert await refusal(right.call(*ordering)) == too_many
        shop.changes[orders[-1]["order_id"]] = PAID
        await right.call("lsps1-get-order", str(left.node_id), orders[-1]["order_id"])
        for _ in range(9):
            await right.call(*ordering)  # who has paid before has room beyond that of strangers
        assert await refusal(right.call(*ordering)) == full
        await store.execute("UPDATE lsps_orders SET client = ? WHERE paid = 0", (str(CAROL),))
        for _ in range(4):
            await right.call(*ordering)
        assert await refusal(right.call(*ordering)) == too_many
        assert shop.offered == 25


async def test_a_bound_that_is_none_is_refused(shop: Shop) -> None:
    app = Application(server(shop), transport="memory", store=":memory:", options={"lsps-open-of-one": "1"})
    with pytest.raises(ExtensionError, match="should be 2 at least, not 1"):
        await app.start()


async def test_many_at_once_do_not_exceed_it(pair: Pair, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    offer = shop.offer

    async def slow(*arguments: Any) -> lsps1.Payment:
        found = await offer(*arguments)
        await asyncio.sleep(0)
        return found

    monkeypatch.setattr(shop, "offer", slow)
    async with pair((server(shop),), (client,)) as (left, right):
        ordering = [right.call("lsps1-create-order", str(left.node_id), 100_000) for _ in range(30)]
        found = await asyncio.gather(*ordering, return_exceptions=True)
        assert sum(isinstance(one, RpcError) for one in found) == 30 - 10
        assert len(await left.call("lsps-orders")) == 10
        assert shop.offered == 10  # what would not be kept has cost the backend nothing


async def test_what_a_backend_does_not_sell_takes_no_place(pair: Pair, shop: Shop) -> None:
    async with pair((server(shop),), (client,), {"lsps-open-of-one": "2"}) as (left, right):
        ordering = ("lsps1-create-order", str(left.node_id), 100_000)
        for _ in range(3):
            assert (await refusal(right.call(*ordering, None, None, "stale")))[0] == lsps1.BAD_TOKEN
        found = await asyncio.gather(*(right.call(*ordering) for _ in range(4)), return_exceptions=True)
        assert sum(isinstance(one, RpcError) for one in found) == 2


async def test_many_purchases_at_once_cost_the_backend_no_more_than_are_kept(
    pair: Pair, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[lsps2.Buy] = []
    sell = shop.buy

    async def slow(context: Context, wish: lsps2.Buy, fee: int | None) -> lsps2.Bought:
        asked.append(wish)
        await asyncio.sleep(0)
        return await sell(context, wish, fee)

    monkeypatch.setattr(shop, "buy", slow)
    async with pair((server(shop),), (client,)) as (left, right):
        entry, _ = await offers(right, left)
        buying = [right.call("lsps2-buy", str(left.node_id), entry) for _ in range(30)]
        found = await asyncio.gather(*buying, return_exceptions=True)
        assert sum(isinstance(one, RpcError) for one in found) == 30 - 10
        assert len(asked) == 10


async def test_what_a_client_has_begun_counts_though_it_leaves(
    pair: Pair, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, going_on = asyncio.Event(), asyncio.Event()
    offer = shop.offer

    async def slow(*arguments: Any) -> lsps1.Payment:
        begun.set()
        await going_on.wait()
        return await offer(*arguments)

    monkeypatch.setattr(shop, "offer", slow)
    async with pair((server(shop),), (client,)) as (left, right):
        ordering = asyncio.create_task(right.call("lsps1-create-order", str(left.node_id), 100_000))
        await begun.wait()
        await right.disconnect(left.node_id)
        await asyncio.gather(ordering, return_exceptions=True)
        while left.peers:
            await asyncio.sleep(0.01)
        going_on.set()
        async with asyncio.timeout(30):
            while not await left.call("lsps-orders"):
                await asyncio.sleep(0.01)


async def test_what_waits_for_a_place_ends_with_its_client(
    pair: Pair, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def stuck(*_: Any) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(kept.Places, "_check", stuck)
    async with pair((server(shop),), (client,)) as (left, right):
        ordering = asyncio.create_task(right.call("lsps1-create-order", str(left.node_id), 100_000))
        await began.wait()
        await right.disconnect(left.node_id)
        await asyncio.gather(ordering, return_exceptions=True)
        async with asyncio.timeout(30):
            await ended.wait()  # or who comes and goes under many names would leave any number of them here
        assert shop.offered == 0


async def test_what_is_paid_while_the_sweep_asks_for_it_is_kept(
    pair: Pair, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lsp, "SWEEP", 0.02)
    asking, answered = asyncio.Event(), asyncio.Event()
    refresh = shop.refresh

    async def slow(context: AppContext, node_id: NodeId, order: lsps1.Order) -> lsps1.Order | None:
        found = await refresh(context, node_id, order)
        if not isinstance(context, Context):  # the sweep: what the node says now takes its time to get here
            asking.set()
            await answered.wait()
        return found

    monkeypatch.setattr(shop, "refresh", slow)
    async with pair((server(shop),), (client,)) as (left, right):
        order = await right.call("lsps1-create-order", str(left.node_id), 100_000)
        later = read_time("2100-02-24T00:00:00Z").timestamp()
        with monkeypatch.context() as patch:
            patch.setattr(kept, "now", lambda: later)
            await asking.wait()
        shop.changes[order["order_id"]] = PAID
        await right.call("lsps1-get-order", str(left.node_id), order["order_id"])
        answered.set()
        await asyncio.sleep(0.1)
        assert [one["id"] for one in await left.call("lsps-orders")] == [order["order_id"]]


async def test_what_is_not_paid_in_time_is_removed(
    pair: Pair, shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lsp, "SWEEP", 0.02)
    async with pair((server(shop),), (client,)) as (left, right):
        ordering = ("lsps1-create-order", str(left.node_id), 100_000)
        late, paid = await right.call(*ordering), await right.call(*ordering)
        await right.call("lsps2-buy", str(left.node_id), (await offers(right, left))[0])
        broken = lsps1.GET_ORDER.load_result({**late, "order_id": "broken"})
        await left.store("lsps").execute(
            "INSERT INTO lsps_orders VALUES ('broken', ?, 0, 1, ?)",
            (str(BOB), json.dumps(lsps1.GET_ORDER.dump_result(broken))),
        )
        shop.changes[paid["order_id"]] = PAID
        await asyncio.sleep(0.1)
        assert len(await left.call("lsps-orders")) == 3
        later = read_time("2100-02-24T00:00:00Z").timestamp()
        with monkeypatch.context() as patch:
            patch.setattr(kept, "now", lambda: later)

            async def swept() -> bool:
                left_over = {order["id"] for order in await left.call("lsps-orders")}
                return left_over == {"broken", paid["order_id"]} and await left.call("lsps-sales") == []

            async with asyncio.timeout(30):
                while not await swept():
                    await asyncio.sleep(0.01)
            assert "order broken is kept: what became of it is not known" in caplog.text
            patch.setattr(kept, "now", lambda: later + (lsp.PAID_DAYS + 1) * 86400)
            async with asyncio.timeout(30):
                while len(await left.call("lsps-orders")) != 1:
                    await asyncio.sleep(0.01)
        not_found = (101, "Not found", None)
        assert await refusal(right.call("lsps1-get-order", str(left.node_id), late["order_id"])) == not_found


# LSPS2 ------------------------------------------------------------------------------------------------


async def offers(right: Any, left: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await right.call("lsps2-get-info", str(left.node_id)))["opening_fee_params_menu"]
    return found


async def test_a_channel_is_bought_for_a_payment(pair: Pair, shop: Shop) -> None:
    async with pair((server(shop),), (client,)) as (left, right):
        first, second = await offers(right, left)
        assert first.items() >= {"min_fee_msat": "546000", "proportional": 1200, "min_lifetime": 1008}.items()
        assert first["valid_until"] == PARAMS.valid_until
        assert first["promise"] != second["promise"]
        bought = await right.call("lsps2-buy", str(left.node_id), first, 500_000_000)
        assert bought == {
            "jit_channel_scid": "1x1x1",
            "lsp_cltv_expiry_delta": 144,
            "client_trusts_lsp": False,
            "opening_fee_msat": "600000",
        }
        assert (await right.call("lsps2-buy", str(left.node_id), second))["opening_fee_msat"] is None
        assert [fee for _, fee in shop.bought] == [600_000, None]
        sales = await left.call("lsps-sales")
        assert [(sale["id"], sale.get("payment_size_msat")) for sale in sales] == [
            ("1x1x1", "500000000"),
            ("1x2x1", None),
        ]
        assert await refusal(right.call("lsps2-buy", str(left.node_id), first, 7_000_000)) == (
            1,
            "Client rejected",
            {"message": "no sevens"},
        )


async def test_an_scid_is_sold_once_at_a_time(
    pair: Pair, shop: Shop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair((server(shop),), (client,)) as (left, right):
        [params, _] = await offers(right, left)
        await right.call("lsps2-buy", str(left.node_id), params)
        shop.bought.clear()  # so that it counts from 1 again
        assert await refusal(right.call("lsps2-buy", str(left.node_id), params)) == (-32603, "Internal error", None)
        assert (
            "ValueError: Shop.buy() should return an SCID of which no other sale is open: "
            f"1x1x1 is open to {right.node_id} until 2100-02-23T08:47:30.511Z"
        ) in caplog.text
        assert len(await left.call("lsps-sales")) == 1
        # One that has ended, and is not swept away yet, is in nobody's way
        await left.store("lsps").execute("UPDATE lsps_sales SET ends = 5, client = ?", (str(BOB),))
        shop.bought.clear()
        await right.call("lsps2-buy", str(left.node_id), params)
        [sale] = await left.call("lsps-sales")
        assert sale["client"] == str(right.node_id)


async def test_a_backend_asks_what_is_kept(pair: Pair, shop: Shop) -> None:
    async with pair((server(shop),), (client,)) as (left, right):
        context = left.context("lsps")
        assert (await open_sales(context), await kept_orders(context)) == ((), ())
        [params, later] = await offers(right, left)
        await right.call("lsps2-buy", str(left.node_id), params, 500_000_000)
        await right.call("lsps2-buy", str(left.node_id), later)
        first, second = await open_sales(context)
        promised = lsps2.BUY.load_params({"opening_fee_params": params}).opening_fee_params
        assert first == Sale(
            scid=ShortChannelId(1, 1, 1),
            client=right.node_id,
            params=promised,
            payment_size_msat=500_000_000,
            fee_msat=600_000,
        )
        assert (second.scid, second.payment_size_msat, second.fee_msat) == (ShortChannelId(1, 2, 1), None, None)
        await left.store("lsps").execute("UPDATE lsps_sales SET ends = 5 WHERE id = '1x1x1'")
        assert [sale.scid for sale in await open_sales(context)] == [ShortChannelId(1, 2, 1)]
        order = await right.call("lsps1-create-order", str(left.node_id), 100_000)
        [one] = await kept_orders(context)
        assert (one.client, lsps1.GET_ORDER.dump_result(one.order)) == (right.node_id, order)


async def test_at_the_prompt_an_entry_is_pasted_as_it_is_shown(app_pair: Any, shop: Shop) -> None:
    async with app_pair(server(shop), client) as (left, right):
        typed = io.StringIO()
        console = Console(right, Printer(stderr=typed))
        await console.enter(f"lsps2-get-info {left.node_id}")
        entry = json.dumps(json.loads(typed.getvalue())["opening_fee_params_menu"][0])
        assert entry in typed.getvalue()
        await console.enter(f"lsps2-buy {left.node_id} {entry} 500000000")
        assert json.loads(typed.getvalue().splitlines()[1])["opening_fee_msat"] == "600000"
        await console.enter(f"lsps2-buy {left.node_id} {entry} 900000000000000")
        await console.enter(f"lsps1-create-order {left.node_id} 200000 0 4320 null null true")
        assert json.loads(typed.getvalue().splitlines()[3])["announce_channel"] is True
        await console.enter(f"lsps1-create-order {left.node_id} 5 announce_channel=true")
        await console.enter(f"lsps2-get-info {left.node_id} token=stale")
    assert typed.getvalue().splitlines()[2::2] == [
        "lsps2-buy: payment_size_msat should be 1000000 to 1000000000000, not 900000000000000 (code -32602)",
        (
            "lsps1-create-order: the LSP answered: Option mismatch (code 100, data "
            '{"property": "min_initial_lsp_balance_sat", "message": "5 is less than 20000"})'
        ),
    ]
    assert typed.getvalue().endswith("lsps2-get-info: the LSP answered: Unrecognized or stale token (code 200)\n")


async def test_terms_with_more_or_less_than_was_promised_are_refused(pair: Pair, shop: Shop) -> None:
    async with pair((server(shop),), (client,)) as (left, right):
        [params, _] = await offers(right, left)
        less = {name: value for name, value in params.items() if name != "proportional"}
        for wrong, name, unknown in (
            ({**params, "extra": 1}, "extra", ["extra"]),
            ({**params, "z": None, "extra": {}}, "extra", ["extra", "z"]),
            (less, "proportional", []),
            ({**params, "min_fee_msat": 546_000}, "min_fee_msat", []),
            ({**params, "promise": "é" * 300}, "promise", []),
        ):
            code, _, data = await called(right, "lsps2.buy", {"opening_fee_params": wrong})
            assert (code, data["property"]) == (-32602, f"opening_fee_params.{name}")
            assert data["unrecognized"] == [f"opening_fee_params.{one}" for one in unknown]
        many = {**params, **{f"{number:x>60}": 0 for number in range(700)}}
        assert (await called(right, "lsps2.buy", {"opening_fee_params": many}))[0] == -32602
        assert shop.bought == []


async def test_a_client_buys_nothing_that_makes_no_sense(
    pair: Pair, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair((server(shop),), (client,)) as (left, right):
        [params, _] = await offers(right, left)
        for change, reason in (
            ({"surprise_fee": "5"}, "opening_fee_params.surprise_fee is not of LSPS2, so what this costs is not known"),
            (
                {"valid_until": "2020-01-01T00:00:00.000Z"},
                "opening_fee_params: valid_until, 2020-01-01T00:00:00.000Z, is past at ",
            ),
            ({"valid_until": "soon"}, "opening_fee_params: valid_until should be a time such as "),
            (
                {"min_payment_size_msat": str(2 * 10**12)},
                "min_payment_size_msat, 2000000000000, exceeds max_payment_size_msat",
            ),
            ({"proportional": 1_000_000}, "there is no payment of 1000000 to 1000000000000 msat that exceeds its fee"),
            (
                {"min_fee_msat": str(10**12)},
                "there is no payment of 1000000 to 1000000000000 msat that exceeds its fee",
            ),
            ({"min_fee_msat": 5}, "opening_fee_params.min_fee_msat u64 should be a string of digits, not int"),
            (
                {"max_payment_size_msat": "9" * 23},
                "max_payment_size_msat u64 should be 0 to 18446744073709551615, not 9999",
            ),
            ({"promise": "p" * 513}, "opening_fee_params.promise str should be at most 512 characters, not 513"),
            ({"promise": "é" * 300}, "opening_fee_params.promise should be 512 bytes at most, not 600"),
        ):
            with pytest.raises(RpcError) as caught:
                await right.call("lsps2-buy", str(left.node_id), {**params, **change})
            assert (reason in caught.value.text, caught.value.code) == (True, -32602), caught.value.text
        assert shop.bought == []
        # Its clock is the client's
        monkeypatch.setattr(client_module, "_now", lambda: read_time(PARAMS.valid_until).timestamp())
        with pytest.raises(RpcError, match="is past at 2100-02-23T08:47:30Z"):
            await right.call("lsps2-buy", str(left.node_id), params)


async def test_what_a_client_cannot_send_is_named_as_it_was_typed(app_pair: Any, shop: Shop) -> None:
    async with app_pair(server(shop), client) as (left, right):
        with pytest.raises(RpcError) as caught:
            await right.call("lsps1-create-order", str(left.node_id), -5)
        assert (caught.value.code, caught.value.text) == (
            -32602,
            "lsp_balance_sat: u64 should be 0 to 18446744073709551615, not -5",
        )
        with pytest.raises(RpcError) as caught:
            await right.call("lsps1-create-order", str(left.node_id), 100_000, refund_onchain_address="x")
        assert (
            caught.value.text == "the LSP answered: Invalid params: refund_onchain_address should be a SegWit address"
        )
        assert caught.value.data == {
            "unrecognized": [],
            "property": "refund_onchain_address",
            "message": "should be a SegWit address",
        }


async def test_only_what_was_promised_to_this_client_is_sold(pair: Pair, shop: Shop) -> None:
    async with pair((server(shop),), (client,)) as (left, right):
        [params, _] = await offers(right, left)
        changed = [
            {**params, "min_fee_msat": "1"},
            {**params, "proportional": 0},
            {**params, "valid_until": "2100-02-23T08:47:30.512Z"},
            {**params, "valid_until": "when hell freezes over"},
            {**params, "min_lifetime": 1009},
            {**params, "max_client_to_self_delay": 2017},
            {**params, "min_payment_size_msat": "1"},
            {**params, "max_payment_size_msat": "18446744073709551615"},
            {**params, "promise": params["promise"][:-1]},
            {**params, "promise": "é"},
        ]
        for wrong in changed:
            code, text, _ = await called(right, "lsps2.buy", {"opening_fee_params": wrong})
            assert (code, text) == (201, "Invalid opening fee params: they were not promised to this client")
        assert shop.bought == []
        # As LDK writes the same time, and with what it means in other digits
        for same in ("2100-02-23T08:47:30.511000Z", "2100-02-23T08:47:30.511000000Z"):
            wish = {"opening_fee_params": {**params, "valid_until": same}}
            assert (await called(right, "lsps2.buy", wish))["lsp_cltv_expiry_delta"] == 144


async def test_a_promise_ends(pair: Pair, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair((server(shop),), (client,)) as (left, right):
        [params, _] = await offers(right, left)
        monkeypatch.setattr(kept, "now", lambda: read_time(PARAMS.valid_until).timestamp())
        code, text, _ = await refusal(right.call("lsps2-buy", str(left.node_id), params))
        assert (code, text) == (201, "Invalid opening fee params")


@pytest.mark.parametrize(
    ("size", "code"),
    [(546_000, 202), (999_999, 202), (10**12 + 1, 203), (2**64 - 1, 203)],
)
async def test_sizes_that_are_not_sold(app_pair: Any, shop: Shop, size: int, code: int) -> None:
    async with app_pair(server(shop), client) as (left, right):
        [params, _] = await offers(right, left)
        wish = {"opening_fee_params": params, "payment_size_msat": str(size)}
        assert (await called(right, "lsps2.buy", wish))[0] == code
        least, most = 1_000_000, 10**12
        with pytest.raises(RpcError, match=f"^payment_size_msat should be {least} to {most}, not {size}$") as caught:
            await right.call("lsps2-buy", str(left.node_id), params, size)
        assert caught.value.code == -32602
        assert shop.bought == []


async def test_a_fee_as_high_as_the_payment_is_refused(app_pair: Any, shop: Shop) -> None:
    shop.menu = [replace(PARAMS, min_fee_msat=2_000_000)]
    async with app_pair(server(shop), client) as (left, right):
        [params] = await offers(right, left)
        for size, code in ((1_999_999, 202), (2_000_000, 202), (2_000_001, None)):
            wish = {"opening_fee_params": params, "payment_size_msat": str(size)}
            found = await called(right, "lsps2.buy", wish)
            assert (found[0] if code else found["client_trusts_lsp"]) == (code or False)


async def test_sales_are_bounded(pair: Pair, shop: Shop) -> None:
    async with pair((server(shop),), (client,)) as (left, right):
        [params, _] = await offers(right, left)
        for _ in range(10):
            await right.call("lsps2-buy", str(left.node_id), params)
        code, _, data = await refusal(right.call("lsps2-buy", str(left.node_id), params))
        assert (code, data) == (1, {"message": "10 of yours are open"})
        assert len(shop.bought) == 10


async def test_tokens_of_lsps2(pair: Pair, shop: Shop) -> None:
    async with pair((server(shop),), (client,)) as (left, right):
        for token in ("stale", "x" * 1025):
            code, text, _ = await refusal(right.call("lsps2-get-info", str(left.node_id), token))
            assert (code, text) == (200, "Unrecognized or stale token")
        assert await called(right, "lsps2.get_info", {"token": None}) == await called(right, "lsps2.get_info", {})
        shop.menu = []
        assert await right.call("lsps2-get-info", str(left.node_id)) == {"opening_fee_params_menu": []}
        shop.menu = [PARAMS, PARAMS]
        assert await refusal(right.call("lsps2-get-info", str(left.node_id))) == (-32603, "Internal error", None)


def test_a_promise_is_for_one_client_and_one_secret() -> None:
    promised = with_promise(b"1" * 32, ALICE, PARAMS)
    assert is_promised(b"1" * 32, ALICE, promised)
    assert not is_promised(b"1" * 32, BOB, promised)
    assert not is_promised(b"2" * 32, ALICE, promised)
    assert len(promised.promise) == 64


# The client and what others answer ----------------------------------------------------------------------


def answering(**results: Any) -> Extension:
    """Return an LSP that answers what a test wants it to."""
    extension = Extension("lsp", version="1.0")
    odd = PeerRpc(extension, TYPE)

    @odd.method("lsps1.get_info")
    async def get_info(context: Context) -> Any:
        return lsps1.GET_INFO.dump_result(INFO)

    @odd.method(lsps1.CREATE_ORDER.name)
    async def create_order(
        context: Context,
        lsp_balance_sat: str,
        client_balance_sat: str,
        required_channel_confirmations: int,
        funding_confirms_within_blocks: int,
        channel_expiry_blocks: int,
        announce_channel: bool,
    ) -> Any:
        return results["order"]

    @odd.method(lsps1.GET_ORDER.name)
    async def get_order(context: Context, order_id: str) -> Any:
        return results["order"]

    @odd.method(lsps2.GET_INFO.name)
    async def get_menu(context: Context) -> Any:
        return {"opening_fee_params_menu": results["menu"], "more": 1}

    @odd.method(lsps5.SET_WEBHOOK)
    async def set_webhook(context: Context, wish: lsps5.SetWebhook) -> lsps5.WebhookSet:
        return lsps5.WebhookSet(num_webhooks=1, max_webhooks=4, no_change=wish.app_name == "old")

    @odd.method(lsps5.LIST_WEBHOOKS)
    async def list_webhooks(context: Context) -> lsps5.Webhooks:
        return lsps5.Webhooks(app_names=("one", "two"), max_webhooks=4)

    @odd.method(lsps5.REMOVE_WEBHOOK)
    async def remove_webhook(context: Context, wish: lsps5.RemoveWebhook) -> lsps5.Removed:
        if wish.app_name != "one":
            raise RpcError(lsps5.APP_NAME_NOT_FOUND, "App name not found")
        return lsps5.Removed()

    return extension


ORDER = lsps1.CREATE_ORDER.dump_result(
    lsps1.Order(
        order_id="1",
        lsp_balance_sat=100_000,
        client_balance_sat=0,
        required_channel_confirmations=1,
        funding_confirms_within_blocks=6,
        channel_expiry_blocks=4320,
        created_at="2025-01-01T00:00:00Z",
        announce_channel=False,
        order_state=lsps1.OrderState.CREATED,
        payment=lsps1.Payment(
            bolt11=lsps1.Bolt11(
                state=lsps1.PaymentState.CANCELLED,
                expires_at="2025-01-01T00:00:00Z",
                fee_total_sat=5,
                order_total_sat=5,
                invoice="lnbc",
            )
        ),
        channel=None,
    )
)


async def test_another_order_than_the_one_wished_is_refused(app_pair: Any) -> None:
    for change, text in (
        ({}, ""),
        ({"more": 1}, ""),
        ({"lsp_balance_sat": "5"}, r"\$.result.lsp_balance_sat: should be 100000, as it was ordered, not 5"),
        ({"client_balance_sat": "5"}, r"\$.result.client_balance_sat: should be 0, as it was ordered, not 5"),
        ({"announce_channel": True}, r"\$.result.announce_channel: should be False, as it was ordered, not True"),
        ({"channel_expiry_blocks": 1}, r"\$.result.channel_expiry_blocks: should be 4320, as it was ordered, not 1"),
        ({"required_channel_confirmations": 9}, r"required_channel_confirmations: should be 1, as it was ordered"),
        ({"funding_confirms_within_blocks": 9}, r"funding_confirms_within_blocks: should be 6, as it was ordered"),
        (
            {"payment": {"bolt11": {**ORDER["payment"]["bolt11"], "expires_at": "soon"}}},
            r"\$.result.payment.bolt11.expires_at: should be a time such as .*, not 'soon'",
        ),
        (
            {"payment": {"bolt11": {**ORDER["payment"]["bolt11"], "order_total_sat": "6"}}},
            r"\$.result.payment.bolt11.order_total_sat: should be 5 \+ 0, not 6",
        ),
        ({"order_state": "SOLD"}, r"\$.result.order_state"),
    ):
        async with app_pair(answering(order={**ORDER, **change}), client) as (left, right):
            ordering = right.call("lsps1-create-order", str(left.node_id), 100_000)
            if not text:
                assert (await ordering)["order_id"] == "1"
            else:
                with pytest.raises(MalformedMessage, match=text):
                    await ordering


async def test_offers_with_fields_of_their_own_are_refused(app_pair: Any) -> None:
    params = {**lsps2.BUY.dump_params(lsps2.Buy(opening_fee_params=PARAMS))["opening_fee_params"], "promise": "p"}
    async with app_pair(answering(menu=[params]), client) as (left, right):
        assert await right.call("lsps2-get-info", str(left.node_id)) == {"opening_fee_params_menu": [params]}
    for change, text in (
        ({"base_fee_msat": "5"}, r"menu\[0\].base_fee_msat: is not of LSPS2, so what this costs is not known"),
        ({"promise": "p" * 513}, r"menu\[0\].promise"),
        ({"min_fee_msat": 5}, r"menu\[0\].min_fee_msat: u64 should be a string of digits, not int"),
    ):
        async with app_pair(answering(menu=[{**params, **change}]), client) as (left, right):
            with pytest.raises(MalformedMessage, match=text):
                await right.call("lsps2-get-info", str(left.node_id))


async def test_offers_by_which_nobody_can_pay_come_apart(app_pair: Any) -> None:
    params = {**lsps2.BUY.dump_params(lsps2.Buy(opening_fee_params=PARAMS))["opening_fee_params"], "promise": "p"}
    past, soon = {**params, "valid_until": "2020-01-01T00:00:00Z"}, {**params, "valid_until": "soon"}
    turned = {**params, "min_payment_size_msat": "5", "max_payment_size_msat": "3"}
    async with app_pair(answering(menu=[past, params, soon, turned]), client) as (left, right):
        found = await right.call("lsps2-get-info", str(left.node_id))
    assert found["opening_fee_params_menu"] == [params]
    assert [one["opening_fee_params"] for one in found["unusable"]] == [past, soon, turned]
    assert [one["reason"].partition(",")[0] for one in found["unusable"]] == [
        "valid_until",
        "valid_until should be a time such as 2023-02-23T08:47:30.511Z",
        "min_payment_size_msat",
    ]


async def test_another_order_than_the_one_asked_for_is_refused(app_pair: Any) -> None:
    wrong_sum = {**ORDER, "payment": {"bolt11": {**ORDER["payment"]["bolt11"], "fee_total_sat": "0"}}}
    for order, text in (
        (ORDER, r"order_id: should be '2', as asked, not '1'"),
        (wrong_sum, "order_total_sat: should be 0"),
    ):
        async with app_pair(answering(order=order), client) as (left, right):
            with pytest.raises(MalformedMessage, match=text):
                await right.call("lsps1-get-order", str(left.node_id), "2" if order is ORDER else "1")


async def test_webhooks(pair: Pair) -> None:
    async with pair((answering(),), (client,)) as (left, right):
        node_id = str(left.node_id)
        assert await right.call("lsps5-set-webhook", node_id, "old", "https://example.org/") == {
            "num_webhooks": 1,
            "max_webhooks": 4,
            "no_change": True,
        }
        assert await right.call("lsps5-list-webhooks", node_id) == {"app_names": ["one", "two"], "max_webhooks": 4}
        assert await right.call("lsps5-remove-webhook", node_id, "one") == {"app_name": "one"}
        assert await refusal(right.call("lsps5-remove-webhook", node_id, "x")) == (1010, "App name not found", None)


async def test_a_peer_that_is_no_lsp_does_not_answer(pair: Pair) -> None:
    async with pair((Extension("other", version="1.0"),), (client,)) as (_, right):
        with pytest.raises(ReplyTimeout):
            await rpc.call(right.peers[0], lsps0.LIST_PROTOCOLS, timeout=0.05)
        assert not right.peers[0].supports("lsps-client")


# Addresses: the valid and the invalid ones of BIP 173 and BIP 350 -----------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        ADDRESS,
        "bc1p5uvtaxzkjwvey2tfy49k5vtqfpjmrgm09cvs88ezyy8h2zv7jhas9tu4yr",
        "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
        "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
        "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y",
        "BC1SW50QGDZ25J",
        "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs",
        "tb1qqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesrxh6hy",
        "tb1pqqqqp399et2xygdj5xreqhjjvcmzhxw4aywxecjdzew6hylgvsesf3hn0c",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
        "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
    ],
)
def test_segwit_addresses(text: str) -> None:
    assert is_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "bc1",
        "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2",
        "tc1qw508d6qejxtdg4y5r3zarvary0c5xw7kg3g4ty",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",
        "BC13W508D6QEJXTDG4Y5R3ZARVARY0C5XW7KN40WF2",
        "bc1rw5uspcuh",
        "bc10w508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kw5rljs90",
        "BC1QR508D6QEJXTDG4Y5R3ZARVARYV98GJ9P",
        "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sL5k7",
        "bc1zw508d6qejxtdg4y5r3zarvaryvqyzf3du",
        "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3pjxtptv",
        "bc1gmk9yu",
        "tc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq5zuyut",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",
        "BC1S0XLXVLHEMJA6C4DQV22UAPCTQUPFHLXM9H8Z3K2E72Q4K9HCZ7VQ54WELL",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kemeawh",
        "tb1q0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vq24jc47",
        "bc1p38j9r5y49hruaue7wxjce0updqjuyyx0kh56v8s25huc6995vvpql3jow4",
        "bc1pw5dgrnzv",
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7v8n0nx0muaewav253zgeav",
        "bc1q" + "q" * 200,
        "bc1qé",
    ],
)
def test_what_is_no_segwit_address(text: str) -> None:
    assert not is_address(text)


async def test_the_demo_sells_what_there_is_not(pair: Pair) -> None:
    from oddwire_extensions.lsps.demo import INVOICE
    from oddwire_extensions.lsps.demo import extension as demo

    async with pair((demo,), (client,)) as (left, right):
        node_id = str(left.node_id)
        order = await right.call("lsps1-create-order", node_id, 100_000, 0, None, "DEMO")
        assert order["payment"]["bolt11"]["fee_total_sat"] == "500"
        assert order["payment"]["bolt11"]["invoice"] == INVOICE
        await left.call("lsps-demo-pay", order["order_id"])
        done = await right.call("lsps1-get-order", node_id, order["order_id"])
        assert (done["order_state"], done["payment"]["bolt11"]["state"]) == ("COMPLETED", "PAID")
        for _ in (1, 2):
            assert (await refusal(right.call("lsps1-create-order", node_id, 100_000, 0, None, "x")))[0] == 102
            assert (await refusal(right.call("lsps2-get-info", node_id, "x")))[0] == 200
            cheap = (await right.call("lsps2-get-info", node_id, "DEMO"))["opening_fee_params_menu"][0]
            assert cheap["min_fee_msat"] == "250000"
            bought = await right.call("lsps2-buy", node_id, cheap, 5_000_000)
            assert bought["jit_channel_scid"].split("x")[0] == "1"
        assert len(await left.call("lsps-sales")) == 2


# Times ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("2023-02-23T08:47:30.511Z", "2023-02-23T08:47:30.511Z"),
        ("2025-01-01T00:00:00Z", "2025-01-01T00:00:00.000Z"),
        ("2025-01-01T00:00:00.5Z", "2025-01-01T00:00:00.500Z"),
        ("2025-01-01T00:00:00.999999999Z", "2025-01-01T00:00:00.999Z"),
    ],
)
def test_times(text: str, again: str) -> None:
    assert write_time(read_time(text)) == again
    assert read_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        *("", "Z", "2025-13-01T00:00:00Z", "2025-01-01T24:00:00.000Z", "0000-01-01T00:00:00Z", "2025-01-01T00:00:00"),
        *("2025-01-01T00:00:00+00:00", "2025-01-01 00:00:00Z", "2025-01-01T00:00:00.Z", "２025-01-01T00:00:00Z"),
    ],
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"should be a time such as 2023-02-23T08:47:30.511Z, not "):
        read_time(text)


def test_a_time_needs_a_zone() -> None:
    with pytest.raises(ValueError, match=r"should have a time zone, as datetime.now\(UTC\) has"):
        write_time(datetime(2025, 1, 1))
