"""``getinfo``, ``listconfigs``, ``setconfig``, ``getlog``, ``notifications`` and ``stop``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oddwire.errors import NodeRefused
from oddwire.jsonrpc.parameters import INVALID_PARAMS, Parameter, a_string
from oddwire.node.address_fields import address_fields
from oddwire.node.commands import Command, RpcRequest
from oddwire.node.method_parameters import a_flag
from oddwire.node.methods.peers import a_level

if TYPE_CHECKING:
    from oddwire.node.node import Node

__all__ = ["commands"]


def commands(node: Node) -> list[Command]:
    """Return the methods of this module for ``node``."""

    def getinfo(request: RpcRequest) -> Any:
        features = node.feature_set()
        return {
            "id": node.node_id,
            "alias": node.alias,
            "color": node.node_id[:6],
            "num_peers": len(node.peers) + sum(node.peers.get(kept) is None for kept in node.peers.kept),
            "num_pending_channels": 0,
            "num_active_channels": 0,
            "num_inactive_channels": 0,
            "address": [],
            "binding": [address_fields(uri.partition("@")[2]) for uri in node.uris],
            "version": node.version,
            "blockheight": 0,
            "network": node.network,
            "fees_collected_msat": 0,
            "lightning-dir": str(node.lightning_dir),
            "our_features": {context: features[context] for context in ("init", "node", "channel", "invoice")},
        }

    def listconfigs(request: RpcRequest, config: str | None) -> Any:
        configs = {
            **{name: _shown(value) for name, value in node.options.items() if value is not None},
            **node.plugins.listconfigs(),
        }
        configs["rpc-file"]["source"] = "default"
        configs.setdefault("alias", {"value_str": node.alias, "source": "default"})
        if config is None:
            return {"configs": configs}
        if config not in configs:
            if config not in node.options:
                raise node.commands.bad_parameter(request, "config", config, "Unknown config option")
            return {"configs": {}}  # known, and not set
        return {"configs": {config: configs[config]}}

    async def setconfig(request: RpcRequest, config: str, val: str | None, transient: bool) -> Any:
        dynamic = False if config in node.options else node.plugins.is_dynamic(config)
        if not dynamic:
            text = "Unknown config option" if dynamic is None else "Not a dynamic config option"
            raise node.commands.bad_parameter(request, "config", config, text)
        if not transient:
            text = "this node has no configuration file: only transient=true can be done"
            raise NodeRefused(text, code=INVALID_PARAMS)
        return None if request.checking else {"config": await node.plugins.setconfig(config, val)}

    def getlog(request: RpcRequest, level: str) -> Any:
        return {
            "created_at": f"{node.log.created:.9f}",
            "bytes_used": node.log.bytes_used,
            "bytes_max": node.log.max_bytes,
            "log": list(node.log.lines(level)),
        }

    def notifications(request: RpcRequest, enable: bool) -> Any:
        if request.connection is not None:
            request.connection.notifications = enable
        return {}

    async def stop(request: RpcRequest) -> Any:
        node.stop("JSON-RPC shutdown")
        await node.wait_ended()
        return {"result": "Shutdown complete"}

    return [
        Command(name="getinfo", handler=getinfo, description="Show the node's id, addresses and version"),
        Command(
            name="listconfigs",
            handler=listconfigs,
            parameters=(Parameter("config", a_string, required=False),),
            description="Show the options that are set, those of plugins included",
            checks=True,
        ),
        Command(
            name="setconfig",
            handler=setconfig,
            parameters=(
                Parameter("config", a_string),
                Parameter("val", a_string, required=False),
                Parameter("transient", a_flag, required=False, default=False),
            ),
            description="Change a dynamic option of a plugin until the node ends",
            checks=True,
        ),
        Command(
            name="getlog",
            handler=getlog,
            parameters=(Parameter("level", a_level, required=False, default="info"),),
            description="Show the log, of a level and above",
        ),
        Command(
            name="notifications",
            handler=notifications,
            parameters=(Parameter("enable", a_flag),),
            description="Set whether this connection gets notifications about its calls",
        ),
        Command(name="stop", handler=stop, description="End the node; answers when it has ended"),
    ]


def _shown(value: object) -> dict[str, Any]:
    if isinstance(value, list):
        return {"values_str": value, "sources": ["cmdline"] * len(value)}
    return {"value_str": value, "source": "cmdline"}
