"""One BOLT 8 connection on asyncio: the thin shell around `noise` and `framing`.

Like pyln.proto's it carries whole messages and does not read them: no init, no ping.
The module is long because a connection is one object: reading, writing and ending share nearly all of its state.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from time import perf_counter
from typing import Final, cast

from oddwire.errors import ConnectionClosed, HandshakeFailed, OddwireError, PayloadTooLarge
from oddwire.proto.addresses import join_address
from oddwire.proto.connection_states import FOLLOWING, ConnectionState
from oddwire.proto.framing import LOOK_AFTER, MAX_FRAME, FrameReceiver, FrameSender, WatchedSender
from oddwire.proto.keys import PrivateKey, PublicKey
from oddwire.proto.noise import Handshake
from oddwire.proto.primitives import MAX_MESSAGE
from oddwire.proto.sharing import FAIR_MESSAGE, LoopShare, work_clock

__all__ = ["HANDSHAKE_TIMEOUT", "LightningConnection"]

HANDSHAKE_TIMEOUT: Final = 10.0
"""Max seconds for a handshake, from the TCP connection on."""

# Bytes sealed in one event-loop iteration before they are written without waiting for its end: few at first, so that
# the peer works on them while we work on the rest, then twice as many each time. Otherwise, of two peers that exchange
# requests and replies, one would always wait for the other. With batches of over 64 KB the allocator returns memory to
# the kernel and faults it in again, which costs twice what they save.
_FIRST_FLUSH, _FLUSH_AT = 4 * 1024, 32 * 1024
_WRITE_HIGH, _WRITE_LOW = 256 * 1024, 64 * 1024
_INBOX_HIGH, _INBOX_LOW = 1024 * 1024, 256 * 1024
_WARY_PART = 0.125  # of a slice, for peers that have just connected while others have used up the shares
_WATCHED = 64  # slices to be measured exactly after one that was costly or wasted
_LINGER = 5.0  # seconds to let the peer read our last bytes, as in lightningd

_READ_SIZE = max(256 * 1024, 2 * MAX_FRAME)

# Module-level names, as an attribute look-up in an Enum costs time on every message
_CONNECTING, _HANDSHAKE, _OPEN = ConnectionState.CONNECTING, ConnectionState.HANDSHAKE, ConnectionState.OPEN
_GIVEN_UP, _LINGERING, _GONE = ConnectionState.GIVEN_UP, ConnectionState.LINGERING, ConnectionState.GONE
_BEFORE = (_CONNECTING, _HANDSHAKE)  # not open yet


class _Buffers(threading.local):
    """Buffers that the connections of one thread share, so that an idle connection holds none.

    Sockets are read into ``read``, as a chunk is parsed before the next is read. A message that fills a batch by itself
    is sealed into ``write``, behind the bytes that wait to be written before it, and written from there.
    """

    def __init__(self) -> None:
        self.read = memoryview(bytearray(_READ_SIZE))
        self.write: memoryview | None = None


_buffers = _Buffers()


class LightningConnection(asyncio.BufferedProtocol):
    """An encrypted, authenticated connection to a peer, made by `connect` or `serve`.

    Messages are pulled with `read_message` (or ``async for``), unless the owner receives them as they are parsed, by
    calling `deliver_to` in ``on_open``. Sent messages are sealed at once and written together, in a few batches per
    event-loop iteration. With a ``handshake_timeout`` of None, the owner ends a handshake that takes too long.
    ``share`` divides the loop's time with other connections; the default is one share for all connections of the loop.

    ``state`` follows the table of `connection_states`: there is a ``_handshake`` until the connection is open or has
    ended, a ``_sealer`` once it is open, a ``_reason`` once it has ended, a ``_transport`` while it has a socket.
    """

    __slots__ = (
        "__weakref__",
        "_aside",
        "_called",
        "_choked",
        "_flush_at",
        "_frames",
        "_full",
        "_handshake",
        "_handshake_timeout",
        "_inbox",
        "_inbox_size",
        "_loop",
        "_lost",
        "_open_error",
        "_openers",
        "_out",
        "_out_size",
        "_paused",
        "_reader",
        "_reason",
        "_sealer",
        "_share",
        "_sliced",
        "_timer",
        "_transport",
        "_tried",
        "_turns",
        "_view",
        "_view_start",
        "_watched",
        "_write_paused",
        "_writers",
        "congested",
        "is_initiator",
        "local_privkey",
        "on_close",
        "on_gone",
        "on_open",
        "received",
        "remote_pubkey",
        "spoke",
        "state",
        "wasted",
    )

    def __init__(
        self,
        local_privkey: PrivateKey,
        remote_pubkey: PublicKey | None = None,
        *,
        on_open: Callable[[LightningConnection], object] | None = None,
        on_close: Callable[[LightningConnection, str], object] | None = None,
        handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
        share: LoopShare | None = None,
    ) -> None:
        self.state = _CONNECTING
        """The connection's state. Read-only."""
        self.local_privkey = local_privkey
        self.remote_pubkey = remote_pubkey
        self.is_initiator = remote_pubkey is not None
        self.on_open = on_open
        self.on_close = on_close
        self.on_gone: Callable[[LightningConnection], object] | None = None
        """Called when the socket is gone, which is up to 5 seconds after the connection has ended."""
        self.received = False
        """Set whenever bytes arrive; cleared by the code that watches for silence."""
        self.congested = False
        """Whether `send_message` would wait now: the peer does not read as fast as we write. Read-only."""
        self.spoke = False
        """Set whenever messages arrive that are not `wasted`; cleared by the code that watches for idle peers."""
        self.wasted = 0
        """Useless messages of this slice, counted by the code that receives them: the peer is charged for them."""
        ephemeral = PrivateKey(os.urandom(32))
        self._handshake = Handshake(local_privkey, remote_pubkey, ephemeral)
        self._frames: FrameReceiver | None = None
        self._sealer: FrameSender
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._openers: list[asyncio.Future[None]] = []
        self._open_error: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._handshake_timeout = handshake_timeout
        self._view: memoryview | None = None
        self._view_start = 0
        self._out: list[bytes] = []
        self._out_size = 0
        self._flush_at = _FIRST_FLUSH
        self._write_paused = False
        self._paused = False  # by `pause`
        self._choked = False  # by `answer`
        self._full = False  # by unread messages
        self._aside = False  # by the share: it waits in a queue
        self._called = False  # out of that queue: its slice is due
        self._tried = self.is_initiator  # its large messages have cost no more than they should
        self._turns: deque[asyncio.Future[None]] | None = None  # callers of `turn`, waiting for that
        self._watched = 0  # slices to be measured exactly
        self._sliced = False  # the rest of the chunk is parsed in a later iteration
        self._share = LoopShare.of_loop() if share is None else share
        self._writers: deque[asyncio.Future[None]] | None = None
        self._inbox: deque[bytes] | None = None
        self._inbox_size = 0
        self._reader: asyncio.Future[None] | None = None
        self._reason: str | None = None
        self._lost: asyncio.Future[None] | None = None

    # Called by its users ------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the connection has ended, or is ending."""
        return self._reason is not None

    @property
    def close_reason(self) -> str | None:
        """Why it ended, in words; None while it is open."""
        return self._reason

    @property
    def peer_address(self) -> str:
        """The peer's address as ``host:port``; empty if the socket does not say."""
        name = self._transport.get_extra_info("peername") if self._transport is not None else None
        return join_address(*name[:2]) if isinstance(name, tuple) else ""

    @property
    def paused(self) -> bool:
        """Whether reading is paused, so that the peer's silence means nothing."""
        return self._paused or self._aside or self._sliced

    @property
    def lingers(self) -> bool:
        """Whether the connection has ended and still has its socket."""
        return self.state is _LINGERING

    @property
    def unwritten(self) -> int:
        """Bytes not written to the socket yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size() + self._out_size

    def share_with(self, share: LoopShare) -> None:
        """Replace ``share``; to be called in ``on_open`` at the latest."""
        self._share = share

    async def opened(self) -> None:
        """Wait until the handshake is over. Raises the error that ended it: `HandshakeFailed`, `ConnectionClosed`.

        Cancelling affects this caller only.
        """
        if self._open_error is not None:
            raise _copy(self._open_error)
        if self.state not in _BEFORE:
            return
        opener = self._loop.create_future()  # one per caller, so that cancelling one does not affect the others
        self._openers.append(opener)
        try:
            await opener
        finally:
            del opener  # its error's traceback holds this frame

    async def read_message(self) -> bytes:
        """Wait for the next message, 0 to 65535 bytes. One reader at a time; cancelling loses no message.

        Raises `ConnectionClosed` once the connection has ended and every message before that was read.
        """
        if self._reader is not None:
            raise RuntimeError("read_message: another task is reading this connection already")
        if self._inbox is None:
            raise RuntimeError("read_message: this connection's messages go to its on_message")
        while not self._inbox:
            if self._reason is not None:
                raise ConnectionClosed(self._reason)
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = self._inbox.popleft()
        self._inbox_size -= len(message) + 64
        if self._full and self._inbox_size <= _INBOX_LOW:
            self._full = False
            self._release()
        return message

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield every message until the connection ends."""
        while True:
            try:
                message = await self.read_message()
            except ConnectionClosed:
                return
            yield message

    async def send_message(self, message: bytes) -> None:
        """Send a message of 0 to 65535 bytes, after waiting while the connection is `congested`.

        Returns when it is accepted, in order, not when it has arrived. If cancelled while waiting, nothing is sent.
        Raises `PayloadTooLarge`, or `ConnectionClosed`.
        """
        if len(message) > MAX_MESSAGE:
            raise PayloadTooLarge(f"message of {len(message)} bytes; BOLT 8 allows at most {MAX_MESSAGE}")
        if self.congested:
            await self.writable()
        self.send_nowait(message)

    async def writable(self) -> None:
        """Wait for this caller's turn to send: the next `send_nowait` must follow without an await between.

        Returns at once unless `congested`. Raises `ConnectionClosed` if the connection has ended, or ends first. If
        cancelled, the next caller has its turn.
        """
        if self._reason is not None:
            raise ConnectionClosed(self._reason)
        if not self.congested:
            return
        # First come, first served: each woken sender wakes the next, so none overtakes another
        if self._writers is None:
            self._writers = deque()
        writer = self._loop.create_future()
        self._writers.append(writer)
        try:
            await writer
        finally:
            if self._writers is not None and writer in self._writers:
                self._writers.remove(writer)
            del writer  # its error's traceback holds this frame
            self.congested = self._write_paused or bool(self._writers)
            if not self._write_paused:
                self._loop.call_soon(self._wake_writer)

    def send_nowait(self, message: bytes) -> None:
        """Send without waiting, however much is queued: for short answers, and for callers that watch `congested`.

        Raises `PayloadTooLarge`, or `ConnectionClosed`.
        """
        if self.state is not _OPEN:
            raise ConnectionClosed(self._reason or "the handshake is not over")
        sealer, transport = self._sealer, self._transport
        try:
            if len(message) >= _FLUSH_AT and transport is not None and not transport.get_write_buffer_size():
                self._write_large(sealer, message, transport)
                return
            size = self._out_size
            sealed = sealer.seal(message, self._out)
            self._out_size = sealed + size
            if not size:
                self._loop.call_soon(self._end_turn)
            if sealed + size >= self._flush_at:
                self._flush_at = min(2 * self._flush_at, _FLUSH_AT)
                self._flush()
        except BaseException:
            if sealer.broken:
                self.abort("a message could not be sealed")
            raise

    def answer(self, message: bytes) -> None:
        """Send an answer as `send_nowait` does, and stop reading from the peer while it does not read the answer."""
        self.send_nowait(message)
        if self._write_paused and not self._choked:
            self._choked = True
            self._hold()

    def close(self, reason: str = "closed by us") -> None:
        """End the connection: write what was sent, then half-close, and wait up to 5 seconds for the peer to close."""
        transport = self._transport
        if self.state is not _OPEN or transport is None:
            if self.state in _BEFORE:
                self.abort(reason)
            return
        self._flush()
        self._end(reason)
        # A socket closed with unread bytes is reset, and the peer may then never see our last bytes: half-close,
        # read and discard, and give up after a while.
        self._abort_after_linger(transport)
        try:
            transport.write_eof()
            transport.resume_reading()
        except (OSError, RuntimeError):
            transport.abort()

    async def aclose(self, reason: str = "closed by us") -> None:
        """`close`, and wait until the socket is gone, at most 5 seconds. Idempotent."""
        self.close(reason)
        if self._transport is not None:
            if self._lost is None:
                self._lost = self._loop.create_future()
            await asyncio.shield(self._lost)

    def abort(self, reason: str, error: Exception | None = None) -> None:
        """End the connection at once, dropping unwritten bytes. `opened` then raises ``error``."""
        self._fail_open(error or ConnectionClosed(reason))
        self._end(reason)
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Stop delivering, at once, and stop reading, until `resume`."""
        if self.state is _OPEN and not self._paused:
            self._paused = True
            self._hold()

    def resume(self) -> None:
        """Undo `pause`; messages held back are delivered in an event-loop iteration of their own."""
        if self._paused:
            self._paused = False
            self._release()

    def charge(self, seconds: float, *, wasted: bool = False) -> None:
        """Charge the peer for work on a message after its delivery; ``wasted``: the message was useless."""
        if self.state is not _OPEN:
            self._share.left(seconds, 1, 0)
        elif self._share.charge(self, seconds, wasted=wasted, waits=self._aside):
            self._aside = True
            self._hold()

    async def turn(self) -> None:
        """Wait while the peer is queued by the share; the caller then calls `charge` without an await between.

        If the connection ends meanwhile, it returns; if it has ended before, it waits as `LoopShare.turn` does. If
        cancelled, the next caller has its turn.
        """
        if self._reason is not None:
            await self._share.turn()
        if not self._aside or self._reason is not None:
            return
        if self._turns is None:
            self._turns = deque()
        turn = self._loop.create_future()
        self._turns.append(turn)
        try:
            await turn
        finally:
            if self._turns is not None and turn in self._turns:
                self._turns.remove(turn)
            self._loop.call_soon(self._wake_turn)  # the next caller, if this one has cost little

    def deliver_to(self, on_message: Callable[[bytes], object]) -> None:
        """Pass every message to ``on_message`` as it is parsed, instead of keeping it for `read_message`.

        Called in ``on_open``; ``on_message`` returns at once, and may call `pause`. Raises `RuntimeError` before the
        handshake is over.
        """
        if self._frames is None:
            raise RuntimeError("deliver_to: the handshake is not over")
        self._frames.deliver = on_message
        self._inbox = None

    def watch_sent(self, seen: Callable[[bytes], object]) -> None:
        """Call ``seen`` with each message that is sent from now on. Called in ``on_open``; ``seen`` raises nothing."""
        self._sealer = WatchedSender(self._sealer, seen)

    # Called by asyncio --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        transport = cast("asyncio.Transport", transport)  # uvloop's has the methods without being derived from it
        self._transport = transport
        if self.state is _GIVEN_UP:
            self._become(_LINGERING)
            transport.abort()
            return
        self._become(_HANDSHAKE)
        transport.set_write_buffer_limits(high=_WRITE_HIGH, low=_WRITE_LOW)
        if self._handshake_timeout is not None:
            self._timer = self._loop.call_later(self._handshake_timeout, self._handshake_expired)
        if self.is_initiator:
            transport.write(self._handshake.start())

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: D102
        self._view = view = _buffers.read
        frames = self._frames
        if frames is None or not frames.kept:
            self._view_start = 0
            return view
        rest = frames.rest  # kept until `buffer_updated`: a read that finds nothing does not call it
        self._view_start = size = len(rest)
        if size >= _READ_SIZE // 2:  # only after a pause; too rare to be worth a larger buffer
            self._view = view = memoryview(bytearray(size + _READ_SIZE))
        view[:size] = rest
        return view[size:]

    def buffer_updated(self, nbytes: int) -> None:  # noqa: D102
        view, self._view = self._view, None
        if view is None or self._reason is not None:
            return
        self.received = True
        data = view[: self._view_start + nbytes]
        try:
            frames = self._frames
            if frames is not None:
                if self._view_start:
                    frames.rest = b""  # those bytes are at the front of data
                self._take(frames, data)
            else:
                self._shake_when_due(data)
        except OddwireError as error:
            self.abort(str(error), error)

    def eof_received(self) -> bool:  # noqa: D102
        if self.state is _HANDSHAKE:
            error = self._handshake.receive_eof()
            self.abort(str(error), error)
        elif self.state is _OPEN and self._transport is not None:
            # The transport closes once its buffer is written, which a peer that does not read could put off
            self._flush()
            self._end("closed by the peer")
            if self._transport.get_write_buffer_size():
                self._abort_after_linger(self._transport)
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self._cancel_timer()
        if self.state is _HANDSHAKE:
            error = self._handshake.receive_eof()
            self._fail_open(error)
            self._end(str(error))
        elif exc is not None and not isinstance(exc, ConnectionResetError):
            self._end(f"connection lost: {exc}")
        else:
            self._end("connection reset by the peer" if exc is not None else "closed by the peer")
        self._become(_GONE)
        self._transport = None
        if self.on_gone is not None:
            self.on_gone(self)
        # The callbacks mostly refer to us, too: without this cycle a connection is freed with its last reference
        self._frames = self.on_open = self.on_close = self.on_gone = None
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)

    def pause_writing(self) -> None:  # noqa: D102
        self._write_paused = self.congested = True

    def resume_writing(self) -> None:  # noqa: D102
        self._write_paused = False
        self.congested = bool(self._writers)
        self._wake_writer()
        if self._choked:
            self._choked = False
            self._release()

    # Inside -------------------------------------------------------------------------------------------

    def _shake_when_due(self, data: memoryview) -> None:
        """Receive bytes of an act; a stranger's act, once whole, is processed when the share has time for it."""
        handshake = self._handshake
        if self.is_initiator or len(data) < handshake.missing:
            self._shake(data)
            return
        kept: list[bytes] = []
        work_of_all, act = self._share.handshakes, handshake.gathered + data[: handshake.missing]
        if handshake.act == 1:
            if work_of_all.waiting and work_of_all.is_stale(act):
                error = handshake.receive_eof()
                raise HandshakeFailed("act 1 came before, and others wait", act=1, code=error.code)
            work_of_all.remember(act)

        def later() -> None:
            kept.append(bytes(data))
            if self._transport is not None:
                self._transport.pause_reading()

        def work() -> None:
            if not kept:
                self._shake(data)
                return
            if self.state is not _HANDSHAKE or self._transport is None:
                return
            self._transport.resume_reading()
            try:
                self._shake(kept.pop())
            except OddwireError as error:
                self.abort(str(error), error)
            except BaseException:
                self.abort("on_open failed")
                raise

        work_of_all.do(work, first=handshake.act == 3, later=later)

    def _shake(self, data: bytes | memoryview) -> None:
        handshake, transport = self._handshake, self._transport
        assert transport is not None  # noqa: S101 - narrows the type for checkers
        answer = handshake.receive(data)
        if answer:
            transport.write(answer)
        if handshake.sending is None or handshake.receiving is None:
            return
        self._cancel_timer()
        self._become(_OPEN)
        self.remote_pubkey = handshake.remote_key
        self._sealer = FrameSender(handshake.sending)
        self._inbox = deque()
        self._frames = FrameReceiver(handshake.receiving, self._enqueue)
        self._wake_openers(None)
        if self.on_open is not None:
            self.on_open(self)
        if self._reason is None:
            self._share.join(self)
        if not handshake.leftover:
            return
        if self.is_initiator:
            self._take(self._frames, handshake.leftover)
        else:  # not now: other callers would wait for it as for handshake work
            self._frames.rest = bytes(handshake.leftover)
            self._sliced = True
            transport.pause_reading()
            self._share.next_turn(self._deliver_held)

    def _take(self, frames: FrameReceiver, data: bytes | memoryview) -> None:
        """Deliver messages for a slice of time, and charge the peer for costly or useless ones."""
        if 0 < len(data) < frames.need:
            frames.feed(data)  # the receiver keeps them
            return
        share = self._share
        frames.opened = frames.size = 0
        # The processor-time clock costs a system call, so only peers that gave cause are measured by it
        clock = work_clock if self._watched else perf_counter
        start = clock()
        gate = None
        if share.used_up and not (self._called or self.is_initiator):
            gate = share.gate(self, tried=self._tried)
        large = False
        if gate is not None:
            stopped, large = self._feed_small(frames, data)
        elif 0 < len(data) < LOOK_AFTER:
            stopped = frames.feed(data)
        else:
            stopped = frames.feed(data, perf_counter, perf_counter() + share.turn_seconds)
        self._called = False
        work, opened = clock() - start, frames.opened
        if self._reason is not None:
            share.left(work, opened, frames.size)
            return
        if self.wasted or work > (opened or 1) * FAIR_MESSAGE:
            wasted, self.wasted = self.wasted, 0
            self._watched = _WATCHED
            self.spoke = self.spoke or wasted < opened
            if not self._aside and share.settle(self, work, opened, frames.size, wasted):
                self._aside = True
                self._hold()
                return
        elif opened:
            self.spoke = True
            share.want(self)
            if self._watched:
                self._watched -= 1
            if frames.size > LOOK_AFTER and gate is None:
                self._tried = True
        if large and gate is not None:
            share.counters[gate.name] += 1
            gate.enter(self)
            self._aside = True
            self._hold()
            return
        if stopped and not self._sliced and not frames.held:
            self._sliced = True
            if self._transport is not None:
                self._transport.pause_reading()
            share.next_turn(self._deliver_held)

    def _feed_small(self, frames: FrameReceiver, data: bytes | memoryview) -> tuple[bool, bool]:
        """Deliver small messages for part of a slice; return whether more is left, and whether that has to wait."""
        data = b"".join((frames.rest, data))
        frames.rest = b""
        at, until = 0, perf_counter() + self._share.turn_seconds * _WARY_PART
        stopped = large = False
        while not frames.held:
            if frames.need > LOOK_AFTER:
                # A message that is not whole yet costs nothing yet
                large = len(frames.rest) + len(data) - at >= frames.need
                break
            frames.feed(data[at : at + LOOK_AFTER])
            at += LOOK_AFTER
            if at >= len(data):
                break
            if perf_counter() >= until:
                stopped = True
                break
        frames.rest += data[at:]
        return stopped, large

    def _handshake_expired(self) -> None:
        if self.state is _HANDSHAKE:
            error = self._handshake.receive_eof()
            text = f"handshake not over after {self._handshake_timeout:g} s"
            self.abort(text, HandshakeFailed(text, act=error.act, code=error.code))

    def _enqueue(self, message: bytes) -> None:
        assert self._inbox is not None  # noqa: S101 - narrows the type for checkers
        self._inbox.append(message)
        self._inbox_size += len(message) + 64  # an empty message takes memory, too
        if self._inbox_size >= _INBOX_HIGH and not self._full:
            self._full = True
            self._hold()
        self._wake_reader()

    def _hold(self) -> None:
        if self._frames is not None and self._transport is not None and self._reason is None:
            self._frames.hold()
            self._transport.pause_reading()

    def let_go(self) -> None:
        """Parse the next slice: called by the share when it is this connection's turn."""
        self._aside = False
        self._called = self._tried = True
        self._wake_turn()
        frames = self._frames
        if frames is not None and self._reason is None and not (self._paused or self._choked or self._full):
            frames.release()
            self._deliver_held()

    def _release(self) -> None:
        frames = self._frames
        if frames is None or self._reason is not None or self._paused or self._choked or self._full or self._aside:
            return
        frames.release()
        if not self._sliced:
            self._sliced = True
            self._share.next_turn(self._deliver_held)

    def _deliver_held(self) -> None:
        self._sliced = False
        frames, transport = self._frames, self._transport
        if frames is None or transport is None or self._reason is not None or frames.held:
            return
        try:
            self._take(frames, b"")
        except OddwireError as error:
            self.abort(str(error), error)
            return
        except BaseException:
            self.abort("on_message failed")  # as asyncio does when ``buffer_updated`` raises
            raise
        if not frames.held and not self._sliced and not transport.is_closing():
            transport.resume_reading()

    def _end_turn(self) -> None:
        self._flush()
        # A peer that has not read what is written already does not wait for more
        behind = self._transport is not None and self._transport.get_write_buffer_size()
        self._flush_at = _FLUSH_AT if behind else _FIRST_FLUSH

    def _flush(self) -> None:
        if self._out_size and self._transport is not None:
            out, self._out = self._out, []
            self._out_size = 0
            try:
                self._transport.write(b"".join(out))
            except BaseException:
                self.abort("what was sealed could not be written")  # the peer would miss those messages
                raise

    def _write_large(self, sealer: FrameSender, message: bytes, transport: asyncio.Transport) -> None:
        room, start = _buffers.write, self._out_size
        if room is None:
            room = _buffers.write = memoryview(bytearray(_FLUSH_AT + MAX_FRAME))
        if start:
            room[:start] = b"".join(self._out)
        stop = start + sealer.seal_into(message, room[start:])
        self._out.clear()
        self._out_size = 0
        try:
            transport.write(room[:stop])
        except BaseException:
            self.abort("what was sealed could not be written")  # the peer would miss those messages
            raise
        if transport.get_write_buffer_size():
            _buffers.write = None  # the transport may still send from there

    def _wake_writer(self) -> None:
        if self._writers and not self._write_paused:
            writer = self._writers[0]
            if not writer.done():
                writer.set_result(None)

    def _wake_turn(self) -> None:
        if self._turns and not self._aside:
            turn = self._turns[0]
            if not turn.done():
                turn.set_result(None)

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _fail_open(self, error: Exception) -> None:
        if self.state in _BEFORE:
            self._open_error = _copy(error)
            self._wake_openers(error)

    def _wake_openers(self, error: Exception | None) -> None:
        for opener in self._openers:
            if opener.done():
                continue  # cancelled
            if error is None:
                opener.set_result(None)
            else:
                opener.set_exception(_copy(error))
        self._openers.clear()

    def _become(self, state: ConnectionState) -> None:
        if state not in FOLLOWING[self.state]:
            raise RuntimeError(f"a connection that is {self.state.name} cannot become {state.name}")
        if self.state is _HANDSHAKE or state is _GIVEN_UP:
            del self._handshake  # done, and it holds secrets
        self.state = state

    def _end(self, reason: str) -> None:
        if self._reason is not None:
            return
        self._reason = reason
        self._become(_GIVEN_UP if self.state is _CONNECTING else _LINGERING)
        if self._frames is not None:
            self._frames.hold()
            self._share.leave(self)
        self._wake_reader()
        for writer in self._writers or ():
            if not writer.done():
                writer.set_exception(ConnectionClosed(reason))
        self._writers = None
        self._aside = False
        self._wake_turn()  # waiting callers go on, one after the other
        if self.on_close is not None:
            try:
                self.on_close(self, reason)
            except Exception as error:
                self._loop.call_exception_handler({"message": "on_close failed", "exception": error, "protocol": self})

    def _abort_after_linger(self, transport: asyncio.Transport) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(_LINGER, transport.abort)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _copy(error: Exception) -> Exception:
    """Return a copy of an error without its traceback, whose frames refer to the connection that keeps the error."""
    copy = type(error).__new__(type(error), *error.args)
    copy.__dict__.update(error.__dict__)
    copy.__cause__, copy.__suppress_context__ = error.__cause__, error.__suppress_context__
    return copy
