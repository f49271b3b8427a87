#!/usr/bin/env python3
"""An extension of two modules, with middleware, types without a schema, a rate, and errors of RPC methods."""

import composed_orders
from composed_orders import Journal, Ordered

from oddwire import AppContext, Context, Extension, Message, Refuse, RpcError
from oddwire.app import CallNext

extension = Extension("composed", version="1.0", peer_feature=641)


@extension.middleware
async def outermost(context: Context, message: Message, call_next: CallNext, journal: Journal) -> Message | None:
    if isinstance(message, composed_orders.Order) and message.number == 404:
        raise Refuse("no such number", code=1404)
    reply = await call_next(message)
    if isinstance(reply, Ordered):
        journal.entries.append(f"reply {reply.number}")
        return Ordered(number=reply.number + 1)
    return reply


extension.include(composed_orders.router)


@extension.on_unknown(0x9002, range(0x9001, 0x9011, 2))
async def unknown(context: Context, type_id: int, data: bytes) -> None:
    """Send it back under the same type."""
    await context.peer.send_raw(type_id, data[::-1])


@extension.rpc("composed-journal")
async def told(context: AppContext, journal: Journal) -> dict[str, object]:
    """Say what has happened."""
    return {"journal": journal.entries, "throttled": dict(context.app.counters_of("composed").throttled)}


@extension.rpc("composed-pay")
async def pay(context: AppContext, sats: int) -> None:
    """Pay what is not there."""
    raise RpcError(1201, "the till has not that much", data={"missing": sats, "who": ["alice", None]})


if __name__ == "__main__":
    extension.run()
