"""Extensions, the hooks of plugins, and the application that runs them over a transport."""

from oddwire.app.application import Application
from oddwire.app.collector import relax_collector
from oddwire.app.context import Context, HostNode, Peer
from oddwire.app.extension import Extension
from oddwire.app.handler import Handler
from oddwire.app.hookspecs import Hooks, TraceEvent, hookimpl
from oddwire.app.options import Option, Options
from oddwire.app.plugins import PluginManager
from oddwire.app.rpc import RpcMethod

__all__ = [
    "Application",
    "Context",
    "Extension",
    "Handler",
    "Hooks",
    "HostNode",
    "Option",
    "Options",
    "Peer",
    "PluginManager",
    "RpcMethod",
    "TraceEvent",
    "hookimpl",
    "relax_collector",
]
