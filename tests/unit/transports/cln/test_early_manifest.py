"""What a node hears before there is a loop; and that the transport goes on from there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from oddwire.errors import ConnectionClosed
from oddwire.jsonrpc import JsonSplitter, encode
from oddwire.testing.sinks import RecordingSink
from oddwire.transports.base import Manifest
from oddwire.transports.cln import ClnTransport, EarlyManifest
from oddwire.transports.cln.reader import Receive

MANIFEST = Manifest(type_ids=frozenset({0x8C01}))
GETMANIFEST = encode({"jsonrpc": "2.0", "id": "cln:getmanifest#1", "method": "getmanifest", "params": {}})
INIT = encode({"jsonrpc": "2.0", "id": "cln:init#2", "method": "init", "params": {}})


class Pipes:
    """The node's side of stdin and stdout."""

    def __init__(self) -> None:
        self._ours = True
        self.stdin, self._to_stdin = os.pipe()
        self._from_stdout, self.stdout = os.pipe()
        os.set_blocking(self._from_stdout, False)

    def write(self, data: bytes) -> None:
        os.write(self._to_stdin, data)

    def heard(self) -> list[Any]:
        """Return what has been written to stdout."""
        try:
            return JsonSplitter().feed(os.read(self._from_stdout, 1 << 16))
        except BlockingIOError:
            return []

    def transport(self, early: EarlyManifest, on_stop: Callable[[str], None] | None = None) -> ClnTransport:
        """Make a transport, which closes its ends itself."""
        self._ours = False
        return ClnTransport(early_manifest=early, on_stop=on_stop)

    def end(self) -> None:
        """The node is gone."""
        if self._to_stdin >= 0:
            os.close(self._to_stdin)
            self._to_stdin = -1

    def close(self) -> None:
        self.end()
        os.close(self._from_stdout)
        if self._ours:
            os.close(self.stdin)
            os.close(self.stdout)


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    pipes = Pipes()
    yield pipes
    pipes.close()


def test_it_answers_what_is_there_and_leaves_the_rest(pipes: Pipes) -> None:
    early = EarlyManifest(pipes.stdin, pipes.stdout, version="v26.06")
    early.log("unusual", "first\nsecond")
    assert pipes.heard() == []
    pipes.write(GETMANIFEST + INIT[:20])
    assert early.answer(MANIFEST)
    first, second, answer = pipes.heard()
    assert [line["params"]["message"] for line in (first, second)] == ["first", "second"]
    assert answer["id"] == "cln:getmanifest#1"
    assert answer["result"]["custommessages"] == []
    assert early.unread.strip() == INIT[:20]


@pytest.mark.parametrize(
    "there",
    [
        b"",
        GETMANIFEST[:30],
        b"\n\n",
        INIT + GETMANIFEST,
        b'{"jsonrpc":"2.0","method":"getmanifest","params":{}}\n\n',
        b"[]\n\n",
        b"rubbish}\n\n",
        b'{"id":{}}}}',
    ],
)
def test_anything_else_is_left_as_it_is(pipes: Pipes, there: bytes) -> None:
    early = EarlyManifest(pipes.stdin, pipes.stdout)
    if there:
        pipes.write(there)
    assert not early.answer(MANIFEST)
    assert pipes.heard() == []
    assert early.unread == there


def test_a_node_that_is_gone_is_left_to_the_transport(pipes: Pipes) -> None:
    pipes.end()
    early = EarlyManifest(pipes.stdin, pipes.stdout)
    assert not early.answer(MANIFEST)
    assert early.unread == b""


@pytest.mark.parametrize(
    ("version", "wanted", "receive", "fell_back"),
    [
        ("v24.02", "notification", "notification", False),
        ("v23.11", "notification", "hook", True),
        ("090f4b0", "notification", "notification", False),
        ("v26.06", "hook", "hook", False),
        ("v24.02", None, "notification", False),
        ("v26.06.6-oddwire-0.1.0", None, "notification", False),
        ("v26.06-258-g090f4b0", None, "notification", False),
        ("v23.11.2", None, "hook", False),
        ("090f4b0", None, "hook", False),
        ("", None, "hook", False),
    ],
)
def test_the_notification_is_claimed_where_there_is_one(
    pipes: Pipes, version: str, wanted: Receive | None, receive: str, fell_back: bool
) -> None:
    early = EarlyManifest(pipes.stdin, pipes.stdout, receive=wanted, version=version)
    assert (early.receive, early.fell_back) == (receive, fell_back)
    pipes.write(GETMANIFEST)
    assert early.answer(MANIFEST)
    (answer,) = pipes.heard()
    by_hook = [{"name": "custommsg", "filters": [0x8C01]}]
    assert answer["result"]["hooks"] == (by_hook if receive == "hook" else [])
    assert ("custommsg" in answer["result"]["subscriptions"]) is (receive == "notification")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (GETMANIFEST, INIT),
        (GETMANIFEST + INIT, b""),
        (GETMANIFEST + INIT[:50], INIT[50:]),
        (GETMANIFEST[:50], GETMANIFEST[50:] + INIT),
        (b"", GETMANIFEST + INIT),
    ],
)
async def test_the_transport_goes_on(pipes: Pipes, before: bytes, after: bytes) -> None:
    early = EarlyManifest(pipes.stdin, pipes.stdout)
    if before:
        pipes.write(before)
    told = early.answer(MANIFEST)
    assert told is before.startswith(GETMANIFEST)
    heard = pipes.heard()
    transport = pipes.transport(early)
    async with asyncio.timeout(20):
        configuring = asyncio.create_task(transport.configure(MANIFEST))
        await asyncio.sleep(0)
        if after:
            pipes.write(after)
        assert await configuring == {}
    transport.refuse("enough")
    await transport.aclose()
    heard += pipes.heard()
    assert [answer["id"] for answer in heard] == ["cln:getmanifest#1", "cln:init#2"]
    assert heard[0]["result"]["hooks"] == [{"name": "custommsg", "filters": [0x8C01]}]
    assert heard[1]["result"] == {"disable": "enough"}


async def test_refused_after_the_manifest(pipes: Pipes) -> None:
    early = EarlyManifest(pipes.stdin, pipes.stdout)
    pipes.write(GETMANIFEST)
    assert early.answer(MANIFEST)
    pipes.heard()
    transport = pipes.transport(early)
    transport.refuse("no store")
    closing = asyncio.create_task(transport.aclose())
    await asyncio.sleep(0)
    pipes.write(INIT)
    async with asyncio.timeout(20):
        await closing
    (answer,) = pipes.heard()
    assert answer["result"] == {"disable": "no store"}


async def test_nonsense_that_was_read_before_ends_the_transport(pipes: Pipes) -> None:
    pipes.write(GETMANIFEST + b"rubbish}")
    early = EarlyManifest(pipes.stdin, pipes.stdout)
    assert early.answer(MANIFEST)
    reasons: list[str] = []
    transport = pipes.transport(early, reasons.append)
    with pytest.raises(ConnectionClosed, match="not JSON-RPC"):
        await transport.open(MANIFEST, RecordingSink())
    assert reasons == ["stdin is not JSON-RPC: a JSON document starts with { or ["]
