"""By which numbers peers know a store, before it is made and after."""

from __future__ import annotations

from pathlib import Path

import pytest

from oddwire.errors import StoreError
from oddwire.session.store.database import Database
from oddwire.session.store.unit import Store


async def test_it_has_the_number_that_it_was_to_have(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", number=77)
    told: list[tuple[int, ...]] = []
    store.identity.on_change = lambda: told.append(store.identity.numbers)
    assert store.identity.numbers == (77,)
    assert not (tmp_path / "store").exists()
    await store.open()
    assert told == [(77,)]
    await store.aclose()
    later = Store(tmp_path / "store", number=88)
    assert later.identity.numbers == (), "that is not known yet"
    await later.open()
    assert later.identity.numbers == (77,)
    await later.aclose()


async def test_one_in_memory_has_a_number_as_well() -> None:
    store = Store(number=5)
    assert store.identity.numbers == (5,)
    await store.open()
    assert store.identity.numbers == (5,)
    await store.aclose()
    assert Store().identity.numbers != Store().identity.numbers


async def test_one_that_another_made_first_has_the_others(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", number=77)
    told: list[tuple[int, ...]] = []
    store.identity.on_change = lambda: told.append(store.identity.numbers)
    Database(str(tmp_path / "store"), number=99).close()
    await store.open()
    assert told == [(99,)]
    await store.aclose()


async def test_a_renewed_one_has_one_number_that_is_on_disk(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", number=77)
    await store.open()
    assert store._database is not None
    store._database.writer.execute("PRAGMA query_only = 1")
    store.identity.renew()
    with pytest.raises(StoreError):
        await store.touch().durable()
    assert store.identity.numbers == (77,)
    store._database.writer.execute("PRAGMA query_only = 0")
    await store.touch().durable()
    (number,) = store.identity.numbers
    assert number != 77
    await store.aclose()
    database = Database(str(tmp_path / "store"))
    assert database.numbers == (number,)
    database.close()
