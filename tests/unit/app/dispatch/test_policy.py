from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any

import pytest

from oddwire.app import Application, Context, Extension, PluginManager, TraceEvent, hookimpl
from oddwire.app.dispatch.failures import Failures
from oddwire.app.dispatch.peer_queue import PeerQueue
from oddwire.app.dispatch.policy import POLICY, Enforcer, Outcome, Policy
from oddwire.errors import ConnectionClosed, PeerNotConnected, Refuse, RemoteFailure, TransportError
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.testing import ScriptedTransport
from oddwire.transports.base import PeerInfo
from oddwire.transports.memory import MemoryNetwork

ALICE = NodeId("02" + "aa" * 32)


@message(0x8C01)
class Ask(Message): ...


class Witness:
    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    @hookimpl
    def handler_failed(self, peer: Any, extension: str, message: Any, error: BaseException) -> None:
        self.seen.append((peer.node_id, extension, message, error))


class Setting:
    """An enforcer, a queue and a transport, with everything they do to be seen."""

    def __init__(self, transport: ScriptedTransport) -> None:
        self.failures = Witness()
        plugins = PluginManager()
        plugins.register(self.failures)
        self.transport = transport
        self.app = Application(transport=transport)
        self.tasks: list[Coroutine[Any, Any, None]] = []
        self._calls = plugins.calls("handler_failed")

    async def start(self) -> Setting:
        failures = Failures(self.app, self._calls)
        self.enforcer = Enforcer(self.app, self.transport, failures, self.tasks.append)
        await self.app.start()
        self.transport.connect_peer(ALICE)
        self.peer = self.app.peer(ALICE)
        self.queue = PeerQueue(self.peer, PeerInfo(node_id=ALICE), 1, tracing=False)
        self.context = Context(self.app, "test", self.peer)
        return self


@pytest.fixture
def transport() -> ScriptedTransport:
    return ScriptedTransport()


def test_every_outcome_has_its_policy() -> None:
    assert {
        Outcome.UNKNOWN_ODD: Policy(log=logging.DEBUG, warn=False, disconnect=False, report=False),
        Outcome.UNKNOWN_EVEN: Policy(log=logging.INFO, warn=True, disconnect=True, report=False),
        Outcome.MALFORMED: Policy(log=logging.INFO, warn=True, disconnect=False, report=False),
        Outcome.UNHANDLED: Policy(log=logging.DEBUG, warn=False, disconnect=False, report=False),
        Outcome.UNASKED: Policy(log=logging.WARNING, warn=False, disconnect=False, report=False),
        Outcome.NOT_ALLOWED: Policy(log=logging.DEBUG, warn=False, disconnect=False, report=False),
        Outcome.REFUSED: Policy(log=logging.INFO, warn=False, disconnect=False, report=False),
        Outcome.DECLINED: Policy(log=logging.WARNING, warn=False, disconnect=False, report=False),
        Outcome.UNDELIVERED: Policy(log=logging.WARNING, warn=False, disconnect=False, report=True),
        Outcome.UNSETTLED: Policy(log=logging.WARNING, warn=False, disconnect=False, report=True),
        Outcome.DROPPED: Policy(log=logging.WARNING, warn=False, disconnect=False, report=False),
        Outcome.HANDLER_RAISED: Policy(log=logging.ERROR, warn=False, disconnect=False, report=True),
    } == POLICY
    assert set(POLICY) == set(Outcome)


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN_ODD, Outcome.UNKNOWN_EVEN, Outcome.MALFORMED])
async def test_does_to_a_payload_what_the_table_says(
    transport: ScriptedTransport, outcome: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "oddwire.app")
    setting = await Setting(transport).start()
    policy = POLICY[outcome]
    setting.enforcer.apply(outcome, setting.queue, "details", b"\x8c\x01")
    told = f"{outcome.value}: details"
    assert (caplog.records[-1].levelno, caplog.records[-1].message) == (policy.log, f"{told} from {ALICE}")
    assert transport.warnings == ([(ALICE, told)] if policy.warn else [])
    assert setting.queue.hung_up is policy.disconnect
    assert len(setting.tasks) == policy.disconnect
    for task in setting.tasks:
        await task
    assert transport.hangups == ([(ALICE, told)] if policy.disconnect else [])
    assert not setting.queue.hung_up


async def test_a_hang_up_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(ScriptedTransport):
        async def disconnect(self, peer: NodeId, reason: str = "") -> None:
            raise TransportError("no way")

    setting = await Setting(Stubborn()).start()
    setting.enforcer.apply(Outcome.UNKNOWN_EVEN, setting.queue, "details", b"\x9c\x02")
    await setting.tasks[0]
    assert f"cannot disconnect {ALICE}: no way" in caplog.text
    assert not setting.queue.hung_up


async def test_reports_what_a_handler_raised(transport: ScriptedTransport, caplog: pytest.LogCaptureFixture) -> None:
    setting = await Setting(transport).start()
    error = ZeroDivisionError("oops")
    setting.enforcer.failed(setting.context, Ask(), error)
    setting.enforcer.failed(setting.context, "the reason of a farewell", error)
    assert setting.failures.seen == [(ALICE, "test", Ask(), error), (ALICE, "test", None, error)]
    assert [record.message for record in caplog.records] == [
        f"handler of Ask of 'test' failed, with {ALICE}",
        f"hook of 'test' failed, with {ALICE}",
    ]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


@pytest.mark.parametrize("error", [ConnectionClosed("gone"), PeerNotConnected("gone", node_id=str(ALICE))])
async def test_is_quiet_about_a_peer_that_went(
    transport: ScriptedTransport, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    caplog.set_level(logging.DEBUG, "oddwire.app")
    setting = await Setting(transport).start()
    setting.enforcer.failed(setting.context, Ask(), error)
    transport.lose_peer(ALICE)
    setting.enforcer.failed(setting.context, Ask(), error)
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.DEBUG]
    assert len(setting.failures.seen) == 2


async def test_lets_pass_what_ends_the_program(transport: ScriptedTransport) -> None:
    setting = await Setting(transport).start()

    def interrupted() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            while True:
                pass
        except KeyboardInterrupt as error:
            setting.enforcer.failed(setting.context, Ask(), error)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        signal.signal(signal.SIGINT, before)
    assert setting.failures.seen == []


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
async def test_a_handler_cannot_end_the_program(
    transport: ScriptedTransport, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    setting = await Setting(transport).start()
    setting.enforcer.failed(setting.context, Ask(), error)
    assert setting.failures.seen == [(ALICE, "test", Ask(), error)]
    assert caplog.records[-1].message == (
        f"handler of Ask of 'test' failed, with {ALICE}; to end the application, it should call context.app.stop()"
    )


async def test_tells_our_own_cancelling_from_the_handlers(transport: ScriptedTransport) -> None:
    setting = await Setting(transport).start()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            setting.enforcer.failed(setting.context, Ask(), error)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert setting.failures.seen == []
    setting.enforcer.failed(setting.context, Ask(), asyncio.CancelledError())
    assert len(setting.failures.seen) == 1


# What is not handled, seen from outside ------------------------------------------------------------------------


@message(0x8C03)
class Known(Message): ...


class Watching:
    def __init__(self) -> None:
        self.events: list[TraceEvent] = []

    @hookimpl
    def message_traced(self, event: TraceEvent) -> None:
        self.events.append(event)


def refusing() -> Extension:
    extension = Extension("test", version="1.0")
    extension.register(Known)

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None:
        raise Refuse("not today\x1b[2J", code=1234)

    return extension


@pytest.mark.parametrize("traced", [True, False])
async def test_a_plain_message_that_is_refused_is_told_and_traced(
    transport: ScriptedTransport, caplog: pytest.LogCaptureFixture, traced: bool
) -> None:
    caplog.set_level(logging.INFO, "oddwire.app")
    watching, failures = Watching(), Witness()
    plugins = [refusing(), failures, *([watching] if traced else [])]
    async with Application(*plugins, transport=transport, session=False):
        transport.connect_peer(ALICE)
        transport.receive(ALICE, b"\x8c\x01\x80")
        while not caplog.records:
            await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records] == [
        f"message refused by 'test': test.Ask 0x8c01 from {ALICE}, with code 1234: not today\\x1b[2J"
    ]
    assert failures.seen == []
    if traced:
        received, refused = watching.events
        assert (received.direction, received.handled) == ("received", True)
        assert (refused.direction, refused.message, refused.payload) == ("refused", Ask(), b"\x8c\x01\x80")
        assert isinstance(refused.error, Refuse)
        assert (refused.error.code, refused.error.text) == (1234, "not today\x1b[2J")


@pytest.mark.parametrize("traced", [True, False])
async def test_a_message_without_a_handler_is_told_and_traced(
    transport: ScriptedTransport, caplog: pytest.LogCaptureFixture, traced: bool
) -> None:
    caplog.set_level(logging.DEBUG, "oddwire.app")
    watching = Watching()
    async with Application(refusing(), *([watching] if traced else []), transport=transport, session=False):
        transport.connect_peer(ALICE)
        transport.receive(ALICE, b"\x8c\x03\x80")
    told = [record.getMessage() for record in caplog.records if "without a handler" in record.getMessage()]
    assert told == [f"message without a handler: test.Known 0x8c03 from {ALICE}"]
    if traced:
        [event] = watching.events
        assert (event.direction, event.message, event.handled, event.error) == ("received", Known(), False, None)


async def test_what_was_not_handled_before_the_end_is_told_and_counted(
    transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    extension, begun = Extension("slow", version="1.0"), asyncio.Event()

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None:
        begun.set()
        await asyncio.Event().wait()

    app = Application(extension, transport=transport, session=False, grace=0.0)
    async with app:
        transport.connect_peer(ALICE)
        for _ in range(5):
            transport.receive(ALICE, b"\x8c\x01\x80")
        await begun.wait()
    assert app.counters.dropped == {"closing": 4}
    assert f"4 messages not handled before the end, from {ALICE}" in [r.getMessage() for r in caplog.records]


async def test_a_request_that_is_refused_is_told_once(
    transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "oddwire.app")
    network, watching = MemoryNetwork(), Watching()
    async with (
        Application(refusing(), watching, transport=network.transport()) as left,
        Application(refusing(), transport=network.transport()) as right,
    ):
        peer = await right.connect(left.uris[0])
        with pytest.raises(RemoteFailure, match="not today"):
            await peer.request(Ask(), Known)
    told = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert told == [
        f"message refused by 'test': test.Ask 0x8c01 from {right.node_id}, with code 1234: not today\\x1b[2J"
    ]
    assert [event.direction for event in watching.events] == ["received", "refused"]
