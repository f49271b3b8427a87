"""What a transport of bolt8 lets peers have."""

from __future__ import annotations

from typing import Any

import pytest

from oddwire.transports.bolt8.limits import Bolt8Limits


@pytest.mark.parametrize(
    ("limits", "strangers"),
    [
        ({"max_peers": 800}, 700),
        ({"max_peers": 1}, 1),
        ({"max_peers": 800, "max_strangers": 5}, 5),
        ({"max_peers": 3, "max_strangers": 5}, 3),
    ],
)
def test_some_places_are_kept_for_who_is_known(limits: dict[str, int], strangers: int) -> None:
    assert Bolt8Limits(**limits).strangers == strangers


@pytest.mark.parametrize("wrong", [{"max_peers": 2.5}, {"max_waiting": "9"}, {"max_strangers": 0}, {"max_peers": -1}])
def test_a_limit_that_cannot_be_is_named(wrong: dict[str, Any]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises((ValueError, TypeError), match=name) as caught:
        Bolt8Limits(**wrong)
    assert repr(value) in str(caught.value)


def test_limits_that_fit_stay_as_they_are() -> None:
    limits = Bolt8Limits(max_peers=10, max_handshakes=3, max_waiting=2, max_lingering=1)
    assert limits.descriptors == 10 + 6 + 2 + 1
    assert limits.fitting(19) is limits


@pytest.mark.parametrize("descriptors", [18, 100, 1000, 4000])
def test_those_that_do_not_fit_shrink_until_they_do(descriptors: int) -> None:
    small = Bolt8Limits().fitting(descriptors)
    assert 1 <= small.max_peers < Bolt8Limits().max_peers
    assert small.descriptors <= descriptors
    assert min(small.max_handshakes, small.max_waiting, small.max_lingering) >= 1


def test_however_few_descriptors_there_are_one_peer_may_come() -> None:
    assert Bolt8Limits().fitting(1).max_peers == 1
