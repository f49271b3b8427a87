"""The embedded node: `sendcustommsg` through its socket, and from that call on one node to a plugin's hook on another.

The nodes are daemons as users run them; the caller is a blocking socket that does nothing but send and read. Plugins
count, and tell when they have seen so many: asking them again and again would take their time. What a plugin could do
at best is measured by feeding it the same requests from a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import ROUNDS, Row, median_ratio
from oddwire.proto import PrivateKey, connect
from oddwire.proto.addresses import NodeUri
from oddwire.proto.bolt1 import CHAINS, DEFAULT_NETWORK, Init
from oddwire.proto.connection import LightningConnection
from oddwire.proto.keys import PublicKey

CALLS = 6000
MESSAGES = 20_000
PAYLOAD = "8001" + "ab" * 98
DEPTH = 16
PLUGINS = 100
PEERS = 1000

PYLN_TELLS = """
@plugin.async_method("seen")
def how_many(request, least=0):
    if seen >= least:
        request.set_result({{"seen": seen}})
    else:
        waiting.append((least, request))

plugin.run()
"""
"""How a plugin made with pyln-client tells what it has seen, once that is enough."""

PYLN = (
    """#!{python}
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
    return {{"result": "continue"}}
"""
    + PYLN_TELLS
)

BARE = """#!{python} -IS
import json, sys
seen = 0
HOOKS = [{{"name": "custommsg"}}] if {hooks} else []
METHODS = [{{"name": "seen", "usage": "[least]", "description": ""}}] if {hooks} else []
waiting = None

def answer(request, result):
    sys.stdout.write(json.dumps({{"jsonrpc": "2.0", "id": request["id"], "result": result}}) + "\\n\\n")
    sys.stdout.flush()

for line in sys.stdin:
    if line == "\\n":
        continue
    request = json.loads(line)
    if request["method"] == "custommsg":
        seen += 1
        answer(request, {{"result": "continue"}})
        if waiting and seen >= waiting["params"]["least"]:
            answer(waiting, {{"seen": seen}})
            waiting = None
    elif request["method"] == "getmanifest":
        answer(request, {{"options": [], "rpcmethods": METHODS, "hooks": HOOKS, "subscriptions": [], "dynamic": True}})
    elif request["method"] == "seen" and seen < request["params"].get("least", 0):
        waiting = request
    else:
        answer(request, {{"seen": seen}})
"""


class Caller:
    """A connection to a node's socket."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._rest = b""

    def close(self) -> None:
        self._socket.close()

    def call(self, method: str, params: object) -> dict[str, object]:
        self.send(method, params)
        while b"\n\n" not in self._rest:
            self._rest += self._socket.recv(65536)
        answer, _, self._rest = self._rest.partition(b"\n\n")
        document = json.loads(answer)
        if "result" not in document:
            raise RuntimeError(document)
        return dict(document["result"])

    def send(self, method: str, params: object) -> None:
        self._socket.sendall(json.dumps({"jsonrpc": "2.0", "id": "b", "method": method, "params": params}).encode())

    def repeat(self, request: bytes, count: int, depth: int) -> float:
        """Send one request so often, ``depth`` of them unanswered at most; give how many a second."""
        sock = self._socket
        sent = min(depth, count)
        start = time.perf_counter()
        sock.sendall(request * sent)
        answered = 0
        while answered < count:
            data = sock.recv(65536)
            if not data or b'"error"' in data:
                raise RuntimeError(data)
            new = data.count(b"\n\n")
            answered += new
            more = min(new, count - sent)
            if more:
                sock.sendall(request * more)
                sent += more
        return count / (time.perf_counter() - start)


class Daemon:
    """``oddwire node`` in a folder of its own."""

    def __init__(self, folder: Path, *plugins: Path) -> None:
        options = [part for plugin in plugins for part in ("--plugin", str(plugin))]
        command = [sys.executable, "-m", "oddwire.cli.main", "node", "--lightning-dir", str(folder), "--json"]
        command += ["--network", "regtest"]
        self.process = subprocess.Popen(
            [*command, "--addr", "127.0.0.1:0", "--log-level", "broken", *options], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.uri, self.node_id = ready["uri"], ready["node_id"]
        self.caller = Caller(ready["rpc_file"])

    def stop(self) -> None:
        self.caller.close()
        self.process.terminate()
        self.process.communicate()


@contextlib.contextmanager
def daemons(*plugins: Path) -> Iterator[tuple[Daemon, Daemon, bytes]]:
    """Two nodes, connected, the second with these plugins; and the request that sends from the first to it."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        first, second = Daemon(Path(folder) / "a"), Daemon(Path(folder) / "b", *plugins)
        stack.callback(second.stop)
        stack.callback(first.stop)
        first.caller.call("connect", [second.uri])
        params = {"node_id": second.node_id, "msg": PAYLOAD}
        request = json.dumps({"jsonrpc": "2.0", "id": "bench#1", "method": "sendcustommsg", "params": params})
        yield first, second, request.encode()


@contextlib.contextmanager
def script(source: str, *, hooks: bool = True) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plugin.py"
        path.write_text(source.format(python=sys.executable, hooks=hooks))
        path.chmod(0o755)
        yield path


def to_the_hook(first: Daemon, second: Daemon, request: bytes) -> float:
    """Messages a second from ``sendcustommsg`` until the plugin of the second node has seen them all."""
    before = int(str(second.caller.call("seen", {})["seen"]))
    start = time.perf_counter()
    first.caller.repeat(request, MESSAGES, DEPTH)
    second.caller.call("seen", {"least": before + MESSAGES})
    return MESSAGES / (time.perf_counter() - start)


def from_a_file(plugin: Path, node_id: str) -> float:
    """Hooks a second that the plugin answers when all requests lie ready in a file."""

    def seconds(count: int) -> float:
        configuration = {"lightning-dir": "/tmp", "rpc-file": "none", "startup": True, "network": "regtest"}
        configuration["feature_set"] = {}
        requests: list[tuple[str, object]] = [("getmanifest", {"allow-deprecated-apis": False})]
        requests.append(("init", {"options": {}, "configuration": configuration}))
        requests += [("custommsg", {"peer_id": node_id, "payload": PAYLOAD})] * count
        with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as out:
            for number, (method, params) in enumerate(requests):
                request = {"jsonrpc": "2.0", "id": f"cln:{method}#{number}", "method": method, "params": params}
                file.write(json.dumps(request).encode() + b"\n\n")
            file.seek(0)
            start = time.perf_counter()
            subprocess.run(
                [str(plugin)], stdin=file, stdout=out, check=True, env={**os.environ, "LIGHTNINGD_PLUGIN": "1"}
            )
            return time.perf_counter() - start

    return MESSAGES / (seconds(MESSAGES + 10) - seconds(10))  # starting the interpreter takes its time, too


def calls() -> list[Row]:
    one, deep = [], []
    with daemons() as (first, _, request):
        for _ in range(ROUNDS):
            one.append(first.caller.repeat(request, CALLS, 1))
            deep.append(first.caller.repeat(request, CALLS * 3, DEPTH))
    note = "100 B, two daemons; lightningd did {} a second"
    return [
        Row(
            "sendcustommsg, one at a time", statistics.median(one), "calls/s", ">= 7500", note.format("7 500 to 13 000")
        ),
        Row(
            f"sendcustommsg, {DEPTH} deep",
            statistics.median(deep),
            "calls/s",
            ">= 15000",
            note.format("15 000 to 29 000"),
        ),
    ]


def hooks() -> list[Row]:
    rows = []
    for name, source in (("pyln-client's", PYLN), ("a bare loop's", BARE)):
        whole, best = [], []
        with script(source) as plugin, daemons(plugin) as (first, second, request):
            to_the_hook(first, second, request)
            for _ in range(ROUNDS):
                whole.append(to_the_hook(first, second, request))
                best.append(from_a_file(plugin, first.node_id))
        note = f"{statistics.median(whole):.0f} messages/s of 100 B against {statistics.median(best):.0f} from a file"
        rows.append(
            Row(f"from a call to {name} hook, against a file", median_ratio(whole, best), "ratio", ">= 0.8", note)
        )
    return rows


class Crowd:
    """Peers that are connected and say nothing, on a loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._connections: list[LightningConnection] = []

    def connect(self, uri: str, count: int) -> None:
        asyncio.run_coroutine_threadsafe(self._connect(uri, count), self._loop).result()

    async def _connect(self, uri: str, count: int) -> None:
        parsed = NodeUri.parse(uri)
        for _ in range(count):
            key = PrivateKey(os.urandom(32))
            connection = await connect(key, PublicKey(parsed.node_id), parsed.host, parsed.port)
            await connection.read_message()
            await connection.send_message(Init(networks=(CHAINS[DEFAULT_NETWORK],)).encode())
            self._connections.append(connection)

    def close(self) -> None:
        for connection in self._connections:
            self._loop.call_soon_threadsafe(connection.abort, "done")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def peers() -> list[Row]:
    """What many peers cost a message that has nothing to do with them."""
    alone, crowded = [], []
    with daemons() as one, daemons() as many, contextlib.closing(Crowd()) as crowd:
        crowd.connect(many[0].uri, PEERS)
        while int(str(many[0].caller.call("getinfo", {})["num_peers"])) <= PEERS:
            time.sleep(0.05)
        for _ in range(ROUNDS):
            alone.append(one[0].caller.repeat(one[2], CALLS * 3, DEPTH))
            crowded.append(many[0].caller.repeat(many[2], CALLS * 3, DEPTH))
    note = f"{statistics.median(crowded):.0f} calls/s against {statistics.median(alone):.0f} with one"
    return [Row(f"sendcustommsg with {PEERS} peers connected", median_ratio(crowded, alone), "ratio", ">= 0.8", note)]


def plugins() -> list[Row]:
    """What many plugins cost a message that has nothing to do with them."""
    alone, crowded = [], []
    with script(BARE) as plugin, script(BARE, hooks=False) as idle, tempfile.TemporaryDirectory() as folder:
        others = []
        for number in range(PLUGINS - 1):
            path = Path(folder) / f"idle{number}.py"
            path.write_bytes(idle.read_bytes())
            path.chmod(0o755)
            others.append(path)
        with daemons(plugin) as one, daemons(plugin, *others) as many:
            for _ in range(ROUNDS):
                alone.append(to_the_hook(*one))
                crowded.append(to_the_hook(*many))
    note = f"{statistics.median(crowded):.0f} messages/s against {statistics.median(alone):.0f} with one"
    return [Row(f"to a hook with {PLUGINS} plugins loaded", median_ratio(crowded, alone), "ratio", ">= 0.8", note)]


def rows() -> list[Row]:
    return [*calls(), *hooks(), *plugins(), *peers()]
