"""Plugins as small as can be, on a host without a node."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from oddwire.node.commands import NodeCommands
from oddwire.node.plugins import PluginHost
from oddwire.node.plugins.process import PluginLimits

# A plugin without any library: what `body` defines answers what the node sends. A function named like a method answers
# requests (`...` for no answer), one named on_<topic> takes notifications.
BARE = """#!{python} -IS
import json, os, signal, sys, time

MANIFEST = {manifest}
SEEN = []

def write(text):
    data = text.encode()
    while data:
        data = data[os.write(1, data):]

def send(**document):
    write(json.dumps({{"jsonrpc": "2.0", **document}}) + "\\n\\n")

def log(message, level="info"):
    send(method="log", params={{"level": level, "message": message}})

def getmanifest(request):
    return MANIFEST

def init(request):
    return {{}}

def custommsg(request):
    return {{"result": "continue"}}

def peer_connected(request):
    return {{"result": "continue"}}

def on_shutdown(params):
    sys.exit()

def seen(request):
    return {{"seen": SEEN}}

{body}

for _line in sys.stdin:
    if _line == "\\n":
        continue
    SEEN.append(_line + "\\n")
    _request = json.loads(_line)
    _name = _request["method"].partition("-")[0]
    if "id" in _request:
        _result = globals()[_name](_request)
        if _result is not ...:
            send(id=_request["id"], result=_result)
    elif "on_" + _name in globals():
        globals()["on_" + _name](_request["params"])
"""


class Services:
    """The node that a plugin host needs, without the rest of one: a real table of methods, and a log that is kept."""

    def __init__(self, directory: Path) -> None:
        self.lightning_dir = directory / "lightning" / "regtest"
        self.lightning_dir.mkdir(parents=True)
        self.rpc_file = "lightning-rpc"
        self.network = "regtest"
        self.version = "v26.06.6"
        self.node_id = "02" * 33
        self.proxy: str | None = None
        self.commands = NodeCommands()
        self.commands.install()
        self.features = {"init": "800898880a8a59a1", "node": "808898880a8a59a1"}
        self.lines: list[tuple[str, str, str]] = []
        self.stopped: list[str] = []
        self._changed = asyncio.Event()

    def log(self, level: str, text: str, source: str) -> None:
        self.lines.append((level, text, source))
        self._changed.set()

    def feature_set(self) -> dict[str, str]:
        return self.features

    def stop(self, reason: str) -> None:
        self.stopped.append(reason)

    def logged(self, text: str) -> list[str]:
        """Return the lines that hold ``text``, as `level source: text`."""
        return [f"{level} {source}: {line}" for level, line, source in self.lines if text in line]

    async def line(self, text: str) -> str:
        """Wait for the first line that holds ``text``."""
        while not (found := self.logged(text)):
            self._changed.clear()
            await self._changed.wait()
        return found[0]

    async def call(self, method: str, params: Any = (), *, key: Any = "test") -> Any:
        """Call a method as a client does; give the answer's result or error."""
        params = params if isinstance(params, dict) else list(params)
        answer = self.commands.dispatch({"jsonrpc": "2.0", "id": key, "method": method, "params": params})
        document = json.loads(answer if isinstance(answer, bytes) else await answer)
        assert document["id"] == key
        return document["result"] if "result" in document else document["error"]

    async def seen(self, name: str) -> list[str]:
        """Return what a bare plugin has read, without what this itself writes: its documents as text."""
        return list((await self.call(f"seen-{name}"))["seen"])[:-1]


@pytest_asyncio.fixture
async def services(tmp_path: Path) -> Services:
    return Services(tmp_path)


@pytest.fixture
def bare(tmp_path: Path) -> Callable[..., str]:
    """Write a plugin without any library; its method ``seen-<name>`` tells what it has read."""

    def write(name: str = "bare", body: str = "", *, folder: str = "scripts", **manifest: Any) -> str:
        whole = {
            "options": [],
            "rpcmethods": [],
            "hooks": [],
            "subscriptions": [],
            "dynamic": True,
            **manifest,
        }
        whole["rpcmethods"] = [{"name": f"seen-{name}", "usage": ""}, *whole["rpcmethods"]]
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(BARE.format(python=sys.executable, manifest=repr(whole), body=body))
        path.chmod(0o755)
        return str(path.resolve())

    return write


@pytest_asyncio.fixture
async def make_host(services: Services) -> AsyncIterator[Callable[..., PluginHost]]:
    """Make hosts that end with the test."""
    hosts: list[PluginHost] = []

    def make(*, reserved_options: tuple[str, ...] = (), **limits: Any) -> PluginHost:
        host = PluginHost(services, limits=PluginLimits(**limits), reserved_options=reserved_options)
        hosts.append(host)
        return host

    yield make
    for host in hosts:
        await host.aclose()


@pytest_asyncio.fixture
async def host(make_host: Callable[..., PluginHost]) -> PluginHost:
    return make_host()


class Messages:
    """Hands messages to a host as a node does: the next one of a peer when the host says that it may come."""

    def __init__(self, host: PluginHost) -> None:
        self._host = host

    async def deliver(self, *payloads: str, peer: str = "02" * 33) -> None:
        """Deliver messages, and wait until the chains for all of them are through."""
        loop = asyncio.get_running_loop()
        for payload in payloads:
            done = loop.create_future()
            if not self._host.custommsg(peer, bytes.fromhex(payload), lambda done=done: done.set_result(None)):
                await done


@pytest.fixture
def messages(host: PluginHost) -> Messages:
    return Messages(host)
