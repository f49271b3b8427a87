"""What the node keeps on disk."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from oddwire.errors import DefinitionError, StoreError
from oddwire.node.node_database import DatastoreEntry, NodeDatabase
from oddwire.proto.addresses import NodeUri
from oddwire.proto.keys import NodeId

PEER = NodeId("02" + "ab" * 32)


@pytest.fixture
def store(tmp_path: Path):
    store = NodeDatabase(tmp_path / "db")
    yield store
    store.close()


def test_entries_are_ordered_as_lightningd_orders_them(store: NodeDatabase) -> None:
    keys = [("b",), ("a", "b"), ("a!",), ("a",), ("a", "b", "c"), ("ä",), ("a", ""), ("",)]
    for key in keys:
        store.put(DatastoreEntry(key, repr(key).encode(), 0))
    listed = [entry.key for entry in store.under()]
    assert listed == [("",), ("a",), ("a", ""), ("a", "b"), ("a", "b", "c"), ("a!",), ("b",), ("ä",)]
    assert [entry.key for entry in store.under(("a",))] == [("a",), ("a", ""), ("a", "b"), ("a", "b", "c")]
    assert [entry.key for entry in store.under(("a", "b"))] == [("a", "b"), ("a", "b", "c")]
    assert store.has_children(("a", "b"))
    assert not store.has_children(("a!",))
    assert store.get(("a", "b")) == DatastoreEntry(("a", "b"), b"('a', 'b')", 0)
    assert store.get(("a", "c")) is None


def test_replacing_and_deleting(store: NodeDatabase) -> None:
    store.put(DatastoreEntry(("k",), b"one", 0))
    store.put(DatastoreEntry(("k",), b"two", 1))
    assert store.get(("k",)) == DatastoreEntry(("k",), b"two", 1)
    store.delete(("k",))
    assert list(store.under()) == []


def test_another_process_would_see_it_at_once(store: NodeDatabase) -> None:
    """Nothing waits for a commit: what a killed process has acknowledged is there."""
    store.put(DatastoreEntry(("k",), b"v", 0))
    store.remember(NodeUri(PEER, "127.0.0.1", 9735))
    other = sqlite3.connect(store.path)
    assert other.execute("SELECT data FROM datastore").fetchall() == [(b"v",)]
    assert other.execute("SELECT host, port FROM addresses").fetchall() == [("127.0.0.1", 9735)]
    other.close()


def test_addresses(store: NodeDatabase) -> None:
    assert store.address(PEER) is None
    store.remember(NodeUri(PEER, "127.0.0.1", 9735))
    store.remember(NodeUri(PEER, "::1", 9736))
    assert store.address(PEER) == NodeUri(PEER, "::1", 9736)
    store.remember(NodeUri(PEER, "::1", 9736, "wss"))
    assert store.address(PEER) == NodeUri(PEER, "::1", 9736, "wss")


def test_it_is_all_there_when_opened_again(tmp_path: Path) -> None:
    for number in range(3):
        store = NodeDatabase(tmp_path / "db")
        assert len(list(store.under())) == number
        store.put(DatastoreEntry((str(number),), b"", 0))
        store.close()
        store.close()
    assert stat.S_IMODE((tmp_path / "db").stat().st_mode) == 0o600


def test_what_is_no_database_of_ours(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"not a database" * 1000)
    with pytest.raises(DefinitionError, match="is not a database of this node"):
        NodeDatabase(tmp_path / "db")


def test_a_database_of_the_future(tmp_path: Path) -> None:
    NodeDatabase(tmp_path / "db").close()
    other = sqlite3.connect(tmp_path / "db")
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(DefinitionError, match="is of version 99; this oddwire reads version 1"):
        NodeDatabase(tmp_path / "db")


def test_a_database_that_another_program_has_is_told_of_at_once(store: NodeDatabase) -> None:
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for change in (lambda: store.put(DatastoreEntry(("k",), b"v", 0)), lambda: store.delete(("k",))):
            with pytest.raises(StoreError, match="is locked by") as caught:
                change()
            assert (caught.value.reason, caught.value.path) == ("locked", str(store.path))
        assert store.get(("k",)) is None
        other.execute("ROLLBACK")
    store.put(DatastoreEntry(("k",), b"v", 0))


def test_an_address_that_cannot_be_written_is_known_and_written_later(
    store: NodeDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    uri = NodeUri(PEER, "127.0.0.1", 9735)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.remember(uri)
        assert "is not stored for now" in caplog.text
        assert store.address(PEER) == uri
        other.execute("ROLLBACK")
        store.remember(uri)
        assert other.execute("SELECT host, port FROM addresses").fetchall() == [("127.0.0.1", 9735)]


def test_a_database_that_was_moved_is_not_written(store: NodeDatabase) -> None:
    away = store.path.rename(store.path.with_name("away"))
    with pytest.raises(StoreError, match="was moved, deleted or replaced"):
        store.put(DatastoreEntry(("k",), b"v", 0))
    away.rename(store.path)
    store.put(DatastoreEntry(("k",), b"v", 0))


def test_what_keeps_it_from_being_opened_is_told(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="cannot be opened: No such file or directory"):
        NodeDatabase(tmp_path / "missing" / "db")
    (tmp_path / "text").write_text("remember the milk" * 1000)
    with pytest.raises(DefinitionError, match="is not a database of this node"):
        NodeDatabase(tmp_path / "text")
