"""The methods that a program without a node around it offers: three of a node, and those of its extensions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Final

from oddwire import AppContext, OddwireError, RpcError, __version__
from oddwire.errors import NodeRefused
from oddwire.schema import to_dict

__all__ = ["plain", "run"]

UNKNOWN, FAILED, INTERNAL = -32601, -1, -32603  # JSON-RPC 2.0 and lightningd
_OWN: Final = {
    "getinfo": "Show what this node is",
    "listpeers": "Show the connected peers",
    "help": "Show the commands",
}


async def run(context: AppContext, method: str, params: Mapping[str, Any] | list[Any]) -> Any:
    """Run a method and return its result. Raises `RpcError`."""
    app = context.app
    if method in _OWN:
        if params:
            raise RpcError(-32602, f"{method} has no parameters here")
        if method == "getinfo":
            return _info(context)
        if method == "listpeers":
            infos = [(peer.node_id, peer.info) for peer in app.peers]
            return {"peers": [_peer(node_id, info) for node_id, info in infos if info is not None]}
        commands = {**_OWN, **{name: rpc.description for name, rpc in app.rpc_methods.items()}}
        return {"help": [{"command": name, "description": text} for name, text in sorted(commands.items())]}
    if method not in app.rpc_methods:
        raise RpcError(UNKNOWN, f"Unknown command '{method:.200}'")
    try:
        return await (app.call(method, **params) if isinstance(params, Mapping) else app.call(method, *params))
    except (RpcError, NodeRefused):
        raise
    except (OddwireError, ValueError) as error:
        raise RpcError(FAILED, str(error)) from error
    except Exception as error:
        context.logger.exception("%s, run by commando, failed", method)
        raise RpcError(INTERNAL, f"{method}: internal error (see logs)") from error


def _info(context: AppContext) -> dict[str, Any]:
    app = context.app
    node_id = str(app.node_id)
    return {
        "id": node_id,
        "color": node_id[:6],
        "num_peers": len(app.peers),
        "version": f"oddwire-{__version__}",
        "uris": list(app.uris),
    }


def _peer(node_id: object, info: Any) -> dict[str, Any]:
    return {
        "id": str(node_id),
        "connected": True,
        "netaddr": [info.address],
        "direction": info.direction,
        "features": info.features.hex(),
    }


def plain(value: object) -> Any:
    """Return what JSON has for a value that it cannot hold as it is, for `json.dumps`. Raises `TypeError`."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Path | Decimal | datetime):
        return str(value)
    return to_dict(value)  # raises for anything but a message or a subtype
