"""What backends of LSPs return: whatever is wrong is named with the method, in the log, and never reaches a client."""

from __future__ import annotations

from typing import Any

import pytest

from oddwire import Context, NodeId, ShortChannelId, replace
from oddwire.errors import RemoteRpcError
from oddwire.known import lsps1, lsps2
from oddwire_extensions.lsps import Lsps1, Lsps2, server
from oddwire_extensions.lsps.client import extension as client
from oddwire_extensions.lsps.client import rpc
from oddwire_extensions.lsps.returned import Answers

ADDRESS = "bc1qvmsy0f3yyes6z9jvddk8xqwznndmdwapvrc0xrmhd3vqj5rhdrrq6hz49h"
NOW = 1_700_000_000.0  # 2023-11-14
LATER = "2024-01-01T00:00:00Z"
INFO = lsps1.Info(
    min_required_channel_confirmations=1,
    min_funding_confirms_within_blocks=6,
    supports_zero_channel_reserve=True,
    max_channel_expiry_blocks=20160,
    min_initial_client_balance_sat=0,
    max_initial_client_balance_sat=1000,
    min_initial_lsp_balance_sat=20_000,
    max_initial_lsp_balance_sat=30_000,
    min_channel_balance_sat=20_000,
    max_channel_balance_sat=31_000,
)
WISH = lsps1.CreateOrder(
    lsp_balance_sat=20_000,
    client_balance_sat=5,
    required_channel_confirmations=1,
    funding_confirms_within_blocks=6,
    channel_expiry_blocks=144,
    refund_onchain_address=ADDRESS,
    announce_channel=True,
)
WAY: dict[str, Any] = {
    "state": lsps1.PaymentState.EXPECT_PAYMENT,
    "expires_at": LATER,
    "fee_total_sat": 10,
    "order_total_sat": 15,
}
BOLT11 = lsps1.Bolt11(**WAY, invoice="lnbc")
BOLT12 = lsps1.Bolt12(**WAY, offer="lno")
ONCHAIN = lsps1.Onchain(**WAY, address=ADDRESS, min_onchain_payment_confirmations=1)
PAYMENT = lsps1.Payment(bolt11=BOLT11, bolt12=BOLT12, onchain=ONCHAIN)
CHANNEL = lsps1.Channel(funded_at=LATER, funding_outpoint=f"{1:064x}:0", expires_at=LATER)
ORDER = lsps1.Order(
    order_id="1",
    lsp_balance_sat=20_000,
    client_balance_sat=5,
    required_channel_confirmations=1,
    funding_confirms_within_blocks=6,
    channel_expiry_blocks=144,
    created_at="2023-11-14T00:00:00Z",
    announce_channel=True,
    order_state=lsps1.OrderState.CREATED,
    payment=PAYMENT,
    channel=None,
)
DONE: dict[str, Any] = {"order_state": lsps1.OrderState.COMPLETED, "channel": CHANNEL}
TERMS = lsps2.OpeningFeeParams(
    min_fee_msat=546_000,
    proportional=1200,
    valid_until=LATER,
    min_lifetime=1008,
    max_client_to_self_delay=2016,
    min_payment_size_msat=1_000_000,
    max_payment_size_msat=10**12,
    promise="",
)
BOUGHT = lsps2.Bought(jit_channel_scid=ShortChannelId(1, 1, 1), lsp_cltv_expiry_delta=144)


class Shop(Lsps1, Lsps2):
    """Returns what a test wants it to."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {"info": INFO, "offers": [], **answers}

    async def info(self, context: Context) -> Any:
        return self.answers["info"]

    async def offer(self, context: Context, order_id: str, wish: lsps1.CreateOrder) -> Any:
        return self.answers["offer"]

    async def refresh(self, context: Any, client: NodeId, order: lsps1.Order) -> Any:
        return self.answers["refresh"]

    async def offers(self, context: Context, token: str | None) -> Any:
        return self.answers["offers"]

    async def buy(self, context: Context, wish: lsps2.Buy, fee_msat: int | None) -> Any:
        return self.answers["buy"]


def answers(method: str) -> Answers:
    return Answers(Shop(), method)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (None, "should return lsps1.Info, not None"),
        ({}, "should return lsps1.Info, not {}"),
        (lsps1.Info, "should return lsps1.Info, not <class"),
        (
            replace(INFO, min_initial_lsp_balance_sat=40_000),
            "a min_initial_lsp_balance_sat up to max_initial_lsp_balance_sat, 30000, not 40000",
        ),
        (replace(INFO, max_channel_expiry_blocks=0), "should return a max_channel_expiry_blocks of 1 at least"),
        (replace(INFO, max_channel_expiry_blocks=-1), "cannot be sent: max_channel_expiry_blocks: u32 should be 0 to"),
        (replace(INFO, min_channel_balance_sat="5"), "cannot be sent: min_channel_balance_sat: should be u64, not str"),
    ],
)
def test_info(wrong: Any, reason: str) -> None:
    assert answers("info").info(INFO) is INFO
    with pytest.raises(ValueError, match=r"^Shop.info\(\) .*" + reason):
        answers("info").info(wrong)


def paid(**ways: Any) -> lsps1.Payment:
    return replace(PAYMENT, **ways)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (None, "should return lsps1.Payment, not None"),
        (BOLT11, "should return lsps1.Payment, not Bolt11"),
        (lsps1.Payment(), r"should return a way to pay at least; a client is refused by raise rejected\(...\)"),
        (paid(bolt11=BOLT12), "cannot be sent: payment.bolt11|cannot be sent: bolt11: should be Bolt11, not Bolt12"),
        (paid(bolt11=replace(BOLT11, fee_total_sat="10")), "cannot be sent: bolt11.fee_total_sat: should be u64"),
        (
            paid(bolt11=replace(BOLT11, invoice="x" * 2049)),
            "cannot be sent: bolt11.invoice: str should be at most 2048",
        ),
        (paid(bolt12=replace(BOLT12, order_total_sat=10)), "bolt12.order_total_sat as its fee, 10, and .*, 5, not 10"),
        (paid(bolt11=replace(BOLT11, state=lsps1.PaymentState.PAID)), "bolt11.state EXPECT_PAYMENT, not"),
        (paid(bolt11=replace(BOLT11, expires_at="2020-01-01T00:00:00Z")), "bolt11.expires_at in the future, not 2020"),
        (paid(bolt11=replace(BOLT11, expires_at="soon")), "another bolt11.expires_at: it should be a time such as"),
        (paid(bolt11=replace(BOLT11, expires_at=5)), "cannot be sent: bolt11.expires_at: should be str, not int"),
        (paid(onchain=replace(ONCHAIN, address="1Bv")), "a SegWit address as onchain.address, not '1Bv'"),
        (paid(onchain=replace(ONCHAIN, min_fee_for_0conf=253)), "min_fee_for_0conf for 0 min_onchain_payment_conf"),
        (paid(onchain=replace(ONCHAIN, refund_onchain_address="bc1")), "refund_onchain_address as it was ordered"),
        (paid(onchain=replace(ONCHAIN, state=lsps1.PaymentState.HOLD)), "an onchain.state that a payment on chain has"),
    ],
)
def test_offer(wrong: Any, reason: str) -> None:
    offer = answers("offer")
    assert offer.payment(PAYMENT, WISH, NOW) == 1_704_067_200.0
    with pytest.raises(ValueError, match=r"^Shop.offer\(\) .*(" + reason + ")"):
        offer.payment(wrong, WISH, NOW)


def test_what_is_paid_on_chain_needs_an_address_for_refunds() -> None:
    with pytest.raises(ValueError, match="should return no onchain for an order without a refund_onchain_address"):
        answers("offer").payment(PAYMENT, replace(WISH, refund_onchain_address=None), NOW)


@pytest.mark.parametrize(
    "fresh",
    [
        ORDER,
        replace(ORDER, **DONE, payment=lsps1.Payment(bolt11=replace(BOLT11, state=lsps1.PaymentState.PAID))),
        replace(ORDER, payment=paid(bolt12=replace(BOLT12, state=lsps1.PaymentState.HOLD))),
        replace(ORDER, order_state=lsps1.OrderState.FAILED),
    ],
)
def test_an_order_changes(fresh: lsps1.Order) -> None:
    assert answers("refresh").refreshed(fresh, ORDER) is fresh


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (None, "should return lsps1.Order, not None"),
        (DONE, "should return lsps1.Order, not {"),
        (replace(ORDER, lsp_balance_sat=1), "leave lsp_balance_sat of order 1 as it is, 20000, not 1"),
        (replace(ORDER, order_id="2"), "leave order_id of order 1 as it is, '1', not '2'"),
        (replace(ORDER, token="x"), "leave token of order 1 as it is"),
        (replace(ORDER, order_state="COMPLETED"), "cannot be sent: order_state"),
        (replace(ORDER, order_state=lsps1.OrderState.COMPLETED), "a channel with order_state COMPLETED, and with no"),
        (replace(ORDER, channel=CHANNEL), "a channel with order_state COMPLETED, and with no other"),
        (replace(ORDER, **{**DONE, "channel": {}}), "cannot be sent: channel"),
        (replace(ORDER, payment=None), "cannot be sent: payment"),
        (replace(ORDER, payment=lsps1.Payment()), "leave order 1 a way to pay"),
        (
            replace(ORDER, payment=paid(bolt11=replace(BOLT11, fee_total_sat=0, order_total_sat=5))),
            "leave payment.bolt11.fee_total_sat as it was offered, 10, not 0",
        ),
        (
            replace(ORDER, payment=paid(bolt11=replace(BOLT11, invoice="lnbc2"))),
            "leave payment.bolt11.invoice as it was offered, 'lnbc', not 'lnbc2'",
        ),
        (
            replace(ORDER, payment=paid(onchain=replace(ONCHAIN, state=lsps1.PaymentState.HOLD))),
            "an onchain.state that a payment on chain has",
        ),
        (replace(ORDER, **{**DONE, "channel": replace(CHANNEL, funded_at="soon")}), "another channel.funded_at"),
        (replace(ORDER, **{**DONE, "channel": replace(CHANNEL, expires_at="")}), "another channel.expires_at"),
        (
            replace(ORDER, **{**DONE, "channel": replace(CHANNEL, funding_outpoint="1:0")}),
            "a channel.funding_outpoint of form txid:index, not '1:0'",
        ),
    ],
)
def test_refresh(wrong: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^Shop.refresh\(\) .*" + reason):
        answers("refresh").refreshed(wrong, ORDER)


def test_a_way_to_pay_is_not_added() -> None:
    before = replace(ORDER, payment=lsps1.Payment(bolt11=BOLT11))
    with pytest.raises(ValueError, match=r"should add no payment\.bolt12: order 1 was offered without"):
        answers("refresh").refreshed(ORDER, before)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (None, "a list of lsps2.OpeningFeeParams, empty if there are none, not None"),
        ("x", "a list of lsps2.OpeningFeeParams, empty if there are none, not 'x'"),
        (TERMS, "a list of lsps2.OpeningFeeParams, empty if there are none, not OpeningFeeParams"),
        ([{}], r"lsps2.OpeningFeeParams at \[0\], not {}"),
        ([TERMS, None], r"lsps2.OpeningFeeParams at \[1\], not None"),
        (
            [replace(TERMS, min_fee_msat="5")],
            r"cannot be sent: opening_fee_params_menu\[0\].min_fee_msat: should be u64",
        ),
        (
            [replace(TERMS, proportional=-1)],
            r"cannot be sent: opening_fee_params_menu\[0\].proportional: u32 should be",
        ),
        ([replace(TERMS, valid_until="soon")], r"at \[0\] what one can pay by: valid_until should be a time"),
        (
            [replace(TERMS, valid_until="2020-01-01T00:00:00Z")],
            "valid_until, 2020-01-01T00:00:00Z, is past at 2023-11-14",
        ),
        ([replace(TERMS, max_payment_size_msat=5)], "min_payment_size_msat, 1000000, exceeds max_payment_size_msat, 5"),
        ([replace(TERMS, proportional=1_000_000)], "there is no payment of 1000000 to"),
        ([TERMS, TERMS], r"ordered by min_fee_msat and proportional, not \(546000, 1200\) before \(546000, 1200\)"),
        ([TERMS, replace(TERMS, min_fee_msat=1, proportional=5000)], "ordered by min_fee_msat and proportional"),
        ([TERMS, replace(TERMS, min_fee_msat=600_000, proportional=0)], "ordered by min_fee_msat and proportional"),
        ([replace(TERMS, proportional=number) for number in range(33)], "32 entries at most, not 33"),
    ],
)
def test_offers(wrong: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=r"^Shop.offers\(\) .*" + reason):
        answers("offers").menu(wrong, NOW)


def test_menus() -> None:
    menu = (TERMS, replace(TERMS, proportional=1201), replace(TERMS, min_fee_msat=10**9, proportional=1201))
    for right in ((), menu, menu[:1]):
        assert answers("offers").menu([*right], NOW) == answers("offers").menu(right, NOW) == right


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (None, "should return lsps2.Bought, not None"),
        (ShortChannelId(1, 1, 1), "should return lsps2.Bought, not "),
        (replace(BOUGHT, jit_channel_scid="1x1x1"), "cannot be sent: jit_channel_scid"),
        (replace(BOUGHT, lsp_cltv_expiry_delta=70_000), "cannot be sent: lsp_cltv_expiry_delta: u16 should be 0 to"),
    ],
)
def test_buy(wrong: Any, reason: str) -> None:
    assert answers("buy").bought(BOUGHT) is BOUGHT
    with pytest.raises(ValueError, match=r"^Shop.buy\(\) .*" + reason):
        answers("buy").bought(wrong)


class Sync(Shop):
    """Has forgotten ``async``."""

    def info(self, context: Context) -> Any:  # type: ignore[override]
        return INFO


async def test_a_method_that_is_not_async_is_named() -> None:
    with pytest.raises(ValueError, match=r"^Sync.info\(\) should be 'async def', and not return Info\("):
        await Answers(Sync(), "info").of(None)


@pytest.mark.parametrize(
    ("shop", "method", "params", "named"),
    [
        (Shop(info=None), "lsps1.get_info", {}, "Shop.info() should return lsps1.Info, not None"),
        (
            Shop(info=5),
            "lsps1.create_order",
            lsps1.CREATE_ORDER.dump_params(WISH),
            "Shop.info() should return lsps1.Info",
        ),
        (
            Shop(offer=[]),
            "lsps1.create_order",
            lsps1.CREATE_ORDER.dump_params(WISH),
            "Shop.offer() should return lsps1.Pay",
        ),
        (Shop(offers=None), "lsps2.get_info", {}, "Shop.offers() should return a list of lsps2.OpeningFeeParams"),
        (Sync(), "lsps1.get_info", {}, "Sync.info() should be 'async def'"),
    ],
)
async def test_clients_see_an_internal_error_and_the_log_the_method(
    app_pair: Any, caplog: pytest.LogCaptureFixture, shop: Shop, method: str, params: Any, named: str
) -> None:
    async with app_pair(server(shop), client) as (_, right):
        with pytest.raises(RemoteRpcError) as caught:
            await rpc.call(right.peers[0], method, params)
    assert (caught.value.code, caught.value.text, caught.value.data) == (-32603, "Internal error", None)
    assert f"ValueError: {named}" in caplog.text


async def test_what_a_refresh_got_wrong_is_not_kept(app_pair: Any, caplog: pytest.LogCaptureFixture) -> None:
    later = {"expires_at": "2100-01-01T00:00:00Z"}
    shop = Shop(offer=lsps1.Payment(bolt11=replace(BOLT11, **later)))
    async with app_pair(server(shop), client) as (left, right):
        order = await rpc.call(right.peers[0], lsps1.CREATE_ORDER, WISH)
        for changes in ({"lsp_balance_sat": 1}, {"order_id": "2"}, {"channel": CHANNEL}):
            shop.answers["refresh"] = replace(order, **changes)
            with pytest.raises(RemoteRpcError, match="Internal error"):
                await rpc.call(right.peers[0], lsps1.GET_ORDER, lsps1.GetOrder(order_id=order.order_id))
        shop.answers["refresh"] = order
        assert await rpc.call(right.peers[0], lsps1.GET_ORDER, lsps1.GetOrder(order_id=order.order_id)) == order
        assert len(await left.call("lsps-orders")) == 1
    assert "ValueError: Shop.refresh() should leave lsp_balance_sat of order" in caplog.text
