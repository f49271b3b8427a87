#!/usr/bin/env python3
"""An extension that talks with its like at a peer in every way there is, and tells who answered.

A copy of this file is an extension of its own: its name, and with it the numbers of its messages, are the file's. Names
are a letter and a number, ``s3``; ``s3x.py`` is the same extension with methods of other names. Each answer names the
plugin file that gave it; each reliable message is written down where it is handled, in the transaction that handles it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable
from pathlib import Path
from typing import Any

from oddwire import AppContext, Application, Context, Extension, Message, NodeId, message, u64

METHODS = Path(__file__).stem
NAME = METHODS.removesuffix("x")
WHO = Path(sys.argv[0]).name
BASE = 0xB001 + 32 * (16 * "sab".index(NAME[0]) + int(NAME[1:]))
PATIENCE = 120.0  # seconds; reached only by what hangs
PARTS = 20  # of a stream: more than the credit it begins with
LARGE = 70_000  # bytes: more than a payload has
TABLE = f"{NAME}_seen"

extension = Extension(NAME, version="1.0")
plain: Counter[str] = Counter()  # messages by their senders
hanging: Counter[str] = Counter()  # what became of the requests that are not answered
tasks: dict[str, asyncio.Task[Any]] = {}


@message(BASE)
class Ask(Message):
    number: u64
    pad: bytes


@message(BASE + 2)
class Told(Message):
    who: str
    number: u64
    pad: bytes


@message(BASE + 4)
class Count(Message):
    number: u64


@message(BASE + 6)
class Part(Message):
    who: str
    number: u64


@message(BASE + 8)
class Plain(Message):
    sender: str
    pad: bytes


@message(BASE + 10)
class Order(Message):
    sender: str
    number: u64
    answered: bool


@message(BASE + 12)
class Done(Message):
    sender: str
    number: u64


@message(BASE + 14)
class Hang(Message):
    stream: bool


@extension.on_startup
async def make_table(context: AppContext) -> None:
    await context.store.execute(
        f"CREATE TABLE IF NOT EXISTS {TABLE} (id INTEGER PRIMARY KEY, kind TEXT, sender TEXT, number INTEGER)"
    )


# What peers ask for ----------------------------------------------------------------------------------


@extension.on(Ask)
async def answer(context: Context, ask: Ask) -> Told:
    if ask.number % 2:
        await asyncio.sleep(0)
    return Told(who=WHO, number=ask.number, pad=ask.pad)


@extension.on(Count)
async def count(context: Context, asked: Count) -> AsyncIterator[Part]:
    for number in range(PARTS):
        yield Part(who=WHO, number=asked.number + number)


@extension.on(Plain)
async def hear(context: Context, heard: Plain) -> None:
    plain[heard.sender] += 1


@extension.on(Order, reliable=True)
async def order(context: Context, order: Order) -> Done | None:
    await write_down(context, order)
    if order.number % 2:
        await asyncio.sleep(0)
    return Done(sender=WHO, number=order.number) if order.answered else None


@extension.on(Done, reliable=True)
async def done(context: Context, done: Done) -> None:
    await write_down(context, done)
    await context.store.set("done", done.number + 1)


@extension.on(Hang)
async def hang(context: Context, asked: Hang) -> AsyncIterator[Part]:
    """Answer with one part, if it is asked for that, and then not at all."""
    hanging["begun"] += 1
    try:
        if asked.stream:
            yield Part(who=WHO, number=0)
        await asyncio.Event().wait()
    finally:
        hanging["ended"] += 1


async def write_down(context: Context, what: Order | Done) -> None:
    row = (type(what).__name__, what.sender, what.number)
    await context.store.execute(f"INSERT INTO {TABLE} (kind, sender, number) VALUES (?, ?, ?)", row)


# What the tests ask for ------------------------------------------------------------------------------


class Tally:
    """What became of what was asked and sent."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.wrong: list[str] = []
        self.receipts: list[str] = []
        self.by: Counter[str] = Counter()

    async def request(self, peer: Any, number: int, size: int) -> None:
        pad = bytes([number % 256]) * size
        told = await peer.request(Ask(number=number, pad=pad), Told, timeout=PATIENCE)
        if (told.number, told.pad) != (number, pad):
            self.wrong.append(f"{number} was answered with {told.number}")
        self.by[told.who] += 1

    async def stream(self, peer: Any, number: int) -> None:
        parts = [part async for part in peer.stream(Count(number=number), Part, timeout=PATIENCE)]
        if [part.number for part in parts] != list(range(number, number + PARTS)):
            self.wrong.append(f"{number} was answered with {[part.number for part in parts]}")
        self.by.update({part.who for part in parts})

    async def plain(self, peer: Any, size: int) -> None:
        await peer.send(Plain(sender=WHO, pad=bytes(size)))

    async def order(self, peer: Any, number: int) -> None:
        receipt = await peer.deliver(Order(sender=WHO, number=number, answered=False))
        try:
            async with asyncio.timeout(PATIENCE):
                await receipt.delivered()
        except Exception as error:
            self.receipts.append(f"{number}: {type(error).__name__}: {error}")

    async def all(self, doings: Iterable[Awaitable[None]]) -> None:
        for error in await asyncio.gather(*doings, return_exceptions=True):
            if error is not None:
                self.failed.append(f"{type(error).__name__}: {error}")

    def told(self) -> dict[str, Any]:
        return {"failed": self.failed, "wrong": self.wrong, "receipts": self.receipts, "by": dict(self.by)}


@extension.rpc(f"{METHODS}-run")
async def run(
    context: AppContext, node_id: NodeId, requests: int, streams: int, large: int, orders: int, first: int = 0
) -> dict[str, Any]:
    """Ask and send so much, all at once, and tell what became of it: large ones as requests and as plain messages."""
    peer, tally = context.app.peer(node_id), Tally()
    doings: list[Awaitable[None]] = []
    # Each kind among the others
    for number in range(max(requests, streams, large, orders)):
        if number < requests:
            doings += [tally.request(peer, number, 10), tally.plain(peer, 10)]
        if number < streams:
            doings += [tally.stream(peer, number)]
        if number < large:
            doings += [tally.request(peer, number, LARGE), tally.plain(peer, LARGE)]
        if number < orders:
            doings += [tally.order(peer, first + number)]
    await tally.all(doings)
    return tally.told()


@extension.rpc(f"{METHODS}-ask")
async def ask(context: AppContext, node_id: NodeId) -> str:
    """Ask once, at once, and tell who answered."""
    return (await context.app.peer(node_id).request(Ask(number=0, pad=b""), Told, timeout=PATIENCE)).who


@extension.rpc(f"{METHODS}-spoken")
async def spoken(context: AppContext, node_id: NodeId) -> bool:
    """Tell whether a program of the peer has said that it speaks this extension."""
    return context.app.peer(node_id).supports(NAME)


@extension.rpc(f"{METHODS}-order")
async def send_orders(context: AppContext, node_id: NodeId, first: int, stop: int) -> None:
    """Send orders reliably: they are on disk when this returns."""
    async with context.store.transaction():
        for number in range(first, stop):
            await context.app.peer(node_id).deliver(Order(sender=WHO, number=number, answered=False))


@extension.rpc(f"{METHODS}-hang")
async def wait_for_nothing(context: AppContext, node_id: NodeId, stream: bool) -> dict[str, Any]:
    """Ask what is not answered, and tell what it ended with."""
    parts = 0
    try:
        async for _ in context.app.peer(node_id).stream(Hang(stream=stream), Part, timeout=None):
            parts += 1
    except Exception as error:
        return {"error": type(error).__name__, "parts": parts}
    return {"error": None, "parts": parts}


class Traffic:
    """Asks and sends without end, from when it is made to `end`."""

    def __init__(self, peer: Any, first: int) -> None:
        self.peer, self.first = peer, first
        self.tally, self.rounds, self.ending = Tally(), 0, False
        self.task = asyncio.create_task(self.talk())

    async def talk(self) -> None:
        while not self.ending:
            tally, number = self.tally, self.first + self.rounds
            doings = [tally.request(self.peer, number, size) for size in (10, LARGE)]
            doings += [tally.stream(self.peer, number), tally.plain(self.peer, LARGE), tally.order(self.peer, number)]
            await tally.all(doings)
            self.rounds += 1
            await asyncio.sleep(0.2)


traffic: list[Traffic] = []


@extension.rpc(f"{METHODS}-begin")
async def begin(context: AppContext, node_id: NodeId, first: int) -> None:
    """Begin to ask and send without end, with numbers from ``first`` on."""
    traffic.append(Traffic(context.app.peer(node_id), first))
    tasks["traffic"] = traffic[0].task


@extension.rpc(f"{METHODS}-rounds")
async def rounds(context: AppContext) -> int:
    """Tell how many rounds there were."""
    return traffic[0].rounds


@extension.rpc(f"{METHODS}-end")
async def end(context: AppContext) -> dict[str, Any]:
    """End what was begun, and tell what became of it and how many rounds there were."""
    ended = traffic.pop()
    ended.ending = True
    await ended.task
    return {**ended.tally.told(), "rounds": ended.rounds}


@extension.rpc(f"{METHODS}-told")
async def tell(context: AppContext) -> dict[str, Any]:
    """Tell what has come, and to which process."""
    done = await context.store.get("done", 0)
    return {"pid": os.getpid(), "plain": dict(plain), "hanging": dict(hanging), "done": done}


# Without end, through restarts -----------------------------------------------------------------------

BUNCH = 10  # orders in one transaction
AHEAD = 100  # orders that wait for an answer at once


@extension.rpc(f"{METHODS}-soak")
async def soak(context: AppContext, node_id: NodeId, until: int, whom: str) -> None:
    """Send orders until there are so many, by and by, through restarts; ask meanwhile, and keep who else answered."""
    async with context.store.transaction():
        for key, value in (("peer", str(node_id)), ("until", until), ("whom", whom)):
            await context.store.set(key, value)
    produce(context.app)


@extension.on_connect
async def go_on(context: Context) -> None:
    """Go on with what is left of before we were started."""
    if await context.store.get("until", 0):
        produce(context.app)


def produce(app: Application) -> None:
    if "soak" not in tasks:
        tasks["soak"] = asyncio.create_task(keep_producing(app))
        tasks["asking"] = asyncio.create_task(keep_asking(app))


async def keep_producing(app: Application) -> None:
    store = app.store(NAME)
    while True:
        first, until, answered = [await store.get(key, 0) for key in ("next", "until", "done")]
        stop = min(first + BUNCH, until, answered + AHEAD)
        if stop > first:
            async with store.transaction():
                peer = app.peer(await store.get("peer", ""))
                for number in range(first, stop):
                    await peer.deliver(Order(sender=WHO, number=number, answered=True))
                await store.set("next", stop)
        await asyncio.sleep(0 if stop > first else 0.005)


async def keep_asking(app: Application) -> None:
    """Ask, and stream, one after the other; what fails may: its program was killed."""
    store, number = app.store(NAME), 0
    while True:
        node_id, whom = await store.get("peer", ""), await store.get("whom", "")
        if node_id and (peer := app.peer(node_id)).connected and peer.supports(NAME):
            number, tally = number + 1, Tally()
            await tally.all([tally.request(peer, number, 10), tally.request(peer, number, LARGE)])
            await tally.all([tally.stream(peer, number)])
            strangers = [*tally.wrong, *(set(tally.by) - {whom})]
            async with store.transaction():
                for key, more in (("answered", tally.by[whom]), ("failed", len(tally.failed))):
                    await store.set(key, await store.get(key, 0) + more)
                if strangers:
                    await store.set("strangers", [*(await store.get("strangers", as_=list[str]) or []), *strangers])
        await asyncio.sleep(0.01)


@extension.rpc(f"{METHODS}-asked")
async def asked(context: AppContext) -> dict[str, Any]:
    """Tell who answered: how many requests whom they were meant for, how many nobody, and which a stranger."""
    numbers = {key: await context.store.get(key, 0) for key in ("answered", "failed", "next")}
    return {**numbers, "strangers": await context.store.get("strangers", as_=list[str]) or []}


@extension.on_shutdown
async def stop(context: AppContext) -> None:
    for task in tasks.values():
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


if __name__ == "__main__":
    extension.run()
