"""Extensions, the hooks of plugins, and the application that runs them over a transport."""

from oddwire.app.application import Application
from oddwire.app.collector import relax_collector
from oddwire.app.context import Context, Peer
from oddwire.app.extension import Extension
from oddwire.app.handler import Handler, RpcMethod
from oddwire.app.hookspecs import Hooks, TraceEvent, hookimpl
from oddwire.app.plugins import PluginManager

__all__ = [
    "Application",
    "Context",
    "Extension",
    "Handler",
    "Hooks",
    "Peer",
    "PluginManager",
    "RpcMethod",
    "TraceEvent",
    "hookimpl",
    "relax_collector",
]
