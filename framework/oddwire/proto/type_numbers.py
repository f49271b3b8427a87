"""Owners of message type numbers: types nobody may send, types known in the wild, types the BOLTs assign.

The tables are literal. `check_claim` is called when a message is declared or registered for sending, never when a
schema is only loaded, so the BOLTs' own messages can be read and written by tools.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from oddwire.errors import SchemaError

__all__ = ["BOLT_TYPES", "CUSTOM_TYPES", "KNOWN", "REFUSED", "KnownType", "check_claim", "known_owner", "refusal"]

# BOLT 1, Lightning Message Format: the types left to applications.
CUSTOM_TYPES: Final = range(32768, 65536)


class KnownType(NamedTuple):
    """A use of a type outside the BOLTs' channel protocol: the protocol that uses it, and the message's name."""

    protocol: str
    name: str


def check_claim(type_id: int, spec: bool = False, owner: str = "") -> None:
    """Check that an application may call a message type its own.

    It must be 32768 to 65535; with ``spec``, any that lightningd does not reserve for itself (so 7 and 9, peer
    storage, are allowed). ``owner`` names the claimant in the error. Raises `SchemaError`.
    """
    where = f"{owner}: " if owner else ""
    if not isinstance(type_id, int) or isinstance(type_id, bool):
        raise SchemaError(f"{where}message type should be an integer, not {type_id!r}")
    if not 0 <= type_id <= 0xFFFF:
        raise SchemaError(f"{where}message type should be 0 to 65535, not {type_id}")
    if type_id in REFUSED:
        reason = f"message type {type_id} ({REFUSED[type_id]}) can never be sent: nodes handle it themselves"
        raise SchemaError(f"{where}{reason}; choose one of 32768 to 65535")
    if type_id not in CUSTOM_TYPES and not spec:
        reason = f"message type {type_id} is kept for the BOLTs; choose one of 32768 to 65535, or say spec=True"
        raise SchemaError(f"{where}{reason}")


def known_owner(type_id: int) -> str | None:
    """Return the known users of a type, for example ``PeerSwap (swap_in_request)``; None if there are none."""
    return " and ".join(f"{known.protocol} ({known.name})" for known in KNOWN.get(type_id, ())) or None


def refusal(type_id: int) -> str | None:
    """Return the text with which lightningd's ``sendcustommsg`` refuses a type (code -32600); None if it sends it."""
    name = REFUSED.get(type_id)
    if name is None:
        return None
    return (
        f"Cannot send messages of type {type_id} ({name}). It is not possible to send messages that have a type "
        "managed internally since that might cause issues with the internal state tracking."
    )


# The types lightningd (v26.06.6) handles itself and refuses to send, by its own names.
REFUSED: Final[Mapping[int, str]] = MappingProxyType(
    {
        0: "WIRE_PROTOCOL_BATCH_ELEMENT",
        1: "WIRE_WARNING",
        2: "WIRE_STFU",
        16: "WIRE_INIT",
        17: "WIRE_ERROR",
        18: "WIRE_PING",
        19: "WIRE_PONG",
        32: "WIRE_OPEN_CHANNEL",
        33: "WIRE_ACCEPT_CHANNEL",
        34: "WIRE_FUNDING_CREATED",
        35: "WIRE_FUNDING_SIGNED",
        36: "WIRE_CHANNEL_READY",
        38: "WIRE_SHUTDOWN",
        39: "WIRE_CLOSING_SIGNED",
        40: "WIRE_CLOSING_COMPLETE",
        41: "WIRE_CLOSING_SIG",
        64: "WIRE_OPEN_CHANNEL2",
        65: "WIRE_ACCEPT_CHANNEL2",
        66: "WIRE_TX_ADD_INPUT",
        67: "WIRE_TX_ADD_OUTPUT",
        68: "WIRE_TX_REMOVE_INPUT",
        69: "WIRE_TX_REMOVE_OUTPUT",
        70: "WIRE_TX_COMPLETE",
        71: "WIRE_TX_SIGNATURES",
        72: "WIRE_TX_INIT_RBF",
        73: "WIRE_TX_ACK_RBF",
        74: "WIRE_TX_ABORT",
        77: "WIRE_SPLICE_LOCKED",
        80: "WIRE_SPLICE",
        81: "WIRE_SPLICE_ACK",
        127: "WIRE_START_BATCH",
        128: "WIRE_UPDATE_ADD_HTLC",
        130: "WIRE_UPDATE_FULFILL_HTLC",
        131: "WIRE_UPDATE_FAIL_HTLC",
        132: "WIRE_COMMITMENT_SIGNED",
        133: "WIRE_REVOKE_AND_ACK",
        134: "WIRE_UPDATE_FEE",
        135: "WIRE_UPDATE_FAIL_MALFORMED_HTLC",
        136: "WIRE_CHANNEL_REESTABLISH",
        137: "WIRE_UPDATE_BLOCKHEIGHT",
        256: "WIRE_CHANNEL_ANNOUNCEMENT",
        257: "WIRE_NODE_ANNOUNCEMENT",
        258: "WIRE_CHANNEL_UPDATE",
        259: "WIRE_ANNOUNCEMENT_SIGNATURES",
        261: "WIRE_QUERY_SHORT_CHANNEL_IDS",
        262: "WIRE_REPLY_SHORT_CHANNEL_IDS_END",
        263: "WIRE_QUERY_CHANNEL_RANGE",
        264: "WIRE_REPLY_CHANNEL_RANGE",
        265: "WIRE_GOSSIP_TIMESTAMP_FILTER",
        513: "WIRE_ONION_MESSAGE",
    }
)

# The types the BOLTs assign to messages: BOLTs 1, 2 and 7, and onion_message of BOLT 4.
BOLT_TYPES: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "warning",
        2: "stfu",
        7: "peer_storage",
        9: "peer_storage_retrieval",
        16: "init",
        17: "error",
        18: "ping",
        19: "pong",
        32: "open_channel",
        33: "accept_channel",
        34: "funding_created",
        35: "funding_signed",
        36: "channel_ready",
        38: "shutdown",
        39: "closing_signed",
        40: "closing_complete",
        41: "closing_sig",
        64: "open_channel2",
        65: "accept_channel2",
        66: "tx_add_input",
        67: "tx_add_output",
        68: "tx_remove_input",
        69: "tx_remove_output",
        70: "tx_complete",
        71: "tx_signatures",
        72: "tx_init_rbf",
        73: "tx_ack_rbf",
        74: "tx_abort",
        77: "splice_locked",
        80: "splice_init",
        81: "splice_ack",
        127: "start_batch",
        128: "update_add_htlc",
        130: "update_fulfill_htlc",
        131: "update_fail_htlc",
        132: "commitment_signed",
        133: "revoke_and_ack",
        134: "update_fee",
        135: "update_fail_malformed_htlc",
        136: "channel_reestablish",
        256: "channel_announcement",
        257: "node_announcement",
        258: "channel_update",
        259: "announcement_signatures",
        261: "query_short_channel_ids",
        262: "reply_short_channel_ids_end",
        263: "query_channel_range",
        264: "reply_channel_range",
        265: "gossip_timestamp_filter",
        513: "onion_message",
    }
)

# Types seen in use, from the sources and specifications of the protocols named. `oddwire.known` has schemas of most,
# and tests hold the names there and here together.
KNOWN: Final[Mapping[int, tuple[KnownType, ...]]] = MappingProxyType(
    {
        7: (KnownType("peer storage", "peer_storage"),),
        9: (KnownType("peer storage", "peer_storage_retrieval"),),
        19533: (KnownType("commando", "cmd_continues"),),
        19535: (KnownType("commando", "cmd_term"),),
        22859: (KnownType("commando", "reply_continues"),),
        22861: (KnownType("commando", "reply_term"),),
        33333: (KnownType("RGB", "file_transfer"),),
        33459: (KnownType("Lightning Box", "lightning_box"),),
        35017: (KnownType("Phoenix", "fcm_token"),),
        35019: (KnownType("Phoenix", "unset_fcm_token"),),
        35023: (KnownType("Phoenix", "phoenix_android_legacy_info"),),
        35025: (KnownType("Phoenix", "dns_address_request"),),
        35027: (KnownType("Phoenix", "dns_address_response"),),
        37000: (KnownType("Phoenix", "splice_init"),),
        37002: (KnownType("Phoenix", "splice_ack"),),
        37004: (KnownType("Phoenix", "splice_locked"),),
        37913: (KnownType("LSPS0", "lsps0_message"),),
        37915: (KnownType("RGB", "async_order"),),
        39409: (KnownType("Phoenix", "recommended_feerates"),),
        41041: (KnownType("Phoenix", "will_add_htlc"),),
        41042: (KnownType("Phoenix", "will_fail_htlc"),),
        41043: (KnownType("Phoenix", "will_fail_malformed_htlc"),),
        41044: (KnownType("Phoenix", "cancel_on_the_fly_funding"),),
        41045: (KnownType("Phoenix", "add_fee_credit"),),
        41046: (KnownType("Phoenix", "current_fee_credit"),),
        42065: (KnownType("PeerSwap Web", "broadcast"),),
        42069: (KnownType("PeerSwap", "swap_in_request"), KnownType("LightningOS Light", "balanced_open")),
        42071: (KnownType("PeerSwap", "swap_out_request"),),
        42073: (KnownType("PeerSwap", "swap_in_agreement"),),
        42075: (KnownType("PeerSwap", "swap_out_agreement"),),
        42077: (KnownType("PeerSwap", "opening_tx_broadcasted"),),
        42079: (KnownType("PeerSwap", "cancel"),),
        42081: (KnownType("PeerSwap", "coop_close"),),
        42083: (KnownType("PeerSwap", "poll"),),
        42085: (KnownType("PeerSwap", "request_poll"),),
        42778: (KnownType("DLC", "offer_dlc"),),
        42780: (KnownType("DLC", "accept_dlc"),),
        42782: (KnownType("DLC", "sign_dlc"),),
        42784: (KnownType("DLC", "close_dlc"),),
        42900: (KnownType("DLC", "segment_start"),),
        42902: (KnownType("DLC", "segment_chunk"),),
        43000: (KnownType("DLC", "offer_channel"),),
        43002: (KnownType("DLC", "accept_channel"),),
        43004: (KnownType("DLC", "sign_channel"),),
        43006: (KnownType("DLC", "settle_offer"),),
        43008: (KnownType("DLC", "settle_accept"),),
        43010: (KnownType("DLC", "settle_confirm"),),
        43012: (KnownType("DLC", "settle_finalize"),),
        43014: (KnownType("DLC", "renew_offer"),),
        43016: (KnownType("DLC", "renew_accept"),),
        43018: (KnownType("DLC", "renew_confirm"),),
        43020: (KnownType("DLC", "renew_finalize"),),
        43022: (KnownType("DLC", "collaborative_close_offer"),),
        43024: (KnownType("DLC", "reject"),),
        43026: (KnownType("DLC", "renew_revoke"),),
        44203: (KnownType("payment splitting", "announce"),),
        44205: (KnownType("payment splitting", "fail"),),
        52884: (KnownType("Taproot Assets", "rfq_request"),),
        52885: (KnownType("Taproot Assets", "rfq_accept"),),
        52886: (KnownType("Taproot Assets", "rfq_reject"),),
        53011: (KnownType("Phoenix", "commit_sig_batch"),),
        53140: (KnownType("Taproot Assets", "tx_asset_input_proof"),),
        53141: (KnownType("Taproot Assets", "tx_asset_output_proof"),),
        53142: (KnownType("Taproot Assets", "asset_funding_created"),),
        53143: (KnownType("Taproot Assets", "asset_funding_ack"),),
        55330: (KnownType("DLC", "oracle_event"),),
        55332: (KnownType("DLC", "oracle_announcement"),),
        55400: (KnownType("DLC", "oracle_attestation"),),
        63497: (KnownType("hosted channels", "error"),),
        63499: (KnownType("hosted channels", "update_fail_malformed_htlc"),),
        63501: (KnownType("hosted channels", "update_fail_htlc"),),
        63503: (KnownType("hosted channels", "update_fulfill_htlc"),),
        63505: (KnownType("hosted channels", "update_add_htlc"),),
        64507: (KnownType("hosted channels", "channel_update_sync"),),
        64509: (KnownType("hosted channels", "channel_update_gossip"),),
        64511: (KnownType("hosted channels", "channel_announcement_sync"),),
        64513: (KnownType("hosted channels", "channel_announcement_gossip"),),
        65511: (KnownType("hosted channels", "ask_branding_info"),),
        65513: (KnownType("hosted channels", "reply_preimages"),),
        65515: (KnownType("hosted channels", "query_preimages"),),
        65517: (KnownType("hosted channels", "reply_public_hosted_channels_end"),),
        65519: (KnownType("hosted channels", "query_public_hosted_channels"),),
        65521: (KnownType("hosted channels", "resize_channel"),),
        65523: (KnownType("hosted channels", "announcement_signature"),),
        65525: (KnownType("hosted channels", "hosted_channel_branding"),),
        65527: (KnownType("hosted channels", "state_override"),),
        65529: (KnownType("hosted channels", "state_update"),),
        65531: (KnownType("hosted channels", "last_cross_signed_state"),),
        65533: (KnownType("hosted channels", "init_hosted_channel"),),
        65535: (KnownType("hosted channels", "invoke_hosted_channel"),),
    }
)
