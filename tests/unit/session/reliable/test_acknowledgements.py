"""Acknowledgements to peers that do not read, and who pays for messages that are taken later than they are read."""

from __future__ import annotations

import asyncio
import functools

import pytest
from tests.support.waiting import until
from tests.unit.app.dispatch.test_session_host import address_of

from oddwire import Application, Context, Extension, Limits, Message, NodeId, Peer, Refuse, message, u64
from oddwire.session.wire.frame_types import Ack, AckFlag, Code, Data, Failure, Hello, Request
from oddwire.session.wire.frames import decode, encode
from oddwire.testing import ScriptedTransport

ALICE = NodeId("02" + "aa" * 32)
HELLO = encode(Hello(0, 1, 1, 7, ()), 1)


@message(0x8CF1)
class Order(Message):
    number: u64
    filling: bytes = b""


@message(0x8CF3)
class Done(Message):
    number: u64
    filling: bytes = b""


class Recording(ScriptedTransport):
    """A transport that writes down who paid for what, and whose peers have their turn when a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.paid: list[tuple[NodeId, float, bool]] = []
        self.turns = 0
        self.free = asyncio.Event()
        self.free.set()

    def worked(self, peer: NodeId, seconds: float, *, wasted: bool = False) -> None:
        self.paid.append((peer, seconds, wasted))

    async def turn(self, peer: NodeId) -> None:
        self.turns += 1
        await self.free.wait()


class Shop:
    def __init__(self, reliable: bool = True, **options: object) -> None:
        self.extension = Extension("shop", version="1.0", **options)  # type: ignore[arg-type]
        self.orders: list[int] = []

        @self.extension.on(Order, reliable=reliable)
        async def order(context: Context, order: Order) -> None:
            self.orders.append(order.number)
            if order.number == 400:
                raise Refuse("not for sale", code=1400)

        @self.extension.on(Done)
        async def done(context: Context, done: Done) -> Done:
            return done

    def app(self, transport: ScriptedTransport, **options: object) -> Application:
        return Application(self.extension, transport=transport, grace=0.0, **options)  # type: ignore[arg-type]


def _anybody(peer: Peer) -> bool:
    return True


def route_to(app: Application) -> int:
    """Return the addresses of what the peer sends."""
    return address_of(app) << 32 | 1


async def meet(transport: ScriptedTransport) -> None:
    transport.connect_peer(ALICE)
    transport.receive(ALICE, HELLO)
    await until(lambda: transport.sent)


def acks(transport: ScriptedTransport) -> list[Ack]:
    frames = [decode(payload) for _, payload in transport.sent if payload[:2] == b"\xc0\xdd"]
    return [frame for frame in frames if isinstance(frame, Ack)]


def order(app: Application, sequence: int, number: int = 1, *, lane: int = 5, base: int = 1) -> bytes:
    return encode(Data(lane, 1, base, sequence, app.registry.encode(Order(number=number))), route_to(app))


@pytest.mark.parametrize("store", [":memory:", None], ids=["store", "none"])
async def test_a_peer_that_does_not_read_has_one_ack_a_lane_waiting(store: str | None) -> None:
    transport = ScriptedTransport()
    async with Shop(reliable=store is not None).app(transport, store=store) as app:
        await meet(transport)
        for lane in (5, 6):
            transport.receive(ALICE, order(app, 1, 400, lane=lane))
        await until(lambda: len(acks(transport)) == 2)
        transport.stick()
        for _ in range(3000):
            for lane in (5, 6):
                transport.receive(ALICE, order(app, 1, 400, lane=lane))
        transport.stuck.set()
        await until(lambda: len(acks(transport)) >= 4)
        for _ in range(20):
            await asyncio.sleep(0)
        # One for each lane that was about to be sent, and one in its place
        assert len(acks(transport)) <= 6
        assert {ack.id for ack in acks(transport)} == {5, 6}


async def test_that_something_is_missing_is_said_though_a_later_ack_takes_the_place_of_the_first() -> None:
    transport = ScriptedTransport()
    async with Shop().app(transport, store=":memory:") as app:
        await meet(transport)
        transport.receive(ALICE, order(app, 1))
        await until(lambda: acks(transport))
        transport.stick()
        transport.receive(ALICE, order(app, 1))  # is on its way, and waits there
        await asyncio.sleep(0)
        transport.receive(ALICE, order(app, 3))
        transport.receive(ALICE, order(app, 1))
        transport.stuck.set()
        await until(lambda: len(acks(transport)) == 3)
        assert [ack.flags for ack in acks(transport)] == [0, 0, AckFlag.AGAIN]


async def test_where_there_is_no_store_lanes_beyond_what_is_kept_are_faults() -> None:
    transport = ScriptedTransport()
    async with Shop(reliable=False).app(transport, store=None, limits=Limits(faults_per_second=1e-3)) as app:
        await meet(transport)
        transport.stick()
        for lane in range(600):
            transport.receive(ALICE, order(app, 1, lane=lane))
        assert app.counters.dropped["frames"] > 0
        assert ALICE in transport._paused
        transport.stuck.set()
        await until(lambda: acks(transport))


async def test_a_reliable_message_waits_for_its_peers_turn_and_its_peer_pays() -> None:
    transport, shop = Recording(), Shop()
    async with shop.app(transport, store=":memory:") as app:
        await meet(transport)
        transport.free.clear()
        content = app.registry.encode(Order(number=1, filling=bytes(5000)))
        transport.receive(ALICE, encode(Data(5, 1, 1, 1, content), route_to(app)))
        await until(lambda: transport.turns == 1)
        assert shop.orders == []
        assert transport.paid == []
        transport.free.set()
        await until(lambda: acks(transport))
        assert shop.orders == [1]
        assert [(peer, wasted) for peer, _, wasted in transport.paid] == [(ALICE, False)]


@pytest.mark.parametrize("content", [b"\x8c\xf5ab", b"\x8c\xf1\xc1", b"\x8c\xf3\x81\xa6number\x01"])
async def test_one_that_is_refused_and_each_telling_of_it_is_paid_for_as_one_of_which_nothing_comes(
    content: bytes,
) -> None:
    transport, shop = Recording(), Shop()
    async with shop.app(transport, store=":memory:") as app:
        await meet(transport)
        for sequence in (1, 2):
            transport.receive(ALICE, encode(Data(5, 1, 1, sequence, content), route_to(app)))
            await until(
                functools.partial(lambda sequence: any(ack.value == sequence for ack in acks(transport)), sequence)
            )
        wasted = [seconds for _, seconds, wasted in transport.paid if wasted]
        assert len(wasted) == 4
        assert all(seconds > 0 for seconds in wasted)


async def test_a_guarded_request_is_decoded_in_its_peers_turn_and_its_peer_pays() -> None:
    transport, shop = Recording(), Shop(reliable=False, allow=_anybody)
    async with shop.app(transport) as app:
        await meet(transport)
        transport.free.clear()
        transport.receive(
            ALICE, encode(Request(1, 0, app.registry.encode(Done(number=1, filling=bytes(5000)))), route_to(app))
        )
        transport.receive(ALICE, encode(Request(2, 0, b"\x8c\xf3\xc1" + bytes(5000)), route_to(app)))
        await until(lambda: transport.turns == 2)
        assert transport.paid == []
        transport.free.set()
        await until(lambda: len(transport.sent) >= 3)
        assert [(peer, wasted) for peer, _, wasted in transport.paid] == [(ALICE, False)] * 2
        frames = [decode(payload) for _, payload in transport.sent]
        assert [frame.code for frame in frames if isinstance(frame, Failure)] == [Code.MALFORMED]
