from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from oddwire.app.resending.entries import Entry, Ident
from oddwire.app.resending.table import KeptTable
from oddwire.proto.keys import NodeId
from oddwire.session.store.database import MEMORY, Database

ALICE = NodeId("02" + "aa" * 32)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    database = Database(MEMORY)
    yield database.writer
    database.close()


def entry(key: bytes, payload: bytes = b"\x8e\x01x", **more: object) -> Entry:
    return Entry(Ident("shop", ALICE, key), 0x8E01, len(payload), payload=payload, **more)  # type: ignore[arg-type]


def test_without_a_database_there_is_nothing() -> None:
    assert KeptTable().payload(Ident("shop", ALICE, b"1")) is None


def test_what_is_written_is_read_the_oldest_first(connection: sqlite3.Connection) -> None:
    table = KeptTable()
    assert [*table.load(connection)] == []
    young, old = (
        entry(b"1", made=9.0, every=2.5),
        entry(b"2", b"\x8e\x03yz", made=4.0, life=60.0, matched=b"sm", force=True),
    )
    table.write(connection, {young.ident: young, old.ident: old})
    found = [*table.load(connection)]
    assert [each.ident.key for each in found] == [b"2", b"1"]
    assert [(each.type_id, each.made, each.every, each.life) for each in found] == [
        (0x8E03, 4.0, None, 60.0),
        (0x8E01, 9.0, 2.5, None),
    ]
    assert [(each.matched, each.force, each.on_connect, each.stored) for each in found] == [
        (b"sm", True, True, True),
        (None, False, True, True),
    ]
    assert [each.weight for each in found] == [old.weight, young.weight]
    assert table.payload(old.ident) == b"\x8e\x03yz"
    assert table.payload(Ident("shop", ALICE, b"3")) is None


def test_one_share_replaces_and_deletes(connection: sqlite3.Connection) -> None:
    table = KeptTable()
    [*table.load(connection)]
    one, two = entry(b"1"), entry(b"2")
    table.write(connection, {one.ident: one, two.ident: two})
    newer = entry(b"1", b"\x8e\x01new")
    table.write(connection, {one.ident: newer, two.ident: None, Ident("shop", ALICE, b"none"): None})
    assert table.payload(one.ident) == b"\x8e\x01new"
    assert table.payload(two.ident) is None
