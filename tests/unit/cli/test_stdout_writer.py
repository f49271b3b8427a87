import os
import queue
import threading
from collections.abc import Iterator

import pytest

from oddwire.cli.stdout_writer import StdoutWriter


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def test_writes_everything_in_order(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    outlet = StdoutWriter(writing, lambda _: None)
    sent = [str(number).encode() + b"\n" for number in range(10_000)]
    got = bytearray()

    def read() -> None:
        while len(got) < sum(map(len, sent)):
            got.extend(os.read(reading, 5000))

    reader = threading.Thread(target=read)
    reader.start()
    for data in sent:
        outlet.put(data)
    assert outlet.drain(30)
    reader.join()
    assert bytes(got) == b"".join(sent)


def test_who_prints_does_not_wait_until_much_is_pending(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    outlet = StdoutWriter(writing, lambda _: None, pending=1 << 20)
    for _ in range(9):
        outlet.put(bytes(100_000))  # a pipe holds less than one of them
    assert not outlet.drain(0.0)
    for _ in range(4):
        threading.Thread(target=outlet.put, args=(bytes(100_000),)).start()
    got = 0
    while got < 13 * 100_000:
        got += len(os.read(reading, 1 << 16))
    assert outlet.drain(30)


def test_a_reader_that_leaves_breaks_it_once_and_for_all(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    told: queue.Queue[OSError] = queue.Queue()
    outlet = StdoutWriter(writing, told.put)
    outlet.put(bytes(1 << 20))
    os.close(reading)
    assert isinstance(told.get(timeout=30), BrokenPipeError)
    assert outlet.broken
    outlet.put(b"more")
    assert outlet.drain(0.0)
    assert told.empty()
