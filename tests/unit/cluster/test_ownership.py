from __future__ import annotations

import itertools

import pytest

from oddwire.cluster.lease_times import TIMES
from oddwire.cluster.ownership import NEXT, Candidate, Event, Ownership, Standing, Step
from oddwire.cluster.rendezvous import best

KEYS = [f"part.02ab.{number}" for number in range(16)]
MINE = next(key for key in KEYS if best(key, ["a", "b"]) == "a")
OTHERS = next(key for key in KEYS if best(key, ["a", "b"]) == "b")


def worker(name, *, but=()):
    return Candidate(name, lambda key: key not in but)


def rules(*keys, workers=("a", "b"), now=0.0):
    found = Ownership("a")
    found.partitions(now, keys)
    found.workers(map(worker, workers))
    return found


def steps(actions):
    return [(action.step, action.partition) for action in actions]


def take(ownership, key, now=0.0):
    assert steps(ownership.decide(now)) == [(Step.TAKE, key)]
    ownership.held(now, key, "a")
    ownership.on(key, Event.TAKEN)
    return ownership


def test_what_is_free_and_mine_is_taken_at_once_and_once():
    ownership = rules(MINE)

    assert steps(ownership.decide(0.0)) == [(Step.TAKE, MINE)]
    assert ownership.standing(MINE) is Standing.TAKING
    assert ownership.decide(0.0) == []


def test_what_is_free_and_anothers_is_taken_after_two_seconds():
    ownership = rules(OTHERS)

    assert ownership.decide(0.0) == []
    assert ownership.next_time(0.0) == 2.0
    assert ownership.decide(1.9) == []
    assert steps(ownership.decide(2.0)) == [(Step.TAKE, OTHERS)]


def test_a_lease_that_is_ours_though_we_do_not_own_the_partition_is_as_free():
    ownership = rules(MINE, OTHERS)
    ownership.held(0.0, MINE, "a")
    ownership.held(0.0, OTHERS, "a")

    assert steps(ownership.decide(0.0)) == [(Step.TAKE, MINE)]
    assert steps(ownership.decide(2.0)) == [(Step.TAKE, OTHERS)]


def test_the_two_seconds_begin_when_it_becomes_free():
    ownership = rules(OTHERS)
    ownership.held(1.0, OTHERS, "b")

    assert ownership.decide(50.0) == []
    assert ownership.next_time(50.0) is None

    ownership.held(60.0, OTHERS, None)
    assert ownership.next_time(60.0) == 62.0
    assert ownership.decide(61.9) == []
    assert steps(ownership.decide(62.0)) == [(Step.TAKE, OTHERS)]


def test_what_another_holds_is_left_to_it_though_it_is_mine():
    ownership = rules(MINE)
    ownership.held(0.0, MINE, "b")

    assert ownership.decide(100.0) == []


def test_an_owner_hands_over_ten_seconds_after_a_better_one_appeared():
    ownership = take(rules(OTHERS, workers=["a"]), OTHERS)
    ownership.workers([worker("a"), worker("b")])

    assert ownership.decide(100.0) == []
    assert ownership.next_time(100.0) == 110.0
    assert ownership.decide(109.9) == []
    assert steps(ownership.decide(110.0)) == [(Step.GIVE, OTHERS)]
    assert ownership.standing(OTHERS) is Standing.GIVING


def test_a_better_one_that_goes_away_again_gets_nothing():
    ownership = take(rules(OTHERS, workers=["a"]), OTHERS)
    ownership.workers([worker("a"), worker("b")])
    ownership.decide(100.0)
    ownership.workers([worker("a")])
    ownership.decide(105.0)
    ownership.workers([worker("a"), worker("b")])

    assert ownership.decide(111.0) == []  # it is there for no time yet
    assert steps(ownership.decide(121.0)) == [(Step.GIVE, OTHERS)]


def test_the_end_of_a_worker_gives_up_everything_and_takes_nothing():
    ownership = take(rules(MINE), MINE)
    ownership.partitions(0.0, KEYS)
    ownership.end()

    assert steps(ownership.decide(0.0)) == [(Step.GIVE, MINE)]
    assert ownership.decide(100.0) == []
    assert ownership.next_time(100.0) is None


def test_what_is_being_taken_is_given_up_at_the_end_too():
    ownership = rules(MINE)
    ownership.decide(0.0)
    ownership.end()

    assert steps(ownership.decide(0.0)) == [(Step.GIVE, MINE)]
    ownership.on(MINE, Event.FAILED)  # it had not started yet
    assert ownership.standing(MINE) is Standing.APART


def test_a_take_that_fails_is_tried_again_after_growing_pauses():
    ownership = rules(MINE, workers=["a"])
    now, pauses = 0.0, []
    for _ in range(7):
        assert steps(ownership.decide(now)) == [(Step.TAKE, MINE)]
        ownership.on(MINE, Event.FAILED)
        pauses.append(ownership.failed(now, MINE))
        assert ownership.next_time(now) == now + pauses[-1]
        now += pauses[-1]

    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_program_that_ends_soon_each_time_is_begun_after_growing_pauses():
    ownership = rules(MINE, workers=["a"])
    now, pauses = 0.0, []
    for ran in (1.0, 2.0, 3.0, 30.0, 0.1, 0.1, 0.1, 0.1, 31.0, 1.0):
        take(ownership, MINE, now)
        ownership.on(MINE, Event.FAILED)
        now += ran
        ownership.held(now, MINE, None)
        pauses.append(ownership.ended(now, MINE, ran))
        assert ownership.failing(now) == []
        assert ownership.next_time(now) == now + pauses[-1]
        now += pauses[-1]

    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 0.25, 0.5]


def test_a_worker_that_could_not_take_it_says_so_until_it_could_or_long_after():
    ownership = rules(MINE, workers=["a"])
    ownership.decide(0.0)
    ownership.on(MINE, Event.FAILED)
    ownership.failed(0.0, MINE)

    assert ownership.failing(10.0) == [MINE]
    assert ownership.failing(1.0 + TIMES.forget) == []

    take(ownership, MINE, now=1.0)
    assert ownership.failing(1.0) == []


def test_who_cannot_take_it_is_passed_over():
    ownership = rules(OTHERS)
    ownership.workers([worker("a"), worker("b", but=[OTHERS])])

    assert steps(ownership.decide(0.0)) == [(Step.TAKE, OTHERS)]


def test_nobody_who_would_take_it_leaves_it_to_anybody_after_two_seconds():
    ownership = rules(MINE, workers=[])

    assert ownership.decide(0.0) == []
    assert steps(ownership.decide(2.0)) == [(Step.TAKE, MINE)]


def test_a_lease_that_was_not_to_be_had_yet_is_no_failure():
    ownership = rules(MINE)
    ownership.decide(0.0)
    ownership.on(MINE, Event.FAILED)
    ownership.postponed(0.0, MINE, 0.25)

    assert ownership.failing(0.0) == []
    assert ownership.decide(0.2) == []
    assert steps(ownership.decide(0.25)) == [(Step.TAKE, MINE)]


def test_a_partition_of_a_node_that_is_gone_is_forgotten_once_it_is_over():
    ownership = take(rules(MINE), MINE)
    ownership.partitions(1.0, [])
    assert ownership.standing(MINE) is Standing.OWNED

    ownership.on(MINE, Event.GIVE)
    ownership.on(MINE, Event.ENDED)
    ownership.partitions(2.0, [])
    assert ownership.decide(100.0) == []


def test_whatever_happens_to_a_partition_it_ends_apart():
    """Every standing but the first is left, at last, by one of the events that end it."""
    for standing, event in itertools.product(Standing, (Event.FAILED, Event.ENDED)):
        if standing is not Standing.APART:
            assert NEXT[standing, event] is Standing.APART


@pytest.mark.parametrize("event", [Event.TAKEN, Event.GIVE, Event.LOSE, Event.FAILED, Event.ENDED])
def test_what_is_apart_can_only_be_taken(event):
    with pytest.raises(KeyError):
        rules(MINE).on(MINE, event)


def test_what_is_lost_is_never_owned_again_without_a_new_take():
    for event in Event:
        assert NEXT.get((Standing.LOST, event), Standing.LOST) in (Standing.LOST, Standing.APART)
        assert NEXT.get((Standing.GIVING, event), Standing.GIVING) is not Standing.OWNED


def test_simulated_workers_share_all_partitions_and_never_both_have_one():
    """Three workers, one of which dies: a simulation with the leases as a dict, second by second."""
    leases, alive = {}, {"a": 0, "b": 0, "c": 5}
    minds = {name: Ownership(name) for name in alive}
    for second in range(60):
        there = [name for name, since in alive.items() if since <= second and not (name == "b" and second >= 30)]
        for name in there:
            mind = minds[name]
            mind.partitions(second, KEYS)
            mind.workers(map(worker, there))
            for key in KEYS:
                mind.held(second, key, leases.get(key))
            for action in mind.decide(second):
                if action.step is Step.GIVE:
                    del leases[action.partition]
                    mind.on(action.partition, Event.ENDED)
                elif action.partition in leases:
                    mind.on(action.partition, Event.FAILED)
                else:
                    leases[action.partition] = name
                    mind.on(action.partition, Event.TAKEN)
        if second == 30:
            leases = {key: name for key, name in leases.items() if name != "b"}
        if second == 25:
            assert {key: best(key, ["a", "b", "c"]) for key in KEYS} == leases
    assert {key: best(key, ["a", "c"]) for key in KEYS} == leases
