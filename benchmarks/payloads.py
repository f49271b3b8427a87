"""Whole payloads one way between two processes, through `Bolt8Transport`, against the bound and against pyln-proto."""

from __future__ import annotations

import asyncio
import os
import time

from benchmarks.harness import ROUNDS, Channel, Row, bound, median_ratio, pair, run_async
from oddwire.proto import PrivateKey
from oddwire.proto.keys import NodeId
from oddwire.transports.base import Manifest, PeerInfo
from oddwire.transports.bolt8.transport import Bolt8Transport

COUNTS = {100: 300_000, 60_000: 8_000}


class CountingSink:
    """Notes when the first and the last of ``expected`` payloads arrived."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.count = 0
        self.first = self.last = 0.0
        self.done = asyncio.Event()

    def peer_connected(self, peer: PeerInfo) -> None: ...

    def payload_received(self, peer: NodeId, payload: bytes) -> None:
        if not self.count:
            self.first = time.perf_counter()
        self.count += 1
        if self.count == self.expected:
            self.last = time.perf_counter()
            self.done.set()

    def peer_disconnected(self, peer: NodeId, reason: str) -> None:
        self.done.set()

    @property
    def rate(self) -> float:
        if self.count < self.expected:
            raise RuntimeError(f"{self.count} of {self.expected} payloads arrived")
        return (self.count - 1) / (self.last - self.first)


def receive(channel: Channel, size: int) -> float:
    async def main() -> float:
        sink = CountingSink(COUNTS[size])
        transport = Bolt8Transport(PrivateKey(os.urandom(32)), listen=["127.0.0.1:0"])
        await transport.open(Manifest(), sink)
        channel.put(transport.uris[0])
        await sink.done.wait()
        channel.put("done")
        await transport.aclose()
        return sink.rate

    return float(run_async(main()))


def send(channel: Channel, size: int) -> None:
    async def main() -> None:
        transport = Bolt8Transport(PrivateKey(os.urandom(32)))
        await transport.open(Manifest(), CountingSink(1))
        peer = await transport.connect(await channel.aget(), keep=False)
        payload = b"\x80\x01" + os.urandom(size - 2)
        for _ in range(COUNTS[size]):
            await transport.send(peer.node_id, payload)
        await channel.aget()
        await transport.aclose()

    run_async(main())


# pyln-proto's own loop: threads and blocking sockets, as its users write it ---------------------------

PYLN_COUNT = 100_000


def pyln_receive(channel: Channel, size: int) -> float:
    from pyln.proto.wire import LightningServerSocket  # its import costs, and only this needs it
    from pyln.proto.wire import PrivateKey as PylnPrivateKey

    key = PylnPrivateKey(os.urandom(32))
    server = LightningServerSocket(key)
    server.bind(("127.0.0.1", 0))
    server.listen()
    channel.put((key.public_key().serializeCompressed(), server.getsockname()[1]))
    connection, _ = server.accept()
    # Its read_message takes a legal short recv of the length for an error: wait for the whole of it each time
    recv = connection.connection.recv
    connection.connection = _WholeReads(connection.connection, recv)
    connection.read_message()
    start = time.perf_counter()
    for _ in range(PYLN_COUNT - 1):
        connection.read_message()
    rate = (PYLN_COUNT - 1) / (time.perf_counter() - start)
    channel.put("done")
    return rate


class _WholeReads:
    def __init__(self, sock, recv) -> None:  # type: ignore[no-untyped-def]
        import socket

        self._recv = recv
        self._flag = socket.MSG_WAITALL
        self.send = sock.send

    def recv(self, size: int) -> bytes:
        return self._recv(size, self._flag)  # type: ignore[no-any-return]


def pyln_send(channel: Channel, size: int) -> None:
    from pyln.proto.wire import PrivateKey as PylnPrivateKey
    from pyln.proto.wire import connect

    node_id, port = channel.get()
    connection = connect(PylnPrivateKey(os.urandom(32)), node_id, "127.0.0.1", port)
    payload = b"\x80\x01" + os.urandom(size - 2)
    for _ in range(PYLN_COUNT):
        connection.send_message(payload)
    channel.get()


def rows() -> list[Row]:
    ours, bounds, pyln = [], [], []
    large, large_bounds = [], []
    for _ in range(ROUNDS):
        bounds.append(bound(100))
        ours.append(pair(receive, send, 100)[0])
        pyln.append(pair(pyln_receive, pyln_send, 100)[0])
        large_bounds.append(bound(60_000))
        large.append(pair(receive, send, 60_000)[0])
    return [
        Row("payloads, 100 B, against the bound", median_ratio(ours, bounds), "ratio", ">= 0.7", rates(ours, bounds)),
        Row("payloads, 100 B, against pyln-proto", median_ratio(ours, pyln), "ratio", ">= 3.5", rates(ours, pyln)),
        Row(
            "payloads, 60 KB, against the bound",
            median_ratio(large, large_bounds),
            "ratio",
            ">= 0.7",
            rates(large, large_bounds),
        ),
    ]


def rates(ours: list[float], theirs: list[float]) -> str:
    """The middle round's figures, for people."""
    middle = len(ours) // 2
    return f"{sorted(ours)[middle]:,.0f}/s against {sorted(theirs)[middle]:,.0f}/s"
