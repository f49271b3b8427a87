"""`TransportConformance`: the requirements on every transport, as tests. Runs under any pytest, without plugins."""

# ruff: noqa: D102, S101 - these are tests: their names say what they check, with assert

from __future__ import annotations

import asyncio
import functools
import unittest
from collections.abc import Callable, Coroutine
from typing import Any

from oddwire.errors import ConnectionClosed, EncodeError, PayloadTooLarge, PeerNotConnected
from oddwire.proto.keys import NodeId
from oddwire.testing.pairs import Flood, Pair, Side, has_more_than, payload_of, raises
from oddwire.testing.sinks import Connected, Disconnected, Received, RecordingSink
from oddwire.transports.base import Manifest, PeerInfo, Transport, fast_send

__all__ = ["TransportConformance"]

_MANIFEST = Manifest(type_ids=frozenset({0x8C01, 0x8C02}), features=frozenset({513}))
_STRANGER = NodeId("02" + "11" * 32)


def _on_pair(test: Callable[[Any, Pair], Coroutine[Any, Any, None]]) -> Callable[[Any], None]:
    """Wrap a test of a connected pair into a plain function, so that it needs no plugin for async tests."""

    def run(self: TransportConformance) -> None:
        self.run(self.with_pair(lambda pair: test(self, pair)))

    run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
    return run


class TransportConformance:
    """Subclass it in a test module, as ``class TestMine(TransportConformance)``, and implement `make`.

    `Transport`'s five abstract methods are sufficient for the tests: for a transport without its own ``connect``,
    override `connect`, and for one without ``disconnect``, set ``disconnects`` to False. Each test creates a new pair,
    on a new event loop. Nothing is timed; a transport that hangs fails after ``patience`` seconds.
    """

    patience: float = 30.0
    quiet: float = 0.2
    """Seconds without progress after which a sender is considered to wait."""
    shows_features: bool = True
    """Whether peers see the feature bits of the manifest."""
    pushes_back: bool = True
    """Whether a paused receiver makes the sender wait. If not, it keeps the payloads it has room for and counts the
    rest in its ``dropped.total``: then the tests check that those kept are in order, and that the count is exact."""
    disconnects: bool = True
    """Whether `Transport.disconnect` ends a connection; if not, its tests are skipped."""
    hangs_up_on_close: bool = True
    """Whether `Transport.aclose` ends the connections; if not, peers do not notice it."""

    # For the subclass -------------------------------------------------------------------------------

    async def make(self) -> tuple[Transport, Transport]:
        """Return two transports that can reach each other once they are open; left dials right."""
        raise NotImplementedError(f"{type(self).__name__} should write make()")

    async def connect(self, left: Transport, right: Transport) -> None:
        """Connect the two open transports. By default with ``left.connect`` and the first of ``right.uris``."""
        await left.connect(right.uris[0])

    def run(self, test: Coroutine[Any, Any, None]) -> None:
        """Run one test on a new event loop."""
        asyncio.run(test)

    # Tests ------------------------------------------------------------------------------------------

    @_on_pair
    async def test_each_side_is_notified_once_that_the_other_connected(self, pair: Pair) -> None:
        for sender, receiver in pair.ways:
            await sender.send(payload_of(0))
            await receiver.sink.until(lambda sink: sink.payloads)
            first, *others = receiver.sink.events
            assert isinstance(first, Connected)
            assert isinstance(first.info, PeerInfo)
            assert type(first.info.node_id) is NodeId
            assert first.info.node_id == receiver.peer
            assert first.info.direction in ("in", "out")
            assert not any(isinstance(event, Connected) for event in others)
            if self.shows_features:
                assert first.info.has_feature(513)
                assert not first.info.has_feature(515)

    @_on_pair
    async def test_carries_payloads_of_every_size_unchanged(self, pair: Pair) -> None:
        sizes = (2, 3, 102, 65533, 65534, 65535)
        for sender, receiver in pair.ways:
            sent = [payload_of(number, size) for number, size in enumerate(sizes)]
            for payload in sent:
                await sender.send(payload)
            await receiver.sink.until(lambda sink: len(sink.payloads) >= len(sizes))
            assert receiver.sink.payloads == sent
            assert all(type(payload) is bytes for payload in receiver.sink.payloads)
            assert {event.peer for event in receiver.sink.events if isinstance(event, Received)} == {receiver.peer}

    @_on_pair
    async def test_refuses_wrong_lengths_and_goes_on(self, pair: Pair) -> None:
        for size, error in ((0, EncodeError), (1, EncodeError), (65536, PayloadTooLarge), (200_000, PayloadTooLarge)):
            with raises(error) as caught:
                await pair.left.send(bytes(size))
            assert isinstance(caught[0], PayloadTooLarge) is (error is PayloadTooLarge)
        await pair.left.send(payload_of(1))
        await pair.right.sink.until(lambda sink: sink.payloads)
        assert pair.right.sink.payloads == [payload_of(1)]

    @_on_pair
    async def test_keeps_the_order_of_2500_messages_each_way_at_once(self, pair: Pair) -> None:
        sent = [payload_of(number, 2 + number * 7 % 300) for number in range(2500)]

        async def pump(side: Side) -> None:
            for payload in sent:
                await side.send(payload)

        async with asyncio.TaskGroup() as group:
            group.create_task(pump(pair.left))
            group.create_task(pump(pair.right))
        for side in (pair.left, pair.right):
            await side.sink.until(lambda sink: len(sink.payloads) >= len(sent))
            assert side.sink.payloads == sent

    @_on_pair
    async def test_senders_at_once_lose_nothing_and_keep_their_own_order(self, pair: Pair) -> None:
        async def pump(sender: int) -> None:
            for number in range(200):
                await pair.left.send(bytes([0x8C, 1, sender]) + number.to_bytes(2, "big") + bytes(2000))

        async with asyncio.TaskGroup() as group:
            for sender in range(10):
                group.create_task(pump(sender))
        await pair.right.sink.until(lambda sink: len(sink.payloads) >= 2000)
        for sender in range(10):
            mine = [int.from_bytes(payload[3:5], "big") for payload in pair.right.sink.payloads if payload[2] == sender]
            assert mine == list(range(200))

    @_on_pair
    async def test_what_is_sent_without_waiting_keeps_its_place(self, pair: Pair) -> None:
        left, right = pair.left, pair.right
        right.transport.pause(right.peer)
        send_nowait = fast_send(left.transport)
        sent = [payload_of(number, 1000) for number in range(2500)]

        async def pump() -> None:
            for number, payload in enumerate(sent):
                if number % 3 == 0 or not send_nowait(left.peer, payload):
                    await left.send(payload)

        async with asyncio.TaskGroup() as group:
            group.create_task(pump())
            await asyncio.sleep(self.quiet)
            right.transport.resume(right.peer)
        await right.sink.until(lambda sink: len(sink.payloads) >= len(sent))
        assert right.sink.payloads == sent

    @_on_pair
    async def test_does_not_know_a_stranger(self, pair: Pair) -> None:
        transport = pair.left.transport
        with raises(PeerNotConnected) as caught:
            await transport.send(_STRANGER, payload_of(0))
        assert caught[0].node_id == _STRANGER.hex()
        transport.pause(_STRANGER)
        transport.resume(_STRANGER)
        transport.warn(_STRANGER, "who are you?")
        await transport.disconnect(_STRANGER, "who are you?")
        await self._still_works(pair)

    @_on_pair
    async def test_pause_holds_at_once_and_resume_loses_nothing(self, pair: Pair) -> None:
        right = pair.right

        def pause_at_third(peer: NodeId, _: bytes) -> None:
            if len(right.sink.payloads) == 3:
                right.transport.pause(peer)

        right.sink.on_payload = pause_at_third
        sent = [payload_of(number) for number in range(100)]
        for payload in sent:
            await pair.left.send(payload)
        await right.sink.until(lambda sink: len(sink.payloads) >= 3)
        await asyncio.sleep(self.quiet)
        assert right.sink.payloads == sent[:3]
        right.transport.resume(right.peer)
        await right.sink.until(lambda sink: len(sink.payloads) >= 100)
        assert right.sink.payloads == sent

    @_on_pair
    async def test_pause_and_resume_may_be_repeated(self, pair: Pair) -> None:
        right = pair.right

        def stop_and_go(peer: NodeId, _: bytes) -> None:
            right.transport.pause(peer)
            right.transport.pause(peer)
            if len(right.sink.payloads) % 2:
                right.transport.resume(peer)
            else:
                asyncio.get_running_loop().call_soon(right.transport.resume, peer)

        right.sink.on_payload = stop_and_go
        sent = [payload_of(number) for number in range(200)]
        for payload in sent:
            await pair.left.send(payload)
        await right.sink.until(lambda sink: len(sink.payloads) >= 200)
        assert right.sink.payloads == sent

    @_on_pair
    async def test_a_paused_side_can_send(self, pair: Pair) -> None:
        pair.right.transport.pause(pair.right.peer)
        await pair.right.send(payload_of(5))
        await pair.left.sink.until(lambda sink: sink.payloads)
        assert pair.left.sink.payloads == [payload_of(5)]

    @_on_pair
    async def test_a_send_waits_for_a_peer_that_does_not_read_and_cancelled_is_not_sent(self, pair: Pair) -> None:
        if not self.pushes_back:
            await self._counts_what_it_drops(pair)
            return
        pair.right.transport.pause(pair.right.peer)
        flood = Flood(pair.left)
        assert await self._stalls(flood), "64 MiB were accepted for a peer that does not read"
        await flood.cancel()
        pair.right.transport.resume(pair.right.peer)
        await pair.left.send(b"\x8c\x01last")
        await pair.right.sink.until(lambda sink: sink.payloads[-1:] == [b"\x8c\x01last"])
        assert [payload[:6] for payload in pair.right.sink.payloads[:-1]] == [
            payload_of(number, 6) for number in range(flood.accepted)
        ]

    @_on_pair
    async def test_a_waiting_send_goes_on_when_the_peer_reads_again(self, pair: Pair) -> None:
        if not self.pushes_back:
            await self._counts_what_it_drops(pair)
            await self._still_works(pair)
            return
        pair.right.transport.pause(pair.right.peer)
        flood = Flood(pair.left, total=20_000_000)
        assert await self._stalls(flood), "20 MB were accepted for a peer that does not read"
        pair.right.transport.resume(pair.right.peer)
        await flood.task
        await pair.right.sink.until(lambda sink: len(sink.payloads) >= flood.accepted)
        assert [payload[:6] for payload in pair.right.sink.payloads] == [
            payload_of(number, 6) for number in range(flood.accepted)
        ]

    @_on_pair
    async def test_a_waiting_send_ends_with_the_connection(self, pair: Pair) -> None:
        self._needs_disconnect()
        if not self.pushes_back:
            await self._ends_with_last_words(pair)
            return
        pair.right.transport.pause(pair.right.peer)
        flood = Flood(pair.left)
        assert await self._stalls(flood), "64 MiB were accepted for a peer that does not read"
        await pair.right.transport.disconnect(pair.right.peer, "enough")
        with raises(ConnectionClosed):
            async with asyncio.timeout(self.patience):
                await flood.task

    @_on_pair
    async def test_what_was_sent_before_a_disconnect_arrives_before_it(self, pair: Pair) -> None:
        self._needs_disconnect()
        sent = [payload_of(number, 1000) for number in range(100)]
        for payload in sent:
            await pair.left.send(payload)
        await pair.left.transport.disconnect(pair.left.peer, "done")
        await pair.right.sink.until(lambda sink: sink.disconnected)
        assert pair.right.sink.payloads == sent
        assert isinstance(pair.right.sink.events[-1], Disconnected)

    @_on_pair
    async def test_both_sides_are_notified_once_of_a_disconnect(self, pair: Pair) -> None:
        self._needs_disconnect()
        await pair.left.transport.disconnect(pair.left.peer, "done")
        await pair.left.transport.disconnect(pair.left.peer, "done twice")
        for side in (pair.left, pair.right):
            await side.sink.until(lambda sink: sink.disconnected)
            await asyncio.sleep(self.quiet)
            assert [type(event) for event in side.sink.events] == [Connected, Disconnected]
            last = side.sink.events[-1]
            assert isinstance(last, Disconnected)
            assert last.peer == side.peer
            assert isinstance(last.reason, str)
            assert last.reason
            with raises(PeerNotConnected):
                await side.send(payload_of(0))

    @_on_pair
    async def test_connects_again(self, pair: Pair) -> None:
        self._needs_disconnect()
        await pair.left.transport.disconnect(pair.left.peer, "for a moment")
        for side in (pair.left, pair.right):
            await side.sink.until(lambda sink: sink.disconnected)
        await self.connect(pair.left.transport, pair.right.transport)
        for side in (pair.left, pair.right):
            await side.sink.until(lambda sink: len(sink.connected) == 2)
            assert [type(event) for event in side.sink.events] == [Connected, Disconnected, Connected]
        await self._still_works(pair)

    @_on_pair
    async def test_a_warning_ends_nothing(self, pair: Pair) -> None:
        pair.left.transport.warn(pair.left.peer, "type 0x8c05 is malformed")
        await self._still_works(pair)
        assert not pair.left.sink.disconnected

    @_on_pair
    async def test_aclose_is_idempotent_and_final(self, pair: Pair) -> None:
        left = pair.left.transport
        await pair.left.send(payload_of(1))
        await asyncio.gather(left.aclose(), left.aclose())
        await left.aclose()
        await pair.right.sink.until(lambda sink: sink.disconnected if self.hangs_up_on_close else sink.payloads)
        assert pair.right.sink.payloads == [payload_of(1)]
        assert pair.left.sink.disconnected == [pair.left.peer]
        with raises(PeerNotConnected):
            await pair.left.send(payload_of(0))
        await pair.right.transport.aclose()
        assert pair.right.sink.disconnected == [pair.right.peer]

    @_on_pair
    async def test_a_sink_thatraises_does_not_take_the_transport_with_it(self, pair: Pair) -> None:
        def fail(*_: object) -> None:
            pair.right.sink.on_payload = None
            raise RuntimeError("this sink raises, to see what comes of it")

        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)  # a transport may leave this error to the event loop's handler
        pair.right.sink.on_payload = fail
        await pair.left.send(payload_of(0))
        await pair.right.sink.until(lambda sink: sink.payloads)
        await asyncio.sleep(self.quiet)
        if pair.right.sink.disconnected:
            await pair.left.sink.until(lambda sink: sink.disconnected)
            await self.connect(pair.left.transport, pair.right.transport)
            await pair.right.sink.until(lambda sink: len(sink.connected) == 2)
        await self._still_works(pair)

    def test_a_cancelled_open_leaves_nothing(self) -> None:
        """A cancelled `open` undoes whatever it had begun, and another transport opens in its place."""
        self.run(self._cancelled_open())

    async def _cancelled_open(self) -> None:
        left, right = await self.make()
        before = asyncio.all_tasks()
        sink = RecordingSink()
        opening = asyncio.create_task(right.open(_MANIFEST, sink))
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        await right.aclose()
        await left.aclose()
        await self._no_tasks_but(before)
        assert sink.events == []

    def test_nothing_runs_after_aclose(self) -> None:
        """No task outlives both transports."""

        async def test() -> None:
            before = asyncio.all_tasks()
            await self.with_pair(self._still_works)
            await self._no_tasks_but(before)

        self.run(test())

    # Shared by the tests ----------------------------------------------------------------------------

    async def with_pair(self, test: Callable[[Pair], Coroutine[Any, Any, None]]) -> None:
        """Create, open and connect a pair, run ``test`` on it, close both."""
        left, right = await self.make()
        sinks = RecordingSink(patience=self.patience), RecordingSink(patience=self.patience)
        try:
            await right.open(_MANIFEST, sinks[1])
            await left.open(_MANIFEST, sinks[0])
            await self.connect(left, right)
            for sink in sinks:
                await sink.until(lambda sink: sink.connected)
            us, them = (sink.connected[0].node_id for sink in reversed(sinks))
            await test(Pair(Side(left, sinks[0], them), Side(right, sinks[1], us)))
        finally:
            await left.aclose()
            await right.aclose()

    def _needs_disconnect(self) -> None:
        if not self.disconnects:
            raise unittest.SkipTest("the transport does not disconnect on request")

    async def _still_works(self, pair: Pair) -> None:
        for sender, receiver in pair.ways:
            before = len(receiver.sink.payloads)
            await sender.send(b"\x8c\x01still there?")
            await receiver.sink.until(functools.partial(has_more_than, before))
            assert receiver.sink.payloads[-1] == b"\x8c\x01still there?"

    async def _stalls(self, flood: Flood) -> bool:
        """Wait until a flood makes no progress and return True, or False if it was accepted as a whole."""
        while not flood.task.done():
            before = flood.accepted
            await asyncio.sleep(self.quiet)
            if flood.accepted == before:
                return not flood.task.done()
        return False

    async def _counts_what_it_drops(self, pair: Pair) -> None:
        pair.right.transport.pause(pair.right.peer)
        sent = [payload_of(number, 60_000) for number in range(300)]
        for payload in sent:
            await pair.left.send(payload)
        dropped = pair.right.transport.dropped
        before = -1
        async with asyncio.timeout(self.patience):
            while not dropped.total or dropped.total > before:
                before = dropped.total
                await asyncio.sleep(self.quiet)
        pair.right.transport.resume(pair.right.peer)
        await pair.left.send(b"\x8c\x01last")
        await pair.right.sink.until(lambda sink: sink.payloads[-1:] == [b"\x8c\x01last"])
        kept = pair.right.sink.payloads[:-1]
        numbers = [int.from_bytes(payload[2:6], "big") for payload in kept]
        assert kept == [sent[number] for number in numbers]
        assert numbers == sorted(set(numbers))
        assert len(kept) + dropped.total == len(sent)
        assert numbers[0] == 0

    async def _ends_with_last_words(self, pair: Pair) -> None:
        pair.right.transport.pause(pair.right.peer)
        sent = [payload_of(number) for number in range(10)]
        for payload in sent:
            await pair.left.send(payload)
        await pair.left.transport.disconnect(pair.left.peer, "enough")
        await pair.left.sink.until(lambda sink: sink.disconnected)
        await asyncio.sleep(self.quiet)
        assert pair.right.sink.payloads == []
        pair.right.transport.resume(pair.right.peer)
        await pair.right.sink.until(lambda sink: sink.disconnected)
        assert pair.right.sink.payloads == sent

    async def _no_tasks_but(self, before: set[asyncio.Task[Any]]) -> None:
        for _ in range(10):  # cancelled tasks end in the next event-loop iterations
            await asyncio.sleep(0)
        assert asyncio.all_tasks() - before == set()
