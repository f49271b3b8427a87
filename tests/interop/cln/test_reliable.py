"""Reliable messages between two lightningds that are killed, as are their plugins; `make soak` does it for longer."""

from __future__ import annotations

import pytest
from tests.soak.lightningds import EVENTS, rough_day

pytestmark = [pytest.mark.cln, pytest.mark.interop]


async def test_reliable_messages_survive_kills_of_plugins_and_lightningds(start):
    done = await rough_day(start, 300, 2, seed=1, say=print)
    assert {event: done[event] for event in EVENTS} == dict.fromkeys(EVENTS, 2)
    assert done["delivered"] == 1200
    assert done["events with messages under way"]
