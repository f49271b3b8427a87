"""The life of one extension, with every hook, job and task, wherever it runs: the order is the same."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.ports import free_port

from oddwire import Application
from oddwire.proto import NodeId, PrivateKey
from oddwire.transports import Manifest, Transport
from oddwire.transports.bolt8 import Bolt8Transport
from oddwire.transports.memory import MemoryNetwork

from .conftest import Recorder

pytestmark = pytest.mark.interop

EXTENSION = Path(__file__).parent / "extensions" / "living.py"
LIMIT = 30  # seconds; reached only by what hangs
ASK, ANSWER, GOODBYE = b"\x8d\x21ask", b"\x8d\x23ask", b"\x8d\x25bye"


class Stage:
    """Where the extension runs, and a peer in the test that is connected to it."""

    def __init__(self, written: Path, node_id: str, transport: Transport, sink: Recorder) -> None:
        self.node_id = NodeId(node_id)
        self._written = written
        self._transport = transport
        self._sink = sink
        self.ends: dict[str, Callable[[], Awaitable[object]]] = {}
        """The ways to its end."""

    @property
    def words(self) -> list[str]:
        return self._written.read_text().splitlines()

    async def until_written(self, word: str, times: int = 1) -> None:
        async with asyncio.timeout(LIMIT):
            while not self._written.exists() or self.words.count(word) < times:
                await asyncio.sleep(0.01)

    async def send(self, payload: bytes) -> None:
        await self._transport.send(self.node_id, payload)

    async def received(self, payload: bytes) -> None:
        async with asyncio.timeout(LIMIT):
            while (await self._sink.payloads.get())[1] != payload:
                pass

    async def leave(self) -> None:
        await self._transport.disconnect(self.node_id, "done")


@contextlib.asynccontextmanager
async def inside(transport: Transport, peer: Transport, written: Path) -> AsyncIterator[Stage]:
    sink = Recorder()
    app = Application(str(EXTENSION), transport=transport, options={"living-file": written})
    await peer.open(Manifest(), sink)
    async with app:
        await peer.connect(app.uris[0])  # type: ignore[attr-defined]
        stage = Stage(written, str(app.node_id), peer, sink)
        stage.ends["close"] = app.aclose
        yield stage
    await peer.aclose()


@contextlib.asynccontextmanager
async def in_memory(written: Path, **_: Any) -> AsyncIterator[Stage]:
    network = MemoryNetwork()
    async with inside(network.transport(), network.transport(), written) as stage:
        yield stage


@contextlib.asynccontextmanager
async def over_tcp(written: Path, **_: Any) -> AsyncIterator[Stage]:
    ours, peer = (Bolt8Transport(PrivateKey(os.urandom(32)), listen=["127.0.0.1:0"]) for _ in range(2))
    async with inside(ours, peer, written) as stage:
        yield stage


@contextlib.asynccontextmanager
async def by_command(written: Path, start_ours: Any, **_: Any) -> AsyncIterator[Stage]:
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "oddwire", "run", str(EXTENSION), "--listen", address, "--network", "regtest"]
    command += ["--living-file", str(written)]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(LIMIT):
            while not (line := (await process.stdout.readline()).decode()).startswith("listening"):
                assert line, "the command has ended"
        uri = next(word for word in line.split() if "@" in word)
        transport, sink = await start_ours()
        await transport.connect(uri, keep=False)
        stage = Stage(written, uri.partition("@")[0], transport, sink)

        async def interrupt() -> None:
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(LIMIT):
                await process.communicate()
            assert process.returncode == 0

        stage.ends["Ctrl-C"] = interrupt
        yield stage
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@contextlib.asynccontextmanager
async def hosted(kind: str, written: Path, start_ours: Any, start: Any) -> AsyncIterator[Stage]:
    daemon = getattr(start, kind)(EXTENSION, options=[f"--living-file={written}"])
    transport, sink = await start_ours()
    await transport.connect(daemon.uri, keep=False)
    await daemon.until_connected(str(transport.node_id))
    stage = Stage(written, daemon.node_id, transport, sink)

    async def terminate() -> None:
        pid = next(int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _runs(p, written, daemon))
        os.kill(pid, signal.SIGTERM)

    stage.ends["plugin stop"] = lambda: daemon.call("plugin", "stop", "living.py")
    stage.ends["SIGTERM"] = terminate
    stage.ends["the node stops"] = daemon.stop
    stage.ends["the node is killed"] = lambda: asyncio.to_thread(daemon.kill)
    yield stage


def _runs(process: Path, written: Path, daemon: Any) -> bool:
    """Say whether a process is the plugin of this node."""
    try:
        arguments = (process / "cmdline").read_bytes().split(b"\0")
        folder = (process / "cwd").resolve()
    except OSError:
        return False
    return str(EXTENSION).encode() in arguments and folder == daemon.network_folder.resolve()


PLUGIN_ENDS = ["plugin stop", "SIGTERM", "the node stops", "the node is killed"]
KINDS = [
    *[pytest.param("memory", "close"), pytest.param("bolt8", "close"), pytest.param("run", "Ctrl-C")],
    *[pytest.param("node", end) for end in PLUGIN_ENDS],
    *[pytest.param("lightningd", end, marks=pytest.mark.cln) for end in PLUGIN_ENDS],
]


@pytest.mark.parametrize(("kind", "end"), KINDS)
async def test_its_order(kind: str, end: str, tmp_path: Path, start_ours: Any, start: Any) -> None:
    written = tmp_path / "living"
    ways = {"memory": in_memory, "bolt8": over_tcp, "run": by_command}
    place = (
        ways[kind](written=written, start_ours=start_ours) if kind in ways else hosted(kind, written, start_ours, start)
    )
    async with place as stage:
        await stage.send(ASK)
        await stage.received(ANSWER)
        await stage.until_written("feed begins")
        await stage.until_written("spawned")
        await stage.until_written("beat")
        await stage.until_written("error often", times=3)
        await stage.ends[end]()
        if not end.startswith("the node"):  # whose peers may have gone before
            await stage.received(GOODBYE)
        await stage.until_written("shutdown")
    words = stage.words
    # Goodbyes that cannot be said, as the node has gone, are errors
    once = [word for word in words if word != "beat" and not word.startswith("error ")]
    assert once[:5] == ["startup", "ready 0", "task begins", "connect", "connect ends"]
    assert sorted(once[5:8]) == ["ask", "feed begins", "spawned"]
    ended = once[8:]
    assert ended[-1] == "shutdown"
    stopping = next(word for word in ended if word.startswith("stopping"))
    expected = {"task has ended", stopping, "feed has ended", "spawned has ended", "disconnect"}
    assert sorted(ended[:-1]) == sorted(expected)
    assert ended.index("feed has ended") < ended.index("disconnect")
    assert ended.index("spawned has ended") < ended.index("disconnect")
    if not end.startswith("the node"):
        assert ended[:2] == ["task has ended", "stopping 1"]
    assert words.index("connect ends") < words.index("beat")
    assert "beat" not in words[words.index("disconnect") :]
    assert "error often" not in words[words.index(stopping) + 1 :]


@pytest.mark.parametrize("kind", ["memory", "bolt8", "node", pytest.param("lightningd", marks=pytest.mark.cln)])
async def test_what_is_a_peers_ends_with_its_connection(kind: str, tmp_path: Path, start_ours: Any, start: Any) -> None:
    written = tmp_path / "living"
    ways = {"memory": in_memory, "bolt8": over_tcp}
    place = ways[kind](written=written) if kind in ways else hosted(kind, written, start_ours, start)
    async with place as stage:
        await stage.send(ASK)
        await stage.received(ANSWER)
        await stage.until_written("feed begins")
        await stage.until_written("spawned")
        await stage.leave()
        await stage.until_written("disconnect")
        words = stage.words
        assert words.index("feed has ended") < words.index("disconnect")
        assert words.index("spawned has ended") < words.index("disconnect")
        assert "task has ended" not in words
