"""Sending what is too long for one message: in fragments, no more of them under way than the peer puts together."""

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
"""Called with the bytes that the transport has accepted so far, and the bytes in all."""

_AT_ONCE: Final = 4  # transfers to one peer, so that a large one does not keep the others waiting to its end
_REMEMBERED: Final = 64  # transfers of which a failure that comes late still finds its sender


class _OutgoingTransfer:
    __slots__ = ("error", "failed", "over")

    def __init__(self, failed: Callable[[Failure], object] | None) -> None:
        self.failed = failed
        self.error: Exception | None = None  # what its sender is to raise
        self.over = False  # refused or given up

    def fail(self, error: Exception) -> None:
        """Have its sender raise ``error``."""
        if not self.over:
            self.over, self.error = True, error

    def take(self) -> Exception:
        """Return the error, which nobody else keeps then: its traceback holds the payload."""
        error, self.error = self.error, None
        return error or ConnectionClosed("given up")


class FragmentSender:
    """The fragmented payloads that go to one program of a peer.

    Together they are never larger than ``most``, the largest payload the peer puts together: a sender that stays below
    it is within the peer's limits. None, and it takes no fragments.
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
        """Whether something is being sent, or waits for its turn."""
        return bool(self._count or self._turns)

    async def send(
        self,
        payload: bytes,
        *,
        progress: Progress | None = None,
        failed: Callable[[Failure], object] | None = None,
    ) -> None:
        """Send a payload in fragments; waits for others that are under way, and while the peer's queue is full.

        ``failed`` is called if the peer refuses it, also when it says so after the last piece was sent. Raises
        `NotSupported`, `QuotaExceeded` (``assembles``), `RemoteFailure` if it is refused meanwhile, and what the
        transport raises. Cancelled, or with an error of ``progress``, the peer is told to forget it.
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
            link.check()  # the peer may have come back: its transfers are none of ours
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
        """Take the peer's refusal of a transfer; False if it is of none."""
        transfer = self._transfers.get(failure.id)
        if transfer is None or transfer.over:
            return False
        transfer.fail(RemoteFailure(failure.text, code=failure.code))
        if transfer.failed is not None:
            transfer.failed(failure)
        return True

    def give_up(self, error: Exception) -> None:
        """Send no more of what is under way: the peer's process is another, which has not seen the beginning."""
        for transfer in self._transfers.values():
            transfer.fail(error)

    def close(self) -> None:
        """Let go: the connection has ended, and everything was given up."""
        self._turns.close()
        self._transfers.clear()

    def _remember(self, number: int, failed: Callable[[Failure], object] | None) -> _OutgoingTransfer:
        self._transfers[number] = transfer = _OutgoingTransfer(failed)
        self._transfers.pop(number - _REMEMBERED, None)
        return transfer

    def _has_room(self, total: int) -> bool:
        return not self._flying or (self._count < _AT_ONCE and self._flying + total <= (self.most or 0))
