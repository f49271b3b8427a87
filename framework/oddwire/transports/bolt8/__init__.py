"""The embedded node's transport: BOLT 8 connections of our own, with BOLT 1 spoken on them.

Each name is imported when it is first used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oddwire.transports.bolt8.limits import Bolt8Limits as Bolt8Limits
    from oddwire.transports.bolt8.transport import Bolt8Transport as Bolt8Transport
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
