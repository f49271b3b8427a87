from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire.app import Application, Context, Extension, TraceEvent, hookimpl
from oddwire.errors import (
    ConnectionClosed,
    NodeRefused,
    QuotaExceeded,
    Refuse,
    RemoteFailure,
    StoreError,
)
from oddwire.proto.keys import NodeId, PrivateKey
from oddwire.schema import Message, message, u64
from oddwire.session.limits import Limits
from oddwire.session.wire.frame_types import Ack, Code, Data, Hello, HelloFlag, Scope, Spoken
from oddwire.session.wire.frames import addresses, decode, encode
from oddwire.testing import ScriptedTransport
from oddwire.transports.memory import MemoryNetwork

ALICE = NodeId("02" + "aa" * 32)
SERVER, CLIENT = (PrivateKey(bytes(31) + bytes([number])) for number in (1, 2))


@message(0x8C01)
class Order(Message):
    number: u64
    filling: bytes = b""


@message(0x8C03)
class Done(Message):
    number: u64


@message(0x8C05)
class Plain(Message):
    number: u64


class Shop:
    """An extension that keeps orders, and what its handlers saw."""

    def __init__(self, **options: Any) -> None:
        self.extension = extension = Extension("shop", version="1.0", **options)
        self.orders: list[int] = []
        self.done: list[int] = []
        self.fail = 0
        self.before: Callable[[], Awaitable[None]] | None = None
        extension.register(Plain)

        @extension.on(Order, reliable=True)
        async def order(context: Context, order: Order) -> Done | None:
            self.orders.append(order.number)
            total = await context.store.get("total", 0)
            assert isinstance(total, int)
            await context.store.set("total", total + 1)
            if order.number == 400:
                raise Refuse("not for sale", code=1400)
            if self.fail:
                self.fail -= 1
                raise ZeroDivisionError("a secret")
            if self.before is not None:
                await self.before()
            return Done(number=order.number) if order.number >= 1000 else None

        @extension.on(Done, reliable=True)
        async def done(context: Context, done: Done) -> None:
            self.done.append(done.number)


class Both:
    """A shop and its customer on one network, each started and stopped as a test wants."""

    def __init__(self, folder: Path) -> None:
        self.network = MemoryNetwork()
        self.server, self.client = Shop(), Shop()
        self.folder = folder

    def left(self, **options: Any) -> Application:
        options = {"store": self.folder / "left.sqlite3", "grace": 0.0, **options}
        return Application(self.server.extension, transport=self.network.transport(SERVER), **options)

    def right(self, **options: Any) -> Application:
        options = {"store": self.folder / "right.sqlite3", "grace": 0.0, **options}
        return Application(self.client.extension, transport=self.network.transport(CLIENT), **options)


@pytest.fixture
def both(tmp_path: Path) -> Both:
    return Both(tmp_path)


async def test_a_message_takes_effect_once_and_its_sender_hears_of_it(both: Both) -> None:
    async with both.left() as left, both.right() as right:
        peer = await right.connect(left.uris[0])
        for number in range(3):
            receipt = await peer.deliver(Order(number=number))
        await receipt.delivered()
        assert both.server.orders == [0, 1, 2]
        assert await left.store("shop").get("total") == 3


async def test_it_waits_for_a_peer_that_is_not_there_and_for_both_to_come_back(both: Both) -> None:
    async with both.right() as right:
        receipt = await right.peer(SERVER.public_key()).deliver(Order(number=1))
    with pytest.raises(ConnectionClosed, match="is sent after the next start"):
        await receipt.delivered()
    async with both.left() as left:
        async with both.right() as right:
            second = await right.peer(SERVER.public_key()).deliver(Order(number=2))
            await right.connect(left.uris[0])
            await second.delivered()
        assert both.server.orders == [1, 2]
    async with both.left() as left:
        assert await left.store("shop").get("total") == 2
        async with both.right() as right:
            peer = await right.connect(left.uris[0])
            await (await peer.deliver(Order(number=3))).delivered()
    assert both.server.orders == [1, 2, 3]


async def test_what_a_handler_returns_goes_back_reliably(both: Both) -> None:
    async with both.left() as left, both.right() as right:
        peer = await right.connect(left.uris[0])
        await (await peer.deliver(Order(number=1000))).delivered()
        await until(lambda: both.client.done == [1000])


async def test_what_a_handler_returns_while_its_application_closes_goes_out_when_it_runs_again(both: Both) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        begun.set()
        await go_on.wait()

    failures = Failures()
    both.server.before = wait
    left = Application(
        both.server.extension,
        failures,
        transport=both.network.transport(SERVER),
        store=both.folder / "left.sqlite3",
        grace=30.0,
    )
    async with both.right() as right:
        await left.start()
        await (await right.connect(left.uris[0])).deliver(Order(number=1000))
        await begun.wait()
        closing = asyncio.create_task(left.aclose())
        await asyncio.sleep(0)
        go_on.set()
        await closing
    assert both.client.done == []
    async with both.left() as left, both.right() as right:
        await right.connect(left.uris[0])
        await until(lambda: both.client.done)
        assert await left.store("shop").get("total") == 1
    assert both.server.orders == [1000]
    assert both.client.done == [1000]
    assert failures.seen == []


async def test_a_refusal_is_final_and_leaves_nothing(both: Both) -> None:
    async with both.left() as left, both.right() as right:
        peer = await right.connect(left.uris[0])
        receipt = await peer.deliver(Order(number=400))
        with pytest.raises(RemoteFailure, match="not for sale") as caught:
            await receipt.delivered()
        assert caught.value.code == 1400
        assert await left.store("shop").get("total") is None


class Failures:
    name = "failures"

    def __init__(self) -> None:
        self.seen: list[tuple[str, Message | None, type]] = []

    @hookimpl
    def handler_failed(self, extension: str, message: Message | None, error: BaseException) -> None:
        self.seen.append((extension, message, type(error)))


async def test_a_handler_that_fails_is_called_again_and_reported(both: Both) -> None:
    failures = Failures()
    both.server.fail = 1
    left = Application(
        both.server.extension, failures, transport=both.network.transport(SERVER), store=":memory:", grace=0.0
    )
    async with left, both.right() as right:
        peer = await right.connect(left.uris[0])
        await (await peer.deliver(Order(number=7))).delivered()
        assert both.server.orders == [7, 7]
        assert await left.store("shop").get("total") == 1
    assert failures.seen == [("shop", Order(number=7), ZeroDivisionError)]


async def test_large_messages_are_delivered_too(both: Both) -> None:
    async with both.left() as left, both.right() as right:
        peer = await right.connect(left.uris[0])
        first = await peer.deliver(Order(number=1, filling=bytes(500_000)))
        second = await peer.deliver(Order(number=2))
        await asyncio.gather(first.delivered(), second.delivered())
        assert both.server.orders == [1, 2]


async def test_one_that_is_too_large_for_the_peer_is_given_up_and_the_next_arrives(both: Both) -> None:
    async with both.left(limits=Limits(reassembly_bytes=100_000)) as left, both.right() as right:
        peer = await right.connect(left.uris[0])
        large = await peer.deliver(Order(number=1, filling=bytes(200_000)))
        small = await peer.deliver(Order(number=2))
        with pytest.raises(RemoteFailure) as caught:
            await large.delivered()
        assert caught.value.code == Code.TOO_LARGE
        await small.delivered()
        assert both.server.orders == [2]


async def test_only_reliable_handlers_take_reliable_messages(both: Both) -> None:
    plain = Extension("shop", version="1.0")

    @plain.on(Done, reliable=True)
    async def done(context: Context, done: Done) -> None: ...

    @plain.on(Plain)
    async def handle(context: Context, request: Plain) -> None:
        raise AssertionError("not asked to be called more than once")

    left = Application(plain, transport=both.network.transport(SERVER), store=":memory:")
    async with left, both.right() as right:
        peer = await right.connect(left.uris[0])
        for request, code in ((Plain(number=1), Code.UNSUPPORTED), (Order(number=1), Code.UNKNOWN_MESSAGE)):
            with pytest.raises(RemoteFailure) as caught:
                await (await peer.deliver(request)).delivered()
            assert caught.value.code == code


async def test_who_is_not_allowed_is_refused(tmp_path: Path) -> None:
    both = Both(tmp_path)
    both.server = Shop(allow=[ALICE])
    async with both.left() as left, both.right() as right:
        peer = await right.connect(left.uris[0])
        with pytest.raises(RemoteFailure) as caught:
            await (await peer.deliver(Order(number=1))).delivered()
        assert caught.value.code == Code.NOT_ALLOWED
        assert both.server.orders == []


async def test_above_the_rate_messages_are_acknowledged_later(tmp_path: Path) -> None:
    both = Both(tmp_path)
    both.server = Shop(limits=Limits(messages_per_second=20))
    async with both.left() as left, both.right() as right:
        peer = await right.connect(left.uris[0])
        receipts = await asyncio.gather(*(peer.deliver(Order(number=number)) for number in range(25)))
        for receipt in receipts:
            await receipt.delivered()
        assert both.server.orders == list(range(25))
        assert left.counters.throttled["messages_per_second"] > 0


async def test_a_message_sent_in_another_way_is_a_unit_of_its_own(both: Both) -> None:
    async with both.left() as left, both.right() as right:
        peer = await right.connect(left.uris[0])
        await peer.wait_for_hello()
        await peer.send(Order(number=1))
        await until(lambda: both.server.orders == [1])
        assert await peer.request(Order(number=1000), Done) == Done(number=1000)
        with pytest.raises(RemoteFailure):
            await peer.request(Order(number=400), Done)
        assert await left.store("shop").get("total") == 2


async def test_the_outbox_is_limited(both: Both) -> None:
    async with both.right(limits=Limits(outbox_messages=2)) as right:
        peer = right.peer(SERVER.public_key())
        for number in range(2):
            await peer.deliver(Order(number=number))
        with pytest.raises(QuotaExceeded) as caught:
            await peer.deliver(Order(number=2))
        assert caught.value.limit == "outbox_messages"


async def test_messages_are_traced_as_they_are_kept_and_handled(both: Both) -> None:
    events: list[TraceEvent] = []

    class Tracer:
        @hookimpl
        def message_traced(self, event: TraceEvent) -> None:
            events.append(event)

    left = Application(
        both.server.extension, Tracer(), transport=both.network.transport(SERVER), store=":memory:", grace=0.0
    )
    async with left, both.right() as right:
        peer = await right.connect(left.uris[0])
        await (await peer.deliver(Order(number=1000))).delivered()
        await until(lambda: both.client.done)
    assert [(event.direction, event.message) for event in events] == [
        ("received", Order(number=1000)),
        ("sent", Done(number=1000)),
    ]


# Several programs behind a peer ---------------------------------------------------------------------------


class Programs:
    """An application with a shop that has a peer, behind which programs come and go."""

    def __init__(self, store: Path | str = ":memory:") -> None:
        self.transport = ScriptedTransport()
        self.shop = Shop()
        self.app = Application(self.shop.extension, transport=self.transport, store=store, grace=0.0)

    async def __aenter__(self) -> Programs:
        await self.app.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.app.aclose()

    def connect(self) -> None:
        self.transport.connect_peer(ALICE)

    async def hello(
        self, instance: int, program: int, *stores: int, speaks: str = "shop", version: str = "1.0", flags: int = 0
    ) -> None:
        extensions = (Spoken(speaks, (version,), ()),) if speaks and not flags & HelloFlag.LEAVING else ()
        self.say(Hello(flags, 1, 1, program=program, extensions=extensions, stores=stores), instance)
        await self.idle()

    def say(self, frame: Any, instance: int) -> None:
        own = self.app._dispatcher.session.shared.instance  # type: ignore[union-attr]
        self.transport.receive(ALICE, encode(frame, own << 32 | instance))

    async def idle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def order(self, *numbers: int) -> None:
        for number in numbers:
            await self.app.peer(ALICE).deliver(Order(number=number))
        await self.idle()

    def frames(self, kind: type[Any]) -> list[tuple[int, Any]]:
        """Return the frames of a kind that were sent, each with the program it was for."""
        found = [payload for peer, payload in self.transport.sent if peer == ALICE and payload[:2] == b"\xc0\xdd"]
        return [(addresses(payload)[0], frame) for payload in found if isinstance(frame := decode(payload), kind)]

    def data(self) -> list[tuple[int, int]]:
        """Return to whom each reliable message went, and its sequence."""
        return [(instance, frame.sequence) for instance, frame in self.frames(Data)]

    def ack(self, instance: int, value: int) -> None:
        last = self.frames(Data)[-1][1]
        self.say(Ack(Scope.LANE, 0, last.lane, last.epoch, value), instance)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what takes a minute take a moment."""
    monkeypatch.setattr("oddwire.session.reliable.receivers.PATIENCE", 0.05)
    monkeypatch.setattr("oddwire.session.reliable.delivery._ALONE", 0.05)


async def test_what_is_not_acknowledged_goes_again() -> None:
    async with Programs() as programs:
        await programs.order(1)
        programs.connect()
        await programs.hello(1, 10)
        assert programs.data() == [(1, 1)]
        await programs.hello(1, 10)  # the same process: nothing is in doubt
        assert programs.data() == [(1, 1)]
        await programs.hello(2, 10)
        assert programs.data() == [(1, 1), (2, 1)]
        programs.transport.lose_peer(ALICE)
        programs.connect()
        await programs.hello(2, 10)
        assert programs.data() == [(1, 1), (2, 1), (2, 1)]
        assert len({frame.lane for _, frame in programs.frames(Data)}) == 1


async def test_what_the_node_does_not_take_goes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oddwire.session.reliable.lanes._FIRST_PAUSE", 0.05)
    async with Programs() as programs:
        send, refused = (
            programs.transport.send,
            [NodeRefused("not now", code=-1), ConnectionClosed("the way there is lost")],
        )

        async def unwilling(node_id: NodeId, payload: bytes) -> None:
            if refused and isinstance(decode(payload), Data):
                raise refused.pop(0)
            await send(node_id, payload)

        programs.transport.send = unwilling  # type: ignore[method-assign]
        programs.connect()
        await programs.hello(1, 10)
        session = programs.app._dispatcher.messenger.session_of(ALICE)  # type: ignore[union-attr]
        await until(lambda: not session.waiting)  # type: ignore[union-attr]
        await programs.order(1)
        await until(lambda: {(1, 1)} <= {*programs.data()})
        assert not refused


async def test_it_goes_to_whom_speaks_the_extension_and_waits_for_one() -> None:
    async with Programs() as programs:
        programs.connect()
        await programs.hello(1, 10, speaks="chat")
        await programs.hello(2, 20, speaks="shop", version="9")
        await programs.order(1, 2)
        assert programs.data() == []
        await programs.hello(3, 30)
        assert programs.data() == [(3, 1), (3, 2)]
        await programs.hello(4, 5)  # less, and later: it stays where it is
        await programs.order(3)
        assert programs.data() == [(3, 1), (3, 2), (3, 3)]


async def test_of_several_it_goes_to_the_least_program() -> None:
    async with Programs() as programs:
        programs.connect()
        for instance, program in ((1, 30), (2, 10), (3, 20)):
            await programs.hello(instance, program)
        await programs.order(1)
        assert programs.data() == [(2, 1)]


async def test_only_the_program_that_has_a_message_can_acknowledge_it() -> None:
    async with Programs() as programs:
        programs.connect()
        await programs.hello(1, 10)
        await programs.hello(2, 20)
        receipt = await programs.app.peer(ALICE).deliver(Order(number=1))
        await programs.idle()
        assert programs.data() == [(1, 1)]
        faults = programs.app.counters.dropped["frames"]
        programs.ack(2, 1)
        assert programs.app.resources.delivery().outbox.waiting(ALICE)[0] == 1
        programs.ack(1, 1)
        await receipt.delivered()
        assert programs.app.counters.dropped["frames"] == faults


async def test_a_program_is_known_again_by_its_store_where_it_has_moved() -> None:
    async with Programs() as programs:
        await programs.order(1)
        programs.connect()
        await programs.hello(1, 10, 77)
        await programs.hello(2, 20, 88)
        await programs.hello(1, 10, flags=HelloFlag.LEAVING)
        assert programs.data() == [(1, 1)], "the other one has not handled it"
        await programs.hello(3, 30, 99, 77)
        assert programs.data() == [(1, 1), (3, 1)]


async def test_whom_a_lane_went_to_is_on_disk_before_anything_goes_there(tmp_path: Path) -> None:
    path = tmp_path / "store"
    async with Programs(path) as programs:
        await programs.order(1)
        programs.connect()
        writer = programs.app.resources.delivery().store._database.writer  # type: ignore[union-attr]
        writer.execute("PRAGMA query_only = 1")
        await programs.hello(1, 10, 77)
        with pytest.raises(StoreError, match="read-only"):
            await programs.app.resources.delivery().store.touch().durable()
        assert programs.data() == []
        writer.execute("PRAGMA query_only = 0")
        await programs.order(2)
        await until(lambda: programs.data() == [(1, 1), (1, 2)])
    async with Programs(path) as programs:
        programs.connect()
        await programs.hello(5, 5)
        assert programs.data() == []
        await programs.hello(6, 6, 77)
        await until(lambda: programs.data() == [(6, 1), (6, 2)])


async def test_after_a_minute_another_program_has_to_do(quick: None) -> None:
    async with Programs() as programs:
        await programs.order(1)
        programs.connect()
        await programs.hello(1, 10, 77)
        await programs.hello(1, 10, flags=HelloFlag.LEAVING)
        await programs.hello(2, 20, 88)
        assert programs.data() == [(1, 1)]
        await until(lambda: programs.data() == [(1, 1), (2, 1)])
        await programs.hello(3, 10, 77)
        await programs.order(2)
        assert programs.data() == [(1, 1), (2, 1), (2, 2)], "the other one knows now what was handled"


async def test_that_nobody_takes_what_waits_is_told_once_and_counted(
    quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[str]:
        return [line for line in lines(caplog, logging.WARNING) if " wait: " in line]

    async with Programs() as programs:
        await programs.order(1, 2)
        await asyncio.sleep(0.1)
        assert told() == [], "the peer is not even connected"
        programs.connect()
        await programs.hello(1, 10, speaks="chat")
        await until(told)
        await programs.order(3)
        programs.transport.lose_peer(ALICE)
        programs.connect()
        await asyncio.sleep(0.1)
        await programs.hello(2, 20, speaks="shop", version="9")
        await asyncio.sleep(0.1)
        assert told() == [f"2 reliable messages to {ALICE} wait: no program behind it speaks 'shop'"]
        assert programs.app.counters.waiting == {"nobody": 1}
        await programs.hello(3, 30)
        await until(lambda: programs.data() == [(3, 1), (3, 2), (3, 3)])
        await programs.hello(3, 30, flags=HelloFlag.LEAVING)
        await until(lambda: len(told()) == 2)
        assert told()[1] == f"3 reliable messages to {ALICE} wait: it speaks 'shop' only in other versions: 9"


async def test_of_a_peer_without_oddwire_it_is_told_too(quick: None, caplog: pytest.LogCaptureFixture) -> None:
    async with Programs() as programs:
        programs.connect()
        await programs.order(1)
        await until(lambda: "no program behind it speaks 'shop'" in caplog.text)


async def test_our_hello_says_which_store_we_have(tmp_path: Path) -> None:
    path = tmp_path / "store"

    async def told() -> tuple[list[tuple[int, ...]], tuple[int, ...]]:
        async with Programs(path) as programs:
            programs.connect()
            await programs.hello(1, 10)
            await programs.order(1)
            await programs.app.resources.delivery().renew()
            await programs.idle()
            numbers = programs.app.resources.store_numbers()
            return [hello.stores for _, hello in programs.frames(Hello)], numbers

    first, renewed = await told()
    [(number,)] = {*first[:-1]}
    assert first[-1] == renewed != (number,)
    second, _ = await told()
    assert second[0] == renewed


async def test_a_store_that_cannot_be_opened_has_no_number_until_it_can(tmp_path: Path) -> None:
    (tmp_path / "folder").touch()
    async with Programs(tmp_path / "folder" / "store") as programs:
        store = programs.app.resources.delivery().store
        assert not store.is_open
        programs.connect()
        await programs.hello(1, 10)
        (tmp_path / "folder").unlink()
        (tmp_path / "folder").mkdir()
        store._opened_at = 0.0
        await programs.order(1)
        assert {len(hello.stores) for _, hello in programs.frames(Hello)} == {1}, "it has the number it was to have"


async def test_acks_go_to_whom_the_message_came_from() -> None:
    async with Programs() as programs:
        programs.connect()
        await programs.hello(1, 10)
        await programs.hello(2, 20)
        payload = programs.app.registry.encode(Order(number=1))
        for instance in (1, 2, 1):
            programs.say(Data(99, 1, 1, 1, payload), instance)
            await until(lambda: programs.frames(Ack) and programs.shop.orders)
            await programs.idle()
        assert [(instance, ack.value) for instance, ack in programs.frames(Ack)] == [(1, 1), (2, 1), (1, 1)]
        assert programs.shop.orders == [1]


async def test_what_was_handled_for_a_program_that_is_gone_is_acknowledged_to_nobody() -> None:
    async with Programs() as programs:
        go_on = asyncio.Event()

        async def wait() -> None:
            await go_on.wait()

        programs.shop.before = wait
        programs.connect()
        await programs.hello(1, 10)
        programs.say(Data(99, 1, 1, 1, programs.app.registry.encode(Order(number=1))), 1)
        await programs.idle()
        await programs.hello(2, 10)
        go_on.set()
        await programs.idle()
        assert programs.frames(Ack) == []
        programs.say(Data(99, 1, 1, 1, programs.app.registry.encode(Order(number=1))), 2)
        await until(lambda: [(instance, ack.value) for instance, ack in programs.frames(Ack)] == [(2, 1)])
        assert programs.shop.orders == [1]


# What is lost is told, counted, and given to hooks ------------------------------------------------------------


class Losses:
    """What `delivery_failed` is called with."""

    name = "losses"

    def __init__(self) -> None:
        self.seen: list[tuple[NodeId, str, Message | None, Exception]] = []

    @hookimpl
    async def delivery_failed(self, peer: Any, extension: str, message: Message | None, error: Exception) -> None:
        self.seen.append((peer.node_id, extension, message, error))


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def undelivered(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what a sender was warned of."""
    return [line for line in lines(caplog, logging.WARNING) if line.startswith("reliable message not delivered")]


def declined(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what a receiver was warned of."""
    return [line for line in lines(caplog, logging.WARNING) if line.startswith("reliable message refused for good")]


async def test_a_message_that_is_refused_for_good_is_told_on_both_sides(
    both: Both, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "oddwire")
    losses = Losses()
    heard: list[tuple[str, Message | None, Exception]] = []

    @both.client.extension.on_undelivered
    async def lost(context: Context, message: Message | None, error: Exception) -> None:
        await context.store.set("lost", 1)
        heard.append((context.extension, message, error))

    other = Extension("other", version="1.0")

    @other.on_undelivered
    async def not_ours(context: Context, message: Message | None, error: Exception) -> None:
        raise AssertionError("it was the shop's")

    right = Application(
        both.client.extension, other, losses, transport=both.network.transport(CLIENT), store=":memory:", grace=0.0
    )
    async with both.left() as left, right:
        peer = await right.connect(left.uris[0])
        with pytest.raises(RemoteFailure):
            await (await peer.deliver(Order(number=400))).delivered()
        await until(lambda: heard)
        assert await right.store("shop").get("lost") == 1
        assert right.counters.to_json() == {"undelivered": {"application": 1}}
        assert left.counters.to_json() == {"declined": {"application": 1}}
    [warning] = undelivered(caplog)
    assert re.fullmatch(
        rf"reliable message not delivered: shop\.Order 0x8c01 of 'shop' to {SERVER.public_key().hex()}, with code "
        r"1400: not for sale; it was [0-9.]+ s old",
        warning,
    )
    assert (
        f"reliable message refused for good by 'shop': shop.Order 0x8c01 from {CLIENT.public_key().hex()}, with code "
        "1400: not for sale"
    ) in declined(caplog)
    [(extension, message, error)] = heard
    assert (extension, message) == ("shop", Order(number=400))
    assert isinstance(error, RemoteFailure)
    assert (error.code, error.text) == (1400, "not for sale")
    assert losses.seen == [(SERVER.public_key().serializeCompressed(), "shop", Order(number=400), losses.seen[0][3])]


@pytest.mark.parametrize(
    ("request_", "code", "counted"),
    [
        (
            Plain(number=1),
            "code 8 (UNSUPPORTED): shop.Plain 0x8c05 is not accepted as a reliable message here",
            "unsupported",
        ),
        (Done(number=1), "code 2 (UNKNOWN_MESSAGE): type 0x8c03 is not handled here", "unknown_message"),
        (Order(number=1, filling=bytes(200_000)), "code 9 (TOO_LARGE): ", "too_large"),
    ],
    ids=["plain", "unknown", "large"],
)
async def test_whatever_it_is_refused_for(
    both: Both, caplog: pytest.LogCaptureFixture, request_: Message, code: str, counted: str
) -> None:
    caplog.set_level(logging.INFO, "oddwire")
    plain = Extension("shop", version="1.0")

    @plain.on(Plain)
    async def handle(context: Context, request: Plain) -> None:
        raise AssertionError("not asked to be called more than once")

    @plain.on(Order, reliable=True)
    async def order(context: Context, order: Order) -> None: ...

    left = Application(
        plain,
        transport=both.network.transport(SERVER),
        store=":memory:",
        limits=Limits(reassembly_bytes=100_000),
    )
    async with left, both.right() as right:
        peer = await right.connect(left.uris[0])
        with pytest.raises(RemoteFailure):
            await (await peer.deliver(request_)).delivered()
        assert right.counters.undelivered == {counted: 1}
        if counted != "too_large":  # that one never comes in whole
            assert left.counters.declined == {counted: 1}
            assert any(code in line for line in declined(caplog))
    [warning] = undelivered(caplog)
    assert f"shop.{type(request_).__name__} 0x" in warning
    assert f"with {code}" in warning


async def test_a_peer_without_a_store_tells_what_it_refuses(both: Both, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "oddwire")
    plain = Extension("shop", version="1.0")
    plain.register(Order)
    async with Application(plain, transport=both.network.transport(SERVER)) as left, both.right() as right:
        peer = await right.connect(left.uris[0])
        with pytest.raises(RemoteFailure):
            await (await peer.deliver(Order(number=1))).delivered()
        assert left.counters.to_json() == {"declined": {"unsupported": 1}}
    assert (
        f"reliable message refused for good: shop.Order 0x8c01 from {CLIENT.public_key().hex()}, with code 8 "
        "(UNSUPPORTED): no handler here accepts reliable messages, or there is no store for them"
    ) in declined(caplog)


async def test_a_handler_that_never_succeeds_is_told_of_at_last(both: Both, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "oddwire")
    both.server.fail = 100
    async with both.left() as left, both.right() as right:
        assert left.resources.delivery().inbox._pause == 1.0
        left.resources.delivery().inbox._pause = 0.0
        peer = await right.connect(left.uris[0])
        with pytest.raises(RemoteFailure):
            await (await peer.deliver(Order(number=1))).delivered()
        assert (left.counters.declined, right.counters.undelivered) == ({"internal": 1}, {"internal": 1})
    assert [line.partition(", with ")[2] for line in declined(caplog)] == [
        "code 1 (INTERNAL): its handler failed 5 times"
    ]
    assert ", with code 1 (INTERNAL): without a text; it was" in undelivered(caplog)[0]


async def test_it_is_told_to_a_later_process_and_to_one_that_does_not_know_the_message_any_more(
    both: Both, caplog: pytest.LogCaptureFixture
) -> None:
    async with both.right() as right:
        for number in (400, 1):
            await right.peer(SERVER.public_key()).deliver(Order(number=number))
    losses = Losses()
    later = Application(losses, transport=both.network.transport(CLIENT), store=both.folder / "right.sqlite3")
    async with both.left() as left, later:
        await later.connect(left.uris[0])
        await until(lambda: losses.seen)
        assert later.counters.undelivered == {"application": 1}
    [(node_id, extension, message, error)] = losses.seen
    assert (node_id, extension, message) == (SERVER.public_key().serializeCompressed(), "", None)
    assert isinstance(error, RemoteFailure)
    [warning] = undelivered(caplog)
    assert f"reliable message not delivered: type 0x8c01 to {SERVER.public_key().hex()}, with code 1400" in warning


async def test_one_that_expires_is_told_in_days(both: Both, caplog: pytest.LogCaptureFixture) -> None:
    async with both.right() as right:
        await right.peer(SERVER.public_key()).deliver(Order(number=1))
    with contextlib.closing(sqlite3.connect(both.folder / "right.sqlite3")) as database:
        database.execute(f"UPDATE oddwire_outbox SET made = made - {15 * 86400}")
        database.commit()
    losses = Losses()
    later = Application(
        both.client.extension, losses, transport=both.network.transport(CLIENT), store=both.folder / "right.sqlite3"
    )
    async with later:
        await until(lambda: losses.seen)
        assert later.counters.to_json() == {"exceeded": {"outbox_seconds": 1}, "undelivered": {"expired": 1}}
    [(_, extension, message, error)] = losses.seen
    assert (extension, message) == ("shop", Order(number=1))
    assert isinstance(error, QuotaExceeded)
    [warning] = undelivered(caplog)
    assert warning == (
        f"reliable message not delivered: shop.Order 0x8c01 of 'shop' to {SERVER.public_key().hex()}, with code 10 "
        "(EXPIRED): the message was not acknowledged within 14 days and was dropped; it was 15 days old"
    )


async def test_many_that_expire_leave_others_their_turn_and_are_all_told(
    both: Both, caplog: pytest.LogCaptureFixture
) -> None:
    async with both.right() as right:
        peer = right.peer(SERVER.public_key())
        await asyncio.gather(*(peer.deliver(Order(number=number)) for number in range(1000)))
    with contextlib.closing(sqlite3.connect(both.folder / "right.sqlite3")) as database:
        database.execute(f"UPDATE oddwire_outbox SET made = made - {15 * 86400}")
        database.commit()
    losses = Losses()
    later = Application(
        both.client.extension, losses, transport=both.network.transport(CLIENT), store=both.folder / "right.sqlite3"
    )
    async with later:
        await until(lambda: losses.seen)
        assert later.counters.undelivered["expired"] < 1000
        await until(lambda: len(losses.seen) == 1000)
    assert sorted(message.number for _, _, message, _ in losses.seen) == [*range(1000)]  # type: ignore[union-attr]


async def test_a_peers_text_cannot_forge_a_line(both: Both, caplog: pytest.LogCaptureFixture) -> None:
    nasty = Extension("shop", version="1.0")

    @nasty.on(Order, reliable=True)
    async def order(context: Context, order: Order) -> None:
        raise Refuse("no\nERROR forged\x1b[2J\u202e")

    left = Application(nasty, transport=both.network.transport(SERVER), store=":memory:")
    async with left, both.right() as right:
        peer = await right.connect(left.uris[0])
        with pytest.raises(RemoteFailure):
            await (await peer.deliver(Order(number=1))).delivered()
    [warning] = undelivered(caplog)
    assert r"with code 4 (REFUSED): no\nERROR forged\x1b[2J\u202e; it was" in warning


async def test_a_refusal_of_a_reliable_message_is_traced(both: Both) -> None:
    events: list[TraceEvent] = []

    class Tracer:
        @hookimpl
        def message_traced(self, event: TraceEvent) -> None:
            events.append(event)

    left = Application(both.server.extension, Tracer(), transport=both.network.transport(SERVER), store=":memory:")
    async with left, both.right() as right:
        peer = await right.connect(left.uris[0])
        with pytest.raises(RemoteFailure):
            await (await peer.deliver(Order(number=400))).delivered()
    assert [(event.direction, event.type_id) for event in events] == [("received", 0x8C01), ("refused", 0x8C01)]
    assert isinstance(events[1].error, Refuse)
