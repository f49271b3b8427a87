"""What keeps a loop from running is named by a thread, once, with its line."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator
from types import FrameType
from typing import Any

import pytest
from tests.support.waiting import until

from oddwire.app import AppContext, Application, Context, Extension
from oddwire.app.dispatch.loop_watch import LOOP_WATCH, LoopWatch, Watched
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.testing import ScriptedTransport

ALICE = NodeId("02" + "aa" * 32)
PATIENCE = 30.0
LOOPS = ("asyncio", "uvloop")


@message(0x8C01)
class Ask(Message):
    text: str = ""


def here() -> FrameType:
    return sys._getframe(1)


class Loop:
    """A loop that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.closed = False

    def call_soon_threadsafe(self, callback: Any) -> None:
        if self.closed:
            raise RuntimeError("Event loop is closed")
        self.asked.append(callback)

    def answer(self) -> None:
        self.asked.pop()()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def watched(loop: Loop) -> Watched:
    watched = Watched(loop)  # type: ignore[arg-type]
    watched.owners.append(dict)
    return watched


def test_a_loop_that_answers_is_not_named(loop: Loop, watched: Watched) -> None:
    for number in range(1, 20):
        assert watched.look(here(), float(number)) is None
        assert len(loop.asked) == 1
        loop.answer()


def test_one_that_does_not_is_named_once_and_again_after_it_has_answered(loop: Loop, watched: Watched) -> None:
    for _ in range(2):
        assert watched.look(here(), 1.0) is None
        assert watched.look(here(), 1.9) is None
        text = watched.look(here(), 2.0)
        assert text is not None
        assert f"{__file__}:" in text
        assert watched.look(here(), 3.0) is None
        assert len(loop.asked) == 1
        loop.answer()


def test_what_is_an_extensions_is_called_so(watched: Watched) -> None:
    watched.owners.append(lambda: {here().f_back.f_code: "nobody's"})  # type: ignore[union-attr]
    code = here().f_code
    watched.owners.append(lambda: {code: "the handler of Ask of 'quote'"})
    watched.look(here(), 1.0)
    text = watched.look(here(), 2.0)
    assert text is not None
    assert text.startswith(f"the handler of Ask of 'quote' at {__file__}:")


def test_a_loop_that_waits_for_events_is_not_asked(loop: Loop, watched: Watched) -> None:
    import selectors

    frames: list[FrameType] = []
    ended = threading.Event()

    def wait() -> None:
        with selectors.DefaultSelector() as selector:
            frames.append(here())
            while not ended.is_set():
                selector.select(0.05)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        deadline = time.monotonic() + PATIENCE
        found = None
        while time.monotonic() < deadline and (found is None or found.f_code.co_name != "select"):
            found = sys._current_frames().get(thread.ident or 0)
        assert found is not None
        assert watched.look(found, 1.0) is None
        assert loop.asked == []
    finally:
        ended.set()
        thread.join()


def test_a_loop_that_is_closed_or_has_no_thread_any_more_is_not_named(loop: Loop, watched: Watched) -> None:
    assert watched.look(None, 1.0) is None
    assert loop.asked == []
    loop.closed = True
    for number in range(1, 5):
        assert watched.look(here(), float(number)) is None


def test_who_stands_in_a_debugger_is_left_alone(watched: Watched) -> None:
    code = compile("def stand(frame):\n    return frame()", "/usr/lib/python3/pdb.py", "exec")
    names: dict[str, Any] = {}
    exec(code, names)
    watched.look(here(), 1.0)
    assert watched.look(names["stand"](lambda: sys._getframe()), 3.0) is None
    assert watched.look(here(), 3.0) is not None


async def test_a_handler_that_blocks_is_named_with_its_line(caplog: pytest.LogCaptureFixture) -> None:
    extension, named = Extension("blocking", version="1.0"), threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "of 'blocking' at " in record.getMessage():  # not pytest's own, which imports slowly
                named.set()

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None:
        assert named.wait(PATIENCE)

    logger, handler = logging.getLogger("oddwire.app"), Handler()
    logger.addHandler(handler)
    try:
        transport, other = ScriptedTransport(), ScriptedTransport()
        async with Application(extension, transport=transport) as app, Application(transport=other):
            other.connect_peer(ALICE)  # two applications of one loop: it is told once all the same
            transport.connect_peer(ALICE)
            transport.receive(ALICE, app.registry.encode(Ask()))
            await asyncio.sleep(0)
            while not named.is_set():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.6)
    finally:
        logger.removeHandler(handler)
    (record,) = [record for record in caplog.records if "of 'blocking' at " in record.getMessage()]
    assert record.levelno == logging.WARNING
    line = ask.__code__.co_firstlineno + 2
    start = f"the handler of Ask of 'blocking' at {__file__}:{line} has blocked the event loop, and"
    assert record.getMessage().startswith(start)
    assert "asyncio.to_thread()" in record.getMessage()


async def test_the_thread_is_there_while_it_is_needed_and_keeps_nothing_alive() -> None:
    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "oddwire loop watch"]

    watch = LoopWatch()
    before = set(threads())

    def one() -> dict[Any, str]:
        return {}

    def two() -> dict[Any, str]:
        return {}

    watch.enter(one)
    watch.enter(two)
    (thread,) = set(threads()) - before
    assert thread.daemon
    watch.leave(one)
    assert thread.is_alive()
    watch.leave(two)
    watch.leave(two)
    await asyncio.to_thread(thread.join, PATIENCE)
    assert not thread.is_alive()
    watch.enter(one)
    (again,) = set(threads()) - before
    watch.leave(one)
    await asyncio.to_thread(again.join, PATIENCE)
    assert not again.is_alive()


def test_a_loop_that_was_closed_without_a_word_is_forgotten() -> None:
    watch = LoopWatch()
    threads = set(threading.enumerate())

    async def enter() -> None:
        watch.enter(dict)

    asyncio.run(enter())
    (thread,) = set(threading.enumerate()) - threads
    thread.join(PATIENCE)
    assert not thread.is_alive()


BLOCKING = ["a provider", "on_startup", "on_ready", "on_stopping", "on_shutdown", "closing", "every", "task", "rpc"]


@pytest.mark.parametrize("where", BLOCKING)
async def test_what_runs_without_a_peer_is_named_too(where: str, caplog: pytest.LogCaptureFixture) -> None:
    extension, named, calls = Extension("blocking", version="1.0"), threading.Event(), []

    class Thing: ...

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "of 'blocking' at " in record.getMessage():  # not pytest's own, which imports slowly
                named.set()

    def block(here: str) -> None:
        if here == where:
            calls.append(here)
            assert named.wait(PATIENCE)

    @extension.provide
    async def thing() -> AsyncIterator[Thing]:
        block("a provider")
        yield Thing()
        block("closing")

    for hook in ("on_startup", "on_ready", "on_stopping", "on_shutdown"):

        async def call(context: AppContext, hook: str = hook) -> None:
            block(hook)

        getattr(extension, hook)(call)

    @extension.every(1e6, at_start=True)
    async def every(context: AppContext) -> None:
        block("every")

    @extension.task
    async def task(context: AppContext) -> None:
        block("task")

    @extension.rpc("block")
    async def rpc(context: AppContext) -> None:
        block("rpc")

    logger, handler = logging.getLogger("oddwire.app"), Handler()
    logger.addHandler(handler)
    try:
        async with Application(extension, transport=ScriptedTransport()) as app:
            assert asyncio.get_running_loop() in LOOP_WATCH._watched
            await app.call("block")
    finally:
        logger.removeHandler(handler)
    assert calls == [where]
    assert asyncio.get_running_loop() not in LOOP_WATCH._watched
    await until(lambda: [record for record in caplog.records if "of 'blocking' at " in record.getMessage()])
    (text,) = [text for record in caplog.records if "of 'blocking' at " in (text := record.getMessage())]
    assert "blocked the event loop" in text


async def test_an_application_without_plugins_or_that_did_not_start_is_not_watched() -> None:
    extension = Extension("failing", version="1.0")

    @extension.on_startup
    async def fail(context: AppContext) -> None:
        assert asyncio.get_running_loop() in LOOP_WATCH._watched
        raise ValueError("no")

    async with Application(transport=ScriptedTransport()):
        assert asyncio.get_running_loop() not in LOOP_WATCH._watched
    with pytest.raises(ValueError, match="no"):
        await Application(extension, transport=ScriptedTransport()).start()
    assert asyncio.get_running_loop() not in LOOP_WATCH._watched
