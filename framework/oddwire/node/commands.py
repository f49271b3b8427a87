"""The node's table of JSON-RPC methods: its own, and those of its plugins."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from oddwire.jsonrpc.commands import BUILT_IN, Command, Commands, RpcRequest
from oddwire.node.plugins.node_services import MethodCall, PluginMethod

__all__ = ["BUILT_IN", "Command", "NodeCommands", "RpcRequest"]


class NodeCommands(Commands):
    """All methods of a node by name. Plugins read the parameters of theirs, and ``check`` them, themselves."""

    def register_plugin_method(self, method: PluginMethod) -> None:
        """Add a plugin's method. Raises `ExtensionError` if its name is taken."""

        def handler(request: RpcRequest) -> Awaitable[Any]:
            call = MethodCall(
                id=request.id,
                method=method.name,
                params=request.params,
                checking=request.checking,
                notify=request.notify if request.connection is not None and request.connection.notifications else None,
            )
            return method.call(call)

        self.register(
            Command(
                name=method.name,
                handler=handler,
                parameters=None,
                description=method.description,
                owner=method.owner,
                usage=method.usage,
                checks=True,
                deprecated=method.deprecated,
            )
        )
