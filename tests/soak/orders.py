#!/usr/bin/env python3
"""An extension that reliably sends orders and answers them, and writes down all it does; and the books compared.

It is what both soaks of reliable delivery run: `reliable` in processes of its own, `lightningds` as a plugin. Both ends
write down what they send and what they handle, each in the unit of work that sends or handles it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Final

from oddwire import AppContext, Application, Context, Extension, Message, NodeId, message, u64
from oddwire.session.store.extension_store import ExtensionStore

BUNCH: Final = 10  # orders in one transaction
AHEAD: Final = 200  # orders that wait for an answer at once

soak = Extension("soak", version="1.0")
producers: list[asyncio.Task[None]] = []  # one, once there is something to send


@message(0x9A01)
class Order(Message):
    number: u64


@message(0x9A03)
class Done(Message):
    number: u64


@soak.on_startup
async def make_tables(context: AppContext) -> None:
    for book in ("sent", "seen"):
        await context.store.execute(
            f"CREATE TABLE IF NOT EXISTS soak_{book} (id INTEGER PRIMARY KEY, kind TEXT, number INTEGER)"
        )


async def write_down(store: ExtensionStore, book: str, what: Message) -> None:
    row = (type(what).__name__, what.number)
    await store.execute(f"INSERT INTO soak_{book} (kind, number) VALUES (?, ?)", row)


async def number_of(store: ExtensionStore, key: str) -> int:
    value = await store.get(key, 0)
    assert isinstance(value, int)
    return value


@soak.on(Order, reliable=True)
async def order(context: Context, order: Order) -> Done:
    """Write it down and answer it, half of them in steps with a pause between."""
    await context.store.set("orders", await number_of(context.store, "orders") + 1)
    await write_down(context.store, "seen", order)
    if order.number % 2:
        await asyncio.sleep(0)
    answer = Done(number=order.number)
    await write_down(context.store, "sent", answer)
    return answer


@soak.on(Done, reliable=True)
async def done(context: Context, done: Done) -> None:
    """Write it down, and say how far we are."""
    await write_down(context.store, "seen", done)
    await context.store.set("done", done.number + 1)


@soak.on_connect
async def go_on(context: Context) -> None:
    """Produce what is left of before we were started."""
    produce(context.app)


@soak.rpc("soak-send")
async def send(context: AppContext, node_id: NodeId, until: int) -> None:
    """Send orders to a peer until there are so many, by and by, through restarts."""
    async with context.store.transaction():
        await context.store.set("peer", str(node_id))
        await context.store.set("until", until)
    produce(context.app)


@soak.rpc("soak-told")
async def tell(context: AppContext) -> dict[str, int]:
    """Tell how far we are, and in which process."""
    told = {what: await number_of(context.store, what) for what in ("next", "done", "orders")}
    return {"pid": os.getpid(), **told}


def produce(app: Application) -> None:
    if not producers:
        producers.append(asyncio.get_running_loop().create_task(keep_producing(app)))


async def keep_producing(app: Application) -> None:
    store = app.store("soak")
    while True:
        first, until, answered = [await number_of(store, key) for key in ("next", "until", "done")]
        stop = min(first + BUNCH, until, answered + AHEAD)
        if stop > first:
            peer = await store.get("peer")
            assert isinstance(peer, str)
            async with store.transaction():
                for number in range(first, stop):
                    order = Order(number=number)
                    await write_down(store, "sent", order)
                    await app.peer(peer).deliver(order)
                await store.set("next", stop)
        await asyncio.sleep(0 if stop > first else 0.005)


@soak.on_shutdown
async def stop(context: AppContext) -> None:
    for producer in producers:
        producer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await producer


# The books ------------------------------------------------------------------------------------------


def compare(sender: Path, receiver: Path, **count: int) -> None:
    """Check that all that one has sent, so many of each kind, the other has handled: once, and in the order sent."""
    sent, seen = read(sender, "sent"), read(receiver, "seen")
    expected = Counter({(kind, number) for kind, most in count.items() for number in range(most)})
    assert Counter(sent) == expected, f"{sender} has not sent all of {count} once"
    lost, twice = expected - Counter(seen), Counter(seen) - expected
    assert not lost, f"{receiver} has lost {sorted(lost)[:10]}"
    assert not twice, f"{receiver} has handled twice {sorted(twice)[:10]}"
    assert seen == sent, f"{receiver} has handled them out of order"
    refused = query(receiver, "SELECT count(*) FROM oddwire_refusals")
    assert refused == [(0,)], f"{receiver} has refused {refused}"


def read(path: Path, book: str) -> list[tuple[str, int]]:
    return query(path, f"SELECT kind, number FROM soak_{book} ORDER BY id")


def under_way(path: Path) -> int:
    """Return how many messages wait in a store to be acknowledged."""
    ((count,),) = query(path, "SELECT count(*) FROM oddwire_outbox")
    return int(count)


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
        return database.execute(sql).fetchall()


if __name__ == "__main__":
    soak.run()
