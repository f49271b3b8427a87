"""Which of the programs behind a peer's node a lane's messages go to, as decisions. No I/O; time is told.

Only the program that has handled a lane's messages remembers that it has. So a lane stays with the one it has dealt
with, knows it again by its store or its number, and waits a while for it before it goes to another: it may be
restarting.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

__all__ = ["PATIENCE", "Known", "Offer", "Search", "Stopwatch", "choose", "rank"]

PATIENCE: Final = 60.0
"""Seconds that a lane waits for the program it knows, while others are there, before it goes to one of those."""

_STORE, _PROGRAM, _FIRST, _OTHER = 1, 2, 3, 4


class Known(NamedTuple):
    """What is kept of the program that a lane's messages went to last: its number, and those of its stores."""

    program: int
    stores: tuple[int, ...]


class Offer(NamedTuple):
    """A session that a lane may take: its addresses, and what its program's hello said."""

    route: int
    program: int
    stores: tuple[int, ...]


def rank(offer: Offer, known: Known | None) -> int:
    """Say how well a session suits: 1 for the store that is known, 2 for the program, 3 if none is known, else 4."""
    if known is None:
        return _FIRST
    if not set(known.stores).isdisjoint(offer.stores):
        return _STORE
    return _PROGRAM if offer.program == known.program else _OTHER


def choose(offers: Collection[Offer], known: Known | None, current: int, waited: float) -> Offer | None:
    """Return the session that a lane takes, of those whose programs speak its extension; None while it waits.

    ``offers`` are in the order in which their programs came: of those that have a store that is known it is the last
    one, since a store is in one place, and whoever had it before may be dead. ``current`` is the route of the session
    it has, 0 for none: it stays there unless another stands before it. ``waited`` is for how many seconds only others
    than the known one were there.
    """
    if not offers:
        return None
    latest = [*reversed([*offers])]  # of two with one number, too, the older one may be dead
    for offer in latest:
        if rank(offer, known) == _STORE:
            return offer
    best = min(latest, key=lambda offer: (rank(offer, known), offer.program))
    taken = next((offer for offer in offers if offer.route == current), None)
    if taken is not None and (rank(best, known) == _OTHER or rank(taken, known) <= rank(best, known)):
        return taken
    return best if rank(best, known) < _OTHER or waited >= PATIENCE else None


class Stopwatch:
    """Counts seconds while it runs."""

    __slots__ = ("_before", "_since")

    def __init__(self) -> None:
        self._before = 0.0
        self._since: float | None = None

    def start(self, now: float) -> None:
        """Go on counting."""
        if self._since is None:
            self._since = now

    def stop(self, now: float) -> None:
        """Count no more for now."""
        if self._since is not None:
            self._before += now - self._since
            self._since = None

    def reset(self) -> None:
        """Stop, and forget what was counted."""
        self._before, self._since = 0.0, None

    def seconds(self, now: float) -> float:
        """Return what was counted."""
        return self._before + (0.0 if self._since is None else now - self._since)

    def due(self, seconds: float) -> float:
        """Return when it will have counted so many; infinity while it stands."""
        return float("inf") if self._since is None else self._since + seconds - self._before


class Search:
    """One lane's search for a session, while its peer comes and goes."""

    __slots__ = ("_alone", "_others", "told")

    def __init__(self) -> None:
        self._others = Stopwatch()  # how long only others than the known program were there
        self._alone = Stopwatch()  # how long the peer was there, and nobody to take the lane
        self.told = False
        """Whether it was told that nobody takes the lane."""

    def choose(self, offers: Collection[Offer], known: Known | None, current: int, now: float) -> Offer | None:
        """Decide, as `choose` does, for a peer that is connected."""
        if not offers:
            self._others.stop(now)
            self._alone.start(now)
            return None
        self._alone.reset()
        self.told = False
        if known is None or any(rank(offer, known) < _OTHER for offer in offers):
            self._others.reset()
        else:
            self._others.start(now)
        found = choose(offers, known, current, self._others.seconds(now))
        if found is not None:
            self._others.reset()
        return found

    def pause(self, now: float) -> None:
        """Count nothing while the peer is away."""
        self._others.stop(now)
        self._alone.stop(now)

    def is_alone(self, now: float, seconds: float) -> bool:
        """Say whether the peer has been there for so long without anybody to take the lane."""
        return self._alone.seconds(now) >= seconds

    def due(self, seconds: float) -> float:
        """Return when there is something to decide, or to tell after ``seconds`` alone; infinity for never."""
        return min(self._others.due(PATIENCE), float("inf") if self.told else self._alone.due(seconds))
