"""LSPS2: a channel that an LSP opens when its client is paid for the first time, for a part of that payment.

bLIP-52 at commit 8b09c57 (2024-12-20). Amounts are ints here, in millisatoshis; that JSON has them as strings of digits
is the codec's business. Times are texts, as bLIP-50 writes them.
"""

from __future__ import annotations

from typing import Final

from oddwire.known import Protocol
from oddwire.known.lsps0 import Msat, Time
from oddwire.schema import Procedure, field, short_channel_id, subtype, u16, u32

__all__ = [
    "BAD_TOKEN",
    "BUY",
    "GET_INFO",
    "INVALID_OPENING_FEE_PARAMS",
    "PAYMENT_TOO_LARGE",
    "PAYMENT_TOO_SMALL",
    "PROTOCOL",
    "Bought",
    "Buy",
    "GetInfo",
    "Info",
    "OpeningFeeParams",
    "opening_fee",
    "payment_sizes",
]

BAD_TOKEN: Final = 200
"""The code for a token that the LSP does not know, or no longer."""
INVALID_OPENING_FEE_PARAMS: Final = 201
"""The code for parameters that the LSP has not promised, or not for so long."""
PAYMENT_TOO_SMALL: Final = 202
"""The code for a payment that does not exceed the fee."""
PAYMENT_TOO_LARGE: Final = 203
"""The code for a payment whose fee 64 bits do not hold, or that the LSP cannot receive."""

_U64: Final = 1 << 64


@subtype
class OpeningFeeParams:
    """What the LSP asks for, how long it keeps its word, and the ``promise`` by which it knows its own words again.

    A client passes it on as it came; it must not use one with further fields. Those that end in ``_msat`` are ints, in
    millisatoshis, ``proportional`` an int, in millionths; ``valid_until`` is a text such as
    ``2023-02-23T08:47:30.511Z``; ``min_lifetime`` and ``max_client_to_self_delay`` are ints, in blocks; ``promise`` is
    a text of printable ASCII, 512 characters at most.
    """

    min_fee_msat: Msat
    proportional: u32
    valid_until: Time
    min_lifetime: u32
    max_client_to_self_delay: u32
    min_payment_size_msat: Msat
    max_payment_size_msat: Msat
    promise: str = field(max_length=512)


@subtype
class GetInfo:
    """A question for the parameters; the ``token`` may be a coupon, or what lets the client in."""

    token: str | None = None


@subtype
class Info:
    """The parameters to choose from, the cheapest first; none if there is nothing to be had now."""

    opening_fee_params_menu: tuple[OpeningFeeParams, ...]


@subtype
class Buy:
    """The choice. With ``payment_size_msat`` the payment may have several parts, without it has one, of any size.

    ``payment_size_msat`` is an int, in millisatoshis, or None.
    """

    opening_fee_params: OpeningFeeParams
    payment_size_msat: Msat | None = None


@subtype
class Bought:
    """The hop of the LSP, for the route hint of the client's invoice.

    ``jit_channel_scid`` is a `ShortChannelId`, ``lsp_cltv_expiry_delta`` an int, in blocks; with ``client_trusts_lsp``
    the LSP opens the channel only once it has the payment's preimage.
    """

    jit_channel_scid: short_channel_id
    lsp_cltv_expiry_delta: u16
    client_trusts_lsp: bool = False


GET_INFO: Final = Procedure("lsps2.get_info", params=GetInfo, result=Info)
BUY: Final = Procedure("lsps2.buy", params=Buy, result=Bought)

PROTOCOL = Protocol(
    name="LSPS2",
    document="https://github.com/lightning/blips/blob/master/blip-0052.md",
    version="commit 8b09c57, 2024-12-20",
    inside="LSPS0",
    procedures=(GET_INFO, BUY),
)


def opening_fee(params: OpeningFeeParams, payment_size_msat: int) -> int:
    """Return the fee for a payment, in millisatoshis.

    By the code in bLIP-52, "Computing the opening_fee": the formula in its text has a zero too many. Raises
    `OverflowError` where 64 bits do not hold what is computed.
    """
    product = payment_size_msat * params.proportional
    if product + 999_999 >= _U64:
        raise OverflowError(f"the fee of {params.proportional} millionths of {payment_size_msat} msat exceeds 64 bits")
    return max((product + 999_999) // 1_000_000, params.min_fee_msat)


def payment_sizes(params: OpeningFeeParams) -> tuple[int, int]:
    """Return the least and the greatest payment that these parameters are for, in millisatoshis.

    They are within the parameters' limits, exceed their fee, and 64 bits hold what the fee is computed of. If there are
    no such payments, the least is greater than the greatest.
    """
    rate = params.proportional
    exceeds_rate = -(-1_000_000 // (1_000_000 - rate)) if rate < 1_000_000 else _U64  # the fee is rounded up
    most = params.max_payment_size_msat if rate == 0 else min(params.max_payment_size_msat, (_U64 - 1_000_000) // rate)
    return max(params.min_payment_size_msat, params.min_fee_msat + 1, exceeds_rate), most
