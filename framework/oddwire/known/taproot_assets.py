"""Taproot Assets over Lightning: quotes for an asset (RFQ), and the funding of channels that hold one.

From lightninglabs/taproot-assets at commit 95bd8d4, 2026-08-04: ``rfqmsg``, ``tapchannelmsg/wire_msgs.go`` and, for
assets, ``asset/records.go``. Every message is a TLV stream, and so is most of what is in one; its integers are of fixed
size, or bigsize. An asset's hashes are as they are hashed, that is in the other order than they are shown as txids.

Both protocols' messages go from lnd to lnd as custom messages. Quotes are of version 1. A rate is in asset units for
one bitcoin; where the other side is bitcoin, its rate is 100,000,000,000: millisatoshis.
"""

from __future__ import annotations

import re
from decimal import Decimal
from enum import Enum
from typing import Annotated, TypeAlias

from oddwire.known import Protocol
from oddwire.schema import (
    Message,
    bigsize,
    channel_id,
    counted,
    field,
    fixed,
    message,
    point,
    rest,
    scalar,
    sha256,
    signature,
    subtype,
    u8,
    u16,
    u32,
    u64,
)

__all__ = [
    "PROTOCOL",
    "Asset",
    "AssetFundingAck",
    "AssetFundingCreated",
    "AssetId",
    "AssetOutput",
    "ExecutionPolicy",
    "Genesis",
    "Key",
    "Leaf",
    "MerkleSumNode",
    "MerkleSumProof",
    "OutPoint",
    "PrevId",
    "ProofChunk",
    "Rate",
    "RejectError",
    "RfqAccept",
    "RfqReject",
    "RfqRequest",
    "RootAsset",
    "RootWitness",
    "SplitCommitment",
    "TransferType",
    "TxAssetInputProof",
    "TxAssetOutputProof",
    "Witness",
]

AssetId: TypeAlias = sha256
"""Of all zeros: bitcoin."""

# Quotes --------------------------------------------------------------------------------------------------------------


def _load_rate(data: bytes) -> Decimal:
    if not data or data[1:2] == b"\0":
        raise ValueError("should be a byte of scale, and a coefficient with no zeros in front")
    return Decimal((0, Decimal(int.from_bytes(data[1:], "big")).as_tuple().digits, -data[0]))


def _dump_rate(rate: Decimal) -> bytes:
    sign, digits, exponent = rate.as_tuple()
    if not isinstance(exponent, int) or sign or not -255 <= exponent <= 255:
        raise ValueError(f"should be a number, not negative, of 255 decimals at most, not {rate!s:.40}")
    coefficient = int(Decimal((0, digits, max(exponent, 0))))
    return bytes([max(-exponent, 0)]) + coefficient.to_bytes((coefficient.bit_length() + 7) // 8, "big")


def _parse_rate(text: str) -> Decimal:
    if len(text) > 1000 or not re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        raise ValueError(f"should be a decimal number, 0.50 say, not {text!r:.40}")
    return Decimal(text)


Rate: TypeAlias = Annotated[
    Decimal,
    scalar(
        "rate",
        python=Decimal,
        wire=Annotated[bytes, rest],
        load=_load_rate,
        dump=_dump_rate,
        parse=_parse_rate,
        show="{:f}".format,
    ),
]
"""A fixed-point number: on the wire a byte, the number of its decimals, and the number without the point."""


class TransferType(Enum):
    """What a quote is for."""

    UNSPECIFIED = 0
    PAY_INVOICE = 1
    RECEIVE_PAYMENT = 2


class ExecutionPolicy(Enum):
    """Whether part of the amount will do."""

    IMMEDIATE_OR_CANCEL = 0
    FILL_OR_KILL = 1


@message(52884, codec="bolt", spec=True, even="known")
class RfqRequest(Message):
    """A request for a quote. ``in`` is what comes to the requesting peer, ``out`` what it gives.

    Each of the two has an asset id or a group key. ``id`` has in its last eight bytes the short channel id by which
    payments under the quote are known. ``expiry`` is in seconds since 1970.
    """

    version: u8 = field(tlv=0, default=1)
    id: sha256 = field(tlv=2)
    transfer_type: Annotated[TransferType, u8] = field(tlv=4)
    expiry: u64 = field(tlv=6)
    in_asset_id: AssetId | None = field(tlv=9, default=None)
    in_asset_group_key: point | None = field(tlv=11, default=None)
    out_asset_id: AssetId | None = field(tlv=13, default=None)
    out_asset_group_key: point | None = field(tlv=15, default=None)
    max_in_asset: u64 = field(tlv=16)
    in_asset_rate_hint: Rate | None = field(tlv=19, default=None)
    out_asset_rate_hint: Rate | None = field(tlv=21, default=None)
    min_in_asset: u64 | None = field(tlv=23, default=None)
    min_out_asset: u64 | None = field(tlv=25, default=None)
    price_oracle_metadata: str | None = field(tlv=27, default=None)
    asset_rate_limit: Rate | None = field(tlv=29, default=None)
    execution_policy: Annotated[ExecutionPolicy, u8] | None = field(tlv=31, default=None)


@message(52885, codec="bolt", spec=True)
class RfqAccept(Message):
    """A quote: both rates, until ``expiry``."""

    version: u8 = field(tlv=0, default=1)
    id: sha256 = field(tlv=2)
    expiry: u64 = field(tlv=4)
    sig: signature = field(tlv=6)
    in_asset_rate: Rate = field(tlv=8)
    out_asset_rate: Rate = field(tlv=10)
    max_in_asset: u64 | None = field(tlv=11, default=None)


@subtype
class RejectError:
    """Why there is no quote.

    ``code`` is 0 for anything, 1 without a price, 2 if the least amount, 3 if the rate limit, 4 if the execution policy
    could not be met, 5 for more than the most amount.
    """

    code: u8
    message: Annotated[str, rest]


@message(52886, codec="bolt", spec=True, even="known")
class RfqReject(Message):
    """There is no quote."""

    version: u8 = field(tlv=0, default=1)
    id: sha256 = field(tlv=2)
    error: RejectError = field(tlv=5)


# Assets --------------------------------------------------------------------------------------------------------------

Key: TypeAlias = Annotated[bytes, fixed(33)]
"""A public key, or zeros for none."""


@subtype
class OutPoint:
    """An output of a bitcoin transaction."""

    txid: sha256
    index: u32


@subtype
class Genesis:
    """What an asset's id is the hash of."""

    first_prev_out: OutPoint
    tag: Annotated[str, counted(bigsize)]
    meta_hash: sha256
    output_index: u32
    type: u8


@subtype
class PrevId:
    """An asset that is spent."""

    out_point: OutPoint
    asset_id: AssetId
    script_key: Key


@subtype
class MerkleSumNode:
    """A node of a tree of assets: its hash, and the sum of all amounts below."""

    hash: sha256
    sum: u64


@subtype
class MerkleSumProof:
    """The nodes beside the way from a leaf to the root. Empty ones are left out, and marked in ``bits``."""

    nodes: tuple[MerkleSumNode, ...]
    bits: Annotated[bytes, fixed(32)]


@subtype
class RootWitness:
    """The witness of an asset that was spent: what is on the stack of its script."""

    prev_id: PrevId | None = field(tlv=1, default=None)
    tx_witness: Annotated[tuple[Annotated[bytes, counted(bigsize)], ...], counted(bigsize)] | None = field(
        tlv=3, default=None
    )


@subtype
class Leaf:
    """What `Asset` and `RootAsset` have alike, ``amount`` being in the smallest units."""

    version: u8 = field(tlv=0, default=0)
    genesis: Genesis = field(tlv=2)
    type: u8 = field(tlv=4)
    amount: bigsize = field(tlv=6)
    lock_time: bigsize | None = field(tlv=7, default=None)
    relative_lock_time: bigsize | None = field(tlv=9, default=None)
    split_commitment_root: MerkleSumNode | None = field(tlv=13, default=None)
    script_version: u16 = field(tlv=14)
    script_key: Key = field(tlv=16)
    group_key: Key | None = field(tlv=17, default=None)


@subtype
class RootAsset(Leaf):
    """An asset that others were split from."""

    prev_witnesses: Annotated[tuple[Annotated[RootWitness, counted(bigsize)], ...], counted(bigsize)] | None = field(
        tlv=11, default=None
    )


@subtype
class SplitCommitment:
    """The proof that an asset was split from another."""

    proof: Annotated[MerkleSumProof, counted(bigsize)]
    root_asset: Annotated[RootAsset, counted(bigsize)]


@subtype
class Witness(RootWitness):
    """The witness of an asset: of the one that was spent, or of the one that it was split from."""

    split_commitment: SplitCommitment | None = field(tlv=5, default=None)


@subtype
class Asset(Leaf):
    """An asset in an output of a bitcoin transaction."""

    prev_witnesses: Annotated[tuple[Annotated[Witness, counted(bigsize)], ...], counted(bigsize)] | None = field(
        tlv=11, default=None
    )


# Channel funding -----------------------------------------------------------------------------------------------------


@subtype
class ProofChunk:
    """A piece of the proof of an asset; ``chunk_sum_id`` is the hash of the whole of it."""

    chunk_sum_id: sha256 = field(tlv=0)
    chunk: bytes = field(tlv=1)
    last: bool = field(tlv=2)


@message(53140, codec="bolt", spec=True, even="known")
class TxAssetInputProof(Message):
    """A piece of the proof that the funder has an asset. ``pending_channel_id`` is lnd's, of the channel to be."""

    pending_channel_id: channel_id = field(tlv=0)
    asset_id: AssetId = field(tlv=1)
    amount: u64 = field(tlv=2)
    proof_chunk: ProofChunk = field(tlv=3)


@message(53141, codec="bolt", spec=True)
class TxAssetOutputProof(Message):
    """An asset of the funding output, with its witness."""

    pending_channel_id: channel_id = field(tlv=0)
    asset_output: Asset = field(tlv=1)
    last: bool = field(tlv=2)


@subtype
class AssetOutput:
    """An asset of the funding output, and the proof of it: ``TAPP`` and a TLV stream of its own."""

    asset_id: AssetId = field(tlv=0)
    amount: u64 = field(tlv=1)
    proof: bytes = field(tlv=2)


@message(53142, codec="bolt", spec=True, even="known")
class AssetFundingCreated(Message):
    """The proofs of all assets of the funding output, before the ``funding_created`` of BOLT 2."""

    pending_channel_id: channel_id = field(tlv=0)
    funding_outputs: Annotated[tuple[Annotated[AssetOutput, counted(bigsize)], ...], counted(bigsize)] = field(tlv=1)


@message(53143, codec="bolt", spec=True)
class AssetFundingAck(Message):
    """Whether the peer accepts the proofs."""

    pending_channel_id: channel_id = field(tlv=0)
    accept: bool = field(tlv=1)


PROTOCOL = Protocol(
    name="Taproot Assets",
    document="https://github.com/lightninglabs/taproot-assets",
    version="commit 95bd8d4, 2026-08-04",
    messages=(
        RfqRequest,
        RfqAccept,
        RfqReject,
        TxAssetInputProof,
        TxAssetOutputProof,
        AssetFundingCreated,
        AssetFundingAck,
    ),
)
