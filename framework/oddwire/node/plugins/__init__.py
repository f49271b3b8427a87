"""The plugin host: Core Lightning's plugin protocol, spoken to subprocesses."""

from typing import TYPE_CHECKING

from oddwire.node.plugins.host import PluginHost as PluginHost
from oddwire.node.plugins.node_services import (
    CommandTable as CommandTable,
    MethodCall as MethodCall,
    NodeServices as NodeServices,
    PluginMethod as PluginMethod,
)

if not TYPE_CHECKING:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
