"""Orphaned stores: an extension's data stays in the store of its plugin file when another file loads it."""

# ruff: noqa: S608 - names in statements are ours

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from oddwire.errors import StoreError
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.session.store.database import former_lane_of, packed, recognise
from oddwire.sqlite_files import holders

__all__ = ["Orphan", "find_orphans", "warn_of_orphans"]

logger = get_logger("oddwire.app")

_MOST_FILES: Final = 32
_PATIENCE: Final = 2.0  # seconds for reading all of them
_STEPS: Final = 10_000  # instructions of SQLite's virtual machine between two checks of the time


class Orphan(NamedTuple):
    """An extension's data in a store that no program uses."""

    path: Path
    extension: str
    values: int
    messages: int


def warn_of_orphans(store: Path, extensions: Collection[str]) -> None:
    """Log one warning if stores beside a new one have data of its extensions; the newest of them is described.

    Reads the disk, for two seconds at most. Never raises: unreadable stores are ignored.
    """
    found = find_orphans(store, extensions)
    if not found:
        return
    path = found[0].path
    here = [orphan for orphan in found if orphan.path == path]
    parts = [
        f"{_many(orphan.values, 'value')} and {_many(orphan.messages, 'waiting message')} of {orphan.extension!r}"
        for orphan in here
    ]
    options = "".join(f" --extension {orphan.extension}" for orphan in here)
    others = [str(other) for other in dict.fromkeys(orphan.path for orphan in found) if other != path]
    more = f" (there are more in {', '.join(others)})" if others else ""
    text = (
        f"the store {store} is new and empty, while {path}, which no program uses, has {', '.join(parts)}{more}; if it "
        f"should be here, stop this plugin and run: oddwire store move {path} {store}{options}"
    )
    logger.warning("%s", printable(text))


def find_orphans(store: Path, extensions: Collection[str]) -> list[Orphan]:
    """Return the data of some extensions in the unused stores of a store's folder, newest first."""
    deadline = time.monotonic() + _PATIENCE
    found: list[Orphan] = []
    for path in _candidates(store):
        if time.monotonic() > deadline:
            break
        try:
            if not holders(f"{path}.lock"):
                found += _kept(path, extensions, deadline)
        except (sqlite3.Error, OSError, StoreError):
            continue
    return found


def _candidates(store: Path) -> list[Path]:
    dated: list[tuple[float, Path]] = []
    try:
        for path in store.parent.glob("oddwire-*.sqlite3"):
            status = path.lstat()
            if path.name != store.name and stat.S_ISREG(status.st_mode):
                dated.append((status.st_mtime, path))
    except OSError:
        pass
    return [path for _, path in sorted(dated, reverse=True)[:_MOST_FILES]]


def _kept(path: Path, extensions: Collection[str], deadline: float) -> Iterator[Orphan]:
    # Without SQLite's write-ahead log, reading creates no files beside the store either
    mode = "mode=ro" if _size(f"{path}-wal") else "mode=ro&immutable=1"
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=0.0)) as reader:
        reader.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        version = recognise(reader, str(path))
        if not version:
            return
        unnamed = "extension IS NULL AND" if version >= 3 else ""
        theirs = f"{'extension = :name OR' if version >= 3 else ''} ({unnamed} lane = :lane)"
        for name in extensions:
            query = {"name": name, "lane": packed([former_lane_of(name)])}
            (values,) = reader.execute("SELECT count(*) FROM oddwire_values WHERE extension = :name", query).fetchone()
            (messages,) = reader.execute(
                "SELECT count(*) FROM oddwire_outbox JOIN oddwire_routes ON oddwire_routes.id = oddwire_outbox.route "
                f"WHERE {theirs}",
                query,
            ).fetchone()
            if version >= 4:
                again = "SELECT count(*) FROM oddwire_again WHERE extension = :name"
                messages += reader.execute(again, query).fetchone()[0]
            if values or messages:
                yield Orphan(path, name, values, messages)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - as the rest of its names
    except OSError:
        return 0


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
