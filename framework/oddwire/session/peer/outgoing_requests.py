"""Our requests and streams to one program of a peer, from the caller's await to the frames and back."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Final

from oddwire.durations import duration
from oddwire.errors import RemoteFailure, RemoteProtocolError, ReplyTimeout
from oddwire.session.peer.fair_queue import FairQueue
from oddwire.session.peer.request_tables import SentRequests
from oddwire.session.wire.frame_types import Code, Failure, Reply, ReplyFlag, Scope
from oddwire.session.wire.frames import encode_ack, encode_cancel, encode_request
from oddwire.transports.base import MAX_PAYLOAD, fast_send
from oddwire.transports.host import HostTransport

if TYPE_CHECKING:
    from oddwire.session.peer.link import Link

__all__ = ["OutgoingRequests"]

_NEVER: Final = math.inf
_STREAM: Final = ReplyFlag.PART | ReplyFlag.END


class _OutgoingRequest:
    """One call: it waits for its turn or for the transport while ``task`` is set, afterwards for ``future``."""

    __slots__ = ("_cancelling", "ended", "error", "flying", "future", "limit", "task")

    def __init__(self, future: asyncio.Future[bytes], limit: float | None) -> None:
        self.future = future
        self.limit = limit  # seconds
        self.task: asyncio.Task[object] | None = None
        self.error: Exception | None = None
        self.ended = False  # a stream's end has come
        self.flying = False  # it counts against the requests that the peer handles at once

    def wait(self) -> None:
        """Record the current task, which `fail` cancels if the request fails before it is sent."""
        self.task = task = asyncio.current_task()
        assert task is not None  # noqa: S101 - we are in one; narrows the type for checkers
        self._cancelling = task.cancelling()

    def fail(self, error: Exception) -> None:
        """Fail the call: the caller raises ``error``, that of a stream after it has read the parts received before."""
        if self.error is None:
            self.error = error
        if self.task is not None:
            self.task.cancel()
        elif not self.future.done():
            self.future.set_exception(error)

    def drop(self) -> None:
        """Drop the references to the outcome: the error's traceback refers to the Python frame that holds the call."""
        self.error = None
        del self.future

    def cancelled_by_us(self, task: asyncio.Task[object] | None) -> bool:
        """Return whether `fail` cancelled the caller's task, and uncancel the task then, as `asyncio.timeout` does."""
        return self.error is not None and task is not None and task.uncancel() <= self._cancelling


class OutgoingRequests:
    """Our requests and streams to one program of a peer; created with the first of them.

    ``allowed`` is how many the peer handles at once, by its hello: more wait here for their turn, in order.
    """

    __slots__ = ("_flying", "_is_hosted", "_link", "_loop", "_send_nowait", "_turns", "allowed", "asked")

    def __init__(self, link: Link, allowed: int) -> None:
        self._link = link
        self._loop = link.shared.loop
        self._send_nowait = fast_send(link.shared.transport)
        self._is_hosted = isinstance(link.shared.transport, HostTransport)  # it may send what is cancelled here
        first_id = int.from_bytes(os.urandom(8), "big") >> 1
        shared = link.shared
        self.asked: SentRequests[_OutgoingRequest, bytes] = SentRequests(
            first_id, shared.limits.open_requests, shared.counters
        )
        self.allowed = allowed
        self._flying = 0
        self._turns = FairQueue(lambda _: self._flying < self.allowed)

    # Calling ----------------------------------------------------------------------------------------

    async def ask(
        self, payload: bytes, limit: float | None, sent: Callable[[], object] | None = None, urgent: bool = False
    ) -> bytes:
        """Send a request and return the payload of its reply. ``sent`` is called once the transport has the request.

        ``urgent`` tells the peer that we handle nothing that it sends before it has answered.

        Raises `ReplyTimeout` after ``limit`` seconds, `RemoteFailure`, `RemoteProtocolError`, `ConnectionClosed`,
        `QuotaExceeded` (``open_requests``), and the errors of sending. If it is cancelled or times out, a `cancel` is
        sent to the peer.
        """
        call = _OutgoingRequest(self._loop.create_future(), limit)
        number = self.asked.open(call, _NEVER if limit is None else self._deadline(limit))
        route = self._link.route
        try:
            frame = (
                encode_request(route, number, 0, payload)
                if not urgent
                else encode_request(route, number, 0, payload, None, True)
            )
            if (
                self._turns
                or self._flying >= self.allowed
                or len(frame) > MAX_PAYLOAD
                or not self._send_nowait(self._link.node_id, frame)
            ):
                await self._send(call, number, frame)
            else:  # fast path: sent without waiting
                self._flying += 1
                call.flying = True
            if sent is not None:
                sent()
            content = await call.future
        except BaseException as error:
            self._leave(call, number)
            cancelled = isinstance(error, asyncio.CancelledError)
            failure = call.error if cancelled and call.cancelled_by_us(asyncio.current_task()) else None
            call.drop()
            if failure is None:
                raise
            try:
                raise failure from None
            finally:
                del failure  # its traceback holds this Python frame: a reference cycle otherwise
        self._flying -= 1
        if self._turns:
            self._turns.next()
        return content

    async def stream(
        self,
        payload: bytes,
        credit: int,
        limit: float | None,
        sent: Callable[[], object] | None = None,
        urgent: bool = False,
    ) -> AsyncGenerator[bytes, None]:
        """Send a request for a stream and yield the payloads of its parts; up to ``credit`` parts are received ahead.

        ``limit`` is how many seconds to wait for each part. Raises as `ask` does. If the generator is closed early, a
        `cancel` is sent to the peer.
        """
        link, asked = self._link, self.asked
        call = _OutgoingRequest(self._loop.create_future(), limit)
        stream = asked.open_stream(call, credit, self._deadline(limit))
        number = stream.id
        try:
            try:
                await self._send(call, number, encode_request(link.route, number, credit, payload, None, urgent))
            except asyncio.CancelledError:
                if call.cancelled_by_us(asyncio.current_task()) and call.error is not None:
                    raise call.error from None
                raise
            if sent is not None:
                sent()
            while True:
                if stream:
                    asked.wait(stream)
                    part = stream.pop()
                    granted = None if call.ended or call.error is not None else stream.grant()
                    if granted is not None:
                        link.post(encode_ack(link.route, Scope.REQUEST, 0, number, 0, granted))
                    yield part
                elif call.error is not None:
                    raise call.error
                elif call.ended:
                    return
                else:
                    asked.wait(stream, self._deadline(limit))
                    call.future = self._loop.create_future()
                    await call.future
        finally:
            self._leave(call, number)
            call.drop()

    def _deadline(self, limit: float | None) -> float:
        if limit is None:
            return _NEVER
        link = self._link
        deadline = self._loop.time() + limit
        if deadline < link.peer.due:
            link.shared.timer.wake(link.peer, deadline)
        return deadline

    async def _send(self, call: _OutgoingRequest, number: int, frame: bytes) -> None:
        link = self._link
        call.wait()
        if self._flying >= self.allowed or self._turns:
            await self._turns.wait(self._loop)
        self._flying += 1
        call.flying = True
        if self._turns:
            self._turns.next()
        if len(frame) <= MAX_PAYLOAD:
            await link.shared.transport.send(link.node_id, frame)
        else:
            await link.large.send(frame, failed=lambda failure: self.failure(failure._replace(id=number)))
        call.task = None

    def _leave(self, call: _OutgoingRequest, number: int) -> None:
        if call.flying:
            self._flying -= 1
            if self._turns:
                self._turns.next()
        if self.asked.close(number) is not None and call.flying and call.task is None:
            self._link.post(encode_cancel(self._link.route, Scope.REQUEST, number))
        if call.future.done() and not call.future.cancelled():
            call.future.exception()  # retrieved, or asyncio logs it where another error is raised

    # Frames received --------------------------------------------------------------------------------

    def reply(self, reply: Reply) -> bool:
        """Handle a reply, or a part or the end of a stream. Return False if no open request expects it."""
        number, flags, content = reply
        if not flags & _STREAM and (call := self.asked.take(number)) is not None:
            if not call.future.done():
                call.future.set_result(content)
            return True
        stream = self.asked.find(number)
        if stream is None:
            return self._out_of_place(number, flags) if flags & _STREAM else False
        call = stream.entry
        if not flags & ReplyFlag.END and not stream.push(content):
            return self._wrong(number, "sent more parts of a stream than it was allowed")
        if not flags & ReplyFlag.PART:
            call.ended = True
            self.asked.close(number)
        if not call.future.done():
            call.future.set_result(b"")
        return True

    def _out_of_place(self, number: int, flags: int) -> bool:
        """Handle a part or the end of a stream for a request that expects one reply."""
        if not flags & ReplyFlag.END:
            return self._wrong(number, "answered a request for one reply with a stream")
        return self.failure(Failure(Scope.REQUEST, number, Code.NO_REPLY, ""))

    def _wrong(self, number: int, text: str) -> bool:
        call = self.asked.fail(number)
        if call is not None:
            self._link.post(encode_cancel(self._link.route, Scope.REQUEST, number))
            call.fail(RemoteProtocolError(f"{self._link.node_id} {text}"))
        return False

    def failure(self, failure: Failure) -> bool:
        """Handle a failure of scope 1. Return False if it names no open request."""
        call = self.asked.fail(failure.id)
        if call is None:
            return False
        call.fail(RemoteFailure(failure.text or _TEXTS.get(failure.code, "the peer failed"), code=failure.code))
        return True

    def expire(self, now: float) -> None:
        """Fail the requests whose deadlines have passed with `ReplyTimeout`, and cancel them at the peer."""
        for number, call in self.asked.expire(now):
            if call.task is None:
                self._link.post(encode_cancel(self._link.route, Scope.REQUEST, number))
            limit, node_id = call.limit or 0.0, self._link.node_id
            sent = call.task is None or (call.flying and self._is_hosted)
            if sent:
                text = f"no reply from {node_id} within {duration(limit)}"
            elif call.flying:
                text = f"{node_id} is slow to read what is sent to it"
            else:
                text = f"as many requests as {node_id} handles at once wait for their replies, {self.allowed}"
            call.fail(ReplyTimeout(text, timeout=limit, sent=sent))

    def fail_all(self, error: Exception) -> None:
        """Fail all open requests and streams with ``error``."""
        for call in self.asked.clear():
            call.fail(error)

    def close(self) -> None:
        """Wake all calls that wait for their turn. Call it after `fail_all`, when the session has ended."""
        self._turns.close()


# Texts for failures that come without one
_TEXTS: Final[Mapping[int, str]] = {
    Code.INTERNAL: "the peer's handler failed",
    Code.UNKNOWN_MESSAGE: "the peer does not handle this message",
    Code.NO_REPLY: "the peer's handler gave no reply",
}
