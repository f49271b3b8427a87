"""Phoenix: what ACINQ's wallet and its node say to each other beside the BOLTs.

From eclair's ``LightningMessageCodecs.scala`` and the files of TLV records beside it at commit 5b765e0, 2026-08-21, and
lightning-kmp's ``LightningMessages.kt`` at commit 1ee34a2, 2026-07-10; on-the-fly funding is bLIP-36, a draft. The
three splice messages are a prototype, written as those of BOLT 2 are. A `CommitSigBatch` is only sent between the
machines of one eclair node. Bools are `bool8`. Amounts are in satoshis where nothing else is said.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from oddwire.known import Protocol
from oddwire.schema import (
    Message,
    UnknownVariant,
    bigsize,
    bool8,
    chain_hash,
    channel_id,
    counted,
    field,
    fixed,
    message,
    point,
    rest,
    s64,
    sha256,
    signature,
    subtype,
    tagged,
    tu16,
    tu64,
    u16,
    u32,
    u64,
    validates,
)

__all__ = [
    "PROTOCOL",
    "AddFeeCredit",
    "CancelOnTheFlyFunding",
    "CommitSig",
    "CommitSigBatch",
    "CurrentFeeCredit",
    "DnsAddressRequest",
    "DnsAddressResponse",
    "FcmToken",
    "FeerateRange",
    "FromChannelBalance",
    "FromChannelBalanceForFutureHtlc",
    "FromFutureHtlc",
    "FromFutureHtlcWithPreimage",
    "FundingRate",
    "PartialSignature",
    "PhoenixAndroidLegacyInfo",
    "RecommendedFeerates",
    "RequestFunding",
    "RequireConfirmedInputs",
    "SpliceAck",
    "SpliceInit",
    "SpliceLocked",
    "UnsetFcmToken",
    "WillAddHtlc",
    "WillFailHtlc",
    "WillFailMalformedHtlc",
    "WillFund",
]

_Preimage: TypeAlias = Annotated[bytes, fixed(32)]
_Signature: TypeAlias = signature

# The wallet's own ----------------------------------------------------------------------------------------------------


@message(35017, codec="bolt", spec=True)
class FcmToken(Message):
    """The token by which the node can wake the wallet, by Firebase Cloud Messaging."""

    token: str


@message(35019, codec="bolt", spec=True)
class UnsetFcmToken(Message):
    """Takes the token back."""


@message(35023, codec="bolt", spec=True)
class PhoenixAndroidLegacyInfo(Message):
    """Whether the wallet has channels of the Android version before the present one."""

    has_channels: bool8


@message(35025, codec="bolt", spec=True)
class DnsAddressRequest(Message):
    """The wallet asks for a BIP 353 address for its offer."""

    chain_hash: chain_hash
    offer: bytes
    """A TLV stream of BOLT 12, with whatever is in it: ``decode_subtype(bolts.Offer, offer)`` reads what is known."""
    language_subtag: str
    """In which language the words of the address should be, if possible: ``en``."""


@message(35027, codec="bolt", spec=True)
class DnsAddressResponse(Message):
    """The address."""

    chain_hash: chain_hash
    address: str
    """What is before and behind the at sign, ``name@domain``."""


# Feerates ------------------------------------------------------------------------------------------------------------


@subtype
class FeerateRange:
    """What is accepted, in sats for 1000 units of weight."""

    min: u32
    max: u32


@message(39409, codec="bolt", spec=True)
class RecommendedFeerates(Message):
    """The node's feerates in sats for 1000 units of weight, until the next such message."""

    chain_hash: chain_hash
    funding_feerate: u32
    commitment_feerate: u32
    funding_feerate_range: FeerateRange | None = field(tlv=1, default=None)
    commitment_feerate_range: FeerateRange | None = field(tlv=3, default=None)


# Splices, with liquidity that is bought ------------------------------------------------------------------------------


@subtype
class RequireConfirmedInputs:
    """A record without contents, that is there or is not."""


@subtype
class FundingRate:
    """At what price liquidity is sold: amounts in sats, ``fee_basis`` in hundredths of a percent."""

    min_amount: u32
    max_amount: u32
    funding_weight: u16
    fee_basis: u16
    fee_base: u32
    channel_creation_fee: u32


@subtype(tag=0)
class FromChannelBalance:
    """The fees are paid from the buyer's balance in the channel."""


@subtype(tag=128)
class FromFutureHtlc:
    """They are taken from the payments with these hashes, which are relayed then."""

    payment_hashes: Annotated[tuple[sha256, ...], rest]


@subtype(tag=129)
class FromFutureHtlcWithPreimage:
    """As `FromFutureHtlc`, but the buyer reveals the preimages of the payments at once."""

    preimages: Annotated[tuple[_Preimage, ...], rest]


@subtype(tag=130)
class FromChannelBalanceForFutureHtlc:
    """They are paid from the balance, for the payments with these hashes."""

    payment_hashes: Annotated[tuple[sha256, ...], rest]


@subtype
class RequestFunding:
    """Asks for liquidity."""

    requested_amount: u64
    funding_rate: FundingRate
    payment_details: Annotated[
        FromChannelBalance
        | FromFutureHtlc
        | FromFutureHtlcWithPreimage
        | FromChannelBalanceForFutureHtlc
        | UnknownVariant,
        tagged(bigsize, length=bigsize),
    ]
    """How the fees are paid."""


@subtype
class WillFund:
    """Sells liquidity."""

    funding_rate: FundingRate
    funding_script: bytes
    signature: signature


@message(37000, codec="bolt", spec=True, even="known")
class SpliceInit(Message):
    """The first message of a splice."""

    channel_id: channel_id
    funding_contribution: s64
    """What the sender adds to the channel, or takes out if it is negative."""
    feerate: u32
    """In satoshis for 1000 units of weight."""
    lock_time: u32
    funding_pubkey: point
    require_confirmed_inputs: RequireConfirmedInputs | None = field(tlv=2, default=None)
    request_funding: RequestFunding | None = field(tlv=1339, default=None)
    push_amount: tu64 | None = field(tlv=0x47000007, default=None)
    """In millisatoshis."""
    channel_type: bytes | None = field(tlv=0x47000011, default=None)
    """Feature bits."""


@message(37002, codec="bolt", spec=True, even="known")
class SpliceAck(Message):
    """The answer to a `SpliceInit`."""

    channel_id: channel_id
    funding_contribution: s64
    funding_pubkey: point
    require_confirmed_inputs: RequireConfirmedInputs | None = field(tlv=2, default=None)
    will_fund: WillFund | None = field(tlv=1339, default=None)
    fee_credit_used: tu64 | None = field(tlv=41042, default=None)
    """In millisatoshis."""
    push_amount: tu64 | None = field(tlv=0x47000007, default=None)
    """In millisatoshis."""
    channel_type: bytes | None = field(tlv=0x47000011, default=None)
    """Feature bits."""


@message(37004, codec="bolt", spec=True, even="known")
class SpliceLocked(Message):
    """The splice's transaction is confirmed."""

    channel_id: channel_id
    funding_tx_hash: sha256
    """The transaction's id in the order of bytes on the wire, the last digits first."""


# On-the-fly funding, bLIP-36 -----------------------------------------------------------------------------------------


@message(41041, codec="bolt", spec=True)
class WillAddHtlc(Message):
    """A payment has come that there is no liquidity for: the wallet may buy some."""

    chain_hash: chain_hash
    id: sha256
    """Of this proposal; that of the HTLC it is about is not known yet."""
    amount: u64
    """In millisatoshis."""
    payment_hash: sha256
    expiry: u32
    """A block height."""
    onion_routing_packet: Annotated[bytes, fixed(1366)]
    path_key: point | None = field(tlv=0, default=None)


@message(41042, codec="bolt", spec=True, even="known")
class WillFailHtlc(Message):
    """The wallet does not want the payment."""

    id: sha256
    payment_hash: sha256
    reason: bytes
    """Encrypted for the payment's sender."""
    attribution_data: Annotated[bytes, fixed(920)] | None = field(tlv=1, default=None)


@message(41043, codec="bolt", spec=True)
class WillFailMalformedHtlc(Message):
    """The wallet cannot read the payment's onion."""

    id: sha256
    payment_hash: sha256
    onion_hash: sha256
    failure_code: u16


@message(41044, codec="bolt", spec=True, even="known")
class CancelOnTheFlyFunding(Message):
    """The node does not fund these payments."""

    channel_id: channel_id
    payment_hashes: tuple[sha256, ...]
    reason: bytes
    """Mostly ASCII."""


@message(41045, codec="bolt", spec=True)
class AddFeeCredit(Message):
    """The wallet gives the preimage of a payment too small for a channel, to have it credited against later fees."""

    chain_hash: chain_hash
    preimage: _Preimage


@message(41046, codec="bolt", spec=True, even="known")
class CurrentFeeCredit(Message):
    """What the node has of the wallet's."""

    chain_hash: chain_hash
    amount: u64
    """In millisatoshis."""


# Within one node -----------------------------------------------------------------------------------------------------


@subtype
class PartialSignature:
    """Half of a MuSig2 signature, and the public nonce that it was made with."""

    signature: Annotated[bytes, fixed(32)]
    nonce: Annotated[bytes, fixed(66)]


@subtype
class CommitSig:
    """BOLT 2's ``commitment_signed``, without its type. Other odd TLV records are not kept."""

    channel_id: channel_id
    signature: _Signature
    """Zeros if there is a ``partial_signature``."""
    htlc_signatures: tuple[_Signature, ...]
    funding_tx_hash: sha256 | None = field(tlv=1, default=None)
    """Which funding transaction the commitment spends: its id in the order of bytes on the wire."""
    partial_signature: PartialSignature | None = field(tlv=2, default=None)
    batch_size: tu16 | None = field(tlv=0x47010005, default=None)
    """How many messages the batch has, in the prototype of splices."""


@message(53011, codec="bolt", spec=True)
class CommitSigBatch(Message):
    """Several signatures of one channel, for each commitment that is valid while a splice is under way."""

    messages: tuple[Annotated[CommitSig, counted(bigsize)], ...]

    @validates("messages")
    def check_channel(self, messages: tuple[CommitSig, ...]) -> None:
        """Refuse none, and those of several channels, as eclair does."""
        if len({one.channel_id for one in messages}) != 1:
            raise ValueError("should be one or more, of one channel")


PROTOCOL = Protocol(
    name="Phoenix",
    document=(
        "https://github.com/ACINQ/eclair/blob/master/eclair-core/src/main/scala/fr/acinq/eclair/wire/protocol/"
        "LightningMessageCodecs.scala"
    ),
    version="commit 5b765e0, 2026-08-21",
    messages=(
        FcmToken,
        UnsetFcmToken,
        PhoenixAndroidLegacyInfo,
        DnsAddressRequest,
        DnsAddressResponse,
        SpliceInit,
        SpliceAck,
        SpliceLocked,
        RecommendedFeerates,
        WillAddHtlc,
        WillFailHtlc,
        WillFailMalformedHtlc,
        CancelOnTheFlyFunding,
        AddFeeCredit,
        CurrentFeeCredit,
        CommitSigBatch,
    ),
)
