"""Requests to a peer without ids, from the call to the wire and back, and waiting for messages."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.messages import Answer, Ask, Even, Note
from tests.support.tracing import Tracer
from tests.support.waiting import until

from oddwire.app import Application, Context, Extension, MessageStream, Peer
from oddwire.app.dispatch.peer_queue import HIGH_WATER, PeerQueue
from oddwire.errors import (
    ConnectionClosed,
    EncodeError,
    LocalProtocolError,
    MalformedMessage,
    NodeRefused,
    NotSupported,
    OutOfStep,
    PeerNotConnected,
    QuotaExceeded,
    RemoteFailure,
    ReplyTimeout,
)
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message, u64
from oddwire.session.limits import Limits
from oddwire.testing import ScriptedTransport
from oddwire.transports.host import HostTransport
from oddwire.transports.memory import MemoryNetwork

ALICE = NodeId("02" + "aa" * 32)


@message(0x8D81, codec="bolt")
class Agreed(Message):
    number: u64


@message(0x8D83, codec="bolt")
class Cancelled(Message):
    number: u64


@message(0x8D85, codec="bolt", replies=(Agreed, Cancelled), match="number")
class Swap(Message):
    number: u64


@message(0x8D87)
class Long(Message):
    text: bytes


def raw(message: type[Message], number: int) -> bytes:
    return message.__oddwire__.type_id.to_bytes(2, "big") + number.to_bytes(8, "big")  # type: ignore


class Scene:
    """An application and Alice, who has no session and does as the test says."""

    def __init__(self, app: Application, transport: ScriptedTransport, handled: list[Message]) -> None:
        self.app = app
        self.transport = transport
        self.handled = handled
        self.peer = app.peer(ALICE)

    @property
    def queue(self) -> PeerQueue:
        return self.app._running().core.queues[ALICE]

    @property
    def late(self) -> int:
        return self.app.counters.dropped["late_reply"]

    def receive(self, message: type[Message], number: int = 0) -> None:
        self.transport.receive(ALICE, raw(message, number))

    def sent(self) -> list[bytes]:
        return [payload for _, payload in self.transport.sent]


def extension_of(handled: list[Message]) -> Extension:
    extension = Extension("test", version="1.0", feature=513)
    for known in (Ask, Answer, Swap, Even, Long):
        extension.register(known)

    @extension.on(Note)
    async def note(context: Context, message: Note) -> None:
        handled.append(message)

    @extension.on(Cancelled)
    async def cancelled(context: Context, message: Cancelled) -> None:
        handled.append(message)

    return extension


@asynccontextmanager
async def scene(
    *plugins: object, transport: ScriptedTransport | None = None, session: bool = False, **options: Any
) -> AsyncIterator[Scene]:
    handled: list[Message] = []
    transport = transport or ScriptedTransport()
    async with Application(extension_of(handled), *plugins, transport=transport, session=session, **options) as app:
        transport.connect_peer(ALICE)
        await idle()
        yield Scene(app, transport, handled)


async def idle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


def begun(work: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(work)


# Peers that answer out of order, late, twice, never ------------------------------------------------------


async def test_out_of_order_each_request_has_its_own_answer() -> None:
    async with scene() as here:
        asked = [begun(here.peer.request(Swap(number=number))) for number in range(4)]
        await idle()
        assert here.sent() == [raw(Swap, number) for number in range(4)]
        here.receive(Agreed, 3)
        here.receive(Agreed, 1)
        here.receive(Cancelled, 2)
        here.receive(Cancelled, 77)
        here.receive(Agreed, 0)
        assert await asyncio.gather(*asked) == [
            Agreed(number=0),
            Agreed(number=1),
            Cancelled(number=2),
            Agreed(number=3),
        ]
        await idle()
        assert here.handled == [Cancelled(number=77)]
        assert not here.queue.needs_slow_path


async def test_late_twice_and_never() -> None:
    async with scene() as here:
        with pytest.raises(ReplyTimeout, match=r"no Agreed or Cancelled from 02aa.* within 0\.01 s of Swap"):
            await here.peer.request(Swap(number=1), timeout=0.01)
        asked = begun(here.peer.request(Swap(number=2)))
        await idle()
        here.receive(Agreed, 1)  # late, without a handler
        here.receive(Cancelled, 1)  # and once more, of a class with one
        here.receive(Agreed, 2)
        assert await asked == Agreed(number=2)
        here.receive(Agreed, 2)
        await idle()
        assert here.handled == [Cancelled(number=1)]
        assert here.late == 2


async def test_a_late_answer_goes_to_its_handler() -> None:
    async with scene() as here:
        with pytest.raises(ReplyTimeout):
            await here.peer.request(Swap(number=1), timeout=0.01)
        plain = begun(here.peer.request(Ask(number=1), Cancelled))
        await idle()
        here.receive(Cancelled, 1)
        await idle()
        assert here.handled == [Cancelled(number=1)]
        assert not plain.done()
        here.receive(Cancelled, 5)
        assert await plain == Cancelled(number=5)


async def test_without_a_match_a_peer_that_never_answers_is_not_asked_again() -> None:
    async with scene() as here:
        with pytest.raises(ReplyTimeout) as first:
            await here.peer.request(Ask(number=1), Answer, timeout=0.01)
        assert not isinstance(first.value, OutOfStep)
        with pytest.raises(OutOfStep, match=r"Ask was not sent: Ask has been sent to 02aa.* before") as second:
            await here.peer.request(Ask(number=2), Answer, timeout=0.01)
        assert second.value.timeout == 0.01
        assert second.value.__context__ is None
        assert here.sent() == [raw(Ask, 1)]
        here.transport.lose_peer(ALICE)
        here.transport.connect_peer(ALICE)
        asked = begun(here.peer.request(Ask(number=3), Answer))
        await until(lambda: len(here.sent()) == 2)
        here.receive(Answer, 3)
        assert await asked == Answer(number=3)


async def test_a_peer_that_answers_twice_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async with scene() as here:
        with caplog.at_level(logging.WARNING, logger="oddwire.app"):
            asked = begun(here.peer.request(Ask(number=1), Answer))
            await idle()
            for _ in range(3):
                here.receive(Answer, 1)
            assert await asked == Answer(number=1)
        [record] = caplog.records
        assert "reply that nobody asked for: test.Answer 0x8c03: no request waits for this Answer" in record.message
        assert here.late == 2
        with pytest.raises(OutOfStep, match="has sent a message of class Answer that answers nothing"):
            await here.peer.request(Ask(number=2), Answer, timeout=None)
        assert here.sent() == [raw(Ask, 1)]
        asked = begun(here.peer.request(Ask(number=2), Answer, match="number"))
        await idle()
        here.receive(Answer, 2)
        assert await asked == Answer(number=2)


async def test_traced_messages_are_warned_of_as_well(caplog: pytest.LogCaptureFixture) -> None:
    traces = Tracer()
    async with scene(traces) as here:
        asked = begun(here.peer.request(Ask(number=1), Answer))
        await idle()
        here.receive(Answer, 1)
        await asked
        with caplog.at_level(logging.WARNING, logger="oddwire.app"):
            here.receive(Answer, 1)
        assert "reply that nobody asked for" in caplog.text
        with pytest.raises(ReplyTimeout):
            await here.peer.request(Ask(number=2), Note, timeout=0.01)
        here.receive(Note, 2)
        received = [(event.message, event.handled) for event in traces.events if event.direction == "received"]
        assert received == [(Answer(number=1), True), (Answer(number=1), False), (Note(number=2), False)]
        assert traces.events[1].latency is not None


async def test_the_queue_counts_in_the_timeout() -> None:
    async with scene() as here:
        first = begun(here.peer.request(Ask(number=1), Answer, timeout=None))
        await idle()
        with pytest.raises(ReplyTimeout, match=r"Ask was not sent within 0\.01 s: other requests to 02aa.* wait for"):
            await here.peer.request(Ask(number=2), Answer, timeout=0.01)
        here.receive(Answer, 1)
        assert await first == Answer(number=1)
        assert here.sent() == [raw(Ask, 1)]


async def test_a_cancelled_request_in_the_queue_is_never_sent() -> None:
    async with scene() as here:
        tasks = [begun(here.peer.request(Ask(number=number), Answer)) for number in range(3)]
        await idle()
        tasks[1].cancel()
        here.receive(Answer, 0)
        await until(lambda: len(here.sent()) == 2)
        here.receive(Answer, 2)
        assert [await tasks[0], await tasks[2]] == [Answer(number=0), Answer(number=2)]
        assert here.sent() == [raw(Ask, 0), raw(Ask, 2)]


async def test_a_malformed_message_of_the_class_is_the_answer() -> None:
    async with scene() as here:
        asked = [begun(here.peer.request(Ask(number=number), Answer)) for number in range(2)]
        matched = begun(here.peer.request(Swap(number=7)))
        await idle()
        here.transport.receive(ALICE, b"\x8c\x03short")
        with pytest.raises(MalformedMessage, match=r"test\.Answer 0x8c03"):
            await asked[0]
        await until(lambda: raw(Ask, 1) in here.sent())
        here.transport.receive(ALICE, raw(Agreed, 7)[:5])
        here.receive(Answer, 1)
        here.receive(Agreed, 7)
        assert await asked[1] == Answer(number=1)
        assert await matched == Agreed(number=7), "nothing tells whose a malformed one was"
        assert len(here.transport.warnings) == 2
        with pytest.raises(ReplyTimeout):
            await here.peer.request(Ask(number=2), Answer, timeout=0.01)
        here.transport.receive(ALICE, b"\x8c\x03late")
        asked.append(begun(here.peer.request(Ask(number=3), Answer)))
        await until(lambda: raw(Ask, 3) in here.sent())
        here.receive(Answer, 3)
        assert await asked[2] == Answer(number=3)
        assert here.late == 1


# What a match may be -------------------------------------------------------------------------------------


async def test_a_match_that_raises_fails_the_request_with_its_error() -> None:
    async with scene() as here:
        asked = begun(here.peer.request(Ask(number=1), Answer, match=lambda found: found.nothing))
        await idle()
        here.receive(Answer, 1)
        with pytest.raises(AttributeError, match="nothing"):
            await asked
        assert not here.queue.is_asking


class Undecided:
    """What has no truth value, as an array of several numbers."""

    def __bool__(self) -> bool:
        raise ValueError("which of them?")


async def decide(found: Message) -> bool:
    return False


def raises(error: BaseException) -> Callable[[Message], object]:
    def match(found: Message) -> object:
        raise error

    return match


@pytest.mark.parametrize(
    ("match", "kind", "text"),
    [
        (lambda found: Undecided(), ValueError, "which of them"),
        (lambda found: next(iter(())), RuntimeError, "^match raised StopIteration$"),
        (raises(asyncio.CancelledError()), RuntimeError, "^match raised CancelledError$"),
        (raises(SystemExit(3)), RuntimeError, "^match raised SystemExit: 3$"),
        (decide.__call__, TypeError, r"^match returned the coroutine decide\(\), which nobody awaits"),
    ],
)
async def test_a_match_that_says_nothing_costs_no_message_and_no_connection(
    match: Callable[[Message], object], kind: type[Exception], text: str
) -> None:
    async with scene() as here:
        tasks = [
            begun(here.peer.request(Ask(number=1), Note, match=match)),
            begun(here.peer.wait_for(Note, match)),
            begun(read_one(here.peer, Note, match)),
        ]
        late = begun(here.peer.request(Ask(number=2), Note, match=match, timeout=0.01))
        await asyncio.wait([late])
        here.receive(Note, 1)
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            with pytest.raises(kind, match=text):
                raise error
        assert here.handled == [Note(number=1)]


async def test_what_is_wrong_is_told_before_anything_is_sent() -> None:
    async with scene() as here:
        with pytest.raises(
            EncodeError, match=r"what is asked for should be a message class.*not None; Ask declares no replies="
        ):
            await here.peer.request(Ask(number=1))
        with pytest.raises(EncodeError, match="match='swap'"):
            await here.peer.request(Ask(number=1), Answer, match="swap")
        with pytest.raises(TypeError, match="match should be a function of the message"):
            await here.peer.request(Ask(number=1), Answer, match=7)  # type: ignore[call-overload]
        with pytest.raises(NotSupported, match=r"Long has 70\d+ bytes here, and 02aa.* has no session"):
            await here.peer.request(Long(text=bytes(70_000)), Answer)
        with pytest.raises(NotSupported, match="even type"):
            await here.peer.request(Even(number=1), Answer)
        assert here.sent() == []
        assert here.queue.exchanges is None or not here.queue.exchanges.is_active
        assert not here.queue.is_asking


async def test_no_more_wait_than_the_limit_says() -> None:
    async with scene(limits=Limits(open_requests=2)) as here:
        tasks = [begun(here.peer.request(Ask(number=number), Answer)) for number in range(2)]
        await idle()
        with pytest.raises(QuotaExceeded) as caught:
            await here.peer.request(Ask(number=2), Answer)
        assert caught.value.limit == "open_requests"
        for task in tasks:
            task.cancel()


async def test_an_extensions_own_limit_holds_for_plain_requests() -> None:
    asking = Extension("asking", version="1.0", limits=Limits(open_requests=1))
    asking.register(First)
    async with scene(asking) as here:
        task = begun(here.peer.request(First(number=1), Answer, match="number", plain=True))
        await idle()
        with pytest.raises(QuotaExceeded):
            await here.peer.request(First(number=2), Answer, match="number", plain=True)
        here.receive(Answer, 1)
        assert await task == Answer(number=1)


@message(0x8D89, codec="bolt")
class First(Message):
    number: u64


# Sessions ------------------------------------------------------------------------------------------------


@message(0x8D85, codec="bolt", name="Swap")
class LooseSwap(Message):
    """A Swap for which a handler may answer what it likes."""

    number: u64


def wrong_answers(swap_class: type[Message] = LooseSwap) -> Extension:
    extension = Extension("test", version="1.0")

    if swap_class is Swap:
        extension.register(Swap)
        return extension

    @extension.on(LooseSwap)
    async def swap(context: Context, request: LooseSwap) -> Agreed | Cancelled:
        return Agreed(number=request.number + request.number // 100)

    return extension


async def test_with_a_session_the_id_decides_and_the_match_is_checked() -> None:
    network = MemoryNetwork()
    async with (
        Application(wrong_answers(), transport=network.transport()) as left,
        Application(wrong_answers(Swap), transport=network.transport()) as right,
    ):
        peer = await right.connect(left.uris[0])
        assert await peer.request(Swap(number=1)) == Agreed(number=1)
        with pytest.raises(RemoteFailure, match=r"should have answered this Swap: its Agreed has another number"):
            await peer.request(Swap(number=100))
        assert await peer.request(Swap(number=7), Agreed, match=lambda found: found.number == 7) == Agreed(number=7)
        with pytest.raises(RemoteFailure, match="its Agreed is for something else"):
            await peer.request(Swap(number=7), match=lambda found: False)
        with pytest.raises(ZeroDivisionError):
            await peer.request(Swap(number=7), match=lambda found: 1 // 0)


async def test_plain_goes_without_the_session() -> None:
    network, traces = MemoryNetwork(), Tracer()
    async with (
        Application(wrong_answers(), traces, transport=network.transport()) as left,
        Application(wrong_answers(Swap), transport=network.transport()) as right,
    ):
        peer = await right.connect(left.uris[0])
        assert await peer.request(Swap(number=1)) == Agreed(number=1)
        queue = right._running().core.queues[peer.node_id]
        assert queue.exchanges is None
        assert await peer.request(Swap(number=2), plain=True) == Agreed(number=2)
        assert queue.exchanges is not None
        with pytest.raises(ReplyTimeout):
            await peer.request(Swap(number=100), plain=True, timeout=0.05)
        assert right.counters.dropped["late_reply"] == 1, "an Agreed of another number"


async def test_plain_is_not_for_long_messages() -> None:
    network = MemoryNetwork()
    extension = extension_of([])
    async with (
        Application(extension, transport=network.transport()) as left,
        Application(extension, transport=network.transport()) as right,
    ):
        peer = await right.connect(left.uris[0])
        with pytest.raises(NotSupported, match="plain=True sends it without the session: it takes 65535 at most"):
            await peer.request(Long(text=bytes(70_000)), Answer, plain=True)


# Sends that do not end well --------------------------------------------------------------------------------


class Host(ScriptedTransport, HostTransport):
    """Sends by a host node, which may send what is cancelled here, and refuses what begins with the type of Swap."""

    async def send(self, peer: NodeId, payload: bytes) -> None:
        if payload[:2] == raw(Swap, 0)[:2]:
            raise NodeRefused("no", code=-1)
        await super().send(peer, payload)

    def __init__(self) -> None:
        ScriptedTransport.__init__(self)

    async def configure(self, *_: Any, **__: Any) -> Any:
        return {}


@pytest.mark.parametrize(("kind", "owed"), [(ScriptedTransport, False), (Host, True)])
async def test_what_was_cancelled_while_it_was_sent(kind: type[ScriptedTransport], owed: bool) -> None:
    transport = kind()
    async with scene(transport=transport) as here:
        transport.stick()
        task = begun(here.peer.request(Ask(number=1), Note))
        await idle()
        task.cancel()
        await asyncio.wait([task])
        transport.stuck.set()
        here.receive(Note, 1)
        await idle()
        assert here.handled == ([] if owed else [Note(number=1)])
        assert here.late == owed


class Prompt(Host):
    """One that says at once what it does not send."""

    def send_nowait(self, peer: NodeId, payload: bytes) -> bool:
        if payload[:2] == raw(Swap, 0)[:2]:
            raise NodeRefused("no", code=-1)
        return False


@pytest.mark.parametrize("kind", [Host, Prompt])
async def test_what_a_host_node_refuses_was_not_sent(kind: type[Host]) -> None:
    async with scene(transport=kind()) as here:
        for number in range(2):
            with pytest.raises(NodeRefused):
                await here.peer.request(Swap(number=number), Note, match=lambda found: True)
            with pytest.raises(NodeRefused):
                await here.peer.request(Swap(number=number), Cancelled)
        here.receive(Note, 1)
        here.receive(Cancelled, 1)
        await idle()
        assert here.handled == [Note(number=1), Cancelled(number=1)]


async def test_the_end_of_the_connection_ends_what_is_queued_too() -> None:
    async with scene() as here:
        tasks = [begun(here.peer.request(Ask(number=number), Answer, timeout=None)) for number in range(3)]
        tasks.append(begun(here.peer.request(Swap(number=1), timeout=None)))
        tasks.append(begun(here.peer.wait_for(Note, timeout=None)))
        await idle()
        here.transport.lose_peer(ALICE, "cable cut")
        for found in await asyncio.gather(*tasks, return_exceptions=True):
            assert type(found) is ConnectionClosed
            assert found.reason == "cable cut"


class Kept(Exception): ...


def fails(found: Message) -> bool:
    raise Kept


async def test_errors_leave_no_cycles() -> None:
    async with scene() as here:
        with pytest.raises(ReplyTimeout):
            await here.peer.request(Ask(number=1), Note, timeout=0.01)
        gc.collect()
        gc.disable()
        try:
            for ask in (
                lambda: here.peer.request(Ask(number=1), Answer, match=fails),
                lambda: here.peer.wait_for(Answer, fails),
                lambda: read_one(here.peer, Answer, fails),
            ):
                task = begun(ask())
                await idle()
                here.receive(Answer, 1)
                with pytest.raises(Kept) as caught:
                    await task
                error = weakref.ref(caught.value)
                del caught, task
                await asyncio.sleep(0)
                assert error() is None
            for ask, kind in (
                (lambda: here.peer.request(Ask(number=1), Note, timeout=0.01), OutOfStep),
                (lambda: here.peer.request(Swap(number=1), timeout=0.01), ReplyTimeout),
                (lambda: here.peer.wait_for(Note, timeout=0.01), ReplyTimeout),
                (lambda: here.peer.request(Swap(number=2), timeout=None), ConnectionClosed),
                (lambda: here.peer.request(Ask(number=2), Note, timeout=None), ConnectionClosed),
                (lambda: here.peer.wait_for(Note, timeout=None), ConnectionClosed),
                (lambda: read_one(here.peer, Note), ConnectionClosed),
            ):
                task = begun(ask())
                await idle()
                if kind is ConnectionClosed:
                    here.transport.lose_peer(ALICE)
                await asyncio.wait([task])
                error = weakref.ref(task.exception())
                assert type(error()) is kind
                del task
                await asyncio.sleep(0)
                assert error() is None, kind
                if kind is ConnectionClosed:
                    here.transport.connect_peer(ALICE)
                    with pytest.raises(ReplyTimeout):
                        await here.peer.request(Ask(number=1), Note, timeout=0.01)
        finally:
            gc.enable()


async def read_one(peer: Peer, cls: type[Message], match: Callable[[Any], object] | None = None) -> Message:
    async with peer.messages(cls, match) as stream:
        return await anext(stream)


# Waiting for a message -------------------------------------------------------------------------------------


async def test_what_is_waited_for_does_not_go_to_its_handler() -> None:
    async with scene() as here:
        waiting = begun(here.peer.wait_for(Note | Cancelled, lambda found: found.number > 5))
        other = begun(here.peer.wait_for(Note))
        await idle()
        for number in (1, 6, 7):
            here.receive(Note, number)
        assert await waiting == Note(number=6)
        assert await other == Note(number=1)
        await idle()
        assert here.handled == [Note(number=7)]
        assert not here.queue.needs_slow_path
        assert not here.queue.is_asking


async def test_an_answer_is_not_what_is_waited_for() -> None:
    async with scene() as here:
        waiting = begun(here.peer.wait_for(Agreed))
        asked = begun(here.peer.request(Swap(number=1)))
        await idle()
        here.receive(Agreed, 1)
        here.receive(Agreed, 2)
        assert await asked == Agreed(number=1)
        assert await waiting == Agreed(number=2)


async def test_it_does_not_come() -> None:
    async with scene() as here:
        with pytest.raises(ReplyTimeout, match=r"no Note or Cancelled from 02aa.* within 0\.01 s") as caught:
            await here.peer.wait_for(Note | Cancelled, timeout=0.01)
        assert caught.value.timeout == 0.01
        assert not here.queue.needs_slow_path
        with pytest.raises(TimeoutError) as own:
            async with asyncio.timeout(0.01):
                await here.peer.wait_for(Note, timeout=None)
        assert not isinstance(own.value, ReplyTimeout)


async def test_what_cannot_be_waited_for() -> None:
    async with scene() as here:
        for wrong, told in ((int, "not int"), (First, "First should be a message that a loaded extension handles")):
            with pytest.raises(EncodeError, match=told):
                await here.peer.wait_for(wrong)  # type: ignore[arg-type]
            with pytest.raises(EncodeError, match=told):
                here.peer.messages(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"wait_for\(\): match should be"):
            await here.peer.wait_for(Note, "number")  # type: ignore[call-overload]
        with pytest.raises(TypeError, match=r"messages\(\): match should be"):
            here.peer.messages(Note, "number")  # type: ignore[call-overload]
        with pytest.raises(ValueError, match=r"wait_for\(\)"):
            here.peer.wait_for(Note, timeout=-1)
        here.transport.lose_peer(ALICE)
        with pytest.raises(PeerNotConnected):
            await here.peer.wait_for(Note)
        with pytest.raises(PeerNotConnected):
            async with here.peer.messages(Note):
                pass


async def test_on_connect_may_wait_and_ask() -> None:
    handled: list[Message] = []
    extension, greeted = extension_of(handled), []

    @extension.on_connect
    async def connected(context: Context) -> None:
        greeted.append(await context.peer.wait_for(Note))
        greeted.append(await context.peer.request(Swap(number=1)))

    transport = ScriptedTransport()
    async with Application(extension, transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        await idle()
        transport.receive(ALICE, raw(Cancelled, 9))
        transport.receive(ALICE, raw(Note, 1))
        await until(lambda: transport.sent)
        assert handled == []
        transport.receive(ALICE, raw(Agreed, 1))
        await until(lambda: handled)
        assert greeted == [Note(number=1), Agreed(number=1)]
        assert handled == [Cancelled(number=9)]
        assert app.counters.dropped["late_reply"] == 0


# Streams ---------------------------------------------------------------------------------------------------


async def test_a_stream_has_all_that_come_and_the_handler_the_rest() -> None:
    async with scene() as here:
        here.receive(Note, 0)
        async with here.peer.messages(Note | Cancelled, lambda found: found.number < 9) as stream:
            for number in (1, 9, 2):
                here.receive(Note, number)
            here.receive(Cancelled, 3)
            assert [await anext(stream) for _ in range(3)] == [
                Note(number=1),
                Note(number=2),
                Cancelled(number=3),
            ]
            later = begun(anext(stream))  # type: ignore[arg-type]
            await idle()
            here.receive(Note, 4)
            assert await later == Note(number=4)
            here.receive(Note, 5)  # is not read
        here.receive(Note, 6)
        await idle()
        assert here.handled == [Note(number=0), Note(number=9), Note(number=6)]
        assert here.queue.held == 0
        assert not here.queue.needs_slow_path
        assert not here.queue.is_asking


async def test_all_who_wait_have_the_message() -> None:
    async with scene() as here:
        async with here.peer.messages(Note) as one, here.peer.messages(Note) as two:
            waiting = begun(here.peer.wait_for(Note))
            await idle()
            here.receive(Note, 1)
            assert [await anext(one), await anext(two), await waiting] == [Note(number=1)] * 3
        assert here.handled == []


async def test_a_slow_reader_holds_the_peer_up() -> None:
    async with scene() as here:
        async with here.peer.messages(Note) as stream:
            count = 0
            while not here.transport.flow:
                here.receive(Note, count)
                count += 1
            assert here.transport.flow == [("pause", ALICE)]
            assert here.queue.held > HIGH_WATER
            here.receive(Note, count)
            assert [(await anext(stream)).number for _ in range(count + 1)] == [*range(count + 1)]
            assert here.transport.flow == [("pause", ALICE), ("resume", ALICE)]
            while len(here.transport.flow) < 3:
                here.receive(Note, 0)
        assert here.transport.flow[3:] == [("resume", ALICE)], "what was not read is nobody's any more"
        assert here.queue.held == here.queue.counted == 0
        assert here.app._running().core.memory_budget.held == 0


async def test_who_waits_for_a_message_behind_a_full_queue_gets_it() -> None:
    async with scene() as here:
        gate = asyncio.Event()

        async def hold(*_: Any) -> None:
            await gate.wait()

        queue = here.queue
        here.app._running()._workers.enqueue(queue, hold, 1, None, 1)
        await idle()
        while not here.transport.flow:
            here.receive(Note)
        here.receive(Cancelled, 1)  # held by the transport
        async with here.peer.messages(Cancelled) as stream:
            assert await anext(stream) == Cancelled(number=1)
        gate.set()


async def test_large_messages_count_with_those_of_all_peers() -> None:
    network = MemoryNetwork()
    extension = extension_of([])
    async with (
        Application(extension, transport=network.transport()) as left,
        Application(extension, transport=network.transport()) as right,
    ):
        peer = await right.connect(left.uris[0])
        core = right._running().core
        async with peer.messages(Long) as stream:
            await left.peers[0].send(Long(text=bytes(200_000)))
            await until(lambda: core.memory_budget.held > 200_000)
            assert len((await anext(stream)).text) == 200_000
            assert core.memory_budget.held == 0
            await left.peers[0].send(Long(text=bytes(200_000)))
            await until(lambda: core.memory_budget.held > 200_000)
        assert core.memory_budget.held == 0


async def test_at_the_end_of_the_connection_what_came_is_read_first() -> None:
    async with scene() as here:
        async with here.peer.messages(Note) as stream:
            here.receive(Note, 1)
            here.transport.lose_peer(ALICE, "cable cut")
            here.transport.connect_peer(ALICE)
            here.receive(Note, 2)
            assert await anext(stream) == Note(number=1)
            for _ in range(2):
                with pytest.raises(ConnectionClosed, match="cable cut"):
                    await anext(stream)
        await until(lambda: here.handled)
        assert here.handled == [Note(number=2)]
        assert here.queue.held == 0


async def test_a_stream_of_an_old_connection_does_not_resume_the_new_one() -> None:
    async with scene() as here:
        async with here.peer.messages(Note) as stream:
            while not here.transport.flow:
                here.receive(Note)
            old = here.queue
            here.transport.lose_peer(ALICE)
            await until(lambda: ALICE not in here.app._running().core.queues)
            here.transport.connect_peer(ALICE)
            here.transport.flow.clear()
            async for _ in stream:
                if not old.held:
                    break
        assert old.held == old.counted == 0
        assert here.transport.flow == []
        assert here.app._running().core.memory_budget.held == 0


async def test_a_match_that_raises_ends_the_stream_behind_what_came() -> None:
    async with scene() as here:
        async with here.peer.messages(Note, lambda found: 1 // (2 - found.number)) as stream:
            here.receive(Note, 1)
            here.receive(Note, 2)
            here.receive(Note, 3)
            assert await anext(stream) == Note(number=1)
            with pytest.raises(ZeroDivisionError):
                await anext(stream)
            with pytest.raises(LocalProtocolError, match="this stream has ended: ZeroDivisionError was raised"):
                await anext(stream)
        await idle()
        assert here.handled == [Note(number=2), Note(number=3)]


async def test_a_stream_is_used_as_it_should_be() -> None:
    async with scene() as here:
        stream: MessageStream[Note] = here.peer.messages(Note)
        with pytest.raises(LocalProtocolError, match=r"open the stream first: async with peer\.messages"):
            await anext(stream)
        with pytest.raises(LocalProtocolError, match=r"this stream is not open: async with peer\.messages"):
            await stream.__aexit__(None, None, None)
        async with stream:
            reader = begun(anext(stream))  # type: ignore[arg-type]
            await idle()
            with pytest.raises(LocalProtocolError, match="another task reads this stream already"):
                await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await reader
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        with pytest.raises(LocalProtocolError, match="this stream was open before"):
            async with stream:
                pass


async def test_a_cancelled_reader_loses_nothing() -> None:
    async with scene() as here, here.peer.messages(Note) as stream:
        reader = begun(anext(stream))  # type: ignore[arg-type]
        await idle()
        here.receive(Note, 1)
        reader.cancel()
        await asyncio.wait([reader])
        assert await anext(stream) == Note(number=1)


async def test_rates_hold_for_what_is_waited_for_and_allow_does_not() -> None:
    asking = Extension("asking", version="1.0", allow=["03" + "bb" * 32], limits=Limits(messages_per_second=1.0))

    @asking.on(First)
    async def first(context: Context, message: First) -> None:
        raise AssertionError("Alice is not allowed")

    async with scene(asking) as here:
        async with here.peer.messages(First) as stream:
            for number in range(3):
                here.receive(First, number)
            assert await anext(stream) == First(number=0)
        assert here.app.counters.throttled["messages_per_second"] > 0
        assert here.app.counters.dropped["allow"] == 0


async def test_the_closing_application_ends_who_waits() -> None:
    async with scene() as here:
        waiting = begun(here.peer.wait_for(Note, timeout=None))
        reading = begun(read_one(here.peer, Note))
        await idle()
    for task in (waiting, reading):
        with pytest.raises(ConnectionClosed, match="the application is closing"):
            await task
