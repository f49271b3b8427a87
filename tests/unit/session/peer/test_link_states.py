"""The table of a link's states, and that a link follows it."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from oddwire.session.peer.link_states import NEXT, LinkEvent, LinkState
from oddwire.session.wire.frame_types import Hello


def test_the_table_has_every_state_and_event_and_reaches_every_state() -> None:
    assert set(NEXT) == set(product(LinkState, LinkEvent))
    reached = {LinkState.INITIAL}
    while new := {after for (state, _), after in NEXT.items() if state in reached} - reached:
        reached |= new
    assert reached == set(LinkState)


def test_a_link_that_has_closed_stays_closed() -> None:
    assert {NEXT[LinkState.CLOSED, event] for event in LinkEvent} == {LinkState.CLOSED}
    assert {NEXT[state, LinkEvent.CLOSED] for state in LinkState} == {LinkState.CLOSED}


@pytest.mark.parametrize(
    "events", list(product(LinkEvent, repeat=3)), ids=lambda events: " ".join(e.name for e in events)
)
async def test_a_link_follows_the_table(stage: Any, events: tuple[LinkEvent, ...]) -> None:
    stage = stage()
    link = await stage.meet()
    assert link.state is LinkState.READY
    known, common = True, True
    for event in events:
        match event:
            case LinkEvent.AGREED | LinkEvent.APART:
                versions = (1, 1) if event is LinkEvent.AGREED else (200, 200)
                link.update(Hello(0, *versions, 9, (), None, None, ()))
                common = event is LinkEvent.AGREED
            case LinkEvent.HELLO_SENT:
                link.hello_sent()
            case LinkEvent.CLOSED:
                link.close("the test ends it")
                known = False
        assert link.closed is not known
        assert link.common is (known and common)
        assert link.ready is (known and common)
        assert link.state is (LinkState.CLOSED if not known else LinkState.READY if common else LinkState.INCOMPATIBLE)
    stage.session.close()
