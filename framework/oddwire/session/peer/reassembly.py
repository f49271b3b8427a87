"""Payloads too long for one message: split into fragments, and reassembled.

Pieces may come in any order and more than once. Memory is used for the pieces received, not for the announced length,
and reassembling a payload is one join.
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
"""Bytes in the largest piece: a message of 65535 bytes less a fragment's header."""
PIECE_WEIGHT: Final = 128
"""Bytes counted for a waiting piece in addition to its content: about the memory of its objects."""
STANDSTILL: Final = 5.0
"""Seconds without a new piece after which a transfer may be evicted, if the budget is used up."""

# Session protocol, Fragments: where the payload inside begins, for the kinds of frames that hold one.
_INNER: Final[Mapping[int, int]] = {FrameType.REQUEST: 27, FrameType.REPLY: 24, FrameType.DATA: 47}
_ENVELOPE: Final = 1024
"""Max bytes of a frame besides its content: its header, and its TLV records if there are any."""


def split(route: int, payload: bytes, size: int, transfer: int) -> Iterator[bytes]:
    """Return an iterator over the fragments of ``payload``, encoded one by one as the iterator advances.

    ``route`` are the addresses of the fragments, and of the payload if it is a frame. All pieces have ``size`` bytes,
    except for the last, which has the rest. Raises `ValueError` at once for a size that is not `MIN_PIECE` to
    `MAX_PIECE`, or not less than the payload's length.
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
    """The bytes of the waiting pieces of all peers; at most ``limit``, that is `Limits.total_reassembly_bytes`.

    It is not first come, first served, as anybody can make node ids: once it is used up, room for a piece is made by
    evicting a transfer of the peer that holds the most bytes, over all its programs, if those are more than the peer of
    the piece would hold then; else by evicting the stalest transfer, if that had no new piece for `STANDSTILL` seconds.
    """

    __slots__ = ("_holders", "held", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._holders: set[Reassembler] = set()

    def take(self, assembler: Reassembler, weight: int, now: float) -> None:
        """Count the bytes of a piece for its peer. Raises `QuotaExceeded` if there is no room and none can be made."""
        while self.held + weight > self.limit:
            if not self._make_room(assembler, weight, now):
                text = f"more than {self.limit} bytes of all peers wait for the rest of their payloads"
                raise QuotaExceeded(text, limit="total_reassembly_bytes")
        self.held += weight
        self._holders.add(assembler)

    def give_back(self, assembler: Reassembler, weight: int) -> None:
        """Release bytes; ``assembler.held`` has to be reduced before."""
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
    """The number and bytes of a peer's transfers under way, of all or of one extension, within their limits."""

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
        """Count a new transfer of ``total`` bytes. Raises `QuotaExceeded`."""
        if self.promised + total > self._most_bytes:
            text = f"{total} bytes beside {self.promised} under way; at most {self._most_bytes} at once"
            raise self.error("reassembly_bytes", text)
        if self.transfers >= self._most_transfers:
            raise self.error("transfers", f"more than {self._most_transfers} transfers at once")
        self.transfers += 1
        self.promised += total

    def remove(self, total: int) -> None:
        """Remove a transfer of ``total`` bytes from the count."""
        self.transfers -= 1
        self.promised -= total

    def error(self, limit: str, text: str) -> QuotaExceeded:
        """Return the error for a transfer that exceeds a limit: the extension's if that is the stricter one."""
        if self._allowance is not None and self._allowance.is_stricter(limit, self._limits):
            return self._allowance.error(limit, text)
        return QuotaExceeded(text, limit=limit)


class ReassemblyGroup:
    """The programs of one peer, whose bytes in the budget and transfers of an extension are counted together."""

    __slots__ = ("tallies",)

    def __init__(self) -> None:
        self.tallies: dict[str, _Tally] = {}  # by extension of ours, so their number is bounded


class _IncomingTransfer:
    """A payload being reassembled: ``pieces`` up to the first that is missing, ``ahead`` those after it."""

    __slots__ = ("ahead", "count", "held", "pieces", "size", "tally", "total", "touched")

    def __init__(self, total: int, size: int, tally: _Tally) -> None:
        self.tally = tally  # the peer's; its extension's after the first piece, if the extension has limits
        self.total = total
        self.size = size
        self.count = -(-total // size)
        self.pieces: list[Buffer] = []
        self.ahead: dict[int, Buffer] = {}
        self.held = 0
        self.touched = 0.0


class Reassembler:
    """Reassembles the fragmented payloads of one program of a peer; a new one is created for each session.

    ``max_size_of(type_id)`` returns the max size in bytes of a message of a type, 0 for a type without a handler: a
    payload that is longer fails when its first piece comes. ``allowance_of(type_id)`` returns the limits of the type's
    extension, None if it has none of its own: once its first piece has come, a payload counts for its extension too.

    ``evicted(transfer, error)`` is called when a transfer fails to make room for those of other peers; while
    ``crowded()`` returns True, new transfers are refused. ``title_of(type_id)`` returns a type's name for errors.
    ``group`` is that of the peer.
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
        """Bytes of the waiting pieces, plus `PIECE_WEIGHT` per piece."""
        self.ignored = 0
        """Pieces that were received before, or belong to a transfer that has ended."""
        self.patience = limits.transfer_seconds
        """Min seconds without a new piece after which `expire` fails a transfer."""

    def __len__(self) -> int:
        """Return the number of transfers under way."""
        return len(self._transfers)

    @property
    def promised(self) -> int:
        """The announced bytes of all transfers under way; at most ``limits.reassembly_bytes``."""
        return self._all.promised

    def push(self, fragment: Fragment, now: float, addresses: Buffer) -> bytes | None:
        """Add a piece. Return the whole payload if it was the last missing piece, else None.

        ``now`` is in seconds of any clock that does not go back. ``addresses`` are the 8 address bytes of the fragment,
        which the payload must have too if it is a frame. Raises `MalformedMessage` for a piece that breaks a rule or
        does not fit its transfer, and `QuotaExceeded` with ``limit`` ``transfers``, ``reassembly_bytes``,
        ``total_reassembly_bytes``, ``total_message_bytes`` or ``max_size``, and with ``extension`` if the limit is an
        extension's. The transfer has failed then, and its further pieces are ignored.
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
        """Drop a transfer that its sender cancelled, and ignore further pieces. Return whether it was under way."""
        known = transfer in self._transfers
        self._end(transfer)
        return known

    def fail(self, transfer: int) -> bool:
        """End a transfer of which a malformed piece came. Return False if it had ended already."""
        if transfer not in self._transfers and transfer <= self._highest:
            self.ignored += 1
            return False
        self._highest = max(self._highest, transfer)
        self._end(transfer)
        return True

    @property
    def deadline(self) -> float | None:
        """The earliest time at which `expire` may fail a transfer, None if none is under way."""
        return min((transfer.touched + transfer.tally.seconds for transfer in self._transfers.values()), default=None)

    def expire(self, now: float) -> list[tuple[int, QuotaExceeded]]:
        """End the transfers without a new piece for ``transfer_seconds``. Return their numbers, each with an error."""
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
        """When the last piece of the stalest transfer came, of those that hold pieces; infinity without any."""
        return min((transfer.touched for transfer in self._transfers.values() if transfer.held), default=math.inf)

    def evict(self) -> None:
        """End the transfer that has waited longest for a piece, to make room for other peers; call ``evicted``.

        Raises `ValueError` if no transfer holds pieces.
        """
        number = min(
            (number for number, transfer in self._transfers.items() if transfer.held),
            key=lambda number: self._transfers[number].touched,
        )
        self._end(number)
        text = f"{self._budget.limit} bytes of all peers wait for the rest of their payloads: others need the room"
        self._evicted(number, QuotaExceeded(text, limit="total_reassembly_bytes"))

    def clear(self) -> None:
        """Drop all transfers: the session has ended."""
        for number in list(self._transfers):
            self._end(number)
        self._highest = -1

    def _begin(self, fragment: Fragment) -> _IncomingTransfer | None:
        """Start a transfer with the first of its pieces to come. Return None if the transfer has ended already."""
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
        """Check a payload by its first piece, which shows its type: addresses, max size, its extension's limits."""
        total = transfer.total
        type_id, spare = int.from_bytes(content[:2], "big"), 0
        if type_id == SESSION_TYPE:
            kind = content[2]
            if kind == FrameType.FRAGMENT:
                raise MalformedMessage("a fragment is made of fragments", type_id=SESSION_TYPE)
            if content[3:11] != addresses:
                found = f"{content[3:11].hex()}, not {addresses.hex()}"
                raise MalformedMessage(f"frame has other addresses than its fragments: {found}", type_id=SESSION_TYPE)
            if kind not in _INNER:
                return
            inner = _INNER[kind]
            type_id, spare = int.from_bytes(content[inner : inner + 2], "big"), _ENVELOPE
        most = self._max_size_of(type_id)
        if total > most + spare:
            title = self._title_of(type_id)
            text = f"{title} has at most {most} bytes" if most else f"no extension handles {title}"
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
    """Make the allocator keep up to 32 MiB of freed memory for the next large payloads.

    glibc returns freed memory to the kernel, which clears it, page by page, before the next payload can use it: that
    can take longer than everything else. glibc keeps up to twice the size of the largest block that it has mapped and
    returned before; the block here is never touched, so it takes no memory itself.
    """
    bytes(16 << 20)


def _malformed(fragment: Fragment, text: str) -> MalformedMessage:
    return MalformedMessage(f"piece {fragment.piece} of transfer {fragment.transfer} {text}", type_id=SESSION_TYPE)
