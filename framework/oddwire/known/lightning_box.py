"""Lightning Box: a server forwards LNURL-pay requests for a Lightning Address to the wallet that they are for.

There is no document; from the server, hsjoberg/lightning-box ``src/api/pay.ts`` at commit d84994f, 2023-11-27, and the
wallet, hsjoberg/blixt-wallet ``src/state/LightningBox.ts`` at commit e868a65, 2026-05-08. Server and wallet send the
same message; ``request`` says which of four it is, and an answer has the ``id`` of its request. What is in ``data``,
`read_data` says; the server passes a wallet's answers on to the payer as they are, so they may have more than that.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from oddwire.known import Protocol
from oddwire.schema import Message, Procedure, field, message, subtype, u32, u64

__all__ = ["PROTOCOL", "Invoice", "InvoiceRequest", "LightningBox", "Metadata", "PayRequest", "Refusal", "read_data"]


@subtype
class Metadata:
    """What the server adds to a request."""

    lightning_address: str = field(key="lightningAddress")
    """The Lightning Address that is paid: ``name@domain``."""


@message(33459, codec="json", spec=True)
class LightningBox(Message):
    """A request or an answer of LNURL-pay (LUD-06), in two steps."""

    id: u64
    """A number of the server's, which the answer repeats."""
    request: Literal[
        "LNURLPAY_REQUEST1", "LNURLPAY_REQUEST1_RESPONSE", "LNURLPAY_REQUEST2", "LNURLPAY_REQUEST2_RESPONSE"
    ]
    data: dict[str, Any] | None
    """None in the first request, then as in `PayRequest`, `InvoiceRequest`, and `Invoice`; or `Refusal`."""
    metadata: Metadata | None = None


@subtype
class PayRequest:
    """The answer to the first request: LUD-06's parameters, without the ``callback``, which the server adds."""

    tag: Literal["payRequest"]
    min_sendable: u64 = field(key="minSendable")
    """In millisatoshis, as is ``max_sendable``."""
    max_sendable: u64 = field(key="maxSendable")
    metadata: str
    """LUD-06's JSON, whose hash is in the invoice."""
    comment_allowed: u32 | None = field(key="commentAllowed", default=None)
    """How many characters a comment may have."""
    payer_data: dict[str, Any] | None = field(key="payerData", default=None)
    """What the payer may tell of itself (LUD-18)."""


@subtype
class InvoiceRequest:
    """The second request."""

    amount: u64
    """In millisatoshis."""
    comment: str | None = None
    payerdata: str | None = None
    """The payer's own JSON (LUD-18), as it came, as its hash is in the invoice, too."""


@subtype
class Invoice:
    """The answer to the second request."""

    pr: str
    """A BOLT 11 invoice."""
    routes: tuple[Any, ...] = ()
    success_action: dict[str, Any] | None = field(key="successAction")


@subtype
class Refusal:
    """An answer to either, if the wallet does not want to be paid."""

    status: Literal["ERROR"]
    reason: str


_FIRST: Final = Procedure("LNURLPAY_REQUEST1", result=PayRequest)
_SECOND: Final = Procedure("LNURLPAY_REQUEST2", params=InvoiceRequest, result=Invoice)
_REFUSED: Final = Procedure("refused", result=Refusal)


def read_data(message: LightningBox) -> PayRequest | InvoiceRequest | Invoice | Refusal | None:
    """Return what is in a message's ``data``, without keys that are not known; None in the first request.

    Raises `MalformedMessage` for what does not have the fields that it should.
    """
    data = message.data or {}
    match message.request:
        case "LNURLPAY_REQUEST1":
            return None
        case "LNURLPAY_REQUEST2":
            return _SECOND.load_params(data)
        case _ if "status" in data:
            return _REFUSED.load_result(data)
        case "LNURLPAY_REQUEST1_RESPONSE":
            return _FIRST.load_result(data)
        case "LNURLPAY_REQUEST2_RESPONSE":
            return _SECOND.load_result(data)


PROTOCOL = Protocol(
    name="Lightning Box",
    document="https://github.com/hsjoberg/lightning-box/blob/master/src/api/pay.ts",
    version="commit d84994f, 2023-11-27",
    messages=(LightningBox,),
)
