"""Reading a partition's log: entries in a chain, put together to what took effect."""

from __future__ import annotations

from typing import Final, NamedTuple

from oddwire.cluster.log.entries import START, ChainBroken, Entry, Kind, Link, follow
from oddwire.cluster.log.subject import Message
from oddwire.errors import StoreError

__all__ = ["Done", "LogReader", "damaged"]


class Done(NamedTuple):
    """Something that took effect: ``sequence`` and ``link`` are those of its last entry, ``body`` is that of all."""

    kind: Kind
    term: int
    sequence: int
    link: Link
    body: bytes


class LogReader:
    """Puts entries together that are read in order, from behind ``after``; None is wherever the log begins.

    ``term`` is that of the owner at that place, 0 if it is not known. ``name`` is the log's, for errors.
    """

    def __init__(self, name: str, after: Link | None = None, *, term: int = 0) -> None:
        self.name = name
        self.first: Link | None = None
        """The place before the first entry that was read."""
        self._after = after
        self._term = term
        self._parts: list[Entry] = []

    def take(self, message: Message) -> Done | None:
        """Take the next message, and return what took effect by it, if anything did.

        Raises `StoreError` with reason ``corrupt`` if the message is damaged or does not follow on the one before.
        """
        try:
            entry = follow(self._after, message.data)
            if self.first is None:
                self.first = Link(entry.number - 1, entry.previous)
                if not entry.number or (entry.number == 1 and entry.previous != START.digest):
                    raise ChainBroken("it should be the first, and names one before it")
            self._after = entry.link
            if entry.kind is Kind.FENCE:
                self._parts.clear()  # their rest never came: they did not take effect
                self._term = message.sequence
                return Done(entry.kind, self._term, message.sequence, entry.link, entry.body)
            if entry.term != (self._term or entry.term):
                raise ChainBroken(f"it is of term {entry.term}, in term {self._term}")
            if self._parts and self._parts[-1].kind is not entry.kind:
                raise ChainBroken(f"it is of kind {entry.kind.name}, where {self._parts[-1].kind.name} should go on")
        except ChainBroken as error:
            raise damaged(self.name, message.sequence, str(error)) from error
        self._term = entry.term
        self._parts.append(entry)
        if entry.more:
            return None
        parts, self._parts = self._parts, []
        body = b"".join(part.body for part in parts)
        return Done(entry.kind, entry.term, message.sequence, entry.link, body)


_REMEDY: Final = "the log is not believed any more; restore the broker's stream from a backup, or purge this subject"


def damaged(name: str, sequence: int, what: str) -> StoreError:
    """Return the error for a message of the log that cannot be believed."""
    return StoreError(f"message {sequence} of {name}: {what}; {_REMEDY}", path=name, reason="corrupt")
