"""What a thread waits for: descriptors, and to be waked by another thread."""

from __future__ import annotations

import contextlib
import os
import select

__all__ = ["Polling", "WakePipe"]


class Polling:
    """The descriptors that a thread waits for, each with the event."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._events: dict[int, int] = {}

    def __contains__(self, fd: int) -> bool:
        """Say whether a descriptor is waited for."""
        return fd in self._events

    def set_wanted(self, fd: int, event: int, wanted: bool) -> None:
        """Wait for ``event`` of a descriptor from now on, or no more. In the thread, or before it starts."""
        if wanted is (fd in self._events):
            return
        if wanted:
            self._poll.register(fd, event)
            self._events[fd] = event
        else:
            self._poll.unregister(fd)
            del self._events[fd]

    def wait(self, seconds: float | None) -> list[int]:
        """Wait for events; None for ``seconds`` waits for ever. Returns the descriptors that have some."""
        return [fd for fd, _ in self._poll.poll(None if seconds is None else seconds * 1000)]


class WakePipe:
    """Wakes a thread that waits for ``fd``, from any other."""

    def __init__(self) -> None:
        self.fd, self._write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._write_fd, False)
        self._is_awake = False

    def wake(self) -> None:
        """Wake the thread, if it is not awake or about to be. Does nothing when it has ended."""
        if not self._is_awake and self._write_fd >= 0:
            self._is_awake = True
            with contextlib.suppress(OSError):  # it has ended, or has been waked often enough
                os.write(self._write_fd, b"\0")

    def empty(self) -> None:
        """Take what `wake` has written."""
        os.read(self.fd, 4096)

    def expect(self) -> None:
        """Be waked by what comes from now on. Called before the thread looks at what there is to do."""
        self._is_awake = False

    def close(self) -> None:
        """Close both ends."""
        write_fd, self._write_fd = self._write_fd, -1
        for fd in (self.fd, write_fd):
            with contextlib.suppress(OSError):
                os.close(fd)
