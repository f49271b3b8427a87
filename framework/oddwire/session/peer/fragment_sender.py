"""Sending payloads longer than 65535 bytes in fragments, no more at once than the peer reassembles."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from oddwire.errors import ConnectionClosed, NotSupported, QuotaExceeded, RemoteFailure
from oddwire.session.peer.fair_queue import FairQueue
from oddwire.session.peer.reassembly import MAX_PIECE, split
from oddwire.session.wire.frame_types import Failure, Scope
from oddwire.session.wire.frames import encode_cancel

if TYPE_CHECKING:
    from oddwire.session.peer.link import Link

__all__ = ["FragmentSender", "Progress"]

Progress = Callable[[int, int], object]
"""Called with the bytes that the transport has accepted so far, and the total bytes of the payload."""

_AT_ONCE: Final = 4  # transfers to one peer, so that others need not wait for the end of a large one
_REMEMBERED: Final = 64  # last transfers whose late failures still reach their sender (protocol, Fragments)


class _OutgoingTransfer:
    __slots__ = ("error", "failed", "over")

    def __init__(self, failed: Callable[[Failure], object] | None) -> None:
        self.failed = failed
        self.error: Exception | None = None  # raised by `FragmentSender.send`
        self.over = False  # it has failed

    def fail(self, error: Exception) -> None:
        """Fail the transfer: `FragmentSender.send` raises ``error`` after the piece that it is sending."""
        if not self.over:
            self.over, self.error = True, error

    def take(self) -> Exception:
        """Return the error and drop the reference to it: its traceback holds the payload."""
        error, self.error = self.error, None
        return error or ConnectionClosed("the transfer was dropped")


class FragmentSender:
    """Sends payloads to one program of a peer in fragments.

    The payloads under way are together at most ``most`` bytes, the max size that the peer reassembles (*assembles* in
    its hello): a sender that stays below it is within the peer's limits. None if the peer takes no fragments.
    """

    __slots__ = ("_count", "_flying", "_link", "_next", "_transfers", "_turns", "most")

    def __init__(self, link: Link, most: int | None) -> None:
        self.most = most
        self._link = link
        self._next = 0
        self._flying = 0  # bytes of the payloads being sent
        self._count = 0
        self._transfers: dict[int, _OutgoingTransfer] = {}
        self._turns = FairQueue(self._has_room)

    @property
    def busy(self) -> bool:
        """Whether a transfer is under way or waits for capacity."""
        return bool(self._count or self._turns)

    async def send(
        self,
        payload: bytes,
        *,
        progress: Progress | None = None,
        failed: Callable[[Failure], object] | None = None,
    ) -> None:
        """Send a payload in fragments; waits for capacity among the transfers, and while the transport's queue is full.

        ``failed`` is called if the peer fails the transfer, even after the last piece was sent. Raises `NotSupported`
        if the peer takes no fragments, `QuotaExceeded` (``assembles``), `RemoteFailure` if the peer fails the transfer
        before its last piece is sent, `ConnectionClosed`, and any error of the transport. If it is cancelled, or
        ``progress`` raises, a `cancel` is sent to the peer.
        """
        link, total = self._link, len(payload)
        if self.most is None:
            raise NotSupported(f"{link.node_id} takes no message of more than 65535 bytes", feature="fragments")
        if total > self.most:
            link.shared.counters.exceeded["assembles"] += 1
            raise QuotaExceeded(
                f"message of {total} bytes; {link.node_id} puts together {self.most} at most", limit="assembles"
            )
        if self._turns or not self._has_room(total):
            await self._turns.wait(link.shared.loop, total)
            link.check()  # the session may have ended meanwhile, and another begun
        self._flying += total
        self._count += 1
        self._turns.next()
        number, self._next = self._next, self._next + 1
        transfer = self._remember(number, failed)
        try:
            sent = 0
            for piece in split(link.route, payload, MAX_PIECE, number):
                await link.shared.transport.send(link.node_id, piece)
                if transfer.over:
                    raise transfer.take()
                if progress is not None:
                    sent = min(sent + MAX_PIECE, total)
                    progress(sent, total)
        except BaseException:
            if not transfer.over:
                link.post(encode_cancel(link.route, Scope.TRANSFER, number))
            raise
        finally:
            self._flying -= total
            self._count -= 1
            self._turns.next()

    def failure(self, failure: Failure) -> bool:
        """Handle a failure frame of scope 2. Return False if it names no transfer of ours that can still fail."""
        transfer = self._transfers.get(failure.id)
        if transfer is None or transfer.over:
            return False
        transfer.fail(RemoteFailure(failure.text, code=failure.code))
        if transfer.failed is not None:
            transfer.failed(failure)
        return True

    def fail_all(self, error: Exception) -> None:
        """Fail all transfers with ``error``: the session has ended, and its pieces are lost."""
        for transfer in self._transfers.values():
            transfer.fail(error)

    def close(self) -> None:
        """Wake all waiting senders and drop all transfers. Call it after `fail_all`, when the session has ended."""
        self._turns.close()
        self._transfers.clear()

    def _remember(self, number: int, failed: Callable[[Failure], object] | None) -> _OutgoingTransfer:
        self._transfers[number] = transfer = _OutgoingTransfer(failed)
        self._transfers.pop(number - _REMEMBERED, None)
        return transfer

    def _has_room(self, total: int) -> bool:
        return not self._flying or (self._count < _AT_ONCE and self._flying + total <= (self.most or 0))
