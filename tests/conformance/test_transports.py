"""The transport kit, run over every transport of ours."""

import asyncio
import socket
import stat
import sys
import tempfile
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.lnd import ScriptedLnd
from tests.support.lnd.node import BITS
from tests.support.waiting import until

from oddwire.node.node import Node
from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.testing.transport_conformance import TransportConformance
from oddwire.transports.base import Manifest, PeerInfo, Sink, Transport
from oddwire.transports.bolt8.transport import Bolt8Transport
from oddwire.transports.cln import ClnLimits, ClnTransport, Dropped
from oddwire.transports.lnd import LndLimits, LndTransport
from oddwire.transports.memory import MemoryNetwork

try:
    import uvloop
except ImportError:  # not on Windows
    uvloop = None


class TestMemory(TransportConformance):
    async def make(self) -> tuple[Transport, Transport]:
        network = MemoryNetwork()
        return network.transport(), network.transport()


class TestSlowMemory(TransportConformance):
    async def make(self) -> tuple[Transport, Transport]:
        network = MemoryNetwork(delay=0.001)
        return network.transport(), network.transport()


class TestBolt8(TransportConformance):
    async def make(self) -> tuple[Transport, Transport]:
        left = Bolt8Transport(PrivateKey(b"\x01" * 32), network="regtest")
        right = Bolt8Transport(PrivateKey(b"\x02" * 32), network="regtest", listen=["127.0.0.1:0"])
        return left, right

    async def connect(self, left: Transport, right: Transport) -> None:
        assert isinstance(left, Bolt8Transport)
        assert isinstance(right, Bolt8Transport)
        await left.connect(right.uris[0], keep=False)


class TestBolt8OverWebSocket(TestBolt8):
    async def make(self) -> tuple[Transport, Transport]:
        left = Bolt8Transport(PrivateKey(b"\x01" * 32), network="regtest")
        right = Bolt8Transport(PrivateKey(b"\x02" * 32), network="regtest", listen=["ws://127.0.0.1:0"])
        return left, right


@pytest.mark.skipif(uvloop is None, reason="uvloop is not there for this system")
class TestBolt8OnUvloop(TestBolt8):
    def run(self, test: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test)


class Relayed(Transport):
    """A `ClnTransport` and the embedded node that it belongs to, both of this process; relay.py is between them."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self._options = options
        plugin = folder / "relay.py"
        plugin.write_text(f"#!{sys.executable} -IS\n{(Path(__file__).parent / 'relay.py').read_text()}")
        plugin.chmod(stat.S_IRWXU)
        self.node = Node(folder, listen=["127.0.0.1:0"], plugins=[plugin])
        self._cln: ClnTransport | None = None
        self._starting: asyncio.Task[None] | None = None

    @property
    def cln(self) -> ClnTransport:
        assert self._cln is not None
        return self._cln

    @property
    def dropped(self) -> Dropped:
        return self.cln.dropped

    @property
    def uris(self) -> list[str]:
        return self.node.uris

    async def open(self, manifest: Manifest, sink: Sink) -> None:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self.folder / "relay"))
            listening.listen()
            listening.setblocking(False)
            self._starting = asyncio.create_task(self.node.start())
            way, _ = await asyncio.get_running_loop().sock_accept(listening)
        fd = way.detach()
        self._cln = ClnTransport(stdin=fd, stdout=fd, version=self.node.version, **self._options)
        await self._cln.open(manifest, sink)
        await self._starting

    async def send(self, peer: NodeId, payload: bytes) -> None:
        await self.cln.send(peer, payload)

    def pause(self, peer: NodeId) -> None:
        self.cln.pause(peer)

    def resume(self, peer: NodeId) -> None:
        self.cln.resume(peer)

    async def connect(self, uri: str) -> PeerInfo:
        return await self.cln.connect(uri)

    async def disconnect(self, peer: NodeId, reason: str = "") -> None:
        await self.cln.disconnect(peer, reason)

    async def aclose(self) -> None:
        if self._cln is not None:
            await self._cln.aclose()
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await self.node.aclose()


class TestCln(TransportConformance):
    pushes_back = False
    hangs_up_on_close = False
    options: Mapping[str, Any] = {"limits": ClnLimits(rate=None, held=4_000_000), "receive": "hook"}

    @pytest.fixture(autouse=True)
    def _folders(self) -> Iterator[None]:
        with tempfile.TemporaryDirectory() as folder:  # a socket's path has to be short
            self.folder = Path(folder)
            yield

    async def make(self) -> tuple[Transport, Transport]:
        folders = self.folder / "left", self.folder / "right"
        for folder in folders:
            folder.mkdir()
        left, right = (Relayed(folder, **self.options) for folder in folders)
        return left, right


class TestClnByNotification(TestCln):
    options: Mapping[str, Any] = {**TestCln.options, "receive": "notification"}


class TestLnd(TransportConformance):
    """Over two scripted LNDs that are joined; `tests/interop/lnd` has it over real ones."""

    pushes_back = False
    hangs_up_on_close = False
    doubles: tuple[ScriptedLnd, ScriptedLnd]

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def run(self, test: Coroutine[Any, Any, None]) -> None:
        asyncio.run(self._run(test))

    async def _run(self, test: Coroutine[Any, Any, None]) -> None:
        left, right = (ScriptedLnd(self.folder / name, name, features=BITS | {513}) for name in ("left", "right"))
        async with left, right:
            self.doubles = left, right
            await test

    async def make(self) -> tuple[Transport, Transport]:
        limits = LndLimits(held=4_000_000)
        left, right = (
            LndTransport(lnd.address, lnddir=lnd.folder, network="regtest", limits=limits) for lnd in self.doubles
        )
        return left, right

    async def connect(self, left: Transport, right: Transport) -> None:
        await left.connect(self.doubles[1].uri)

    # Most of their time is the doubles'; senders at once check the order, too

    @pytest.mark.long
    def test_keeps_the_order_of_2500_messages_each_way_at_once(self) -> None:
        super().test_keeps_the_order_of_2500_messages_each_way_at_once()

    @pytest.mark.long
    def test_what_is_sent_without_waiting_keeps_its_place(self) -> None:
        super().test_what_is_sent_without_waiting_keeps_its_place()

    async def _no_tasks_but(self, before: set[asyncio.Task[Any]]) -> None:
        """The doubles' tasks end a little later, and gRPC's server takes another one for its next call."""
        servers = "AioServer._request_call"
        await until(lambda: all(task.get_coro().__qualname__ == servers for task in asyncio.all_tasks() - before))
