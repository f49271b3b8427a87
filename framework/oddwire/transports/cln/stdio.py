"""The way between lightningd and the loop: hooks are answered whatever the loop is doing.

The loop reads stdin itself, answers hook calls, and only then looks at what they bring. A thread watches: where
something lies unread and the loop does not come for it, as a handler blocks it, the thread reads and answers instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from oddwire.errors import RemoteProtocolError
from oddwire.log_limits import LIMITED, get_logger
from oddwire.transports.base import NodeId
from oddwire.transports.cln.reader import Batch, HostReader, Item, Receive
from oddwire.transports.cln.writer import Level, Writer

__all__ = ["Handed", "NodeStdio"]

logger = get_logger("oddwire.transports.cln")

_READ: Final = 1 << 16  # all that a pipe holds; memory for more costs as much to get as all else a message does
_OVERHEAD: Final = 128  # what a payload costs besides its bytes
_PRINTED: Final = 16 * 1024  # bytes of a printed line that has no end
_FOREIGN_READS: Final = 64  # at the end, of what others have printed
_WATCH: Final = 0.01  # seconds in which the loop should have come for what lies unread
_QUIET: Final = 100  # such times without anything: then the thread sleeps until something comes

Handed = Callable[[list[Item], dict[NodeId, int]], None]
"""Takes what came, in order, and how many payloads of whom had to be dropped."""


class NodeStdio:
    """Reads ``stdin``, answers hooks at once, and hands the rest to a loop; writes ``stdout``; logs ``foreign``.

    ``begun`` is what was read of stdin before. ``on_end`` is called once, in whichever thread notices, with the reason:
    the node wants us to end, or has closed stdin. While the loop takes nothing, payloads of up to ``backlog`` bytes are
    kept for it; what exceeds them is dropped and counted. Once the loop has caught up after that, it is handed nothing,
    which says that no more was dropped.
    """

    def __init__(
        self,
        stdin: int,
        stdout: int | Writer,
        foreign: int | None = None,
        *,
        begun: bytes = b"",
        receive: Receive = "hook",
        backlog: int = 64 * 1024 * 1024,
        on_end: Callable[[str], None] | None = None,
    ) -> None:
        self.reader = HostReader(receive)
        self.end_reason: str | None = None
        """Why nothing more is to be done for the node; None while there is."""
        self._stdin, self._foreign = stdin, foreign
        self._writer = stdout if isinstance(stdout, Writer) else Writer(stdout)
        self._begun = begun
        self._backlog = backlog
        self._on_end = on_end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._take: Handed | None = None
        self._thread: threading.Thread | None = None
        # From stdin to the loop. Who reads holds the lock until what was read is in the queue
        self._reading = threading.Lock()
        self._handed: deque[tuple[list[Item], dict[NodeId, int], int]] = deque()
        self._bytes_handed = 0
        self._bytes_taken = 0
        self._delivering = False
        self._lossy = False  # of what the loop has taken since it last caught up, something was dropped
        self._read_all = False  # stdin has ended, or makes no sense any more
        self._attached = False  # the loop reads stdin
        # The thread's watch over the loop
        self._beat = 0  # rises when the loop looks at stdin, or takes what was read
        self._seen = 0
        self._check_at = 0.0
        self._quiet = 0
        self._polls_stdin = False
        self._in_charge = False  # the thread reads, for the loop does not
        # The rest of what the thread does
        self._stdout_full = False
        self._printed = b""
        self._printing = True  # foreign has not ended
        self._awake = False
        self._stop_at: float | None = None
        self._on_done: Callable[[], object] | None = None
        self._wake_in, self._wake_out = -1, -1
        self._poll = select.poll()
        self._unread = select.poll()
        self._done = threading.Event()

    # Called from any thread ---------------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop, take: Handed) -> None:
        """Start, on ``loop``; ``take`` is called there."""
        self._loop, self._take = loop, take
        if self._stdin == self._writer.fd:
            self._writer.fd = os.dup(self._stdin)  # of a socket: each way is polled for itself
        self._wake_in, self._wake_out = os.pipe()
        for fd in (self._stdin, self._writer.fd, self._foreign, self._wake_in, self._wake_out):
            if fd is not None:
                os.set_blocking(fd, False)
        for fd in (self._foreign, self._wake_in):
            if fd is not None:
                self._poll.register(fd, select.POLLIN)
        self._unread.register(self._stdin, select.POLLIN)
        try:
            loop.add_reader(self._stdin, self._readable)
            self._attached = True
        except (OSError, NotImplementedError):  # a file, say, or a loop that cannot
            self._in_charge = True
        self._take_in(self._begun)
        self._call_soon()
        self._poll_stdin()
        self._thread = threading.Thread(target=self._run, name="oddwire cln stdio", daemon=True)
        self._thread.start()
        self._flush()  # what was sent before

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._thread is not None and not self._done.is_set()

    def send_documents(self, data: bytes) -> None:
        """Write whole documents to the node, after all that was sent before. Returns at once."""
        self._writer.put(data)
        self._flush()

    def log(self, level: Level, text: str) -> None:
        """Write to the node's log, line by line. Lines are dropped, and counted, while too many wait to be read."""
        self._writer.put_log(level, text)
        self._flush()

    def stop(self, patience: float = 1.0, *, on_done: Callable[[], object] | None = None) -> None:
        """Have the thread end once all is written, or ``patience`` seconds have passed. Returns at once. Idempotent.

        ``on_done`` is called in the thread when it ends. While the loop lives, `detach` comes before.
        """
        if self._stop_at is None:
            self._on_done = on_done
            self._stop_at = time.monotonic() + patience
            self._wake()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the thread's end; false if it takes longer."""
        return self._thread is None or self._done.wait(timeout)

    def _flush(self) -> None:
        # The thread waits for room
        if self._thread is not None and not self._done.is_set() and self._writer.flush() and not self._stdout_full:
            self._wake()

    def _wake(self) -> None:
        if not self._awake and self._wake_out >= 0:
            self._awake = True
            with contextlib.suppress(OSError):  # it has ended, or has been woken often enough
                os.write(self._wake_out, b"\0")

    # On the loop --------------------------------------------------------------------------------------

    def detach(self) -> None:
        """Read no more on the loop: the thread does, from now on."""
        if self._attached and self._loop is not None:
            self._attached = False
            self._loop.remove_reader(self._stdin)
            self._wake()

    def _readable(self) -> None:
        self._beat += 1
        if self._read_all:
            self.detach()
        elif self._reading.acquire(blocking=False):  # else the thread is at it
            try:
                self._read()
            finally:
                self._reading.release()
            if not self._delivering:
                self._deliver()

    def _deliver(self) -> None:
        self._beat += 1
        self._delivering = True
        handed = self._handed
        try:
            if handed:
                items, dropped, size = handed.popleft()
                if self._take is not None:
                    self._take(items, dropped)
                    self._lossy = self._lossy or bool(dropped)
                    if self._lossy and not handed:
                        self._lossy = False
                        self._take([], {})
                self._bytes_taken += size
        finally:
            # Others on the loop have their turn between chunks. What is added meanwhile needs no other wake-up
            if handed and self._loop is not None:
                self._loop.call_soon(self._deliver)
            else:
                self._delivering = False
                if handed:
                    self._call_soon()

    # Whoever reads ------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Read, answer, and queue what came. The lock is held."""
        if self._read_all:
            return
        try:
            data = os.read(self._stdin, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._read_all = True
            whole = self.reader.is_between_documents
            self._end("the node is gone" if whole else "the node is gone, in the middle of what it wrote")
            return
        self._take_in(data)

    def _take_in(self, data: bytes) -> None:
        try:
            batch = self.reader.feed(data)
        except RemoteProtocolError as error:
            self._read_all = True
            logger.error("stdin is not JSON-RPC: %s", error)
            self._end(f"stdin is not JSON-RPC: {error}")
            return
        if batch.answers:
            self.send_documents(batch.answers)
        self._hand_on(batch)
        for remark in batch.remarks:
            logger.warning("%s", remark)
        if batch.shutdown:
            self._end("the node shuts us down")

    def _hand_on(self, batch: Batch) -> None:
        if not batch.items:
            return
        items, dropped = batch.items, dict[NodeId, int]()
        size = batch.size + len(items) * _OVERHEAD
        if self._bytes_handed - self._bytes_taken + size > self._backlog:
            for item in items:
                if type(item) is tuple:
                    dropped[item[0]] = dropped.get(item[0], 0) + 1
            items, size = [item for item in items if type(item) is not tuple], 0
        self._bytes_handed += size
        self._handed.append((items, dropped, size))

    def _end(self, reason: str) -> None:
        if self.end_reason is None:
            self.end_reason = reason
            if self._on_end is not None:
                try:
                    self._on_end(reason)
                except Exception:
                    logger.exception("on_stop raised")
            self._handed.append(([reason], {}, 0))

    # In the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._stop_at is None or self._is_unfinished(self._stop_at):
                self._step()
        except Exception as error:
            logger.exception("the way to the node broke")
            self._end(f"the way to the node broke: {error}")
            self._call_soon()
        finally:
            self._done.set()
            self._writer.close()
            with self._reading:
                self._read_all = True
                for fd in (self._wake_in, self._wake_out, self._stdin, self._foreign):
                    if fd is not None and fd > 2:
                        with contextlib.suppress(OSError):
                            os.close(fd)
            self._wake_out = -1
            if self._on_done is not None:
                with contextlib.suppress(RuntimeError):  # the loop that waited for it is closed
                    self._on_done()

    def _is_unfinished(self, until: float) -> bool:
        for _ in range(_FOREIGN_READS):
            if not self._read_foreign():
                break
        if self._printed:
            self._log_printed(b"\n")
        return self._writer.flush() and time.monotonic() < until

    def _step(self) -> None:
        for fd, _ in self._poll.poll(self._timeout()):
            if fd == self._wake_in:
                os.read(fd, 4096)
            elif fd == self._foreign:
                self._read_foreign()
            elif fd == self._stdin:
                self._stdin_ready()
        # Before the queue is looked at: what comes later wakes us again
        self._awake = False
        self._poll_stdout(self._writer.flush())
        if not self._polls_stdin and not self._read_all:
            self._watch()

    def _timeout(self) -> float | None:
        """Milliseconds until something has to be looked after unasked."""
        if self._stop_at is not None:
            return max(self._stop_at - time.monotonic(), 0.0) * 1000
        watching = not self._polls_stdin and not self._read_all
        return _WATCH * 1000 if watching else None

    def _stdin_ready(self) -> None:
        if self._in_charge or not self._attached:
            with self._reading:
                self._read()
            self._call_soon()
            if self._read_all or (self._attached and self._beat != self._seen):
                # The loop is back, or there is nothing more to read
                self._in_charge = False
                self._poll_stdin(on=False)
        else:
            # After a while without messages. The loop sees it, too: from now on, that is watched
            self._poll_stdin(on=False)

    def _watch(self) -> None:
        """See whether the loop comes for what lies unread; take its place where it does not."""
        now = time.monotonic()
        if now < self._check_at and self._attached:
            return
        self._check_at = now + _WATCH
        if self._beat != self._seen:
            self._seen, self._quiet = self._beat, 0
        elif not self._attached or self._unread.poll(0):
            self._in_charge = True
            self._poll_stdin()
        else:
            self._quiet += 1
            if self._quiet >= _QUIET:
                self._poll_stdin()

    def _poll_stdin(self, *, on: bool = True) -> None:
        if on and not self._polls_stdin:
            self._poll.register(self._stdin, select.POLLIN)
        elif not on and self._polls_stdin:
            self._poll.unregister(self._stdin)
            self._seen, self._quiet, self._check_at = self._beat, 0, time.monotonic() + _WATCH
        self._polls_stdin = on

    def _poll_stdout(self, full: bool) -> None:
        if full and not self._stdout_full:
            self._poll.register(self._writer.fd, select.POLLOUT)
        elif self._stdout_full and not full:
            self._poll.unregister(self._writer.fd)
        self._stdout_full = full

    def _call_soon(self) -> None:
        if self._handed and not self._delivering and self._loop is not None:
            self._delivering = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                # The loop is closed: hooks are answered until the node or the process ends
                self._take = None
                self._handed.clear()
                self._delivering = self._attached = False

    def _read_foreign(self) -> bool:
        if self._foreign is None:
            return False
        try:
            data = os.read(self._foreign, 65536)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            if self._printing:
                self._printing = False
                self._poll.unregister(self._foreign)
            return False
        self._log_printed(data)
        return True

    def _log_printed(self, data: bytes) -> None:
        *lines, self._printed = (self._printed + data).split(b"\n")
        if len(self._printed) > _PRINTED:
            lines.append(self._printed)
            self._printed = b""
        for line in lines:
            if line.strip() and LIMITED.takes("print", len(line)):
                self._writer.put_log("info", line.removesuffix(b"\r").decode(errors="backslashreplace"))
