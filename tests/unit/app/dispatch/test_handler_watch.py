"""What has not ended after ten seconds is named, once, with the line it waits in; what goes on by design is not."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from oddwire.app import AppContext, Application, CallNext, Context, Extension, hookimpl
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.testing import ScriptedTransport
from oddwire.transports.memory import MemoryNetwork

ALICE = NodeId("02" + "aa" * 32)
pytestmark = pytest.mark.asyncio(loop_factories=["jumping"])
HELP = "Use a timeout, such as asyncio.timeout(5), or context.spawn()"


@message(0x8C01)
class Ask(Message):
    number: int = 0


@message(0x8C03)
class Answer(Message):
    number: int = 0


async def hang() -> None:
    await asyncio.Event().wait()


def line_of(function: Callable[..., object], offset: int) -> str:
    return f"{__file__}:{function.__code__.co_firstlineno + offset}"


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


async def run(extension: object, seconds: float = 100, asks: int = 1) -> None:
    transport = ScriptedTransport()
    async with Application(extension, transport=transport, session=False, grace=0) as app:
        transport.connect_peer(ALICE)
        for number in range(asks):
            transport.receive(ALICE, app.registry.encode(Ask(number=number)))
        await asyncio.sleep(seconds)


@pytest.mark.parametrize("concurrent", [False, True])
async def test_a_handler_is_named_once_with_its_peer_and_line(
    concurrent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    extension = Extension("test", version="1.0")

    @extension.on(Ask, concurrent=concurrent)
    async def ask(context: Context, request: Ask) -> None:
        if request.number == 0:
            await hang()

    await run(extension, asks=3)
    (text,) = told(caplog)[:1]
    waits = "its message stays in memory" if concurrent else "later messages of this peer wait for it"
    where = f"it waits at {line_of(hang, 1)}"
    assert text == f"handler of Ask of 'test' with {ALICE} has not ended after 10 s: {waits}; {where}. {HELP}"
    assert sum("has not ended after" in each for each in told(caplog)) == 1


async def test_middleware_that_hangs_is_named_by_its_line(caplog: pytest.LogCaptureFixture) -> None:
    extension = Extension("test", version="1.0")

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None: ...

    @extension.middleware
    async def slow(context: Context, message: Message, call_next: CallNext) -> Message | None:
        await asyncio.Event().wait()
        return await call_next(message)

    await run(extension)
    (text,) = [each for each in told(caplog) if "has not ended after" in each]
    assert text.startswith(f"handler of Ask of 'test' with {ALICE} has not ended after 10 s: ")
    assert f"it waits at {line_of(slow, 2)}." in text


async def test_a_handler_of_a_type_without_a_message_class_is_named_by_its_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    extension = Extension("test", version="1.0")

    @extension.on_unknown(0x9001)
    async def unknown(context: Context, type_id: int, data: bytes) -> None:
        await hang()

    transport = ScriptedTransport()
    async with Application(extension, transport=transport, session=False, grace=0):
        transport.connect_peer(ALICE)
        transport.receive(ALICE, b"\x90\x01hello")
        await asyncio.sleep(100)
    (text,) = [each for each in told(caplog) if "has not ended after" in each]
    assert text.startswith(f"handler of type 0x9001 of 'test' with {ALICE} has not ended after 10 s: ")


async def test_each_that_hangs_is_named(caplog: pytest.LogCaptureFixture) -> None:
    extension = Extension("test", version="1.0")

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None:
        await asyncio.sleep(30)

    await run(extension, seconds=85, asks=3)
    assert sum("has not ended after 10 s" in each for each in told(caplog)) == 3


async def test_of_many_that_hang_some_are_named_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    extension = Extension("test", version="1.0")

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None:
        await hang()

    transport = ScriptedTransport()
    async with Application(extension, transport=transport, session=False, grace=0) as app:
        for number in range(1, 101):
            transport.connect_peer(peer := NodeId(b"\x02" + number.to_bytes(32, "big")))
            transport.receive(peer, app.registry.encode(Ask()))
        counts = []
        for _ in range(30):
            await asyncio.sleep(1)
            counts.append(sum("has not ended after" in each for each in told(caplog)))
    assert sorted(set(counts)) == [0, 32, 64, 96, 100]


async def test_what_ends_within_ten_seconds_is_not_named_however_much_there_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    extension, handled = Extension("test", version="1.0"), []

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None:
        await asyncio.sleep(9)
        handled.append(request.number)

    await run(extension, seconds=200, asks=20)
    assert len(handled) == 20
    assert not told(caplog)


async def test_a_request_is_named_and_a_stream_that_is_sent_is_not(caplog: pytest.LogCaptureFixture) -> None:
    extension, got = Extension("test", version="1.0"), []

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> Answer:
        await asyncio.sleep(20)
        return Answer()

    @extension.on(Answer)
    async def stream(context: Context, request: Answer) -> AsyncIterator[Ask]:
        for number in range(3):
            await asyncio.sleep(20)
            yield Ask(number=number)

    network = MemoryNetwork()
    async with (
        Application(extension, transport=network.transport()) as left,
        Application(extension, transport=network.transport()) as right,
    ):
        peer = await right.connect(left.uris[0])
        await peer.request(Ask(), Answer, timeout=60)
        (text,) = told(caplog)
        assert text.startswith(
            f"handler of Ask of 'test' with {right.node_id} has not ended after 10 s: its message stays"
        )
        caplog.clear()
        got = [part.number async for part in peer.stream(Answer(), Ask, timeout=60)]
        assert got == [0, 1, 2]
    assert not told(caplog)


@pytest.mark.asyncio(loop_factories=["hurried"])  # its store is in a thread
async def test_a_handler_of_reliable_messages_is_named(caplog: pytest.LogCaptureFixture) -> None:
    extension = Extension("test", version="1.0")

    @extension.on(Ask, reliable=True)
    async def ask(context: Context, request: Ask) -> None:
        await hang()

    network = MemoryNetwork()
    async with (
        Application(extension, transport=network.transport(), store=":memory:", grace=0) as left,
        Application(extension, transport=network.transport(), store=":memory:", grace=0) as right,
    ):
        await (await right.connect(left.uris[0])).deliver(Ask())
        async with asyncio.timeout(1000):
            while not told(caplog):
                await asyncio.sleep(1)
        (text,) = told(caplog)
    start = f"handler of Ask of 'test' with {right.node_id} has not ended after "
    # The store's thread takes real time, in which the clock jumps: the look that finds the handler may be one later
    assert re.match(re.escape(start) + r"1[0-2] s: later messages of this peer wait", text)
    assert line_of(hang, 1) in text


async def test_jobs_that_are_periodic_are_named_and_tasks_are_not(caplog: pytest.LogCaptureFixture) -> None:
    extension = Extension("test", version="1.0")

    @extension.every(1)
    async def often(context: AppContext) -> None:
        await hang()

    @extension.every(1, per_peer=True)
    async def beat(context: Context) -> None:
        await hang()

    @extension.task
    async def always(context: AppContext) -> None:
        await hang()

    @extension.task(per_peer=True)
    async def feed(context: Context) -> None:
        context.spawn(hang())
        await hang()

    await run(extension, asks=0)
    where = f"its next run waits for it; it waits at {line_of(hang, 1)}. {HELP}"
    assert sorted(told(caplog)) == [
        f"@every beat of 'test' with {ALICE} has not ended after 10 s: {where}",
        f"@every often of 'test' has not ended after 10 s: {where}",
    ]


async def test_a_hook_of_a_plugin_is_named_as_what_all_wait_for(caplog: pytest.LogCaptureFixture) -> None:
    class Doorkeeper:
        name = "doorkeeper"

        @hookimpl
        async def peer_connected(self) -> None:
            await hang()

    extension = Extension("test", version="1.0")

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None: ...

    transport = ScriptedTransport()
    async with Application(Doorkeeper(), extension, transport=transport, session=False, grace=0):
        transport.connect_peer(ALICE)
        await asyncio.sleep(100)
    start = (
        f"peer_connected of 'doorkeeper' with {ALICE} has not ended after 10 s: all that this peer sends waits for it"
    )
    assert [each.startswith(start) for each in told(caplog)][:1] == [True]


async def test_a_reply_that_the_peer_does_not_read_is_no_matter_of_the_handlers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    extension = Extension("test", version="1.0")

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> Answer:
        return Answer()

    class Stuck(ScriptedTransport):
        def send_nowait(self, peer: NodeId, payload: bytes) -> bool:
            return False

    transport = Stuck()
    async with Application(extension, transport=transport, session=False, grace=0) as app:
        transport.connect_peer(ALICE)
        transport.stuck.clear()
        transport.receive(ALICE, app.registry.encode(Ask()))
        await asyncio.sleep(100)
        assert not transport.sent
        assert not told(caplog)


async def test_nobody_looks_while_nothing_is_under_way() -> None:
    extension = Extension("test", version="1.0")

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None:
        await asyncio.sleep(5)

    @extension.task
    async def always(context: AppContext) -> None:
        await hang()

    def timers() -> list[object]:
        return [each for each in asyncio.get_running_loop()._scheduled if not each.cancelled()]  # type: ignore[attr-defined]

    transport: Any = ScriptedTransport()
    async with Application(extension, transport=transport, session=False) as app:
        await asyncio.sleep(20)
        assert timers() == []
        transport.connect_peer(ALICE)
        await asyncio.sleep(20)
        assert timers() == []
        for _ in range(2):
            transport.receive(ALICE, app.registry.encode(Ask()))
            await asyncio.sleep(1)
            assert len(timers()) == 2, "the handler's, and ours"
            await asyncio.sleep(20)
            assert timers() == []


async def test_a_worker_that_has_just_been_woken_disturbs_no_inspection(caplog: pytest.LogCaptureFixture) -> None:
    """It still awaits the future it has slept on, which is no coroutine; those that hang are named all the same."""
    extension = Extension("test", version="1.0")

    @extension.on(Ask, concurrent=True)
    async def ask(context: Context, request: Ask) -> None:
        await hang()

    @extension.on(Answer)
    async def answer(context: Context, request: Answer) -> None: ...

    transport = ScriptedTransport()
    async with Application(extension, transport=transport, session=False, grace=0) as app:
        transport.connect_peer(ALICE)
        transport.receive(ALICE, app.registry.encode(Ask()))
        dispatcher = app._dispatcher
        assert dispatcher is not None
        for _ in range(12):
            await asyncio.sleep(1)
            assert dispatcher.core.queues[ALICE].wake is not None, "the worker sleeps"
            transport.receive(ALICE, app.registry.encode(Answer()))
            dispatcher._watch._look()
    assert sum("has not ended after" in each for each in told(caplog)) == 1
