"""Acks waiting to be sent to peers: only the newest per lane, as it includes what earlier ones said."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from oddwire.errors import TransportError
from oddwire.session.peer.link import Link
from oddwire.session.wire.frame_types import Ack, AckFlag
from oddwire.session.wire.frames import encode_ack

__all__ = ["Acknowledgements"]

_MOST: Final = 512  # lanes of a program whose acks wait: more than the inbox has per peer


class Acknowledgements:
    """Sends acks without making the caller wait; for a peer that does not read, one ack per lane is kept."""

    def __init__(self, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._spawn = spawn
        self._waiting: dict[Link, dict[int, tuple[int, bytes]]] = {}  # flags and frame, by lane

    def __len__(self) -> int:
        """Return the number of sessions with waiting acks."""
        return len(self._waiting)

    def post(self, link: Link, ack: Ack) -> bool:
        """Queue an ack of a lane, replacing one that still waits. Return False, and drop it, if too many lanes wait."""
        waiting = self._waiting.get(link)
        if waiting is None:
            waiting = self._waiting[link] = {}
            self._spawn(self._send(link, waiting))
        before = waiting.get(ack.id)
        if before is not None:
            ack = ack._replace(flags=ack.flags | (before[0] & AckFlag.AGAIN))  # the replaced ack asked for it
        elif len(waiting) >= _MOST:
            return False
        waiting[ack.id] = ack.flags, encode_ack(link.route, *ack)
        return True

    async def _send(self, link: Link, waiting: dict[int, tuple[int, bytes]]) -> None:
        try:
            while waiting and not link.closed:
                _, frame = waiting.pop(next(iter(waiting)))
                await link.shared.transport.send(link.node_id, frame)
        except TransportError:
            pass  # the session has ended, or is about to
        finally:
            del self._waiting[link]
