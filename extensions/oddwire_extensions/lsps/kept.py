"""What an LSP keeps in its store: orders and sales, bounded in sum, and what a backend may ask of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeVar, cast
from weakref import WeakValueDictionary

from oddwire import AppContext, Context, NodeId, ShortChannelId
from oddwire.known import lsps1, lsps2
from oddwire_extensions.lsps.backend import rejected
from oddwire_extensions.lsps.times import write_time

__all__ = [
    "KeptOrder",
    "OpenAlreadyError",
    "Place",
    "Places",
    "Sale",
    "keep",
    "kept_orders",
    "now",
    "open_sales",
    "prepare",
    "shown",
    "to_end",
]

T = TypeVar("T")

TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS lsps_orders (id TEXT PRIMARY KEY, client TEXT, paid INTEGER, ends REAL, data TEXT)",
    "CREATE INDEX IF NOT EXISTS lsps_orders_client ON lsps_orders (paid, client)",
    "CREATE TABLE IF NOT EXISTS lsps_sales (id TEXT PRIMARY KEY, client TEXT, paid INTEGER, ends REAL, data TEXT)",
    "CREATE INDEX IF NOT EXISTS lsps_sales_client ON lsps_sales (paid, client)",
)

Table = Literal["orders", "sales"]


class OpenAlreadyError(Exception):
    """What should be kept has the name of something that is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """A sale of LSPS2 that is open: what was promised to a client, and the SCID by which its payment will come.

    ``payment_size_msat`` and ``fee_msat`` are None if the payment may be of any size, in one part.
    """

    scid: ShortChannelId
    client: NodeId
    params: lsps2.OpeningFeeParams
    payment_size_msat: int | None
    fee_msat: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptOrder:
    """An order of LSPS1, as its client saw it last."""

    client: NodeId
    order: lsps1.Order


async def open_sales(context: AppContext) -> tuple[Sale, ...]:
    """Return the sales of LSPS2 that are open, the one that ends next first; also those from before a restart.

    The context is one of the extension that `server` has returned.
    """
    rows = await context.store.execute("SELECT id, client, data FROM lsps_sales WHERE ends > ? ORDER BY ends", (now(),))
    return tuple(_sale(*row) for row in rows)


async def kept_orders(context: AppContext) -> tuple[KeptOrder, ...]:
    """Return the orders of LSPS1 that are kept, paid or not, the one that is removed next first."""
    rows = await context.store.execute("SELECT client, data FROM lsps_orders ORDER BY ends")
    return tuple(
        KeptOrder(client=NodeId(client), order=lsps1.GET_ORDER.load_result(json.loads(data))) for client, data in rows
    )


def _sale(scid: str, client: str, data: str) -> Sale:
    plain = json.loads(data)
    wish, fee = lsps2.BUY.load_params(plain), plain["opening_fee_msat"]
    return Sale(
        scid=ShortChannelId.from_str(scid),
        client=NodeId(client),
        params=wish.opening_fee_params,
        payment_size_msat=wish.payment_size_msat,
        fee_msat=None if fee is None else int(fee),
    )


async def prepare(context: AppContext) -> None:
    """Make the tables."""
    for table in TABLES:
        await context.store.execute(table)


def now() -> float:
    """Return the seconds since 1970."""
    return time.time()


class Place:
    """Room for one order or sale, from before it costs the backend anything until it is kept or has failed."""

    def __init__(self, taken: Counter[tuple[Table, str]], table: Table, client: str) -> None:
        self.table: Table = table
        self._taken = taken
        self._key: tuple[Table, str] | None = (table, client)
        taken[self._key] += 1

    def close(self) -> None:
        """Count no longer. Idempotent."""
        if self._key is not None:
            self._taken[self._key] -= 1
            if not self._taken[self._key]:
                del self._taken[self._key]
            self._key = None


class Places:
    """The places of an application: what is open and not paid, and what backends are asked for at this moment."""

    def __init__(self) -> None:
        self._taken: Counter[tuple[Table, str]] = Counter()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turn(self, client: str) -> asyncio.Lock:
        """Return what a client's requests of the store take in turn: a crowd of them waits behind one of each other."""
        return self._turns.setdefault(client, asyncio.Lock())

    async def take(self, context: Context, table: Table) -> Place:
        """Return a place, for its caller to close.

        Raises `RpcError` if this client, or all of them, have too much open that is not paid.
        """
        client, place = str(context.peer), None
        try:
            # As `keep`, where it is left: none is counted twice, or not at all
            async with self.turn(client), context.store.transaction():
                await self._check(context, table, client)
                place = Place(self._taken, table, client)
        except BaseException:
            if place is not None:
                place.close()
            raise
        return place

    async def _check(self, context: Context, table: Table, client: str) -> None:
        [[here, of_all]] = await context.store.execute(
            f"SELECT coalesce(sum(client = ?), 0), count(*) FROM lsps_{table} WHERE paid = 0",  # noqa: S608 - one of ours
            (client,),
        )
        here += self._taken[table, client]
        if here >= context.options["lsps-open-of-one"]:
            raise rejected(f"{here} of yours are open")
        of_all += sum(number for (where, _), number in self._taken.items() if where == table)
        paid = await context.store.execute("SELECT 1 FROM lsps_orders WHERE client = ? AND paid = 1 LIMIT 1", (client,))
        most = context.options["lsps-open"]
        if of_all >= (most if paid else most // 2):  # node ids cost nothing
            raise rejected("too many are open; try again later")


async def to_end(context: Context, work: Coroutine[Any, Any, T]) -> T:
    """Do what a client asks for to its end, also if the client leaves: what a backend has begun is counted."""

    async def caught() -> tuple[T | None, Exception | None]:
        try:
            return await work, None
        except Exception as error:  # the client's, not this task's
            return None, error

    result, error = await asyncio.shield(context.app.context(context.extension).spawn(caught()))
    if error is not None:
        raise error
    return cast("T", result)


async def keep(context: Context, place: Place, identity: str, ends: float, data: dict[str, Any]) -> None:
    """Keep what was sold, in the place that it has. Raises `OpenAlreadyError`."""
    table = place.table
    async with context.store.transaction():
        query = f"SELECT client, ends FROM lsps_{table} WHERE id = ?"  # noqa: S608 - one of ours
        for client, until in await context.store.execute(query, (identity,)):
            if until > now():
                then = write_time(datetime.fromtimestamp(until, UTC))
                raise OpenAlreadyError(f"{identity} is open to {client} until {then}")
            await context.store.execute(f"DELETE FROM lsps_{table} WHERE id = ?", (identity,))  # noqa: S608
        row = (identity, str(context.peer), ends, json.dumps(data))
        await context.store.execute(f"INSERT INTO lsps_{table} VALUES (?, ?, 0, ?, ?)", row)  # noqa: S608
        place.close()


async def shown(context: AppContext, table: Table) -> list[dict[str, Any]]:
    """Return what is kept, as JSON has it, with its name and its client."""
    rows = await context.store.execute(f"SELECT id, client, data FROM lsps_{table} ORDER BY ends")  # noqa: S608
    return [{"id": identity, "client": client, **json.loads(data)} for identity, client, data in rows]
