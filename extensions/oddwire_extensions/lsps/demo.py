"""A backend to try clients with: nothing is paid, nothing is opened, and what has been sold is forgotten at the end.

::

    python -m oddwire_extensions.lsps.demo --listen 127.0.0.1:9735 --data-dir lsp
    lsps-demo-pay ORDER_ID
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from oddwire import AppContext, Context, NodeId, ShortChannelId, replace
from oddwire.known import lsps1, lsps2
from oddwire_extensions.lsps.backend import Lsps1, Lsps2, bad_token, rejected
from oddwire_extensions.lsps.lsp import server
from oddwire_extensions.lsps.times import write_time

__all__ = ["DemoLsp", "extension"]

INVOICE: Final = (
    "lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwz"
    "qfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8"
    "qakdyafkq3yap9us6v52vjjsrvywa6rt52cm9r9zqt8r2t7mlcwspyetp5h2tztugp9lfyql"
)
"""The first example in BOLT 11, which has expired in 2017: clients on LDK read no order whose invoice is none."""


class DemoLsp(Lsps1, Lsps2):
    """Sells channels that there are none of."""

    token = "DEMO"  # noqa: S105 - a coupon for half the fee
    info_ = lsps1.Info(
        min_required_channel_confirmations=0,
        min_funding_confirms_within_blocks=6,
        supports_zero_channel_reserve=True,
        max_channel_expiry_blocks=20160,
        min_initial_client_balance_sat=0,
        max_initial_client_balance_sat=1_000_000,
        min_initial_lsp_balance_sat=20_000,
        max_initial_lsp_balance_sat=10_000_000,
        min_channel_balance_sat=20_000,
        max_channel_balance_sat=10_000_000,
    )

    def __init__(self) -> None:
        self.paid: set[str] = set()
        self._sold = 0

    async def info(self, context: Context) -> lsps1.Info:
        """Return what may be ordered."""
        return self.info_

    async def offer(self, context: Context, order_id: str, wish: lsps1.CreateOrder) -> lsps1.Payment:
        """Ask for one percent, by an invoice that nobody can pay."""
        if wish.token not in (None, "", self.token):
            raise bad_token(1)
        fee = wish.lsp_balance_sat // (200 if wish.token else 100)
        way = lsps1.Bolt11(
            state=lsps1.PaymentState.EXPECT_PAYMENT,
            expires_at=write_time(_in(hours=1)),
            fee_total_sat=fee,
            order_total_sat=fee + wish.client_balance_sat,
            invoice=INVOICE,
        )
        return lsps1.Payment(bolt11=way)

    async def refresh(self, context: AppContext, client: NodeId, order: lsps1.Order) -> lsps1.Order:
        """Return the order as paid and completed once somebody has said so."""
        way = order.payment.bolt11
        if order.order_id not in self.paid or way is None or order.channel is not None:
            return order
        blocks = timedelta(minutes=10 * order.channel_expiry_blocks)
        channel = lsps1.Channel(
            funded_at=write_time(_in()), funding_outpoint=f"{0:064}:0", expires_at=write_time(_in() + blocks)
        )
        payment = lsps1.Payment(bolt11=replace(way, state=lsps1.PaymentState.PAID))
        return replace(order, order_state=lsps1.OrderState.COMPLETED, payment=payment, channel=channel)

    async def offers(self, context: Context, token: str | None) -> Sequence[lsps2.OpeningFeeParams]:
        """Return a cheap offer for ten minutes, and one for a day; both at half the price for a token."""
        if token not in (None, "", self.token):
            raise bad_token(2)
        cheap = lsps2.OpeningFeeParams(
            min_fee_msat=250_000 if token else 500_000,
            proportional=1000,
            valid_until=write_time(_in(minutes=10)),
            min_lifetime=1008,
            max_client_to_self_delay=2016,
            min_payment_size_msat=1_000_000,
            max_payment_size_msat=1_000_000_000,
            promise="",
        )
        return cheap, replace(cheap, proportional=2000, valid_until=write_time(_in(hours=24)))

    async def buy(self, context: Context, wish: lsps2.Buy, fee_msat: int | None) -> lsps2.Bought:
        """Return an SCID of a block before SegWit, where no channel can be."""
        self._sold += 1
        if self._sold > 0xFFFFFF:
            raise rejected("the demo is over")
        return lsps2.Bought(jit_channel_scid=ShortChannelId(1, self._sold, 1), lsp_cltv_expiry_delta=144)


def _in(**later: float) -> datetime:
    return datetime.now(UTC) + timedelta(**later)


lsp = DemoLsp()
extension = server(lsp)


@extension.rpc("lsps-demo-pay")
async def pay(context: AppContext, order_id: str) -> dict[str, str]:
    """Say that an order of LSPS1 is paid."""
    lsp.paid.add(order_id)
    return {"order_id": order_id}


if __name__ == "__main__":
    extension.run()
