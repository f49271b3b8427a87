"""The thread that owns the plugin's stdin and stdout: hooks are answered whatever the loop is doing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from oddwire.errors import RemoteProtocolError
from oddwire.jsonrpc.framing import encode
from oddwire.transports.base import NodeId
from oddwire.transports.cln.hooks import Batch, HostReader, Item, Receive

__all__ = ["Channel", "Handed", "Level"]

logger = logging.getLogger("oddwire.transports.cln")

Level = str
"""``trace``, ``debug``, ``info``, ``unusual`` or ``broken``."""

_LEVELS: Final = frozenset({"trace", "debug", "info", "unusual", "broken"})
_READ: Final = 1 << 18
_WRITE: Final = 1 << 18
_LINE: Final = 16 * 1024  # characters of a log line
_MOST_LINES: Final = 4096  # that wait for a node that does not read
_OVERHEAD: Final = 128  # what a payload costs besides its bytes
_DENSE: Final = 0.0004  # seconds: chunks that come closer than this on average are handed on several at once
_GATHER: Final = 0.002  # seconds from one such wake-up of the loop to the next
_FOREIGN_READS: Final = 64  # at the end, of what others have printed

Handed = Callable[[list[Item], dict[NodeId, int]], None]
"""Takes what came, in order, and how many payloads of whom had to be dropped."""


class Channel:
    """Reads ``stdin``, answers hooks at once, and hands the rest to a loop; writes ``stdout``; logs ``foreign``.

    ``on_end`` is called in the thread, once, with the reason: the node wants us to end, or has closed stdin. While the
    loop takes nothing, payloads of up to ``backlog`` bytes are kept for it; what exceeds them is dropped and counted.
    Once the loop has caught up after that, it is handed nothing, which says that no more was dropped.
    """

    def __init__(
        self,
        stdin: int,
        stdout: int,
        foreign: int | None = None,
        *,
        receive: Receive = "hook",
        backlog: int = 64 * 1024 * 1024,
        on_end: Callable[[str], None] | None = None,
    ) -> None:
        self.reader = HostReader(receive)
        self.end_reason: str | None = None
        """Why nothing more is to be done for the node; None while there is."""
        self._stdin, self._stdout, self._foreign = stdin, stdout, foreign
        self._backlog = backlog
        self._on_end = on_end
        self._loop: asyncio.AbstractEventLoop | None = None
        self._take: Handed | None = None
        self._thread: threading.Thread | None = None
        # To the loop. Each counter has one writer, so they need no lock
        self._handed: deque[tuple[list[Item], dict[NodeId, int], int]] = deque()
        self._bytes_handed = 0
        self._bytes_taken = 0
        self._delivering = False
        self._lossy = False  # of what the loop has taken since it last caught up, something was dropped
        self._late = False  # something was handed on, and the loop was not waked for it
        self._waked = 0.0
        self._came = 0.0
        self._gap = 1.0
        # To the node
        self._out: deque[bytes] = deque()
        self._unsent = memoryview(b"")
        self._blocked = False  # stdout is full
        self._lost_lines = 0
        self._printed = b""
        self._printing = True  # foreign has not ended
        self._awake = False
        self._stop_at: float | None = None
        self._on_done: Callable[[], object] | None = None
        self._wake_in, self._wake_out = -1, -1
        self._poll = select.poll()
        self._done = threading.Event()

    # Called from any thread ---------------------------------------------------------------------------

    def start(self, loop: asyncio.AbstractEventLoop, take: Handed) -> None:
        """Start the thread; ``take`` is called on ``loop``."""
        self._loop, self._take = loop, take
        if self._stdin == self._stdout:
            self._stdout = os.dup(self._stdout)  # of a socket: each way is polled for itself
        self._wake_in, self._wake_out = os.pipe()
        for fd in (self._stdin, self._stdout, self._foreign, self._wake_in, self._wake_out):
            if fd is not None:
                os.set_blocking(fd, False)
        for fd in (self._stdin, self._foreign, self._wake_in):
            if fd is not None:
                self._poll.register(fd, select.POLLIN)
        self._thread = threading.Thread(target=self._run, name="oddwire cln channel", daemon=True)
        self._thread.start()
        self._wake()  # for what was sent before

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._thread is not None and not self._done.is_set()

    def send(self, data: bytes) -> None:
        """Write whole documents to the node, after all that was sent before. Returns at once."""
        self._out.append(data)
        self._wake()

    def log(self, level: Level, text: str) -> None:
        """Write to the node's log, line by line. Lines are dropped, and counted, while too many wait to be read."""
        if level not in _LEVELS:
            level = "info"
        for line in text.splitlines():
            if len(self._out) >= _MOST_LINES:
                self._lost_lines += 1
                continue
            if len(line) > _LINE:
                line = f"{line[:_LINE]}... ({len(line)} characters)"
            # lightningd prints a message as it came if it holds escapes that it does not know
            line = line.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
            self._out.append(encode({"jsonrpc": "2.0", "method": "log", "params": {"level": level, "message": line}}))
        self._wake()

    def stop(self, patience: float = 1.0, *, on_done: Callable[[], object] | None = None) -> None:
        """Have the thread end once all is written, or ``patience`` seconds have passed. Returns at once. Idempotent.

        ``on_done`` is called in the thread when it ends.
        """
        if self._stop_at is None:
            self._on_done = on_done
            self._stop_at = time.monotonic() + patience
            self._wake()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the thread's end; false if it takes longer."""
        return self._thread is None or self._done.wait(timeout)

    def _wake(self) -> None:
        if not self._awake and self._wake_out >= 0:
            self._awake = True
            with contextlib.suppress(OSError):  # it has ended, or has been woken often enough
                os.write(self._wake_out, b"\0")

    # On the loop --------------------------------------------------------------------------------------

    def _deliver(self) -> None:
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
            # Others on the loop have their turn between chunks. What the thread adds meanwhile needs no other wake-up
            if handed and self._loop is not None:
                self._loop.call_soon(self._deliver)
            else:
                self._delivering = False
                if handed:
                    self._call_soon()

    # In the thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._stop_at is None or self._is_unfinished(self._stop_at):
                self._step()
        except Exception as error:
            logger.exception("the channel to the node broke")
            self._end(f"the channel to the node broke: {error}")
        finally:
            for fd in (self._wake_in, self._wake_out, self._stdin, self._stdout, self._foreign):
                if fd is not None and fd > 2:
                    with contextlib.suppress(OSError):
                        os.close(fd)
            self._wake_out = -1
            self._done.set()
            if self._on_done is not None:
                with contextlib.suppress(RuntimeError):  # the loop that waited for it is closed
                    self._on_done()

    def _is_unfinished(self, until: float) -> bool:
        for _ in range(_FOREIGN_READS):
            if not self._read_foreign():
                break
        if self._printed:
            self._log_printed(b"\n")
        return self._flush() and time.monotonic() < until

    def _step(self) -> None:
        timeout = None if self._stop_at is None else max(self._stop_at - time.monotonic(), 0.0) * 1000
        ready = self._poll.poll(1 if self._late else timeout)
        if self._late and not ready:
            self._call_soon()
        for fd, _ in ready:
            if fd == self._wake_in:
                os.read(fd, 4096)
            elif fd == self._stdin:
                self._read()
            elif fd == self._foreign:
                self._read_foreign()
        # Before the queue is looked at: what comes later wakes us again
        self._awake = False
        self._flush()

    def _read(self) -> None:
        try:
            data = os.read(self._stdin, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._poll.unregister(self._stdin)
            whole = self.reader.is_between_documents
            self._end("the node is gone" if whole else "the node is gone, in the middle of what it wrote")
            return
        try:
            batch = self.reader.feed(data)
        except RemoteProtocolError as error:
            self._poll.unregister(self._stdin)
            logger.error("stdin is not JSON-RPC: %s", error)
            self._end(f"stdin is not JSON-RPC: {error}")
            return
        if batch.answers:
            self._out.append(batch.answers)
            self._flush()
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
        # A message that comes alone is handed on at once; in a stream of them, waking the loop for each costs more than
        # all the rest
        now = time.monotonic()
        self._gap += (min(now - self._came, 0.01) - self._gap) / 4
        self._came = now
        if self._gap < _DENSE and now - self._waked < _GATHER:
            self._late = True
        else:
            self._call_soon()

    def _call_soon(self) -> None:
        self._late = False
        self._waked = self._came
        if not self._delivering and self._loop is not None:
            self._delivering = True
            try:
                self._loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                # The loop is closed: hooks are answered until the node or the process ends
                self._take = None
                self._handed.clear()
                self._delivering = False

    def _end(self, reason: str) -> None:
        if self.end_reason is None:
            self.end_reason = reason
            if self._on_end is not None:
                try:
                    self._on_end(reason)
                except Exception:
                    logger.exception("on_stop raised")
            self._handed.append(([reason], {}, 0))
            self._call_soon()

    def _flush(self) -> bool:
        """Write what the node takes; true if something is left."""
        out = self._out
        while True:
            if not self._unsent:
                if not out:
                    if self._lost_lines:
                        lost, self._lost_lines = self._lost_lines, 0
                        self.log("unusual", f"{lost} lines of log were left out: nobody read them")
                        continue
                    break
                pieces, size = [], 0
                while out and size < _WRITE:
                    pieces.append(out.popleft())
                    size += len(pieces[-1])
                self._unsent = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            try:
                written = os.write(self._stdout, self._unsent)
            except BlockingIOError:
                if not self._blocked:
                    self._blocked = True
                    self._poll.register(self._stdout, select.POLLOUT)
                return True
            except OSError:
                # Nobody will read it; stdin tells the end
                out.clear()
                self._unsent = memoryview(b"")
                break
            self._unsent = self._unsent[written:]
        if self._blocked:
            self._blocked = False
            self._poll.unregister(self._stdout)
        return False

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
        if len(self._printed) > _LINE:
            lines.append(self._printed)
            self._printed = b""
        for line in lines:
            if line.strip():
                self.log("info", line.decode(errors="replace"))
