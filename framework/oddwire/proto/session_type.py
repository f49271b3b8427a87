"""The type of the session protocol's messages, for modules below it too. Imports nothing from oddwire."""

from __future__ import annotations

from typing import Final

__all__ = ["SESSION_TYPE", "SESSION_TYPE_BYTES"]

SESSION_TYPE: Final = 0xC0DD
"""The one message type of the session protocol."""
SESSION_TYPE_BYTES: Final = b"\xc0\xdd"
