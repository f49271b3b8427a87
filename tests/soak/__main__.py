"""A long rough day of the embedded node: peers come and go, plugins and nodes are killed, and nothing may be lost.

``python -m tests.soak --seconds 600``: a hub with a plugin, twenty bare peers, and three nodes beside it. All the time
somebody connects, disconnects, sends nonsense, calls methods or is killed. It fails if a call never returns, if state
that was acknowledged is gone after a kill, if the hub stops answering, or if its memory grows by more than 10 %.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from oddwire.errors import ConnectionClosed, NodeRefused, OddwireError
from oddwire.jsonrpc import JsonRpcClient
from oddwire.proto import PrivateKey, connect
from oddwire.proto.addresses import NodeUri
from oddwire.proto.bolt1 import CHAINS, DEFAULT_NETWORK, Init
from oddwire.proto.keys import PublicKey

PEERS = 20
SATELLITES = 3
PATIENCE = 20.0  # seconds until a call counts as stuck: more than any of them may take on a busy machine
GROWTH = 1.10

PLUGIN = """#!{python} -IS
import json, os, sys
HOOKS = [{{"name": "custommsg"}}, {{"name": "peer_connected"}}]
METHODS = [{{"name": "pid", "usage": "", "description": ""}}]
TOPICS = ["connect", "disconnect", "custommsg"]
MANIFEST = {{"options": [], "rpcmethods": METHODS, "subscriptions": TOPICS, "dynamic": True}}
for line in sys.stdin:
    if line == "\\n":
        continue
    request = json.loads(line)
    if "id" not in request:
        continue
    answers = {{"getmanifest": {{**MANIFEST, "hooks": HOOKS}}, "init": {{}}, "pid": {{"pid": os.getpid()}}}}
    result = answers.get(request["method"], {{"result": "continue"}})
    sys.stdout.write(json.dumps({{"jsonrpc": "2.0", "id": request["id"], "result": result}}) + "\\n\\n")
    sys.stdout.flush()
"""


class Daemon:
    """``oddwire node`` as a process, and what its datastore has acknowledged."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options
        self.acknowledged: dict[str, str] = {}
        self.node_id = ""
        self.uri = ""
        self.process: asyncio.subprocess.Process
        self.rpc: JsonRpcClient

    async def start(self) -> None:
        command = [sys.executable, "-m", "oddwire.cli.main", "node", "--lightning-dir", str(self.folder), "--json"]
        command += ["--addr", "127.0.0.1:0", "--log-level", "broken", *self.options]
        self.process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert self.process.stdout is not None
        ready = json.loads(await self.process.stdout.readline())
        assert self.node_id in ("", ready["node_id"]), "the node has another key than before"
        self.node_id, self.uri = ready["node_id"], ready["uri"]
        self.rpc = JsonRpcClient(ready["rpc_file"])

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()
        await self.rpc.aclose()

    async def stop(self) -> None:
        await self.rpc.aclose()
        self.process.terminate()
        assert await self.process.wait() == 0, f"ended with {self.process.returncode}"

    async def call(self, method: str, params: Any = ()) -> Any:
        return await self.rpc.call(method, params if isinstance(params, dict) else list(params), timeout=PATIENCE)

    async def note(self, key: str, value: str) -> None:
        params = {"key": ["soak", key], "string": value, "mode": "create-or-replace"}
        await self.call("datastore", params)
        self.acknowledged[key] = value

    async def verify(self) -> None:
        entries = (await self.call("listdatastore", [["soak"]]))["datastore"]
        stored = {entry["key"][1]: entry["string"] for entry in entries}
        lost = {key for key, value in self.acknowledged.items() if stored.get(key, "") < value}
        assert not lost, f"acknowledged and lost: {lost}"

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024


class Soak:
    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.restarts: list[asyncio.Task[None]] = []
        plugin = folder / "plugin.py"
        plugin.write_text(PLUGIN.format(python=sys.executable))
        plugin.chmod(0o755)
        self.plugin = str(plugin)
        self.hub = Daemon(folder / "hub", "--plugin", self.plugin)
        self.satellites = [Daemon(folder / f"satellite{number}") for number in range(SATELLITES)]

    async def run(self, seconds: float) -> None:
        for daemon in (self.hub, *self.satellites):
            await daemon.start()
        work = [self.peer() for _ in range(PEERS)]
        work += [self.satellite(daemon) for daemon in self.satellites]
        work += [self.killer_of_plugins(), self.caller(), self.nuisance()]
        tasks = [asyncio.create_task(self.forever(one)) for one in work]
        memory = asyncio.create_task(self.watch_memory(seconds))
        try:
            done, _ = await asyncio.wait([*tasks, memory], timeout=seconds + 60, return_when=asyncio.FIRST_COMPLETED)
            assert done, "the watch over the memory did not end"
            for task in done:
                task.result()
        finally:
            for task in (*tasks, memory):
                task.cancel()
            await asyncio.gather(*tasks, memory, return_exceptions=True)
        await asyncio.gather(*self.restarts)
        await self.hub.verify()
        for daemon in (self.hub, *self.satellites):
            await daemon.stop()

    @staticmethod
    async def forever(work: Any) -> None:
        try:
            await work
        except TimeoutError as error:
            raise AssertionError(f"{work.__name__}: a call was not answered in {PATIENCE:g} s") from error

    async def pause(self, most: float) -> None:
        await asyncio.sleep(self.random.uniform(0, most))

    async def peer(self) -> None:
        """Connect, send, leave in one of several ways; again and again."""
        uri = NodeUri.parse(self.hub.uri)
        key = PrivateKey(os.urandom(32))
        while True:
            async with contextlib.AsyncExitStack() as stack:
                stack.enter_context(contextlib.suppress(OddwireError))
                connection = await connect(key, PublicKey(uri.node_id), uri.host, uri.port)
                stack.push_async_callback(connection.aclose)
                await connection.send_message(Init(networks=(CHAINS[DEFAULT_NETWORK],)).encode())
                for _ in range(self.random.randrange(50)):
                    size = self.random.choice([2, 100, 100, 100, 20_000])
                    await connection.send_message(b"\x80\x01" + bytes(size - 2))
                    self.done["messages from peers"] += 1
                    await self.pause(0.05)
                match self.random.randrange(4):
                    case 0:
                        connection.abort("gone")
                    case 1:
                        await connection.send_message(b"\x80\x02")  # unknown and even
                    case 2:
                        await connection.send_message(b"\x00\x10")  # init again, and not a whole one
                await self.pause(1)
                self.done["connections"] += 1
            await self.pause(1)

    async def satellite(self, daemon: Daemon) -> None:
        """A node that talks with the hub and is killed now and then; what it acknowledged has to be there again."""
        number = 0
        while True:
            for _ in range(self.random.randrange(20, 100)):
                number += 1
                await daemon.note(f"{number % 50}", f"{number:09}")
                try:
                    await daemon.call("connect", [self.hub.uri])
                    await daemon.call("sendcustommsg", [self.hub.node_id, "8001" + "ab" * 98])
                    await self.hub.call("sendcustommsg", [daemon.node_id, "8001" + "cd" * 98])
                except NodeRefused:
                    self.done["refused"] += 1  # the connection is just coming or going
                if self.random.random() < 0.05:
                    with contextlib.suppress(NodeRefused):
                        await daemon.call("disconnect", [self.hub.node_id])
                await self.pause(0.1)
            # To its end even if the day ends meanwhile: who is to be stopped has to run
            restart = asyncio.create_task(self.restart(daemon))
            self.restarts.append(restart)
            await asyncio.shield(restart)
            self.restarts.remove(restart)

    async def restart(self, daemon: Daemon) -> None:
        await daemon.kill()
        await daemon.start()
        await daemon.verify()
        self.done["nodes killed"] += 1

    async def killer_of_plugins(self) -> None:
        while True:
            await self.pause(3)
            pid = (await self.hub.call("pid"))["pid"]
            os.kill(pid, 9)
            while any(plugin["name"] == self.plugin for plugin in (await self.hub.call("plugin", ["list"]))["plugins"]):
                await asyncio.sleep(0.01)
            await self.hub.call("plugin", ["start", self.plugin])
            self.done["plugins killed"] += 1

    async def caller(self) -> None:
        number = 0
        while True:
            number += 1
            peers = (await self.hub.call("listpeers"))["peers"]
            for peer in peers:
                with contextlib.suppress(NodeRefused):
                    await self.hub.call("sendcustommsg", [peer["id"], "8001" + "ef" * 500])
                    self.done["messages to peers"] += 1
            await self.hub.note(f"{number % 100}", f"{number:09}")
            await self.pause(0.1)

    async def nuisance(self) -> None:
        """Do to the RPC socket what no client should."""
        nonsense = [b"garbage}", b'{"half":', b"[" * 100_000, b"\xff" * 1000, b"{}" * 1000, b""]
        while True:
            with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(ConnectionError, BlockingIOError):
                client.connect(self.hub.rpc.path)
                client.setblocking(False)
                client.send(self.random.choice(nonsense))
                await self.pause(0.2)
                if self.random.random() < 0.3:
                    client.send(b'{"jsonrpc":"2.0","id":1,"method":"help","params":[]}' * 1000)  # and does not read
                    await self.pause(0.5)
            self.done["clients misbehaved"] += 1

    async def watch_memory(self, seconds: float) -> None:
        """Compare what the hub occupies after a fifth of the time with what it does at the end."""
        end = time.monotonic() + seconds
        await asyncio.sleep(seconds / 5)
        early = await self.lowest_memory(seconds / 10)
        print(f"after {seconds * 0.3:.0f} s: {early / 1e6:.1f} MB, {dict(self.done)}", flush=True)
        while time.monotonic() < end - seconds / 10:
            await asyncio.sleep(min(30.0, seconds / 10))
            print(f"{self.hub.memory() / 1e6:.1f} MB, {dict(self.done)}", flush=True)
        late = await self.lowest_memory(seconds / 10)
        print(f"at the end: {late / 1e6:.1f} MB, {dict(self.done)}", flush=True)
        assert late <= early * GROWTH, f"the hub has grown from {early / 1e6:.1f} to {late / 1e6:.1f} MB"

    async def lowest_memory(self, seconds: float) -> int:
        samples = []
        for _ in range(10):
            samples.append(self.hub.memory())
            await asyncio.sleep(seconds / 10)
        return min(samples)


async def soak(seconds: float, seed: int) -> Counter[str]:
    with tempfile.TemporaryDirectory() as folder:
        day = Soak(Path(folder), seed)
        try:
            await day.run(seconds)
        finally:
            for daemon in (day.hub, *day.satellites):
                with contextlib.suppress(AttributeError, ProcessLookupError, ConnectionClosed):
                    if daemon.process.returncode is None:
                        await daemon.kill()
        return day.done


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=None, help="what the last run used, to do the same again")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    asyncio.run(soak(options.seconds, seed))


if __name__ == "__main__":
    main()
