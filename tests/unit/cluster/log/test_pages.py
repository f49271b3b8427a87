"""Differences of pages."""

from __future__ import annotations

import os
import random
import zlib
from pathlib import Path

import pytest

from oddwire.cluster.log.pages import apply, difference, pack, unpack

SIZE = 512


class File:
    """A file of pages, beside the list of what they should be."""

    def __init__(self, path: Path) -> None:
        self.handle = os.open(path, os.O_RDWR | os.O_CREAT)
        self.path = path
        self.pages: list[bytes] = []
        self.commits = 0

    def commit(self, chance: random.Random) -> bytes:
        """Change, add and cut off pages, and return what changed."""
        before, size = [*self.pages], max(1, len(self.pages) + chance.randrange(-3, 5))
        changed = {number for number in range(1, size + 1) if number > len(before) or chance.random() < 0.3}
        del self.pages[size:]
        for number in range(1, size + 1):
            page = chance.randbytes(9).ljust(SIZE, b"x")
            if number > len(before):
                self.pages.append(page)
            elif number in changed:
                self.pages[number - 1] = page
        self.commits += 1
        pages = {number: self.pages[number - 1] for number in changed}
        return pack(
            self.commits, SIZE, size, pages, lambda number: before[number - 1] if number <= len(before) else b""
        )


@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_a_file_becomes_what_it_was_changed_to(tmp_path: Path, at_once: int) -> None:
    chance, file = random.Random(at_once), File(tmp_path / "file")
    for _ in range(200 // at_once):
        apply(file.handle, [unpack(file.commit(chance)) for _ in range(at_once)])
        assert file.path.read_bytes() == b"".join(file.pages)
    os.close(file.handle)


def test_a_small_change_is_a_small_entry() -> None:
    before = os.urandom(4096)
    after = before[:100] + b"changed" + before[107:]
    assert len(pack(1, 4096, 1, {1: after}, lambda _: before)) < 100
    assert difference(difference(after, before), before) == after


def test_what_a_commit_says_of_itself_is_kept() -> None:
    found = unpack(pack(1 << 40, 512, 9, {9: bytes(512)}, lambda _: b""))
    assert (found.commit, found.page_size, found.size, [*found.pages]) == (1 << 40, 512, 9, [9])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"junk", "no changes of a database"),
        (zlib.compress(b"short"), "no changes of a database"),
        (
            zlib.compress(bytes(8) + b"\0\0\2\0" + b"\0\0\0\1" + b"\0\0\0\1" + b"\0\0\0\1" + b"x"),
            "are not 1 pages of 512",
        ),
    ],
)
def test_what_are_no_changes_is_said(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        unpack(data)


def test_nothing_to_apply_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"as it is")
    handle = os.open(path, os.O_RDWR)
    apply(handle, [])
    os.close(handle)
    assert path.read_bytes() == b"as it is"
