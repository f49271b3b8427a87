from __future__ import annotations

from collections import Counter

from oddwire.cluster.rendezvous import best

KEYS = [f"part.02ab.{number}" for number in range(1024)]


def test_nobody_has_anything_without_workers():
    assert best("part.02ab.1", []) is None


def test_the_order_of_workers_does_not_matter():
    for key in KEYS[:64]:
        assert best(key, ["a", "b", "c"]) == best(key, ["c", "a", "b"])


def test_the_choice_is_the_same_in_every_process_and_version():
    assert [best(key, ["a", "b", "c"]) for key in KEYS[:8]] == ["c", "c", "b", "b", "b", "c", "b", "c"]


def test_shares_are_even():
    shares = Counter(best(key, ["a", "b", "c", "d"]) for key in KEYS)

    assert all(200 < count < 320 for count in shares.values())  # 256 each


def test_only_what_a_worker_had_moves_when_it_goes():
    for key in KEYS:
        before = best(key, ["a", "b", "c"])
        if before != "b":
            assert best(key, ["a", "c"]) == before


def test_a_new_worker_takes_from_all_and_nothing_else_moves():
    moved = Counter(
        best(key, ["a", "b", "c"]) for key in KEYS if best(key, ["a", "b", "c"]) != best(key, ["a", "b", "c", "d"])
    )

    assert set(moved) == {"a", "b", "c"}
    assert all(best(key, "abcd") in (best(key, "abc"), "d") for key in KEYS)
