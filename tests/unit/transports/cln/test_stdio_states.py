"""Every state can be reached and left as the tables say, and only so."""

from __future__ import annotations

from enum import Enum

import pytest

from oddwire.transports.cln.stdio_states import POLLED, READING, RUNNING, Reading, Running, State

TABLES = [
    (Reading, READING, Reading.NOT_BEGUN, {Reading.OVER}),
    (Running, RUNNING, Running.NOT_STARTED, {Running.ENDED}),
]


@pytest.mark.parametrize(("states", "table", "first", "last"), TABLES)
def test_a_table_knows_every_state_and_leads_everywhere(states, table, first, last) -> None:
    assert set(table) == set(states)
    reached, new = set(), {first}
    while new:
        reached |= new
        new = {state for one in reached for state in table[one]} - reached
    assert reached == set(states)
    assert {state for state, following in table.items() if not following} == last
    assert all(state not in following for state, following in table.items())
    assert all(first not in following for following in table.values())


@pytest.mark.parametrize(("states", "table", "first", "last"), TABLES)
def test_a_state_changes_as_its_table_says(states, table, first, last) -> None:
    for now in states:
        for wanted in states:
            state: State[Enum] = State(now, table)
            allowed = wanted in table[now]
            assert state.become(wanted) is allowed
            assert state.now is (wanted if allowed else now)


def test_who_has_let_go_of_stdin_never_reads_it_again() -> None:
    """A loop that is closed cannot come back, nor can a stdin that has ended."""
    assert READING[Reading.ALONE] == {Reading.OVER}
    assert Reading.ALONE in READING[Reading.WATCHED] & READING[Reading.QUIET] & READING[Reading.REPLACED]


def test_the_thread_waits_for_stdin_where_it_is_to_read_it_or_to_be_waked_by_it() -> None:
    assert {Reading.QUIET, Reading.REPLACED, Reading.ALONE} == POLLED
