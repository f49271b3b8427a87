"""The transport kit must find what is wrong: each faulty transport fails the tests that are about its fault."""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import Callable

import pytest

from oddwire.errors import PeerNotConnected
from oddwire.proto.keys import NodeId
from oddwire.testing import TransportConformance
from oddwire.transports.base import Manifest, PeerInfo, Sink, Transport
from oddwire.transports.memory import MemoryNetwork, MemoryTransport

TESTS = [name for name in vars(TransportConformance) if name.startswith("test_")]


class Reversing(MemoryTransport):
    """Hands on every two payloads in the wrong order."""

    async def open(self, manifest: Manifest, sink: Sink) -> None:
        held: list[tuple[NodeId, bytes]] = []

        class Swap:
            peer_connected = sink.peer_connected
            peer_disconnected = sink.peer_disconnected
            settled = sink.settled

            def payload_received(self, peer: NodeId, payload: bytes) -> None:
                held.append((peer, payload))
                if len(held) == 2:
                    sink.payload_received(*held.pop())
                    sink.payload_received(*held.pop())

        await super().open(manifest, Swap())


class Truncating(MemoryTransport):
    """Cuts what it sends at 65534 bytes."""

    async def send(self, peer: NodeId, payload: bytes) -> None:
        await super().send(peer, payload[:65534])


class Unpausing(MemoryTransport):
    """Does not pause."""

    def pause(self, peer: NodeId) -> None:
        pass


class Forgetful(MemoryTransport):
    """Drops the connection's news of the end."""

    async def open(self, manifest: Manifest, sink: Sink) -> None:
        class Mute:
            peer_connected = sink.peer_connected
            payload_received = sink.payload_received

            def peer_disconnected(self, peer: NodeId, reason: str) -> None: ...

        await super().open(manifest, Mute())


class Stuttering(MemoryTransport):
    """Tells of every connection twice."""

    async def open(self, manifest: Manifest, sink: Sink) -> None:
        class Twice:
            payload_received = sink.payload_received
            peer_disconnected = sink.peer_disconnected
            settled = sink.settled

            def peer_connected(self, peer: PeerInfo) -> None:
                sink.peer_connected(peer)
                sink.peer_connected(peer)

        await super().open(manifest, Twice())


class Leaky(MemoryTransport):
    """Leaves a task behind."""

    async def open(self, manifest: Manifest, sink: Sink) -> None:
        await super().open(manifest, sink)
        self.task = asyncio.create_task(asyncio.Event().wait())


class Swallowing(MemoryTransport):
    """Says nothing when there is no peer."""

    async def send(self, peer: NodeId, payload: bytes) -> None:
        try:
            await super().send(peer, payload)
        except PeerNotConnected:
            return


class Eager(MemoryTransport):
    """Accepts everything at once and sends it some time."""

    async def send(self, peer: NodeId, payload: bytes) -> None:
        task = asyncio.create_task(super().send(peer, payload))
        await asyncio.sleep(0)
        if task.done():
            await task


class Least(Transport):
    """No more than the five methods, around a transport that is connected beside it."""

    def __init__(self, *, network: MemoryNetwork) -> None:
        self.inner = network.transport()

    async def open(self, manifest: Manifest, sink: Sink) -> None:
        await self.inner.open(manifest, sink)

    async def send(self, peer: NodeId, payload: bytes) -> None:
        await self.inner.send(peer, payload)

    def pause(self, peer: NodeId) -> None:
        self.inner.pause(peer)

    def resume(self, peer: NodeId) -> None:
        self.inner.resume(peer)

    async def aclose(self) -> None:
        await self.inner.aclose()


class LeastKit(TransportConformance):
    disconnects = False

    async def make(self) -> tuple[Transport, Transport]:
        network = MemoryNetwork()
        return Least(network=network), Least(network=network)

    async def connect(self, left: Transport, right: Transport) -> None:
        assert isinstance(left, Least)
        assert isinstance(right, Least)
        await left.inner.connect(right.inner.uris[0])


def failures(make: Callable[..., Transport], *tests: str, seconds: float = 0.5) -> set[str]:
    class Kit(TransportConformance):
        quiet = 0.02
        patience = seconds

        async def make(self) -> tuple[Transport, Transport]:
            network = MemoryNetwork()
            return make(network=network), make(network=network)

    failed = set()
    for name in tests:
        try:
            getattr(Kit(), name)()
        except (AssertionError, Exception):
            failed.add(name)
    return failed


def test_a_good_transport_passes() -> None:
    assert failures(MemoryTransport, *TESTS, seconds=30.0) == set()


def test_five_methods_are_enough() -> None:
    skipped = set()
    for name in TESTS:
        try:
            getattr(LeastKit(), name)()
        except unittest.SkipTest:
            skipped.add(name)
    assert skipped == {
        "test_a_waiting_send_ends_with_the_connection",
        "test_what_was_sent_before_a_disconnect_arrives_before_it",
        "test_both_sides_are_notified_once_of_a_disconnect",
        "test_connects_again",
    }


@pytest.mark.parametrize(
    ("transport", "test"),
    [
        (Reversing, "test_keeps_the_order_of_2500_messages_each_way_at_once"),
        (Reversing, "test_senders_at_once_lose_nothing_and_keep_their_own_order"),
        (Forgetful, "test_both_sides_are_notified_once_of_a_disconnect"),
        (Forgetful, "test_connects_again"),
        (Truncating, "test_carries_payloads_of_every_size_unchanged"),
        (Truncating, "test_refuses_wrong_lengths_and_goes_on"),
        (Unpausing, "test_pause_holds_at_once_and_resume_loses_nothing"),
        (Unpausing, "test_a_send_waits_for_a_peer_that_does_not_read_and_cancelled_is_not_sent"),
        (Unpausing, "test_a_waiting_send_goes_on_when_the_peer_reads_again"),
        (Stuttering, "test_each_side_is_notified_once_that_the_other_connected"),
        (Stuttering, "test_both_sides_are_notified_once_of_a_disconnect"),
        (Leaky, "test_a_cancelled_open_leaves_nothing"),
        (Leaky, "test_nothing_runs_after_aclose"),
        (Swallowing, "test_does_not_know_a_stranger"),
        (Swallowing, "test_aclose_is_idempotent_and_final"),
        (Eager, "test_a_send_waits_for_a_peer_that_does_not_read_and_cancelled_is_not_sent"),
    ],
)
def test_a_faulty_transport_fails(transport: Callable[..., Transport], test: str) -> None:
    assert failures(transport, test) == {test}
