#!/usr/bin/env python3
"""An extension that writes down what it handles: when, in which process, by which term of ownership.

It is what workers run in the kill harness; the same file runs under `oddwire run`. Each handling has a token of its
own, which is in what it stores and what it answers: so a trace of one that should have left none is found.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from oddwire import AppContext, Context, Extension, Message, message, u32, u64

LOG = "WITNESS_LOG"
"""The variable of the environment that names the file to which handlings are appended."""
SLOW = 50  # one in so many takes a moment longer
MOMENT = 0.02  # seconds

witness = Extension("witness", version="1.0")
_serials = itertools.count(1)


@message(0x9A11)
class Order(Message):
    """Sent reliably by peers that speak the session protocol, numbered from 0."""

    number: u64


@message(0x9A13)
class Done(Message):
    """Answers an order, reliably, from the unit of work that stored it."""

    number: u64
    token: str


@message(0x9A15)
class Tick(Message):
    """Sent plainly by peers without a session, numbered from 1 in each of their connections."""

    conn: u32
    number: u64


@message(0x9A17)
class Tock(Message):
    """Answers a tick."""

    conn: u32
    number: u64
    token: str


@message(0x9A19)
class Tell(Message):
    """Ask what is stored of the peer that asks."""


@message(0x9A1B)
class Told(Message):
    """Tell the number and token of stored orders, in the order of their storing, and the counter beside them."""

    counter: u64
    numbers: list[u64]
    tokens: list[str]


def write_down(**record: object) -> None:
    """Append a record with the time and the process to the file that all of a run share, in one write."""
    line = json.dumps({**record, "pid": os.getpid(), "at": time.monotonic_ns()}) + "\n"
    file = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


class Place:
    """Which application this is: partition and term of its transport; where there is no cluster, its start."""

    def __init__(self, context: AppContext) -> None:
        transport = context.app.transport
        self.partition = int(getattr(transport, "partition", 0))
        self.term = int(getattr(transport, "term", time.monotonic_ns()))

    def token(self) -> str:
        return f"{os.getpid()}.{self.partition}.{self.term}.{next(_serials)}"


@witness.provide
def place(context: AppContext) -> Place:
    return Place(context)


@witness.on_startup
async def begin(context: AppContext, place: Place) -> None:
    await context.store.execute(
        "CREATE TABLE IF NOT EXISTS witness_orders (id INTEGER PRIMARY KEY, peer TEXT, number INTEGER, token TEXT)"
    )
    write_down(what="began", partition=place.partition, term=place.term)


class Handling:
    """One call of a handler, in the file from its first line to its last."""

    def __init__(self, context: Context, place: Place, kind: str, conn: int, number: int) -> None:
        self.token = place.token()
        self.record = {"peer": str(context.peer.node_id), "kind": kind, "conn": conn, "number": number}
        self.record |= {"partition": place.partition, "term": place.term, "token": self.token}

    def __enter__(self) -> str:
        write_down(what="start", **self.record)
        return self.token

    def __exit__(self, *_: object) -> None:
        write_down(what="end", token=self.token)


@witness.on(Order, reliable=True)
async def order(context: Context, order: Order, place: Place) -> Done:
    """Store it, count it and answer it in one unit of work, some of them in steps with a pause between."""
    with Handling(context, place, "order", 0, order.number) as token:
        peer, store = str(context.peer.node_id), context.store
        counter = await store.get(f"counter/{peer}", 0)
        await store.set(f"counter/{peer}", counter + 1)
        if not order.number % SLOW:
            await asyncio.sleep(MOMENT)
        row = (peer, order.number, token)
        await store.execute("INSERT INTO witness_orders (peer, number, token) VALUES (?, ?, ?)", row)
        return Done(number=order.number, token=token)


@witness.on(Tick)
async def tick(context: Context, tick: Tick, place: Place) -> Tock:
    """Answer it, some of them after a pause."""
    with Handling(context, place, "tick", tick.conn, tick.number) as token:
        if not tick.number % SLOW:
            await asyncio.sleep(MOMENT)
        return Tock(conn=tick.conn, number=tick.number, token=token)


@witness.on(Tell)
async def tell(context: Context, tell: Tell) -> AsyncIterator[Told]:
    """Stream what is stored, in parts of a thousand."""
    peer = str(context.peer.node_id)
    counter = await context.store.get(f"counter/{peer}", 0)
    rows = await context.store.execute("SELECT number, token FROM witness_orders WHERE peer = ? ORDER BY id", (peer,))
    for part in [rows[at : at + 1000] for at in range(0, len(rows), 1000)] or [[]]:
        yield Told(counter=counter, numbers=[row[0] for row in part], tokens=[row[1] for row in part])


def log_of(folder: Path) -> Path:
    """Return where the handlings of a run in a folder are written."""
    return folder / "witness.log"


if __name__ == "__main__":
    witness.run()
