"""Entries and their chain."""

from __future__ import annotations

from typing import Any

import pytest

from oddwire.cluster.log.entries import OVERHEAD, START, ChainBroken, Kind, Link, encode, follow


def test_entries_are_read_as_they_were_written() -> None:
    fence, at = encode(Kind.FENCE, 0, START, b"someone")
    commit, end = encode(Kind.COMMIT, 7, at, b"pages", more=True)
    assert len(commit) == OVERHEAD + 5
    first, second = follow(START, fence), follow(at, commit)
    assert (first.kind, first.more, first.term, first.number, first.body) == (Kind.FENCE, False, 0, 1, b"someone")
    assert (second.kind, second.more, second.term, second.number, second.body) == (Kind.COMMIT, True, 7, 2, b"pages")
    assert (first.link, second.link, second.previous) == (at, end, at.digest)
    assert follow(None, commit) == second


def test_every_damaged_byte_is_seen() -> None:
    data, _ = encode(Kind.COMMIT, 1, START, b"body")
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1
        with pytest.raises(ChainBroken):
            follow(None, bytes(damaged))
        with pytest.raises(ChainBroken):
            follow(None, data[:place])


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (Link(5, bytes(16)), "entry 1, where entry 6 should be"),
        (Link(0, b"x" * 16), "written behind another entry 0 than the one before it"),
    ],
)
def test_what_does_not_follow_is_named(after: Link, said: str) -> None:
    with pytest.raises(ChainBroken, match=said):
        follow(after, encode(Kind.COMMIT, 1, START, b"")[0])


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [(0, 2, "of version 2; this oddwire reads version 1"), (1, 9, "unknown kind 9; a later oddwire")],
)
def test_later_versions_are_named(place: int, value: int, said: str) -> None:
    import hashlib

    raw = bytearray(encode(Kind.COMMIT, 1, START, b"")[0][:-16])
    raw[place] = value
    data: Any = bytes(raw) + hashlib.blake2b(raw, digest_size=16).digest()
    with pytest.raises(ChainBroken, match=said):
        follow(None, data)
