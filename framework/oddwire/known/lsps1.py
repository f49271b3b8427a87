"""LSPS1: a client orders a channel of an LSP, and pays for it.

bLIP-51 at commit ba7a34b (2026-01-14), with BOLT 12 (March 2025) and the error for tokens (December 2025). Amounts are
ints here, in satoshis; that JSON has them as strings of digits is the codec's business. Times are texts, as bLIP-50
writes them: ``2023-02-23T08:47:30.511Z``.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from oddwire.known import Protocol
from oddwire.known.lsps0 import Sat, Time
from oddwire.schema import Procedure, field, subtype, u16, u32

__all__ = [
    "BAD_TOKEN",
    "CREATE_ORDER",
    "GET_INFO",
    "GET_ORDER",
    "NOT_FOUND",
    "OPTION_MISMATCH",
    "PROTOCOL",
    "Bolt11",
    "Bolt12",
    "Channel",
    "CreateOrder",
    "GetOrder",
    "Info",
    "Onchain",
    "Order",
    "OrderState",
    "Payment",
    "PaymentState",
]

OPTION_MISMATCH: Final = 100
"""The code for an order beyond the LSP's options; its data has ``property``, the option, and perhaps ``message``."""
NOT_FOUND: Final = 101
"""The code for an order that the LSP does not have; its data is ``{}``, or missing, as LDK can read no object there."""
BAD_TOKEN: Final = 102
"""The code for a token that the LSP does not know, or no longer; its data is ``{}``, or missing."""


@subtype
class Info:
    """The limits of what may be ordered: ints, those that end in ``_sat`` in satoshis, and a bool."""

    min_required_channel_confirmations: u16
    min_funding_confirms_within_blocks: u16
    supports_zero_channel_reserve: bool
    max_channel_expiry_blocks: u32
    min_initial_client_balance_sat: Sat
    max_initial_client_balance_sat: Sat
    min_initial_lsp_balance_sat: Sat
    max_initial_lsp_balance_sat: Sat
    min_channel_balance_sat: Sat
    max_channel_balance_sat: Sat


@subtype
class CreateOrder:
    """A wish for a channel. Without ``refund_onchain_address`` it cannot be paid on chain.

    The first five are ints, of satoshis and blocks; ``token`` and ``refund_onchain_address`` are texts, None if there
    are none.
    """

    lsp_balance_sat: Sat
    client_balance_sat: Sat
    required_channel_confirmations: u16
    funding_confirms_within_blocks: u16
    channel_expiry_blocks: u32
    token: str | None = None
    refund_onchain_address: str | None = None
    announce_channel: bool


@subtype
class GetOrder:
    """A question for an order."""

    order_id: str


class OrderState(Enum):
    """What has become of an order; completed is one whose funding transaction is published."""

    CREATED = "CREATED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class PaymentState(Enum):
    """What has become of a payment. ``CANCELLED`` was before ``REFUNDED``; ``HOLD`` is a Lightning payment's alone."""

    EXPECT_PAYMENT = "EXPECT_PAYMENT"
    HOLD = "HOLD"
    PAID = "PAID"
    REFUNDED = "REFUNDED"
    CANCELLED = "CANCELLED"


@subtype
class Bolt11:
    """Payment by a hold invoice of BOLT 11; amounts are ints, in satoshis, ``expires_at`` is a text."""

    state: PaymentState
    expires_at: Time
    fee_total_sat: Sat
    order_total_sat: Sat
    invoice: str = field(max_length=2048)


@subtype
class Bolt12:
    """Payment by an offer of BOLT 12; amounts are ints, in satoshis, ``expires_at`` is a text."""

    state: PaymentState
    expires_at: Time
    fee_total_sat: Sat
    order_total_sat: Sat
    offer: str = field(max_length=2048)


@subtype
class Onchain:
    """Payment on chain. ``min_fee_for_0conf`` is in satoshis for 1000 weight units, and only for 0 confirmations."""

    state: PaymentState
    expires_at: Time
    fee_total_sat: Sat
    order_total_sat: Sat
    address: str
    min_onchain_payment_confirmations: u16 | None = None
    min_fee_for_0conf: u32 | None = None
    refund_onchain_address: str | None = None


@subtype
class Payment:
    """The ways in which an order may be paid, one of them."""

    bolt11: Bolt11 | None = None
    bolt12: Bolt12 | None = None
    onchain: Onchain | None = None


@subtype
class Channel:
    """The channel of a completed order. ``funding_outpoint`` is ``txid:index``."""

    funded_at: Time
    funding_outpoint: str
    expires_at: Time


@subtype
class Order:
    """An order, with what the client wished. ``channel`` is null before the funding transaction is published."""

    order_id: str = field(max_length=64)
    lsp_balance_sat: Sat
    client_balance_sat: Sat
    required_channel_confirmations: u16
    funding_confirms_within_blocks: u16
    channel_expiry_blocks: u32
    token: str | None = ""
    created_at: Time
    announce_channel: bool
    order_state: OrderState
    payment: Payment
    channel: Channel | None


GET_INFO: Final = Procedure("lsps1.get_info", result=Info)
CREATE_ORDER: Final = Procedure("lsps1.create_order", params=CreateOrder, result=Order)
GET_ORDER: Final = Procedure("lsps1.get_order", params=GetOrder, result=Order)

PROTOCOL = Protocol(
    name="LSPS1",
    document="https://github.com/lightning/blips/blob/master/blip-0051.md",
    version="commit ba7a34b, 2026-01-14",
    inside="LSPS0",
    procedures=(GET_INFO, CREATE_ORDER, GET_ORDER),
)
