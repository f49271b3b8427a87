"""What the client's errors mean to those who call the transport. No I/O."""

from __future__ import annotations

import re
from typing import Final

from oddwire.errors import ConnectionClosed, EncodeError, NodeRefused, TransportError
from oddwire.proto.keys import NodeId
from oddwire.transports.base import not_connected
from oddwire.transports.lnd.calls import CONNECTING
from oddwire.transports.lnd.errors import LndError, LndFailure, LndUnavailable
from oddwire.transports.lnd.macaroon import bake_line

__all__ = ["call_failure", "is_not_ready", "send_failure"]

_NOT_FOUND: Final = 5  # gRPC's status
_PASSING: Final = (1, 4, 8, 10, 13)  # cancelled, out of time, exhausted, aborted, internal: gRPC's, or a proxy's
_DENIED: Final = "permission denied"
_HUNG_UP: Final = "EOF"
_NOT_READY: Final = (
    "waiting to start",
    "wallet not created",
    "wallet locked",
    "the RPC server is in the process of starting up",
    "server is still in the process of starting",
)
_SOCKET: Final = re.compile(r"(read|write|set|close) (tcp|unix)\w* .*: ")  # how Go begins what a socket's error was
_OUT_OF_RANGE: Final = "not in custom range"


def is_not_ready(error: LndError) -> bool:
    """Return whether LND is not ready for this call yet, and will be; LND's own errors have none of these statuses."""
    return error.code in _PASSING or error.text.startswith(_NOT_READY)


def call_failure(error: LndFailure, method: str) -> TransportError:
    """Return the error to raise for one of a call."""
    if isinstance(error, LndUnavailable):
        return ConnectionClosed(error.reason)
    if not isinstance(error, LndError):
        return TransportError(error.reason)
    if error.text == _DENIED:
        line = bake_line(connect=method in CONNECTING, save_to="oddwire.macaroon", more=[method])
        text = f"the macaroon does not permit {method}; this line makes one that does: {line}"
        return NodeRefused(text, code=error.code)
    if method == "ConnectPeer" and error.text == _HUNG_UP:
        text = f"{error.text}: the peer hangs up in the handshake, as one does that has another node id"
        return NodeRefused(text, code=error.code)
    return NodeRefused(error.text, code=error.code)


def send_failure(error: LndFailure, peer: NodeId, type_id: int) -> Exception:
    """Return the error to raise for one of a send."""
    if not isinstance(error, LndError):
        return call_failure(error, "SendCustomMessage")
    text = error.text
    if error.code == _NOT_FOUND:
        return not_connected(peer)
    if _OUT_OF_RANGE in text:
        return EncodeError(
            "LND sends types from 32768 on, and lower ones that lnd.conf names: put"
            f" protocol.custom-message={type_id} there and restart LND",
            type_id=type_id,
        )
    is_gone = text.startswith("peer ") and text.endswith((" exiting", " disconnected"))
    if is_gone or _SOCKET.match(text) or text == "server is shutting down":
        return ConnectionClosed(text)
    return call_failure(error, "SendCustomMessage")
