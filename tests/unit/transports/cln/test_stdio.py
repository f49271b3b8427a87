"""The way to the node: what is read, written, handed on and logged, with the test at the other ends of the pipes.

Tests that read stdout without awaiting block the loop: then it is the thread that answers.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from oddwire.proto.keys import NodeId
from oddwire.transports.cln.stdio import NodeStdio
from oddwire.transports.cln.stdio_states import Reading

PEER = "02" + "11" * 32
DEADLINE = 20


def custommsg(number: int, payload: str) -> bytes:
    return (
        f'{{"jsonrpc":"2.0","id":"cln:custommsg#{number}","method":"custommsg",'
        f'"params":{{"payload":"{payload}","peer_id":"{PEER}"}}}}\n\n'
    ).encode()


class Ends:
    """Pipes to and from a `NodeStdio`; ``items`` is what it handed on."""

    def __init__(self) -> None:
        self.stdin, self.to_stdin = os.pipe()
        self.from_stdout, self.stdout = os.pipe()
        self.foreign, self.printed = os.pipe()
        self.items: list[Any] = []
        self.dropped: dict[NodeId, int] = {}
        self.caught_up = 0
        self.reasons: list[str] = []
        self.stdio = NodeStdio(self.stdin, self.stdout, self.foreign, on_end=self.reasons.append, backlog=100_000)
        self.stdio.reader.type_ids = frozenset({0x8C01})
        self.changed = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._rest = b""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.stdio.start(loop, self.take)

    def take(self, items: list[Any], dropped: dict[NodeId, int]) -> None:
        self.items += items
        self.caught_up += not items and not dropped
        for peer, count in dropped.items():
            self.dropped[peer] = self.dropped.get(peer, 0) + count
        self.changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def read(self) -> dict[str, Any]:
        """Return the next document from stdout; blocks."""
        while b"\n\n" not in self._rest:
            data = os.read(self.from_stdout, 65536)
            assert data, "stdout was closed"
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\n\n")
        return json.loads(text)

    def close(self) -> None:
        if self.loop is not None and not self.loop.is_closed():
            self.stdio.detach()
        self.stdio.stop(0.1)
        assert self.stdio.join(DEADLINE)
        for fd in (self.to_stdin, self.from_stdout, self.printed):
            try:
                os.close(fd)
            except OSError:
                continue
        if self.loop is None:
            for fd in (self.stdin, self.stdout, self.foreign):
                os.close(fd)


@pytest.fixture
async def ends() -> Iterator[Ends]:
    ends = Ends()
    ends.start(asyncio.get_running_loop())
    yield ends
    ends.close()


async def test_calls_are_answered_and_handed_on(ends: Ends) -> None:
    os.write(ends.to_stdin, custommsg(1, "8c01aa") + custommsg(2, "8c03"))
    for number in (1, 2):
        assert ends.read() == {"jsonrpc": "2.0", "id": f"cln:custommsg#{number}", "result": {"result": "continue"}}
    await ends.until(lambda: ends.items)
    assert ends.items == [(NodeId(PEER), b"\x8c\x01\xaa")]


async def test_the_loop_answers_by_itself_and_before_it_hands_on(ends: Ends) -> None:
    answered_before = []

    def take(items: list[Any], dropped: dict[NodeId, int]) -> None:
        answered_before.append(ends.read()["id"])
        ends.take(items, dropped)

    ends.stdio._queue.take_items = take
    for number in range(50):
        os.write(ends.to_stdin, custommsg(number, f"8c01{number:02x}"))
        await ends.until(lambda: len(ends.items) > number)  # noqa: B023 - awaited here
    assert answered_before == [f"cln:custommsg#{number}" for number in range(50)]
    assert ends.stdio.reading in (Reading.WATCHED, Reading.QUIET)


async def test_the_thread_takes_over_and_gives_back_and_nothing_is_lost_or_reordered(ends: Ends) -> None:
    sent = 0
    for round_ in range(6):
        for _ in range(20):
            os.write(ends.to_stdin, custommsg(sent, f"8c01{sent:04x}"))
            sent += 1
            if round_ % 2:
                await asyncio.sleep(0)
            else:
                assert ends.read()["id"] == f"cln:custommsg#{sent - 1}"  # blocks the loop until it is answered
        await ends.until(lambda: len(ends.items) >= sent)  # noqa: B023 - awaited here
        for _ in range(20 if round_ % 2 else 0):
            ends.read()
    assert [int.from_bytes(payload[2:], "big") for _, payload in ends.items] == list(range(sent))


async def test_after_silence_it_is_all_as_before(ends: Ends) -> None:
    """The thread sleeps after a second without messages, and wakes for the first."""
    async with asyncio.timeout(DEADLINE):
        while ends.stdio.reading is not Reading.QUIET:
            await asyncio.sleep(0.05)
    for number in range(3):
        os.write(ends.to_stdin, custommsg(number, "8c01"))
        assert ends.read()["id"] == f"cln:custommsg#{number}"
    await ends.until(lambda: len(ends.items) >= 3)


async def test_stdin_may_be_a_file(tmp_path) -> None:
    path = tmp_path / "requests"
    path.write_bytes(b"".join(custommsg(number, "8c01") for number in range(5)))
    from_stdout, stdout = os.pipe()
    items: list[Any] = []
    changed = asyncio.Event()
    stdio = NodeStdio(os.open(path, os.O_RDONLY), stdout)
    stdio.reader.type_ids = frozenset({0x8C01})
    stdio.start(asyncio.get_running_loop(), lambda more, dropped: (items.extend(more), changed.set()))
    async with asyncio.timeout(DEADLINE):
        while "the node has ended" not in items:
            changed.clear()
            await changed.wait()
    assert items[:-1] == [(NodeId(PEER), b"\x8c\x01")] * 5
    stdio.stop()
    assert stdio.join(DEADLINE)
    assert os.read(from_stdout, 65536).count(b"continue") == 5
    os.close(from_stdout)


async def test_the_order_of_what_is_sent_from_several_threads_is_each_ones_own(ends: Ends) -> None:
    async def send(sender: int) -> None:
        for number in range(200):
            await asyncio.to_thread(ends.stdio.send_documents, json.dumps([sender, number]).encode() + b"\n\n")

    await asyncio.gather(*(send(sender) for sender in range(4)))
    seen = [ends.read() for _ in range(800)]
    for sender in range(4):
        assert [number for who, number in seen if who == sender] == list(range(200))


async def test_a_node_that_does_not_read_blocks_nobody(ends: Ends) -> None:
    """More than a pipe holds, and reading goes on; then all of it comes, in order."""
    documents = [{"id": number, "result": "x" * 100_000} for number in range(30)]
    for document in documents:
        ends.stdio.send_documents(json.dumps(document).encode() + b"\n\n")
    os.write(ends.to_stdin, custommsg(1, "8c01"))
    await ends.until(lambda: ends.items)
    seen = await asyncio.to_thread(lambda: [ends.read() for _ in range(31)])
    assert seen[:30] == documents
    assert seen[30]["id"] == "cln:custommsg#1"


async def test_log_lines(ends: Ends) -> None:
    ends.stdio.log("unusual", "one\ntwo\0 \udc80 ü \x1b\x9b\u202e\r")
    ends.stdio.log("no such level", "three")
    ends.stdio.log("info", "")
    ends.stdio.log("debug", "x" * 1_000_000)
    lines = [ends.read() for _ in range(4)]
    assert all(line["method"] == "log" and "id" not in line for line in lines)
    told = [(line["params"]["level"], line["params"]["message"]) for line in lines]
    assert told[:3] == [("unusual", "one"), ("unusual", "two\\x00 \\udc80 ü \\x1b\\x9b\\u202e\\r"), ("info", "three")]
    assert told[3][1] == "x" * 16384 + "... (1000000 characters)"


async def test_what_is_logged_before_it_starts_is_not_lost() -> None:
    ends = Ends()
    ends.stdio.log("info", "early")
    ends.start(asyncio.get_running_loop())
    assert ends.read()["params"]["message"] == "early"
    ends.close()


async def test_log_lines_that_nobody_reads_are_counted(ends: Ends) -> None:
    for number in range(20_000):
        ends.stdio.log("info", f"{number} {'x' * 100}")

    def read_all() -> tuple[int, int]:
        count, lost = 0, 0
        while count + lost < 20_000:
            text = ends.read()["params"]["message"]
            if text.endswith("the node did not read them"):
                lost += int(text.split()[0])
            else:
                count += 1
        return count, lost

    count, lost = await asyncio.to_thread(read_all)
    assert count + lost == 20_000
    assert lost > 0


async def test_what_others_print_is_logged(ends: Ends) -> None:
    os.write(ends.printed, b"hel")
    os.write(ends.printed, b"lo\n\nworld\xff\x1b[2J\xc2\x9b\r\n")
    assert [ends.read()["params"] for _ in range(2)] == [
        {"level": "info", "message": "hello"},
        {"level": "info", "message": "world\\xff\\x1b[2J\\x9b"},
    ]
    await asyncio.to_thread(os.write, ends.printed, b"y" * 50_000)
    assert ends.read()["params"]["message"].startswith("y" * 16384 + "... (")
    os.write(ends.printed, b" the rest")
    ends.stdio.stop()
    texts = []
    while not texts or not texts[-1].endswith(" the rest"):
        texts.append(ends.read()["params"]["message"])


async def test_the_end_of_stdin(ends: Ends) -> None:
    os.write(ends.to_stdin, b'{"id":')
    os.close(ends.to_stdin)
    await ends.until(lambda: ends.items)
    assert ends.items == ends.reasons == ["the node has ended, in the middle of what it wrote"]
    assert ends.stdio.end_reason == ends.reasons[0]
    ends.stdio.log("info", "still writing")
    assert ends.read()["params"]["message"] == "still writing"


async def test_shutdown_is_told_once_and_calls_are_answered_after_it(ends: Ends) -> None:
    shutdown = b'{"jsonrpc":"2.0","method":"shutdown","params":{}}\n\n'
    os.write(ends.to_stdin, shutdown + shutdown + custommsg(1, "8c01"))
    assert ends.read()["id"] == "cln:custommsg#1"
    os.write(ends.to_stdin, shutdown + custommsg(2, "8c01"))
    assert ends.read()["id"] == "cln:custommsg#2"
    assert ends.reasons == ["the node shuts us down"]


async def test_an_on_end_that_raises_is_logged(caplog) -> None:
    ends = Ends()
    ends.stdio._on_end = lambda reason: 1 / 0
    ends.start(asyncio.get_running_loop())
    os.close(ends.to_stdin)
    await ends.until(lambda: ends.items)
    assert "on_stop raised" in caplog.text
    ends.close()


async def test_stdout_closed_by_the_node(ends: Ends) -> None:
    os.close(ends.from_stdout)
    ends.stdio.log("info", "nobody hears this")
    os.write(ends.to_stdin, custommsg(1, "8c01"))
    await ends.until(lambda: ends.items)
    assert ends.items == [(NodeId(PEER), b"\x8c\x01")]


async def test_what_the_loop_does_not_take_is_dropped_beyond_the_backlog_and_counted(ends: Ends) -> None:
    connect = b'{"jsonrpc":"2.0","method":"connect","params":{}}\n\n'
    for number in range(200):  # the loop is busy with this
        os.write(ends.to_stdin, custommsg(number, f"8c01{number:04x}" + "00" * 996))
        assert ends.read()["id"] == f"cln:custommsg#{number}"
    os.write(ends.to_stdin, connect)
    await ends.until(lambda: ends.items and isinstance(ends.items[-1], dict))
    assert ends.caught_up >= 1
    payloads = [item[1] for item in ends.items[:-1]]
    assert len(payloads) + ends.dropped[NodeId(PEER)] == 200
    room = 100_000 // (1000 + 128)
    assert [int.from_bytes(payload[2:4], "big") for payload in payloads[:room]] == list(range(room))
    assert len(payloads) <= room + 1  # the last may come when the loop has begun to take


def test_a_loop_that_is_closed_leaves_the_answers() -> None:
    ends = Ends()
    loop = asyncio.new_event_loop()
    ends.start(loop)
    loop.close()
    for number in range(3):
        os.write(ends.to_stdin, custommsg(number, "8c01"))
        assert ends.read()["id"] == f"cln:custommsg#{number}"
    ends.close()


async def test_one_socket_for_both_ways() -> None:
    ours, its = socket.socketpair()
    stdio = NodeStdio(its.fileno(), its.fileno())
    its.detach()
    stdio.start(asyncio.get_running_loop(), lambda items, dropped: None)
    stdio.send_documents(b"x" * 1_000_000 + b"\n\n")
    ours.sendall(custommsg(1, "8c01"))
    ours.setblocking(False)
    data = b""
    while not data.endswith(b'"continue"}}\n\n'):
        data += await asyncio.get_running_loop().sock_recv(ours, 65536)
    stdio.stop()
    assert stdio.join(DEADLINE)
    assert not stdio.is_running
    ours.close()


async def test_a_node_that_never_reads_does_not_delay_the_end() -> None:
    ends = Ends()
    ends.start(asyncio.get_running_loop())
    ends.stdio.send_documents(b"x" * 1_000_000)
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    ends.stdio.stop(0.05, on_done=lambda: loop.call_soon_threadsafe(done.set))
    await asyncio.wait_for(done.wait(), DEADLINE)
    ends.close()


def test_a_stdio_that_was_never_started() -> None:
    ends = Ends()
    ends.stdio.send_documents(b"{}")
    ends.stdio.stop()
    assert ends.stdio.join()
    ends.close()


async def test_it_starts_once(ends: Ends) -> None:
    with pytest.raises(RuntimeError, match="the thread of stdio is running: make a new NodeStdio"):
        ends.start(asyncio.get_running_loop())


async def test_who_reads_as_time_goes_by(ends: Ends) -> None:
    assert ends.stdio.reading in (Reading.QUIET, Reading.WATCHED)
    os.write(ends.to_stdin, custommsg(1, "8c01"))
    assert ends.read()["id"] == "cln:custommsg#1"  # blocks the loop, so the thread has read it
    assert ends.stdio.reading is Reading.REPLACED
    await ends.until(lambda: ends.items)
    ends.stdio.detach()
    assert ends.stdio.reading is Reading.ALONE
    os.write(ends.to_stdin, custommsg(2, "8c01"))
    await ends.until(lambda: len(ends.items) == 2)
    os.close(ends.to_stdin)
    await ends.until(lambda: ends.reasons)
    assert ends.stdio.reading is Reading.OVER
