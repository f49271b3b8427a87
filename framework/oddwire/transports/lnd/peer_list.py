"""LND's answer to ``ListPeers``, read for what we need of it: a peer's init may have 260,000 feature bits. No I/O."""

from __future__ import annotations

from typing import Any, Final

from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.transports.lnd.fields import WireError, read_varint, split
from oddwire.transports.lnd.messages import LndPeer

__all__ = ["read_peers"]

logger = get_logger("oddwire.transports.lnd")

_NUMBER, _LENGTH = 0, 2  # wire types
_PEERS: Final = (1, _LENGTH)
_FEATURES: Final = (11, _LENGTH)
_KEY_TAG: Final = 0x08  # field 1, a number: the bit
_BITS: Final = 8 * 0xFFFF  # no more fit into an init
_NAMES: Final = {
    (1, _LENGTH): "node_id",
    (3, _LENGTH): "address",
    (4, _NUMBER): "bytes_sent",
    (5, _NUMBER): "bytes_recv",
    (8, _NUMBER): "inbound",
}


def read_peers(data: bytes) -> list[LndPeer]:
    """Return the connected peers; one whose key is none is left out, and logged.

    Raises `WireError`. Of thousands of peers, or one with as many feature bits as fit, it takes a second.
    """
    found: list[LndPeer] = []
    try:
        for number, wire, raw in split(data):
            if (number, wire) == _PEERS and isinstance(raw, bytes):
                peer = _read_peer(raw)
                if peer is not None:
                    found.append(peer)
    except WireError as error:
        raise WireError(f"list of peers {error}") from None
    return found


def _read_peer(data: bytes) -> LndPeer | None:
    values: dict[str, Any] = {}
    features: list[int] = []
    for number, wire, raw in split(data):
        kind = (number, wire)
        if kind == _FEATURES and isinstance(raw, bytes):
            bit = _bit(raw)
            if bit < _BITS:
                features.append(bit)
        elif kind in _NAMES:
            values[_NAMES[kind]] = raw
    try:
        values["node_id"] = NodeId(values.get("node_id", b"").decode())
    except ValueError as error:
        logger.warning("LND lists a peer that is left out: %s", error)
        return None
    values["address"] = values.get("address", b"").decode(errors="replace")
    values["inbound"] = bool(values.get("inbound"))
    return LndPeer(features=frozenset(features), **values)


def _bit(entry: bytes) -> int:
    """Return the key of an entry of the map of features."""
    if not entry or entry[0] != _KEY_TAG:
        return 0  # the zero value of a key is left out
    return read_varint(entry, 1)[0]
