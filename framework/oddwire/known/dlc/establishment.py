"""Making and closing a contract: `OfferDlc`, `AcceptDlc`, `SignDlc` and `CloseDlc`."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from oddwire.known.dlc.contracts import ContractInfo, NegotiationFields
from oddwire.known.dlc.segments import MAX_SIZE
from oddwire.schema import (
    Message,
    bigsize,
    chain_hash,
    counted,
    fixed,
    flag,
    message,
    point,
    sha256,
    signature,
    subtype,
    u8,
    u16,
    u32,
    u64,
)

__all__ = [
    "AcceptDlc",
    "AdaptorSignature",
    "AdaptorSignatures",
    "CloseDlc",
    "DlcInput",
    "FundingInput",
    "FundingInputs",
    "FundingSignatures",
    "OfferDlc",
    "SignDlc",
    "SpliceableFundingInput",
    "Witness",
]

AdaptorSignature: TypeAlias = Annotated[bytes, fixed(162)]
"""An ECDSA adaptor signature, 65 bytes, and the proof of equal discrete logarithms of it, 97."""
AdaptorSignatures: TypeAlias = Annotated[tuple[AdaptorSignature, ...], counted(bigsize)]
Witness: TypeAlias = Annotated[tuple[Annotated[bytes, counted(bigsize)], ...], counted(bigsize)]
FundingSignatures: TypeAlias = Annotated[tuple[Witness, ...], counted(bigsize)]


@subtype
class FundingInput:
    """An output that a party spends for the contract, ``prev_tx`` being the whole transaction that has it."""

    input_serial_id: u64
    prev_tx: Annotated[bytes, counted(bigsize)]
    prev_tx_vout: u32
    sequence: u32
    max_witness_len: u16
    redeem_script: bytes


FundingInputs: TypeAlias = Annotated[tuple[FundingInput, ...], counted(bigsize)]


@message(42778, codec="bolt", spec=True, even="known", max_size=MAX_SIZE)
class OfferDlc(Message):
    """An offer of a contract. Amounts are in satoshis, locktimes as bitcoin has them: seconds since 1970, or blocks."""

    protocol_version: u32 = 1
    contract_flags: u8 = 0
    chain_hash: chain_hash
    temporary_contract_id: sha256
    contract_info: ContractInfo
    funding_pubkey: point
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


@message(42780, codec="bolt", spec=True, even="known", max_size=MAX_SIZE)
class AcceptDlc(Message):
    """The other party's inputs, and its signatures of all outcomes and of the refund."""

    protocol_version: u32 = 1
    temporary_contract_id: sha256
    accept_collateral: u64
    funding_pubkey: point
    payout_spk: bytes
    payout_serial_id: u64
    funding_inputs: FundingInputs
    change_spk: bytes
    change_serial_id: u64
    cet_adaptor_signatures: AdaptorSignatures
    refund_signature: signature
    negotiation_fields: Annotated[NegotiationFields | None, flag(u8)] = None


@message(42782, codec="bolt", spec=True, even="known", max_size=MAX_SIZE)
class SignDlc(Message):
    """The offerer's signatures, with which the other party can publish the funding transaction."""

    protocol_version: u32 = 1
    contract_id: sha256
    cet_adaptor_signatures: AdaptorSignatures
    refund_signature: signature
    funding_signatures: FundingSignatures


# dlcdevkit's own -----------------------------------------------------------------------------------------------------


@subtype
class DlcInput:
    """The contract whose funding output an input spends."""

    local_fund_pubkey: point
    remote_fund_pubkey: point
    contract_id: sha256


@subtype
class SpliceableFundingInput(FundingInput):
    """An input as dlcdevkit writes it: it may spend the funding output of another contract."""

    dlc_input: Annotated[DlcInput | None, flag(u8)] = None


@message(42784, codec="bolt", spec=True, even="known")
class CloseDlc(Message):
    """An offer of dlcdevkit's to close a contract before its event, with a signature of the closing transaction.

    As in all messages of dlcdevkit, which writes a message's type once for the transport and once more with its fields,
    the type is repeated.
    """

    repeated_type: Annotated[Literal[42784], u16] = 42784
    protocol_version: u32 = 1
    contract_id: sha256
    close_signature: signature
    accept_payout: u64
    fee_rate_per_vb: u64
    fund_input_serial_id: u64
    funding_inputs: Annotated[tuple[SpliceableFundingInput, ...], counted(bigsize)]
    funding_signatures: FundingSignatures
