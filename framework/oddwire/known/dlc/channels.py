"""DLC channels, in which one contract after the other is made without a transaction on the chain; rust-dlc's own."""

from __future__ import annotations

from typing import Annotated

from oddwire.known.dlc.contracts import ContractInfo, NegotiationFields
from oddwire.known.dlc.establishment import AdaptorSignature, AdaptorSignatures, FundingInputs, FundingSignatures
from oddwire.known.dlc.segments import MAX_SIZE
from oddwire.schema import Message, chain_hash, channel_id, fixed, flag, message, point, sha256, signature, u8, u32, u64

__all__ = [
    "AcceptChannel",
    "CollaborativeCloseOffer",
    "OfferChannel",
    "Reject",
    "RenewAccept",
    "RenewConfirm",
    "RenewFinalize",
    "RenewOffer",
    "RenewRevoke",
    "SettleAccept",
    "SettleConfirm",
    "SettleFinalize",
    "SettleOffer",
    "SignChannel",
]

_Secret = Annotated[bytes, fixed(32)]


@message(43000, codec="bolt", spec=True, even="known", max_size=MAX_SIZE)
class OfferChannel(Message):
    """An offer of a channel with a first contract in it."""

    protocol_version: u32 = 1
    contract_flags: u8 = 0
    chain_hash: chain_hash
    temporary_contract_id: sha256
    temporary_channel_id: channel_id
    contract_info: ContractInfo
    funding_pubkey: point
    revocation_basepoint: point
    publish_basepoint: point
    own_basepoint: point
    first_per_update_point: point
    payout_spk: bytes
    payout_serial_id: u64
    offer_collateral: u64
    funding_inputs: FundingInputs
    change_spk: bytes
    change_serial_id: u64
    fund_output_serial_id: u64
    fee_rate_per_vb: u64
    cet_locktime: u32
    refund_locktime: u32
    cet_nsequence: u32


@message(43002, codec="bolt", spec=True, even="known", max_size=MAX_SIZE)
class AcceptChannel(Message):
    """The other party's inputs, points and signatures."""

    temporary_channel_id: channel_id
    accept_collateral: u64
    funding_pubkey: point
    revocation_basepoint: point
    publish_basepoint: point
    own_basepoint: point
    first_per_update_point: point
    payout_spk: bytes
    payout_serial_id: u64
    funding_inputs: FundingInputs
    change_spk: bytes
    change_serial_id: u64
    cet_adaptor_signatures: AdaptorSignatures
    buffer_adaptor_signature: AdaptorSignature
    refund_signature: signature
    negotiation_fields: Annotated[NegotiationFields | None, flag(u8)] = None


@message(43004, codec="bolt", spec=True, even="known", max_size=MAX_SIZE)
class SignChannel(Message):
    """The offerer's signatures."""

    channel_id: channel_id
    cet_adaptor_signatures: AdaptorSignatures
    buffer_adaptor_signature: AdaptorSignature
    refund_signature: signature
    funding_signatures: FundingSignatures


# Settling: the contract ends, the channel stays ----------------------------------------------------------------------


@message(43006, codec="bolt", spec=True, even="known")
class SettleOffer(Message):
    """An offer to end the contract, with ``counter_payout`` satoshis for the peer."""

    channel_id: channel_id
    counter_payout: u64
    next_per_update_point: point


@message(43008, codec="bolt", spec=True, even="known")
class SettleAccept(Message):
    """The answer to a `SettleOffer`."""

    channel_id: channel_id
    next_per_update_point: point
    settle_adaptor_signature: AdaptorSignature


@message(43010, codec="bolt", spec=True, even="known")
class SettleConfirm(Message):
    """The offerer's signature, and the secret that revokes the state before."""

    channel_id: channel_id
    prev_per_update_secret: _Secret
    settle_adaptor_signature: AdaptorSignature


@message(43012, codec="bolt", spec=True, even="known")
class SettleFinalize(Message):
    """The accepter's secret of the state before."""

    channel_id: channel_id
    prev_per_update_secret: _Secret


# Renewing: a new contract in the channel -----------------------------------------------------------------------------


@message(43014, codec="bolt", spec=True, even="known", max_size=MAX_SIZE)
class RenewOffer(Message):
    """An offer of a new contract, with ``counter_payout`` satoshis for the peer from the one before."""

    channel_id: channel_id
    temporary_contract_id: sha256
    counter_payout: u64
    next_per_update_point: point
    contract_info: ContractInfo
    cet_locktime: u32
    refund_locktime: u32
    cet_nsequence: u32


@message(43016, codec="bolt", spec=True, even="known", max_size=MAX_SIZE)
class RenewAccept(Message):
    """The answer to a `RenewOffer`."""

    channel_id: channel_id
    next_per_update_point: point
    cet_adaptor_signatures: AdaptorSignatures
    refund_signature: signature


@message(43018, codec="bolt", spec=True, even="known", max_size=MAX_SIZE)
class RenewConfirm(Message):
    """The offerer's signatures."""

    channel_id: channel_id
    buffer_adaptor_signature: AdaptorSignature
    cet_adaptor_signatures: AdaptorSignatures
    refund_signature: signature


@message(43020, codec="bolt", spec=True, even="known")
class RenewFinalize(Message):
    """The accepter's signature, and its secret of the state before."""

    channel_id: channel_id
    per_update_secret: _Secret
    buffer_adaptor_signature: AdaptorSignature


@message(43026, codec="bolt", spec=True, even="known")
class RenewRevoke(Message):
    """The offerer's secret of the state before."""

    channel_id: channel_id
    per_update_secret: _Secret


# Closing -------------------------------------------------------------------------------------------------------------


@message(43022, codec="bolt", spec=True, even="known")
class CollaborativeCloseOffer(Message):
    """An offer to close the channel, with ``counter_payout`` satoshis for the peer."""

    channel_id: channel_id
    counter_payout: u64
    close_signature: signature


@message(43024, codec="bolt", spec=True, even="known")
class Reject(Message):
    """An offer is rejected."""

    channel_id: channel_id
