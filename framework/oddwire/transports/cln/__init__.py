"""Core Lightning: an application as lightningd's plugin.

Each name is imported when it is first used: a plugin sends its manifest before it has an event loop.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oddwire.transports.cln.early_manifest import EarlyManifest as EarlyManifest
    from oddwire.transports.cln.pacing import ClnLimits as ClnLimits
    from oddwire.transports.cln.stdio_capture import (
        Stdio as Stdio,
        take_stdio as take_stdio,
    )
    from oddwire.transports.cln.transport import ClnTransport as ClnTransport
    from oddwire.transports.inbound_queue import Dropped as Dropped
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
