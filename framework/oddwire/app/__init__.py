"""Extensions, the hooks of plugins, and the application that runs them over a transport.

Each name is imported when it is first used: a script declares its extension without what will run it.
"""

from typing import TYPE_CHECKING

import oddwire.lazy as _lazy

if TYPE_CHECKING:
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

_HOMES = {
    "Application": ".application",
    "Context": ".context",
    "Extension": ".extension",
    "Handler": ".handler",
    "Hooks": ".hookspecs",
    "HostNode": ".context",
    "Option": ".options",
    "Options": ".options",
    "Peer": ".context",
    "PluginManager": ".plugins",
    "RpcMethod": ".rpc",
    "TraceEvent": ".hookspecs",
    "hookimpl": ".hookspecs",
    "relax_collector": ".collector",
}

__getattr__, __dir__ = _lazy.lazy(__name__, _HOMES)
