"""``sendcustommsg`` and ``ping``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from oddwire.errors import ConnectionClosed, LocalProtocolError, NodeRefused, TransportError
from oddwire.jsonrpc.parameters import INVALID_PARAMS, LIGHTNINGD, Parameter, a_node_id, anything, text_of
from oddwire.jsonrpc.server import INVALID_REQUEST
from oddwire.node.commands import Command, Request
from oddwire.node.parameters import a_number
from oddwire.proto.keys import NodeId
from oddwire.proto.type_numbers import refusal
from oddwire.transports.base import MAX_PAYLOAD, MIN_PAYLOAD

if TYPE_CHECKING:
    from oddwire.node.node import Node

__all__ = ["commands"]

_SENT: Final = {"status": "Message sent to connectd for delivery"}


def commands(node: Node) -> list[Command]:
    """Give the methods of this module for ``node``."""
    even_level = "info"  # the first even message is worth a line; the next ones are not

    def sendcustommsg(request: Request, node_id: NodeId, msg: Any) -> Any:
        nonlocal even_level
        payload = _bytes_of(msg)
        if payload is not None and len(payload) >= MIN_PAYLOAD:
            type_id = payload[0] << 8 | payload[1]
            text = refusal(type_id)
            if text is not None:
                raise NodeRefused(text, code=INVALID_REQUEST)
            if not type_id & 1 and node.log.wants(even_level):
                text = f"sendcustommsg id={request.id} sending a custom even message ({type_id})"
                node.log(even_level, text, node_id=str(node_id))
                even_level = "debug"
        peer = node.peers.get(node_id)
        if peer is None:
            gone = "Peer is not connected" if node.peers.is_known(node_id) else f"No such peer: {node_id}"
            raise NodeRefused(gone, code=INVALID_REQUEST)
        if payload is None or not MIN_PAYLOAD <= len(payload) <= MAX_PAYLOAD:
            text = f"should be a hex encoded message of {MIN_PAYLOAD} to {MAX_PAYLOAD} bytes"
            raise node.commands.bad_parameter(request, "msg", msg, text, tell=False)
        if request.checking:
            return None
        try:
            peer.outbox.send(payload)
        except TransportError as error:
            if isinstance(error, NodeRefused):
                raise
            raise NodeRefused("Peer is not connected", code=INVALID_REQUEST) from error
        return _SENT

    async def ping(request: Request, node_id: NodeId, length: int, pongbytes: int) -> Any:
        if length > 65535 - 6:
            raise NodeRefused(f"{length} would result in oversize ping", code=INVALID_PARAMS)
        if pongbytes > 65535:
            raise NodeRefused(f"pongbytes {pongbytes} > 65535", code=INVALID_PARAMS)
        if node.peers.get(node_id) is None:
            raise NodeRefused("Peer not connected", code=LIGHTNINGD)
        if request.checking:
            return None
        try:
            return {"totlen": await node.transport.ping(node_id, padding=length, num_pong_bytes=pongbytes)}
        except LocalProtocolError:
            raise NodeRefused("Ping already pending", code=LIGHTNINGD) from None
        except ConnectionClosed:
            raise NodeRefused("Peer disconnected before its pong", code=LIGHTNINGD) from None

    return [
        Command(
            name="sendcustommsg",
            handler=sendcustommsg,
            parameters=(Parameter("node_id", a_node_id), Parameter("msg", anything)),
            description="Send a peer a message of a type that the node does not handle itself",
            checks=True,
        ),
        Command(
            name="ping",
            handler=ping,
            parameters=(
                Parameter("id", a_node_id),
                Parameter("len", a_number, required=False, default=128),
                Parameter("pongbytes", a_number, required=False, default=128),
            ),
            description="Send a peer a ping of len bytes and wait for a pong of pongbytes",
            checks=True,
        ),
    ]


def _bytes_of(msg: Any) -> bytes | None:
    """Read hex; None if it is none. Checked only after the peer was found, as lightningd's answers show."""
    text = msg if type(msg) is str else text_of(msg)
    try:
        payload = bytes.fromhex(text)
    except ValueError:
        return None
    return payload if len(payload) * 2 == len(text) else None  # fromhex overlooks spaces
