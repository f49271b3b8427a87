"""Acknowledgements on their way to peers: of each lane the newest, as that says all that those before it did."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from oddwire.errors import TransportError
from oddwire.session.peer.link import Link
from oddwire.session.wire.frame_types import Ack, AckFlag
from oddwire.session.wire.frames import encode_ack

__all__ = ["Acknowledgements"]

_MOST: Final = 512  # lanes of a peer whose acknowledgements wait: more than an inbox has for one


class Acknowledgements:
    """Sends acknowledgements without the caller's waiting for it; a peer that does not read has one a lane kept."""

    def __init__(self, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._spawn = spawn
        self._waiting: dict[Link, dict[int, tuple[int, bytes]]] = {}  # flags and frame, by lane

    def __len__(self) -> int:
        """Return how many peers have acknowledgements that wait."""
        return len(self._waiting)

    def post(self, link: Link, ack: Ack) -> bool:
        """Send an ack of a lane in place of one that still waits; False, and it is dropped, for one lane too many."""
        waiting = self._waiting.get(link)
        if waiting is None:
            waiting = self._waiting[link] = {}
            self._spawn(self._send(link, waiting))
        before = waiting.get(ack.id)
        if before is not None:
            ack = ack._replace(flags=ack.flags | (before[0] & AckFlag.AGAIN))  # it was asked for, and was not heard
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
            pass  # it has gone, or is going
        finally:
            del self._waiting[link]
