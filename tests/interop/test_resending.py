"""A plain message that is sent again survives kill -9 between its sending and its answer, wherever it runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.ports import free_port
from tests.support.waiting import until_answered

from oddwire.proto import NodeId

from .conftest import LIMIT, Recorder

pytestmark = pytest.mark.interop

EXTENSION = Path(__file__).parent / "extensions" / "again.py"
ASK, YES, NOTE = b"\x8e\x31", b"\x8e\x33", b"\x8e\x35"
KINDS = ["run", "node", pytest.param("lightningd", marks=pytest.mark.cln)]


class Run:
    """The extension in a process of `oddwire run`, with its key and store in a folder."""

    def __init__(self, folder: Path) -> None:
        address = f"127.0.0.1:{free_port()}"
        self._command = [sys.executable, "-m", "oddwire", "run", str(EXTENSION), "--json", "--network", "regtest"]
        self._command += ["--listen", address, "--data-dir", str(folder)]
        self.process: asyncio.subprocess.Process | None = None
        self.uri = ""
        self.pid = 0

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        self.uri = (await self._event("listening"))["uri"]

    async def _event(self, name: str) -> dict[str, Any]:
        assert self.process is not None
        assert self.process.stdout is not None
        async with asyncio.timeout(LIMIT):
            while line := await self.process.stdout.readline():
                event: dict[str, Any] = json.loads(line)
                if event["event"] in (name, "error"):
                    assert event["event"] == name, event
                    return event
        raise AssertionError(f"it ended before {name}")

    async def call(self, method: str, *params: str) -> Any:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(f"{' '.join((method, *params))}\n".encode())
        return (await self._event("result"))["value"]

    async def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        async with asyncio.timeout(LIMIT):
            await self.process.communicate()


class Plugin:
    """The extension as a plugin of a node."""

    def __init__(self, daemon: Any) -> None:
        self._daemon = daemon
        self.call = daemon.call
        self.pid = 0

    @property
    def uri(self) -> str:
        return str(self._daemon.uri)

    async def start(self) -> None:
        await self._daemon.call("plugin", subcommand="start", plugin=str(EXTENSION))

    async def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

        async def gone() -> bool:
            plugins = (await self.call("plugin", "list"))["plugins"]
            return all(not plugin["name"].endswith("again.py") for plugin in plugins)

        await until_answered(gone)


class Peer:
    """The other side, in the test: it keeps no session, and answers when it is told to."""

    def __init__(self, transport: Any, sink: Recorder) -> None:
        self._transport = transport
        self._sink = sink
        self.node_id = str(transport.node_id)

    async def connect(self, uri: str) -> None:
        while not self._sink.payloads.empty():
            self._sink.payloads.get_nowait()
        await self._transport.connect(uri, keep=False)
        self._there = NodeId(uri.partition("@")[0])

    async def received(self) -> tuple[bytes, dict[str, Any]]:
        """Wait for the next message of the extension."""
        async with asyncio.timeout(LIMIT):
            while True:
                _, payload = await self._sink.payloads.get()
                if payload[:2] in (ASK, NOTE):
                    return payload[:2], json.loads(payload[2:])

    async def say(self, type_id: bytes, **fields: object) -> None:
        await self._transport.send(self._there, type_id + json.dumps(fields).encode())


@contextlib.asynccontextmanager
async def running(kind: str, folder: Path, start: Any) -> AsyncIterator[Run | Plugin]:
    if kind != "run":
        yield Plugin(getattr(start, kind)(EXTENSION))
        return
    run = Run(folder)
    await run.start()
    try:
        yield run
    finally:
        assert run.process is not None
        if run.process.returncode is None:
            await run.kill()


@pytest.mark.parametrize("kind", KINDS)
async def test_it_is_sent_again_after_kill_9_until_it_is_answered(
    kind: str, tmp_path: Path, start_ours: Callable[..., Any], start: Any
) -> None:
    peer = Peer(*await start_ours())
    async with running(kind, tmp_path / "data", start) as there:

        async def ask(swap_id: str) -> None:
            there.pid = await there.call("again-ask", peer.node_id, swap_id)

        async def kill_and_start() -> None:
            await there.kill()
            await there.start()
            if kind == "run":  # a node keeps its peers
                await peer.connect(there.uri)

        await ask("s0")  # nobody is connected
        await peer.connect(there.uri)
        assert await peer.received() == (ASK, {"swap_id": "s0"})
        await ask("s1")
        assert await peer.received() == (ASK, {"swap_id": "s1"})

        await kill_and_start()
        asked = [await peer.received(), await peer.received()]
        assert asked == [(ASK, {"swap_id": "s0"}), (ASK, {"swap_id": "s1"})]
        assert await there.call("again-answers") == []
        await peer.say(YES, swap_id="s1")
        await until_answered(lambda: is_answered(there, "s1"))
        await until_answered(lambda: waits_alone(there, peer, "s0"))
        there.pid = await there.call("again-note", peer.node_id, "settled")
        assert await peer.received() == (NOTE, {"text": "settled"})

        await kill_and_start()
        assert await peer.received() == (ASK, {"swap_id": "s0"})
        await peer.say(YES, swap_id="s0")
        await until_answered(lambda: is_answered(there, "s0"))
        there.pid = await there.call("again-note", peer.node_id, "done")
        assert await peer.received() == (NOTE, {"text": "done"})
        assert await there.call("again-pending", peer.node_id) == []


async def is_answered(there: Run | Plugin, swap_id: str) -> bool:
    return f"answer/{swap_id}" in await there.call("again-answers")


async def waits_alone(there: Run | Plugin, peer: Peer, swap_id: str) -> bool:
    waiting = await there.call("again-pending", peer.node_id)
    return bool(waiting == [{"key": swap_id, "sent": 1, "reliable": False}])
