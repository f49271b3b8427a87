"""Which partitions a worker takes and gives up, and when: rules without I/O. The time is passed in.

`Ownership` is told what is seen, and what has become of what it asked for; `Ownership.decide` says what to do now, and
`Ownership.next_time` when to ask again. Each partition has a `Standing`; `NEXT` has all transitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Final, NamedTuple

from oddwire.cluster.lease_times import TIMES, LeaseTimes
from oddwire.cluster.rendezvous import best

__all__ = ["NEXT", "Action", "Candidate", "Event", "Ownership", "Standing", "Step"]


class Standing(Enum):
    """How a partition stands with this worker."""

    APART = "it is another's, or free"
    TAKING = "its lease is asked for, or held, and its program starts"
    OWNED = "its program runs"
    GIVING = "its program ends in good order, and then its lease"
    LOST = "its lease is lost, and its program is cut off"


class Event(Enum):
    """What changes a standing."""

    TAKE = "it was decided to take it"
    TAKEN = "its program runs"
    FAILED = "it was not to be had, or its program did not start"
    GIVE = "it was decided to give it up"
    LOSE = "its lease is lost"
    ENDED = "its program has ended, and its lease is not held any more"


NEXT: Final[Mapping[tuple[Standing, Event], Standing]] = {
    (Standing.APART, Event.TAKE): Standing.TAKING,
    (Standing.TAKING, Event.TAKEN): Standing.OWNED,
    (Standing.TAKING, Event.FAILED): Standing.APART,
    (Standing.TAKING, Event.GIVE): Standing.GIVING,
    (Standing.TAKING, Event.LOSE): Standing.LOST,
    (Standing.TAKING, Event.ENDED): Standing.APART,
    (Standing.OWNED, Event.GIVE): Standing.GIVING,
    (Standing.OWNED, Event.LOSE): Standing.LOST,
    (Standing.OWNED, Event.FAILED): Standing.APART,
    (Standing.OWNED, Event.ENDED): Standing.APART,
    # What was under way when it was given up comes to its end
    (Standing.GIVING, Event.TAKEN): Standing.GIVING,
    (Standing.GIVING, Event.FAILED): Standing.APART,
    (Standing.GIVING, Event.GIVE): Standing.GIVING,
    (Standing.GIVING, Event.LOSE): Standing.LOST,
    (Standing.GIVING, Event.ENDED): Standing.APART,
    (Standing.LOST, Event.TAKEN): Standing.LOST,
    (Standing.LOST, Event.FAILED): Standing.APART,
    (Standing.LOST, Event.GIVE): Standing.LOST,
    (Standing.LOST, Event.LOSE): Standing.LOST,
    (Standing.LOST, Event.ENDED): Standing.APART,
}
"""Every transition; what is not in it is a mistake of ours, and raises `KeyError`."""


class Step(Enum):
    """What is to be done with a partition."""

    TAKE = "take it"
    GIVE = "give it up"


class Action(NamedTuple):
    """One thing to do, and why, in words for the log."""

    step: Step
    partition: str
    reason: str


class Candidate(NamedTuple):
    """A live worker. ``serves`` says of a partition whether it would take it."""

    id: str
    serves: Callable[[str], bool]


class _Partition:
    __slots__ = ("better_since", "endings", "failures", "free_since", "holder", "not_before", "standing")

    def __init__(self, now: float) -> None:
        self.standing = Standing.APART
        self.holder: str | None = None  # as far as the leases show, our own included
        self.free_since = now
        self.better_since: float | None = None
        self.not_before = now
        self.failures = 0
        self.endings = 0  # of its program, by itself, each soon after it had begun


class Ownership:
    """The partitions that one worker knows of, by their lease's key, and what it does about them."""

    def __init__(self, worker: str, times: LeaseTimes = TIMES) -> None:
        self.worker = worker
        self._times = times
        self._partitions: dict[str, _Partition] = {}
        self._candidates: tuple[Candidate, ...] = ()
        self._ending = False

    # What is seen -----------------------------------------------------------------------------------

    def partitions(self, now: float, keys: Iterable[str]) -> None:
        """Note which partitions there are to take. Those that are not named are only kept until they have ended."""
        wanted = set(keys)
        for key in wanted - self._partitions.keys():
            self._partitions[key] = _Partition(now)
        for key in self._partitions.keys() - wanted:
            if self._partitions[key].standing is Standing.APART:
                del self._partitions[key]

    def workers(self, candidates: Iterable[Candidate]) -> None:
        """Note which workers are alive and take partitions, this one among them if it does."""
        self._candidates = tuple(candidates)

    def held(self, now: float, key: str, holder: str | None) -> None:
        """Note who has a partition's lease; None if nobody has."""
        partition = self._partitions.get(key)
        if partition is not None and partition.standing is Standing.APART and holder == self.worker:
            holder = None  # it was given back just now, or the answer to its taking was lost
        if partition is None or partition.holder == holder:
            return
        partition.holder = holder
        if holder is None:
            partition.free_since = now

    def end(self) -> None:
        """Give up all partitions, and take none any more."""
        self._ending = True

    # What has become of it --------------------------------------------------------------------------

    def on(self, key: str, event: Event) -> None:
        """Note an event of a partition."""
        partition = self._partitions[key]
        partition.standing = NEXT[partition.standing, event]
        if event is Event.TAKEN:
            partition.failures, partition.better_since = 0, None

    def failed(self, now: float, key: str) -> float:
        """Note that a take has failed; return the seconds until it is tried again, each time twice as many."""
        partition = self._partitions[key]
        pause = self._grown(self._times.backoff, partition.failures)
        partition.failures += 1
        partition.not_before = now + pause
        return pause

    def ended(self, now: float, key: str, ran: float) -> float:
        """Note that its program has ended by itself after ``ran`` seconds; return those until it is tried again.

        At once, as a gateway may have begun anew; twice as many each time that it has ended so soon.
        """
        partition = self._partitions[key]
        if ran > self._times.longest:
            partition.endings = 0
        pause = self._grown(self._times.again, partition.endings)
        partition.endings += 1
        partition.not_before = now + pause
        return pause

    def _grown(self, first: float, times: int) -> float:
        return min(first * 2.0 ** min(times, 20), self._times.longest)

    def postponed(self, now: float, key: str, seconds: float) -> None:
        """Note that a partition was not to be had yet, which is no failure."""
        self._partitions[key].not_before = now + seconds

    def standing(self, key: str) -> Standing:
        """Return how a partition stands; `Standing.APART` if it is not known."""
        partition = self._partitions.get(key)
        return Standing.APART if partition is None else partition.standing

    def failing(self, now: float) -> list[str]:
        """Return the partitions that could not be taken when it was last tried, lately: others should have them."""
        return sorted(
            key
            for key, partition in self._partitions.items()
            if partition.failures and now < partition.not_before + self._times.forget
        )

    # What to do -------------------------------------------------------------------------------------

    def decide(self, now: float) -> list[Action]:
        """Return what is to be done now; each standing has changed already when this returns."""
        actions = []
        for key, partition in sorted(self._partitions.items()):
            if partition.standing is Standing.APART:
                reason = self._to_take(now, key, partition)
                step, event = Step.TAKE, Event.TAKE
            elif partition.standing in (Standing.OWNED, Standing.TAKING):
                reason = self._to_give(now, key, partition)
                step, event = Step.GIVE, Event.GIVE
            else:
                continue
            if reason:
                self.on(key, event)
                actions.append(Action(step, key, reason))
        return actions

    def next_time(self, now: float) -> float | None:
        """Return when `decide` may have something new without news; None if never."""
        times = []
        for key, partition in self._partitions.items():
            if partition.standing is Standing.APART and partition.holder is None and not self._ending:
                at = partition.not_before
                if self._best(key) != self.worker:
                    at = max(at, partition.free_since + self._times.free)
                times.append(at)
            elif partition.standing is Standing.OWNED and partition.better_since is not None:
                times.append(partition.better_since + self._times.better)
        return max(now, min(times)) if times else None

    def _best(self, key: str) -> str | None:
        return best(key, (candidate.id for candidate in self._candidates if candidate.serves(key)))

    def _to_take(self, now: float, key: str, partition: _Partition) -> str:
        if self._ending or partition.holder is not None or now < partition.not_before:
            return ""
        if self._best(key) == self.worker:
            return "it is free, and this worker's"
        if now >= partition.free_since + self._times.free:
            return f"it has been free for {self._times.free:g} s"
        return ""

    def _to_give(self, now: float, key: str, partition: _Partition) -> str:
        if self._ending:
            return "the worker ends"
        if partition.standing is not Standing.OWNED:
            return ""
        better = self._best(key)
        if better is None or better == self.worker:
            partition.better_since = None
        elif partition.better_since is None:
            partition.better_since = now
        elif now >= partition.better_since + self._times.better:
            partition.better_since = None
            return f"worker {better} should have it"
        return ""
