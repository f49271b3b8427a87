#!/usr/bin/env python3
"""Asks a plain peer, sends to it again, and calls it, all at once: what there is for peers without a session."""

from __future__ import annotations

import asyncio

from oddwire import Again, AppContext, Context, Extension, Message, NodeId, RpcError, message
from oddwire.app import PeerRpc
from oddwire.errors import RemoteRpcError

extension = Extension("asking", version="1.0")
rpc = PeerRpc(extension, 0x8E57)


@message(0x8E51, codec="json")
class Price(Message):
    asset: str
    sats: int


@message(0x8E53, codec="json", replies=Price, match="asset")
class Ask(Message):
    asset: str


@message(0x8E55, codec="json")
class Note(Message):
    text: str


extension.register(Ask)


@rpc.method("asking.add")
async def add(context: Context, one: int, other: int) -> int:
    """Return a sum."""
    return one + other


@extension.on(Note)
async def note(context: Context, message: Note) -> None:
    """Keep what is sent of the peer's own accord."""
    await context.store.set(f"note/{message.text}", 1)


@extension.on(Price)
async def late(context: Context, message: Price) -> None:
    """Keep what nobody waits for any more."""
    await context.store.set(f"price/{message.asset}", message.sats)


@extension.rpc("asking-prices")
async def prices(context: AppContext, node_id: NodeId, assets: list[str]) -> list[int]:
    """Ask for several prices at once."""
    peer = context.app.peer(node_id)
    answers = await asyncio.gather(*(peer.request(Ask(asset=asset), Price, timeout=30) for asset in assets))
    return [answer.sats for answer in answers]


@extension.rpc("asking-again")
async def ask_again(context: AppContext, node_id: NodeId, asset: str) -> None:
    """Ask until there is an answer."""
    await context.app.peer(node_id).send(Ask(asset=asset), again=Again(every=0.2))


@extension.rpc("asking-call")
async def call(context: AppContext, node_id: NodeId, method: str) -> object:
    """Call a method of the peer's."""
    try:
        return await rpc.call(context.app.peer(node_id), method, {"word": "odd"}, timeout=30)
    except RemoteRpcError as error:
        raise RpcError(error.code, error.text, error.data) from None


@extension.rpc("asking-known")
async def known(context: AppContext, node_id: NodeId) -> dict[str, object]:
    """Return what was kept, and how much still waits for the peer."""
    waiting = await context.app.peer(node_id).pending()
    return {"kept": [key for key, _ in await context.store.items()], "waiting": len(waiting)}


if __name__ == "__main__":
    extension.run()
