#!/usr/bin/env python3
"""An extension that asks the node for more than some nodes' clients take, and sends to a peer meanwhile."""

import asyncio

from oddwire import AppContext, Context, Extension, Message, NodeId, OddwireError, message

extension = Extension("asker", version="1.0")


@message(0x8D11)
class Word(Message):
    number: int


@extension.on(Word)
async def heard(context: Context, word: Word) -> None:
    """Say that there is such a message."""


@extension.rpc("asker-ask")
async def ask(context: AppContext, peer: NodeId, size: int) -> dict[str, object]:
    """Ask for ``size`` bytes while a peer is sent messages; tell how many came, and how many went."""
    asking = asyncio.create_task(context.node.call("large", size=size))
    sent = 0
    while not asking.done() or sent < 10:
        await context.app.peer(peer).send(Word(number=sent))
        sent += 1
        await asyncio.sleep(0.01)
    try:
        return {"channels": len((await asking)["channels"]), "sent": sent}
    except OddwireError as error:
        return {"error": f"{type(error).__name__}: {error}", "sent": sent}


if __name__ == "__main__":
    extension.run()
