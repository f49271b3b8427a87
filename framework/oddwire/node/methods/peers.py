"""``connect``, ``disconnect`` and ``listpeers``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oddwire.errors import NodeRefused
from oddwire.jsonrpc.parameters import (
    INVALID_PARAMS,
    LIGHTNINGD,
    Parameter,
    a_node_id,
    a_string,
    anything,
    text_of,
)
from oddwire.node.address_fields import address_fields
from oddwire.node.commands import Command, RpcRequest
from oddwire.node.connected_peers import NodePeer
from oddwire.node.method_parameters import a_flag, a_port
from oddwire.node.node_log import LEVELS, level_number
from oddwire.proto.addresses import Scheme, parse_address, split_scheme
from oddwire.proto.bolt1 import DEFAULT_PORTS
from oddwire.proto.keys import NodeId

if TYPE_CHECKING:
    from oddwire.node.node import Node

__all__ = ["a_level", "commands"]


def a_level(value: Any) -> str:
    """Parse the name of a log level. Raises `ValueError`."""
    return LEVELS[level_number(text_of(value))]


def commands(node: Node) -> list[Command]:
    """Return the methods of this module for ``node``."""

    async def connect(request: RpcRequest, target: Any, host: str | None, port: int | None) -> Any:
        name, at, address = text_of(target).partition("@")
        scheme: Scheme = ""
        try:
            node_id = a_node_id(name)
        except ValueError as error:
            raise node.commands.bad_parameter(request, "id", target, str(error)) from None
        if at:
            if host is not None:
                raise NodeRefused("Can't specify host as both xxx@yyy and separate argument", code=INVALID_PARAMS)
            try:
                scheme, host, found = _where(address)
            except ValueError:
                raise NodeRefused("malformed host @part", code=INVALID_PARAMS) from None
            if found is not None and port is not None:
                raise NodeRefused("Can't specify port as both xxx@yyy:port and separate argument", code=INVALID_PARAMS)
            port = found or port
        elif host is not None:
            try:
                scheme, host, found = _where(host)
            except ValueError as error:
                raise node.commands.bad_parameter(request, "host", host, str(error)) from None
            port = found or port
        elif port is not None:
            raise NodeRefused("Can't specify port without host", code=INVALID_PARAMS)
        if request.checking:
            return None
        port = port or DEFAULT_PORTS[node.network]
        return _connected(await node.peers.connect(node_id, host, port, scheme, command_id=request.id))

    async def disconnect(request: RpcRequest, target: Any, force: bool) -> Any:
        try:
            node_id = a_node_id(target)
        except ValueError:
            raise node.commands.bad_parameter(request, "id", target, "invalid peer id") from None
        peer = node.peers.get(node_id)
        if peer is None:
            if node.peers.is_known(node_id):
                raise NodeRefused("Peer not connected", code=LIGHTNINGD)
            raise NodeRefused(f"Unknown peer '{text_of(target)}'", code=INVALID_PARAMS)
        if request.checking:
            return None
        await node.peers.disconnect(peer)
        return {}

    def listpeers(request: RpcRequest, node_id: NodeId | None, level: str | None) -> Any:
        ids = [peer.info.node_id for peer in node.peers]
        ids += [kept for kept in sorted(node.peers.kept) if node.peers.get(kept) is None]
        return {"peers": [_listed(node, each, level) for each in ids if node_id is None or each == node_id]}

    return [
        Command(
            name="connect",
            handler=connect,
            parameters=(
                Parameter("id", anything),
                Parameter("host", a_string, required=False),
                Parameter("port", a_port, required=False),
            ),
            description="Connect to a node at host:port, or where it was reached last",
            checks=True,
        ),
        Command(
            name="disconnect",
            handler=disconnect,
            parameters=(Parameter("id", anything), Parameter("force", a_flag, required=False, default=False)),
            description="Disconnect from a peer",
            checks=True,
        ),
        Command(
            name="listpeers",
            handler=listpeers,
            parameters=(Parameter("id", a_node_id, required=False), Parameter("level", a_level, required=False)),
            description="Show the peers, or one; with a level, what the log says of them",
        ),
    ]


def _where(text: str) -> tuple[Scheme, str, int | None]:
    """Return scheme, host and port of an address, None for no port. Raises `ValueError`, also for a port of 0."""
    scheme, address = split_scheme(text)
    host, port = parse_address(address, default_port=0, any_name=True)
    if not port and not parse_address(address, default_port=1, any_name=True)[1]:
        raise ValueError(f"port should be 1 to 65535, not 0 (in {address!r})")
    return scheme, host, port or None


def _connected(peer: NodePeer) -> dict[str, Any]:
    return {
        "id": peer.hex,
        "features": peer.info.features.hex(),
        "direction": peer.info.direction,
        "address": address_fields(peer.info.address),
    }


def _listed(node: Node, node_id: NodeId, level: str | None) -> dict[str, Any]:
    peer = node.peers.get(node_id)
    entry: dict[str, Any] = {"id": str(node_id), "connected": False, "num_channels": 0}
    if peer is not None and peer.state == "connected":
        entry["connected"] = True
        entry["netaddr"] = [peer.info.address]
    # As lightningd: a peer's features are shown once its hooks have accepted it
    entry["features"] = peer.info.features.hex() if peer is not None and entry["connected"] else ""
    if level is not None:
        entry["log"] = list(node.log.lines(level, str(node_id)))
    return entry
