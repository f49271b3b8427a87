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
still find room. What exceeds a limit is refused, which its sender logs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from oddwire import (
    AppContext,
    Context,
    Extension,
    Limits,
    Message,
    NodeId,
    OddwireError,
    Refuse,
    field,
    message,
    subtype,
    u64,
)

__all__ = ["Chunk", "Contents", "Fetch", "File", "Listing", "Parcel", "extension"]

MAX_PARCEL = 8 << 20
"""Bytes of a parcel. A file that is fetched may have any size."""
CHUNK = 256 << 10
"""Bytes of a chunk."""
MAX_FILES = 10_000
"""Files in a listing."""
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


@message(0x8C21, max_size=MAX_PARCEL + 4096)
class Parcel(Message):
    """A file."""

    name: str = field(max_length=255)
    data: bytes = field(max_length=MAX_PARCEL)


@subtype
class File:
    """A file that may be fetched; ``size`` is in bytes."""

    name: str
    size: u64


@message(0x8C25)
class Listing(Message):
    """The files that may be fetched, by name."""

    files: tuple[File, ...] = field(max_length=MAX_FILES)


@message(0x8C23, replies=Listing)
class Contents(Message):
    """A request for the list of files."""


@message(0x8C27)
class Fetch(Message):
    """A request for a file."""

    name: str


@message(0x8C29, codec="raw")
class Chunk(Message):
    """The next bytes of a file."""

    data: bytes


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


# Messages of peers ------------------------------------------------------------------------------------


@extension.on(Parcel, reliable=True)
async def receive(context: Context, parcel: Parcel) -> None:
    """Keep a parcel. The row and the record that it came are committed together, so there are never two of it."""
    if not _is_name(parcel.name):
        raise Refuse(f"{parcel.name!r} is not a file name")
    sender, size, info = str(context.peer), len(parcel.data), context.peer.info
    stranger = (info is None or info.direction != "out") and not await context.store.get(f"known {sender}", 0)
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
async def contents(context: Context, request: Contents) -> Listing:
    """Answer with the files of the folder, not of those in it."""
    path = context.options["courier-folder"]
    return Listing(files=() if path is None else tuple(await asyncio.to_thread(_files, path)))


@extension.on(Fetch)
async def fetch(context: Context, request: Fetch) -> AsyncIterator[Chunk]:
    """Answer with a stream: a peer that writes slowly has us read slowly."""
    path = context.options["courier-folder"]
    # Names, not paths: nobody leaves the folder, by dots or by links
    if path is None or not _is_name(request.name) or not await asyncio.to_thread(_is_file, path / request.name):
        raise Refuse(f"there is no file {request.name!r} here")
    with await asyncio.to_thread(_open, path / request.name, os.O_NOFOLLOW) as file:
        while data := await asyncio.to_thread(file.read, CHUNK):
            yield Chunk(data=data)


# Commands ---------------------------------------------------------------------------------------------


@extension.rpc("courier-send")
async def send(context: AppContext, node_id: NodeId, path: Path, wait: bool = False) -> dict[str, object]:
    """Send a file to a peer: now, or once it is connected.

    Returns once it is on our disk; with wait, once it is on the peer's.
    """
    with await asyncio.to_thread(_open, path) as file:
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
async def save(context: AppContext, number: int, path: Path) -> dict[str, object]:
    """Write a parcel to a new file, and remove it from the inbox."""
    rows = await context.store.execute("SELECT data FROM courier_parcels WHERE number = ?", (number,))
    if not rows:
        raise _unknown(number)
    (data,) = rows[0]
    async with _new_file(path) as file:
        await asyncio.to_thread(file.write, data)
    await drop(context, number)
    return {"path": str(path), "size": len(data)}


@extension.rpc("courier-drop")
async def drop(context: AppContext, number: int) -> dict[str, object]:
    """Remove a parcel from the inbox."""
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
    size = 0
    async with _new_file(path) as file:
        stream = context.app.peer(node_id).stream(Fetch(name=name), Chunk, timeout=30)
        async with contextlib.aclosing(stream):  # whatever ends us tells the peer to stop
            async for chunk in stream:
                size += len(chunk.data)
                if size > most or not chunk.data:
                    what = (
                        "an empty chunk" if not chunk.data else f"more than {most} bytes: a higher limit may be given"
                    )
                    raise ValueError(f"{node_id} sent {what}")
                await asyncio.to_thread(file.write, chunk.data)
    return {"path": str(path), "size": size}


def _unknown(number: int) -> ValueError:
    return ValueError(f"there is no parcel {number}; courier-inbox shows those there are")


def _is_name(name: str) -> bool:
    return 0 < len(name) <= 255 and name.isprintable() and name not in (".", "..") and not set(name) & set("/\\")


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _open(path: Path, flags: int = 0) -> BinaryIO:
    """Open a file to read; a pipe would have us wait for who writes to it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path} should be a file")
    return os.fdopen(descriptor, "rb")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _files(path: Path) -> list[File]:
    found = [
        File(name=entry.name, size=entry.stat().st_size)
        for entry in path.iterdir()
        if _is_name(entry.name) and _is_file(entry)
    ]
    return sorted(found, key=lambda file: file.name)[:MAX_FILES]


@contextlib.asynccontextmanager
async def _new_file(path: Path) -> AsyncIterator[BinaryIO]:
    """Make a file, for its owner alone. If the block fails it is gone again: half a file is none.

    Raises `ValueError` for a path that can have none.
    """
    try:
        opened = await asyncio.to_thread(open, path, "xb", opener=_private)
    except FileExistsError:
        raise ValueError(f"{path} exists already; it should be a new file") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}") from error
    with opened as file:
        try:
            yield file
            await asyncio.to_thread(file.flush)
        except BaseException:
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise


if __name__ == "__main__":
    extension.run()
