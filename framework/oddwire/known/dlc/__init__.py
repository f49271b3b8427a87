"""Discreet log contracts: bets that an oracle's signature decides, made between two peers and settled on the chain.

From dlcspecs at commit 9cd9148, 2023-02-13 (Protocol.md, Messaging.md, PayoutCurve.md and NumericOutcome.md of protocol
version 1), and rust-dlc's dlc-messages 0.8.0 for what that document leaves out: segments and channels. Where they
differ, this is what dlcspecs' test vectors have:

- a digit decomposition's ``base`` is a u16, in Messaging.md a bigsize; an attestation's outcomes have a u16 count, in
  Messaging.md none. All implementations write what the vectors have; attestations of some oracles, without the count or
  without the event's id, are malformed here;
- the parameters of a hyperbola are sign, u64 and u16, as in PayoutCurve.md. rust-dlc writes doubles, so its offers with
  hyperbolas are malformed here.

dlcdevkit 1.0 and later speaks a dialect: each message has its type number twice, and each funding input a flag at its
end and perhaps the contract that it comes from. Only its `CloseDlc`, which nobody else has, is like that here. node-dlc
1.1 has such funding inputs, too, and behind an offer TLV records of its own, of which the even ones are malformed here.

Payloads of more than 65535 bytes, as those with many signatures are, travel in segments: `segments_of` cuts them, and
`joined` is its inverse.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oddwire.known.dlc.channels import (
        AcceptChannel as AcceptChannel,
        CollaborativeCloseOffer as CollaborativeCloseOffer,
        OfferChannel as OfferChannel,
        Reject as Reject,
        RenewAccept as RenewAccept,
        RenewConfirm as RenewConfirm,
        RenewFinalize as RenewFinalize,
        RenewOffer as RenewOffer,
        RenewRevoke as RenewRevoke,
        SettleAccept as SettleAccept,
        SettleConfirm as SettleConfirm,
        SettleFinalize as SettleFinalize,
        SettleOffer as SettleOffer,
        SignChannel as SignChannel,
    )
    from oddwire.known.dlc.contracts import (
        ContractDescriptor as ContractDescriptor,
        ContractInfo as ContractInfo,
        ContractOutcome as ContractOutcome,
        DisjointContractInfo as DisjointContractInfo,
        DisjointEvent as DisjointEvent,
        DisjointNegotiationFields as DisjointNegotiationFields,
        EnumeratedContractDescriptor as EnumeratedContractDescriptor,
        HyperbolaParameter as HyperbolaParameter,
        HyperbolaPayoutCurvePiece as HyperbolaPayoutCurvePiece,
        MultiOracleInfo as MultiOracleInfo,
        NegotiationFields as NegotiationFields,
        NumericOutcomeContractDescriptor as NumericOutcomeContractDescriptor,
        OracleInfo as OracleInfo,
        OracleParams as OracleParams,
        PayoutFunction as PayoutFunction,
        PayoutFunctionPiece as PayoutFunctionPiece,
        PayoutPoint as PayoutPoint,
        PolynomialPayoutCurvePiece as PolynomialPayoutCurvePiece,
        RoundingInterval as RoundingInterval,
        RoundingIntervals as RoundingIntervals,
        SingleContractInfo as SingleContractInfo,
        SingleNegotiationFields as SingleNegotiationFields,
        SingleOracleInfo as SingleOracleInfo,
    )
    from oddwire.known.dlc.establishment import (
        AcceptDlc as AcceptDlc,
        AdaptorSignature as AdaptorSignature,
        AdaptorSignatures as AdaptorSignatures,
        CloseDlc as CloseDlc,
        DlcInput as DlcInput,
        FundingInput as FundingInput,
        FundingInputs as FundingInputs,
        FundingSignatures as FundingSignatures,
        OfferDlc as OfferDlc,
        SignDlc as SignDlc,
        SpliceableFundingInput as SpliceableFundingInput,
        Witness as Witness,
    )
    from oddwire.known.dlc.oracles import (
        Announcement as Announcement,
        DigitDecompositionEventDescriptor as DigitDecompositionEventDescriptor,
        EnumEventDescriptor as EnumEventDescriptor,
        EventDescriptor as EventDescriptor,
        OracleAnnouncement as OracleAnnouncement,
        OracleAttestation as OracleAttestation,
        OracleEvent as OracleEvent,
        String as String,
        XPoint as XPoint,
    )
    from oddwire.known.dlc.protocol import (
        PROTOCOL as PROTOCOL,
    )
    from oddwire.known.dlc.segments import (
        MAX_SIZE as MAX_SIZE,
        SegmentChunk as SegmentChunk,
        SegmentStart as SegmentStart,
        joined as joined,
        segments_of as segments_of,
    )
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
