from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from typing import Any, Union

import pytest
from tests.support.messages import Answer, Ask
from tests.support.tracing import Tracer
from tests.support.waiting import until

from oddwire.app import AppContext, Application, Context, Extension, Peer, hookimpl
from oddwire.app.dispatch.error_peers import with_peer
from oddwire.errors import (
    ConnectionClosed,
    EncodeError,
    LocalProtocolError,
    MalformedMessage,
    NodeRefused,
    NotSupported,
    PeerNotConnected,
    QuotaExceeded,
    Refuse,
    RemoteFailure,
    ReplyTimeout,
)
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message, u32, u64
from oddwire.session.constants import SESSION_TYPE
from oddwire.session.limits import Limits
from oddwire.session.wire.frame_types import Code, Hello, HelloFlag, Reply, Request, Spoken
from oddwire.session.wire.frames import addresses, decode, encode, encode_reply
from oddwire.testing import ScriptedTransport
from oddwire.transports.memory import MemoryNetwork

ALICE = NodeId("02" + "aa" * 32)


@message(0x8C05)
class Count(Message):
    parts: u32
    size: u32 = 0


@message(0x8C07)
class Part(Message):
    number: u32
    data: bytes = b""


@message(0x8C09)
class Note(Message):
    text: bytes


@message(0x8C0B)
class Other(Message): ...


class Failures:
    name = "failures"

    def __init__(self) -> None:
        self.seen: list[BaseException] = []

    @hookimpl
    def handler_failed(self, error: BaseException) -> None:
        self.seen.append(error)


class Server:
    """An extension whose handler does what the number asked for says, and what came of it."""

    def __init__(self) -> None:
        self.extension = extension = Extension("test", version="1.0")
        self.gate = asyncio.Event()
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self.made = 0
        self.closed = 0
        self.notes: list[bytes] = []
        for known in (Answer, Part, Other):
            extension.register(known)

        @extension.on(Ask)
        async def answer(context: Context, request: Ask) -> Answer | Other | None:
            self.begun.append(request.number)
            try:
                return await self._answer(request.number)
            except asyncio.CancelledError:
                self.cancelled.append(request.number)
                raise

        @extension.on(Count)
        async def count(context: Context, request: Count) -> AsyncIterator[Part]:
            try:
                for number in range(request.parts):
                    self.made += 1
                    yield Part(number=number, data=bytes(request.size))
                if request.size == 1:
                    raise Refuse("that was all", code=2000)
                if request.size == 2:
                    await asyncio.Event().wait()
            finally:
                self.closed += 1

        @extension.on(Note)
        async def note(context: Context, request: Note) -> None:
            self.notes.append(request.text)

    async def _answer(self, number: int) -> Answer | Other | None:
        match number:
            case 400:
                raise Refuse("no such asset", code=1404)
            case 500:
                raise ZeroDivisionError("a secret")
            case 204:
                return None
            case 300:
                return Other()
            case 600:
                return Answer(number=-1)
        if number >= 1000:
            await self.gate.wait()
        return Answer(number=number)


def route(app: Application) -> int:
    """Return the addresses of frames to an application from a peer that uses its own."""
    session = app._dispatcher.session  # type: ignore[union-attr]
    assert session is not None
    return session.shared.instance << 32 | session.shared.instance


@pytest.fixture
def server() -> Server:
    return Server()


class Pair:
    """A server and a client, connected."""

    def __init__(self, server: Application, client: Application) -> None:
        self.server = server
        self.client = client

    @property
    def peer(self) -> Peer:
        """The server, as the client sees it."""
        return self.client.peers[0]

    def open_calls(self) -> int:
        session = self.client._dispatcher.messenger.session_of(self.peer.node_id)  # type: ignore[union-attr]
        (link,) = session.links.values()  # type: ignore[union-attr]
        return len(link.calls.asked)


@pytest.fixture
async def pair(server: Server) -> AsyncIterator[Pair]:
    network = MemoryNetwork()
    async with (
        Application(server.extension, transport=network.transport()) as left,
        Application(Server().extension, transport=network.transport()) as right,
    ):
        await right.connect(left.uris[0])
        assert await right.peers[0].wait_for_hello()
        yield Pair(left, right)


# Requests -------------------------------------------------------------------------------------------


async def test_each_request_gets_its_own_reply_whatever_their_order(pair: Pair, server: Server) -> None:
    late = asyncio.create_task(pair.peer.request(Ask(number=1000), Answer))
    early = [asyncio.create_task(pair.peer.request(Ask(number=number), Answer)) for number in range(5)]
    assert [(await task).number for task in early] == [0, 1, 2, 3, 4]
    assert not late.done()
    server.gate.set()
    assert await late == Answer(number=1000)


async def test_a_refusal_reaches_the_caller_with_code_and_text(pair: Pair) -> None:
    with pytest.raises(RemoteFailure, match="no such asset") as caught:
        await pair.peer.request(Ask(number=400), Answer)
    assert (caught.value.code, caught.value.text) == (1404, "no such asset")


async def test_of_another_exception_the_caller_learns_only_that_there_was_one(server: Server) -> None:
    failures = Failures()
    network = MemoryNetwork()
    async with (
        Application(server.extension, failures, transport=network.transport()) as left,
        Application(Server().extension, transport=network.transport()) as right,
    ):
        peer = await right.connect(left.uris[0])
        for number in (500, 600):
            with pytest.raises(RemoteFailure) as caught:
                await peer.request(Ask(number=number), Answer)
            assert caught.value.code == Code.INTERNAL
            assert "secret" not in str(caught.value)
        with pytest.raises(RemoteFailure):
            await peer.request(Ask(number=400), Answer)  # a refusal is no failure
    assert [type(error).__name__ for error in failures.seen] == ["ZeroDivisionError", "ValueOutOfRange"]


async def test_a_handler_has_to_give_the_reply_that_was_asked_for(pair: Pair) -> None:
    with pytest.raises(RemoteFailure, match="gave no reply") as caught:
        await pair.peer.request(Ask(number=204), Answer)
    assert caught.value.code == Code.NO_REPLY
    with pytest.raises(RemoteFailure, match=r"should have answered Ask with Answer, not with test\.Other 0x8c0b"):
        await pair.peer.request(Ask(number=300), Answer)


async def test_a_request_nobody_handles_is_refused(pair: Pair) -> None:
    with pytest.raises(RemoteFailure, match=r"test\.Other 0x8c0b is not handled here") as caught:
        await pair.peer.request(Other(), Answer)
    assert caught.value.code == Code.UNKNOWN_MESSAGE


async def test_a_caller_that_times_out_has_the_handler_cancelled(pair: Pair, server: Server) -> None:
    with pytest.raises(ReplyTimeout, match=r"no Answer from 02.* within 0\.01 s of Ask") as caught:
        await pair.peer.request(Ask(number=1000), Answer, timeout=0.01)
    assert caught.value.timeout == 0.01
    await until(lambda: server.cancelled == [1000])
    assert pair.open_calls() == 0


async def test_a_cancelled_caller_has_the_handler_cancelled(pair: Pair, server: Server) -> None:
    task = asyncio.create_task(pair.peer.request(Ask(number=1000), Answer, timeout=None))
    await until(lambda: server.begun == [1000])
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    await until(lambda: server.cancelled == [1000])
    assert await pair.peer.request(Ask(number=1), Answer) == Answer(number=1)


async def test_a_timeout_of_the_callers_own_stays_its_own(pair: Pair) -> None:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.01):
            await pair.peer.request(Ask(number=1000), Answer)
    assert not isinstance(caught.value, ReplyTimeout)


async def test_requests_end_with_the_connection_and_so_do_their_handlers(pair: Pair, server: Server) -> None:
    task = asyncio.create_task(pair.peer.request(Ask(number=1000), Answer, timeout=None))
    await until(lambda: server.begun == [1000])
    await pair.client.disconnect(pair.peer.node_id, "cable cut")
    with pytest.raises(ConnectionClosed, match="cable cut"):
        await task
    await until(lambda: server.cancelled == [1000])


async def test_requests_end_when_the_application_closes(server: Server) -> None:
    network = MemoryNetwork()
    async with Application(server.extension, transport=network.transport(), grace=0) as left:
        async with Application(Server().extension, transport=network.transport()) as right:
            peer = await right.connect(left.uris[0])
            task = asyncio.create_task(peer.request(Ask(number=1000), Answer, timeout=None))
            await until(lambda: server.begun == [1000])
        with pytest.raises(ConnectionClosed, match="the application is closing"):
            await task


async def test_more_requests_than_the_peer_takes_wait_for_their_turn(server: Server) -> None:
    network = MemoryNetwork()
    async with (
        Application(server.extension, transport=network.transport(), limits=Limits(requests=3)) as left,
        Application(Server().extension, transport=network.transport(), limits=Limits(open_requests=10)) as right,
    ):
        peer = await right.connect(left.uris[0])
        tasks = [asyncio.create_task(peer.request(Ask(number=1000 + n), Answer)) for n in range(10)]
        await until(lambda: len(server.begun) == 3)
        with pytest.raises(QuotaExceeded) as caught:
            await peer.request(Ask(number=1), Answer)
        assert caught.value.limit == "open_requests"
        tasks[5].cancel()  # it had not gone out
        server.gate.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [answer.number for answer in done if isinstance(answer, Answer)] == [
            1000 + n for n in range(10) if n != 5
        ]
        assert server.begun == [1000 + n for n in range(10) if n != 5]
        assert left.counters.to_json() == {}


async def test_a_handler_that_asks_gets_its_reply_though_its_lane_is_full(server: Server) -> None:
    answers: list[Answer] = []
    asking = Extension("asking", version="1.0")

    @asking.on(Note)
    async def ask(context: Context, request: Note) -> None:
        if request.text == b"first":
            answers.append(await context.peer.request(Ask(number=1000), Answer))

    asking.register(Ask)
    asking.register(Answer)
    network = MemoryNetwork()
    async with (
        Application(server.extension, transport=network.transport()) as left,
        Application(asking, transport=network.transport()) as right,
    ):
        await right.connect(left.uris[0])
        await right.peers[0].wait_for_hello()
        peer = left.peers[0]
        await peer.send(Note(text=b"first"))
        await until(lambda: server.begun == [1000])
        for _ in range(200):
            await peer.send(Note(text=bytes(10_000)))
        server.gate.set()
        await until(lambda: answers)


# Streams --------------------------------------------------------------------------------------------


async def test_a_handler_that_yields_answers_with_a_stream(pair: Pair) -> None:
    parts = [part.number async for part in pair.peer.stream(Count(parts=100), Part)]
    assert parts == list(range(100))
    assert pair.open_calls() == 0


async def test_a_stream_is_made_no_faster_than_it_is_used(pair: Pair, server: Server) -> None:
    stream = pair.peer.stream(Count(parts=1000), Part, credit=4)
    assert (await anext(stream)).number == 0
    await asyncio.sleep(0.01)
    made = server.made
    assert made <= 6  # four may come unused, one is in use, one waits to be sent
    assert (await anext(stream)).number == 1
    assert (await anext(stream)).number == 2
    await until(lambda: server.made > made)
    await stream.aclose()


async def test_a_stream_left_early_has_its_handler_closed(pair: Pair, server: Server) -> None:
    async for part in pair.peer.stream(Count(parts=1000), Part):
        if part.number == 3:
            break
    await until(lambda: server.closed == 1)
    await until(lambda: pair.open_calls() == 0)
    assert server.made < 100


async def test_what_ends_a_stream_comes_after_its_parts(pair: Pair) -> None:
    seen: list[int] = []

    async def read() -> None:
        async for part in pair.peer.stream(Count(parts=5, size=1), Part):
            seen.append(part.number)  # noqa: PERF401 - what came before the error shall be seen

    with pytest.raises(RemoteFailure, match="that was all") as caught:
        await read()
    assert seen == [0, 1, 2, 3, 4]
    assert caught.value.code == 2000


async def test_a_part_that_does_not_come_in_time_ends_the_stream(pair: Pair, server: Server) -> None:
    with pytest.raises(ReplyTimeout, match=r"no Answer from 02.* within 0\.01 s of Ask"):
        await anext(pair.peer.stream(Ask(number=1000), Answer, timeout=0.01))
    await until(lambda: server.cancelled == [1000])


async def test_a_later_part_that_does_not_come_in_time_is_told_by_those_that_came(pair: Pair, server: Server) -> None:
    stream = pair.peer.stream(Count(parts=3, size=2), Part, timeout=1.0)
    with pytest.raises(
        ReplyTimeout, match=r"^no Part from 02\w+ in 1 s of waiting after part 3 of the stream for Count$"
    ) as caught:
        async for _ in stream:
            pass
    assert caught.value.timeout == 1.0
    await until(lambda: server.closed == 1)


async def test_one_reply_is_a_stream_of_one_part(pair: Pair) -> None:
    assert [part async for part in pair.peer.stream(Ask(number=7), Answer)] == [Answer(number=7)]


async def test_a_stream_has_to_be_asked_for_as_one(pair: Pair) -> None:
    with pytest.raises(RemoteFailure, match="Count is answered by a stream") as caught:
        await pair.peer.request(Count(parts=2), Part)
    assert caught.value.code == Code.UNSUPPORTED


async def test_a_message_that_is_no_request_is_answered_by_every_part(server: Server) -> None:
    seen: list[int] = []
    client = Extension("client", version="1.0")
    client.register(Count)

    @client.on(Part)
    async def part(context: Context, part: Part) -> None:
        seen.append(part.number)

    network = MemoryNetwork()
    async with (
        Application(server.extension, transport=network.transport()) as left,
        Application(client, transport=network.transport()) as right,
    ):
        await (await right.connect(left.uris[0])).send(Count(parts=5))
        await until(lambda: seen == [0, 1, 2, 3, 4])


async def test_a_stream_of_large_parts_takes_memory_for_a_few(pair: Pair) -> None:
    import tracemalloc

    size, parts = 1 << 20, 100
    tracemalloc.start()
    try:
        count = 0
        async for part in pair.peer.stream(Count(parts=parts, size=size), Part, credit=2):
            assert len(part.data) == size
            count += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == parts
    assert peak < 30 * size  # of both sides, in all their forms; all of it would be a hundred at the least


# Large messages -------------------------------------------------------------------------------------


async def test_a_large_message_arrives_whole_and_tells_how_far_it_is(pair: Pair, server: Server) -> None:
    told: list[tuple[int, int]] = []
    text = bytes(range(256)) * 2000
    await pair.peer.send(Note(text=text), progress=lambda sent, total: told.append((sent, total)))
    await until(lambda: server.notes)
    assert server.notes == [text]
    total = told[-1][1]
    assert told[-1] == (total, total)
    assert [sent for sent, _ in told] == sorted({sent for sent, _ in told})
    assert len(told) == -(-total // 65506)
    await pair.peer.send(Note(text=b"short"), progress=lambda sent, total: told.append((sent, total)))
    assert told[-1][0] == told[-1][1] < 30


async def test_large_requests_and_replies_too(pair: Pair) -> None:
    parts = [part async for part in pair.peer.stream(Count(parts=3, size=300_000), Part)]
    assert [len(part.data) for part in parts] == [300_000] * 3
    with pytest.raises(RemoteFailure, match="gave no reply"):
        await pair.peer.request(Note(text=bytes(300_000)), Answer)


async def test_a_message_longer_than_the_peer_takes_is_not_sent(server: Server) -> None:
    network = MemoryNetwork()
    async with (
        Application(server.extension, transport=network.transport(), limits=Limits(reassembly_bytes=100_000)) as left,
        Application(Server().extension, transport=network.transport()) as right,
    ):
        peer = await right.connect(left.uris[0])
        with pytest.raises(QuotaExceeded, match="puts together 100000 at most") as caught:
            await peer.send(Note(text=bytes(100_000)))
        assert caught.value.limit == "assembles"
        await peer.send(Note(text=bytes(90_000)))
        await until(lambda: server.notes == [bytes(90_000)])


async def test_a_message_that_nobody_takes_is_refused_at_its_first_piece(pair: Pair) -> None:
    stranger = Extension("stranger", version="1.0")

    @stranger.register
    @message(0x8C0D)
    class Unknown(Message):
        data: bytes

    network = MemoryNetwork()
    async with (
        Application(transport=network.transport()) as left,
        Application(stranger, transport=network.transport()) as right,
    ):
        peer = await right.connect(left.uris[0])
        with pytest.raises(RemoteFailure, match="no extension handles type 0x8c0d") as caught:
            await peer.send(Unknown(data=bytes(5_000_000)))
        assert caught.value.code == Code.TOO_LARGE
        assert left.counters.refused == {"max_size": 1}


async def test_an_error_of_the_progress_callback_ends_the_sending(pair: Pair, server: Server) -> None:
    with pytest.raises(ZeroDivisionError):
        await pair.peer.send(Note(text=bytes(500_000)), progress=lambda sent, total: 1 // 0)
    await pair.peer.send(Note(text=bytes(500_000)))
    await until(lambda: len(server.notes) == 1)


# Peers without a session ----------------------------------------------------------------------------


def frames(transport: ScriptedTransport) -> list[Any]:
    return [decode(payload) for _, payload in transport.sent if payload[:2] == SESSION_TYPE.to_bytes(2, "big")]


async def test_a_peer_without_a_session_is_asked_plainly_after_the_wait() -> None:
    transport = ScriptedTransport()
    async with Application(Server().extension, transport=transport) as app:
        transport.connect_peer(ALICE)
        peer = app.peer(ALICE)
        with pytest.raises(ReplyTimeout):
            await peer.request(Ask(number=1), Answer, timeout=0.01)  # not known yet: nothing was asked
        task = asyncio.create_task(peer.request(Ask(number=2), Answer, timeout=None))
        assert not await peer.wait_for_hello()
        ask = b"\x8c\x01" + bytes(7) + b"\x02"
        await until(lambda: (ALICE, ask) in transport.sent)
        assert [type(frame).__name__ for frame in frames(transport)] == ["Hello"]
        transport.receive(ALICE, b"\x8c\x03" + bytes(7) + b"\x05")
        assert await task == Answer(number=5)
        with pytest.raises(NotSupported, match="streams need one"):
            await anext(peer.stream(Count(parts=1), Part))
        with pytest.raises(NotSupported, match=r"Note has 70013 bytes here, and 02aa.* has no session"):
            await peer.send(Note(text=bytes(70_000)))
        assert peer.extensions == {}


async def test_what_cannot_be_asked_is_told_at_once(pair: Pair) -> None:
    absent = pair.client.peer("02" + "cc" * 32)

    @message(0x8C0F)
    class Foreign(Message): ...

    with pytest.raises(PeerNotConnected):
        await absent.request(Ask(number=1), Answer)
    with pytest.raises(PeerNotConnected):
        await anext(absent.stream(Count(parts=1), Part))
    with pytest.raises(PeerNotConnected):
        await absent.send(Note(text=bytes(70_000)))
    assert not await absent.wait_for_hello()
    with pytest.raises(EncodeError, match="Foreign should be a message"):
        await pair.peer.request(Foreign(), Answer)
    with pytest.raises(EncodeError, match="Foreign should be a message"):
        await pair.peer.request(Ask(number=1), Foreign)
    with pytest.raises(EncodeError, match="Foreign should be a message"):
        await pair.peer.deliver(Foreign())
    with pytest.raises(LocalProtocolError, match="has no store"):
        await pair.peer.deliver(Note(text=b""))
    assert pair.open_calls() == 0


# Tracing --------------------------------------------------------------------------------------------


async def test_tracing_shows_messages_and_no_frames(server: Server) -> None:
    left_traces, right_traces = Tracer(), Tracer()
    network = MemoryNetwork()
    async with (
        Application(server.extension, left_traces, transport=network.transport()) as left,
        Application(Server().extension, right_traces, transport=network.transport()) as right,
    ):
        peer = await right.connect(left.uris[0])
        await peer.request(Ask(number=1), Answer)
        assert [part.number async for part in peer.stream(Count(parts=2), Part)] == [0, 1]
    sent = [
        ("sent", Ask(number=1), False),
        ("received", Answer(number=1), True),
        ("sent", Count(parts=2), False),
        ("received", Part(number=0), True),
        ("received", Part(number=1), True),
    ]
    assert [(event.direction, event.message, event.latency is not None) for event in right_traces.events] == sent
    other = {"sent": "received", "received": "sent"}
    assert [(event.direction, event.message, event.latency is not None) for event in left_traces.events] == [
        (other[direction], traced, latency) for direction, traced, latency in sent
    ]
    assert [event.payload for event in left_traces.events] == [event.payload for event in right_traces.events]


async def test_a_malformed_reply_is_traced_and_raised() -> None:
    transport, traces = ScriptedTransport(), Tracer()
    async with Application(Server().extension, traces, transport=transport) as app:
        transport.connect_peer(ALICE)
        await until(lambda: transport.sent)
        hello = decode(transport.sent[0][1])  # our own will do, from another program
        assert isinstance(hello, Hello)
        transport.receive(ALICE, encode(hello._replace(program=hello.program ^ 1), route(app)))
        task = asyncio.create_task(app.peer(ALICE).request(Ask(number=1), Answer))
        await until(lambda: any(isinstance(frame, Request) for frame in frames(transport)))
        [request] = [frame for frame in frames(transport) if isinstance(frame, Request)]
        transport.receive(ALICE, encode_reply(route(app), request.id, 0, b"\x8c\x03short"))
        with pytest.raises(MalformedMessage):
            await task
        assert isinstance(traces.events[-1].error, MalformedMessage)
        assert not [frame for frame in frames(transport) if isinstance(frame, Reply)]


# Replies of several classes -----------------------------------------------------------------------------------------


def decider() -> Extension:
    extension = Extension("decider", version="1.0")

    @extension.on(Ask)
    async def decide(context: Context, request: Ask) -> Answer | Note | Other:
        return (Answer(number=1), Note(text=b"no"), Other())[request.number]

    @extension.on(Count)
    async def count(context: Context, request: Count) -> AsyncIterator[Answer | Note]:
        for number in range(request.parts):
            yield Answer(number=number) if number % 2 else Note(text=b"even")

    return extension


@pytest.mark.parametrize("session", [True, False])
async def test_a_reply_may_be_of_one_of_several_classes(session: bool) -> None:
    network = MemoryNetwork()
    async with (
        Application(decider(), transport=network.transport(), session=session) as left,
        Application(decider(), transport=network.transport(), session=session) as right,
    ):
        peer = await right.connect(left.uris[0])
        assert await peer.request(Ask(number=0), Answer | Note) == Answer(number=1)
        assert await peer.request(Ask(number=1), Answer | Note) == Note(text=b"no")
        assert await peer.request(Ask(number=1), Union[Answer, Note]) == Note(text=b"no")  # noqa: UP007
        several = await asyncio.gather(*(peer.request(Ask(number=n % 2), Answer | Note) for n in range(10)))
        assert [type(found) for found in several] == [Answer, Note] * 5
        lane = right._running().core.queues[peer.node_id]
        assert not lane.is_asking
        if session:
            with pytest.raises(RemoteFailure, match=r"Answer or Note, not with decider\.Other 0x8c0b"):
                await peer.request(Ask(number=2), Answer | Note)
            parts = [type(part) async for part in peer.stream(Count(parts=3), Answer | Note)]
            assert parts == [Note, Answer, Note]
        else:
            with pytest.raises(ReplyTimeout, match="no Answer or Note from") as caught:
                await peer.request(Ask(number=2), Answer | Note, timeout=0.01)
            assert caught.value.__cause__ is None
            assert caught.value.__context__ is None
            assert not lane.is_asking


class Strange(Message):
    pass


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (int, "what is asked for should be a message class, or several as in 'Quote | NoQuote', not int"),
        (Answer | None, "should be a message class, or several as in 'Quote | NoQuote', not NoneType"),
        (Answer | int, "not int"),
        ((Answer, Note), "should be a message class, or several as in 'Quote | NoQuote', not (<class"),
        ([Answer], "not [<class"),
        (Answer(number=1), "not Answer 0x8c03 number=1"),
        ("Answer", "not 'Answer'"),
        (None, "not None"),
        (Strange, "Strange should be a message that a loaded extension handles, returns or registers"),
        (Answer | Strange, "Strange should be a message that a loaded extension"),
    ],
)
async def test_what_no_reply_can_be_is_refused(pair: Pair, reply: Any, told: str) -> None:
    with pytest.raises(EncodeError) as caught:
        await pair.peer.request(Ask(number=1), reply)
    assert told in str(caught.value)
    with pytest.raises(EncodeError) as caught:
        async for _ in pair.peer.stream(Count(parts=1), reply):
            pass
    assert told in str(caught.value)
    assert pair.open_calls() == 0


async def test_a_class_cannot_be_sent(pair: Pair) -> None:
    for doing in (pair.peer.send(Ask), pair.peer.request(Ask, Answer), pair.peer.deliver(Ask)):  # type: ignore
        with pytest.raises(EncodeError, match=r"should be a message, Quote.* say, not a class"):
            await doing


# Even types: whether the peer knows them is in its hello ------------------------------------------------------------


@message(0x8C0E)
class EvenAsk(Message):
    number: u64


@message(0x8C10)
class EvenAnswer(Message):
    number: u64


def even() -> Extension:
    extension = Extension("even", version="1.0")
    extension.register(EvenAnswer)
    extension.register(Count)

    @extension.on(EvenAsk)
    async def answer(context: Context, request: EvenAsk) -> Answer:
        return Answer(number=request.number)

    @extension.on(Note)
    async def echo(context: Context, note: Note) -> None:
        await context.peer.send(EvenAsk(number=9))

    return extension


@pytest.mark.parametrize("delay", [0.0, 0.02])
async def test_an_even_type_waits_for_the_hello(delay: float) -> None:
    network = MemoryNetwork(delay=delay)
    left_side, right_side = even(), even()
    taken: asyncio.Queue[int] = asyncio.Queue()

    @left_side.on_connect
    async def greet(context: Context) -> None:
        await context.peer.send(EvenAnswer(number=5))

    @right_side.on(EvenAnswer)
    async def take(context: Context, message: EvenAnswer) -> None:
        taken.put_nowait(message.number)

    async with (
        Application(left_side, transport=network.transport(), store=":memory:") as left,
        Application(right_side, transport=network.transport(), store=":memory:") as right,
    ):
        peer = await right.connect(left.uris[0])
        await peer.send(EvenAsk(number=1))  # at once: no hello has come
        assert (await right.peer(peer.node_id).request(EvenAsk(number=2), Answer)).number == 2
        assert await taken.get() == 5


async def test_an_even_type_is_refused_once_the_hello_shows_nothing_or_does_not_come() -> None:
    network = MemoryNetwork()
    for other in (
        Application(Extension("other", version="1.0"), transport=network.transport()),
        Application(Extension("other", version="1.0"), transport=network.transport(), session=False),
    ):
        async with other, Application(even(), transport=network.transport()) as app:
            peer = await app.connect(other.uris[0])
            with pytest.raises(NotSupported, match=r"EvenAsk has the even type 0x8c0e, .* force=True sends it"):
                await peer.send(EvenAsk(number=1))
            with pytest.raises(NotSupported):
                await peer.send(EvenAsk(number=1))
            await peer.send(EvenAsk(number=1), force=True)


async def test_an_even_type_to_a_peer_that_goes_meanwhile_says_that_it_went() -> None:
    transport = ScriptedTransport()
    async with Application(even(), transport=transport) as app:
        transport.connect_peer(ALICE)
        sending = asyncio.create_task(app.peer(ALICE).send(EvenAsk(number=1)))
        await asyncio.sleep(0)
        transport.lose_peer(ALICE)
        with pytest.raises(PeerNotConnected):
            await sending


@message(0x8C21)
class Named(Message): ...


async def test_a_failure_names_the_peer_beside_its_text() -> None:
    """Who has failed is in the log and in what a method's caller is told, not in the text, which may be passed on."""
    refusing, asking = Extension("refusing", version="1.0"), Extension("asking", version="1.0")

    @refusing.on(Named, reliable=True)
    async def refuse(context: Context, message: Named) -> None:
        raise Refuse("not today")

    @asking.rpc("ask-named")
    async def ask_named(context: AppContext) -> None:
        await context.app.peers[0].request(Named(), Named)

    asking.register(Named)
    network = MemoryNetwork()
    async with (
        asyncio.timeout(30),
        Application(refusing, transport=network.transport(), store=":memory:") as left,
        Application(asking, transport=network.transport(), store=":memory:") as right,
    ):
        peer = await right.connect(left.uris[0])

        async def stream() -> None:
            async for _ in peer.stream(Named(), Named):
                pass

        async def deliver() -> None:
            await (await peer.deliver(Named())).delivered()

        for way in (lambda: peer.request(Named(), Named), stream, deliver):
            with pytest.raises(RemoteFailure) as caught:
                await way()
            assert str(caught.value) == caught.value.text == "not today"
            assert caught.value.node_id == str(peer.node_id)
            assert f"so says {peer.node_id}" in "".join(traceback.format_exception(caught.value))
            assert with_peer(caught.value) == f"not today, says {peer.node_id}"
        (method,) = (method for method in right.manifest.rpc_methods if method.name == "ask-named")
        with pytest.raises(NodeRefused, match=f"^not today, says {peer.node_id}$"):
            await method.call([])


async def test_a_peer_that_goes_while_a_program_is_waited_for_is_not_connected() -> None:
    transport = ScriptedTransport()
    async with Application(Server().extension, transport=transport) as app:
        transport.connect_peer(ALICE)
        other = Spoken("other", ("1",), ())
        for instance in (1, 2):  # two programs, and none of them speaks it yet
            own = route(app) >> 32
            transport.receive(ALICE, encode(Hello(0, 1, 1, instance, (other,)), own << 32 | instance))
        asked = asyncio.create_task(app.peer(ALICE).request(Ask(number=1), Answer))
        await asyncio.sleep(0)
        transport.lose_peer(ALICE)
        transport.connect_peer(ALICE)  # it is back at once, with whatever programs
        with pytest.raises(PeerNotConnected):
            await asked
        await until(lambda: transport.sent)
        assert all(payload[:2] == b"\xc0\xdd" for _, payload in transport.sent), "nothing goes out plainly"


async def test_a_request_in_the_turn_in_which_a_program_starts_again_follows_our_hello() -> None:
    transport = ScriptedTransport()
    async with Application(Server().extension, transport=transport) as app:
        own, speaks = route(app) >> 32, (Spoken("test", ("1.0",), ()),)
        transport.connect_peer(ALICE)
        await until(lambda: transport.sent)
        transport.receive(ALICE, encode(Hello(0, 1, 1, 10, speaks), own << 32 | 1))
        asked = asyncio.create_task(app.peer(ALICE).request(Ask(number=1), Answer))
        transport.receive(ALICE, encode(Hello(HelloFlag.ANSWER, 1, 1, 10, speaks), 2))  # before that has begun
        await until(lambda: len(transport.sent) > 2)
        assert [addresses(payload)[0] for _, payload in transport.sent] == [0, 2, 2]
        assert [type(frame) for frame in frames(transport)] == [Hello, Hello, Request]
        request = frames(transport)[-1]
        transport.receive(ALICE, encode_reply(own << 32 | 2, request.id, 0, b"\x8c\x03" + (1).to_bytes(8)))
        assert await asked == Answer(number=1)
