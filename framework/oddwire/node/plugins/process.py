"""A plugin's process and its three pipes: JSON documents from its stdout, bytes to its stdin, both within limits."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from oddwire.errors import ExtensionError, RemoteProtocolError
from oddwire.jsonrpc.documents import MAX_DOCUMENT_VARIABLE, JsonSplitter, Shortcut, max_document
from oddwire.printable import printable

__all__ = ["PluginLimits", "PluginProcess"]

_CHUNK: Final = 64 * 1024  # the capacity of a pipe
_PROGRESS: Final = 0.05  # seconds without a byte read after which a plugin that is behind counts as not reading
_SHOWN: Final = 80
_ENDLESS: Final = 64  # a document of so many times the max size is taken for one that does not end
_MOMENT: Final = 0.2  # seconds
_LAST_READS: Final = 16  # more than a pipe holds: anything after that was written by a child of the plugin


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginLimits:
    """Limits for a plugin, in seconds and bytes.

    A plugin that exceeds one by its own doing is ended; one that gets more than it reads, because of peers, is not.
    """

    manifest: float = 60
    """Seconds to answer ``getmanifest``."""
    init: float = 60
    """Seconds to answer ``init``."""
    shutdown: float = 30
    """Seconds to exit after the ``shutdown`` notification."""
    ahead: int = 64
    """Messages of one peer that a plugin may be sent before it answers the first, if it answers promptly."""
    prompt: float = 0.005
    """Max seconds of an answer that counts as prompt."""
    unread: int = 32 * 1024 * 1024
    """Bytes that may wait for a plugin that does not read its stdin; see `Backlog` for their order of importance."""
    behind: int = 256 * 1024
    """Bytes that may wait for a plugin that reads, before peers whose messages it subscribes to are paused."""
    stall: float = 60
    """Seconds without a read while more than a quarter of ``unread`` waits, after which messages skip the plugin."""
    gone: int = 8 * 1024 * 1024
    """Bytes of messages, plus 256 per message, that are kept for plugins after their peers have disconnected."""
    report: float = 10
    """Min seconds between log lines about notifications that a plugin did not get."""
    document: int = field(default_factory=max_document)
    """Max bytes of one JSON document from a plugin; a larger one is dropped, and the request that it answers fails."""
    line: int = 4096
    """Max bytes of one line on stderr; the rest of a longer one is logged as a line of its own."""


class PluginProcess:
    """The process of one plugin. It starts with the constructor, and ends by itself or by `kill`.

    ``on_document`` is called with each JSON document from stdout, or what a `JsonSplitter` with ``shortcut`` returns
    for it; ``on_stderr`` with each line; ``on_end`` once, with the reason: the plugin exited, closed its stdout, wrote
    invalid JSON or exceeded a limit.

    ``on_crowded`` is called with True when a quarter of `PluginLimits.unread` waits for the plugin, and with False when
    half of that was read; ``on_stalled`` when it has read nothing in between for `PluginLimits.stall` seconds.
    ``on_behind`` is called with True when more than `PluginLimits.behind` waits, and with False when half of that was
    read, or nothing is read for a moment. All are called on the event loop. Raises `ExtensionError` if the program
    cannot be started.
    """

    def __init__(
        self,
        path: str,
        *,
        directory: Path,
        environment: Mapping[str, str],
        limits: PluginLimits,
        on_document: Callable[[Any], None],
        on_stderr: Callable[[str], None],
        on_end: Callable[[str], None],
        on_crowded: Callable[[bool], None] = lambda crowded: None,
        on_stalled: Callable[[], None] = lambda: None,
        on_behind: Callable[[bool], None] = lambda behind: None,
        shortcut: Shortcut | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._on_document = on_document
        self._on_stderr = on_stderr
        self._on_end = on_end
        self._on_crowded = on_crowded
        raise_with = f" ({MAX_DOCUMENT_VARIABLE} in the node's environment allows more)"
        self._on_stalled = on_stalled
        self._on_behind = on_behind
        self._documents = JsonSplitter(max_size=limits.document, shortcut=shortcut, raise_with=raise_with)
        self._partial = False
        self._line = b""
        self._out: deque[bytes | memoryview] = deque()
        self.queued = 0
        """Bytes that wait for the plugin to read."""
        self._flushing = False  # a flush is scheduled, or waits for the pipe
        self._waiting = False  # a flush waits for room in the pipe
        self._high = limits.unread // 4
        self._low = min(limits.behind, self._high)
        self._crowded = False
        self._behind = False
        self._behind_timer: asyncio.TimerHandle | None = None
        self._read_at = 0.0  # of the last read, by the event loop's clock; while crowded or behind
        self._stall_timer: asyncio.TimerHandle | None = None
        self._ended = False
        self.ended_itself = False
        """Whether the plugin exited or closed its stdout before it was killed."""
        self.reaped: asyncio.Future[int] = self._loop.create_future()
        try:
            # Its own process group: Ctrl-C at a terminal reaches only the node, and the plugin's children end with it
            self._process = subprocess.Popen(  # noqa: S603 - running the program that the operator named is the point
                [path],
                cwd=directory,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                process_group=0,
            )
        except OSError as error:
            raise ExtensionError(f"could not be started: {_why_not(path, error)}") from error
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        self._stdin, self._stdout, self._stderr = (pipe.fileno() for pipe in pipes if pipe is not None)
        for fd in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(fd, False)
        self._loop.add_reader(self._stdout, self._read_stdout)
        self._loop.add_reader(self._stderr, self._read_stderr)
        self._pidfd = self._watch()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    # stdin -------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Queue bytes for the plugin's stdin: all that is queued in one event-loop iteration leaves in one write."""
        if self._ended:
            return
        self._out.append(data)
        self.queued += len(data)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        elif self.queued > self._low:
            self._fill()

    def _fill(self) -> None:
        """Call ``on_behind`` and ``on_crowded`` when their thresholds are reached."""
        if not self._behind:
            self._behind = True
            self._read_at = self._loop.time()
            self._watch_progress()
            self._on_behind(True)
        if self.queued > self._high and not self._crowded:
            self._crowded = True
            self._read_at = self._loop.time()
            self._watch_reading()
            self._on_crowded(True)

    def _flush(self) -> None:
        if self._ended:
            return
        data = self._gather()
        try:
            written = os.write(self._stdin, data)
        except BlockingIOError:
            written = 0
        except OSError:
            # The plugin closed its stdin, or has ended, which its stdout or pidfd will show
            self._out.clear()
            self.queued = 0
            self._stop_waiting()
            self._flushing = False
            self._look_for_room()
            return
        self.queued -= written
        if written < len(data):
            self._out.appendleft(memoryview(data)[written:])  # without copying the rest of a large document
        if self._out:
            if not self._waiting:
                self._waiting = True
                self._loop.add_writer(self._stdin, self._flush)
        else:
            self._stop_waiting()
            self._flushing = False
        if self._behind:
            if written:
                self._read_at = self._loop.time()
            self._look_for_room()

    def _look_for_room(self) -> None:
        if self._behind and self.queued <= self._low // 2:
            self._behind = False
            if self._stop_watching_progress():
                self._on_behind(False)
        if self._crowded and self.queued <= self._high // 2:
            self._crowded = False
            self._stop_watching()
            self._on_crowded(False)

    def _watch_progress(self) -> None:
        left = self._read_at + _PROGRESS - self._loop.time()
        if left > 0:
            self._behind_timer = self._loop.call_later(left, self._watch_progress)
        else:
            self._behind_timer = None
            self._on_behind(False)

    def _stop_watching_progress(self) -> bool:
        timer, self._behind_timer = self._behind_timer, None
        if timer is not None:
            timer.cancel()
        return timer is not None

    def _watch_reading(self) -> None:
        left = self._read_at + self._limits.stall - self._loop.time()
        if left > 0:
            self._stall_timer = self._loop.call_later(left, self._watch_reading)
        else:
            self._stall_timer = None
            self._on_stalled()

    def _stop_watching(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _gather(self) -> bytes | memoryview:
        out = self._out
        if len(out) == 1:
            return out.popleft()
        taken, size = [], 0
        while out and size < _CHUNK:
            piece = out.popleft()
            taken.append(piece)
            size += len(piece)
        return b"".join(taken)

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._stdin)

    # stdout and stderr -------------------------------------------------------------------------------

    def _read_stdout(self) -> None:
        try:
            data = os.read(self._stdout, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._take(data)
        else:
            # Most likely the plugin is exiting: wait a moment for its status, which says more
            self._loop.remove_reader(self._stdout)
            self._loop.call_later(_MOMENT, self._end_itself)

    def _take(self, data: bytes) -> None:
        documents = self._documents
        documents.push(data)
        found = False
        try:
            for document in documents:
                found = True
                self._on_document(document)
                if self._ended:
                    return
        except RemoteProtocolError as error:
            self.kill(f"its stdout is not JSON: {error}: {_shown(documents.rest)}")
            return
        unfinished = documents.oversize
        if unfinished is not None:
            self._partial = True
            if unfinished.size > _ENDLESS * self._limits.document:
                self.kill(f"its stdout is not JSON: a document does not end: {unfinished.reason}")
        elif found or not self._partial:
            rest = documents.rest.lstrip()
            self._partial = bool(rest)
            if rest and rest[0] not in b"{[":
                # More bytes cannot make this a document
                self.kill(f"its stdout is not JSON: {_shown(rest)}")

    def _read_stderr(self) -> None:
        try:
            data = os.read(self._stderr, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._stderr)
        limit = self._limits.line
        *lines, rest = (self._line + data).split(b"\n")
        if not data and rest:
            lines, rest = [rest], b""
        while len(rest) > limit:
            lines.append(rest[:limit])
            rest = rest[limit:]
        self._line = rest
        for line in lines:
            for start in range(0, max(len(line), 1), limit):
                self._on_stderr(line[start : start + limit].decode(errors="backslashreplace").rstrip("\r"))

    # The end -----------------------------------------------------------------------------------------

    def _watch(self) -> int | None:
        """Watch for the exit by a pidfd, which works even while a child of the plugin keeps its stdout open."""
        try:
            pidfd = os.pidfd_open(self._process.pid)
        except (AttributeError, OSError):
            return None
        self._loop.add_reader(pidfd, self._exited)
        return pidfd

    def _exited(self) -> None:
        self._process.wait()  # returns at once: the process is a zombie
        for _ in range(_LAST_READS):
            # Documents that the plugin wrote before its exit are handled
            try:
                data = os.read(self._stdout, _CHUNK) if not self._ended else b""
            except OSError:
                data = b""
            if not data:
                break
            self._take(data)
        self._end_itself()
        self._reap()

    def _end_itself(self) -> None:
        if self._ended:
            return
        self.ended_itself = True
        status = self._process.poll()
        if status is None:
            text = "closed its stdout"
        elif status < 0:
            try:
                text = f"was ended by {signal.Signals(-status).name}"
            except ValueError:
                text = f"was ended by signal {-status}"
        else:
            text = f"exited with status {status}" if status else "exited"
        self.kill(f"{text} in the middle of a JSON document" if self._partial else text)

    def kill(self, reason: str) -> None:
        """Kill the process and everything it started, and call ``on_end`` with ``reason``. Idempotent."""
        if self._ended:
            return
        self._ended = True
        self._stop_waiting()
        self._stop_watching_progress()
        self._stop_watching()
        self._loop.remove_reader(self._stdout)
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all processes may have ended
            os.killpg(self._process.pid, signal.SIGKILL)
        self._read_last_stderr()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self._out.clear()
        if self._pidfd is None:
            # No pidfd on this system: a thread waits until the killed process has ended
            waiting = self._loop.run_in_executor(None, self._process.wait)
            waiting.add_done_callback(lambda _: self._reap())
        elif self._process.returncode is not None:
            self._reap()
        self._on_end(reason)

    def abandon(self) -> None:
        """Kill the process and everything it started, and do nothing else, as the event loop may not be running."""
        if not self.reaped.done():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _read_last_stderr(self) -> None:
        # The last lines often say why a plugin died
        try:
            data = os.read(self._stderr, _CHUNK)
        except OSError:
            data = b""
        self._loop.remove_reader(self._stderr)
        for line in (self._line + data).splitlines():
            self._on_stderr(line[: self._limits.line].decode(errors="backslashreplace"))

    def _reap(self) -> None:
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        if not self.reaped.done():
            self.reaped.set_result(self._process.returncode or 0)


def _shown(data: bytes) -> str:
    text = data[:_SHOWN].decode(errors="replace")
    return repr(text) if len(data) <= _SHOWN else f"{text!r}..."


def _why_not(path: str, error: OSError) -> str:
    """Return why the kernel did not run a program; the error alone does not name the interpreter that is missing."""
    reason = error.strerror or str(error)
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            first = file.readline(256)
    except OSError:
        return reason
    if not first.startswith(b"#!"):
        if error.errno == errno.ENOEXEC:
            return f"{reason}: a script's first line should name what runs it, #!/usr/bin/env python3 for one"
        return reason
    interpreter = printable(os.fsdecode(first[2:].strip(b" \t\n").split(b" ")[0]))
    if error.errno == errno.ENOENT:
        return f"{reason}: its first line names '{interpreter}', which is not there"
    return f"{reason}: its first line names '{interpreter}'"
