"""What workers run in the benchmarks of clusters: it answers, after some work or a write to its store."""

from __future__ import annotations

import asyncio
import os
import sys
import time

from oddwire import Application, Context, Extension, Message, PrivateKey, message, u32, u64

extension = Extension("bench", version="1.0")


@message(0x9035)
class Ask(Message):
    number: u64
    note: str
    work: u32 = 0
    """Microseconds for which its handler computes."""
    store: bool = False
    """Whether its handler writes the note to the store, and waits for that."""


@message(0x9037)
class Answer(Message):
    number: u64
    note: str
    pid: u32
    took: u32
    """Microseconds that the write to the store took."""


@extension.on(Ask)
async def answer(context: Context, ask: Ask) -> Answer:
    took = 0.0
    if ask.work:
        end = time.perf_counter() + ask.work / 1e6
        while time.perf_counter() < end:
            pass
    if ask.store:
        start = time.perf_counter()
        await context.store.set(f"note/{ask.number % 1000}", ask.note)
        took = time.perf_counter() - start
    return Answer(number=ask.number, note=ask.note, pid=os.getpid(), took=round(took * 1e6))


async def node(address: str, store: str) -> None:
    """Be a node with this extension, and no more: `oddwire run` would print each message."""
    from oddwire.transports import Bolt8Transport

    transport = Bolt8Transport(PrivateKey(os.urandom(32)), listen=[address], network="regtest")
    async with Application(extension, transport=transport, store=store):
        print(transport.uris[0], flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    from oddwire.app import relax_collector

    relax_collector()
    asyncio.run(node(*sys.argv[1:]))
