"""BOLT 9's feature bits: reading, writing and checking feature maps. No I/O.

A map is bytes, big endian: bit 0 is the lowest bit of the last byte.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from oddwire.errors import RemoteProtocolError

__all__ = [
    "ASSUMED_FEATURES",
    "DEPENDENCIES",
    "FEATURES",
    "OTHER_FEATURES",
    "check_features",
    "feature_bits",
    "feature_bytes",
    "offers",
]

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

OTHER_FEATURES: Final = {
    2: "initial_routing_sync",
    20: "option_anchor_outputs",
    30: "amp",
    40: "zero_fee_commitments",
    54: "keysend",
    56: "trampoline_routing",
    66: "option_onion_messages_only_channels",
    80: "option_simple_taproot",
    104: "shutdown_wrong_funding",
    128: "phoenix_zero_reserve",
    132: "wake_up_notification_client",
    140: "zero_fee_commitments (staging)",
    148: "trampoline_payment_prototype",
    152: "async_payment_prototype, htlc_hold",
    154: "splice_prototype",
    160: "simple_close (staging)",
    162: "splice (experimental)",
    180: "simple_taproot_channels (staging)",
    258: "dns_resolver",
    260: "experimental_accountability",
    262: "bolt11_blinded_paths",
    560: "on_the_fly_funding",
    562: "funding_fee_credit",
    564: "option_simple_taproot_phoenix",
    728: "option_supports_lsps",
    2022: "script_enforced_lease",
    2024: "simple_taproot_overlay",
    2026: "simple_taproot_overlay (required)",
}
"""Other features that nodes announce, by the even bit: a peer may require any of these, too.

They are from LND's lnwire/features.go, eclair's Features.scala, LDK's lightning-types/src/features.rs, Core Lightning's
common/features.h and bLIP 50. All are about channels, payments and gossip, of which this node has none.
"""

ASSUMED_FEATURES: Final = frozenset({1, 9, 13, 15, 45})
"""The bits every node announces: the features that BOLT 9 calls ASSUMED, as optional.

Peers hang up on a node that lacks them, even without a channel: LND without ``option_data_loss_protect``
(peer/brontide.go, handleInitMsg); LDK and eclair without any feature that they require themselves, which are these five
(peer_handler.rs, Message::Init, and channelmanager.rs, provided_init_features; Features.scala, testCompatible, and
reference.conf). They are about making channels and payments, and so cost nothing to a node that has none. Others, for
example ``gossip_queries``, would promise what this node does not do.
"""

# BOLT 9, column Dependencies. payment_secret is ASSUMED and still must be set: the table and Core Lightning say so.
DEPENDENCIES: Final = {16: (14,), 50: (46,), 60: (26,)}


def feature_bytes(bits: Iterable[int]) -> bytes:
    """Return ``bits`` as a map of the fewest bytes (BOLT 1, the init message)."""
    # Bit by bit in place: shifting a number once per bit takes seconds for the largest map that fits into an init
    bits = frozenset(bits)
    features = bytearray(max(bits, default=-1) // 8 + 1)
    for bit in bits:
        features[~(bit >> 3)] |= 1 << (bit & 7)
    return bytes(features)


def feature_bits(features: bytes) -> frozenset[int]:
    """Return every bit that is set in a map."""
    # Byte by byte: shifting the whole map once per bit takes seconds for the largest that fits into an init
    return frozenset(
        8 * index + bit for index, byte in enumerate(reversed(features)) if byte for bit in range(8) if byte >> bit & 1
    )


def offers(features: bytes, bit: int) -> bool:
    """Return whether ``features`` has ``bit`` or its pair: odd and even bit name the same feature."""
    return bool(int.from_bytes(features, "big") >> (bit & ~1) & 0b11)


def check_features(features: bytes, understood: Collection[int] = ()) -> None:
    """Check a peer's map as BOLT 1 requires of the receiver of ``init``.

    ``understood`` are bits of our own beside `FEATURES` and `OTHER_FEATURES`. Raises `RemoteProtocolError` naming the
    unknown even bits (the first eight), or the feature whose dependency is not set.
    """
    bits = int.from_bytes(features, "big")
    known = sum(1 << pair for pair in FEATURES.keys() | OTHER_FEATURES.keys() | {bit & ~1 for bit in understood})
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
