"""Polling in a thread: descriptors, and a pipe by which other threads wake it."""

from __future__ import annotations

import contextlib
import os
import select

__all__ = ["Polling", "WakePipe"]


class Polling:
    """The descriptors that a thread waits for, each with its event."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._events: dict[int, int] = {}

    def __contains__(self, fd: int) -> bool:
        """Return whether a descriptor is polled."""
        return fd in self._events

    def set_wanted(self, fd: int, event: int, wanted: bool) -> None:
        """Start or stop polling a descriptor for ``event``. To be called in the thread, or before it starts."""
        if wanted is (fd in self._events):
            return
        if wanted:
            self._poll.register(fd, event)
            self._events[fd] = event
        else:
            self._poll.unregister(fd)
            del self._events[fd]

    def wait(self, seconds: float | None) -> list[int]:
        """Wait for events, None for no timeout; return the descriptors that have any."""
        return [fd for fd, _ in self._poll.poll(None if seconds is None else seconds * 1000)]


class WakePipe:
    """Wakes a thread that polls ``fd``, from any other thread."""

    def __init__(self) -> None:
        self.fd, self._write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_fd, False)
        self._is_awake = False

    def wake(self) -> None:
        """Wake the thread, unless it is awake or about to be. Does nothing once it has ended."""
        if not self._is_awake and self._write_fd >= 0:
            self._is_awake = True
            with contextlib.suppress(OSError):  # the thread has ended, or the pipe is full of wake-ups
                os.write(self._write_fd, b"\0")

    def empty(self) -> None:
        """Read the bytes that `wake` has written."""
        os.read(self.fd, 4096)

    def expect(self) -> None:
        """Make later calls of `wake` effective. To be called before the thread looks for work."""
        self._is_awake = False

    def close(self) -> None:
        """Close both ends of the pipe."""
        write_fd, self._write_fd = self._write_fd, -1
        for fd in (self.fd, write_fd):
            with contextlib.suppress(OSError):
                os.close(fd)
