"""What was offered, by us and to us, and how far it is: one table in the extension's store, and its limits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, Literal, NamedTuple

from oddwire import ExtensionStore, NodeId, Refuse
from oddwire_extensions.filedrop.messages import Offer

__all__ = ["OPEN", "Book", "Drop"]

OFFERS: Final = 1000
"""Offers of all peers that are kept at once."""
OFFERS_OF_STRANGERS: Final = 500
"""Offers of all peers whom we have neither dialed, nor sent anything, nor named in an option."""
OFFERS_OF_ONE: Final = 20
"""Offers of one peer."""
LARGEST: Final = (1 << 63) - 1
"""Bytes of a file: what Linux's offsets, and SQLite's integers, hold."""
ENDED: Final = 100
"""Ended ones that are kept to be looked at, each way."""

OPEN: Final = ("offered", "accepted")
"""States of what has not ended. The others: received, refused, failed, withdrawn, expired."""

Way = Literal["in", "out"]

_TABLE: Final = """CREATE TABLE IF NOT EXISTS filedrop_files (
    number INTEGER PRIMARY KEY, way TEXT, peer TEXT, key BLOB, name TEXT, size INTEGER, digest BLOB, state TEXT,
    path TEXT, mark TEXT, safe INTEGER, stranger INTEGER, reason TEXT, began INTEGER, touched INTEGER,
    UNIQUE (way, peer, key))"""
_SELECT: Final = (
    "SELECT number, way, peer, key, name, size, digest, state, path, mark, safe, reason, began, touched "
    "FROM filedrop_files WHERE "
)
_COUNT: Final = (
    "SELECT count(*), coalesce(sum(stranger), 0), coalesce(sum(peer = ?), 0) FROM filedrop_files "
    "WHERE way = 'in' AND state IN ('offered', 'accepted')"
)
_CHANGE: Final = (
    "UPDATE filedrop_files SET state = ?, reason = ?, path = coalesce(?, path), touched = ? "
    "WHERE number = ? AND state IN ('offered', 'accepted') RETURNING number"
)
_NOTE: Final = "UPDATE filedrop_files SET reason = ? WHERE number = ? AND state IN ('offered', 'accepted')"
_TRIM: Final = (
    "DELETE FROM filedrop_files WHERE number IN (SELECT number FROM filedrop_files "
    "WHERE way = ? AND state NOT IN ('offered', 'accepted') ORDER BY touched DESC, number DESC LIMIT -1 OFFSET ?)"
)


class Drop(NamedTuple):
    """One file, offered to us (``way`` in) or by us (out).

    ``path`` is the file we offer; or the folder for one that we have accepted, and once it is received, the file.
    ``mark`` shows whether the file we offer has changed; or is the name of the part of one that we receive.
    ``safe`` is the number of bytes that are on our disk for certain. ``began`` and ``touched``, the last time something
    went on, are in seconds by the store's clock, which nobody sets.
    """

    number: int
    way: Way
    peer: str
    key: bytes
    name: str
    size: int
    digest: bytes
    state: str
    path: str
    mark: str
    safe: int
    reason: str
    began: int
    touched: int

    @property
    def node_id(self) -> NodeId:
        """The peer."""
        return NodeId(self.peer)

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state in OPEN


class Book:
    """The table. Every method raises `StoreError`."""

    def __init__(self, store: ExtensionStore) -> None:
        self._store = store
        self._offered_to: set[str] = set()

    async def prepare(self) -> None:
        """Make the table."""
        await self._store.execute(_TABLE)
        rows = await self._store.execute("SELECT DISTINCT peer FROM filedrop_files WHERE way = 'out'")
        self._offered_to.update(peer for (peer,) in rows)

    def has_offered(self, peer: NodeId) -> bool:
        """Return whether anything was offered to a peer, without a look into the store, which strangers could crowd."""
        return str(peer) in self._offered_to

    async def add_outgoing(self, peer: NodeId, offer: Offer, path: Path, mark: str) -> int:
        """Add what we offer, and return its number. From then on its peer is no stranger."""
        await self.know(peer)
        self._offered_to.add(str(peer))
        return await self._add("out", peer, offer, path=str(path), mark=mark)

    async def add_incoming(self, peer: NodeId, offer: Offer, *, stranger: bool) -> int | None:
        """Add what a peer offers, and return its number; None if it was there. Raises `Refuse` if there is no room."""
        if offer.size > LARGEST:
            raise Refuse(f"no file has {offer.size} bytes")
        if await self.find("in", peer, offer.key) is not None:
            return None
        ((count, of_strangers, of_peer),) = await self._store.execute(_COUNT, (str(peer),))
        if of_peer >= OFFERS_OF_ONE:
            raise Refuse(f"{of_peer} offers of yours are waiting already")
        if count >= OFFERS or (stranger and of_strangers >= OFFERS_OF_STRANGERS):
            raise Refuse("too many offers are waiting here")
        # The key is the peer's choice, and two of them may choose the same: parts have names of our own
        return await self._add("in", peer, offer, mark=os.urandom(16).hex(), stranger=stranger)

    async def _add(
        self, way: Way, peer: NodeId, offer: Offer, *, path: str = "", mark: str = "", stranger: bool = False
    ) -> int:
        async with self._store.transaction():
            # Never used twice: an operator who accepts number 7 means the one that was shown
            number = await self._store.get("last", 0) + 1
            await self._store.set("last", number)
            now = int(await self._store.now())
            row = (
                number,
                way,
                str(peer),
                offer.key,
                offer.name,
                offer.size,
                offer.digest,
                path,
                mark,
                stranger,
                now,
                now,
            )
            await self._store.execute(
                "INSERT INTO filedrop_files (number, way, peer, key, name, size, digest, state, path, mark, safe, "
                "stranger, reason, began, touched) VALUES (?, ?, ?, ?, ?, ?, ?, 'offered', ?, ?, 0, ?, '', ?, ?)",
                row,
            )
        return number

    async def use_folder(self, folder: Path) -> None:
        """Write down that parts may lie in a folder."""
        await self._store.set(f"folder {folder}", 1)

    async def leave_folder(self, folder: Path) -> None:
        """Write down that no parts lie in a folder."""
        await self._store.delete(f"folder {folder}")

    async def folders(self) -> set[Path]:
        """Return the folders in which parts may lie."""
        return {Path(key.removeprefix("folder ")) for key, _ in await self._store.items("folder ")}

    async def know(self, peer: NodeId) -> None:
        """Treat a peer as no stranger from now on."""
        await self._store.set(f"known {peer}", 1)

    async def knows(self, peer: NodeId) -> bool:
        """Return whether a peer is no stranger."""
        return bool(await self._store.get(f"known {peer}", 0))

    async def get(self, number: int) -> Drop | None:
        """Return the one with a number."""
        return next(iter(await self._select("number = ?", number)), None)

    async def find(self, way: Way, peer: NodeId, key: bytes) -> Drop | None:
        """Return the one with a peer's key."""
        return next(iter(await self._select("way = ? AND peer = ? AND key = ?", way, str(peer), key)), None)

    async def all(self) -> list[Drop]:
        """Return all there are, by number."""
        return await self._select("1 ORDER BY number")

    async def incoming(self, state: str) -> list[Drop]:
        """Return those offered to us that are in a state, by number."""
        return await self._select("way = 'in' AND state = ? ORDER BY number", state)

    async def untouched(self, seconds: float) -> list[Drop]:
        """Return those that have not ended and with which nothing went on for so long."""
        before = int(await self._store.now() - seconds)
        return await self._select("state IN ('offered', 'accepted') AND touched < ?", before)

    async def _select(self, condition: str, *values: object) -> list[Drop]:
        return [Drop(*row) for row in await self._store.execute(_SELECT + condition, values)]

    async def change(self, drop: Drop, state: str, reason: str = "", path: Path | None = None) -> bool:
        """Put one that has not ended into another state; return False if it has ended meanwhile."""
        values = (state, reason[:500], None if path is None else str(path), int(await self._store.now()), drop.number)
        changed = bool(await self._store.execute(_CHANGE, values))
        if changed and state not in OPEN:
            await self._store.execute(_TRIM, (drop.way, ENDED))
        return changed

    async def save(self, drop: Drop, safe: int) -> None:
        """Write down how many bytes are on the disk."""
        values = (safe, int(await self._store.now()), drop.number)
        await self._store.execute("UPDATE filedrop_files SET safe = ?, touched = ? WHERE number = ?", values)

    async def note(self, drop: Drop, reason: str) -> None:
        """Write down why it does not go on for now, unless it has ended meanwhile."""
        await self._store.execute(_NOTE, (reason[:500], drop.number))

    async def delete(self, drop: Drop) -> None:
        """Remove one."""
        await self._store.execute("DELETE FROM filedrop_files WHERE number = ?", (drop.number,))
