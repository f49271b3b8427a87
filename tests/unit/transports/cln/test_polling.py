"""What the thread waits for."""

from __future__ import annotations

import os
import select

from oddwire.transports.cln.polling import Polling, WakePipe


def test_what_is_wanted_is_waited_for_and_no_longer_than_that() -> None:
    polling, (fd, write_fd) = Polling(), os.pipe()
    os.write(write_fd, b"x")
    assert polling.wait(0) == []
    for _ in range(2):
        polling.set_wanted(fd, select.POLLIN, True)
    assert fd in polling
    assert polling.wait(None) == [fd]
    for _ in range(2):
        polling.set_wanted(fd, select.POLLIN, False)
    assert fd not in polling
    assert polling.wait(0) == []
    os.close(fd)
    os.close(write_fd)


def test_a_pipe_wakes_once_until_it_is_expected_to_again() -> None:
    polling, pipe = Polling(), WakePipe()
    polling.set_wanted(pipe.fd, select.POLLIN, True)
    assert polling.wait(0) == []
    for _ in range(100_000):  # more than a pipe holds
        pipe.wake()
    assert polling.wait(0) == [pipe.fd]
    pipe.empty()
    pipe.wake()
    assert polling.wait(0) == []  # it is awake, and has not looked so far
    pipe.expect()
    pipe.wake()
    assert polling.wait(0) == [pipe.fd]
    pipe.close()
    pipe.expect()
    pipe.wake()  # nobody
