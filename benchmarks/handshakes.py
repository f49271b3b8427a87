"""Handshakes a second between two processes, against their key work alone and against pyln-proto."""

from __future__ import annotations

import asyncio
import os
import time

from benchmarks.harness import ROUNDS, Channel, Row, median_ratio, pair, run_async
from benchmarks.payloads import rates
from oddwire.proto import PrivateKey, connect, serve

COUNT = 1500
AT_ONCE = 16
PYLN_COUNT = 500


def listen(channel: Channel, loop: str) -> None:
    async def main() -> None:
        key = PrivateKey(os.urandom(32))
        async with await serve(None, key, "127.0.0.1", 0) as server:
            channel.put((key.public_key().to_bytes(), server.port))
            await channel.aget()

    run_async(main(), loop)


def dial(channel: Channel, loop: str) -> float:
    async def main() -> float:
        node_id, port = await channel.aget()
        key = PrivateKey(os.urandom(32))
        left = COUNT

        async def dialer() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                connection = await connect(key, node_id, "127.0.0.1", port)
                connection.abort("counted")

        start = time.perf_counter()
        await asyncio.gather(*(dialer() for _ in range(AT_ONCE)))
        rate = COUNT / (time.perf_counter() - start)
        channel.put("done")
        return rate

    return float(run_async(main(), loop))


def key_work(channel: Channel) -> float:
    """What one side of one handshake cannot do without: an ephemeral key, three ECDH, and two keys read."""
    static, remote, remote_ephemeral = (PrivateKey(os.urandom(32)) for _ in range(3))
    keys = [remote.public_key().to_bytes(), remote_ephemeral.public_key().to_bytes()]
    channel.put("ready")
    channel.get()
    import coincurve

    start = time.perf_counter()
    done = 0
    while (elapsed := time.perf_counter() - start) < 0.6:
        for _ in range(20):
            ephemeral = coincurve.PrivateKey(os.urandom(32))
            for key in keys:
                coincurve.PublicKey(key)
            static.key.ecdh(keys[1])
            ephemeral.ecdh(keys[1])
            ephemeral.ecdh(keys[0])
        done += 20
    return done / elapsed


def pyln_listen(channel: Channel) -> None:
    from pyln.proto.wire import LightningServerSocket
    from pyln.proto.wire import PrivateKey as PylnPrivateKey

    key = PylnPrivateKey(os.urandom(32))
    server = LightningServerSocket(key)
    server.bind(("127.0.0.1", 0))
    server.listen(64)
    channel.put((key.public_key().serializeCompressed(), server.getsockname()[1]))
    for _ in range(PYLN_COUNT):
        connection, _ = server.accept()
        connection.connection.close()


def pyln_dial(channel: Channel) -> float:
    from pyln.proto.wire import PrivateKey as PylnPrivateKey
    from pyln.proto.wire import connect as pyln_connect

    node_id, port = channel.get()
    key = PylnPrivateKey(os.urandom(32))
    start = time.perf_counter()
    for _ in range(PYLN_COUNT):
        pyln_connect(key, node_id, "127.0.0.1", port).connection.close()
    return PYLN_COUNT / (time.perf_counter() - start)


def rows() -> list[Row]:
    bounds, pyln = [], []
    ours: dict[str, list[float]] = {"asyncio": [], "uvloop": []}
    for _ in range(ROUNDS):
        bounds.append(min(pair(key_work, key_work)))
        for loop, measured in ours.items():
            measured.append(pair(listen, dial, loop)[1])
        pyln.append(pair(pyln_listen, pyln_dial)[1])
    results = []
    for loop, measured in ours.items():
        for name, theirs, goal in (("their key work", bounds, ">= 0.5"), ("pyln-proto", pyln, ">= 3")):
            text = f"handshakes on {loop}, against {name}"
            results.append(Row(text, median_ratio(measured, theirs), "ratio", goal, rates(measured, theirs)))
    return results
