"""courier: files between peers. Shows what a session adds: reliable messages with a store, requests, and streams.

::

    Parcel     35873  0x8c21  msgpack   name, data      a file, delivered once and kept
    Contents   35875  0x8c23  msgpack                   a request for  Listing  35877  0x8c25  files
    Fetch      35879  0x8c27  msgpack   name            a request for a stream of  Chunk  35881  0x8c29  raw

Send a file to a peer, connected or not; it lists what has arrived, and saves it::

    courier-send NODE_ID report.pdf
    courier-inbox
    courier-save 1 report.pdf
    courier-drop 2

Let peers fetch the files of a folder, and fetch one of theirs::

    oddwire run courier --courier-folder ~/shared --listen 127.0.0.1:9735 --data-dir data
    courier-list NODE_ID
    courier-fetch NODE_ID map.png map.png

Inside Core Lightning these are commands of lightning-cli, and paths are relative to the folder of its network.

Anybody who connects may send parcels, and node ids cost nothing. So the inbox has limits for one sender, for all
strangers together, and for all senders: strangers fill their part, and those whom we dialed or sent something to
still find room. What exceeds a limit is refused, which its sender logs. Likewise, files are read for so many at once,
of all peers together, those who read slowest lose their places to who waits, and the folder is listed for all of them
once a second at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from oddwire import AppContext, Context, Extension, Limits, NodeId, OddwireError, Peer, Refuse, RemoteFailure
from oddwire_extensions.courier.files import Source, is_file, is_name, new_file, open_file
from oddwire_extensions.courier.messages import CHUNK, MAX_PARCEL, Chunk, Contents, Fetch, File, Listing, Parcel
from oddwire_extensions.courier.shelves import Shelf

__all__ = ["Chunk", "Contents", "Fetch", "File", "Listing", "Parcel", "extension"]

MAX_FETCHED = 1 << 30
"""Bytes that courier-fetch writes, unless it is told of another limit."""


OVERHEAD = 1024
"""Bytes that a parcel is counted for beside its contents: an empty one takes a row, too."""
ROOM_OF_ONE = 32 << 20
"""Bytes of the parcels of one sender that are kept at once."""
ROOM_OF_STRANGERS = 64 << 20
"""Bytes of the parcels of all senders whom we neither dialed nor sent a parcel to."""
ROOM = 256 << 20
"""Bytes of all parcels."""

extension = Extension("courier", version="1.0", limits=Limits(requests=4, messages_per_second=50))


@extension.option("courier-folder")
def folder(value: str = "") -> Path | None:
    """Let peers fetch the files of this folder; without it there are none."""
    if not value:
        return None
    path = Path(value).expanduser().resolve()
    if not path.is_dir():
        raise ValueError(f"should be a folder, not {value!r}")
    return path


@extension.on_startup
async def prepare(context: AppContext) -> None:
    """Make the table of parcels. Its name begins with the extension's, as that of every table of its own."""
    await context.store.execute(
        "CREATE TABLE IF NOT EXISTS courier_parcels "
        "(number INTEGER PRIMARY KEY, sender TEXT, stranger INTEGER, name TEXT, data BLOB)"
    )


@extension.provide
def shelf(context: AppContext) -> Shelf:
    """Return the one shelf of this application."""
    return Shelf(context.options["courier-folder"])


# Messages of peers ------------------------------------------------------------------------------------


@extension.on(Parcel, reliable=True)
async def receive(context: Context, parcel: Parcel) -> None:
    """Keep a parcel. The row and the record that it came are committed together, so there are never two of it."""
    if not is_name(parcel.name):
        raise Refuse(f"{parcel.name!r} is not a file name")
    sender, size, stranger = str(context.peer), len(parcel.data), await _is_stranger(context)
    await _count(context, sender, stranger, size + OVERHEAD)
    row = (sender, stranger, parcel.name, parcel.data)
    await context.store.execute("INSERT INTO courier_parcels (sender, stranger, name, data) VALUES (?, ?, ?, ?)", row)
    context.logger.info("%.8s sent %s, %d bytes", context.peer, parcel.name, size)


async def _count(context: AppContext, sender: str, stranger: bool, size: int) -> None:
    """Count what a sender's parcels take, ``size`` bytes more or less. Raises `Refuse` if there is no room for more.

    To sum up the table instead would take longer with every parcel in it.
    """
    rooms = {f"room of {sender}": ROOM_OF_ONE, "room": ROOM}
    if stranger:
        rooms["room of strangers"] = ROOM_OF_STRANGERS
    for room, most in rooms.items():
        taken = await context.store.get(room, 0) + size
        if size > 0 and taken > most:
            raise Refuse("the inbox is full")
        await (context.store.set(room, taken) if taken else context.store.delete(room))


@extension.on_undelivered(Parcel)
async def lost(context: Context, parcel: Parcel, error: OddwireError) -> None:
    """Log which file has not arrived."""
    context.logger.warning("%s was not delivered to %.8s: %s", parcel.name, context.peer, error)


@extension.on(Contents)
async def contents(context: Context, request: Contents, shelf: Shelf) -> Listing:
    """Answer with the files of the folder, not of those in it."""
    return await shelf.listing()


@extension.on(Fetch)
async def fetch(context: Context, request: Fetch, shelf: Shelf) -> AsyncIterator[Chunk]:
    """Answer with a stream: a peer that writes slowly has us read slowly, unless others wait for its place."""
    # Names, not paths: nobody leaves the folder, by dots or by links
    path = None if shelf.path is None or not is_name(request.name) else shelf.path / request.name
    if path is None:
        raise Refuse(f"there is no file {request.name!r} here")
    async with shelf.turns.take(context.peer.node_id, preferred=not await _is_stranger(context)) as turn:
        if not await asyncio.to_thread(is_file, path):
            raise Refuse(f"there is no file {request.name!r} here")
        try:
            source = await asyncio.to_thread(Source, path)
            with contextlib.closing(source):
                while data := await asyncio.to_thread(source.read, CHUNK):
                    yield Chunk(data=data)
                    turn.done += len(data)
                    if turn.over:
                        raise Refuse("others wait for this place: later, perhaps")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise Refuse(f"{request.name!r} cannot be read: {why}") from error


async def _is_stranger(context: Context) -> bool:
    info = context.peer.info
    return (info is None or info.direction != "out") and not await context.store.get(f"known {context.peer}", 0)


# Commands ---------------------------------------------------------------------------------------------


@extension.rpc("courier-send")
async def send(context: AppContext, node_id: NodeId, path: Path, wait: bool = False) -> dict[str, object]:
    """Send a file to a peer: now, or once it is connected.

    Returns once it is on our disk; with wait, once it is on the peer's.
    """
    with await asyncio.to_thread(open_file, path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_PARCEL:
            raise ValueError(
                f"{path} has {size} bytes; a parcel has at most {MAX_PARCEL}; courier-fetch has no such limit"
            )
        data = await asyncio.to_thread(file.read, MAX_PARCEL)
    await context.store.set(f"known {node_id}", 1)  # no stranger from now on
    receipt = await context.app.peer(node_id).deliver(Parcel(name=path.name, data=data))
    if wait:
        await receipt.delivered()
    return {"name": path.name, "size": len(data)}


@extension.rpc("courier-inbox")
async def inbox(context: AppContext) -> list[dict[str, object]]:
    """Show the parcels that have arrived."""
    rows = await context.store.execute("SELECT number, sender, name, length(data) FROM courier_parcels ORDER BY number")
    return [{"number": number, "from": sender, "name": name, "size": size} for number, sender, name, size in rows]


@extension.rpc("courier-save")
async def save(context: AppContext, number: int, path: Path, shelf: Shelf) -> dict[str, object]:
    """Write a parcel to a new file, and remove it from the inbox once that is on the disk."""
    with shelf.saving(number):
        rows = await context.store.execute("SELECT data FROM courier_parcels WHERE number = ?", (number,))
        if not rows:
            raise _unknown(number)
        (data,) = rows[0]
        async with new_file(path) as file:
            await asyncio.to_thread(file.write, data)
        await _remove(context, number)
    return {"path": str(path), "size": len(data)}


@extension.rpc("courier-drop")
async def drop(context: AppContext, number: int, shelf: Shelf) -> dict[str, object]:
    """Remove a parcel from the inbox."""
    with shelf.saving(number):
        return await _remove(context, number)


async def _remove(context: AppContext, number: int) -> dict[str, object]:
    async with context.store.transaction():
        rows = await context.store.execute(
            "DELETE FROM courier_parcels WHERE number = ? RETURNING sender, stranger, name, length(data)", (number,)
        )
        if not rows:
            raise _unknown(number)
        sender, stranger, name, size = rows[0]
        await _count(context, sender, stranger, -(size + OVERHEAD))
    return {"from": sender, "name": name, "size": size}


@extension.rpc("courier-list")
async def list_files(context: AppContext, node_id: NodeId) -> list[dict[str, object]]:
    """Show the files that a peer lets us fetch."""
    listing = await context.app.peer(node_id).request(Contents(), Listing, timeout=30)
    return [{"name": file.name, "size": file.size} for file in listing.files]


@extension.rpc("courier-fetch")
async def fetch_file(
    context: AppContext, node_id: NodeId, name: str, path: Path, most: int = MAX_FETCHED
) -> dict[str, object]:
    """Fetch a file of a peer's into a new one, of so many bytes at most: the peer could go on for ever."""
    peer, size = context.app.peer(node_id), 0
    async with new_file(path) as file:
        listed = await _listed_size(peer, name)
        if listed is not None and listed > most:
            raise ValueError(f"{name!r} has {listed} bytes, more than {most}: a higher limit may be given")
        stream = peer.stream(Fetch(name=name), Chunk, timeout=30)
        async with contextlib.aclosing(stream):  # whatever ends us tells the peer to stop
            async for chunk in stream:
                size += len(chunk.data)
                if not chunk.data:
                    raise ValueError(f"{node_id} sent an empty chunk")
                if size > most:
                    raise ValueError(f"{node_id} sent more than {most} bytes: a higher limit may be given")
                if listed is not None and size > listed:
                    break
                await asyncio.to_thread(file.write, chunk.data)
        if listed is not None and size != listed:
            sent = f"more than {listed}" if size > listed else f"{size} of {listed}"
            raise ValueError(f"{node_id} sent {sent} bytes, as it lists {name!r}, which may have changed: try again")
    return {"path": str(path), "size": size}


async def _listed_size(peer: Peer, name: str) -> int | None:
    """Return how many bytes a peer says that a file has; None if it does not say: lists have an end."""
    try:
        listing = await peer.request(Contents(), Listing, timeout=30)
    except RemoteFailure:  # the fetch tells why, or goes without
        return None
    return next((file.size for file in listing.files if file.name == name), None)


def _unknown(number: int) -> ValueError:
    return ValueError(f"there is no parcel {number}; courier-inbox shows those there are")


if __name__ == "__main__":
    extension.run()
