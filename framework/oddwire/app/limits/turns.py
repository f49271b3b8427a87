"""Places that peers take turns in, for work whose length is theirs to choose: a stream that they read, say."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from oddwire.errors import Refuse
from oddwire.proto.keys import NodeId

__all__ = ["Turn", "Turns"]

_WAITING: Final = 256  # peers that wait for a place, of each sort


class Turn:
    """A place that a peer has. ``done`` is for the work to count up, in any unit; ``over`` ends it, and is final."""

    __slots__ = ("done", "over", "peer", "preferred", "since")

    def __init__(self, peer: NodeId, since: float, *, preferred: bool) -> None:
        self.peer = peer
        self.since = since
        self.preferred = preferred
        self.done = 0
        self.over = False


class Turns:
    """So many ``places`` for all peers, ``each`` of them for one peer at most. While others wait, turns end.

    A peer that can have no place waits in a line, for ``patience`` seconds at most. While there is one, who has had a
    place for ``seconds`` may lose it: of all those, the one of which least was ``done`` in its time. So neither one
    peer nor a crowd of slow ones has all places. Those that are ``preferred`` wait before all others, and lose no
    place to them.

    The work notices that its turn is ``over`` when it comes to look: until then it lingers, beside the one that has
    its place. As many linger as there are places, and while they do no other turn ends.
    """

    def __init__(
        self,
        places: int | Callable[[], int],
        *,
        each: int = 1,
        seconds: float = 15.0,
        patience: float = 20.0,
        busy: Callable[[str], Refuse] = Refuse,
    ) -> None:
        self._places: Callable[[], int] = places if callable(places) else lambda: places
        self._each = each
        self._seconds = seconds
        self._patience = patience
        self._busy = busy
        self._turns: set[Turn] = set()
        self._line: list[tuple[Turn, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def take(self, peer: NodeId, *, preferred: bool = False) -> AsyncIterator[Turn]:
        """Context manager: have a place. Look at ``over`` between two pieces of work, and end if it is true.

        Raises `Refuse`, or what ``busy`` makes of its text, if the peer waits already, or if it could have no place in
        time.
        """
        turn = await self._enter(Turn(peer, 0.0, preferred=preferred))
        try:
            yield turn
        finally:
            self._turns.discard(turn)
            self._advance()

    async def _enter(self, turn: Turn) -> Turn:
        alike = [other for other, _ in self._line if other.preferred == turn.preferred]
        if len(alike) >= _WAITING or any(other.peer == turn.peer for other in alike):
            raise self._busy("all places are taken: later, perhaps")
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        before = len(alike) if turn.preferred else len(self._line)
        self._line.insert(before, (turn, place))
        self._advance()
        try:
            async with asyncio.timeout(self._patience):
                await place
        except BaseException as error:
            self._turns.discard(turn)  # if it was given in this very moment
            self._advance()
            if isinstance(error, TimeoutError):
                full = self._has(turn.peer) >= self._each
                text = f"one peer has {self._each} places at most" if full else "all places are taken: later, perhaps"
                raise self._busy(text) from None
            raise
        return turn

    def _has(self, peer: NodeId) -> int:
        return sum(turn.peer == peer for turn in self._turns if not turn.over)

    def _advance(self) -> None:
        """Give free places to those who wait, and end turns for the others."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._line = [(turn, place) for turn, place in self._line if not place.done()]  # without who is cancelled
        if not self._line:
            return
        loop, places = asyncio.get_running_loop(), self._places()
        now = loop.time()
        while (
            found := next((entry for entry in self._line if self._has(entry[0].peer) < self._each), None)
        ) is not None:
            first = found[0]
            held = [turn for turn in self._turns if not turn.over]
            if len(held) >= places:
                losers = [turn for turn in held if first.preferred or not turn.preferred]
                ready = [turn for turn in losers if now - turn.since >= self._seconds]
                if not ready or len(self._turns) - len(held) >= places:
                    if losers and not ready:
                        due = min(turn.since for turn in losers) + self._seconds
                        self._timer = loop.call_at(due, self._advance)
                    return  # else whoever ends calls again
                min(ready, key=lambda turn: turn.done / max(now - turn.since, 1e-3)).over = True
            self._line.remove(found)
            turn, place = found
            turn.since = now
            self._turns.add(turn)
            place.set_result(None)
