"""The side of `rates` that is subscribed to what others publish."""

from __future__ import annotations

import asyncio
from typing import Final

from oddwire import AppContext, Context, NodeId, Peer, Refuse
from oddwire.app import Router
from oddwire_extensions.rates.messages import Rate, Subscribe, TopicList, Topics, Unsubscribe

__all__ = ["router"]

RENEWED: Final = 6 * 3600
"""Seconds after which a subscription is renewed."""

router = Router()


class Renewed:
    """When subscriptions were renewed, by the event loop's clock, which nobody sets: a restart renews them all.

    ``publishers`` are those whom we were ever subscribed to: for others, who come and go, the store is left alone.
    """

    def __init__(self) -> None:
        self.publishers: set[str] = set()
        self._when: dict[tuple[str, str], float] = {}

    def is_due(self, publisher: str, topic: str) -> bool:
        """Return whether a subscription is to be renewed."""
        when = self._when.get((publisher, topic))
        return when is None or asyncio.get_running_loop().time() - when >= RENEWED

    def note(self, publisher: str, topic: str) -> None:
        """Note that it is renewed now."""
        self._when[publisher, topic] = asyncio.get_running_loop().time()


@router.provide
def renewed() -> Renewed:
    """Nothing is renewed at first."""
    return Renewed()


@router.on_startup
async def prepare(context: AppContext, renewed: Renewed) -> None:
    """Make the table: what we are subscribed to, the newest values, and what its publisher has ended."""
    await context.store.execute(
        "CREATE TABLE IF NOT EXISTS rates_subscriptions (publisher TEXT, topic TEXT, value TEXT, at REAL, "
        "ended INTEGER, PRIMARY KEY (publisher, topic))"
    )
    rows = await context.store.execute("SELECT DISTINCT publisher FROM rates_subscriptions")
    renewed.publishers.update(publisher for (publisher,) in rows)


@router.rpc("rates-topics")
async def ask_topics(context: AppContext, node_id: NodeId) -> list[dict[str, object]]:
    """Show what a peer publishes."""
    answer = await context.app.peer(node_id).request(Topics(), TopicList, timeout=30)
    return [
        {"topic": one.topic, "value": str(one.value), "published_at": int(one.at.timestamp())} for one in answer.topics
    ]


@router.rpc("rates-subscribe")
async def subscribe(context: AppContext, node_id: NodeId, topic: str, renewed: Renewed) -> dict[str, object]:
    """Subscribe to a topic of a peer's."""
    renewed.publishers.add(str(node_id))
    async with context.store.transaction():
        await context.app.peer(node_id).deliver(Subscribe(topic=topic))
        await context.store.execute(
            "INSERT INTO rates_subscriptions (publisher, topic, ended) VALUES (?, ?, 0) "
            "ON CONFLICT (publisher, topic) DO UPDATE SET ended = 0",
            (str(node_id), topic),
        )
    renewed.note(str(node_id), topic)
    return {"node_id": node_id, "topic": topic}


@router.rpc("rates-unsubscribe")
async def unsubscribe(context: AppContext, node_id: NodeId, topic: str) -> dict[str, object]:
    """End a subscription."""
    async with context.store.transaction():
        row = (str(node_id), topic)
        sql = "DELETE FROM rates_subscriptions WHERE publisher = ? AND topic = ? RETURNING 1"
        if not await context.store.execute(sql, row):
            raise ValueError(f"there is no subscription to {topic!r} of {node_id}; rates-latest shows those there are")
        await context.app.peer(node_id).deliver(Unsubscribe(topic=topic))
    return {"node_id": node_id, "topic": topic}


@router.on(Rate, reliable=True)
async def receive(context: Context, rate: Rate) -> None:
    """Keep the newest value of a topic that we are subscribed to."""
    value = None if rate.value is None else str(rate.value)
    row = (value, rate.at.timestamp(), value is None, str(context.peer), rate.topic)
    sql = "UPDATE rates_subscriptions SET value = ?, at = ?, ended = ? WHERE publisher = ? AND topic = ? RETURNING 1"
    if not await context.store.execute(sql, row):
        raise Refuse(f"there is no subscription to {rate.topic}")
    context.logger.info("%s is %s", rate.topic, rate.value)


@router.rpc("rates-latest")
async def latest(context: AppContext) -> list[dict[str, object]]:
    """Show the newest value of each subscription."""
    rows = await context.store.execute(
        "SELECT publisher, topic, value, at FROM rates_subscriptions ORDER BY publisher, topic"
    )
    return [
        {"node_id": publisher, "topic": topic, "value": value, "published_at": None if at is None else int(at)}
        for publisher, topic, value, at in rows
    ]


@router.on_connect
async def renew(context: Context, renewed: Renewed) -> None:
    """Renew what is due with a publisher that connects."""
    await _renew(context, context.peer, renewed)


@router.every(3600)
async def renew_all(context: AppContext, renewed: Renewed) -> None:
    """Renew what is due with those that are connected."""
    for peer in context.app.peers:
        await _renew(context, peer, renewed)


async def _renew(context: AppContext, peer: Peer, renewed: Renewed) -> None:
    if str(peer) not in renewed.publishers:
        return
    rows = await context.store.execute(
        "SELECT topic FROM rates_subscriptions WHERE publisher = ? AND NOT ended", (str(peer),)
    )
    due = [topic for (topic,) in rows if renewed.is_due(str(peer), topic)]
    waiting = [one.message for one in await peer.pending()] if due else []
    for topic in due:
        if Subscribe(topic=topic) not in waiting:  # one is enough, for whoever does not take it
            await peer.deliver(Subscribe(topic=topic))
        renewed.note(str(peer), topic)
