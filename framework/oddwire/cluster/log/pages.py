"""What a commit changed in a database: the difference of each page to what it was before, compressed.

Pages, and not rows, since an author's SQL may do what changesets of rows cannot carry: make tables, say. And the
differences, since a page changes in few of its bytes: they are a tenth of the pages after compression, and take a
fifth of the time to compress (``benchmarks/replication.py``).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

__all__ = ["Changes", "apply", "difference", "pack", "unpack"]

_HEAD: Final = struct.Struct(">QIII")
_LEVEL: Final = 1


class Changes(NamedTuple):
    """The changes of one commit: its number among the commits, the database's page size and pages after it.

    ``pages`` are by number, from 1, each the exclusive or of what it is and what it was; a new page was zeros.
    """

    commit: int
    page_size: int
    size: int
    pages: Mapping[int, bytes | memoryview]


def difference(page: bytes, before: bytes) -> bytes:
    """Return the exclusive or of two pages; ``before`` may be shorter."""
    return (int.from_bytes(page, "little") ^ int.from_bytes(before, "little")).to_bytes(len(page), "little")


def pack(commit: int, page_size: int, size: int, pages: Mapping[int, bytes], before: Callable[[int], bytes]) -> bytes:
    """Return the changes as bytes; ``before`` returns what a page was, empty for one that was not."""
    numbers = sorted(pages)
    head = _HEAD.pack(commit, page_size, size, len(numbers)) + struct.pack(f">{len(numbers)}I", *numbers)
    deflate = zlib.compressobj(_LEVEL)
    parts = [deflate.compress(head)]
    parts += [deflate.compress(difference(pages[number], before(number))) for number in numbers]
    return b"".join((*parts, deflate.flush()))


def unpack(data: bytes) -> Changes:
    """Return the changes that `pack` has packed. Raises `ValueError`."""
    try:
        raw = zlib.decompress(data)
        commit, page_size, size, count = _HEAD.unpack_from(raw)
        numbers = struct.unpack_from(f">{count}I", raw, _HEAD.size)
    except (zlib.error, struct.error) as error:
        raise ValueError(f"no changes of a database: {error}") from error
    start = _HEAD.size + 4 * count
    if len(raw) != start + count * page_size:
        raise ValueError(f"{len(raw)} bytes are not {count} pages of {page_size} bytes")
    view = memoryview(raw)[start:]
    pages = {number: view[at * page_size : (at + 1) * page_size] for at, number in enumerate(numbers)}
    return Changes(commit, page_size, size, pages)


def apply(handle: int, commits: Iterable[Changes]) -> None:
    """Apply commits, in order, to the open file of a database that nobody uses. Raises `OSError`."""
    pages: dict[int, int] = {}
    kept = size = None  # the pages of the file that have stayed in the database, and those it has now
    step = 0
    for commit in commits:
        step, size = commit.page_size, commit.size
        if kept is None:
            kept = os.fstat(handle).st_size // step
        for number, page in commit.pages.items():
            value = pages.get(number)
            if value is None:
                value = int.from_bytes(os.pread(handle, step, (number - 1) * step), "little") if number <= kept else 0
            pages[number] = value ^ int.from_bytes(page, "little")
        if size < kept or (pages and size < max(pages)):
            kept = min(kept, size)
            pages = {number: value for number, value in pages.items() if number <= size}
    if kept is None or size is None:
        return
    os.ftruncate(handle, kept * step)
    for number, value in pages.items():
        os.pwrite(handle, value.to_bytes(step, "little"), (number - 1) * step)
    os.ftruncate(handle, size * step)
