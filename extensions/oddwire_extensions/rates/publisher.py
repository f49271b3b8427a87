"""The side of `rates` that publishes: topics, and who is subscribed to them."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal, InvalidOperation
from typing import Final

from oddwire import AppContext, Context, NodeId, OddwireError
from oddwire.app import Router
from oddwire_extensions.rates.deliveries import WAITING, Underway, send, to_rate, to_time
from oddwire_extensions.rates.messages import MAX_TOPICS, Topic, TopicList, Topics

__all__ = ["router"]

MAX_DIGITS: Final = 40
MAX_TEXT: Final = 200
"""Characters of a number as it is given, of which leading zeros and the like may be left out."""
router = Router()


class Listed:
    """The list of topics as it was read last: whoever asks has the store read once for each value that is published."""

    def __init__(self) -> None:
        self._list: TopicList | None = None
        self._is_current = False
        self._reading = asyncio.Lock()

    async def now(self, context: AppContext) -> TopicList:
        """Return the list."""
        async with self._reading:  # who asks meanwhile gets the same
            while self._list is None:
                self._is_current = True
                found = await _read_topics(context)
                if self._is_current:
                    self._list = found
            return self._list

    def forget(self) -> None:
        """Have it read anew: a value was published."""
        self._list, self._is_current = None, False


@router.provide
def listed() -> Listed:
    """Nothing is read at first."""
    return Listed()


@router.option("rates-strangers")
def strangers(value: int = 1000) -> int:
    """Let strangers have so many subscriptions in all."""
    return _not_negative(value)


@router.option("rates-subscriptions")
def subscriptions(value: int = 10_000) -> int:
    """Let all peers have so many subscriptions."""
    return _not_negative(value)


@router.option("rates-feerates")
def feerates(value: int = 0) -> int:
    """Publish the node's feerates every so many seconds; 0 is never."""
    return _not_negative(value)


@router.on_startup
async def prepare(context: AppContext) -> None:
    """Make the tables: topics, and subscribers with the serial numbers of the values sent and arrived."""
    await context.store.execute(
        "CREATE TABLE IF NOT EXISTS rates_topics (topic TEXT PRIMARY KEY, value TEXT, serial INTEGER, at REAL)"
    )
    await context.store.execute(
        "CREATE TABLE IF NOT EXISTS rates_subscribers (peer TEXT, topic TEXT, stranger INTEGER, since REAL, "
        "renewed REAL, sent INTEGER, arrived INTEGER, again INTEGER, ended INTEGER, PRIMARY KEY (peer, topic))"
    )
    await context.store.execute("CREATE INDEX IF NOT EXISTS rates_by_topic ON rates_subscribers (topic)")


@router.rpc("rates-publish")
async def publish(context: AppContext, topic: str, value: str, underway: Underway, listed: Listed) -> dict[str, object]:
    """Publish a decimal number to all who are subscribed to the topic."""
    return await _publish(context, topic, _digits(value), underway, listed)


@router.rpc("rates-withdraw")
async def withdraw(context: AppContext, topic: str, underway: Underway, listed: Listed) -> dict[str, object]:
    """Publish that there are no more values of a topic."""
    if not await context.store.execute("SELECT 1 FROM rates_topics WHERE topic = ? AND value NOTNULL", (topic,)):
        raise ValueError(f"there is no topic {topic!r}; rates-publish makes one")
    return await _publish(context, topic, None, underway, listed)


async def _publish(
    context: AppContext, topic: str, value: str | None, underway: Underway, listed: Listed
) -> dict[str, object]:
    context.app.registry.encode(to_rate(topic, value, time.time()))  # raises for a topic that cannot be
    try:
        async with context.store.transaction():
            rows = await context.store.execute("SELECT value FROM rates_topics WHERE topic = ?", (topic,))
            if value is not None and not (rows and rows[0][0]):
                [[number]] = await context.store.execute("SELECT count(*) FROM rates_topics WHERE value NOTNULL")
                if number >= MAX_TOPICS:
                    raise ValueError(f"there are {number} topics, and no room for more")
            if not rows or rows[0][0] != value:
                serial = await context.store.get("serial", 0) + 1
                await context.store.set("serial", serial)
                await context.store.execute(
                    "INSERT OR REPLACE INTO rates_topics VALUES (?, ?, ?, ?)", (topic, value, serial, time.time())
                )
    finally:
        listed.forget()  # also if it was read, and then not written
    waiting = await context.store.execute(WAITING, (topic,))
    for (peer,) in waiting:
        context.spawn(send(context, peer, topic, underway), name=f"rates {peer:.8}")
    return {"topic": topic, "value": value, "sent_to": len(waiting)}


@router.on(Topics)
async def topics(context: Context, request: Topics, listed: Listed) -> TopicList:
    """Answer with all topics that have a value."""
    return await listed.now(context)


async def _read_topics(context: AppContext) -> TopicList:
    rows = await context.store.execute(
        "SELECT topic, value, at FROM rates_topics WHERE value NOTNULL ORDER BY topic LIMIT ?", (MAX_TOPICS,)
    )
    return TopicList(
        topics=tuple(Topic(topic=topic, value=Decimal(value), at=to_time(at)) for topic, value, at in rows)
    )


@router.task
async def publish_feerates(context: AppContext, underway: Underway, listed: Listed) -> None:
    """Publish the node's feerates, if that is wanted."""
    while seconds := context.options["rates-feerates"]:
        try:
            found = await context.node.call("feerates", {"style": "perkb"})
            for estimate in found["perkb"].get("estimates", ()):
                topic = f"feerate/{int(estimate['blockcount'])}"
                await _publish(context, topic, str(int(estimate["smoothed_feerate"])), underway, listed)
        except (OddwireError, ValueError) as error:  # the node has none, or there is no room for a topic
            context.logger.warning("no feerates: %s", error)
        await asyncio.sleep(seconds)


@router.rpc("rates-subscribers")
async def list_subscribers(context: AppContext) -> list[dict[str, object]]:
    """Show who is subscribed to what, and whether the newest value has arrived there."""
    rows = await context.store.execute(
        "SELECT peer, topic, stranger, since, serial IS NULL OR arrived >= serial OR (value IS NULL AND sent = 0) "
        "FROM rates_subscribers LEFT JOIN rates_topics USING (topic) WHERE NOT ended ORDER BY since"
    )
    return [
        {"node_id": peer, "topic": topic, "stranger": bool(stranger), "since": int(since), "up_to_date": bool(current)}
        for peer, topic, stranger, since, current in rows
    ]


@router.rpc("rates-know")
async def know(context: AppContext, node_id: NodeId) -> dict[str, object]:
    """Count a peer as no stranger from now on."""
    await context.store.set(f"known {node_id}", 1)
    await context.store.execute("UPDATE rates_subscribers SET stranger = 0 WHERE peer = ?", (str(node_id),))
    return {"node_id": node_id, "known": True}


def _digits(value: str) -> str:
    """Return a decimal number without an exponent. Raises `ValueError`."""
    wrong = f"value should be a finite number of {MAX_DIGITS} digits at most, not {value!r:.60}"
    if len(value) > MAX_TEXT:  # what would be long to read
        raise ValueError(wrong)
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"value should be a decimal number, 83250.50 say, not {value!r:.60}") from None
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > MAX_TEXT:  # 1e99999999 would be that long to write
        raise ValueError(wrong)
    if len(digits := f"{number:f}") > MAX_DIGITS:
        raise ValueError(wrong)
    return digits


def _not_negative(value: int) -> int:
    if value < 0:
        raise ValueError(f"should be a number from 0, not {value}")
    return value
