"""The embedded node's transport: BOLT 8 connections of our own, with BOLT 1 spoken on them.

Each name is imported when it is first used.
"""

from typing import TYPE_CHECKING

import oddwire.lazy as _lazy

if TYPE_CHECKING:
    from oddwire.transports.bolt8.limits import Bolt8Limits
    from oddwire.transports.bolt8.transport import Bolt8Transport

__all__ = ["Bolt8Limits", "Bolt8Transport"]

_HOMES = {"Bolt8Limits": ".limits", "Bolt8Transport": ".transport"}

__getattr__, __dir__ = _lazy.lazy(__name__, _HOMES)
