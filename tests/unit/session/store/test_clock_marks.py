"""The clocks' marks: times in a store go on from one process to the next."""

from __future__ import annotations

from pathlib import Path

from oddwire.session.store.ages import Ages
from oddwire.session.store.clock_marks import read_mark
from oddwire.session.store.unit import Store


async def test_time_goes_on_where_the_process_before_was(tmp_path: Path) -> None:
    wall, uptime, boot = 1_800_000_000.0, 100.0, "first"

    async def run(seconds: float) -> float:
        nonlocal wall, uptime
        store = Store(tmp_path / "store", ages=Ages(wall=lambda: wall, uptime=lambda: uptime, boot=lambda: boot))
        await store.open()
        began = store.ages()
        uptime += seconds
        wall += seconds
        await store.touch().durable()
        await store.aclose()
        return began

    first = await run(500.0)
    assert await run(10.0) == first + 500.0
    wall += 40 * 365 * 86_400.0  # it is set
    assert await run(30.0) == first + 510.0
    uptime, boot = 5.0, "second"
    assert await run(0.0) == first + 540.0, "in no time, as far as anybody knows"


async def test_nothing_in_a_store_is_of_later(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    await store.open()
    assert store._database is not None
    assert read_mark(store._database.reader) == (None, 0.0)
    writer = store._database.writer
    writer.execute("INSERT INTO oddwire_inbox VALUES (x'02', x'01', 1, 1, 0, 5e9, 0)")
    assert read_mark(store._database.reader) == (None, 5e9)
    writer.execute("INSERT INTO oddwire_outbox VALUES (1, 1, 6e9, x'')")
    assert read_mark(store._database.reader) == (None, 6e9)
    await store.aclose()
    again = Store(tmp_path / "store")
    await again.open()
    assert again.ages() >= 6e9
    await again.aclose()
