"""The transport kit over two real lightningds: each transport is at the other end of a plugin that is a pipe."""

from __future__ import annotations

import asyncio
import socket
import stat
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from oddwire.errors import EncodeError
from oddwire.proto.type_numbers import REFUSED
from oddwire.testing.transport_conformance import TransportConformance
from oddwire.transports.base import Transport
from oddwire.transports.cln import ClnLimits, ClnTransport

pytestmark = [pytest.mark.cln, pytest.mark.interop]

RELAY = Path(__file__).parents[2] / "conformance" / "relay.py"


class Relayed(Transport):
    """A `ClnTransport` of this process and the lightningd that it belongs to; relay.py is between them."""

    def __init__(self, start, folder, **options):
        self._options = options
        plugin = folder / "relay.py"
        plugin.write_text(f"#!{sys.executable} -IS\n{RELAY.read_text()}")
        plugin.chmod(stat.S_IRWXU)
        self.daemon = start.lightningd_to_be(plugin)
        self.cln = None
        self._starting = None

    @property
    def dropped(self):
        return self.cln.dropped

    @property
    def uris(self):
        return [self.daemon.uri]

    async def open(self, manifest, sink):
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(self.daemon.folder / "relay"))
            listening.listen()
            listening.setblocking(False)
            self._starting = asyncio.create_task(asyncio.to_thread(self.daemon.start))
            way, _ = await asyncio.get_running_loop().sock_accept(listening)
        descriptor = way.detach()
        self.cln = ClnTransport(stdin=descriptor, stdout=descriptor, **self._options)
        await self.cln.open(manifest, sink)
        await self._starting

    async def send(self, peer, payload):
        await self.cln.send(peer, payload)

    def pause(self, peer):
        self.cln.pause(peer)

    def resume(self, peer):
        self.cln.resume(peer)

    async def connect(self, uri):
        return await self.cln.connect(uri)

    async def disconnect(self, peer, reason=""):
        await self.cln.disconnect(peer, reason)

    async def aclose(self):
        if self.cln is not None:
            await self.cln.aclose()
        elif self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
            if self.daemon.process is not None:
                self.daemon.process.kill()  # it waits for its plugin in vain


class TestCln(TransportConformance):
    pushes_back = False
    hangs_up_on_close = False
    options: ClassVar = {"limits": ClnLimits(held=4_000_000), "receive": "hook"}

    @pytest.fixture(autouse=True)
    def _start(self, start, tmp_path_factory):
        self.start = start
        self.folders = tmp_path_factory

    async def make(self):
        left, right = (Relayed(self.start, self.folders.mktemp("r"), **self.options) for _ in range(2))
        return left, right

    def test_what_lightningd_handles_itself_is_refused_before_it_hears_of_it(self):
        """It has died of less."""

        async def test(pair):
            calls = len(pair.left.transport.daemon.log("sendcustommsg"))
            for type_id in REFUSED:
                with pytest.raises(EncodeError) as caught:
                    await pair.left.send(type_id.to_bytes(2, "big") + b"body")
                assert caught.value.type_id == type_id
            assert len(pair.left.transport.daemon.log("sendcustommsg")) == calls
            await self._still_works(pair)

        self.run(self.with_pair(test))


class TestClnByNotification(TestCln):
    options: ClassVar = {**TestCln.options, "receive": "notification"}
