"""Callers who wait for a peer that the host node has still to report."""

from __future__ import annotations

import asyncio

import pytest

from oddwire.errors import ConnectionClosed
from oddwire.proto.keys import NodeId
from oddwire.transports.base import PeerInfo
from oddwire.transports.expected_peers import ExpectedPeers

ONE, OTHER = PeerInfo(node_id=NodeId("02" + "11" * 32)), PeerInfo(node_id=NodeId("02" + "22" * 32))


async def test_all_who_wait_for_a_peer_learn_of_it() -> None:
    expected = ExpectedPeers()
    with expected.awaited(ONE.node_id) as first, expected.awaited(ONE.node_id) as second:
        expected.arrived(OTHER)
        assert not first.done()
        expected.arrived(ONE)
        assert [await first, await second] == [ONE, ONE]
        assert ONE.node_id not in expected
        expected.arrived(ONE)  # nobody waits any more


async def test_who_gives_up_leaves_the_others_waiting() -> None:
    expected = ExpectedPeers()
    with expected.awaited(ONE.node_id) as first:
        with pytest.raises(TimeoutError), expected.awaited(ONE.node_id) as second:
            async with asyncio.timeout(0):
                await second
        assert ONE.node_id in expected
        expected.arrived(ONE)
        assert await first == ONE
    with expected.awaited(ONE.node_id):
        pass
    assert ONE.node_id not in expected


async def test_failures_are_raised_or_are_nobodys() -> None:
    expected = ExpectedPeers()
    with expected.awaited(ONE.node_id) as first, expected.awaited(OTHER.node_id) as other:
        expected.fail(ONE.node_id, "it has gone")
        assert not other.done()
        with pytest.raises(ConnectionClosed, match="it has gone"):
            await first
        expected.fail_all("all have gone")
        assert other.done()  # and not awaited: no warning of it
    expected.fail_all("nobody waits")
