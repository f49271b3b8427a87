"""The calls of LND's gRPC API that oddwire makes or passes on: paths, permissions, messages. No I/O.

Source: LND's ``lightning.proto`` and ``rpcserver.go:MainRPCServerPermissions``, v0.21.2-beta.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from oddwire.transports.lnd import messages
from oddwire.transports.lnd.fields import Shape

__all__ = ["CALLS", "CONNECTING", "NEEDED", "Call"]


class Call(NamedTuple):
    """One call: ``entity`` and ``action`` are the permission that LND asks for, empty if it asks for none."""

    name: str
    request: Shape
    answer: Shape
    entity: str = ""
    action: str = ""
    stream: bool = False
    service: str = "Lightning"

    @property
    def path(self) -> str:
        """The call's path in HTTP/2, which is also how a macaroon for it alone names it."""
        return f"/lnrpc.{self.service}/{self.name}"

    @property
    def uri(self) -> str:
        """The permission for this call alone, as ``lncli bakemacaroon`` takes it."""
        return f"uri:{self.path}"


CALLS: Final = {
    call.name: call
    for call in (
        Call("ConnectPeer", messages.CONNECT_PEER, messages.STATUS, "peers", "write"),
        Call("DisconnectPeer", messages.DISCONNECT_PEER, messages.STATUS, "peers", "write"),
        Call("GetInfo", messages.EMPTY, messages.NODE_INFO, "info", "read"),
        Call("GetState", messages.EMPTY, messages.STATE, service="State"),
        Call("ListPeers", messages.LIST_PEERS, messages.PEERS, "peers", "read"),
        Call("SendCustomMessage", messages.CUSTOM_MESSAGE, messages.STATUS, "offchain", "write"),
        Call("SendOnionMessage", messages.ONION, messages.STATUS, "offchain", "write"),
        Call("SubscribeCustomMessages", messages.EMPTY, messages.CUSTOM_MESSAGE, "offchain", "read", stream=True),
        Call("SubscribeOnionMessages", messages.EMPTY, messages.ONION_UPDATE, "offchain", "read", stream=True),
        Call("SubscribePeerEvents", messages.EMPTY, messages.PEER_EVENT, "peers", "read", stream=True),
        Call("SubscribeState", messages.EMPTY, messages.STATE, stream=True, service="State"),
    )
}
"""Every call, by LND's name."""

NEEDED: Final[Sequence[str]] = (
    "SendCustomMessage",
    "SubscribeCustomMessages",
    "SubscribePeerEvents",
    "ListPeers",
    "GetInfo",
)
"""The calls that the transport cannot do without, and that need a permission."""
CONNECTING: Final[Sequence[str]] = ("ConnectPeer", "DisconnectPeer")
"""Those that it makes where the application connects and disconnects peers."""
