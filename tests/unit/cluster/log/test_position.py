"""The file that says where a cache is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oddwire.cluster.log.entries import Link
from oddwire.cluster.log.position import Position, PositionFile, digest_of

PLACE = Position(9, Link(4, b"l" * 16), 7, 3, 4096, 1 << 40, b"d" * 16, 12345)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "position"
    file = PositionFile(path)
    file.write(Position(1, Link(1, bytes(16)), 1, 0))
    file.write(PLACE)
    file.close()
    file.close()
    return path


def test_it_is_read_as_it_was_written(path: Path) -> None:
    assert PositionFile(path).read() == PLACE
    assert path.stat().st_mode & 0o777 == 0o600


def test_every_damaged_byte_is_seen(path: Path) -> None:
    data = path.read_bytes()
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert PositionFile(path).read() is None
        path.write_bytes(data[:place])
        assert PositionFile(path).read() is None


def test_what_an_earlier_boot_wrote_is_not_believed(path: Path) -> None:
    assert PositionFile(path, boot=lambda: "another").read() is None


def test_there_may_be_none(path: Path) -> None:
    PositionFile(path).clear()
    assert PositionFile(path).read() is None
    PositionFile(path).clear()


def test_a_files_digest_is_of_all_of_it(tmp_path: Path) -> None:
    path, found = tmp_path / "file", set()
    for data in (b"", b"a", bytes((1 << 20) + 1), bytes(1 << 20) + b"b"):
        path.write_bytes(data)
        handle = os.open(path, os.O_RDONLY)
        size, digest = digest_of(handle)
        os.close(handle)
        assert size == len(data)
        found.add(digest)
    assert len(found) == 4
