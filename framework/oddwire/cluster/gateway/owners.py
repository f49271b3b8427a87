"""Which worker may send for each partition: the one with the highest term that was seen. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from oddwire.transports.nats.packing import Accepted

__all__ = ["Owner", "Owners", "Refused"]

_MOST_HANDLED: Final = 10_000  # connections


class Refused(Exception):
    """A worker's request is refused: a code of the wire format, and a text for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Owner:
    """The owner of one partition in this run, and the last batch that it sent."""

    __slots__ = ("answer", "batch", "handled", "term", "welcome")

    def __init__(self, term: int) -> None:
        self.term = term
        self.batch = 0
        self.answer = Accepted()
        self.handled: Sequence[Any] = ()
        """What its predecessor had handled of the messages that it left in the stream."""
        self.welcome: Any = None
        """What it was answered when it became the owner, for a request that is sent again."""


class Owners:
    """The owners by partition. Terms are remembered for longer than runs."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self._highest = [0] * partitions
        self._owners: list[Owner | None] = [None] * partitions
        self._left: list[Sequence[Any]] = [()] * partitions

    def begin(self) -> None:
        """Begin a run: nobody is an owner."""
        self._owners = [None] * self.partitions

    def check_partition(self, partition: Any) -> int:
        """Return the partition if there is one of that number. Raises `Refused`."""
        if type(partition) is not int or not 0 <= partition < self.partitions:
            raise Refused("partition", f"there are partitions 0 to {self.partitions - 1}, not {partition!r:.40}")
        return partition

    def saw(self, partition: int, term: int) -> None:
        """Note the highest term that there is, as the log says: also one lower than before, of a log that is new."""
        self._highest[partition] = term

    def has(self, partition: int, term: int) -> bool:
        """Return whether the owner has this term."""
        owner = self._owners[partition]
        return owner is not None and owner.term == term

    def take(self, partition: int, term: int) -> tuple[Owner, bool]:
        """Return the owner with this term, and whether it is a new one. Raises `Refused` for a lower term."""
        if term < self._highest[partition]:
            raise Refused("stale", f"partition {partition} has an owner of term {self._highest[partition]}, not {term}")
        owner = self._owners[partition]
        if owner is not None and owner.term == term:
            return owner, False
        self._highest[partition] = term
        owner = self._owners[partition] = Owner(term)
        owner.handled = self._left[partition]  # which stays true for whoever comes after this one
        return owner, True

    def check(self, partition: Any, term: Any) -> Owner:
        """Return the owner, if it has this term. Raises `Refused`."""
        owner = self._owners[self.check_partition(partition)]
        if owner is None:
            raise Refused("run", f"partition {partition} has no owner yet in this run")
        if owner.term != term:
            raise Refused("stale", f"partition {partition} has an owner of term {owner.term}, not {term!r:.40}")
        return owner

    def release(self, partition: int, handled: Any) -> None:
        """Forget the owner, and keep for the next one what it says it has ``handled``. Raises `Refused`."""
        self.leave(partition, handled)
        self._owners[partition] = None

    def leave(self, partition: int, handled: Any) -> None:
        """Keep for the next owner, in place of what was kept, what this one has ``handled``. Raises `Refused`."""
        if not isinstance(handled, list) or len(handled) > _MOST_HANDLED:
            raise Refused("malformed", f"'handled' is a list of at most {_MOST_HANDLED}")
        for each in handled:
            if not isinstance(each, list) or [type(number) for number in each] != [int, int, int]:
                raise Refused("malformed", "what is handled is a run, a connection and the number of a payload")
        self._left[partition] = handled
