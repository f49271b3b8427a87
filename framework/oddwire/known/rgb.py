"""RGB Lightning nodes: files of a channel's funding, and orders of payments to nodes that are away.

From RGB-Tools/rgb-lightning-node: ``src/rgb_file_transfer.rs`` at commit 6887cbf, 2026-08-12, and
``src/async_order.rs`` at commit 83c4d5a, 2026-06-01. A file is a consignment or a medium of an asset, and comes in
chunks of 60000 bytes. Orders are JSON-RPC 2.0, an object a message, with the keys in alphabetical order as serde_json
writes them; either side calls the other, so `PeerRpc` with `ASYNC_ORDER` speaks it, both ends with `NEW_ORDER` and
`REQUEST_INVOICE`.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Annotated, Any, Final, Literal, TypeAlias

from oddwire.known import Protocol
from oddwire.schema import (
    Message,
    Procedure,
    as_text,
    counted,
    field,
    fixed,
    max_length,
    message,
    s64,
    subtype,
    u8,
    u16,
    u32,
    u64,
    validates,
)

__all__ = [
    "ASYNC_ORDER",
    "DUPLICATE_HASH",
    "DUPLICATE_INDEX",
    "INVALID_HASH_BATCH",
    "INVOICE_HASH_MISMATCH",
    "NEW_ORDER",
    "PROTOCOL",
    "REQUEST_INVOICE",
    "STALE_FLOW",
    "UNSUPPORTED_PROTOCOL_VERSION",
    "AsyncOrder",
    "Fault",
    "FileKind",
    "FileTransfer",
    "Hash",
    "HashedSlot",
    "Invoice",
    "InvoiceRequest",
    "NewOrder",
    "Order",
]

ASYNC_ORDER: Final = 37915
"""The type of `AsyncOrder`, for `PeerRpc`."""
UNSUPPORTED_PROTOCOL_VERSION: Final = 1000
"""The code of an error for a ``protocol_version`` other than 1."""
INVALID_HASH_BATCH: Final = 1003
"""The code for no hashes, or more than 200, or numbers that do not go on from those before, or from 1."""
DUPLICATE_INDEX: Final = 1004
"""The code for another hash under a number that has one."""
DUPLICATE_HASH: Final = 1005
"""The code for a hash that comes twice, or has another number already."""
INVOICE_HASH_MISMATCH: Final = 1104
"""The code for a hash that is not the one of its number."""
STALE_FLOW: Final = 1105
"""The code for a payment that is over, or that another invoice was asked for."""

Hash: TypeAlias = Annotated[bytes, fixed(32)]
_DIGEST: Final = re.compile("[0-9A-Fa-f]{64}")


class FileKind(Enum):
    """What a file is."""

    CONSIGNMENT = 0
    MEDIA = 1


@message(33333, codec="bolt", spec=True)
class FileTransfer(Message):
    """A chunk of a file. What is refused is what the program does not read either."""

    version: u8 = field(default=1, ge=1, le=1)
    file_kind: Annotated[FileKind, u8]
    funding_txid: str = field(pattern=_DIGEST.pattern)
    """The id of the transaction that funds the channel, in hex as it is shown."""
    file_id: str
    """The SHA-256 digest of a medium, in hex; empty for the consignment, of which a transaction has one."""
    chunk_index: u16
    """From 0 on."""
    total_chunks: u16
    data: Annotated[bytes, counted(u32), max_length(65535)]
    """60000 bytes, but for the last chunk."""

    @validates("file_id")
    def check_file_id(self, file_id: str) -> None:
        """Refuse a medium without a digest, and a consignment with one."""
        if self.file_kind is FileKind.CONSIGNMENT and file_id:
            raise ValueError("should be empty for a consignment")
        if self.file_kind is FileKind.MEDIA and not _DIGEST.fullmatch(file_id):
            raise ValueError("should be 64 hex digits for a medium")


@subtype
class HashedSlot:
    """A payment hash, and its number in the recipient's series, from 1 on."""

    hash_index: u64
    payment_hash: Hash


@subtype
class NewOrder:
    """Parameters of `NEW_ORDER`: hashes, 200 at most, by which the host may take payments for the caller."""

    hashes: tuple[HashedSlot, ...]
    protocol_version: u64


@subtype
class Order:
    """The result of `NEW_ORDER`."""

    accepted_through_index: u64
    """The number of the last hash that the host has."""
    next_index_expected: u64
    order_id: str
    protocol_version: u64
    refill_batch_size: u64
    """How many hashes the host wants to have at once."""
    status: str
    """``active``."""
    unused_hashes: u64


@subtype
class InvoiceRequest:
    """Parameters of `REQUEST_INVOICE`, by which the host asks for an invoice of one of the hashes."""

    amount_msat: u64
    asset_amount: u64 | None
    asset_id: str | None
    """The RGB asset that is paid with; None for bitcoin."""
    description_hash: Hash
    hash_index: Annotated[u64, as_text]
    """As in `HashedSlot`, but a string of digits in JSON."""
    invoice_expiry_sec: u32
    min_final_cltv_expiry_delta: u16
    payment_hash: Hash


@subtype
class Invoice:
    """The result of `REQUEST_INVOICE`."""

    bolt11: str
    payment_hash: Hash


@subtype
class Fault:
    """An error: JSON-RPC's own codes, or those above."""

    code: s64
    message: str


@message(37915, codec="json", spec=True)
class AsyncOrder(Message):
    """A request, `NEW_ORDER` or `REQUEST_INVOICE` by its ``method``, or an answer to one by its ``id``.

    ``params`` and ``result`` are read with `Procedure.load_params` and `Procedure.load_result`.
    """

    error: Fault | None = None
    id: str | int | None
    """A text in what the program sends; None in an answer to what was no request."""
    jsonrpc: Literal["2.0"]
    method: str | None = None
    params: dict[str, Any] | None = None
    result: dict[str, Any] | None = None


NEW_ORDER: Final = Procedure("async_order.new", params=NewOrder, result=Order)
REQUEST_INVOICE: Final = Procedure("async_order.request_invoice", params=InvoiceRequest, result=Invoice)

PROTOCOL = Protocol(
    name="RGB",
    document="https://github.com/RGB-Tools/rgb-lightning-node/blob/master/src/rgb_file_transfer.rs",
    version="commit 6887cbf, 2026-08-12",
    messages=(FileTransfer, AsyncOrder),
    procedures=(NEW_ORDER, REQUEST_INVOICE),
)
