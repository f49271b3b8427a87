"""The extension of LDK's peer: it keeps notes, which come reliably, and tells all it has when it is asked."""

from __future__ import annotations

from oddwire import AppContext, Context, Extension, Message, message

vectors = Extension("vectors", version="1.0")


@message(0x8CAF, codec="raw")
class Note(Message):
    """A number of four bytes."""

    content: bytes


@message(0x8CA1, codec="raw")
class Ask(Message):
    content: bytes


@message(0x8CA3, codec="raw")
class Answer(Message):
    """The number in each note that is stored, in the order of storing."""

    content: bytes


@vectors.on_startup
async def begin(context: AppContext) -> None:
    await context.store.execute(
        "CREATE TABLE IF NOT EXISTS vectors_notes (id INTEGER PRIMARY KEY, peer TEXT, content BLOB)"
    )


@vectors.on(Note, reliable=True)
async def take(context: Context, note: Note) -> None:
    """Store it."""
    row = (str(context.peer.node_id), note.content)
    await context.store.execute("INSERT INTO vectors_notes (peer, content) VALUES (?, ?)", row)


@vectors.on(Ask)
async def tell(context: Context, ask: Ask) -> Answer:
    """Tell all notes of the peer that asks."""
    peer = (str(context.peer.node_id),)
    rows = await context.store.execute("SELECT content FROM vectors_notes WHERE peer = ? ORDER BY id", peer)
    return Answer(content=b"".join(row[0] for row in rows))
