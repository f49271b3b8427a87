"""A blob of our own that peers keep, and what they return."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from typing import Any, Final

from oddwire import AppContext, Context, Peer, TransportError
from oddwire.app import Router
from oddwire.errors import StoreError
from oddwire.known.peer_storage import PeerStorage, PeerStorageRetrieval
from oddwire.transports import PeerInfo
from oddwire_extensions.peerstorage.strangers import is_stranger

__all__ = ["MAX_BLOB", "MAX_FOUND", "MAX_KEEPERS", "SETTLE", "Visit", "Visits", "router"]

MAX_BLOB: Final = 65531
"""Bytes of a blob (BOLT 1)."""
MAX_KEEPERS: Final = 100
"""Strangers who are remembered as asked to keep our blob, with what they return."""
MAX_FOUND: Final = (1000, 100)
"""Blobs kept of peers that return one without having been asked by this store: of others, and of strangers."""
MAX_SENT: Final = 1000
"""Blobs of ours of which the hashes are kept, by which they are known when they come back."""
SETTLE: Final = 5.0
"""Seconds of a connection in which a peer may return what it has, before it is sent what takes that one's place."""
PATIENCE: Final = 10.0
"""Seconds for which `peerstorage-put` waits for peers that do not take the blob at once."""

router = Router()


class Visit:
    """One connection of a peer: what it has returned, and the task that sends it our blob."""

    def __init__(self, info: PeerInfo | None) -> None:
        self.info = info
        self.began = asyncio.get_running_loop().time()
        self.returned = asyncio.Event()
        self.unsaved = False  # what it returned could not be written here, and so should not be replaced there
        self.sent: bytes | None = None
        self.sending: asyncio.Task[None] | None = None


class Visits:
    """The visits under way, by node id."""

    def __init__(self) -> None:
        self.of: dict[str, Visit] = {}

    def visit(self, peer: Peer) -> Visit:
        """Return the visit of a peer that is connected; on_connect may not have seen it yet."""
        visit = self.of.get(str(peer))
        if visit is None or visit.info is not peer.info:  # each connection has information of its own
            visit = self.of[str(peer)] = Visit(peer.info)
        return visit


@router.provide
def visits() -> Visits:
    """Nobody is here at first."""
    return Visits()


@router.on_startup
async def prepare(context: AppContext) -> None:
    """Make the tables: whom we asked, with the last answers; blobs that came unasked; hashes of blobs of ours."""
    await context.store.execute(
        "CREATE TABLE IF NOT EXISTS peerstorage_keepers "
        "(peer TEXT PRIMARY KEY, stranger INTEGER, asked REAL, blob BLOB, came REAL)"
    )
    await context.store.execute(
        "CREATE TABLE IF NOT EXISTS peerstorage_found (peer TEXT PRIMARY KEY, stranger INTEGER, blob BLOB, came REAL)"
    )
    await context.store.execute("CREATE TABLE IF NOT EXISTS peerstorage_sent (hash BLOB PRIMARY KEY)")


# What peers return ----------------------------------------------------------------------------------------------------


@router.on(PeerStorageRetrieval)
async def take_back(context: Context, answer: PeerStorageRetrieval, visits: Visits) -> None:
    """Keep what a peer gives back at the beginning of a connection, also if we do not remember having sent it."""
    peer = str(context.peer)
    visit = visits.of.get(peer)
    if visit is not None and visit.returned.is_set():
        context.logger.debug("%.8s returns a second blob", peer)
        return
    stranger = await is_stranger(context, context.peer)
    try:
        await _take(context, peer, answer.blob, stranger)
    except StoreError:
        if visit is not None:
            visit.unsaved = True
        raise
    if visit is not None:
        if answer.blob == await context.store.get("own"):
            visit.sent = answer.blob  # it has it: no need to send it again
        visit.returned.set()


async def _take(context: AppContext, peer: str, blob: bytes, stranger: bool) -> None:
    now = time.time()
    async with context.store.transaction():
        asked = await context.store.execute(
            "UPDATE peerstorage_keepers SET blob = ?, came = ? WHERE peer = ? RETURNING 1", (blob, now, peer)
        )
        ours = await context.store.execute("SELECT 1 FROM peerstorage_sent WHERE hash = ?", (_hash(blob),))
        if not blob or (asked and ours):
            return
        for [before] in await context.store.execute(
            "DELETE FROM peerstorage_found WHERE peer = ? RETURNING stranger", (peer,)
        ):
            stranger = stranger and bool(before)
        await context.store.execute("INSERT INTO peerstorage_found VALUES (?, ?, ?, ?)", (peer, stranger, blob, now))
        await context.store.execute(  # the oldest go; those of peers that were asked do not count
            "DELETE FROM peerstorage_found WHERE peer IN (SELECT peer FROM peerstorage_found WHERE stranger = ? "
            "AND peer NOT IN (SELECT peer FROM peerstorage_keepers) ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
            (stranger, MAX_FOUND[stranger]),
        )
    context.logger.info("%.8s returns a blob of %d bytes that was not sent from here", peer, len(blob))


@router.rpc("peerstorage-returned")
async def returned(context: AppContext) -> list[dict[str, object]]:
    """Show who was asked to keep our blob, and what has come back, from them and from others."""
    async with context.store.transaction():  # what is being taken back is in both tables, or in none
        own: bytes | None = await context.store.get("own")
        found: list[Any] = await context.store.execute("SELECT peer, blob, came FROM peerstorage_found ORDER BY rowid")
        asked: list[Any] = await context.store.execute(
            "SELECT peer, asked, blob, came FROM peerstorage_keepers ORDER BY rowid"
        )
    others = {peer: (blob, came) for peer, blob, came in found}
    rows = [(*row, *others.pop(row[0], (None, None))) for row in asked]
    rows += [(peer, None, blob, came, blob, came) for peer, (blob, came) in others.items()]
    return [
        {
            "node_id": peer,
            "asked_at": _whole(when),
            "blob": _hex(blob),
            "returned_at": _whole(came),
            "current": blob is not None and blob == own,
            "found": _hex(other),
            "found_at": _whole(other_came),
        }
        for peer, when, blob, came, other, other_came in rows
    ]


# What they are sent ---------------------------------------------------------------------------------------------------


@router.on_connect
async def meet(context: Context, visits: Visits) -> None:
    """Begin a visit, and have the peer keep our blob if there is one."""
    visit = visits.visit(context.peer)
    if await context.store.get("own") is not None:
        _offer(context.app.context("peerstorage"), context.peer, visit, visits)


@router.on_disconnect
async def part(context: Context, reason: object, visits: Visits) -> None:
    """End a visit."""
    visits.of.pop(str(context.peer), None)


def _offer(context: AppContext, peer: Peer, visit: Visit, visits: Visits) -> list[asyncio.Task[None]]:
    """Return the task that sends our blob to a peer, if the peer keeps blobs for others."""
    if peer.info is None or not peer.info.has_feature(43):
        return []
    if visit.sending is None or visit.sending.done():
        visit.sending = context.spawn(_send(context, peer, visit, visits), name=f"peerstorage to {peer}")
    return [visit.sending]


async def _send(context: AppContext, peer: Peer, visit: Visit, visits: Visits) -> None:
    """Send our blob, and again if it changes meanwhile, once the peer had time to return what it has."""
    left = visit.began + SETTLE - asyncio.get_running_loop().time()
    if left > 0:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await visit.returned.wait()
    while (own := await context.store.get("own")) is not None and own != visit.sent:
        if visits.of.get(str(peer)) is not visit or visit.unsaved or not await _may_keep(context, peer):
            return
        try:
            await peer.send(PeerStorage(blob=own))
        except TransportError:  # it has just gone, and gets it when it comes again
            return
        visit.sent = own


async def _may_keep(context: AppContext, peer: Peer) -> bool:
    """Remember a peer as asked; return False if that is a stranger, and a hundred strangers are here already."""
    stranger = await is_stranger(context, peer)
    async with context.store.transaction():
        if await context.store.execute("SELECT 1 FROM peerstorage_keepers WHERE peer = ?", (str(peer),)):
            return True
        rows: list[Any] = []
        if stranger:  # who has never returned anything goes first, and nobody who is here
            rows = await context.store.execute(
                "SELECT peer FROM peerstorage_keepers WHERE stranger = 1 ORDER BY blob NOTNULL, rowid"
            )
        too_many = max(0, len(rows) - MAX_KEEPERS + 1)
        here = {str(one) for one in context.app.peers}
        gone = [row for row in rows if row[0] not in here][:too_many]
        if len(gone) < too_many:
            return False
        for row in gone:
            await context.store.execute("DELETE FROM peerstorage_keepers WHERE peer = ?", row)
        await context.store.execute(
            "INSERT INTO peerstorage_keepers VALUES (?1, ?2, ?3, (SELECT blob FROM peerstorage_found WHERE peer = ?1), "
            "(SELECT came FROM peerstorage_found WHERE peer = ?1))",
            (str(peer), stranger, time.time()),
        )
    return True


@router.rpc("peerstorage-put")
async def put(context: AppContext, blob: str, visits: Visits) -> dict[str, object]:
    """Have peers keep this blob, in hex: encrypted by a key that you will still have."""
    try:
        data = bytes.fromhex(blob)
    except ValueError:
        raise ValueError(f"blob should be hex digits, two for each byte, not {blob:.40}") from None
    if not 0 < len(data) <= MAX_BLOB:
        raise ValueError(f"blob should be 1 to {MAX_BLOB} bytes, not {len(data)}")
    async with context.store.transaction():
        await context.store.set("own", data)
        await context.store.execute("INSERT OR REPLACE INTO peerstorage_sent VALUES (?)", (_hash(data),))
        await context.store.execute(
            "DELETE FROM peerstorage_sent WHERE rowid IN "
            "(SELECT rowid FROM peerstorage_sent ORDER BY rowid DESC LIMIT -1 OFFSET ?)",
            (MAX_SENT,),
        )
    here = [(peer, visits.visit(peer)) for peer in context.app.peers]
    tasks: list[asyncio.Task[None]] = []
    for peer, visit in here:
        visit.sent = None
        tasks += _offer(context, peer, visit, visits)
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=PATIENCE)
        if late:
            context.logger.warning("%d peers have not taken the blob yet: it waits for them", len(late))
    return {"size": len(data), "sent_to": sum(visit.sent == data for _, visit in here)}


@router.rpc("peerstorage-take")
async def take(context: AppContext) -> dict[str, object]:
    """Have no peers keep our blob from now on, and forget it, and those who have never returned one."""
    await context.store.delete("own")
    await context.store.execute("DELETE FROM peerstorage_keepers WHERE blob IS NULL")
    return {"kept": False}


def _hash(blob: bytes) -> bytes:
    return hashlib.sha256(blob).digest()


def _hex(blob: bytes | None) -> str | None:
    return None if blob is None else blob.hex()


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else int(seconds)
