"""What a contract pays to whom: outcomes or payout curves, and the oracles that decide."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from oddwire.known.dlc.oracles import Announcement, String
from oddwire.schema import bigsize, counted, flag, subtype, tagged, u8, u16, u64

__all__ = [
    "ContractDescriptor",
    "ContractInfo",
    "ContractOutcome",
    "DisjointContractInfo",
    "DisjointEvent",
    "DisjointNegotiationFields",
    "EnumeratedContractDescriptor",
    "HyperbolaParameter",
    "HyperbolaPayoutCurvePiece",
    "MultiOracleInfo",
    "NegotiationFields",
    "NumericOutcomeContractDescriptor",
    "OracleInfo",
    "OracleParams",
    "PayoutFunction",
    "PayoutFunctionPiece",
    "PayoutPoint",
    "PolynomialPayoutCurvePiece",
    "RoundingInterval",
    "RoundingIntervals",
    "SingleContractInfo",
    "SingleNegotiationFields",
    "SingleOracleInfo",
]

# Payouts of named outcomes -------------------------------------------------------------------------------------------


@subtype
class ContractOutcome:
    """What the offerer gets for an outcome, in satoshis; the other party gets the rest."""

    outcome: String
    offer_payout: u64


@subtype(tag=0)
class EnumeratedContractDescriptor:
    """The payouts of all outcomes of an event."""

    payouts: Annotated[tuple[ContractOutcome, ...], counted(bigsize)]


# Payouts of numbers: PayoutCurve.md and NumericOutcome.md ------------------------------------------------------------


@subtype
class PayoutPoint:
    """A point of a curve; ``extra_precision`` is in 65536ths of a satoshi."""

    event_outcome: u64
    outcome_payout: u64
    extra_precision: u16


@subtype(tag=0)
class PolynomialPayoutCurvePiece:
    """The points between two end points of the polynomial through them all; without any, it is a line."""

    payout_points: Annotated[tuple[PayoutPoint, ...], counted(bigsize)]


@subtype
class HyperbolaParameter:
    """A number: ``value``, and ``extra_precision`` 65536ths, negative unless ``positive``."""

    positive: bool
    value: u64
    extra_precision: u16


@subtype(tag=1)
class HyperbolaPayoutCurvePiece:
    """A piece of ``(translate_outcome, translate_payout) + ((a, b), (c, d)) * (x, 1/x)``."""

    use_positive_piece: bool
    translate_outcome: HyperbolaParameter
    translate_payout: HyperbolaParameter
    a: HyperbolaParameter
    b: HyperbolaParameter
    c: HyperbolaParameter
    d: HyperbolaParameter


@subtype
class PayoutFunctionPiece:
    """A piece of a curve, behind the end point on its left."""

    end_point: PayoutPoint
    payout_curve_piece: Annotated[PolynomialPayoutCurvePiece | HyperbolaPayoutCurvePiece, tagged(bigsize)]


@subtype
class PayoutFunction:
    """What the offerer gets for each number."""

    payout_function_pieces: Annotated[tuple[PayoutFunctionPiece, ...], counted(bigsize)]
    last_endpoint: PayoutPoint


@subtype
class RoundingInterval:
    """From ``begin_interval`` on, payouts are rounded to multiples of ``rounding_mod``."""

    begin_interval: u64
    rounding_mod: u64


RoundingIntervals: TypeAlias = Annotated[tuple[RoundingInterval, ...], counted(bigsize)]


@subtype(tag=1)
class NumericOutcomeContractDescriptor:
    """The payouts of an event whose outcome is a number; ``num_digits`` are those of the oracle that has the fewest."""

    num_digits: u16
    payout_function: PayoutFunction
    rounding_intervals: RoundingIntervals


ContractDescriptor: TypeAlias = Annotated[
    EnumeratedContractDescriptor | NumericOutcomeContractDescriptor, tagged(bigsize)
]

# Oracles -------------------------------------------------------------------------------------------------------------


@subtype(tag=0)
class SingleOracleInfo:
    """One oracle decides."""

    oracle_announcement: Announcement


@subtype
class OracleParams:
    """By how much oracles may differ: exponents of 2."""

    max_error_exp: u16
    min_fail_exp: u16
    maximize_coverage: bool


@subtype(tag=1)
class MultiOracleInfo:
    """``threshold`` of these oracles decide, the first ones that attest."""

    threshold: u16
    oracle_announcements: Annotated[tuple[Announcement, ...], counted(bigsize)]
    oracle_params: Annotated[OracleParams | None, flag(u8)] = None


OracleInfo: TypeAlias = Annotated[SingleOracleInfo | MultiOracleInfo, tagged(bigsize)]

# Both together -------------------------------------------------------------------------------------------------------


@subtype(tag=0)
class SingleContractInfo:
    """A contract on one event; ``total_collateral`` is what both parties put in, in satoshis."""

    total_collateral: u64
    contract_descriptor: ContractDescriptor
    oracle_info: OracleInfo


@subtype
class DisjointEvent:
    """One of the events of a contract."""

    contract_descriptor: ContractDescriptor
    oracle_info: OracleInfo


@subtype(tag=1)
class DisjointContractInfo:
    """A contract on several events; the first to be attested decides."""

    total_collateral: u64
    events: Annotated[tuple[DisjointEvent, ...], counted(bigsize)]


ContractInfo: TypeAlias = Annotated[SingleContractInfo | DisjointContractInfo, tagged(bigsize)]


@subtype(tag=0)
class SingleNegotiationFields:
    """The rounding that the accepter wants at most."""

    rounding_intervals: RoundingIntervals


@subtype(tag=1)
class DisjointNegotiationFields:
    """The same for each event of a contract on several."""

    negotiation_fields: Annotated[
        tuple[Annotated[SingleNegotiationFields | DisjointNegotiationFields, tagged(bigsize)], ...], counted(bigsize)
    ]


NegotiationFields: TypeAlias = Annotated[SingleNegotiationFields | DisjointNegotiationFields, tagged(bigsize)]
