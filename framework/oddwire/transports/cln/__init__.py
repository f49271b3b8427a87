"""Core Lightning: an application as lightningd's plugin.

Each name is imported when it is first used: a plugin tells its node what it is before it has a loop.
"""

from typing import TYPE_CHECKING

import oddwire.lazy as _lazy

if TYPE_CHECKING:
    from oddwire.transports.cln.early_manifest import EarlyManifest
    from oddwire.transports.cln.flow import ClnLimits, Dropped
    from oddwire.transports.cln.stdio_capture import Stdio, take_stdio
    from oddwire.transports.cln.transport import ClnTransport

__all__ = ["ClnLimits", "ClnTransport", "Dropped", "EarlyManifest", "Stdio", "take_stdio"]

_HOMES = {
    "ClnLimits": ".flow",
    "ClnTransport": ".transport",
    "Dropped": ".flow",
    "EarlyManifest": ".early_manifest",
    "Stdio": ".stdio_capture",
    "take_stdio": ".stdio_capture",
}

__getattr__, __dir__ = _lazy.lazy(__name__, _HOMES)
