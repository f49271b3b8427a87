#!/usr/bin/env python3
"""The same on every node: asks, counts, takes notes, and has each done by peers. LDK's session peer speaks it, too."""

from __future__ import annotations

from collections.abc import AsyncIterator

from oddwire import AppContext, Context, Extension, Message, NodeId, message

extension = Extension("vectors", version="1.0")
TIMEOUT = 30


@message(0x8CA1, codec="raw")
class Ask(Message):
    data: bytes


@message(0x8CA3, codec="raw")
class Answer(Message):
    data: bytes


@message(0x8CA5, codec="raw")
class Count(Message):
    data: bytes


@message(0x8CA7, codec="raw")
class Number(Message):
    data: bytes


@message(0x8CAF, codec="raw")
class Note(Message):
    data: bytes


@extension.on_startup
async def make_table(context: AppContext) -> None:
    await context.store.execute("CREATE TABLE IF NOT EXISTS vectors_notes (number INTEGER PRIMARY KEY, data BLOB)")


@extension.on(Ask)
async def answer(context: Context, message: Ask) -> Answer:
    return Answer(data=message.data)


@extension.on(Count)
async def count(context: Context, message: Count) -> AsyncIterator[Number]:
    for number in range(int.from_bytes(message.data, "big")):
        yield Number(data=number.to_bytes(2, "big"))


@extension.on(Note, reliable=True)
async def take(context: Context, message: Note) -> None:
    await context.store.execute("INSERT INTO vectors_notes (data) VALUES (?)", (message.data,))


@extension.rpc("vectors-knows")
async def knows(context: AppContext, node_id: NodeId) -> bool:
    """Return whether a peer is connected that speaks this extension."""
    return any(peer.node_id == node_id and peer.supports("vectors") for peer in context.app.peers)


@extension.rpc("vectors-ask")
async def ask(context: AppContext, node_id: NodeId, length: int) -> bool:
    """Ask a peer so many bytes; return whether they come back."""
    data = bytes(number % 251 for number in range(length))
    reply = await context.app.peer(node_id).request(Ask(data=data), Answer, timeout=TIMEOUT)
    return reply.data == data


@extension.rpc("vectors-count")
async def have_counted(context: AppContext, node_id: NodeId, to: int) -> bool:
    """Have a peer count; return whether it does it right."""
    stream = context.app.peer(node_id).stream(Count(data=to.to_bytes(2, "big")), Number, timeout=TIMEOUT)
    return [int.from_bytes(number.data, "big") async for number in stream] == list(range(to))


@extension.rpc("vectors-send")
async def send(context: AppContext, node_id: NodeId, notes: list[str]) -> None:
    """Send a peer notes, in hex, reliably: all of them or none."""
    async with context.store.transaction():
        for note in notes:
            await context.app.peer(node_id).deliver(Note(data=bytes.fromhex(note)))


@extension.rpc("vectors-notes")
async def tell_notes(context: AppContext) -> list[str]:
    """Return the notes that were taken, in hex, in order."""
    rows = await context.store.execute("SELECT data FROM vectors_notes ORDER BY number")
    return [data.hex() for (data,) in rows]


if __name__ == "__main__":
    extension.run()
