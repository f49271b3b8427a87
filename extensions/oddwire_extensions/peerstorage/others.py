"""The blobs of others that `peerstorage` keeps."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from oddwire import AppContext, Context, NodeId
from oddwire.app import Router
from oddwire.errors import StoreError
from oddwire.known.peer_storage import PeerStorage, PeerStorageRetrieval
from oddwire_extensions.peerstorage.strangers import is_stranger

__all__ = ["MAX_WAITING", "MINUTE", "Waiting", "router"]

MINUTE: Final = 60.0
"""Seconds between two writes of one peer's blob."""
MAX_WAITING: Final = 256
"""Blobs that wait in memory to be written, 16 MiB, beyond which a stranger's waits only if one of its own is kept."""

_KNOW: Final = (
    "UPDATE peerstorage_blobs SET stranger = 0 WHERE peer = ?",
    "UPDATE peerstorage_keepers SET stranger = 0 WHERE peer = ?",
    "UPDATE peerstorage_found SET stranger = 0 WHERE peer = ?",
)
_FORGET: Final = (
    "DELETE FROM peerstorage_blobs WHERE peer = ? RETURNING 1",
    "DELETE FROM peerstorage_keepers WHERE peer = ? RETURNING 1",
    "DELETE FROM peerstorage_found WHERE peer = ? RETURNING 1",
)

router = Router()


class Waiting:
    """Blobs that came within a minute of their peer's last: the newest of each peer, and for whom a task writes it."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.writers: set[str] = set()
        self.written: dict[str, float] = {}  # when, by the event loop's clock, within the last minute

    def wait_for(self, peer: str) -> float:
        """Return the seconds until a peer's next blob may be written; 0 if it may be now."""
        now = asyncio.get_running_loop().time()
        self.written = {known: when for known, when in self.written.items() if now - when < MINUTE}
        return MINUTE - (now - self.written[peer]) if peer in self.written else 0.0


@router.option("peerstorage-strangers")
def strangers(value: int = 1000) -> int:
    """Keep so many strangers' blobs, of 64 KiB each."""
    return _not_negative(value)


@router.option("peerstorage-peers")
def peers(value: int = 10_000) -> int:
    """Keep so many blobs of others in all."""
    return _not_negative(value)


@router.option("peerstorage-days")
def days(value: int = 14) -> int:
    """Delete a stranger's blob after we have run for so many days without a visit of the stranger."""
    return _not_negative(value)


@router.provide
def waiting() -> Waiting:
    """Nothing waits at first."""
    return Waiting()


@router.on_startup
async def prepare(context: AppContext) -> None:
    """Make the table: blobs, when they came, when the peer was here, and how long we had run then."""
    await context.store.execute(
        "CREATE TABLE IF NOT EXISTS peerstorage_blobs "
        "(peer TEXT PRIMARY KEY, stranger INTEGER, blob BLOB, stored REAL, seen REAL, ran REAL)"
    )
    await context.store.execute("CREATE INDEX IF NOT EXISTS peerstorage_strangers ON peerstorage_blobs (stranger, ran)")


@router.on_connect
async def give_back(context: Context, waiting: Waiting) -> None:
    """Send a peer its blob."""
    peer = str(context.peer)
    rows = await context.store.execute(
        "UPDATE peerstorage_blobs SET seen = ?, ran = ? WHERE peer = ? RETURNING blob, stranger",
        (time.time(), await context.store.now(), peer),
    )
    for blob, stranger in rows:
        if newest := waiting.blobs.get(peer, blob):
            await context.peer.send(PeerStorageRetrieval(blob=newest))
        if stranger and not await is_stranger(context, context.peer):
            await context.store.execute("UPDATE peerstorage_blobs SET stranger = 0 WHERE peer = ?", (peer,))


@router.on(PeerStorage)
async def keep(context: Context, request: PeerStorage, waiting: Waiting) -> None:
    """Keep a peer's blob: now, or once a minute has passed since its last."""
    peer = str(context.peer)
    stranger = await is_stranger(context, context.peer)
    if peer not in waiting.blobs:
        if not waiting.wait_for(peer):
            try:
                if await _write(context, peer, request.blob, stranger, waiting):
                    context.logger.info("%.8s has %d bytes kept", context.peer, len(request.blob))
                return
            except StoreError as error:
                _postpone(context, peer, error, waiting)
        # Strangers of whom one is kept are as many as an option says, and no crowd takes their places
        if stranger and len(waiting.blobs) >= MAX_WAITING and not await _is_kept(context, peer):
            context.logger.warning("%s: not kept: %d blobs wait to be written", context.peer, MAX_WAITING)
            return
    waiting.blobs[peer] = request.blob
    if peer not in waiting.writers:
        waiting.writers.add(peer)
        own = context.app.context("peerstorage")  # the blob outlives the connection
        own.spawn(_write_later(own, peer, stranger, waiting), name=f"peerstorage {peer:.8}")


def _postpone(context: AppContext, peer: str, error: StoreError, waiting: Waiting) -> None:
    """Have a blob that could not be written tried again in a minute."""
    context.logger.warning("%s: not written yet: %s", peer, error)
    waiting.written[peer] = asyncio.get_running_loop().time()


async def _write(context: AppContext, peer: str, blob: bytes, stranger: bool, waiting: Waiting) -> bool:
    """Write a blob if the options leave room for it; return whether they do. Raises `StoreError`."""
    now = time.time()
    async with context.store.transaction():
        if not await _is_kept(context, peer):
            for option, most in await _full(context, stranger):
                context.logger.warning("%s: not kept: %s allows %d", peer, option, most)
                return False
        await context.store.execute(
            "INSERT INTO peerstorage_blobs VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (peer) DO UPDATE "
            "SET blob = excluded.blob, stored = excluded.stored, seen = excluded.seen, ran = excluded.ran, "
            "stranger = min(stranger, excluded.stranger)",
            (peer, stranger, blob, now, now, await context.store.now()),
        )
    waiting.written[peer] = asyncio.get_running_loop().time()
    return True


async def _is_kept(context: AppContext, peer: str) -> bool:
    return bool(await context.store.execute("SELECT 1 FROM peerstorage_blobs WHERE peer = ?", (peer,)))


async def _full(context: AppContext, stranger: bool) -> list[tuple[str, int]]:
    """Return the options that leave no room for one more peer, with their values."""
    [[number, of_strangers]] = await context.store.execute(
        "SELECT count(*), coalesce(sum(stranger), 0) FROM peerstorage_blobs"
    )
    taken = {"peerstorage-strangers": of_strangers if stranger else -1, "peerstorage-peers": number}
    return [(name, context.options[name]) for name in taken if taken[name] >= context.options[name]]


async def _write_later(context: AppContext, peer: str, stranger: bool, waiting: Waiting) -> None:
    """Write what waits for a peer, a minute after the last, until nothing waits: more may come during a write."""
    try:
        while peer in waiting.blobs:
            await asyncio.sleep(waiting.wait_for(peer))
            await _write_waiting(context, peer, stranger, waiting)
    finally:
        waiting.writers.discard(peer)


async def _write_waiting(context: AppContext, peer: str, stranger: bool, waiting: Waiting) -> None:
    """Write the blob that waits for a peer, unless the peer has been forgotten meanwhile."""
    if (blob := waiting.blobs.get(peer)) is None:
        return
    try:
        await _write(context, peer, blob, stranger, waiting)
    except StoreError as error:
        _postpone(context, peer, error, waiting)
        return
    if waiting.blobs.get(peer) is blob:
        del waiting.blobs[peer]


@router.on_shutdown
async def write_all(context: AppContext, waiting: Waiting) -> None:
    """Write what waits."""
    for peer in list(waiting.blobs):
        await _write_waiting(context, peer, True, waiting)


@router.every(3600, at_start=True)
async def clean(context: AppContext) -> None:
    """Delete the blobs of strangers who have not been here for long, by how long we have run: clocks are set wrong."""
    for peer in context.app.peers:
        await context.store.execute(
            "UPDATE peerstorage_blobs SET seen = ?, ran = ? WHERE peer = ?",
            (time.time(), await context.store.now(), str(peer)),
        )
    oldest = await context.store.now() - context.options["peerstorage-days"] * 86_400
    gone = await context.store.execute(
        "DELETE FROM peerstorage_blobs WHERE stranger = 1 AND ran < ? RETURNING peer", (oldest,)
    )
    if gone:
        context.logger.info("deleted the blobs of %d strangers not seen for long", len(gone))


@router.rpc("peerstorage-list")
async def list_blobs(context: AppContext, waiting: Waiting) -> list[dict[str, object]]:
    """Show whose blobs are kept."""
    rows = await context.store.execute(
        "SELECT peer, stranger, length(blob), stored, seen FROM peerstorage_blobs ORDER BY stored"
    )
    return [
        {
            "node_id": peer,
            "stranger": bool(stranger),
            "size": size,
            "stored_at": int(stored),
            "last_seen_at": int(seen),
            "newer_waits": peer in waiting.blobs,
        }
        for peer, stranger, size, stored, seen in rows
    ]


@router.rpc("peerstorage-know")
async def know(context: AppContext, node_id: NodeId | None = None) -> list[str]:
    """Count a peer as no stranger from now on; show all those."""
    if node_id is not None:
        await context.store.set(f"known {node_id}", 1)
        for sql in _KNOW:
            await context.store.execute(sql, (str(node_id),))
    return [key.removeprefix("known ") for key, _ in await context.store.items("known ")]


@router.rpc("peerstorage-forget")
async def forget(context: AppContext, node_id: NodeId, waiting: Waiting) -> dict[str, object]:
    """Delete the blob of a peer and what it returned, and that it was known, or asked to keep ours."""
    peer = str(node_id)
    gone: list[object] = [waiting.blobs.pop(peer, None)] if peer in waiting.blobs else []
    async with context.store.transaction():
        known = await context.store.get(f"known {peer}") is not None
        for sql in _FORGET:
            gone += await context.store.execute(sql, (peer,))
        if not gone and not known:
            raise ValueError(
                f"{peer} has no blob here and is not known; peerstorage-list, peerstorage-know and "
                "peerstorage-returned show who has"
            )
        await context.store.delete(f"known {peer}")
    waiting.written.pop(peer, None)  # its next blob is like a first one, and need not wait
    return {"node_id": node_id, "deleted": bool(gone)}


def _not_negative(value: int) -> int:
    if value < 0:
        raise ValueError(f"should be a number from 0, not {value}")
    return value
