"""The plugin host: Core Lightning's plugin protocol, spoken to subprocesses."""

from oddwire.node.plugins.host import PluginHost
from oddwire.node.plugins.node_services import CommandTable, MethodCall, NodeServices, PluginMethod

__all__ = ["CommandTable", "MethodCall", "NodeServices", "PluginHost", "PluginMethod"]
