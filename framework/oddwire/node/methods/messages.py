"""``sendcustommsg`` and ``ping``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from oddwire.errors import ConnectionClosed, LocalProtocolError, NodeRefused, TransportError
from oddwire.jsonrpc.documents import Shortcut, encode
from oddwire.jsonrpc.parameters import INVALID_PARAMS, LIGHTNINGD, Parameter, a_node_id, anything, text_of
from oddwire.jsonrpc.server import INVALID_REQUEST
from oddwire.node.commands import Command, RpcRequest
from oddwire.node.method_parameters import a_number
from oddwire.proto.keys import NodeId
from oddwire.proto.type_numbers import REFUSED, refusal
from oddwire.transports.base import MAX_PAYLOAD, MIN_PAYLOAD

if TYPE_CHECKING:
    from oddwire.node.node import Node

__all__ = ["commands", "shortcut"]

_SENT: Final = {"status": "Message sent to connectd for delivery"}
_SENT_TEXT: Final = encode(_SENT)[:-2].decode()

# The usual forms of the request: its id, a plain string or number, before or after the rest. Node id and message are
# checked later; a backslash in them would change where they end, but then they are not hex.
_ID: Final = r'"id": ?("[^"\\\x00-\x1f]{0,200}+"|0|[1-9][0-9]{0,14}+)'
_USUAL: Final = re.compile(
    rf'[ \t\n\r]*+\{{"jsonrpc": ?"2\.0", ?(?:{_ID}, ?)?"method": ?"sendcustommsg", ?'
    rf'"params": ?\{{"node_id": ?"([^"]{{66}})", ?"msg": ?"([^"]*+)"\}}(?:, ?{_ID})?\}}'
)


def commands(node: Node) -> list[Command]:
    """Return the methods of this module for ``node``."""
    even_level = "info"  # only the first message of an even type is logged at level info

    def sendcustommsg(request: RpcRequest, node_id: NodeId, msg: Any) -> Any:
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
            raise node.commands.bad_parameter(request, "msg", msg, text, show_value=False)
        if request.checking:
            return None
        try:
            peer.backlog.send(payload)
        except TransportError as error:
            if isinstance(error, NodeRefused):
                raise
            raise NodeRefused("Peer is not connected", code=INVALID_REQUEST) from error
        return _SENT

    async def ping(request: RpcRequest, node_id: NodeId, length: int, pongbytes: int) -> Any:
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


def shortcut(node: Node) -> Shortcut:
    """Return a fast path for the usual ``sendcustommsg``, without parsing its JSON.

    It returns None for any other request, and where the request would be refused: `commands` handle these. It is one
    function without calls to helpers, as it runs once per message.
    """
    usual, peers = _USUAL.match, node.peers

    def answer(text: str, at: int) -> tuple[bytes, int] | None:
        match = usual(text, at)
        if match is None or node.commands.closing:
            return None
        before, node_id, msg, after = match.groups()
        if (before is None) is (after is None):
            return None
        try:
            peer = peers.get(a_node_id(node_id))
            payload = bytes.fromhex(msg)
            size = len(payload)
            if peer is None or not MIN_PAYLOAD <= size <= MAX_PAYLOAD or size * 2 != len(msg):
                return None
            if not payload[1] & 1 or payload[0] << 8 | payload[1] in REFUSED:
                return None
            peer.backlog.send(payload)
        except (ValueError, TransportError):
            return None
        return f'{{"jsonrpc":"2.0","id":{before or after},"result":{_SENT_TEXT}}}\n\n'.encode(), match.end()

    return answer


def _bytes_of(msg: Any) -> bytes | None:
    """Return hex decoded, None if it is not hex. The caller checks the peer first, in lightningd's order."""
    text = msg if type(msg) is str else text_of(msg)
    try:
        payload = bytes.fromhex(text)
    except ValueError:
        return None
    return payload if len(payload) * 2 == len(text) else None  # fromhex skips spaces
