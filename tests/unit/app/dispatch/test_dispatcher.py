from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.messages import Answer, Ask, Even, Note
from tests.support.tracing import Tracer
from tests.support.waiting import until

from oddwire.app import Application, Context, Extension, Peer, hookimpl
from oddwire.errors import (
    ConnectionClosed,
    EncodeError,
    ExtensionError,
    MalformedMessage,
    NotSupported,
    PeerNotConnected,
    ReplyTimeout,
    ValueOutOfRange,
)
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.testing import ScriptedTransport

ALICE = NodeId("02" + "aa" * 32)
BOB = NodeId("03" + "bb" * 32)


def ask(number: int) -> bytes:
    return b"\x8c\x01" + number.to_bytes(8, "big")


def answer(number: int) -> bytes:
    return b"\x8c\x03" + number.to_bytes(8, "big")


def note(number: int) -> bytes:
    return b"\x8c\x05" + number.to_bytes(8, "big")


@pytest.fixture
def extension() -> Extension:
    extension = Extension("test", version="1.0", feature=513)
    for known in (Ask, Answer, Note, Even):
        extension.register(known)
    return extension


@pytest.fixture
def transport() -> ScriptedTransport:
    return ScriptedTransport()


@asynccontextmanager
async def running(*extensions: object, transport: ScriptedTransport, grace: float = 5.0) -> AsyncIterator[Application]:
    async with Application(*extensions, transport=transport, session=False, grace=grace) as app:
        transport.connect_peer(ALICE)
        transport.connect_peer(BOB, [513])
        yield app


async def idle() -> None:
    """Return the loop turns until the lanes have done all they can."""
    for _ in range(30):
        await asyncio.sleep(0)


class Watcher:
    """A plugin that writes down what the hooks tell."""

    name = "watcher"

    def __init__(self) -> None:
        self.connections: list[tuple[str, Peer]] = []
        self.failures: list[tuple[Peer, str, Message | None, BaseException]] = []

    @hookimpl
    async def peer_connected(self, peer: Peer) -> None:
        self.connections.append(("connected", peer))

    @hookimpl
    def peer_disconnected(self, peer: Peer, reason: str) -> None:
        self.connections.append((reason, peer))

    @hookimpl
    def handler_failed(self, peer: Peer, extension: str, message: Message | None, error: BaseException) -> None:
        self.failures.append((peer, extension, message, error))


# Handling -------------------------------------------------------------------------------------------


async def test_a_returned_message_is_the_reply(extension: Extension, transport: ScriptedTransport) -> None:
    seen = []

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> Answer | None:
        seen.append((context.peer.node_id, context.extension, context.app, request))
        return Answer(number=request.number + 1) if request.number else None

    async with running(extension, transport=transport) as app:
        transport.receive(ALICE, ask(0))
        transport.receive(ALICE, ask(1))
        transport.receive(BOB, ask(5))
        await idle()
        assert transport.sent == [(ALICE, answer(2)), (BOB, answer(6))]
        assert seen == [
            (ALICE, "test", app, Ask(number=0)),
            (ALICE, "test", app, Ask(number=1)),
            (BOB, "test", app, Ask(number=5)),
        ]


async def test_one_peer_is_handled_in_order_and_none_waits_for_another(
    extension: Extension, transport: ScriptedTransport
) -> None:
    gate = asyncio.Event()
    done: list[tuple[NodeId, int]] = []

    @extension.on(Ask)
    async def slow(context: Context, request: Ask) -> None:
        if context.peer.node_id == ALICE and request.number == 0:
            await gate.wait()
        done.append((context.peer.node_id, request.number))

    @extension.on(Note)
    async def quick(context: Context, request: Note) -> None:
        done.append((context.peer.node_id, request.number))

    async with running(extension, transport=transport):
        for number, payload in enumerate((ask, note, ask, note)):
            transport.receive(ALICE, payload(number))
            transport.receive(BOB, payload(number))
        await idle()
        assert done == [(BOB, 0), (BOB, 1), (BOB, 2), (BOB, 3)]
        gate.set()
        await idle()
        assert done[4:] == [(ALICE, 0), (ALICE, 1), (ALICE, 2), (ALICE, 3)]


async def test_thousands_of_messages_do_not_keep_others_waiting(
    extension: Extension, transport: ScriptedTransport
) -> None:
    done: list[NodeId] = []

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        done.append(context.peer.node_id)

    async with running(extension, transport=transport):
        await idle()
        for number in range(2000):
            transport.receive(ALICE, ask(number))
        transport.receive(BOB, ask(0))
        while len(done) < 2001:
            await asyncio.sleep(0)
        assert done.index(BOB) < 300


async def test_concurrent_handlers_overlap_up_to_a_limit(extension: Extension, transport: ScriptedTransport) -> None:
    gate = asyncio.Event()
    running_now = most = 0
    order: list[int] = []

    @extension.on(Ask, concurrent=True)
    async def handle(context: Context, request: Ask) -> Answer:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        await gate.wait()
        running_now -= 1
        return Answer(number=request.number)

    @extension.on(Note)
    async def ordered(context: Context, request: Note) -> None:
        order.append(request.number)

    async with running(extension, transport=transport):
        for number in range(10):
            transport.receive(ALICE, ask(number))
        transport.receive(ALICE, note(1))
        await idle()
        assert (most, order) == (10, [1])  # the note did not wait for them
        for number in range(10, 100):
            transport.receive(ALICE, ask(number))
        transport.receive(ALICE, note(2))
        for number in range(3):
            transport.receive(BOB, ask(number))
        await idle()
        assert most == 32 + 3  # a limit for each peer
        assert order == [1]  # too many: now the lane waits
        gate.set()
        while len(transport.sent) < 103:
            await asyncio.sleep(0)
        assert order == [1, 2]
        assert sorted(transport.sent) == sorted(
            [(ALICE, answer(number)) for number in range(100)] + [(BOB, answer(number)) for number in range(3)]
        )


async def test_handlers_run_in_real_tasks(extension: Extension, transport: ScriptedTransport) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    seen: list[Any] = []

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        variable.set(variable.get() + 1)
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append(variable.get())
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))

    async with running(extension, transport=transport):
        transport.receive(ALICE, ask(1))
        transport.receive(BOB, ask(2))
        await idle()
        while len(seen) < 2:
            await asyncio.sleep(0)
    assert seen == [1, 1]  # a context of its own for each peer
    assert variable.get() == 0


async def test_what_one_handler_does_is_no_context_of_anothers(
    extension: Extension, transport: ScriptedTransport
) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody's")
    variable.set("the application's")
    seen: list[tuple[NodeId, str]] = []

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        seen.append((context.peer.node_id, variable.get()))
        variable.set("a handler's")
        transport.connect_peer(NodeId("03" + "cc" * 32))  # whose lane is made here and now
        transport.receive(NodeId("03" + "cc" * 32), note(1))

    @extension.on(Note)
    async def noted(context: Context, request: Note) -> None:
        seen.append((context.peer.node_id, variable.get()))

    async with running(extension, transport=transport):
        transport.receive(ALICE, ask(1))
        await idle()
    assert seen == [(ALICE, "the application's"), (NodeId("03" + "cc" * 32), "the application's")]


async def test_a_message_that_is_known_without_a_handler_is_ignored(
    extension: Extension, transport: ScriptedTransport
) -> None:
    async with running(extension, transport=transport):
        transport.receive(ALICE, note(1))
        transport.receive(ALICE, b"\x8c\x06" + bytes(8))
        await idle()
        assert (transport.sent, transport.warnings, transport.hangups) == ([], [], [])


# The policy -----------------------------------------------------------------------------------------


async def test_an_unknown_odd_type_is_ignored(extension: Extension, transport: ScriptedTransport) -> None:
    async with running(extension, transport=transport) as app:
        transport.receive(ALICE, b"\x8d\x01whatever")
        await idle()
        assert (transport.warnings, transport.hangups) == ([], [])
        assert app.peer(ALICE).connected


async def test_an_unknown_even_type_ends_the_connection(extension: Extension, transport: ScriptedTransport) -> None:
    handled: list[int] = []

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        handled.append(request.number)

    async with running(extension, transport=transport) as app:
        transport.receive(ALICE, ask(1))
        transport.receive(ALICE, b"\x8d\x02whatever")
        transport.receive(ALICE, ask(2))  # was on its way
        await idle()
        assert transport.warnings == [(ALICE, "unknown even type: type 0x8d02")]
        assert transport.hangups == [(ALICE, "unknown even type: type 0x8d02")]
        assert handled == [1]
        assert [peer.node_id for peer in app.peers] == [BOB]
        transport.connect_peer(ALICE)
        transport.receive(ALICE, ask(3))
        await idle()
        assert handled == [1, 3]


class CannotHangUp(ScriptedTransport):
    async def disconnect(self, peer: NodeId, reason: str = "") -> None:
        self.hangups.append((peer, reason))


async def test_a_transport_that_cannot_hang_up_goes_on(extension: Extension) -> None:
    transport = CannotHangUp()
    handled: list[int] = []

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        handled.append(request.number)

    async with running(extension, transport=transport):
        transport.receive(ALICE, b"\x8d\x02whatever")
        await idle()
        transport.receive(ALICE, ask(2))
        await idle()
        assert handled == [2]


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b"\x8c\x01\0\0", "malformed message: test.Ask 0x8c01, $.number: "),
        (ask(1) + b"more", "malformed message: test.Ask 0x8c01: "),
        (b"\x8c", "malformed message: a payload of 1 bytes has no type"),
        (b"", "malformed message: a payload of 0 bytes has no type"),
    ],
)
async def test_a_malformed_message_gets_a_warning(
    extension: Extension, transport: ScriptedTransport, payload: bytes, told: str
) -> None:
    handled: list[int] = []

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        handled.append(request.number)

    async with running(extension, transport=transport) as app:
        transport.receive(ALICE, payload)
        transport.receive(ALICE, ask(2))
        await idle()
        [(peer, text)] = transport.warnings
        assert peer == ALICE
        assert text.startswith(told)
        assert handled == [2]
        assert app.peer(ALICE).connected


async def test_a_codec_that_breaks_its_word_does_not_break_the_lane(
    transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    from oddwire.codecs.base import Codec, Plan
    from oddwire.schema import Schema

    class Broken(Codec):
        name = "broken"

        def compile(self, schema: Schema) -> Plan:
            def decode(payload: bytes) -> Message:
                raise ZeroDivisionError("oops")

            return Plan(lambda message: b"\x8c\x07", decode)

    class Plugin:
        @hookimpl
        def register_codecs(self) -> list[Codec]:
            return [Broken()]

    @message(0x8C07, codec="broken")
    class Trouble(Message): ...

    extension = Extension("trouble", version="1.0")
    extension.register(Trouble)
    tracer = Tracer()
    async with running(extension, Plugin(), tracer, transport=transport):
        transport.receive(ALICE, b"\x8c\x07")
        assert transport.warnings == [(ALICE, "malformed message: trouble.Trouble 0x8c07: cannot be decoded")]
        assert isinstance(tracer.events[-1].error, MalformedMessage)
    assert "raised an unexpected exception" in caplog.text


async def test_a_handler_that_raises_is_reported_and_the_peer_hears_nothing(
    extension: Extension, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> Answer:
        raise ZeroDivisionError("secret")

    @extension.on(Note)
    async def wrong(context: Context, request: Note) -> Any:
        return "no message"

    watcher = Watcher()
    async with running(extension, watcher, transport=transport):
        transport.receive(ALICE, ask(1))
        transport.receive(ALICE, note(2))
        transport.receive(ALICE, ask(3))
        await idle()
        assert (transport.sent, transport.warnings, transport.hangups) == ([], [], [])
    peer, owner, request, error = watcher.failures[0]
    assert (peer.node_id, owner, request) == (ALICE, "test", Ask(number=1))
    assert isinstance(error, ZeroDivisionError)
    assert isinstance(watcher.failures[1][3], EncodeError)
    assert "str should be a message" in str(watcher.failures[1][3])
    assert watcher.failures[2][2] == Ask(number=3)
    assert "handler of Ask of 'test' failed" in caplog.text
    assert "ZeroDivisionError: secret" in caplog.text


async def test_a_concurrent_handler_that_raises_is_reported(extension: Extension, transport: ScriptedTransport) -> None:
    @extension.on(Ask, concurrent=True)
    async def handle(context: Context, request: Ask) -> Answer:
        raise ZeroDivisionError

    watcher = Watcher()
    async with running(extension, watcher, transport=transport):
        transport.receive(ALICE, ask(1))
        await idle()
    assert [failure[2] for failure in watcher.failures] == [Ask(number=1)]


async def test_a_handler_whose_own_task_was_cancelled_failed(
    extension: Extension, transport: ScriptedTransport
) -> None:
    handled: list[int] = []

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        handled.append(request.number)
        if request.number == 1:
            task = asyncio.ensure_future(asyncio.sleep(60))
            task.cancel()
            await task

    watcher = Watcher()
    async with running(extension, watcher, transport=transport):
        transport.receive(ALICE, ask(1))
        transport.receive(ALICE, ask(2))
        await idle()
    assert handled == [1, 2]
    assert isinstance(watcher.failures[0][3], asyncio.CancelledError)


@pytest.mark.parametrize("concurrent", [False, True])
async def test_a_handler_that_cancels_its_own_task_ends_alone(
    extension: Extension, transport: ScriptedTransport, concurrent: bool
) -> None:
    handled: list[int] = []

    @extension.on(Ask, concurrent=concurrent)
    async def handle(context: Context, request: Ask) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)
        handled.append(request.number)
        if request.number % 3:
            task.cancel()
        if request.number % 3 == 1:
            await asyncio.sleep(0)

    watcher = Watcher()
    async with running(extension, watcher, transport=transport):
        for number in range(6):
            transport.receive(ALICE, ask(number))
        await idle()
        transport.receive(ALICE, ask(6))  # to a lane that has come to rest
        await idle()
        assert sorted(handled) == list(range(7))
    assert [(failure[2], type(failure[3])) for failure in watcher.failures] == [
        (Ask(number=number), asyncio.CancelledError) for number in (1, 4)
    ]
    assert [reason for reason, _ in watcher.connections] == ["connected", "connected", "closed by us", "closed by us"]


async def test_a_hook_that_cancels_its_own_task_ends_alone(extension: Extension, transport: ScriptedTransport) -> None:
    handled: list[int] = []

    @extension.on_connect
    async def greet(context: Context) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        await asyncio.sleep(0)
        handled.append(request.number)

    watcher = Watcher()
    async with running(extension, watcher, transport=transport):
        transport.receive(ALICE, ask(1))
        await idle()
        assert handled == [1]
    assert [(failure[0].node_id, failure[2]) for failure in watcher.failures] == [(ALICE, None), (BOB, None)]


async def test_hooks_that_raise_are_reported_and_stop_nothing(
    extension: Extension, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    class Clumsy:
        name = "clumsy"

        @hookimpl
        async def peer_connected(self) -> None:
            raise ZeroDivisionError("greeting")

        @hookimpl
        def handler_failed(self) -> None:
            raise ZeroDivisionError("reporting")

        @hookimpl
        def message_traced(self) -> None:
            raise ZeroDivisionError("tracing")

    handled: list[int] = []

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        handled.append(request.number)

    watcher = Watcher()
    async with running(extension, Clumsy(), watcher, transport=transport):
        transport.receive(ALICE, ask(1))
        await idle()
    assert handled == [1]
    assert [(peer.node_id, owner, request) for peer, owner, request, _ in watcher.failures] == [
        (ALICE, "clumsy", None),
        (BOB, "clumsy", None),
    ]
    assert "handler_failed of 'clumsy' failed" in caplog.text
    assert "message_traced of 'clumsy' failed" in caplog.text


async def test_a_reply_to_a_peer_that_is_gone_is_dropped(
    extension: Extension, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "oddwire.app")
    gate = asyncio.Event()

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> Answer:
        await gate.wait()
        return Answer(number=1)

    @extension.on(Note)
    async def explicit(context: Context, request: Note) -> None:
        await context.peer.send(Answer(number=1))

    watcher = Watcher()
    async with running(extension, watcher, transport=transport):
        transport.receive(ALICE, ask(1))
        transport.receive(ALICE, note(1))
        await idle()
        transport.lose_peer(ALICE)
        gate.set()
        await idle()
        assert transport.sent == []
    assert [type(error) for *_, error in watcher.failures] == [PeerNotConnected]  # only the explicit send raised
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]
    assert "disconnected before its reply: Answer" in caplog.text


# Peers come and go ----------------------------------------------------------------------------------


async def test_events_keep_their_place_among_messages(extension: Extension, transport: ScriptedTransport) -> None:
    log: list[Any] = []
    gate = asyncio.Event()

    @extension.on_connect
    async def connected(context: Context) -> None:
        await gate.wait()
        log.append("connected")

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        log.append(request.number)

    @extension.on_disconnect
    async def disconnected(context: Context, reason: str) -> None:
        log.append(reason)

    async with Application(extension, transport=transport, session=False):
        transport.connect_peer(ALICE)
        transport.receive(ALICE, ask(1))
        transport.receive(ALICE, ask(2))
        transport.lose_peer(ALICE, "first time")
        transport.connect_peer(ALICE)
        transport.receive(ALICE, ask(3))
        transport.lose_peer(ALICE, "second time")
        gate.set()
        await idle()
        assert log == ["connected", 1, 2, "first time", "connected", 3, "second time"]


async def test_a_peer_stands_for_the_node_not_for_the_connection(
    extension: Extension, transport: ScriptedTransport
) -> None:
    async with Application(extension, transport=transport, session=False) as app:
        peer = app.peer(ALICE)
        assert not peer.connected
        assert peer.info is None
        with pytest.raises(PeerNotConnected):
            await peer.send(Note(number=1))
        with pytest.raises(PeerNotConnected):
            await peer.request(Ask(number=1), Answer)
        transport.connect_peer(ALICE, [513])
        assert peer.connected
        assert peer.info is not None
        assert peer.info.address == "script"
        assert app.peers == [peer]
        await peer.send(Note(number=1))
        transport.lose_peer(ALICE)
        assert not peer.connected
        assert app.peers == []
        transport.connect_peer(ALICE)
        await peer.send(Note(number=2))
        assert transport.sent == [(ALICE, note(1)), (ALICE, note(2))]


async def test_a_lane_ends_with_its_peer(extension: Extension, transport: ScriptedTransport) -> None:
    async with Application(extension, transport=transport, session=False):
        await idle()
        before = len(asyncio.all_tasks())
        for number in range(100):
            transport.connect_peer(NodeId(b"\x02" + bytes([number] * 32)))
        await idle()
        assert len(asyncio.all_tasks()) == before + 100
        for number in range(100):
            transport.lose_peer(NodeId(b"\x02" + bytes([number] * 32)))
        await idle()
        assert len(asyncio.all_tasks()) == before


async def test_payloads_of_strangers_are_dropped(extension: Extension, transport: ScriptedTransport) -> None:
    async with Application(extension, transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        transport._sink.payload_received(BOB, ask(1))  # type: ignore[union-attr]
        transport._sink.peer_disconnected(BOB, "who?")  # type: ignore[union-attr]
        await idle()
        assert [peer.node_id for peer in app.peers] == [ALICE]


# Back-pressure --------------------------------------------------------------------------------------


async def test_a_full_lane_pauses_its_peer_alone_and_nothing_is_lost(
    extension: Extension, transport: ScriptedTransport
) -> None:
    gate = asyncio.Event()
    handled: list[tuple[NodeId, int]] = []

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        if context.peer.node_id == ALICE:
            await gate.wait()
        handled.append((context.peer.node_id, request.number))

    async with running(extension, transport=transport):
        for number in range(10_000):
            transport.receive(ALICE, ask(number))
        assert transport.flow == [("pause", ALICE)]
        transport.receive(BOB, ask(1))
        await idle()
        assert handled == [(BOB, 1)]
        gate.set()
        while len(handled) < 10_001:
            await asyncio.sleep(0)
        assert [number for peer, number in handled if peer == ALICE] == list(range(10_000))
        assert transport.flow.count(("pause", ALICE)) == transport.flow.count(("resume", ALICE)) > 1
        assert ("pause", BOB) not in transport.flow


async def test_a_peer_that_comes_back_to_a_full_lane_is_paused_again(
    extension: Extension, transport: ScriptedTransport
) -> None:
    gate = asyncio.Event()
    handled: list[int] = []

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        await gate.wait()
        handled.append(request.number)

    async with Application(extension, transport=transport, session=False):
        transport.connect_peer(ALICE)
        while transport.flow != [("pause", ALICE)]:
            transport.receive(ALICE, ask(0))
        transport.lose_peer(ALICE)
        transport.connect_peer(ALICE)
        assert transport.flow == [("pause", ALICE), ("pause", ALICE)]
        transport.receive(ALICE, ask(7))
        gate.set()
        while not handled or handled[-1] != 7:
            await asyncio.sleep(0)
        assert transport.flow[-1] == ("resume", ALICE)


async def test_a_handler_that_asks_gets_its_reply_though_the_lane_is_full(
    extension: Extension, transport: ScriptedTransport
) -> None:
    answers: list[Answer] = []

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        answers.append(await context.peer.request(Note(number=1), Answer))

    @extension.on(Note)
    async def ignore(context: Context, request: Note) -> None: ...

    async with running(extension, transport=transport):
        transport.receive(ALICE, ask(1))
        await idle()
        for number in range(10_000):
            transport.receive(ALICE, note(number))
        assert transport.flow == []
        transport.receive(ALICE, answer(5))
        await idle()
        assert answers == [Answer(number=5)]


async def test_a_handler_that_asks_does_not_open_the_lane_without_end(
    extension: Extension, transport: ScriptedTransport
) -> None:
    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        await context.peer.request(Note(number=1), Answer)

    @extension.on(Note)
    async def ignore(context: Context, request: Note) -> None: ...

    async with running(extension, transport=transport, grace=0.0):
        transport.receive(ALICE, ask(1))
        await idle()
        received = 0
        while not transport.flow:
            transport.receive(ALICE, note(received))
            received += 1
        assert 10_000 < received < 100_000


async def test_a_paused_lane_reads_on_for_a_request_from_elsewhere(
    extension: Extension, transport: ScriptedTransport
) -> None:
    gate = asyncio.Event()

    @extension.on(Note)
    async def block(context: Context, request: Note) -> None:
        await gate.wait()

    async with running(extension, transport=transport) as app:
        while not transport.flow:
            transport.receive(ALICE, note(0))
        transport.receive(ALICE, note(1))  # held by the transport
        task = asyncio.create_task(app.peer(ALICE).request(Ask(number=1), Answer))
        await until(lambda: transport.sent)
        transport.receive(ALICE, answer(9))
        assert await task == Answer(number=9)
        gate.set()


# Sending --------------------------------------------------------------------------------------------


async def test_sends_what_fits_and_is_registered(extension: Extension, transport: ScriptedTransport) -> None:
    @message(0x8C09)
    class Foreign(Message): ...

    async with running(extension, transport=transport) as app:
        peer = app.peer(ALICE)
        with pytest.raises(ValueOutOfRange):
            await peer.send(Note(number=-1))
        with pytest.raises(EncodeError, match="Foreign should be a message that a loaded extension handles"):
            await peer.send(Foreign())
        with pytest.raises(EncodeError, match="Foreign should be a message"):
            await peer.request(Ask(number=1), Foreign)
        with pytest.raises(EncodeError, match="int should be a message"):
            await peer.send(7)  # type: ignore[arg-type]
        assert transport.sent == []


async def test_an_even_type_goes_only_to_peers_that_show_they_know_it(
    extension: Extension, transport: ScriptedTransport
) -> None:
    async with running(extension, transport=transport) as app:
        with pytest.raises(NotSupported) as caught:
            await app.peer(ALICE).send(Even(number=1))
        assert str(caught.value) == (
            f"Even has the even type 0x8c06, and {ALICE} does not show that it knows 'test' (feature bit 513); "
            "it would disconnect: force=True sends it all the same"
        )
        assert caught.value.feature == "test"
        with pytest.raises(NotSupported):
            await app.peer(ALICE).request(Even(number=1), Answer)
        with pytest.raises(PeerNotConnected):
            await app.peer("02" + "cc" * 32).send(Even(number=1))
        assert transport.sent == []
        await app.peer(BOB).send(Even(number=2))
        await app.peer(ALICE).send(Even(number=3), force=True)
        assert [peer for peer, _ in transport.sent] == [BOB, ALICE]


async def test_an_extension_without_a_feature_is_shown_by_nobody(transport: ScriptedTransport) -> None:
    extension = Extension("silent", version="1.0")
    extension.register(Even)
    async with running(extension, transport=transport) as app:
        with pytest.raises(NotSupported, match="'silent' \\(no feature bit\\)"):
            await app.peer(BOB).send(Even(number=1))
        assert not app.peer(BOB).supports(extension)


async def test_supports_reads_the_peers_features(extension: Extension, transport: ScriptedTransport) -> None:
    async with running(extension, transport=transport) as app:
        assert app.peer(BOB).supports(extension)
        assert app.peer(BOB).supports("test")
        assert not app.peer(ALICE).supports(extension)
        transport.lose_peer(BOB)
        assert not app.peer(BOB).supports(extension)
        transport.connect_peer(BOB, [512])  # its even twin is the same feature (BOLT 9)
        assert app.peer(BOB).supports(extension)
        with pytest.raises(ExtensionError, match="no extension 'nobody' is loaded; there are: oddwire, test"):
            app.peer(BOB).supports("nobody")


async def test_a_cancelled_send_is_not_sent(extension: Extension, transport: ScriptedTransport) -> None:
    async with running(extension, transport=transport) as app:
        transport.stick()
        task = asyncio.create_task(app.peer(ALICE).send(Note(number=1)))
        await idle()
        task.cancel()
        await asyncio.wait([task])
        transport.stuck.set()
        await app.peer(ALICE).send(Note(number=2))
        assert transport.sent == [(ALICE, note(2))]


# Requests -------------------------------------------------------------------------------------------


async def test_replies_go_to_requests_in_the_order_they_were_made(
    extension: Extension, transport: ScriptedTransport
) -> None:
    handled: list[int] = []

    @extension.on(Answer)
    async def handle(context: Context, reply: Answer) -> None:
        handled.append(reply.number)

    async with running(extension, transport=transport) as app:
        alice, bob = app.peer(ALICE), app.peer(BOB)
        first = asyncio.create_task(alice.request(Ask(number=1), Answer))
        second = asyncio.create_task(alice.request(Ask(number=2), Answer))
        other = asyncio.create_task(bob.request(Ask(number=3), Answer))
        await idle()
        assert transport.sent == [(ALICE, ask(1)), (BOB, ask(3))]
        transport.receive(ALICE, note(8))  # not what they wait for
        transport.receive(ALICE, answer(1))
        transport.receive(ALICE, answer(98))  # the second one is not even sent
        await idle()
        assert transport.sent[2:] == [(ALICE, ask(2))]
        transport.receive(ALICE, answer(2))
        transport.receive(ALICE, answer(99))  # nobody waits any more
        transport.receive(BOB, answer(3))
        assert [await task for task in (first, second, other)] == [
            Answer(number=1),
            Answer(number=2),
            Answer(number=3),
        ]
        await idle()
        assert handled == [98, 99]


async def test_a_reply_of_another_peer_is_no_reply(extension: Extension, transport: ScriptedTransport) -> None:
    async with running(extension, transport=transport) as app:
        task = asyncio.create_task(app.peer(ALICE).request(Ask(number=1), Answer))
        await idle()
        transport.receive(BOB, answer(666))
        await idle()
        assert not task.done()
        transport.receive(ALICE, answer(1))
        assert await task == Answer(number=1)


async def test_no_reply_in_time(extension: Extension, transport: ScriptedTransport) -> None:
    async with running(extension, transport=transport) as app:
        with pytest.raises(ReplyTimeout, match=r"no Answer from 02aa.* within 0\.01 s of Ask") as caught:
            await app.peer(ALICE).request(Ask(number=1), Answer, timeout=0.01)
        assert caught.value.timeout == 0.01
        task = asyncio.create_task(app.peer(ALICE).request(Ask(number=2), Answer, timeout=None))
        await idle()
        assert transport.sent == [(ALICE, ask(1))]
        transport.receive(ALICE, answer(1))  # late: for the one that gave up
        await idle()
        transport.receive(ALICE, answer(2))
        assert await task == Answer(number=2)
        assert app.counters.dropped["late_reply"] == 1


async def test_a_timeout_of_the_callers_own_stays_its_own(extension: Extension, transport: ScriptedTransport) -> None:
    async with running(extension, transport=transport) as app:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.01):
                await app.peer(ALICE).request(Ask(number=1), Answer)
        assert not isinstance(caught.value, ReplyTimeout)


async def test_what_comes_for_a_cancelled_request_is_no_other_ones(
    extension: Extension, transport: ScriptedTransport
) -> None:
    async with running(extension, transport=transport) as app:
        first = asyncio.create_task(app.peer(ALICE).request(Ask(number=1), Answer))
        second = asyncio.create_task(app.peer(ALICE).request(Ask(number=2), Answer))
        await idle()
        first.cancel()
        await idle()
        transport.receive(ALICE, answer(1))
        await idle()
        transport.receive(ALICE, answer(2))
        assert await second == Answer(number=2)
        assert first.cancelled()


async def test_requests_end_with_the_connection(extension: Extension, transport: ScriptedTransport) -> None:
    async with running(extension, transport=transport) as app:
        waiting = asyncio.create_task(app.peer(ALICE).request(Ask(number=1), Answer, timeout=None))
        await idle()
        transport.lose_peer(ALICE, "cable cut")
        with pytest.raises(ConnectionClosed, match="cable cut"):
            await waiting


async def test_a_request_whose_send_fails_leaves_nothing_behind(
    extension: Extension, transport: ScriptedTransport
) -> None:
    handled: list[int] = []

    @extension.on(Answer)
    async def handle(context: Context, reply: Answer) -> None:
        handled.append(reply.number)

    async with running(extension, transport=transport) as app:
        with pytest.raises(ValueOutOfRange):
            await app.peer(ALICE).request(Ask(number=-1), Answer)
        transport.stick()
        stuck = asyncio.create_task(app.peer(ALICE).request(Ask(number=1), Answer))
        await idle()
        stuck.cancel()
        transport.stuck.set()
        await asyncio.wait([stuck])
        transport.receive(ALICE, answer(3))
        await idle()
        assert handled == [3]


# Tracing --------------------------------------------------------------------------------------------


async def test_traces_what_comes_and_goes(extension: Extension, transport: ScriptedTransport) -> None:
    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> Answer:
        return Answer(number=2)

    tracer = Tracer()
    async with running(extension, tracer, transport=transport) as app:
        transport.receive(ALICE, ask(1))
        await idle()
        asked = asyncio.create_task(app.peer(BOB).request(Note(number=7), Answer))
        await idle()
        transport.receive(BOB, answer(8))
        await asked
        transport.receive(ALICE, b"\x8d\x01unknown")
        transport.receive(ALICE, b"\x8c\x01bad")
    summary = [
        (event.direction, event.peer, event.type_id, event.message, event.size, event.latency is not None)
        for event in tracer.events
    ]
    assert summary == [
        ("received", ALICE, 0x8C01, Ask(number=1), 10, False),
        ("sent", ALICE, 0x8C03, Answer(number=2), 10, True),
        ("sent", BOB, 0x8C05, Note(number=7), 10, False),
        ("received", BOB, 0x8C03, Answer(number=8), 10, True),
        ("received", ALICE, 0x8D01, None, 9, False),
        ("received", ALICE, 0x8C01, None, 5, False),
    ]
    assert [event.payload for event in tracer.events][-2:] == [b"\x8d\x01unknown", b"\x8c\x01bad"]
    assert [event.error is None for event in tracer.events] == [True] * 5 + [False]
    times = [event.time for event in tracer.events]
    assert times == sorted(times)
    assert all(event.latency is None or 0 <= event.latency < 60 for event in tracer.events)


async def test_traces_concurrent_replies_with_their_latency(extension: Extension, transport: ScriptedTransport) -> None:
    @extension.on(Ask, concurrent=True)
    async def handle(context: Context, request: Ask) -> Answer:
        return Answer(number=2)

    tracer = Tracer()
    async with running(extension, tracer, transport=transport):
        transport.receive(ALICE, ask(1))
        await idle()
    assert [(event.direction, event.latency is None) for event in tracer.events] == [
        ("received", True),
        ("sent", False),
    ]


# Closing --------------------------------------------------------------------------------------------


async def test_closing_lets_handlers_finish_and_says_farewell(
    extension: Extension, transport: ScriptedTransport
) -> None:
    log: list[Any] = []

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> Answer:
        await asyncio.sleep(0.01)
        log.append(request.number)
        return Answer(number=request.number)

    @extension.on_disconnect
    async def bye(context: Context, reason: str) -> None:
        log.append((context.peer.node_id, reason))

    async with running(extension, transport=transport):
        await idle()
        for number in range(3):
            transport.receive(ALICE, ask(number))
    assert log == [0, 1, 2, (ALICE, "closed by us"), (BOB, "closed by us")]
    assert transport.sent == [(ALICE, answer(number)) for number in range(3)]
    assert transport.flow == [("pause", ALICE), ("pause", BOB)]


async def test_closing_cancels_what_does_not_finish(extension: Extension, transport: ScriptedTransport) -> None:
    log: list[Any] = []

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    @extension.on(Note, concurrent=True)
    async def handle_note(context: Context, request: Note) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("cancelled too")

    @extension.on_disconnect
    async def bye(context: Context, reason: str) -> None:
        log.append((context.peer.node_id, reason))

    watcher = Watcher()
    async with running(extension, watcher, transport=transport, grace=0.01):
        transport.receive(ALICE, note(1))
        transport.receive(ALICE, ask(1))
        transport.receive(ALICE, ask(2))  # never begins
        await idle()
        transport.receive(BOB, ask(3))
        await idle()
        transport.lose_peer(BOB, "lost before")
    assert sorted(map(str, log)) == sorted(
        map(
            str,
            ["cancelled", "cancelled", "cancelled too", (ALICE, "closed by us"), (BOB, "lost before")],
        )
    )
    assert watcher.failures == []


async def test_closing_fails_requests_at_once(extension: Extension, transport: ScriptedTransport) -> None:
    failures: list[BaseException] = []

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        try:
            await context.peer.request(Note(number=1), Answer, timeout=None)
        except ConnectionClosed as error:
            failures.append(error)

    async with running(extension, transport=transport):
        transport.receive(ALICE, ask(1))
        await idle()
    assert [str(error) for error in failures] == ["the application is closing"]


async def test_a_peer_that_connects_while_closing_is_kept_quiet(
    extension: Extension, transport: ScriptedTransport
) -> None:
    handled: list[int] = []

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None:
        handled.append(request.number)
        await idle()  # until the application is closing
        transport.connect_peer(BOB)
        transport.receive(BOB, ask(2))
        await idle()

    watcher = Watcher()
    async with Application(extension, watcher, transport=transport, session=False):
        transport.connect_peer(ALICE)
        await idle()
        transport.receive(ALICE, ask(1))
    assert handled == [1]
    assert [(what, peer.node_id) for what, peer in watcher.connections] == [
        ("connected", ALICE),
        ("connected", BOB),
        ("closed by us", ALICE),
        ("closed by us", BOB),
    ]


# What it costs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("session", [False, True])
async def test_a_connected_peer_takes_little_memory(
    extension: Extension, transport: ScriptedTransport, session: bool
) -> None:
    import tracemalloc

    @extension.on(Ask)
    async def handle(context: Context, request: Ask) -> None: ...

    async with Application(extension, transport=transport, session=session):
        nodes = [NodeId(b"\x02" + number.to_bytes(32, "big")) for number in range(500)]
        gc.collect()
        tracemalloc.start()
        try:
            for node_id in nodes:
                transport.connect_peer(node_id)
                transport.receive(node_id, ask(1))
            await idle()
            gc.collect()
            a_peer = tracemalloc.get_traced_memory()[0] / len(nodes)
        finally:
            tracemalloc.stop()
    assert a_peer < 8000  # bytes, the transport's own included; asyncio's debug mode adds some
