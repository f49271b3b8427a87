"""The soak itself, for a moment: that it does what it is about, and finds nothing."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from tests.interop.conftest import Starter
from tests.soak import programs
from tests.soak.filedrop import rough_transfer
from tests.soak.reliable import rough_day


@pytest.mark.interop
async def test_a_few_rough_seconds() -> None:
    soak = runpy.run_path(str(Path(__file__).with_name("__main__.py")), run_name="soak")["soak"]
    done = await soak(8, seed=1)
    for what in ("connections", "messages from peers", "messages to peers", "clients misbehaved", "plugins killed"):
        assert done[what], f"no {what}"


@pytest.mark.interop
async def test_reliable_messages_survive_a_few_kills(tmp_path: Path) -> None:
    done = await rough_day(tmp_path, 400, 6, seed=1, say=print)
    assert done["delivered"] == 400
    assert done["killed"] == 6


@pytest.mark.interop
async def test_two_plugins_at_each_side_survive_a_few_kills(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    starter = Starter(tmp_path_factory)
    try:
        done = await programs.rough_day(starter.node, tmp_path, 60, 1, seed=1, say=print)
    finally:
        starter.end()
    happened = {**dict.fromkeys(programs.EVENTS, 1), "plugin killed": programs.PLUGINS_KILLED}
    assert {event: done[event] for event in happened} == happened
    assert done["delivered"] == 960
    assert done["requests answered"]
    assert done["events with messages under way"]


@pytest.mark.interop
async def test_a_file_survives_a_few_kills(tmp_path: Path) -> None:
    await rough_transfer(tmp_path, 96 << 20, 2, seed=1, say=print)
