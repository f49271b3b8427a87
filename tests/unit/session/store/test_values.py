"""Values that are on their way to the disk are there for whoever looks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oddwire.errors import StoreError
from oddwire.session.store.database import MEMORY, Database
from oddwire.session.store.value_encoding import EncodedValue, keep
from oddwire.session.store.values import StoredValues


def kept(number: int) -> EncodedValue:
    return keep("key", number)


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database(MEMORY)
    yield database
    database.close()


def test_the_newest_is_what_counts(database: Database) -> None:
    values = StoredValues()
    values.load(database)
    values.gather("quote", {b"a": kept(1), b"b": kept(1), b"c": kept(1)})
    values.gather("other", {b"a": kept(9)})
    values.begin()
    values.write(database.writer)
    values.end(None)
    values.gather("quote", {b"a": kept(2), b"b": None})
    values.begin()
    values.gather("quote", {b"a": kept(3), b"ab": kept(3)})
    assert [values.get("quote", key) for key in (b"a", b"b", b"c", b"d")] == [
        kept(3),
        None,
        kept(1),
        None,
    ]
    assert values.items("quote", b"") == {b"a": kept(3), b"ab": kept(3), b"b": None, b"c": kept(1)}
    assert values.items("quote", b"a") == {b"a": kept(3), b"ab": kept(3)}
    values.write(database.writer)
    values.end(None)
    assert database.writer.execute("SELECT key, value FROM oddwire_values WHERE extension = 'quote'").fetchall() == [
        (b"a", 2),
        (b"c", 1),
    ]


def test_what_could_not_be_written_has_not_been_set(database: Database) -> None:
    values = StoredValues()
    values.load(database)
    values.gather("quote", {b"a": kept(1)})
    values.begin()
    values.end(StoreError("full", path="", reason="full"))
    assert values.get("quote", b"a") is None
