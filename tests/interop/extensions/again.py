#!/usr/bin/env python3
"""Asks a peer again and again until it answers; the test kills it in between."""

from __future__ import annotations

import os
from datetime import timedelta

from oddwire import Again, AppContext, Context, Extension, Message, NodeId, OddwireError, message

extension = Extension("again", version="1.0")

UNTIL_ANSWERED = Again(every=timedelta(hours=1), until=timedelta(days=1))


@message(0x8E33, codec="json")
class Yes(Message):
    swap_id: str


@message(0x8E31, codec="json", replies=Yes, match="swap_id")
class Ask(Message):
    swap_id: str


@message(0x8E35, codec="json")
class Note(Message):
    text: str


extension.register(Ask)
extension.register(Note)


@extension.rpc("again-ask")
async def ask(context: AppContext, node_id: NodeId, swap_id: str) -> int:
    """Ask until there is an answer; return our process."""
    await context.app.peer(node_id).send(Ask(swap_id=swap_id), again=UNTIL_ANSWERED)
    return os.getpid()


@extension.rpc("again-note")
async def note(context: AppContext, node_id: NodeId, text: str) -> int:
    """Send a plain message behind all that is sent again; return our process."""
    await context.app.peer(node_id).send(Note(text=text))
    return os.getpid()


@extension.rpc("again-pending")
async def pending(context: AppContext, node_id: NodeId) -> list[dict[str, object]]:
    """Return what waits."""
    found = await context.app.peer(node_id).pending()
    await context.store.set("looked", len(found))  # on disk once what was settled before is
    return [{"key": one.key, "sent": one.sent, "reliable": one.reliable} for one in found]


@extension.rpc("again-answers")
async def answers(context: AppContext) -> list[str]:
    """Return the answers that were ever handled."""
    return [key for key, _ in await context.store.items("answer/")]


@extension.on(Yes)
async def yes(context: Context, message: Yes) -> None:
    await context.store.set(f"answer/{message.swap_id}", 1)


@extension.on_undelivered(Ask)
async def lost(context: Context, message: Ask, error: OddwireError) -> None:
    context.logger.warning("%s is not answered: %s", message.swap_id, error)


if __name__ == "__main__":
    extension.run()
