"""Reliable messages between two lightningds that are killed, as are their plugins; `make soak` does it for longer."""

from __future__ import annotations

import pytest
from tests.soak import programs
from tests.soak.lightningds import EVENTS, rough_day

pytestmark = [pytest.mark.cln, pytest.mark.interop]


async def test_reliable_messages_survive_kills_of_plugins_and_lightningds(start):
    done = await rough_day(start, 300, 2, seed=1, say=print)
    assert {event: done[event] for event in EVENTS} == dict.fromkeys(EVENTS, 2)
    assert done["delivered"] == 1200
    assert done["events with messages under way"]


async def test_two_plugins_at_each_lightningd_survive_kills(start, tmp_path):
    done = await programs.rough_day(start.lightningd, tmp_path, 150, 2, seed=1, say=print)
    happened = {**dict.fromkeys(programs.EVENTS, 2), "plugin killed": 2 * programs.PLUGINS_KILLED}
    assert {event: done[event] for event in happened} == happened
    assert done["delivered"] == 2400
    assert done["requests answered"]
    assert done["events with messages under way"]
