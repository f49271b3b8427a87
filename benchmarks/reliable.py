"""Reliable messages between two processes with the disk waited for, against SQLite alone with the same rows."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks.harness import Channel, Row, median_ratio, pair, run_async
from benchmarks.payloads import rates
from oddwire.app import Application, Context, Extension
from oddwire.codecs import Registry
from oddwire.proto import PrivateKey
from oddwire.schema import Message, message, u64
from oddwire.transports.bolt8.transport import Bolt8Transport

MESSAGES = 40_000
SENDERS = 512  # at once: each waits until its message is safe on disk, then sends the next
WINDOW = 256  # that are on their way, and so about the size of a batch
RELIABLE_ROUNDS = 3
# Beside this file, not where temporary files are: there the disk may be no disk
PLACE = Path(__file__).parent


@message(0x902B)
class Order(Message):
    number: u64
    note: str


NOTE = "x" * 72  # payloads of 100 bytes


def take(channel: Channel, keep: bool) -> float:
    """Handle the orders, writing a value each if ``keep``; give how many a second were done."""
    extension = Extension("bench", version="1.0")

    async def main(folder: str) -> float:
        done = asyncio.get_running_loop().create_future()
        count, first = 0, 0.0

        @extension.on(Order, reliable=True)
        async def order(context: Context, order: Order) -> None:
            nonlocal count, first
            if keep:
                await context.store.set(f"{order.number % 1000}", order.note)
            first = first or time.perf_counter()
            count += 1
            if count == MESSAGES:
                done.set_result((MESSAGES - 1) / (time.perf_counter() - first))

        transport = Bolt8Transport(PrivateKey(os.urandom(32)), listen=["127.0.0.1:0"])
        async with Application(extension, transport=transport, store=Path(folder) / "store"):
            channel.put(transport.uris[0])
            rate = await done
            await channel.aget()
            return float(rate)

    with tempfile.TemporaryDirectory(dir=PLACE) as folder:
        return float(run_async(main(folder)))


def give(channel: Channel, keep: bool) -> float:
    """Send the orders; give how many a second were delivered, from the first send to the last receipt."""
    extension = Extension("bench", version="1.0")
    extension.register(Order)

    async def main(folder: str) -> float:
        transport = Bolt8Transport(PrivateKey(os.urandom(32)))
        async with Application(extension, transport=transport, store=Path(folder) / "store") as app:
            peer = await app.connect(await channel.aget())
            await peer.wait_for_hello()
            numbers = iter(range(MESSAGES))

            async def sender() -> None:
                for number in numbers:
                    receipt = await peer.deliver(Order(number=2**40 + number, note=NOTE))
                    await receipt.delivered()

            start = time.perf_counter()
            await asyncio.gather(*(sender() for _ in range(SENDERS)))
            rate = MESSAGES / (time.perf_counter() - start)
            channel.put("done")
            return rate

    with tempfile.TemporaryDirectory(dir=PLACE) as folder:
        return float(run_async(main(folder)))


def _database(folder: str) -> sqlite3.Connection:
    database = sqlite3.connect(Path(folder) / "bare", isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    return database


def bare_outbox(channel: Channel, keep: bool) -> float:
    """Insert the rows of an outbox, a batch a commit, deleting those of the batch before; give rows a second."""
    payload = os.urandom(100)
    with tempfile.TemporaryDirectory(dir=PLACE) as folder, closing(_database(folder)) as database:
        database.execute(
            "CREATE TABLE outbox (route INTEGER, number INTEGER, made REAL, payload BLOB, PRIMARY KEY (route, number)) "
            "WITHOUT ROWID"
        )
        channel.put("ready")
        channel.get()
        start = time.perf_counter()
        for first in range(0, MESSAGES, WINDOW):
            database.execute("BEGIN")
            rows = [(1, number, 0.0, payload) for number in range(first, first + WINDOW)]
            database.executemany("INSERT INTO outbox VALUES (?, ?, ?, ?)", rows)
            database.execute("DELETE FROM outbox WHERE route = ? AND number < ?", (1, first))
            database.execute("COMMIT")
        return MESSAGES / (time.perf_counter() - start)


def bare_inbox(channel: Channel, keep: bool) -> float:
    """Update the row of an inbox, and the rows that handlers write if ``keep``, a batch a commit; messages a second."""
    peer, lane = os.urandom(33), os.urandom(8)
    with tempfile.TemporaryDirectory(dir=PLACE) as folder, closing(_database(folder)) as database:
        database.execute(
            "CREATE TABLE inbox (peer BLOB, lane BLOB, epoch INTEGER, last INTEGER, PRIMARY KEY (peer, lane)) "
            "WITHOUT ROWID"
        )
        database.execute("CREATE TABLE kept (key BLOB PRIMARY KEY, value) WITHOUT ROWID")
        channel.put("ready")
        channel.get()
        start = time.perf_counter()
        for first in range(0, MESSAGES, WINDOW):
            database.execute("BEGIN")
            database.execute("INSERT OR REPLACE INTO inbox VALUES (?, ?, ?, ?)", (peer, lane, 1, first))
            if keep:
                rows = [(b"%d" % (number % 1000), NOTE) for number in range(first, first + WINDOW)]
                database.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", rows)
            database.execute("COMMIT")
        return MESSAGES / (time.perf_counter() - start)


def rows() -> list[Row]:
    registry = Registry()
    registry.register(Order, owner="bench")
    size = len(registry.encode(Order(number=2**40, note=NOTE)))
    found = []
    for keep, what in ((False, ""), (True, ", each with a write to the store")):
        ours, bare = [], []
        for _ in range(RELIABLE_ROUNDS):
            ours.append(pair(take, give, keep)[1])
            bare.append(min(pair(bare_outbox, bare_inbox, keep)))
        ratio = median_ratio(ours, bare)
        # Whichever is lower: half of what SQLite does alone, or 10 000 a second
        goal = min(0.5, 10_000 / sorted(bare)[len(bare) // 2])
        name = f"reliable messages, {size} B, delivered{what}, against SQLite with the same rows"
        found.append(Row(name, ratio, "ratio", f">= {goal:.2f}", rates(ours, bare)))
    return found
