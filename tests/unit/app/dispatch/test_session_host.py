"""Peers that speak the session's protocol by hand, well and badly, to a real application."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator

import pytest
from tests.support.messages import Answer, Ask, Even

from oddwire.app import Application, Context, Extension, Peer, hookimpl
from oddwire.app.dispatch.session_host import spoken
from oddwire.errors import ConnectionClosed, NotSupported, Refuse, RemoteProtocolError
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.session.constants import SESSION_TYPE
from oddwire.session.limits import Limits
from oddwire.session.wire.frame_types import (
    Ack,
    Cancel,
    Code,
    Data,
    Failure,
    Fragment,
    Frame,
    Hello,
    Reply,
    ReplyFlag,
    Request,
    Scope,
    Spoken,
)
from oddwire.session.wire.frames import addresses, decode, encode
from oddwire.testing import RecordingSink, ScriptedTransport
from oddwire.transports.base import Manifest, PeerInfo
from oddwire.transports.memory import MemoryNetwork, MemoryTransport

ALICE = NodeId("02" + "aa" * 32)


@message(0x8C07)
class Note(Message):
    text: bytes


def ask(number: int) -> bytes:
    return b"\x8c\x01" + number.to_bytes(8, "big")


def answer(number: int) -> bytes:
    return b"\x8c\x03" + number.to_bytes(8, "big")


ALL = (Spoken("test", ("1.2",), (0x8C01, 0x8C03, 0x8C06, 0x8C07)),)


def hello(program: int = 10, flags: int = 0, extensions: tuple[Spoken, ...] = ALL, **more: int) -> Hello:
    return Hello(flags, more.pop("lowest", 1), more.pop("highest", 1), program, extensions, **more)  # type: ignore[arg-type]


class Server:
    def __init__(self, versions: tuple[str, ...] = ("1.0", "1.2"), limits: Limits | None = None) -> None:
        self.extension = extension = Extension("test", version="1.2", versions=versions, limits=limits)
        self.gate = asyncio.Event()
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self.notes: list[bytes] = []
        for known in (Answer, Even):
            extension.register(known)

        @extension.on(Ask)
        async def handle(context: Context, request: Ask) -> Answer:
            self.begun.append(request.number)
            if request.number >= 1000:
                try:
                    await self.gate.wait()
                except asyncio.CancelledError:
                    self.cancelled.append(request.number)
                    raise
            return Answer(number=request.number)

        @extension.on(Note)
        async def note(context: Context, request: Note) -> None:
            self.notes.append(request.text)


def address_of(app: Application) -> int:
    """Return an application's instance."""
    session = app._dispatcher.session  # type: ignore[union-attr]
    assert session is not None
    return session.shared.instance


class Scene:
    """An application and one peer of it, played by the test."""

    def __init__(self, app: Application, transport: ScriptedTransport) -> None:
        self.app = app
        self.transport = transport
        self._seen = 0

    @property
    def peer(self) -> Peer:
        return self.app.peer(ALICE)

    def say(self, frame: Frame, instance: int = 1, node_id: NodeId = ALICE) -> None:
        self.transport.receive(node_id, encode(frame, self.address << 32 | instance))

    @property
    def address(self) -> int:
        return address_of(self.app)

    async def hears(self) -> list[Frame]:
        """Return what the peer was told since the last call, once there is nothing more to come."""
        for _ in range(30):
            await asyncio.sleep(0)
        told = [payload for peer, payload in self.transport.sent[self._seen :] if peer == ALICE]
        self._seen = len(self.transport.sent)
        return [decode(payload) for payload in told if payload[:2] == SESSION_TYPE.to_bytes(2, "big")]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def scene(server: Server) -> AsyncIterator[Scene]:
    transport = ScriptedTransport()
    limits = Limits(requests=4, transfers=2, reassembly_bytes=200_000, faults_per_second=1e6)
    async with Application(server.extension, transport=transport, limits=limits, grace=0.0) as app:
        transport.connect_peer(ALICE)
        yield Scene(app, transport)


# Hello ----------------------------------------------------------------------------------------------


async def test_says_hello_with_all_it_speaks(scene: Scene) -> None:
    [told] = await scene.hears()
    assert isinstance(told, Hello)
    assert (told.flags, told.lowest, told.highest) == (1, 1, 1)
    assert told.extensions == (Spoken("test", ("1.0", "1.2"), (0x8C01, 0x8C03, 0x8C06, 0x8C07)),)
    assert (told.assembles, told.requests) == (200_000, 4)
    scene.say(hello(flags=1))
    assert await scene.hears() == [told._replace(flags=0)]
    scene.say(hello(flags=0))
    assert await scene.hears() == []


async def test_each_application_is_an_instance_of_its_own(server: Server) -> None:
    instances = set()
    for _ in range(3):
        transport = ScriptedTransport()
        async with Application(server.extension, transport=transport) as app:
            transport.connect_peer(ALICE)
            scene = Scene(app, transport)
            [told] = await scene.hears()
            assert isinstance(told, Hello)
            [(_, payload)] = transport.sent
            assert addresses(payload) == (0, scene.address)
            assert told.program == app.program
            instances.add((scene.address, told.program))
    assert len(instances) == 3


def test_only_extensions_with_versions_are_spoken_of(server: Server) -> None:
    app = Application(server.extension, transport="memory")
    assert [entry.name for entry in spoken(app.plugins.contributions)] == ["test"]


async def test_knows_what_a_peer_speaks_from_its_hello(scene: Scene) -> None:
    peer = scene.peer
    assert (peer.extensions, peer.version_of("test"), peer.supports("test")) == ({}, None, False)
    sending = asyncio.create_task(peer.send(Even(number=1)))  # whether the peer knows it, its hello tells
    introduced = asyncio.create_task(peer.wait_for_hello())
    await asyncio.sleep(0)
    scene.say(hello(extensions=(Spoken("other", ("3",), ()), Spoken("test", ("1.1", "1.2", "2.0"), (0x8C06,)))))
    assert await introduced
    assert peer.extensions == {"other": ("3",), "test": ("1.1", "1.2", "2.0")}
    assert (peer.version_of("test"), peer.supports("test")) == ("1.2", True)
    await sending
    await peer.send(Even(number=1))
    assert scene.transport.sent[-1] == (ALICE, b"\x8c\x06" + bytes(7) + b"\x01")
    scene.transport.lose_peer(ALICE)
    assert (peer.extensions, peer.version_of("test"), peer.supports("test")) == ({}, None, False)


async def test_without_a_version_in_common_an_extension_is_not_supported(scene: Scene) -> None:
    scene.say(hello(extensions=(Spoken("test", ("1.1", "2.0"), (0x8C06,)),)))
    assert not scene.peer.supports("test")
    with pytest.raises(NotSupported):
        await scene.peer.send(Even(number=1))


async def test_an_even_type_that_the_peer_does_not_list_is_not_sent(scene: Scene) -> None:
    scene.say(hello(extensions=(Spoken("test", ("1.2",), (0x8C01,)),)))
    assert scene.peer.supports("test")
    with pytest.raises(NotSupported):
        await scene.peer.send(Even(number=1))


async def test_without_a_version_of_the_protocol_in_common_there_is_no_session(scene: Scene, server: Server) -> None:
    scene.say(hello(lowest=2, highest=3))
    assert not await scene.peer.wait_for_hello()
    scene.say(Request(1, 0, ask(1)))
    await scene.hears()
    assert server.begun == []


async def test_frames_before_a_hello_are_ignored(scene: Scene, server: Server) -> None:
    scene.say(Request(1, 0, ask(1)))
    await scene.hears()
    assert server.begun == []


async def test_a_peer_that_restarts_begins_anew(scene: Scene, server: Server) -> None:
    scene.say(hello())
    asked = asyncio.create_task(scene.peer.request(Ask(number=1), Answer, timeout=None))
    scene.say(Request(7, 0, ask(1000)))
    await scene.hears()
    assert server.begun == [1000]
    scene.say(hello())  # the same again changes nothing
    await scene.hears()
    assert server.cancelled == []
    scene.say(hello(), instance=2)
    with pytest.raises(ConnectionClosed, match="the peer has restarted"):
        await asked
    await scene.hears()
    assert server.cancelled == [1000]
    scene.say(Request(7, 0, ask(2)), instance=2)
    assert await scene.hears() == [Reply(7, 0, answer(2))]


# Requests by hand -----------------------------------------------------------------------------------


async def test_too_many_requests_at_once_are_refused(scene: Scene, server: Server) -> None:
    scene.say(hello())
    for number in range(6):
        scene.say(Request(number, 0, ask(1000 + number)))
    told = await scene.hears()
    assert [(frame.id, frame.code) for frame in told if isinstance(frame, Failure)] == [
        (4, Code.QUOTA),
        (5, Code.QUOTA),
    ]
    assert scene.app.counters.refused == {"requests": 2}
    server.gate.set()
    assert sorted(frame.id for frame in await scene.hears() if isinstance(frame, Reply)) == [0, 1, 2, 3]
    scene.say(Request(6, 0, ask(1)))
    assert await scene.hears() == [Reply(6, 0, answer(1))]


async def test_an_id_that_is_open_stays_with_its_request(scene: Scene, server: Server) -> None:
    scene.say(hello())
    await scene.hears()
    scene.say(Request(1, 0, ask(1000)))
    scene.say(Request(1, 0, ask(1001)))
    assert await scene.hears() == []
    server.gate.set()
    assert await scene.hears() == [Reply(1, 0, answer(1000))]
    assert server.begun == [1000]


async def test_a_cancelled_request_is_not_answered(scene: Scene, server: Server) -> None:
    scene.say(hello())
    scene.say(Request(1, 0, ask(1000)))
    await scene.hears()
    scene.say(Cancel(Scope.REQUEST, 1))
    assert await scene.hears() == []
    assert server.cancelled == [1000]
    scene.say(Cancel(Scope.REQUEST, 1))  # late
    assert await scene.hears() == []


class LateTransport(ScriptedTransport):
    """Says only when it is let to that something has gone, as lightningd may when its peer has it already."""

    def __init__(self) -> None:
        super().__init__()
        self.told = asyncio.Event()
        self.told.set()

    async def send(self, peer: NodeId, payload: bytes) -> None:
        await super().send(peer, payload)
        await self.told.wait()


@pytest.mark.parametrize("whose", [None, "extension"])
@pytest.mark.parametrize(
    ("content", "end"),
    [
        (ask(1), Reply(1, 0, answer(1))),
        (b"\x8c\x07\x81\xa4text\xc4\x00", Failure(Scope.REQUEST, 1, Code.NO_REPLY, "")),
    ],
    ids=["reply", "failure"],
)
async def test_who_has_its_answer_may_ask_anew_though_nobody_said_that_it_went(
    whose: str | None, content: bytes, end: Frame
) -> None:
    server = Server(limits=Limits(requests=1) if whose else None)
    transport = LateTransport()
    async with Application(
        server.extension, transport=transport, limits=Limits(requests=16 if whose else 1), grace=0.0
    ) as app:
        transport.connect_peer(ALICE)
        scene = Scene(app, transport)
        scene.say(hello())
        await scene.hears()
        transport.told.clear()
        scene.say(Request(1, 0, content))
        assert await scene.hears() == [end]
        scene.say(Request(2, 0, ask(1000)))
        assert await scene.hears() == []
        assert server.begun[-1] == 1000
        scene.say(Request(3, 0, ask(3)))  # the second is still handled
        [refused] = await scene.hears()
        assert isinstance(refused, Failure)
        assert (refused.id, refused.code) == (3, Code.QUOTA)
        transport.told.set()
        server.gate.set()
        assert await scene.hears() == [Reply(2, 0, answer(1000))]
        scene.say(Request(4, 0, ask(4)))
        assert await scene.hears() == [Reply(4, 0, answer(4))]


async def test_one_of_many_that_came_at_once_can_be_cancelled(scene: Scene, server: Server) -> None:
    scene.say(hello())
    for number in range(3):
        scene.say(Request(number, 0, ask(1000 + number)))
    scene.say(Cancel(Scope.REQUEST, 1))  # before it has begun
    await scene.hears()
    scene.say(Cancel(Scope.REQUEST, 0))
    scene.say(Request(3, 0, ask(1003)))
    await scene.hears()
    assert server.begun == [1000, 1002, 1003]
    assert server.cancelled == [1000]
    server.gate.set()
    assert await scene.hears() == [Reply(2, 0, answer(1002)), Reply(3, 0, answer(1003))]


@pytest.mark.parametrize("waits", [True, False])
async def test_a_handler_that_cancels_its_own_task_fails_its_request_alone(server: Server, waits: bool) -> None:
    @server.extension.on(Even)
    async def cancel(context: Context, request: Even) -> Answer:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        if request.number == 1:
            task.cancel()
            if waits:
                await asyncio.sleep(0)
        return Answer(number=request.number)

    failures: list[object] = []

    class Watcher:
        @hookimpl
        def handler_failed(self, message: object, error: BaseException) -> None:
            failures.append((message, type(error)))

    transport = ScriptedTransport()
    async with Application(server.extension, Watcher(), transport=transport) as app:
        transport.connect_peer(ALICE)
        scene = Scene(app, transport)
        scene.say(hello())
        await scene.hears()
        for number in range(3):
            scene.say(Request(number, 0, b"\x8c\x06" + number.to_bytes(8, "big")))
        told = {frame.id: frame for frame in await scene.hears() if isinstance(frame, (Reply, Failure))}
    failed = Failure(Scope.REQUEST, 1, Code.INTERNAL, "")
    assert told == {
        0: Reply(0, 0, answer(0)),
        1: failed if waits else Reply(1, 0, answer(1)),
        2: Reply(2, 0, answer(2)),
    }
    assert failures == ([(Even(number=1), asyncio.CancelledError)] if waits else [])


async def test_closing_waits_for_requests_that_have_not_begun(server: Server) -> None:
    @server.extension.on(Even)
    async def slow(context: Context, request: Even) -> Answer:
        for _ in range(5):
            await asyncio.sleep(0)
        return Answer(number=request.number)

    transport = ScriptedTransport()
    async with Application(server.extension, transport=transport) as app:
        transport.connect_peer(ALICE)
        scene = Scene(app, transport)
        scene.say(hello())
        await scene.hears()
        for number in range(10):
            scene.say(Request(number, 0, b"\x8c\x06" + number.to_bytes(8, "big")))
    assert [reply.id for reply in await scene.hears() if isinstance(reply, Reply)] == list(range(10))


async def test_closing_cancels_requests_that_begin_meanwhile(server: Server) -> None:
    transport = ScriptedTransport()
    async with Application(server.extension, transport=transport, grace=0.0) as app:
        transport.connect_peer(ALICE)
        scene = Scene(app, transport)
        scene.say(hello())
        await scene.hears()
        for number in range(10):
            scene.say(Request(number, 0, ask(1000 + number)))
    assert sorted(server.cancelled) == server.begun
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_handler_that_goes_on_when_cancelled_answers_nobody(server: Server) -> None:
    @server.extension.on(Even)
    async def stubborn(context: Context, request: Even) -> Answer:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        if request.number:
            raise Refuse("too late")
        return Answer(number=1)

    transport = ScriptedTransport()
    async with Application(server.extension, transport=transport, grace=0.0) as app:
        transport.connect_peer(ALICE)
        scene = Scene(app, transport)
        await scene.hears()
        scene.say(hello())
        for number in (0, 1):
            scene.say(Request(number, 0, b"\x8c\x06" + number.to_bytes(8, "big")))
        await scene.hears()
        scene.say(Cancel(Scope.REQUEST, 0))
        assert await scene.hears() == []
        transport.lose_peer(ALICE)
        transport.connect_peer(ALICE)  # what was asked before is not answered on this connection
        assert [type(frame) for frame in await scene.hears()] == [Hello]
        assert transport.warnings == []


async def test_a_request_has_as_long_as_it_says(scene: Scene, server: Server) -> None:
    scene.say(hello())
    scene.say(Request(1, 0, ask(1000), wait_ms=1))
    async with asyncio.timeout(30):
        while not server.cancelled:
            await asyncio.sleep(0.001)
    [told] = [frame for frame in await scene.hears() if not isinstance(frame, Hello)]
    assert isinstance(told, Failure)
    assert (told.scope, told.id, told.code) == (Scope.REQUEST, 1, Code.EXPIRED)
    assert scene.app.counters.to_json() == {"refused": {"expired": 1}}


async def test_a_caller_that_cancels_in_time_hears_no_more_of_it(scene: Scene, server: Server) -> None:
    scene.say(hello())
    scene.say(Request(1, 0, ask(1000), wait_ms=1))
    scene.say(Request(2, 0, ask(1001), wait_ms=1))
    await scene.hears()
    scene.say(Cancel(Scope.REQUEST, 1))
    async with asyncio.timeout(30):
        while len(server.cancelled) < 2:
            await asyncio.sleep(0.001)
    assert [frame.id for frame in await scene.hears() if isinstance(frame, Failure)] == [2]


async def test_a_malformed_request_is_told_so(scene: Scene) -> None:
    scene.say(hello())
    await scene.hears()
    scene.say(Request(1, 0, b"\x8c\x01\0"))
    [failure] = await scene.hears()
    assert isinstance(failure, Failure)
    assert (failure.id, failure.code) == (1, Code.MALFORMED)


async def test_requests_of_peers_do_not_mix(scene: Scene, server: Server) -> None:
    bob = NodeId("03" + "bb" * 32)
    scene.transport.connect_peer(bob)
    scene.say(hello())
    scene.say(hello(), node_id=bob)
    task = asyncio.create_task(scene.peer.request(Ask(number=1), Answer, timeout=None))
    [request] = [frame for frame in await scene.hears() if isinstance(frame, Request)]
    scene.say(Reply(request.id, 0, answer(666)), node_id=bob)
    scene.say(Failure(Scope.REQUEST, request.id, 1, ""), node_id=bob)
    await scene.hears()
    assert not task.done()
    scene.say(Reply(request.id + 1, 0, answer(666)))  # nothing we asked
    scene.say(Reply(request.id, 0, answer(1)))
    assert await task == Answer(number=1)
    scene.say(Reply(request.id, 0, answer(2)))  # late
    await scene.hears()


async def test_a_stream_beyond_its_credit_is_ended(scene: Scene) -> None:
    scene.say(hello())
    stream = scene.peer.stream(Ask(number=1), Answer, credit=2)
    first = asyncio.ensure_future(anext(stream))
    [request] = [frame for frame in await scene.hears() if isinstance(frame, Request)]
    assert request.credit == 2
    for number in range(3):
        scene.say(Reply(request.id, ReplyFlag.PART, answer(number)))
    assert [frame for frame in await scene.hears() if isinstance(frame, Cancel)] == [Cancel(Scope.REQUEST, request.id)]
    assert await first == Answer(number=0)
    assert await anext(stream) == Answer(number=1)
    with pytest.raises(RemoteProtocolError, match="more parts of a stream than it was allowed"):
        await anext(stream)


async def test_a_stream_where_one_reply_is_due_fails_the_request(scene: Scene) -> None:
    scene.say(hello())
    task = asyncio.create_task(scene.peer.request(Ask(number=1), Answer))
    [request] = [frame for frame in await scene.hears() if isinstance(frame, Request)]
    scene.say(Reply(request.id, ReplyFlag.PART, answer(1)))
    with pytest.raises(RemoteProtocolError, match="answered a request for one reply with a stream"):
        await task


async def test_a_stream_whose_caller_takes_no_more_is_given_up(server: Server) -> None:
    ended: list[str] = []

    @server.extension.on(Even)
    async def count(context: Context, request: Even) -> AsyncIterator[Answer]:
        try:
            for number in range(request.number):
                yield Answer(number=number)
        finally:
            ended.append("closed")

    transport = ScriptedTransport()
    limits = Limits(stream_seconds=0.05)
    async with Application(server.extension, transport=transport, limits=limits, grace=0.0) as app:
        transport.connect_peer(ALICE)
        scene = Scene(app, transport)
        scene.say(hello())
        await scene.hears()
        scene.say(Request(1, 2, b"\x8c\x06" + bytes(7) + b"\x05"))
        async with asyncio.timeout(30):
            while not ended:
                await asyncio.sleep(0.01)
        assert (await scene.hears())[-1] == Failure(Scope.REQUEST, 1, Code.EXPIRED, "its caller accepts no more")
        assert app.counters.refused == {"stream_seconds": 1}


async def test_credit_lets_a_stream_go_on(server: Server) -> None:
    @server.extension.on(Even)
    async def count(context: Context, request: Even) -> AsyncIterator[Answer]:
        for number in range(request.number):
            yield Answer(number=number)

    transport = ScriptedTransport()
    async with Application(server.extension, transport=transport, grace=0.0) as app:
        transport.connect_peer(ALICE)
        scene = Scene(app, transport)
        scene.say(hello())
        await scene.hears()
        scene.say(Request(1, 2, b"\x8c\x06" + bytes(7) + b"\x05"))
        assert await scene.hears() == [Reply(1, ReplyFlag.PART, answer(number)) for number in (0, 1)]
        scene.say(Ack(Scope.REQUEST, 0, 1, 0, 2))  # no more than before
        assert await scene.hears() == []
        scene.say(Ack(Scope.REQUEST, 0, 1, 0, 9))
        assert await scene.hears() == [
            *(Reply(1, ReplyFlag.PART, answer(number)) for number in (2, 3, 4)),
            Reply(1, ReplyFlag.END, b""),
        ]


# Fragments by hand ----------------------------------------------------------------------------------


def pieces(transfer: int, payload: bytes, size: int = 1024) -> list[Fragment]:
    return [
        Fragment(transfer, len(payload), size, number, payload[start : start + size])
        for number, start in enumerate(range(0, len(payload), size))
    ]


async def test_pieces_in_any_order_make_a_message(scene: Scene, server: Server) -> None:
    scene.say(hello())
    payload = b"\x8c\x07" + b"\x81\xa4text\xc5\x10\x00" + bytes(4096)
    for piece in reversed(pieces(0, payload)):
        scene.say(piece)
    await scene.hears()
    assert server.notes == [bytes(4096)]


async def test_bad_transfers_are_refused_and_harm_no_other(scene: Scene, server: Server) -> None:
    scene.say(hello())
    await scene.hears()
    payload = b"\x8c\x07" + b"\x81\xa4text\xc5\x10\x00" + bytes(4096)
    good = pieces(9, payload)
    scene.say(good[0])
    scene.say(pieces(10, bytes(3000))[0])  # type 0: nobody takes it
    scene.say(pieces(11, b"\x8c\x07" + bytes(3000))[0]._replace(total=250_000))  # more than our hello says
    scene.say(pieces(12, b"\x8c\x07" + bytes(3000))[2])
    scene.say(pieces(13, b"\x8c\x07" + bytes(3000))[2])  # a third at once
    scene.say(pieces(12, b"\x8c\x07" + bytes(4000))[0])  # another length than before
    for piece in good[1:]:
        scene.say(piece)
    told = await scene.hears()
    assert [(frame.scope, frame.id, frame.code) for frame in told if isinstance(frame, Failure)] == [
        (Scope.TRANSFER, 10, Code.TOO_LARGE),
        (Scope.TRANSFER, 11, Code.TOO_LARGE),
        (Scope.TRANSFER, 13, Code.QUOTA),
        (Scope.TRANSFER, 12, Code.MALFORMED),
    ]
    assert server.notes == [bytes(4096)]
    assert scene.app.counters.refused == {"max_size": 1, "reassembly_bytes": 1, "transfers": 1}


async def test_a_cancelled_transfer_is_forgotten(scene: Scene) -> None:
    scene.say(hello())
    scene.say(pieces(1, b"\x8c\x07" + bytes(150_000))[0])
    scene.say(Cancel(Scope.TRANSFER, 1))
    scene.say(pieces(2, b"\x8c\x07" + bytes(150_000))[0])
    assert not [frame for frame in await scene.hears() if isinstance(frame, Failure)]


async def test_transfers_that_stand_still_are_given_up(server: Server) -> None:
    transport = ScriptedTransport()
    limits = Limits(transfer_seconds=0.01)
    async with Application(server.extension, transport=transport, limits=limits) as app:
        transport.connect_peer(ALICE)
        scene = Scene(app, transport)
        scene.say(hello())
        await scene.hears()
        scene.say(pieces(1, b"\x8c\x07" + bytes(150_000))[0])
        async with asyncio.timeout(30):
            while not app.counters.refused:
                await asyncio.sleep(0.001)
        [failure] = [frame for frame in await scene.hears() if isinstance(frame, Failure)]
        assert (failure.scope, failure.id, failure.code) == (Scope.TRANSFER, 1, Code.EXPIRED)


async def test_transfers_count_for_their_extension_whatever_they_are_in() -> None:
    server, transport = Server(limits=Limits(transfers=1, reassembly_bytes=100_000)), ScriptedTransport()
    async with Application(server.extension, transport=transport, grace=0.0) as app:
        transport.connect_peer(ALICE)
        scene = Scene(app, transport)
        scene.say(hello())
        await scene.hears()
        scene.say(pieces(1, b"\x8c\x07" + bytes(5000))[0])
        for number, frame in enumerate(
            (Request(1, 0, ask(1) + bytes(2000)), Reply(1, 0, b"\x8c\x03" + bytes(2000))), 2
        ):
            scene.say(pieces(number, encode(frame, scene.address << 32 | 1))[0])
        scene.say(pieces(4, b"\x8c\x07" + bytes(100_000))[0])
        scene.say(Cancel(Scope.TRANSFER, 1))
        scene.say(pieces(5, b"\x8c\x07" + bytes(100_000))[0])
        told = [frame for frame in await scene.hears() if isinstance(frame, Failure)]
        too_large = "extension 'test': 100002 bytes beside {} under way; at most 100000 at once"
        assert [(frame.scope, frame.id, frame.code, frame.text) for frame in told] == [
            (Scope.TRANSFER, 2, Code.QUOTA, "extension 'test': more than 1 transfers at once"),
            (Scope.TRANSFER, 3, Code.QUOTA, "extension 'test': more than 1 transfers at once"),
            (Scope.TRANSFER, 4, Code.TOO_LARGE, too_large.format(5002)),
            (Scope.TRANSFER, 5, Code.TOO_LARGE, too_large.format(0)),
        ]
        assert app.counters_of("test").to_json() == {"refused": {"reassembly_bytes": 2, "transfers": 2}}
        scene.say(pieces(6, b"\x8c\x07" + bytes(5000))[0])
        transport.lose_peer(ALICE)
        transport.connect_peer(ALICE)  # what the connection had is gone with it
        scene.say(hello())
        scene.say(pieces(1, b"\x8c\x07" + bytes(5000))[0])
        assert not [frame for frame in await scene.hears() if isinstance(frame, Failure)]


async def test_an_extension_s_transfers_are_given_up_when_it_says() -> None:
    server, transport = Server(limits=Limits(transfer_seconds=0.01)), ScriptedTransport()
    async with Application(server.extension, transport=transport, grace=0.0) as app:
        transport.connect_peer(ALICE)
        scene = Scene(app, transport)
        scene.say(hello())
        await scene.hears()
        first, second, *_ = pieces(2, b"\x8c\x07" + bytes(5000))
        scene.say(pieces(1, b"\x8c\x07" + bytes(5000))[1])  # nobody knows whose it is
        scene.say(second)
        scene.say(first)
        async with asyncio.timeout(30):
            while not app.counters.refused:
                await asyncio.sleep(0.001)
        told = [frame for frame in await scene.hears() if isinstance(frame, Failure)]
        assert [(frame.id, frame.code) for frame in told] == [(2, Code.EXPIRED)]
        assert app.counters_of("test").to_json() == {"refused": {"transfer_seconds": 1}}


async def test_reliable_messages_are_refused_without_a_store(scene: Scene) -> None:
    scene.say(hello())
    await scene.hears()
    scene.say(Data(5, 9, 3, 4, ask(1)))
    [ack] = await scene.hears()
    assert isinstance(ack, Ack)
    assert (ack.scope, ack.id, ack.epoch, ack.value) == (Scope.LANE, 5, 9, 4)
    assert [(refusal.sequence, refusal.code) for refusal in ack.failures] == [
        (3, Code.UNSUPPORTED),
        (4, Code.UNSUPPORTED),
    ]


async def test_frames_that_break_the_rules_are_treated_as_any_malformed_message(scene: Scene) -> None:
    scene.transport.receive(ALICE, b"\xc0\xdd\x09\0\0\0\0\0\0\0\x01short")
    assert [text.partition(":")[0] for _, text in scene.transport.warnings] == ["malformed message"]
    scene.say(hello())
    address = scene.address.to_bytes(4, "big")
    scene.transport.receive(ALICE, b"\xc0\xdd\x63" + address + b"\0\0\0\x01of later days")
    await scene.hears()
    assert len(scene.transport.warnings) == 1
    assert scene.app.counters.dropped == {"kinds": 1, "frames": 1}


# Hostile peers --------------------------------------------------------------------------------------


class Mallory:
    """A peer without manners, on a network with others."""

    def __init__(self, network: MemoryNetwork) -> None:
        self.transport: MemoryTransport = network.transport()
        self.sink = RecordingSink()
        self.to: NodeId | None = None
        self.address = 0

    async def connect(self, app: Application) -> None:
        self.address = address_of(app)
        await self.transport.open(Manifest(), self.sink)
        self.to = (await self.transport.connect(app.uris[0])).node_id
        await self.say(hello())

    async def say(self, frame: Frame, instance: int = 1) -> None:
        assert self.to is not None
        await self.transport.send(self.to, encode(frame, self.address << 32 | instance))

    @property
    def heard(self) -> list[Frame]:
        return [decode(event.payload) for event in self.sink.events if hasattr(event, "payload")]


def attacks() -> dict[str, list[Frame]]:
    beginning = b"\x8c\x07" + bytes(1022)
    return {
        "fragments never completed": [Fragment(n, 1_000_000, 1024, 0, beginning) for n in range(3000)],
        "fragments that overlap": [
            Fragment(n // 3, 100_000, 1024 + n % 3, 0, beginning + bytes(n % 3)) for n in range(3000)
        ],
        "one id again and again": [Request(1, 0, ask(1000)) for _ in range(3000)],
        "requests without end": [Request(n, 0, ask(1000)) for n in range(3000)],
        "requests taken back at once": [
            frame for n in range(1500) for frame in (Request(n, 0, ask(1000)), Cancel(Scope.REQUEST, n))
        ],
        "streams without credit": [Ack(Scope.REQUEST, 0, n, 0, 2**61) for n in range(3000)],
        "acks of what was never sent": [Ack(Scope.LANE, 0, n, 1, 2**61) for n in range(3000)],
        "replies nobody waits for": [Reply(n, n % 3, b"" if n % 3 == 2 else answer(n)) for n in range(3000)],
        "another process each time": [hello(flags=1)] * 3000,
        "another program each time": [hello(program=n, flags=1) for n in range(3000)],
        "what nobody takes": [Request(n, 0, b"\x8d\x01") for n in range(3000)],
    }


@pytest.mark.parametrize("attack", attacks())
async def test_a_hostile_peer_is_bounded_and_others_are_not_affected(server: Server, attack: str) -> None:
    frames = attacks()[attack]
    network = MemoryNetwork()
    limits = Limits(faults_per_second=100.0)
    async with (
        Application(server.extension, transport=network.transport(), limits=limits, grace=0.0) as left,
        Application(Server().extension, transport=network.transport()) as right,
    ):
        mallory = Mallory(network)
        await mallory.connect(left)
        friend = await right.connect(left.uris[0])
        await friend.request(Ask(number=0), Answer)
        before = len(asyncio.all_tasks())

        async def flood() -> None:
            for number, frame in enumerate(frames, 2):
                await mallory.say(frame, number if isinstance(frame, Hello) else 1)

        tracemalloc.start()
        try:
            flooding = asyncio.create_task(flood())
            for number in range(200):
                assert await friend.request(Ask(number=number), Answer, timeout=30) == Answer(number=number)
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert held < 24 << 20
        assert len(asyncio.all_tasks()) - before < 2 * limits.requests + 10
        flooding.cancel()
        await asyncio.wait([flooding])
        assert left.peer(mallory.transport.node_id).connected  # slow, not thrown out
        await mallory.transport.aclose()


async def test_who_only_makes_trouble_is_read_later(server: Server) -> None:
    transport = ScriptedTransport()
    limits = Limits(faults_per_second=1.0)
    async with Application(server.extension, transport=transport, limits=limits) as app:
        transport.connect_peer(ALICE)
        scene = Scene(app, transport)
        scene.say(hello())
        await scene.hears()
        for number in range(12):
            scene.say(Reply(number, 0, answer(1)))
        assert transport.flow == [("pause", ALICE)]
        assert app.counters.throttled == {"faults_per_second": 1}  # what came after is not read yet
        scene.say(Request(1, 0, ask(1)))
        assert await scene.hears() == []
        transport.lose_peer(ALICE)
        transport._sink.peer_connected(PeerInfo(node_id=ALICE))  # type: ignore[union-attr]
        await scene.hears()
