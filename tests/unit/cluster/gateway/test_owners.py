"""Who may send for a partition: the highest term, in this run, and what it leaves to the next."""

from __future__ import annotations

import pytest

from oddwire.cluster.gateway.owners import Owners, Refused


@pytest.fixture
def owners() -> Owners:
    return Owners(4)


def test_the_owner_is_who_has_the_highest_term(owners: Owners) -> None:
    first, is_new = owners.take(1, 5)
    assert is_new
    assert owners.take(1, 5) == (first, False)  # a request that is sent again
    second, is_new = owners.take(1, 9)
    assert (second.term, is_new) == (9, True)
    assert owners.check(1, 9) is second
    assert owners.has(1, 9)
    assert not owners.has(1, 5)
    for refused in (lambda: owners.take(1, 5), lambda: owners.check(1, 5)):
        with pytest.raises(Refused, match="has an owner of term 9, not 5") as caught:
            refused()
        assert caught.value.code == "stale"
    assert owners.take(2, 1)[1]  # each partition has terms of its own


def test_a_run_begins_without_owners_and_remembers_their_terms(owners: Owners) -> None:
    owners.take(1, 5)
    owners.begin()
    with pytest.raises(Refused, match="partition 1 has no owner yet in this run") as caught:
        owners.check(1, 5)
    assert caught.value.code == "run"
    with pytest.raises(Refused, match="of term 5, not 4"):
        owners.take(1, 4)
    assert owners.take(1, 5)[1]


def test_a_log_that_is_new_is_believed(owners: Owners) -> None:
    owners.take(1, 900)
    owners.saw(1, 2)
    assert owners.take(1, 2)[1]


@pytest.mark.parametrize("partition", [-1, 4, True, None, "1", 1.0, [1]])
def test_there_is_no_other_partition(owners: Owners, partition: object) -> None:
    with pytest.raises(Refused, match="there are partitions 0 to 3, not ") as caught:
        owners.check(partition, 1)
    assert caught.value.code == "partition"


def test_what_is_handled_is_told_to_whoever_comes_next(owners: Owners) -> None:
    owners.take(1, 5)
    owners.release(1, [[1, 7, 30]])
    with pytest.raises(Refused):
        owners.check(1, 5)
    for term in (6, 7):  # the first of both may have ended before it had said anything
        assert owners.take(1, term)[0].handled == [[1, 7, 30]]
    owners.leave(1, [[1, 7, 31]])
    assert owners.take(1, 8)[0].handled == [[1, 7, 31]]
    assert owners.take(2, 8)[0].handled == ()


@pytest.mark.parametrize("handled", [None, {}, [1], [[1, 2]], [[1, 2, "3"]], [[1, 2, True]], [[0, 0, 0]] * 10_001])
def test_what_is_no_list_of_what_is_handled_is_refused_and_changes_nothing(owners: Owners, handled: object) -> None:
    owner, _ = owners.take(1, 5)
    owners.leave(1, [[1, 7, 30]])
    with pytest.raises(Refused) as caught:
        owners.release(1, handled)
    assert caught.value.code == "malformed"
    assert owners.check(1, 5) is owner
    assert owners.take(1, 6)[0].handled == [[1, 7, 30]]
