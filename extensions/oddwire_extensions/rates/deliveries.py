"""What `rates` publishes on its way to subscribers, and their subscriptions.

A row of ``rates_subscribers`` has the serial numbers of the last value ``sent``, 0 if there was none and -1 if it is to
be sent once more, and of the last that ``arrived``: while they differ, one is on its way. The row outlives an end of
the subscription until that has arrived, so there is never more than one of a topic on its way to a peer.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from oddwire import AppContext, Context, OddwireError, Receipt, Refuse
from oddwire.app import Router
from oddwire_extensions.rates.messages import Rate, Subscribe, Unsubscribe

__all__ = ["EACH", "LEASE", "WAITING", "Underway", "router", "send", "to_rate", "to_time"]

LEASE: Final = 30 * 86_400
"""Seconds, by the store's clock, after which a subscription ends that was not renewed."""
EACH: Final = 64
"""Subscriptions of one peer."""
# Somebody waits for a value who has nothing on its way and lacks the newest one. The end of a topic goes to those alone
# who had a value of it.
WAITING: Final = """SELECT peer FROM rates_subscribers JOIN rates_topics USING (topic) WHERE topic = ?
AND sent = arrived AND sent < serial AND NOT ended AND (value NOTNULL OR sent != 0)"""
"""Who waits for a value of a topic."""
_NEWEST: Final = """SELECT value, at, serial FROM rates_subscribers JOIN rates_topics USING (topic)
WHERE peer = ? AND topic = ? AND sent = arrived AND sent < serial AND NOT ended AND (value NOTNULL OR sent != 0)"""
_LACKING: Final = """SELECT topic, sent = arrived FROM rates_subscribers JOIN rates_topics USING (topic)
WHERE peer = ? AND (sent != arrived OR (sent < serial AND NOT ended AND (value NOTNULL OR sent != 0)))"""

router = Router()


class Underway:
    """Whose value of which topic a task waits for; what else is on its way comes from before a restart."""

    def __init__(self) -> None:
        self.tasks: set[tuple[str, str]] = set()


@router.provide
def underway() -> Underway:
    """Nothing is on its way that a task waits for, at first."""
    return Underway()


async def send(context: AppContext, peer: str, topic: str, underway: Underway) -> None:
    """Send the newest value of a topic, and again the newest once that has arrived, until there is no newer one."""
    if (peer, topic) in underway.tasks:
        return
    underway.tasks.add((peer, topic))
    try:
        while receipt := await _deliver(context, peer, topic):
            await _until_arrived(context, peer, topic, receipt)
    finally:
        underway.tasks.discard((peer, topic))


async def _deliver(context: AppContext, peer: str, topic: str) -> Receipt | None:
    """Put the newest value on its way to a subscriber who has none on its way, and lacks it."""
    async with context.store.transaction():
        rows = await context.store.execute(_NEWEST, (peer, topic))
        for value, at, serial in rows:
            receipt = await context.app.peer(peer).deliver(to_rate(topic, value, at))
            await context.store.execute(
                "UPDATE rates_subscribers SET sent = ? WHERE peer = ? AND topic = ?", (serial, peer, topic)
            )
            return receipt
    return None


async def _until_arrived(context: AppContext, peer: str, topic: str, receipt: Receipt) -> None:
    try:
        await receipt.delivered()
    except OddwireError as error:
        context.logger.warning("%.8s did not get %s: %s", peer, topic, error)
    await _arrived(context, peer, topic)


async def _arrived(context: AppContext, peer: str, topic: str) -> None:
    """Note that nothing is on its way; a subscription ends with its topic, and if it was ended meanwhile."""
    async with context.store.transaction():
        await context.store.execute(
            "DELETE FROM rates_subscribers WHERE peer = ? AND topic = ? AND (ended OR EXISTS ("
            "SELECT 1 FROM rates_topics WHERE rates_topics.topic = rates_subscribers.topic "
            "AND value IS NULL AND serial = sent))",
            (peer, topic),
        )
        await context.store.execute(
            "UPDATE rates_subscribers SET sent = iif(again, -1, sent), arrived = iif(again, -1, sent), again = 0 "
            "WHERE peer = ? AND topic = ?",
            (peer, topic),
        )


@router.every(5)
async def resume(context: AppContext, underway: Underway) -> None:
    """Go on with values that were on their way before a restart, and have arrived since."""
    subscribed = {peer for (peer,) in await context.store.execute("SELECT DISTINCT peer FROM rates_subscribers")}
    for peer in context.app.peers:
        if str(peer) in subscribed:
            await _resume(context, str(peer), await context.store.execute(_LACKING, (str(peer),)), underway)


async def _resume(context: AppContext, peer: str, rows: list[Any], underway: Underway) -> None:
    rows = [row for row in rows if (peer, row[0]) not in underway.tasks]
    pending = await context.app.peer(peer).pending() if rows else []
    waiting = {one.message.topic for one in pending if isinstance(one.message, Rate)}
    for topic, has_arrived in rows:
        if not has_arrived:
            if topic in waiting or (peer, topic) in underway.tasks:
                continue
            await _arrived(context, peer, topic)
        context.spawn(send(context, peer, topic, underway), name=f"rates {peer:.8}")


@router.on(Subscribe, reliable=True)
async def subscribed(context: Context, request: Subscribe, underway: Underway) -> None:
    """Add a subscriber, or renew its subscription, and send the value of now: it may have lost what it had."""
    peer, topic, stranger = str(context.peer), request.topic, await _is_stranger(context)
    async with context.store.transaction():  # the sums hold for all who subscribe at this moment
        renewed = await context.store.execute(
            "UPDATE rates_subscribers SET renewed = ?, ended = 0, again = sent != arrived, "
            "sent = iif(sent = arrived AND sent != 0, -1, sent), "
            "arrived = iif(sent = arrived AND sent != 0, -1, arrived) "
            "WHERE peer = ? AND topic = ? RETURNING 1",
            (await context.store.now(), peer, topic),
        )
        if not renewed:
            await _check_room(context, peer, stranger)
            await context.store.execute(
                "INSERT INTO rates_subscribers VALUES (?, ?, ?, ?, ?, 0, 0, 0, 0)",
                (peer, topic, stranger, time.time(), await context.store.now()),
            )
    if (peer, topic) in underway.tasks:  # that task goes on with it
        return
    underway.tasks.add((peer, topic))
    receipt = None
    try:
        receipt = await _deliver(context, peer, topic)
    finally:
        if receipt is None:
            underway.tasks.discard((peer, topic))
    if receipt is not None:
        own = context.app.context("rates")  # the value may arrive after the connection's end
        own.spawn(_then_send(own, peer, topic, receipt, underway), name=f"rates {peer:.8}")


async def _check_room(context: Context, peer: str, stranger: bool) -> None:
    """Raise `Refuse` if there is no room for a subscription; one that has ended counts while a value is on its way."""
    [[each, of_strangers, number]] = await context.store.execute(
        "SELECT coalesce(sum(peer = ?), 0), coalesce(sum(stranger), 0), count(*) FROM rates_subscribers", (peer,)
    )
    for taken, most, whose in (
        (each, EACH, "of one peer"),
        (of_strangers if stranger else -1, context.options["rates-strangers"], "of strangers"),
        (number, context.options["rates-subscriptions"], "in all"),
    ):
        if taken >= most:
            raise Refuse(f"there are {most} subscriptions {whose} at most")


async def _then_send(context: AppContext, peer: str, topic: str, receipt: Receipt, underway: Underway) -> None:
    try:
        await _until_arrived(context, peer, topic, receipt)
    finally:
        underway.tasks.discard((peer, topic))
    await send(context, peer, topic, underway)


@router.on(Unsubscribe, reliable=True)
async def unsubscribed(context: Context, request: Unsubscribe) -> None:
    """Remove a subscriber, once nothing is on its way to it."""
    row = (str(context.peer), request.topic)
    async with context.store.transaction():
        await context.store.execute(
            "DELETE FROM rates_subscribers WHERE peer = ? AND topic = ? AND sent = arrived", row
        )
        await context.store.execute("UPDATE rates_subscribers SET ended = 1 WHERE peer = ? AND topic = ?", row)


@router.every(3600, at_start=True)
async def clean(context: AppContext, underway: Underway) -> None:
    """End subscriptions that were not renewed while we ran, and topics without a value that nobody is subscribed to."""
    ended = await context.store.execute(
        "UPDATE rates_subscribers SET ended = 1 WHERE renewed < ? AND NOT ended RETURNING peer",
        (await context.store.now() - LEASE,),
    )
    if ended:
        context.logger.info("ended %d subscriptions that were not renewed", len(ended))
    await context.store.execute("DELETE FROM rates_subscribers WHERE ended AND sent = arrived")
    gone = await context.store.execute("SELECT peer, topic FROM rates_subscribers WHERE ended")
    for peer in {peer for peer, _ in gone}:  # what is on its way to who is away may have expired
        rows = [(topic, False) for other, topic in gone if other == peer]
        await _resume(context, peer, rows, underway)
    await context.store.execute(
        "DELETE FROM rates_topics WHERE value IS NULL AND topic NOT IN (SELECT topic FROM rates_subscribers)"
    )


async def _is_stranger(context: Context) -> bool:
    dialed = context.peer.info is not None and context.peer.info.direction == "out"
    return not dialed and not await context.store.get(f"known {context.peer}")


def to_rate(topic: str, value: str | None, at: float) -> Rate:
    """Return the message for a row of a topic."""
    return Rate(topic=topic, value=None if value is None else Decimal(value), at=to_time(at))


def to_time(seconds: float) -> datetime:
    """Return seconds since 1970 as a time."""
    return datetime.fromtimestamp(seconds, UTC)
