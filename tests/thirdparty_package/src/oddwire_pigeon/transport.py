"""A transport: nodes of one process, with a pigeon between each two of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from hashlib import sha256

from oddwire.app import hookimpl
from oddwire.errors import PeerNotConnected
from oddwire.proto import NodeId
from oddwire.transports import MAX_PAYLOAD, MIN_PAYLOAD, Manifest, PeerInfo, Sink, Transport, wrong_length

__all__ = ["PigeonTransport", "Plugin"]

_lofts: dict[str, PigeonTransport] = {}


class PigeonTransport(Transport):
    """A loft called ``name``. ``connect("name")`` trains a pigeon for the way there and back."""

    def __init__(self, *, name: str) -> None:
        self.name = name
        self.node_id = NodeId(b"\x02" + sha256(name.encode()).digest())
        self._sink: Sink | None = None
        self._nests: dict[NodeId, _Nest] = {}

    async def open(self, manifest: Manifest, sink: Sink) -> None:
        self._sink = sink
        _lofts[self.name] = self

    async def send(self, peer: NodeId, payload: bytes) -> None:
        if peer not in self._nests:
            raise PeerNotConnected(f"no pigeon flies to {peer}", node_id=str(peer))
        if not MIN_PAYLOAD <= len(payload) <= MAX_PAYLOAD:
            raise wrong_length(len(payload))
        _lofts_by_id()[peer].arrive(self.node_id, payload)
        await asyncio.sleep(0)

    def pause(self, peer: NodeId) -> None:
        if peer in self._nests:
            self._nests[peer].paused = True

    def resume(self, peer: NodeId) -> None:
        if peer in self._nests:
            self._nests[peer].paused = False
            self._feed(peer)

    async def aclose(self) -> None:
        for peer in list(self._nests):
            await self.disconnect(peer, "the loft closes")
        _lofts.pop(self.name, None)

    async def disconnect(self, peer: NodeId, reason: str = "") -> None:
        if peer in self._nests:
            other = _lofts_by_id()[peer]
            self._leave(peer, reason or "pigeon retired")
            other._leave(self.node_id, "pigeon retired")

    async def connect(self, name: str) -> PeerInfo:
        other = _lofts[name]
        other._meet(self.node_id, "in")
        return self._meet(other.node_id, "out")

    def arrive(self, peer: NodeId, payload: bytes) -> None:
        if peer in self._nests:
            self._nests[peer].letters.append(payload)
            asyncio.get_running_loop().call_soon(self._feed, peer)

    def _meet(self, peer: NodeId, direction: str) -> PeerInfo:
        info = PeerInfo(node_id=peer, address="by air", direction=direction)
        self._nests[peer] = _Nest()
        self._sink.peer_connected(info)
        return info

    def _leave(self, peer: NodeId, reason: str) -> None:
        if self._nests.pop(peer, None) is not None:
            self._sink.peer_disconnected(peer, reason)

    def _feed(self, peer: NodeId) -> None:
        nest = self._nests.get(peer)
        while nest is not None and nest.letters and not nest.paused:
            self._sink.payload_received(peer, nest.letters.popleft())


class _Nest:
    def __init__(self) -> None:
        self.letters: deque[bytes] = deque()
        self.paused = False


def _lofts_by_id() -> dict[NodeId, PigeonTransport]:
    return {loft.node_id: loft for loft in _lofts.values()}


class Plugin:
    """What the entry point names: a class with a static hookimpl will do, as any object with hookimpls does."""

    name = "pigeon"

    @staticmethod
    @hookimpl
    def register_transports() -> Mapping[str, Callable[..., Transport]]:
        return {"pigeon": PigeonTransport}
