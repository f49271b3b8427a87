"""The transport kit, run over every transport of ours."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from oddwire.proto.keys import PrivateKey
from oddwire.testing.transports import TransportConformance
from oddwire.transports.base import Transport
from oddwire.transports.bolt8 import Bolt8Transport
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


@pytest.mark.skipif(uvloop is None, reason="uvloop is not there for this system")
class TestBolt8OnUvloop(TestBolt8):
    def run(self, test: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(test)
