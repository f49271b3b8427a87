"""What the application asks LND: which calls there are, and what would harm if it were passed on. No I/O."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from oddwire.errors import NodeRefused
from oddwire.printable import quoted
from oddwire.transports.base import MAX_PAYLOAD
from oddwire.transports.lnd.calls import CALLS

__all__ = ["read_request"]

_INVALID, _UNIMPLEMENTED = 3, 12  # gRPC's statuses
_UNARY: Final = tuple(name for name, call in CALLS.items() if not call.stream)
_OTHER_NAMES: Final = {
    **{name.lower(): name for name in _UNARY},
    "connect": "ConnectPeer",
    "disconnect": "DisconnectPeer",
    "sendcustommsg": "SendCustomMessage",
    "sendonionmessage": "SendOnionMessage",
}
"""What Core Lightning and lncli call them."""


def read_request(method: str, params: Sequence[Any] | Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the request of a call. Raises `NodeRefused` for one that is not offered, or whose parameters are wrong."""
    if method not in _UNARY:
        raise NodeRefused(_unknown(method), code=_UNIMPLEMENTED)
    if not params:
        return {}
    if not isinstance(params, Mapping):
        raise NodeRefused(f"{method} takes its parameters by name, as LND's REST API does", code=_INVALID)
    if method == "SendCustomMessage":
        _check_message(params)
    return params


def _unknown(method: str) -> str:
    offered = f"the calls of LND that can be made are {', '.join(_UNARY)}"
    if method in CALLS:
        return f"{method} is a stream, which the transport reads itself; {offered}"
    close = _OTHER_NAMES.get(method.lower()) or (*difflib.get_close_matches(method, _UNARY, 1), None)[0]
    if close is not None:
        return f"there is no call {quoted(method)}: LND calls it {close}; {offered}"
    return f"there is no call {quoted(method)}; {offered}"


def _check_message(params: Mapping[str, Any]) -> None:
    """Refuse a message over which LND would hang up on the peer, or whose type it would cut off."""
    data, type_id = params.get("data"), params.get("type")
    if isinstance(data, str) and len(data.rstrip("=")) * 3 // 4 > MAX_PAYLOAD - 2:
        text = f"data should have {MAX_PAYLOAD - 2} bytes at most, in base64: LND would disconnect the peer"
        raise NodeRefused(text, code=_INVALID)
    if isinstance(type_id, int) and not 0 <= type_id <= 0xFFFF:
        raise NodeRefused(f"type should be 0 to 65535, not {type_id}: LND would cut it off", code=_INVALID)
