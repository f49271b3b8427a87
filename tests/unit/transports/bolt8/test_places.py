"""Who has a place among a transport's peers."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from oddwire.proto.keys import NodeId
from oddwire.transports.bolt8.limits import Bolt8Limits
from oddwire.transports.bolt8.places import Places

FRIEND = NodeId(b"\x02" + b"f" * 32)
LIMITS = Bolt8Limits(max_peers=3, max_strangers=2, idle_seconds=60.0)


def stranger(number: int) -> NodeId:
    return NodeId(b"\x03" + bytes([number]) * 32)


class Peer:
    """As much of a peer as has a place."""

    def __init__(self, node_id: NodeId, last_spoke: float) -> None:
        self.node_id = node_id
        self.last_spoke = last_spoke
        self.told: list[str] = []
        self.rules = self

    def fail(self, reason: str) -> None:
        self.told.append(reason)

    def flush(self) -> None:
        self.told.append("flushed")


@pytest.fixture
def counters() -> Counter[str]:
    return Counter()


@pytest.fixture
def places(counters: Counter[str]) -> Places:
    return Places(LIMITS, lambda node_id: node_id == FRIEND, counters)


def take(places: Places, node_id: NodeId, *, quiet: float = 0.0, dialed: bool = False) -> Peer:
    peer: Any = Peer(node_id, asyncio.get_running_loop().time() - quiet)
    places.take(peer, dialed=dialed)
    return peer


async def test_strangers_have_so_many_places_and_friends_the_rest(places: Places, counters: Counter[str]) -> None:
    assert places.make_room(stranger(1), 0)
    for number in (1, 2):
        take(places, stranger(number))
    assert not places.make_room(stranger(3), 2)
    assert places.make_room(FRIEND, 2)
    assert counters == {"max_peers": 1}


async def test_a_stranger_takes_the_place_of_the_one_that_was_idle_for_longest(
    places: Places, counters: Counter[str]
) -> None:
    idle, longest = take(places, stranger(1), quiet=61), take(places, stranger(2), quiet=90)
    assert places.make_room(stranger(3), 2)
    assert (idle.told, longest.told) == ([], ["idle, and its place is needed", "flushed"])
    assert counters == {"idle_seconds": 1}


async def test_a_friend_takes_the_place_of_any_stranger(places: Places) -> None:
    busy = take(places, stranger(1))
    assert places.make_room(FRIEND, 3)
    assert busy.told


async def test_where_there_is_no_stranger_nobody_makes_room(places: Places, counters: Counter[str]) -> None:
    assert not places.make_room(FRIEND, 3)
    assert counters == {"max_peers": 1}


async def test_who_leaves_gives_its_place_back(places: Places) -> None:
    for number in (1, 2):
        take(places, stranger(number))
    places.leave(stranger(1))
    places.leave(stranger(9))  # who had none
    assert places.make_room(stranger(3), 1)


async def test_whom_we_have_dialed_is_no_stranger_until_as_many_others_were(places: Places) -> None:
    for number in range(1, 5):
        take(places, stranger(number), dialed=True)
    busy = take(places, stranger(9))
    assert not places.make_room(stranger(1), 3), "the first one is forgotten"
    assert places.make_room(stranger(4), 3)
    assert busy.told
