"""BOLT 9's feature bits: reading, writing and checking feature maps. No I/O.

A map is bytes, big endian: bit 0 is the lowest bit of the last byte.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from oddwire.errors import RemoteProtocolError

__all__ = ["DEPENDENCIES", "FEATURES", "check_features", "feature_bits", "feature_bytes", "offers"]

# By the even bit of each pair.
FEATURES: Final = {
    0: "option_data_loss_protect",
    4: "option_upfront_shutdown_script",
    6: "gossip_queries",
    8: "var_onion_optin",
    10: "gossip_queries_ex",
    12: "option_static_remotekey",
    14: "payment_secret",
    16: "basic_mpp",
    18: "option_support_large_channel",
    22: "option_anchors",
    24: "option_route_blinding",
    26: "option_shutdown_anysegwit",
    28: "option_dual_fund",
    34: "option_quiesce",
    36: "option_attribution_data",
    38: "option_onion_messages",
    42: "option_provide_storage",
    44: "option_channel_type",
    46: "option_scid_alias",
    48: "option_payment_metadata",
    50: "option_zeroconf",
    60: "option_simple_close",
    62: "option_splice",
}
"""Every assigned pair. None of them changes what custom messages mean, so a peer may require any of them."""

# BOLT 9, column Dependencies. payment_secret is ASSUMED and still must be set: the table and Core Lightning say so.
DEPENDENCIES: Final = {16: (14,), 50: (46,), 60: (26,)}


def feature_bytes(bits: Iterable[int]) -> bytes:
    """Write ``bits`` as a map of the fewest bytes (BOLT 1, the init message)."""
    number = 0
    for bit in bits:
        number |= 1 << bit
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def feature_bits(features: bytes) -> frozenset[int]:
    """Read a map: every bit that is set."""
    # Byte by byte: shifting the whole map once a bit takes seconds for the largest that fits into an init
    return frozenset(
        8 * index + bit for index, byte in enumerate(reversed(features)) if byte for bit in range(8) if byte >> bit & 1
    )


def offers(features: bytes, bit: int) -> bool:
    """Say whether ``features`` has ``bit`` or its pair: odd and even name the same feature."""
    return bool(int.from_bytes(features, "big") >> (bit & ~1) & 0b11)


def check_features(features: bytes, understood: Collection[int] = ()) -> None:
    """Check a peer's map as BOLT 1 asks of the receiver of ``init``.

    ``understood`` are bits of our own beside BOLT 9's. Raises `RemoteProtocolError` naming the unknown even bits
    (the first eight), or the feature whose dependency is not set.
    """
    bits = int.from_bytes(features, "big")
    known = sum(1 << pair for pair in FEATURES.keys() | {bit & ~1 for bit in understood})
    unknown = bits & int.from_bytes(b"\x55" * len(features), "big") & ~known
    if unknown:
        names: list[str] = []
        while unknown and len(names) < 8:
            lowest = unknown & -unknown
            names.append(str(lowest.bit_length() - 1))
            unknown ^= lowest
        raise RemoteProtocolError(
            f"peer requires unknown feature bits {', '.join(names)}{' and more' if unknown else ''}"
            " (BOLT 1: an unknown even bit closes)"
        )
    for pair, needs in DEPENDENCIES.items():
        for need in needs:
            if offers(features, pair) and not offers(features, need):
                raise RemoteProtocolError(
                    f"peer offers {FEATURES[pair]} without {FEATURES[need]}, which it depends on (BOLT 9)"
                )
