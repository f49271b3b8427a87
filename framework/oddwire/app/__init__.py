"""Extensions, the hooks of plugins, and the application that runs them over a transport.

Each name is imported when it is first used: a script declares its extension without what will run it.
"""

from typing import TYPE_CHECKING

import oddwire.lazy as _lazy

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.context import Context, HostNode, Peer
    from oddwire.app.declarations.handlers import Handler
    from oddwire.app.declarations.options import Option, Options
    from oddwire.app.declarations.rpc import RpcMethod
    from oddwire.app.extension import Extension
    from oddwire.app.gc_tuning import relax_collector
    from oddwire.app.hookspecs import Hooks, TraceEvent, hookimpl
    from oddwire.app.plugins.manager import PluginManager

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
    "Handler": ".declarations.handlers",
    "Hooks": ".hookspecs",
    "HostNode": ".context",
    "Option": ".declarations.options",
    "Options": ".declarations.options",
    "Peer": ".context",
    "PluginManager": ".plugins.manager",
    "RpcMethod": ".declarations.rpc",
    "TraceEvent": ".hookspecs",
    "hookimpl": ".hookspecs",
    "relax_collector": ".gc_tuning",
}

__getattr__, __dir__ = _lazy.lazy(__name__, _HOMES)
