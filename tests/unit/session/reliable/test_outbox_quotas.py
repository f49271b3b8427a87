"""What may wait in the outbox, for a peer and for an extension; test_outbox.py has what comes of it."""

from __future__ import annotations

import pytest

from oddwire.errors import QuotaExceeded
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Allowance, Limits
from oddwire.session.reliable.lanes import Sender
from oddwire.session.reliable.outbox_quotas import OutboxQuotas
from oddwire.session.reliable.outbox_state import Load, OutboxLane, OutboxPeer

SHOP = "shop"


@pytest.fixture
def peer() -> OutboxPeer:
    """A peer with 2 messages of 10 bytes on one lane, 3 on another."""
    peer = OutboxPeer(NodeId(b"\x02" * 33))
    for number, (name, count) in enumerate(((SHOP, 2), ("other", 3))):
        lane = peer.lanes[number] = OutboxLane(number, peer, number, name, Sender(epoch=1, offset=0, base=1, stop=1))
        lane.add(count, 10 * count)
    return peer


def make(limits: Limits, own: Limits | None = None) -> OutboxQuotas:
    return OutboxQuotas(limits, {SHOP: Allowance(SHOP, own)} if own is not None else {})


@pytest.mark.parametrize(
    ("limits", "own", "name", "size", "told"),
    [
        (Limits(outbox_messages=6), None, SHOP, 1, ""),
        (Limits(outbox_messages=5), None, SHOP, 1, "outbox_messages"),
        (Limits(outbox_bytes=60), None, SHOP, 10, ""),
        (Limits(outbox_bytes=60), None, SHOP, 11, "outbox_bytes"),
        (Limits(), Limits(), SHOP, 1, ""),
        (Limits(), Limits(outbox_messages=3), SHOP, 1, ""),
        (Limits(), Limits(outbox_messages=2), SHOP, 1, "shop outbox_messages"),
        (Limits(), Limits(outbox_messages=2), "other", 1, ""),
        (Limits(), Limits(outbox_bytes=30), SHOP, 10, ""),
        (Limits(), Limits(outbox_bytes=30), SHOP, 11, "shop outbox_bytes"),
        (Limits(), Limits(outbox_bytes=30), "third", 31, ""),
        (Limits(outbox_messages=5), Limits(outbox_messages=2), SHOP, 1, "outbox_messages"),
    ],
)
def test_admits_what_is_within_both(
    peer: OutboxPeer, limits: Limits, own: Limits | None, name: str, size: int, told: str
) -> None:
    quotas = make(limits, own)
    if not told:
        quotas.admit(peer, name, size)
        return
    with pytest.raises(QuotaExceeded) as caught:
        quotas.admit(peer, name, size)
    extension, _, limit = told.rpartition(" ")
    assert (caught.value.extension or "", caught.value.limit) == (extension, limit)
    assert quotas.counters.exceeded[limit] == (0 if extension else 1)


def test_a_lane_without_messages_may_be_full_already(peer: OutboxPeer) -> None:
    del peer.lanes[0]
    quotas = make(Limits(), Limits(outbox_bytes=10))
    quotas.admit(peer, SHOP, 10)
    with pytest.raises(QuotaExceeded, match="would be 11 bytes; at most 10 are kept"):
        quotas.admit(peer, SHOP, 11)


def test_the_narrower_limit_holds() -> None:
    quotas = make(Limits(window_messages=100, outbox_seconds=100), Limits(window_messages=5, outbox_seconds=1000))
    assert [quotas.least("window_messages", name) for name in (SHOP, "other")] == [5, 100]
    assert [quotas.least("outbox_seconds", name) for name in (SHOP, "other")] == [100, 100]
    error = quotas.too_old(SHOP, 100, 4)()
    assert isinstance(error, QuotaExceeded)
    assert (error.limit, error.extension) == ("outbox_seconds", None)
    assert quotas.counters.exceeded["outbox_seconds"] == 4


def test_all_peers_have_so_much_and_the_last_of_it_is_for_those_who_have_little() -> None:
    quotas = make(Limits(total_outbox_bytes=8 << 20))
    total = Load()
    rich, poor = (OutboxPeer(NodeId(bytes([2, number]) + bytes(31)), total) for number in (1, 2))
    rich.lanes[1] = OutboxLane(1, rich, 1, SHOP, Sender(epoch=1, offset=0, base=1, stop=1))
    rich.lanes[1].add(1, 6 << 20)
    with pytest.raises(
        QuotaExceeded, match="messages to all peers, not acknowledged or settled yet, take 6291"
    ) as caught:
        quotas.admit(rich, SHOP, 1)
    assert caught.value.limit == "total_outbox_bytes"
    quotas.admit(poor, SHOP, 1 << 20)
    with pytest.raises(QuotaExceeded):
        quotas.admit(poor, SHOP, 2 << 20)
    assert quotas.counters.exceeded["total_outbox_bytes"] == 2
    rich.lanes[1].add(-1, -(6 << 20))
    quotas.admit(rich, SHOP, 1)
