"""Extensions as plugins of a node: from a peer's messages to a handler, against what other plugins make of them.

The nodes and plugins are processes as users run them; the peers are connections of this process, which send as fast as
the node reads. First on the embedded node, against a plugin made with pyln-client; then, where `lightningd` is on the
PATH, on Core Lightning, against a loop on stdin and stdout that does nothing but answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import ROUNDS, Row, median_ratio
from benchmarks.node import BARE, PYLN_TELLS, Caller, Daemon, script
from oddwire import Message, message
from oddwire.codecs.registry import Registry
from oddwire.proto import PrivateKey, connect
from oddwire.proto.addresses import NodeUri
from oddwire.proto.bolt1 import CHAINS, Init
from oddwire.proto.connection import LightningConnection
from oddwire.proto.features import ASSUMED_FEATURES, feature_bytes
from oddwire.proto.keys import NodeId, PublicKey

MESSAGES = 20_000
PEERS = 64
SLEEP = 5.0
SENDS = 2000
MANY = 15
"""Rounds where what else the machine does changes a round by more than what is measured: of a fraction of a second."""
DEPTH = 64
NO_CHAIN = Path(__file__).parent.parent / "tests" / "interop" / "plugins" / "no_chain.py"

OURS = """#!{python}
import asyncio, time
from oddwire import AppContext, Context, Extension, Message, message

extension = Extension("bench", version="1.0")
seen = 0

@message(0x8001)
class Note(Message):
    text: str
    sleep: float = 0

waiting = []

@extension.on(Note)
async def note(context: Context, note: Note) -> None:
    global seen
    seen += 1
    if waiting and seen >= waiting[0][0]:
        waiting.pop()[1].set_result(None)
    if note.sleep:
        await asyncio.sleep(note.sleep)

@extension.rpc("seen")
async def how_many(context: AppContext, least: int = 0) -> dict[str, int]:
    if seen < least:
        waiting.append((least, asyncio.get_running_loop().create_future()))
        await waiting[-1][1]
    return {{"seen": seen}}

@extension.rpc("bench-send")
async def send(context: AppContext, node_id: str, text: str, count: int, depth: int) -> dict[str, float]:
    peer = context.app.peer(node_id)
    left = iter(range(count))

    async def pump() -> None:
        for _ in left:
            await peer.send(Note(text=text))

    start = time.perf_counter()
    await asyncio.gather(*(pump() for _ in range(depth)))
    return {{"rate": count / (time.perf_counter() - start)}}

extension.run({arguments})
"""

PYLN = (
    """#!{python}
import time
import msgpack
from pyln.client import Plugin
plugin = Plugin()
seen = 0

waiting = []

@plugin.hook("custommsg")
def custommsg(peer_id, payload, plugin, **kwargs):
    global seen
    seen += 1
    if waiting and seen >= waiting[0][0]:
        waiting.pop()[1].set_result({{"seen": seen}})
    sleep = msgpack.unpackb(bytes.fromhex(payload)[2:]).get("sleep")
    if sleep:
        time.sleep(sleep)
    return {{"result": "continue"}}
"""
    + PYLN_TELLS
)


@message(0x8001)
class Note(Message):
    text: str
    sleep: float = 0


_registry = Registry()
_registry.register(Note, owner="bench")
_registry.freeze()


def payload_of(size: int, sleep: float = 0) -> bytes:
    """A `Note` of exactly so many bytes."""
    overhead = 0
    for _ in range(3):  # the text's own length takes one, two or three bytes
        overhead = len(_registry.encode(Note(text="x" * (size - overhead), sleep=sleep))) - (size - overhead)
    payload = _registry.encode(Note(text="x" * (size - overhead), sleep=sleep))
    if len(payload) != size:
        raise RuntimeError(f"{len(payload)} bytes instead of {size}")
    return payload


class Peers:
    """Connections to nodes, on a loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._all: list[LightningConnection] = []
        self._readers: list[asyncio.Task[None]] = []

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(180)

    def connect(self, uri: str) -> tuple[LightningConnection, str]:
        """Connect; give the connection and the id of our end."""
        return self._run(self._connect(NodeUri.parse(uri)))

    async def _connect(self, uri: NodeUri) -> tuple[LightningConnection, str]:
        key = PrivateKey(os.urandom(32))
        connection = await connect(key, PublicKey(uri.node_id), uri.host, uri.port)
        await connection.read_message()
        init = Init(features=feature_bytes(ASSUMED_FEATURES), networks=(CHAINS["regtest"],))
        await connection.send_message(init.encode())
        self._all.append(connection)
        self._readers.append(self._loop.create_task(self._read(connection)))
        return connection, str(NodeId(key.public_key()))

    async def _read(self, connection: LightningConnection) -> None:
        while True:
            await connection.read_message()

    def pump(self, *ways: tuple[LightningConnection, bytes, int]) -> None:
        """Send one payload so often, on each of some connections at once; returns when all is written."""
        self._run(self._pump(ways))

    async def _pump(self, ways: Sequence[tuple[LightningConnection, bytes, int]]) -> None:
        async def one(connection: LightningConnection, payload: bytes, count: int) -> None:
            for _ in range(count):
                await connection.send_message(payload)

        await asyncio.gather(*(one(*way) for way in ways))

    def close(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        for connection in self._all:
            connection.abort("done")
        await asyncio.gather(*self._readers, return_exceptions=True)


class Receiver:
    """A node with a plugin that counts, and the ways that lead to it."""

    def __init__(self, caller: Caller, uri: str, peers: Peers, ways: int = 1) -> None:
        self.caller = caller
        self.peers = peers
        self.ways = [peers.connect(uri) for _ in range(ways)]
        deadline = time.monotonic() + 30
        while int(str(caller.call("getinfo", {})["num_peers"])) < ways:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the node has not all {ways} peers")
            time.sleep(0.02)

    def seen(self, least: int = 0) -> int:
        """Return how many the plugin has seen, once it has seen so many: asking again and again would take its time."""
        return int(str(self.caller.call("seen", {"least": least})["seen"]))

    def rate(self, payload: bytes, count: int) -> float:
        """Messages a second from the first byte to the last handler."""
        target = self.seen() + count
        start = time.perf_counter()
        self.peers.pump((self.ways[0][0], payload, count))
        self.seen(target)
        return count / (time.perf_counter() - start)

    def seconds(self, payload: bytes, each: int) -> float:
        """How long messages of all ways but the first take."""
        start = time.perf_counter()
        target = self.seen() + each * (len(self.ways) - 1)
        self.peers.pump(*((connection, payload, each) for connection, _ in self.ways[1:]))
        self.seen(target)
        return time.perf_counter() - start


@contextlib.contextmanager
def on_embedded(source: str, peers: Peers, ways: int = 1) -> Iterator[Receiver]:
    with script(source.replace("{arguments}", "")) as plugin, tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(Path(folder), plugin)
        try:
            yield Receiver(daemon.caller, daemon.uri, peers, ways)
        finally:
            daemon.stop()


def embedded() -> list[Row]:
    ours, theirs = [], []
    payload = payload_of(100)
    with contextlib.closing(Peers()) as peers, on_embedded(OURS, peers) as one, on_embedded(PYLN, peers) as other:
        one.rate(payload, MESSAGES)
        other.rate(payload, 1000)
        for _ in range(ROUNDS):
            ours.append(one.rate(payload, MESSAGES))
            theirs.append(other.rate(payload, MESSAGES // 4))
    note = f"{statistics.median(ours):.0f} messages/s of 100 B against {statistics.median(theirs):.0f}"
    return [Row("into a handler, against pyln-client's hook", median_ratio(ours, theirs), "ratio", ">= 3", note)]


def asleep() -> list[Row]:
    """64 peers; the handler of one of them sleeps."""
    payload, sleeper = payload_of(100), payload_of(100, SLEEP)
    each = 100
    figures = {}
    with contextlib.closing(Peers()) as peers:
        for name, source in (("ours", OURS), ("pyln-client's", PYLN)):
            with on_embedded(source, peers, PEERS) as receiver:
                receiver.seconds(payload, each)
                awake = statistics.median(receiver.seconds(payload, each) for _ in range(ROUNDS))
                receiver.peers.pump((receiver.ways[0][0], sleeper, 1))
                if name == "ours":
                    receiver.seen((ROUNDS + 1) * each * (PEERS - 1) + 1)
                figures[name] = awake, receiver.seconds(payload, each)
    awake, sleeping = figures["ours"]
    without, stopped = figures["pyln-client's"]
    note = (
        f"{each * (PEERS - 1)} messages of {PEERS - 1} peers in {sleeping:.2f} s while one handler sleeps {SLEEP:g} s, "
    )
    note += f"{awake:.2f} s without; pyln-client's: {stopped:.2f} s and {without:.2f} s"
    return [Row("time of other peers while a handler sleeps", sleeping / awake, "ratio", "<= 1.5", note)]


# Core Lightning -------------------------------------------------------------------------------------


class Lightningd:
    """``lightningd`` on regtest, with a chain that has only its first block."""

    def __init__(self, folder: Path, plugin: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            host, port = server.getsockname()
        address = f"{host}:{port}"
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        command = ["lightningd", f"--lightning-dir={folder}", "--network=regtest", f"--addr={address}"]
        command += ["--disable-plugin=bcli", f"--plugin={NO_CHAIN}", f"--plugin={plugin}", "--log-level=unusual"]
        self.process = subprocess.Popen(
            [*command, f"--log-file={folder / 'log'}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        self.rpc_file = str(folder / "regtest" / "lightning-rpc")
        deadline = time.monotonic() + 60
        while True:
            try:
                self.caller = Caller(self.rpc_file)
                self.node_id = str(self.caller.call("getinfo", {})["id"])
                socket.create_connection((host, port)).close()  # it listens somewhat later than it answers
                break
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError((folder / "log").read_text()) from None
                time.sleep(0.05)
        self.uri = f"{self.node_id}@{address}"

    def stop(self) -> None:
        self.caller.close()
        self.process.terminate()
        self.process.wait(60)


@contextlib.contextmanager
def on_lightningd(source: str, arguments: str = "") -> Iterator[Lightningd]:
    with script(source.replace("{arguments}", arguments)) as plugin, tempfile.TemporaryDirectory() as folder:
        daemon = Lightningd(Path(folder), plugin)
        try:
            yield daemon
        finally:
            daemon.stop()


def lightningd() -> list[Row]:
    rows = []
    with contextlib.ExitStack() as stack:
        peers = stack.enter_context(contextlib.closing(Peers()))

        def receiver(source: str, arguments: str = "") -> Receiver:
            daemon = stack.enter_context(on_lightningd(source, arguments))
            return Receiver(daemon.caller, daemon.uri, peers)

        bare, ours = receiver(BARE), receiver(OURS)
        notified = receiver(OURS, "receive='notification'")
        for size, count, rounds in ((100, 1500, MANY), (1000, 1500, ROUNDS), (60_000, 40, ROUNDS)):
            payload = payload_of(size)
            rates: dict[str, list[float]] = {"bare": [], "ours": [], "notified": []}
            for _ in range(rounds):
                rates["bare"].append(bare.rate(payload, count))
                rates["ours"].append(ours.rate(payload, count))
                rates["notified"].append(notified.rate(payload, count))
            middle = {name: statistics.median(figures) for name, figures in rates.items()}
            note = f"{middle['ours']:.0f} messages/s against {middle['bare']:.0f}; "
            note += f"by notification {middle['notified']:.0f}"
            ratio = median_ratio(rates["ours"], rates["bare"])
            rows.append(
                Row(f"lightningd: {size} B into a handler, against a bare loop", ratio, "ratio", ">= 0.95", note)
            )
    return rows


def sending() -> list[Row]:
    """Calls of sendcustommsg: from an extension, from a bare socket, from pyln-client's LightningRpc."""
    from pyln.client import LightningRpc

    ours, bare, theirs = [], [], []
    with contextlib.closing(Peers()) as peers, on_lightningd(OURS) as daemon:
        receiver = Receiver(daemon.caller, daemon.uri, peers)
        way, payload = receiver.ways[0], payload_of(100)
        receiver.rate(payload, 1)  # lightningd counts a peer before plugins hear of it
        text = _text_of(payload)
        request = {"jsonrpc": "2.0", "id": "b", "method": "sendcustommsg", "params": [way[1], payload.hex()]}
        line = json.dumps(request).encode()
        rpc = LightningRpc(daemon.rpc_file)
        for _ in range(MANY):
            parameters = {"node_id": way[1], "text": text, "count": SENDS, "depth": DEPTH}
            ours.append(float(str(daemon.caller.call("bench-send", parameters)["rate"])))
            bare.append(daemon.caller.repeat(line, SENDS, DEPTH))
            start = time.perf_counter()
            for _ in range(SENDS // 4):
                rpc.call("sendcustommsg", {"node_id": way[1], "msg": payload.hex()})
            theirs.append(SENDS // 4 / (time.perf_counter() - start))
    note = f"{statistics.median(ours):.0f} calls/s of 100 B, {DEPTH} deep; "
    return [
        Row(
            "lightningd: sending, against a bare socket",
            median_ratio(ours, bare),
            "ratio",
            ">= 0.8",
            f"{note}{statistics.median(bare):.0f}",
        ),
        Row(
            "lightningd: sending, against LightningRpc",
            median_ratio(ours, theirs),
            "ratio",
            ">= 2",
            f"{note}{statistics.median(theirs):.0f} one at a time",
        ),
    ]


def _text_of(payload: bytes) -> str:
    note = _registry.decode(payload)
    assert isinstance(note, Note)
    return note.text


def rows() -> list[Row]:
    groups: list[Callable[[], list[Row]]] = [embedded, asleep]
    if shutil.which("lightningd") is None:
        print("hosted: no lightningd on the PATH, so its rows are not measured", file=sys.stderr)
    else:
        groups += [lightningd, sending]
    return [row for group in groups for row in group()]
