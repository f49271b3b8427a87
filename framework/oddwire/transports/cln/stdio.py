"""Stdin and stdout to lightningd: hooks are answered even while the event loop is blocked.

The loop reads stdin itself, answers hook calls, and only then looks at their payloads. A watchdog thread reads and
answers instead while input lies unread because a handler blocks the loop. `stdio_states` has the states of who reads;
`stdin_watch` decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from typing import Final

from oddwire.errors import RemoteProtocolError
from oddwire.log_limits import get_logger
from oddwire.transports.cln.loop_queue import LoopQueue, TakeItems
from oddwire.transports.cln.polling import Polling, WakePipe
from oddwire.transports.cln.printed_lines import PrintedLines
from oddwire.transports.cln.reader import HostReader, Receive
from oddwire.transports.cln.stdin_watch import WATCH, StdinWatch
from oddwire.transports.cln.stdio_states import POLLED, RUNNING, Reading, Running, State
from oddwire.transports.cln.writer import Level, Writer

__all__ = ["NodeStdio"]

logger = get_logger("oddwire.transports.cln")

# Module-level names: an attribute look-up in an Enum costs time for every chunk
_RUNNING: Final = (Running.STARTED, Running.STOPPING)
_OVER: Final = Reading.OVER
_READ: Final = 1 << 16  # the size of a pipe; allocating more costs as much as all other work on a message


class NodeStdio:
    """Reads ``stdin``, answers hooks at once, and passes the rest to a loop; writes ``stdout``; logs ``foreign``.

    ``begun`` are bytes of stdin read before. ``on_end`` is called once, in either thread, with the reason: the node
    wants us to end, or has closed stdin. For ``backlog``, see `LoopQueue`.
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
        """Why the node is done with us; None while it is not."""
        self._stdin = stdin
        self._begun = begun
        self._backlog = backlog
        self._on_end = on_end
        self._writer = stdout if isinstance(stdout, Writer) else Writer(stdout)
        self._printed = PrintedLines(foreign, self._writer.put_log)
        self._unread = select.poll()
        self._watch = StdinWatch(lambda: bool(self._unread.poll(0)))
        self._reading = threading.Lock()  # held while reading, until the items are in the queue
        self._polling = Polling()
        self._thread: State[Running] = State(Running.NOT_STARTED, RUNNING)
        self._stop_at = 0.0  # deadline of a stopping thread
        self._on_done: Callable[[], object] | None = None
        self._done = threading.Event()
        # Set by `start`
        self._loop: asyncio.AbstractEventLoop
        self._queue: LoopQueue
        self._wake_pipe: WakePipe
        self._is_on_loop = False  # the loop polls stdin

    # Called from any thread ---------------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop, take_items: TakeItems) -> None:
        """Start, once, on ``loop``; ``take_items`` is called there."""
        if self._thread.now is not Running.NOT_STARTED:
            raise RuntimeError(f"the thread of stdio is {self._thread.now.value}: make a new NodeStdio")
        self._loop, self._queue = loop, LoopQueue(loop, take_items, self._backlog, self._watch)
        if self._stdin == self._writer.fd:
            self._writer.fd = os.dup(self._stdin)  # for a socket: its two directions are polled separately
        self._wake_pipe = WakePipe()
        for fd in (self._stdin, self._writer.fd, self._printed.fd):
            if fd is not None:
                os.set_blocking(fd, False)
        self._polling.set_wanted(self._wake_pipe.fd, select.POLLIN, True)
        self._unread.register(self._stdin, select.POLLIN)
        try:
            loop.add_reader(self._stdin, self._stdin_is_readable)
            self._is_on_loop = True
        except (OSError, NotImplementedError):  # a regular file, for example, or a loop that cannot poll
            self._watch.reading.become(Reading.ALONE)
        else:
            self._watch.reading.become(Reading.QUIET)
        self._take_in(self._begun)
        self._wake_loop()
        self._poll_what_is_wanted(stdout_full=False)
        self._thread.become(Running.STARTED)
        threading.Thread(target=self._run, name="oddwire cln stdio", daemon=True).start()
        self._flush()  # data sent before `start`

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._thread.now in _RUNNING

    @property
    def reading(self) -> Reading:
        """Who reads stdin now."""
        return self._watch.reading.now

    def send_documents(self, data: bytes) -> None:
        """Write whole documents to the node, in the order of the calls. Returns at once."""
        self._writer.put(data)
        self._flush()

    def log(self, level: Level, text: str) -> None:
        """Write to the node's log, line by line. Lines are dropped, and counted, while too many wait to be read."""
        self._writer.put_log(level, text)
        self._flush()

    def stop(self, patience: float = 1.0, *, on_done: Callable[[], object] | None = None) -> None:
        """Make the thread end once all is written, or after ``patience`` seconds. Returns at once. Idempotent.

        ``on_done`` is called in the thread when it ends. While the loop is open, call `detach` first.
        """
        if self._thread.now is Running.NOT_STARTED:
            self._thread.become(Running.ENDED)
        elif self._thread.now is Running.STARTED:
            self._on_done = on_done
            self._stop_at = time.monotonic() + patience
            self._thread.become(Running.STOPPING)
            self._wake_pipe.wake()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the thread's end, ``timeout`` seconds at most; return whether it has ended."""
        return not self.is_running or self._done.wait(timeout)

    def _flush(self) -> None:
        # The thread waits for room
        if self.is_running and self._writer.flush() and self._writer.fd not in self._polling:
            self._wake_pipe.wake()

    # Called on the loop -------------------------------------------------------------------------------

    def detach(self) -> None:
        """Stop reading on the loop: the thread reads from now on."""
        if self._is_on_loop:
            self._is_on_loop = False
            self._loop.remove_reader(self._stdin)
            self._watch.reading.become(Reading.ALONE)
            self._wake_pipe.wake()

    def _stdin_is_readable(self) -> None:
        watch = self._watch
        watch.beat += 1
        if watch.reading.now is _OVER:
            self.detach()
        elif self._reading.acquire(blocking=False):  # otherwise the thread is reading
            try:
                self._read()
            finally:
                self._reading.release()
            self._queue.deliver_now()

    def _wake_loop(self) -> None:
        if not self._queue.wake_loop():
            # The loop is closed: hooks are answered until the node or the process ends
            self._is_on_loop = False
            self._watch.reading.become(Reading.ALONE)

    # The reader, in either thread ---------------------------------------------------------------------

    def _read(self) -> None:
        """Read stdin once, answer hooks, and queue the items. The lock must be held."""
        if self._watch.reading.now is _OVER:
            return
        try:
            data = os.read(self._stdin, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._watch.reading.become(Reading.OVER)
            whole = self.reader.is_between_documents
            self._end("the node has ended" if whole else "the node has ended, in the middle of what it wrote")
            return
        self._take_in(data)

    def _take_in(self, data: bytes) -> None:
        try:
            batch = self.reader.feed(data)
        except RemoteProtocolError as error:
            self._watch.reading.become(Reading.OVER)
            logger.error("stdin is not JSON-RPC: %s", error)
            self._end(f"stdin is not JSON-RPC: {error}")
            return
        if batch.answers:
            self.send_documents(batch.answers)
        if batch.items:
            self._queue.put_items(batch.items, batch.size)
        for remark in batch.remarks:
            logger.warning("%s", remark)
        if batch.shutdown:
            self._end("the node shuts us down")

    def _end(self, reason: str) -> None:
        if self.end_reason is None:
            self.end_reason = reason
            if self._on_end is not None:
                try:
                    self._on_end(reason)
                except Exception:
                    logger.exception("on_stop raised")
            self._queue.put_end(reason)

    # In the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._thread.now is Running.STARTED or self._is_unfinished():
                self._step()
        except Exception as error:
            logger.exception("the connection to the node was lost")
            self._end(f"the connection to the node was lost: {error}")
            self._wake_loop()
        finally:
            self._thread.become(Running.ENDED)
            self._done.set()
            self._writer.close()
            with self._reading:
                self._watch.reading.become(Reading.OVER)
                for fd in (self._stdin, self._printed.fd):
                    if fd is not None and fd > 2:
                        with contextlib.suppress(OSError):
                            os.close(fd)
            self._wake_pipe.close()
            if self._on_done is not None:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    self._on_done()

    def _is_unfinished(self) -> bool:
        self._printed.read_last()
        return self._writer.flush() and time.monotonic() < self._stop_at

    def _step(self) -> None:
        for fd in self._polling.wait(self._seconds_to_wait()):
            if fd == self._wake_pipe.fd:
                self._wake_pipe.empty()
            elif fd == self._printed.fd:
                self._printed.read()
            elif fd == self._stdin:
                self._stdin_has_something()
        # Before the queue is looked at: later items wake us again
        self._wake_pipe.expect()
        stdout_full = self._writer.flush()
        if self.reading is Reading.WATCHED:
            self._watch.look(time.monotonic())
        self._poll_what_is_wanted(stdout_full=stdout_full)

    def _seconds_to_wait(self) -> float | None:
        """Return the seconds until the next timeout, None for none."""
        if self._thread.now is Running.STOPPING:
            return max(self._stop_at - time.monotonic(), 0.0)
        return WATCH if self.reading is Reading.WATCHED else None

    def _stdin_has_something(self) -> None:
        if self.reading is Reading.QUIET:
            # The loop is notified, too: from now on, it is watched
            self._watch.begin(time.monotonic())
            return
        with self._reading:
            self._read()
        self._wake_loop()
        self._watch.has_read(time.monotonic())

    def _poll_what_is_wanted(self, *, stdout_full: bool) -> None:
        self._polling.set_wanted(self._stdin, select.POLLIN, self.reading in POLLED)
        self._polling.set_wanted(self._writer.fd, select.POLLOUT, stdout_full)
        if self._printed.fd is not None:
            self._polling.set_wanted(self._printed.fd, select.POLLIN, not self._printed.has_ended)
