"""Payloads too long for one message: cut into fragments, and put together again.

Pieces may come in any order and more than once. Memory is spent on what has come, not on what is announced, and putting
a payload together costs one join.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Final

from oddwire.durations import duration
from oddwire.errors import MalformedMessage, QuotaExceeded
from oddwire.proto.primitives import MAX_MESSAGE, Buffer
from oddwire.session.constants import SESSION_TYPE
from oddwire.session.limits import Allowance, Limits
from oddwire.session.wire.frame_types import FRAGMENT_OVERHEAD, MIN_PIECE, Fragment, FrameType
from oddwire.session.wire.frames import encode_fragment

__all__ = ["MAX_PIECE", "PIECE_WEIGHT", "STANDSTILL", "Reassembler", "ReassemblyBudget", "ReassemblyGroup", "split"]

MAX_PIECE: Final = MAX_MESSAGE - FRAGMENT_OVERHEAD
"""Bytes in the largest piece: what a message holds beside a fragment's header."""
PIECE_WEIGHT: Final = 128
"""What a piece that waits is counted for beside its bytes: about what its objects take."""
STANDSTILL: Final = 5.0
"""Seconds without a new piece after which a transfer makes room for others, if there is none left."""

# Session protocol, Fragments: where the payload inside begins, for the kinds of frames that hold one.
_INNER: Final[Mapping[int, int]] = {FrameType.REQUEST: 27, FrameType.REPLY: 24, FrameType.DATA: 47}
_ENVELOPE: Final = 1024
"""Bytes around a payload in a frame, at most: its header, and its TLV records if there are any."""


def split(route: int, payload: bytes, size: int, transfer: int) -> Iterator[bytes]:
    """Yield the fragments of ``payload`` as payloads of their own, each made when it is asked for.

    ``route`` has the addresses of the fragments, and of the payload if that is a frame. All pieces have ``size`` bytes,
    but for the last, which has what is left. Raises `ValueError` for a size that is not
    `MIN_PIECE` to `MAX_PIECE`, or for a payload that needs no cutting.
    """
    total = len(payload)
    if not MIN_PIECE <= size <= MAX_PIECE or size >= total:
        text = f"{MIN_PIECE} to {MAX_PIECE} bytes, and fewer than the payload's {total}"
        raise ValueError(f"a piece should have {text}, not {size}")
    _keep_memory()
    view = memoryview(payload)
    return (
        encode_fragment(route, transfer, total, size, piece, view[start : start + size])
        for piece, start in enumerate(range(0, total, size))
    )


class ReassemblyBudget:
    """What the pieces of all peers take together, in bytes; ``limit`` is `Limits.total_reassembly_bytes`.

    It is not first come, first served, as node ids are free to make: when it is used up, who needs room takes it from
    the peer that has the most, all its programs together, if that is more than its own would be then, else from a
    transfer that stands still.
    """

    __slots__ = ("_holders", "held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._holders: set[Reassembler] = set()

    def take(self, assembler: Reassembler, weight: int, now: float) -> None:
        """Count bytes of a piece for its peer. Raises `QuotaExceeded` if there is no room, nor any to be made."""
        while self.held + weight > self.limit:
            if not self._make_room(assembler, weight, now):
                text = f"more than {self.limit} bytes of all peers wait for the rest of their payloads"
                raise QuotaExceeded(text, limit="total_reassembly_bytes")
        self.held += weight
        self._holders.add(assembler)

    def give_back(self, assembler: Reassembler, weight: int) -> None:
        """Count them no more; ``assembler`` has taken them off what it holds itself."""
        self.held -= weight
        if not assembler.held:
            self._holders.discard(assembler)

    def _make_room(self, assembler: Reassembler, weight: int, now: float) -> bool:
        others = [other for other in self._holders if other.group is not assembler.group]
        if not others:
            return False
        held: dict[ReassemblyGroup, int] = {}
        for holder in self._holders:
            held[holder.group] = held.get(holder.group, 0) + holder.held
        most = max((other.group for other in others), key=held.__getitem__)
        if held[most] > held.get(assembler.group, 0) + weight:
            max((other for other in others if other.group is most), key=lambda other: other.held).evict()
            return True
        stalest = min(others, key=lambda other: other.stalest)
        if stalest.stalest + STANDSTILL > now:
            return False
        stalest.evict()
        return True


class _Tally:
    """The transfers under way of a peer, or those among them that are one extension's: no more than there may be."""

    __slots__ = ("_allowance", "_limits", "_most_bytes", "_most_transfers", "promised", "seconds", "transfers")

    def __init__(self, limits: Limits, allowance: Allowance | None = None) -> None:
        self._limits = limits
        self._allowance = allowance
        self._most_transfers: float = limits.transfers
        self._most_bytes: float = limits.reassembly_bytes
        self.seconds = limits.transfer_seconds
        if allowance is not None:
            self._most_transfers = allowance.most("transfers")
            self._most_bytes = allowance.most("reassembly_bytes")
            self.seconds = min(self.seconds, allowance.most("transfer_seconds"))
        self.transfers = 0
        self.promised = 0

    def add(self, total: int) -> None:
        """Count one more transfer. Raises `QuotaExceeded`."""
        if self.promised + total > self._most_bytes:
            text = f"{total} bytes beside {self.promised} under way; at most {self._most_bytes} at once"
            raise self.error("reassembly_bytes", text)
        if self.transfers >= self._most_transfers:
            raise self.error("transfers", f"more than {self._most_transfers} transfers at once")
        self.transfers += 1
        self.promised += total

    def remove(self, total: int) -> None:
        """Count one less."""
        self.transfers -= 1
        self.promised -= total

    def error(self, limit: str, text: str) -> QuotaExceeded:
        """Return the error for a transfer that has reached a limit, whosever it is."""
        if self._allowance is not None and self._allowance.is_stricter(limit, self._limits):
            return self._allowance.error(limit, text)
        return QuotaExceeded(text, limit=limit)


class ReassemblyGroup:
    """The programs of one peer: what they have of all there is, and of an extension, counts together."""

    __slots__ = ("tallies",)

    def __init__(self) -> None:
        self.tallies: dict[str, _Tally] = {}  # by extension; there are never more of them


class _IncomingTransfer:
    """A payload being put together: its pieces up to the first that is missing, and those beyond."""

    __slots__ = ("ahead", "count", "held", "pieces", "size", "tally", "total", "touched")

    def __init__(self, total: int, size: int, tally: _Tally) -> None:
        self.tally = tally  # its extension's, once its first piece has shown whose it is, if that has limits
        self.total = total
        self.size = size
        self.count = -(-total // size)
        self.pieces: list[Buffer] = []
        self.ahead: dict[int, Buffer] = {}
        self.held = 0
        self.touched = 0.0


class Reassembler:
    """Puts the fragmented payloads of a program behind a peer together; made anew with each session.

    ``max_size_of(type_id)`` says how long a message of a type may be, 0 for one that nobody takes: a payload that is
    too long fails with its first piece. ``allowance_of(type_id)`` gives what an extension allows for its messages, None
    for one that has no limits of its own: from its first piece on, a payload counts for its extension too.
    ``evicted(transfer, error)`` is called when one is given up to make room for those of other peers; while
    ``crowded()`` none begins. ``group`` is that of the peer.
    """

    def __init__(
        self,
        limits: Limits,
        max_size_of: Callable[[int], int],
        budget: ReassemblyBudget,
        allowance_of: Callable[[int], Allowance | None] = lambda _: None,
        evicted: Callable[[int, QuotaExceeded], object] = lambda *_: None,
        title_of: Callable[[int], str] = "type {:#06x}".format,
        crowded: Callable[[], bool] = lambda: False,
        group: ReassemblyGroup | None = None,
    ) -> None:
        self.group = ReassemblyGroup() if group is None else group
        self._limits = limits
        self._max_size_of = max_size_of
        self._allowance_of = allowance_of
        self._evicted = evicted
        self._crowded = crowded
        self._title_of = title_of
        self._budget = budget
        self._all = _Tally(limits)
        self._transfers: dict[int, _IncomingTransfer] = {}
        self._highest = -1
        self.held = 0
        """Bytes of the pieces that wait, each counted with `PIECE_WEIGHT`."""
        self.ignored = 0
        """Pieces that came twice, or for a transfer that had ended."""
        self.patience = limits.transfer_seconds
        """Seconds without a new piece after which, at the earliest, `expire` gives a transfer up."""

    def __len__(self) -> int:
        """Return the number of transfers under way."""
        return len(self._transfers)

    @property
    def promised(self) -> int:
        """Bytes of all payloads under way, in full; at most ``limits.reassembly_bytes``."""
        return self._all.promised

    def push(self, fragment: Fragment, now: float, addresses: Buffer) -> bytes | None:
        """Take one piece; give the whole payload if it was the last one missing, else None.

        ``now`` is in seconds, of any clock that does not go back; ``addresses`` are the fragment's, in the 8 bytes that
        it has them in: a frame that it is a piece of has the same. Raises `MalformedMessage` for a piece that fits
        neither itself nor its transfer, and `QuotaExceeded` with ``limit`` ``transfers``, ``reassembly_bytes``,
        ``total_reassembly_bytes`` or ``max_size``, and ``extension`` if the limit is an extension's: the transfer has
        failed then, and what still comes of it is ignored.
        """
        transfer = self._transfers.get(fragment.transfer)
        try:
            if transfer is None:
                transfer = self._begin(fragment)
                if transfer is None:
                    self.ignored += 1
                    return None
            elif fragment.total != transfer.total or fragment.size != transfer.size:
                text = f"{transfer.total} bytes in pieces of {transfer.size}"
                raise _malformed(fragment, f"should be of {text}, as before, not {fragment.total} of {fragment.size}")
            return self._add(transfer, fragment, now, addresses)
        except (MalformedMessage, QuotaExceeded):
            self._end(fragment.transfer)
            raise

    def cancel(self, transfer: int) -> bool:
        """Forget a transfer that its sender gave up; what still comes of it is ignored. Tell whether it was there."""
        known = transfer in self._transfers
        self._end(transfer)
        return known

    def fail(self, transfer: int) -> bool:
        """End a transfer of which a piece came that cannot be read; False if it had ended already."""
        if transfer not in self._transfers and transfer <= self._highest:
            self.ignored += 1
            return False
        self._highest = max(self._highest, transfer)
        self._end(transfer)
        return True

    @property
    def deadline(self) -> float | None:
        """When `expire` has something to do at the earliest, None if nothing is under way."""
        return min((transfer.touched + transfer.tally.seconds for transfer in self._transfers.values()), default=None)

    def expire(self, now: float) -> list[tuple[int, QuotaExceeded]]:
        """Give up the transfers of which nothing has come for ``transfer_seconds``; give their ids, and why."""
        expired: list[tuple[int, QuotaExceeded]] = []
        for number, transfer in list(self._transfers.items()):
            tally = transfer.tally
            if transfer.touched + tally.seconds <= now:
                error = tally.error("transfer_seconds", f"no new piece for {duration(tally.seconds)}")
                expired.append((number, error))
                self._end(number)
        return expired

    @property
    def stalest(self) -> float:
        """When the last piece came of the transfer that has waited longest for one; infinity without transfers."""
        return min((transfer.touched for transfer in self._transfers.values() if transfer.held), default=math.inf)

    def evict(self) -> None:
        """Give up the transfer that has waited longest for a piece, to make room for others; tell who sends it."""
        number = min(
            (number for number, transfer in self._transfers.items() if transfer.held),
            key=lambda number: self._transfers[number].touched,
        )
        self._end(number)
        text = f"{self._budget.limit} bytes of all peers wait for the rest of their payloads: others need the room"
        self._evicted(number, QuotaExceeded(text, limit="total_reassembly_bytes"))

    def clear(self) -> None:
        """Forget everything: the session has ended."""
        for number in list(self._transfers):
            self._end(number)
        self._highest = -1

    def _begin(self, fragment: Fragment) -> _IncomingTransfer | None:
        """Start a transfer with whichever of its pieces comes first; None if it has ended already."""
        number, total, size = fragment.transfer, fragment.total, fragment.size
        if number <= self._highest:
            return None
        self._highest = number
        if not MIN_PIECE <= size < total:
            text = f"{MIN_PIECE} bytes or more, and fewer than the payload's {total}"
            raise _malformed(fragment, f"should be of a size of {text}, not {size}")
        if self._crowded():
            text = "there is no room for more messages of this peer before those that came are handled"
            raise QuotaExceeded(text, limit="total_message_bytes")
        self._all.add(total)
        _keep_memory()
        self._transfers[number] = transfer = _IncomingTransfer(total, size, self._all)
        return transfer

    def _add(self, transfer: _IncomingTransfer, fragment: Fragment, now: float, addresses: Buffer) -> bytes | None:
        number, total, size, piece, content = fragment
        count, pieces, ahead = transfer.count, transfer.pieces, transfer.ahead
        if piece >= count:
            raise _malformed(fragment, f"is beyond the last of {count}")
        length = len(content)
        if length != (size if piece < count - 1 else total - size * (count - 1)):
            raise _malformed(fragment, f"should have {min(size, total - size * piece)} bytes, not {length}")
        have = len(pieces)
        if piece < have or piece in ahead:
            self.ignored += 1
            return None
        if piece == 0:
            self._look_inside(transfer, content, addresses)
        if have + len(ahead) + 1 == count:
            ahead[piece] = content
            pieces.extend([ahead[place] for place in range(have, count)])
            self._end(number)
            return b"".join(pieces)
        weight = length + PIECE_WEIGHT
        self._budget.take(self, weight, now)
        self.held += weight
        transfer.held += weight
        transfer.touched = now
        if piece > have:
            ahead[piece] = content
        else:
            pieces.append(content)
            while ahead and (following := ahead.pop(len(pieces), None)) is not None:
                pieces.append(following)
        return None

    def _look_inside(self, transfer: _IncomingTransfer, content: Buffer, addresses: Buffer) -> None:
        """Refuse a payload too long for its type, or for its extension, once its beginning shows which that is."""
        total = transfer.total
        type_id, spare = int.from_bytes(content[:2], "big"), 0
        if type_id == SESSION_TYPE:
            kind = content[2]
            if kind == FrameType.FRAGMENT:
                raise MalformedMessage("a fragment is made of fragments", type_id=SESSION_TYPE)
            if content[3:11] != addresses:
                told = f"{content[3:11].hex()}, not {addresses.hex()}"
                raise MalformedMessage(f"frame has other addresses than its fragments: {told}", type_id=SESSION_TYPE)
            if kind not in _INNER:
                return
            inner = _INNER[kind]
            type_id, spare = int.from_bytes(content[inner : inner + 2], "big"), _ENVELOPE
        most = self._max_size_of(type_id)
        if total > most + spare:
            title = self._title_of(type_id)
            text = f"{title} has at most {most} bytes" if most else f"nobody takes {title}"
            raise QuotaExceeded(f"payload of {total} bytes: {text}", limit="max_size")
        allowance = self._allowance_of(type_id)
        if allowance is not None:
            tally = self.group.tallies.get(allowance.extension)
            if tally is None:
                tally = self.group.tallies[allowance.extension] = _Tally(self._limits, allowance)
            self.patience = min(self.patience, tally.seconds)
            tally.add(total)
            transfer.tally = tally

    def _end(self, number: int) -> None:
        transfer = self._transfers.pop(number, None)
        if transfer is not None:
            self._all.remove(transfer.total)
            if transfer.tally is not self._all:
                transfer.tally.remove(transfer.total)
            self.held -= transfer.held
            self._budget.give_back(self, transfer.held)


@cache
def _keep_memory() -> None:
    """Have the allocator keep what large payloads leave, as the next ones need it again: up to 32 MiB.

    glibc gives free memory back to the kernel, which has to clear it, page by page, before the next payload fills it:
    that can take longer than all else. It keeps twice the size of the largest block that it had from the kernel and
    gave back; this one is never touched, so it costs nothing.
    """
    bytes(16 << 20)


def _malformed(fragment: Fragment, text: str) -> MalformedMessage:
    return MalformedMessage(f"piece {fragment.piece} of transfer {fragment.transfer} {text}", type_id=SESSION_TYPE)
