"""Telling the client of a call how far it is, as lightningd does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from oddwire.jsonrpc.documents import encode

__all__ = ["ProgressNotices"]

_PACE: Final = 0.1  # seconds


class ProgressNotices:
    """Sends ``progress`` notifications of one call, ten a second at most. Nothing is sent once ``over`` is set."""

    __slots__ = ("_id", "_next", "_send", "over")

    def __init__(self, send: Callable[[bytes], None], call_id: object) -> None:
        self._send = send
        self._id = call_id
        self._next = 0.0
        self.over = False

    def __call__(self, done: int, total: int) -> None:
        """Tell how much is done, of how much in all."""
        now = asyncio.get_running_loop().time()
        if self.over or (now < self._next and done < total):
            return
        self._next = now + _PACE
        # As lightning-cli counts: from 0 to one less than the total, which is never 0
        params = {"id": self._id, "num": max(min(done, total - 1), 0), "total": max(total, 1)}
        self._send(encode({"jsonrpc": "2.0", "method": "progress", "params": params}))
