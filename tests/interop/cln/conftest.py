"""Core Lightning itself: `lightningd` of the PATH on regtest, with a chain that has only its first block."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pyln.client import LightningRpc, RpcError

PLUGINS = Path(__file__).parent.parent / "plugins"
LIMIT = 60  # seconds; reached only by what hangs


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip every test here where there is no Core Lightning."""
    missing = [name for name in ("lightningd", "lightning-cli") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"NOT RUN against Core Lightning: there is no {' and no '.join(missing)} on the PATH")


class Daemon:
    """A node in a process of its own that has lightningd's RPC, whoever made it; pyln-client asks it."""

    def __init__(self, folder: Path, command: Sequence[str], environment: dict[str, str]) -> None:
        self.folder = folder
        self.log_file = folder / "log"
        self.rpc = LightningRpc(str(folder / "regtest" / "lightning-rpc"))
        self.address = f"127.0.0.1:{free_port()}"
        self.node_id = ""
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

        return await until(connected)

    async def until_gone(self, node_id: str) -> None:
        async def gone() -> bool:
            return await self.peer(node_id) is None

        await until(gone)

    async def logged(self, *texts: str) -> str:
        """Wait for a line of the log that holds all of these, and give it."""

        async def find() -> str:
            lines = self.log_file.read_text(errors="replace").splitlines()
            return next((line for line in lines if all(text in line for text in texts)), "")

        return await until(find)

    def end(self) -> None:
        """End it, and whatever it has started."""
        self.process.terminate()
        try:
            self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{' '.join(self._command)} did not end on SIGTERM", pytrace=False)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


async def until(probe: Callable[[], Any]) -> Any:
    """Ask again and again until the answer is something, and give it."""
    async with asyncio.timeout(LIMIT):
        while not (answer := await probe()):
            await asyncio.sleep(0.02)
        return answer


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Starter:
    """Starts nodes, each in a folder of its own, as ``end`` ends them. Both kinds understand the same options."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._stack = contextlib.ExitStack()
        # The plugins say `env python3`: that has to be the one with pyln-client
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": path}
        self.end = self._stack.close

    def lightningd(self, *plugins: str, options: Sequence[str] = ()) -> Daemon:
        """Start Core Lightning with plugins of ours, by name."""
        return self._start(["lightningd"], ["no_chain", *plugins], ["--disable-plugin=bcli", *options])

    def node(self, *plugins: str, options: Sequence[str] = ()) -> Daemon:
        """Start an embedded node with plugins of ours, by name."""
        return self._start([sys.executable, "-m", "oddwire.cli.main", "node"], plugins, options)

    def _start(self, command: Sequence[str], plugins: Sequence[str], options: Sequence[str]) -> Daemon:
        paths = [f"--plugin={PLUGINS / f'{plugin}.py'}" for plugin in plugins]
        daemon = Daemon(self._folders.mktemp("n"), [*command, *paths, *options], self._environment)
        self._stack.callback(daemon.end)
        daemon.start()
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


@pytest.fixture(scope="session")
def lightningd(starter: Starter) -> Daemon:
    """One Core Lightning node with the plugin `collector`, for every test whose other end is new each time."""
    return starter.lightningd("collector")
