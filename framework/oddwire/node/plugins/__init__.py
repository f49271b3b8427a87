"""The plugin host: Core Lightning's plugin protocol, spoken to subprocesses."""

from oddwire.node.plugins.host import PluginHost
from oddwire.node.plugins.node_services import CommandTable, MethodCall, PluginMethod, Services

__all__ = ["CommandTable", "MethodCall", "PluginHost", "PluginMethod", "Services"]
