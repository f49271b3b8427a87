"""What is written to the node, and when."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator

import pytest

from oddwire.transports.cln.writer import Writer


class Pipe:
    def __init__(self) -> None:
        self.end, fd = os.pipe()
        os.set_blocking(fd, False)
        os.set_blocking(self.end, False)
        self.writer = Writer(fd)

    def read(self) -> bytes:
        data = b""
        try:
            while piece := os.read(self.end, 65536):
                data += piece
        except BlockingIOError:
            pass
        return data


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.writer.close()
    os.close(pipe.end)


def test_nothing_goes_before_a_flush_and_all_of_it_by_one(pipe: Pipe) -> None:
    pipe.writer.put(b"{}\n\n")
    pipe.writer.put_log("info", "hello")
    assert pipe.read() == b""
    assert pipe.writer.flush() is False
    first, second = pipe.read().split(b"\n\n")[:2]
    assert json.loads(first) == {}
    assert json.loads(second)["params"] == {"level": "info", "message": "hello"}


def test_says_when_the_node_takes_no_more_and_goes_on_where_it_stopped(pipe: Pipe) -> None:
    sent = b"".join(b"%06d" % number for number in range(100_000))
    pipe.writer.put(sent[:300_000])
    pipe.writer.put(sent[300_000:])
    received = b""
    while pipe.writer.flush():
        received += pipe.read()
    assert received + pipe.read() == sent


def test_threads_share_it(pipe: Pipe) -> None:
    """What one puts while another writes is written by that one, or by itself: it does not stay."""

    def send(number: int) -> None:
        for _ in range(500):
            pipe.writer.put(b"%d" % number)
            pipe.writer.flush()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    received = pipe.read()
    assert len(received) == 2000
    assert all(received.count(b"%d" % number) == 500 for number in range(4))


def test_a_node_that_is_gone_takes_everything(pipe: Pipe) -> None:
    other = Pipe()
    os.close(other.end)
    other.writer.put(b"x")
    assert other.writer.flush() is False
    other.writer.close()
    other.writer.put(b"y")
    assert other.writer.flush() is False
    pipe.writer.put(b"z")
    pipe.writer.flush()
    assert pipe.read() == b"z"
