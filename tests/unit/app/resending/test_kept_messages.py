"""What is kept survives, within its limits, until it is settled; and what cannot be written is as it was."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.waiting import until

from oddwire.app.resending.entries import OVERHEAD, Entry, Ident
from oddwire.app.resending.kept_messages import KeptMessages
from oddwire.errors import QuotaExceeded, StoreError
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Allowance, Limits
from oddwire.session.reliable.outbox_state import Load
from oddwire.session.store.ages import Ages
from oddwire.session.store.database import Database
from oddwire.session.store.unit import Store

ALICE, BOB = NodeId("02" + "aa" * 32), NodeId("03" + "bb" * 32)
ONE = OVERHEAD + 1  # bytes that each counts beside its payload, with a key of one byte


class Breaker:
    """A part that lets commits fail while it is told to."""

    def __init__(self) -> None:
        self.broken = False

    def load(self, database: Database) -> None: ...

    def begin(self) -> None: ...

    def write(self, writer: sqlite3.Connection) -> None:
        if self.broken:
            raise sqlite3.OperationalError("disk I/O error")

    def end(self, error: StoreError | None) -> None: ...


class Place:
    """The kept messages of a store, and what is told of them."""

    def __init__(self, path: Path | str, limits: Limits | None = None, **allowances: Limits) -> None:
        self.now = 1000.0
        self.path = str(path)
        self.limits = limits or Limits()
        self.allowances = {name: Allowance(name, each) for name, each in allowances.items()}
        self.told: list[tuple[str, bytes]] = []

    async def open(self) -> Place:
        self.store = Store(
            self.path, ages=Ages(wall=lambda: 1.8e9 + self.now, uptime=lambda: self.now, boot=lambda: "boot")
        )
        self.breaker = Breaker()
        self.store.add(self.breaker)
        self.total = Load()
        self.kept = KeptMessages(self.store, limits=self.limits, total=self.total, allowances=self.allowances)
        self.kept.added = lambda entry: self.told.append(("added", entry.ident.key))
        self.kept.removed = lambda entry: self.told.append(("removed", entry.ident.key))
        await self.store.open()
        return self

    async def restart(self) -> None:
        await self.store.aclose()
        self.told.clear()
        await self.open()

    async def keep(
        self, key: bytes, payload: bytes = b"\x8e\x01", *, extension: str = "shop", peer: NodeId = ALICE
    ) -> Entry:
        entry = Entry(Ident(extension, peer, key), 0x8E01, len(payload), payload=payload, every=10.0)
        await self.kept.keep(entry)
        return entry

    def rows(self) -> dict[bytes, bytes]:
        with closing(sqlite3.connect(self.path)) as database:
            return dict(database.execute("SELECT key, payload FROM oddwire_again"))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = await Place(tmp_path / "store").open()
    yield place
    place.breaker.broken = False
    await place.store.aclose()


def ident(key: bytes, extension: str = "shop", peer: NodeId = ALICE) -> Ident:
    return Ident(extension, peer, key)


async def test_what_is_kept_is_on_disk_and_what_is_settled_is_off_it(place: Place) -> None:
    await place.keep(b"1", b"\x8e\x01one")
    await place.keep(b"2", b"\x8e\x01two")
    assert place.rows() == {b"1": b"\x8e\x01one", b"2": b"\x8e\x01two"}
    assert place.told == [("added", b"1"), ("added", b"2")]
    await place.kept.settle(ident(b"1"))
    assert place.rows() == {b"2": b"\x8e\x01two"}
    assert place.told[2:] == [("removed", b"1")]
    await place.kept.settle(ident(b"1"))
    assert place.told[3:] == [], "it was gone"


async def test_a_restart_finds_it_with_all_that_was_said_of_it(place: Place) -> None:
    entry = Entry(
        ident(b"1"),
        0x8E01,
        5,
        payload=b"\x8e\x01one",
        every=None,
        life=60.0,
        on_connect=False,
        force=True,
        matched=b"sx",
    )
    await place.kept.keep(entry)
    await place.keep(b"2", peer=BOB)
    place.now += 50.0
    await place.restart()
    found = place.kept.entries[ident(b"1")]
    assert (found.type_id, found.weight, found.every, found.on_connect, found.force) == (
        0x8E01,
        ONE + 5,
        None,
        False,
        True,
    )
    assert (found.matched, found.stored, found.live, found.sent) == (b"sx", True, True, 0)
    assert place.kept.payload_of(found) == b"\x8e\x01one"
    assert (place.kept.age_of(found), place.kept.left_of(found)) == (50.0, 10.0)
    assert place.kept.entries[ident(b"2", peer=BOB)].every == 10.0
    assert (place.total.messages, place.total.bytes) == (2, 2 * ONE + 7)
    assert {*place.kept.peers} == {ALICE, BOB}
    assert place.told == [("added", b"1"), ("added", b"2")], "in case it could not be opened at the start"


async def test_one_with_the_same_key_takes_its_place_and_is_younger(place: Place) -> None:
    old = await place.keep(b"1", b"\x8e\x01old")
    place.now += 30.0
    new = await place.keep(b"1", b"\x8e\x01newer")
    assert place.told == [("added", b"1"), ("removed", b"1"), ("added", b"1")]
    assert (old.live, new.live) == (False, True)
    assert place.rows() == {b"1": b"\x8e\x01newer"}
    assert place.kept.age_of(new) == 0.0
    assert (place.total.messages, place.total.bytes) == (1, ONE + 7)
    place.kept.drop(old)
    await place.restart()
    assert place.rows() == {b"1": b"\x8e\x01newer"}, "what settles the old one does not settle the new one"


async def test_others_keys_are_others(place: Place) -> None:
    await place.keep(b"1")
    await place.keep(b"1", extension="chat")
    await place.keep(b"1", peer=BOB)
    assert place.kept.owners(ALICE, b"1") == ["chat", "shop"]
    assert place.kept.owners(BOB, b"1") == ["shop"]
    assert place.kept.owners(BOB, b"2") == []
    await place.kept.settle(ident(b"1"))
    assert {*place.kept.entries} == {ident(b"1", "chat"), ident(b"1", peer=BOB)}


async def test_in_a_unit_of_work_it_is_part_of_that(place: Place) -> None:
    await place.keep(b"old")
    async with place.store.unit("shop") as unit:
        await place.keep(b"new")
        await place.kept.settle(ident(b"old"))
        assert place.kept.owners(ALICE, b"new") == ["shop"], "it can be settled there"
        assert (place.total.messages, [*place.kept.entries]) == (2, [ident(b"old")])
    await unit.durable()
    assert [*place.rows()] == [b"new"]
    assert place.total.messages == 1


async def test_a_unit_that_fails_keeps_nothing_and_settles_nothing(place: Place) -> None:
    await place.keep(b"old", b"\x8e\x01old")
    with contextlib.suppress(RuntimeError):
        async with place.store.unit("shop"):
            await place.keep(b"old", b"\x8e\x01other")
            await place.keep(b"new", peer=BOB)
            await place.kept.settle(ident(b"old"))
            raise RuntimeError("ouch")
    await place.keep(b"3")
    assert place.rows() == {b"old": b"\x8e\x01old", b"3": b"\x8e\x01"}
    assert (place.total.messages, {*place.kept.peers}) == (2, {ALICE})
    assert place.kept.owners(BOB, b"new") == []


async def test_settled_in_the_unit_that_kept_it_it_was_never_there(place: Place) -> None:
    async with place.store.unit("shop") as unit:
        await place.keep(b"1")
        assert place.kept.owners(ALICE, b"1") == ["shop"]
        await place.kept.settle(ident(b"1"))
    await unit.durable()
    assert place.rows() == {}
    assert ("added", b"1") not in place.told


# Disks -----------------------------------------------------------------------------------------------------------


async def test_what_cannot_be_written_is_as_it_was(place: Place) -> None:
    await place.keep(b"1", b"\x8e\x01old")
    await place.keep(b"2")
    place.told.clear()
    place.breaker.broken = True
    results = await asyncio.gather(
        place.keep(b"1", b"\x8e\x01newer"),
        place.keep(b"3", peer=BOB),
        place.kept.settle(ident(b"2")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [StoreError] * 3
    place.breaker.broken = False
    assert {*place.kept.entries} == {ident(b"1"), ident(b"2")}
    assert place.kept.payload_of(place.kept.entries[ident(b"1")]) == b"\x8e\x01old"
    assert (place.total.messages, place.total.bytes, {*place.kept.peers}) == (2, 2 * ONE + 7, {ALICE})
    assert place.told.count(("added", b"1")) == place.told.count(("added", b"2")) == 1, "they are sent again"
    await place.keep(b"4")
    assert {*place.rows()} == {b"1", b"2", b"4"}


async def test_changes_that_build_on_a_failed_one_are_taken_back_with_it(place: Place) -> None:
    await place.keep(b"1", b"\x8e\x01old")
    place.breaker.broken = True
    first = asyncio.create_task(place.keep(b"1", b"\x8e\x01second"))
    await asyncio.sleep(0)
    second = asyncio.create_task(place.keep(b"1", b"\x8e\x01third"))
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(result) for result in results] == [StoreError] * 2
    place.breaker.broken = False
    await place.keep(b"2")
    assert place.rows()[b"1"] == b"\x8e\x01old"
    assert place.kept.entries[ident(b"1")].live
    assert place.total.messages == 2


async def test_what_an_answer_has_settled_is_deleted_once_the_disk_is_back(place: Place) -> None:
    entry = await place.keep(b"1")
    place.breaker.broken = True
    place.kept.drop(entry)
    with pytest.raises(StoreError):
        await place.keep(b"2")
    assert [*place.kept.entries] == [], "it is not sent meanwhile"
    assert [*place.rows()] == [b"1"]
    place.breaker.broken = False
    await place.keep(b"3")
    assert [*place.rows()] == [b"3"]


async def test_a_drop_is_written_with_no_need_of_another_commit(place: Place) -> None:
    entry = await place.keep(b"1")
    place.kept.drop(entry)
    await until(lambda: not place.rows())


async def test_one_kept_after_a_drop_that_failed_is_there(place: Place) -> None:
    entry = await place.keep(b"1", b"\x8e\x01old")
    place.breaker.broken = True
    place.kept.drop(entry)
    with pytest.raises(StoreError):
        await place.keep(b"2")
    place.breaker.broken = False
    await place.keep(b"1", b"\x8e\x01new")
    await place.restart()
    assert place.rows() == {b"1": b"\x8e\x01new"}


async def test_one_that_cannot_be_kept_after_a_drop_does_not_bring_back_what_was_answered(place: Place) -> None:
    entry = await place.keep(b"1", b"\x8e\x01old")
    place.breaker.broken = True
    place.kept.drop(entry)
    with pytest.raises(StoreError):
        await place.keep(b"1", b"\x8e\x01new")
    assert [*place.kept.entries] == []
    place.breaker.broken = False
    await place.keep(b"2")
    assert [*place.rows()] == [b"2"]


async def test_what_cannot_be_read_is_told(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    entry = await place.keep(b"1")
    place.store._database.reader.execute("PRAGMA query_only = 1")  # type: ignore[union-attr]
    place.store._database.writer.execute("DROP TABLE oddwire_again")  # type: ignore[union-attr]
    assert place.kept.payload_of(entry) is None
    assert f"what is kept for {ALICE} cannot be read" in caplog.text


# Limits ------------------------------------------------------------------------------------------------------------


async def test_a_peer_has_so_many_and_so_many_bytes(tmp_path: Path) -> None:
    place = await Place(tmp_path / "store", Limits(outbox_messages=2, outbox_bytes=1200)).open()
    await place.keep(b"1")
    await place.keep(b"2")
    with pytest.raises(QuotaExceeded, match=f"^2 messages that are sent again to {ALICE} are not settled yet; no more"):
        await place.keep(b"3")
    await place.keep(b"2", b"\x8e\x01another"), "in its place there is room"
    await place.keep(b"3", peer=BOB)
    with pytest.raises(
        QuotaExceeded, match=f"again to {ALICE} not settled yet would be 1230 bytes; at most 1200 are kept"
    ):
        await place.keep(b"2", bytes(202))
    assert place.kept.counters.exceeded == {"outbox_messages": 1, "outbox_bytes": 1}
    assert place.total.messages == 3
    await place.kept.settle(ident(b"1"))
    await place.keep(b"3")
    await place.store.aclose()


async def test_all_have_so_much_with_what_is_reliable(tmp_path: Path) -> None:
    place = await Place(tmp_path / "store", Limits(total_outbox_bytes=2000)).open()
    place.total.messages, place.total.bytes = 1, 1400  # of the outbox
    with pytest.raises(
        QuotaExceeded, match=r"^messages to all peers, not acknowledged or settled yet, take 1656 bytes;"
    ):
        await place.keep(b"1", bytes(100))
    assert place.kept.peers == {}
    await place.store.aclose()


async def test_an_extension_has_limits_of_its_own(tmp_path: Path) -> None:
    place = await Place(tmp_path / "store", shop=Limits(outbox_messages=1, outbox_seconds=20)).open()
    entry = await place.keep(b"1")
    await place.keep(b"1", extension="chat")
    with pytest.raises(QuotaExceeded, match=r"^extension 'shop': 1 messages that are sent again") as caught:
        await place.keep(b"2")
    assert caught.value.extension == "shop"
    assert place.kept.left_of(entry) == 20.0
    await place.store.aclose()


async def test_the_limit_holds_for_those_that_would_live_longer() -> None:
    place = await Place(":memory:", Limits(outbox_seconds=100)).open()
    entry = Entry(ident(b"1"), 0x8E01, 2, payload=b"\x8e\x01", life=1e6)
    await place.kept.keep(entry)
    place.now += 70.0
    assert place.kept.left_of(entry) == 30.0
    await place.store.aclose()


# The end -----------------------------------------------------------------------------------------------------------


async def test_the_time_between_two_processes_counts(place: Place) -> None:
    await place.keep(b"1")
    place.now += 4000.0
    place.kept.close()
    await place.restart()
    place.now += 1.0
    assert place.kept.age_of(place.kept.entries[ident(b"1")]) == 4001.0


async def test_the_clock_is_marked_once_an_hour_while_something_is_kept(place: Place) -> None:
    def marked() -> float:
        with closing(sqlite3.connect(place.path)) as database:
            return float(database.execute("SELECT uptime FROM oddwire_clock").fetchone()[0])

    await place.keep(b"1")
    place.now += 3500.0
    place.kept.mark()
    assert place.store._timer is None
    place.now += 200.0
    place.kept.mark()
    await until(lambda: marked() == 4700.0)
    await place.kept.settle(ident(b"1"))
    place.now += 9999.0
    place.kept.mark()
    assert place.store._timer is None


async def test_a_store_in_memory_says_what_is_lost_with_it(caplog: pytest.LogCaptureFixture) -> None:
    place = await Place(":memory:").open()
    await place.keep(b"1")
    await place.keep(b"2")
    with caplog.at_level(logging.WARNING, "oddwire.app"):
        place.kept.close()
        place.kept.close()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "2 messages that are sent again and not settled yet"
    ]
    await place.store.aclose()


# Property ----------------------------------------------------------------------------------------------------------

STEP = st.tuples(
    st.sampled_from(["keep", "settle", "drop", "unit", "failing unit", "broken", "whole"]),
    st.sampled_from([b"1", b"2", b"3"]),
    st.binary(min_size=1, max_size=3),
)


@given(st.lists(STEP, max_size=20))
@settings(max_examples=40)
def test_whatever_happens_memory_and_disk_agree_in_the_end(steps: list[tuple[str, bytes, bytes]]) -> None:
    async def story() -> None:
        place = await Place(":memory:").open()
        model: dict[bytes, bytes] = {}
        for what, key, body in steps:
            entry = Entry(ident(key), 0x8E01, len(body), payload=body)
            try:
                if what == "keep":
                    await place.kept.keep(entry)
                    model[key] = body
                elif what == "settle":
                    await place.kept.settle(ident(key))
                    model.pop(key, None)
                elif what == "drop" and ident(key) in place.kept.entries:
                    place.kept.drop(place.kept.entries[ident(key)])
                    model.pop(key, None)
                elif "unit" in what:
                    async with place.store.unit("shop") as unit:
                        await place.kept.keep(entry)
                        if what != "unit":
                            raise RuntimeError
                    await unit.durable()
                    model[key] = body
                else:
                    place.breaker.broken = what == "broken"
            except (StoreError, RuntimeError):
                pass
        place.breaker.broken = False
        if place.store._dirty or place.store._timer is not None:
            await place.store.touch().durable()
        assert {each.key for each in place.kept.entries} == {*model}
        for each, entry in place.kept.entries.items():
            assert place.kept.payload_of(entry) == model[each.key]
        rows = place.store._database.reader.execute("SELECT key, payload FROM oddwire_again")  # type: ignore[union-attr]
        assert dict(rows) == model
        assert (place.total.messages, place.total.bytes) == (
            len(model),
            sum(ONE + len(each) for each in model.values()),
        )
        await place.store.aclose()

    asyncio.run(story())
