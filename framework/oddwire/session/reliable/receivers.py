"""Choosing the program of a peer to which a lane's messages are sent (protocol, The session of a lane). No I/O.

Only the program that has handled a lane's messages has a record of that. So a lane stays with the program that it was
sent to last, recognises it by its stores or its number, and waits a while for it before it is sent to another: the
program may be restarting.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

__all__ = ["PATIENCE", "Known", "Offer", "Search", "Stopwatch", "choose", "rank"]

PATIENCE: Final = 60.0
"""Seconds that a lane waits for the program it was sent to last while only others are there; then it goes to one."""

_STORE, _PROGRAM, _FIRST, _OTHER = 1, 2, 3, 4


class Known(NamedTuple):
    """The program that a lane's messages were sent to last: its number, and those of its stores."""

    program: int
    stores: tuple[int, ...]


class Offer(NamedTuple):
    """A session that a lane may use: its addresses, and the program and stores of its last hello."""

    route: int
    program: int
    stores: tuple[int, ...]


def rank(offer: Offer, known: Known | None) -> int:
    """Return the preference for a session: 1 for a known store, 2 for the known program, 3 if none is known, else 4."""
    if known is None:
        return _FIRST
    if not set(known.stores).isdisjoint(offer.stores):
        return _STORE
    return _PROGRAM if offer.program == known.program else _OTHER


def choose(offers: Collection[Offer], known: Known | None, current: int, waited: float) -> Offer | None:
    """Return the session for a lane, of those whose programs take it; None while the lane waits.

    ``offers`` are in the order of their programs' first hellos: of several with a known store it is the last one, since
    a store is in one place, and the program that had it before may be dead. ``current`` is the route of the lane's
    session, 0 for none: the lane keeps it unless another is preferred. ``waited`` is how many seconds only programs
    other than the known one were there.
    """
    if not offers:
        return None
    latest = [*reversed([*offers])]  # of two with one program number, too, the older one may be dead
    for offer in latest:
        if rank(offer, known) == _STORE:
            return offer
    best = min(latest, key=lambda offer: (rank(offer, known), offer.program))
    taken = next((offer for offer in offers if offer.route == current), None)
    if taken is not None and (rank(best, known) == _OTHER or rank(taken, known) <= rank(best, known)):
        return taken
    return best if rank(best, known) < _OTHER or waited >= PATIENCE else None


class Stopwatch:
    """Sums up the seconds during which it was running. Times are seconds of one clock that does not go back."""

    __slots__ = ("_before", "_since")

    def __init__(self) -> None:
        self._before = 0.0
        self._since: float | None = None

    def start(self, now: float) -> None:
        """Start or continue. No effect if it is running."""
        if self._since is None:
            self._since = now

    def stop(self, now: float) -> None:
        """Stop, keeping the sum. No effect if it is not running."""
        if self._since is not None:
            self._before += now - self._since
            self._since = None

    def reset(self) -> None:
        """Stop, and set the sum to 0."""
        self._before, self._since = 0.0, None

    def seconds(self, now: float) -> float:
        """Return the sum at ``now``."""
        return self._before + (0.0 if self._since is None else now - self._since)

    def due(self, seconds: float) -> float:
        """Return when the sum reaches ``seconds``; infinity while it is stopped."""
        return float("inf") if self._since is None else self._since + seconds - self._before


class Search:
    """One lane's search for a session, over several connections of its peer."""

    __slots__ = ("_alone", "_others", "reported")

    def __init__(self) -> None:
        self._others = Stopwatch()  # how long only programs other than the known one were there
        self._alone = Stopwatch()  # how long the peer was connected without a program that takes the lane
        self.reported = False
        """Whether it was logged that no program takes the lane."""

    def choose(self, offers: Collection[Offer], known: Known | None, current: int, now: float) -> Offer | None:
        """Return the session for the lane of a connected peer; see the function `choose`."""
        if not offers:
            self._others.stop(now)
            self._alone.start(now)
            return None
        self._alone.reset()
        self.reported = False
        if known is None or any(rank(offer, known) < _OTHER for offer in offers):
            self._others.reset()
        else:
            self._others.start(now)
        found = choose(offers, known, current, self._others.seconds(now))
        if found is not None:
            self._others.reset()
        return found

    def pause(self, now: float) -> None:
        """Stop counting seconds: the peer has disconnected."""
        self._others.stop(now)
        self._alone.stop(now)

    def is_alone(self, now: float, seconds: float) -> bool:
        """Return whether the peer was connected for ``seconds`` without a program that takes the lane."""
        return self._alone.seconds(now) >= seconds

    def due(self, seconds: float) -> float:
        """Return when `choose` or `is_alone`, with these ``seconds``, may have a new result; infinity for never."""
        return min(self._others.due(PATIENCE), float("inf") if self.reported else self._alone.due(seconds))
