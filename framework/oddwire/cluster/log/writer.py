"""Writing a partition's log: its owner's entries, each behind the last one, or none."""

from __future__ import annotations

import asyncio
import os

from oddwire.cluster.log.entries import OVERHEAD, START, ChainBroken, Kind, Link, encode, follow
from oddwire.cluster.log.reading import damaged
from oddwire.cluster.log.subject import LogPlace, Overtaken, append_once, when_there
from oddwire.errors import StoreError
from oddwire.printable import printable
from oddwire.transports.nats.errors import NO_STREAM, BrokerRefused

__all__ = ["LogWriter"]


class LogWriter:
    """Appends to a log for one owner; made by `take`."""

    def __init__(self, place: LogPlace, sequence: int, link: Link) -> None:
        self._place = place
        self._order = asyncio.Lock()
        self.term = sequence
        """The owner's term: the sequence of its fence."""
        self.sequence = sequence
        """That of the last entry."""
        self.link = link
        """The last entry's place in the chain."""

    @classmethod
    async def take(cls, place: LogPlace, owner: str) -> LogWriter:
        """Become the log's owner: append a fence, behind which nobody else's entries are taken.

        Waits for a broker. Raises `StoreError`: ``fenced`` if another was quicker, ``corrupt`` if the last is damaged,
        ``io`` if the broker refuses.
        """
        log = place.log
        try:
            last = await when_there(log.last)
        except BrokerRefused as error:
            text = f"{log.name} cannot be read: {error}"
            if error.code == NO_STREAM:
                text += "; the stores in it are lost, and the node's gateway begins them anew when it is restarted"
            raise StoreError(text, path=log.name, reason="io") from error
        expected, link = 0, START
        if last is not None:
            try:
                expected, link = last.sequence, follow(None, last.data).link
            except ChainBroken as error:
                raise damaged(log.name, last.sequence, str(error)) from error
        data, link = encode(Kind.FENCE, 0, link, os.urandom(16) + owner.encode())
        try:
            return cls(place, await append_once(log, data, expected), link)
        except Overtaken as error:
            raise _fenced(log.name, error) from error
        except BrokerRefused as error:
            raise StoreError(f"{log.name} takes no entry: {error}", path=log.name, reason="io") from error

    async def append(self, kind: Kind, body: bytes) -> tuple[int, Link]:
        """Append an entry, or several if it is long. Return sequence and place of the last one.

        Waits for a broker as long as it takes. Raises `StoreError`: ``fenced`` if another owner has the log, and
        ``io`` if the broker refuses.
        """
        log, most = self._place.log, self._place.max_message - OVERHEAD
        async with self._order:
            for start in range(0, len(body) or 1, most):
                part = body[start : start + most]
                data, link = encode(kind, self.term, self.link, part, more=start + most < len(body))
                try:
                    self.sequence = await append_once(log, data, self.sequence)
                except Overtaken as error:
                    raise _fenced(log.name, error) from error
                except BrokerRefused as error:
                    raise StoreError(f"{log.name} takes no entry: {error}", path=log.name, reason="io") from error
                self.link = link
            return self.sequence, self.link


def _fenced(name: str, error: Overtaken) -> StoreError:
    who = "another program"
    if error.message is None:
        return StoreError(f"{name} has lost its last entries; was its stream purged?", path=name, reason="fenced")
    try:
        entry = follow(None, error.message.data)
        if entry.kind is Kind.FENCE:
            who = f"{printable(entry.body[16:].decode(errors='replace')) or who}, term {error.message.sequence},"
        else:
            who = f"the owner of term {entry.term}"
    except ChainBroken:
        who = "something that is no entry"
    return StoreError(f"{name}: {who} has written here, so our entry was refused", path=name, reason="fenced")
