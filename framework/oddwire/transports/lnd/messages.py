"""LND's messages, as its ``lightning.proto`` and ``stateservice.proto`` have them in v0.21.2-beta. No I/O."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, Literal

from oddwire.proto.keys import NodeId
from oddwire.records import FrozenRecord
from oddwire.transports.lnd.fields import (
    BOOL,
    BYTES,
    I32,
    I64,
    STRING,
    U32,
    U64,
    Enum,
    Field,
    MapOf,
    Shape,
    WireError,
    varint,
)

__all__ = [
    "CONNECT_PEER",
    "CUSTOM_MESSAGE",
    "DISCONNECT_PEER",
    "EMPTY",
    "LIST_PEERS",
    "NODE_INFO",
    "ONION",
    "ONION_UPDATE",
    "PEERS",
    "PEER_EVENT",
    "STATE",
    "STATUS",
    "LndPeer",
    "decode_custom_message",
    "encode_custom_message",
]

EMPTY: Final = Shape("request")
STATUS: Final = Shape("answer", Field(1, "status", STRING))
STATE: Final = Shape(
    "state",
    Field(
        1,
        "state",
        Enum(NON_EXISTING=0, LOCKED=1, UNLOCKED=2, RPC_ACTIVE=3, SERVER_ACTIVE=4, WAITING_TO_START=255),
    ),
)

CUSTOM_MESSAGE: Final = Shape("custom message", Field(1, "peer", BYTES), Field(2, "type", U32), Field(3, "data", BYTES))
PEER_EVENT: Final = Shape(
    "peer event", Field(1, "pub_key", STRING), Field(2, "type", Enum(PEER_ONLINE=0, PEER_OFFLINE=1))
)
LIST_PEERS: Final = Shape("request", Field(1, "latest_error", BOOL))
CONNECT_PEER: Final = Shape(
    "request",
    Field(1, "addr", Shape("addr", Field(1, "pubkey", STRING), Field(2, "host", STRING))),
    Field(2, "perm", BOOL),
    Field(3, "timeout", U64),
)
DISCONNECT_PEER: Final = Shape("request", Field(1, "pub_key", STRING))

_FEATURES: Final = MapOf(
    U32, Shape("feature", Field(2, "name", STRING), Field(3, "is_required", BOOL), Field(4, "is_known", BOOL))
)
_PEER: Final = Shape(
    "peer",
    Field(1, "pub_key", STRING),
    Field(3, "address", STRING),
    Field(4, "bytes_sent", U64),
    Field(5, "bytes_recv", U64),
    Field(6, "sat_sent", I64),
    Field(7, "sat_recv", I64),
    Field(8, "inbound", BOOL),
    Field(9, "ping_time", I64),
    Field(10, "sync_type", Enum(UNKNOWN_SYNC=0, ACTIVE_SYNC=1, PASSIVE_SYNC=2, PINNED_SYNC=3)),
    Field(11, "features", _FEATURES),
    Field(12, "errors", Shape("error", Field(1, "timestamp", U64), Field(2, "error", STRING)), repeated=True),
    Field(13, "flap_count", I32),
    Field(14, "last_flap_ns", I64),
    Field(15, "last_ping_payload", BYTES),
)
PEERS: Final = Shape("list of peers", Field(1, "peers", _PEER, repeated=True))
NODE_INFO: Final = Shape(
    "node's info",
    Field(14, "version", STRING),
    Field(20, "commit_hash", STRING),
    Field(1, "identity_pubkey", STRING),
    Field(2, "alias", STRING),
    Field(17, "color", STRING),
    Field(3, "num_pending_channels", U32),
    Field(4, "num_active_channels", U32),
    Field(15, "num_inactive_channels", U32),
    Field(5, "num_peers", U32),
    Field(6, "block_height", U32),
    Field(8, "block_hash", STRING),
    Field(13, "best_header_timestamp", I64),
    Field(9, "synced_to_chain", BOOL),
    Field(18, "synced_to_graph", BOOL),
    Field(10, "testnet", BOOL),
    Field(16, "chains", Shape("chain", Field(1, "chain", STRING), Field(2, "network", STRING)), repeated=True),
    Field(12, "uris", STRING, repeated=True),
    Field(19, "features", _FEATURES),
    Field(21, "require_htlc_interceptor", BOOL),
    Field(22, "store_final_htlc_resolutions", BOOL),
    Field(23, "wallet_synced", BOOL),
    Field(
        24,
        "graph_cache_status",
        Enum(
            GRAPH_CACHE_STATUS_DISABLED=0,
            GRAPH_CACHE_STATUS_LOADING=1,
            GRAPH_CACHE_STATUS_LOADED=2,
            GRAPH_CACHE_STATUS_FAILED=3,
        ),
    ),
)

_ONION_FIELDS: Final = (Field(1, "peer", BYTES), Field(2, "path_key", BYTES), Field(3, "onion", BYTES))
ONION: Final = Shape("request", *_ONION_FIELDS)
ONION_UPDATE: Final = Shape(
    "onion message",
    *_ONION_FIELDS,
    Field(
        4,
        "reply_path",
        Shape(
            "path",
            Field(1, "introduction_node", BYTES),
            Field(2, "blinding_point", BYTES),
            Field(
                3,
                "blinded_hops",
                Shape("hop", Field(1, "blinded_node", BYTES), Field(2, "encrypted_data", BYTES)),
                repeated=True,
            ),
        ),
    ),
    Field(5, "encrypted_recipient_data", BYTES),
    Field(6, "custom_records", MapOf(U64, BYTES)),
)


class LndPeer(FrozenRecord, kw_only=True):
    """A peer in LND's list; without ``features`` it is still in its handshake.

    ``bytes_sent`` and ``bytes_recv`` count since it connected, so they are smaller after it has connected anew.
    """

    node_id: NodeId
    address: str = ""
    inbound: bool = False
    features: frozenset[int] = frozenset()
    bytes_sent: int = 0
    bytes_recv: int = 0

    @property
    def direction(self) -> Literal["in", "out"]:
        """Who dialed, as in `PeerInfo`."""
        return "in" if self.inbound else "out"


# Custom messages: the two coders that run for each of them, without a dict. -----------------------------------------

_PEER_TAG: Final = b"\x0a\x21"  # field 1, 33 bytes
_TYPE_TAG: Final = b"\x10"  # field 2, a number
_DATA_TAG: Final = b"\x1a"  # field 3, bytes


def encode_custom_message(peer: NodeId, type_id: int, data: bytes) -> bytes:
    """Return the request that sends ``data`` as a message of type ``type_id``, 1 to 65535, to ``peer``."""
    return b"".join((_PEER_TAG, peer, _TYPE_TAG, varint(type_id), _DATA_TAG, varint(len(data)), data))


def decode_custom_message(raw: bytes) -> tuple[NodeId, bytes]:
    """Return a received message's peer and whole payload, its two-byte type included. Raises `WireError`."""
    # LND writes a type of 32768 and above in 3 bytes, and lengths in 1 to 3
    if raw[:2] == _PEER_TAG and raw[35:36] == _TYPE_TAG and len(raw) > 40 and raw[39] == _DATA_TAG[0]:
        low, middle, high = raw[36:39]
        type_id = low & 0x7F | (middle & 0x7F) << 7 | high << 14
        size, at = raw[40], 41
        if size >= 0x80 and len(raw) > 42:
            size, at = size & 0x7F | (raw[41] & 0x7F) << 7, 42
            if raw[41] >= 0x80:
                size, at = size | raw[42] << 14, 43
        if low >= 0x80 and middle >= 0x80 and high < 4 and len(raw) == at + size:
            return _node_id(raw[2:35]), type_id.to_bytes(2, "big") + raw[at:]
    message = CUSTOM_MESSAGE.decode(raw)
    if message["type"] > 0xFFFF:
        raise WireError(f"custom message has the type {message['type']}")
    data = BYTES.write(message["data"])
    assert isinstance(data, bytes)  # noqa: S101 - for type checkers
    return _node_id(BYTES.write(message["peer"])), message["type"].to_bytes(2, "big") + data


@lru_cache(maxsize=4096)  # each message names its peer
def _node_id(raw: Any) -> NodeId:
    try:
        return NodeId(raw)
    except ValueError as error:
        raise WireError(str(error)) from None
