"""Commands and answers in pieces: cut, and put together again within limits for each peer and for all of them."""

from __future__ import annotations

from typing import Final

from oddwire import NodeId

__all__ = ["MAX_PIECE", "Collector", "TooLong", "split"]

MAX_PIECE: Final = 65000
"""Bytes of JSON in a piece, as lightningd cuts them."""
OF_ONE: Final = 4
"""Commands of one peer of which pieces are missing."""
OVERHEAD: Final = 256
"""Bytes that a command is counted for beside its pieces."""


class TooLong(ValueError):
    """A command that has come whole, and is longer than it may be; its pieces were not kept."""


def split(data: bytes) -> list[bytes]:
    """Return ``data`` in pieces of at most `MAX_PIECE` bytes; one, if it is empty."""
    return [data[start : start + MAX_PIECE] for start in range(0, len(data), MAX_PIECE)] or [b""]


class _Incomplete:
    __slots__ = ("pieces", "since", "size")

    def __init__(self, since: float) -> None:
        self.since = since
        self.size = OVERHEAD
        self.pieces: list[bytes] | None = []
        """What has come; None once that was longer than it may be."""


class Collector:
    """Commands of which pieces are missing.

    Each may have ``longest`` bytes; all of them together ``most_bytes``, and there may be ``most`` of them, and
    `OF_ONE` of one peer: beyond that those that began first are forgotten, and so are all after ``seconds``.
    ``forgotten`` counts them.
    """

    def __init__(self, *, longest: int, most: int, most_bytes: int, seconds: float) -> None:
        self._longest = longest
        self._most = most
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._found: dict[tuple[NodeId, int], _Incomplete] = {}  # in the order in which they began
        self.size = 0
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._found)

    def add(self, peer: NodeId, idnum: int, piece: bytes, now: float) -> bool:
        """Keep a piece of a command of which more come; return whether there was room without forgetting any."""
        self.expire(now)
        forgotten = self.forgotten
        one = self._found.get((peer, idnum))
        if one is None:
            own = [key for key in self._found if key[0] == peer]
            if len(own) >= OF_ONE:
                self._forget(own[0])
            one = self._found[peer, idnum] = _Incomplete(now)
            self.size += one.size
        if one.pieces is not None:
            if one.size - OVERHEAD + len(piece) > self._longest:
                self.size -= one.size - OVERHEAD
                one.size, one.pieces = OVERHEAD, None
            else:
                one.pieces.append(piece)
                one.size += len(piece)
                self.size += len(piece)
        while len(self._found) > self._most or self.size > self._most_bytes:
            self._forget(next(iter(self._found)))
        return self.forgotten == forgotten

    def finish(self, peer: NodeId, idnum: int, piece: bytes, now: float) -> bytes:
        """Return a whole command, whose last piece has come. Raises `TooLong`."""
        self.expire(now)
        one = self._found.pop((peer, idnum), None)
        pieces: list[bytes] | None = []
        if one is not None:
            self.size -= one.size
            pieces = one.pieces
        if pieces is None or sum(map(len, pieces)) + len(piece) > self._longest:
            raise TooLong(f"command is longer than {self._longest} bytes")
        return b"".join((*pieces, piece))

    def expire(self, now: float) -> None:
        """Forget the commands that began too long ago."""
        while self._found:
            key, one = next(iter(self._found.items()))
            if one.since + self._seconds > now:
                return
            self._forget(key)

    def leave(self, peer: NodeId) -> None:
        """Forget the commands of a peer that has disconnected."""
        for key in [key for key in self._found if key[0] == peer]:
            self._forget(key)

    def _forget(self, key: tuple[NodeId, int]) -> None:
        self.size -= self._found.pop(key).size
        self.forgotten += 1
