from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from oddwire.app import AppContext, Application, Context, Extension, hookimpl
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.testing import ScriptedTransport

ALICE = NodeId("02" + "aa" * 32)


@message(0x8C01)
class Ask(Message):
    text: str


async def idle(turns: int = 20) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


def failing(name: str, heard: list[Any]) -> Extension:
    extension = Extension(name, version="1.0")

    @extension.on_error
    async def hear(context: AppContext, error: BaseException, message: Message | None) -> None:
        peer = context.peer.node_id if isinstance(context, Context) else None
        heard.append((context.extension, peer, str(error), message))

    return extension


async def test_who_has_failed_hears_of_it_and_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []
    one, other = failing("one", heard), failing("other", heard)

    @one.on(Ask)
    async def ask(context: Context, request: Ask) -> None:
        raise RuntimeError("in a handler")

    @one.on_connect
    async def connected(context: Context) -> None:
        raise RuntimeError("in a hook")

    @other.task(restart=False)
    async def task(context: AppContext) -> None:
        raise RuntimeError("in a task")

    transport = ScriptedTransport()
    async with Application(one, other, transport=transport) as app:
        transport.connect_peer(ALICE)
        transport.receive(ALICE, app.registry.encode(Ask(text="hello")))
        await idle()
        assert app.counters.failed == {"one": 2, "other": 1}
        assert app.counters_of("one").failed == {"one": 2}
        assert app.counters_of(other).failed == {"other": 1}
    assert sorted(heard, key=str) == [
        ("one", ALICE, "in a handler", Ask(text="hello")),
        ("one", ALICE, "in a hook", None),
        ("other", None, "in a task", None),
    ]
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR] == [True] * 3


async def test_a_failure_of_the_last_moment_is_heard_before_the_end() -> None:
    heard: list[Any] = []
    extension = failing("late", heard)

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("while it was cancelled")

    @extension.on_shutdown
    async def end(context: AppContext) -> None:
        heard.append("shutdown")

    transport = ScriptedTransport()
    async with Application(extension, transport=transport, grace=0.01) as app:
        transport.connect_peer(ALICE)
        transport.receive(ALICE, app.registry.encode(Ask(text="")))
        await idle()
    assert heard == [("late", ALICE, "while it was cancelled", Ask(text="")), "shutdown"]


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, asyncio.CancelledError, GeneratorExit, KeyboardInterrupt])
async def test_one_that_fails_itself_is_not_asked_again(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    extension = Extension("deaf", version="1.0")
    heard: list[Any] = []

    @extension.on_error
    async def hear(context: AppContext, error_: BaseException, message: Message | None) -> None:
        heard.append(error_)
        raise error("cannot hear")

    class Witness:
        name = "witness"

        @hookimpl
        def handler_failed(self, peer: object, error: BaseException) -> None:
            heard.append((peer, str(error)))

    @extension.task(restart=False)
    async def task(context: AppContext) -> None:
        raise ValueError("first")

    async with Application(extension, Witness(), transport=ScriptedTransport()) as app:
        await idle()
        assert app.counters.failed == {"deaf": 1}
    assert heard[0] == (None, "first")
    assert len(heard) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "@task task of 'deaf' failed; it is not restarted",
        "on_error hear of 'deaf' failed",
    ]


async def test_that_a_peer_has_gone_is_no_failure_of_who_wanted_to_send_it_something(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[Any] = []
    extension = failing("sender", heard)
    extension.register(Ask)

    @extension.on_disconnect
    async def gone(context: Context, reason: str) -> None:
        await context.peer.send(Ask(text="come back"))

    transport = ScriptedTransport()
    async with Application(extension, transport=transport) as app:
        transport.connect_peer(ALICE)
        transport.lose_peer(ALICE)
        await idle()
        assert not app.counters.failed
    assert [each[:2] for each in heard] == [("sender", ALICE)]
    assert not [record for record in caplog.records if record.levelno > logging.DEBUG]


async def test_no_more_than_so_many_failures_are_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """What a peer can cause is bounded: each report holds the message that was handled."""
    extension, heard, go = Extension("slow", version="1.0"), 0, asyncio.Event()

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None:
        raise RuntimeError(request.text)

    @extension.on_error
    async def hear(context: AppContext, error: BaseException, message: Message | None) -> None:
        nonlocal heard
        heard += 1
        await go.wait()

    transport = ScriptedTransport()
    async with Application(extension, transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        for number in range(300):
            transport.receive(ALICE, app.registry.encode(Ask(text=f"{number}")))
        await idle(400)
        assert (heard, app.counters.dropped["reports"], app.counters.failed["slow"]) == (256, 44, 300)
        go.set()
        await idle()
        transport.receive(ALICE, app.registry.encode(Ask(text="later")))
        await idle()
        assert heard == 257
    assert "a failure is not reported to 'slow': 256 reports are under way" in caplog.text
