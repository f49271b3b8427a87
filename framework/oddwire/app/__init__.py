"""Extensions, the hooks of plugins, and the application that runs them over a transport.

Each name is imported when it is first used: a script declares its extension without loading the code that runs it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oddwire.app.application import Application as Application
    from oddwire.app.context import (
        AppContext as AppContext,
        Context as Context,
        HostNode as HostNode,
        Peer as Peer,
    )
    from oddwire.app.declarations.handlers import Handler as Handler
    from oddwire.app.declarations.jobs import Job as Job
    from oddwire.app.declarations.malformed import Malformed as Malformed
    from oddwire.app.declarations.middleware import (
        CallNext as CallNext,
        Middleware as Middleware,
    )
    from oddwire.app.declarations.options import (
        Option as Option,
        Options as Options,
    )
    from oddwire.app.declarations.providers import Provider as Provider
    from oddwire.app.declarations.router import Router as Router
    from oddwire.app.declarations.rpc import RpcMethod as RpcMethod
    from oddwire.app.dispatch.listeners import MessageStream as MessageStream
    from oddwire.app.extension import Extension as Extension
    from oddwire.app.gc_tuning import relax_collector as relax_collector
    from oddwire.app.hookspecs import (
        Hooks as Hooks,
        TraceEvent as TraceEvent,
        hookimpl as hookimpl,
    )
    from oddwire.app.insight.metrics import Metrics as Metrics
    from oddwire.app.lightningd import run_plugin as run_plugin
    from oddwire.app.limits.turns import (
        Turn as Turn,
        Turns as Turns,
    )
    from oddwire.app.peer_rpc import PeerRpc as PeerRpc
    from oddwire.app.plugins.manager import PluginManager as PluginManager
    from oddwire.app.resending.again import (
        Again as Again,
        Pending as Pending,
    )
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
