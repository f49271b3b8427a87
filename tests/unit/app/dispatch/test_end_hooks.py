"""Hooks at the end, and the closing of what is provided: their time, and what becomes of what does not end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from oddwire.app import AppContext, Application, Extension, hookimpl
from oddwire.errors import ExtensionError
from oddwire.testing import ScriptedTransport

JUMPING = pytest.mark.asyncio(loop_factories=["jumping"])


class Database: ...


class Cache: ...


async def swallow(seconds: float) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while (left := end - asyncio.get_running_loop().time()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue


async def hang(seconds: float) -> None:
    await asyncio.sleep(seconds)


HOWS: dict[str, Callable[[float], Coroutine[Any, Any, None]]] = {"hangs": hang, "swallows": swallow}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def now() -> float:
    return asyncio.get_running_loop().time()


def closing(log: list[str], wait: Callable[[float], Coroutine[Any, Any, None]] | None, at: str) -> Extension:
    """An extension of which one thing at the end, ``at``, takes long."""
    extension = Extension("slow", version="1.0")

    async def end(name: str) -> None:
        log.append(name)
        if name == at and wait is not None:
            await wait(1000)
            log.append(f"{name} has ended")

    @extension.provide
    async def database() -> AsyncIterator[Database]:
        yield Database()
        await end("database")

    @extension.provide
    async def cache(database: Database) -> AsyncIterator[Cache]:
        yield Cache()
        await end("cache")

    for name in ("first", "second"):

        async def down(context: AppContext, name: str = name) -> None:
            await end(name)

        down.__name__ = name
        extension.on_shutdown(down)
    return extension


@JUMPING
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("at", ["second", "first", "cache", "database"])
async def test_each_has_the_grace_and_the_rest_has_its_turn_whatever_one_does(
    how: str, at: str, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[str] = []
    app = Application(closing(log, HOWS[how], at), transport=ScriptedTransport(), grace=3)
    await app.start()
    began = now()
    await app.aclose()
    stuck = 2.0 if how == "swallows" else 0.0
    assert now() - began == pytest.approx(3.0 + stuck, abs=0.5)
    everything = ["second", "first", "cache", "database"]
    if how == "swallows" and at == "second":
        everything.remove("first")  # one after the other, and it does not end
    assert log == everything
    told = warnings(caplog)
    what = f"on_shutdown {at}" if at in ("first", "second") else "closing of provider "
    assert told[0].startswith(what)
    assert " of 'slow' is cancelled: its time has expired; it waits at " in told[0]
    assert f"{__file__}:" in told[0]
    assert at in told[0]
    if how == "swallows":
        assert told[1].startswith("not waiting any longer for tasks that do not end when cancelled: ")
        assert f" at {__file__}:" in told[1]
    assert len(told) == 1 + (how == "swallows")
    if how == "swallows":
        await asyncio.sleep(1000)
        assert f"{at} has ended" in log


@JUMPING
@pytest.mark.parametrize("at", ["second", "first", "cache", "database"])
async def test_a_close_that_is_cancelled_waits_for_none(at: str) -> None:
    log: list[str] = []
    app = Application(closing(log, hang, at), transport=ScriptedTransport(), grace=1e6)
    await app.start()
    began = now()
    task = asyncio.create_task(app.aclose())
    while at not in log:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert now() - began < 10
    assert log == ["second", "first", "cache", "database"]


@JUMPING
@pytest.mark.parametrize("ending", ["cancelled close", "cancelled start"])
async def test_a_start_that_fails_has_them_for_as_long(ending: str, caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []

    class Refuses(ScriptedTransport):
        async def open(self, *_: Any) -> None:
            raise ValueError("no")

    app = Application(closing(log, hang, "first"), transport=Refuses(), grace=3 if ending == "cancelled close" else 1e6)
    began = now()
    if ending == "cancelled close":
        with pytest.raises(ValueError, match="no"):
            await app.start()
        assert warnings(caplog)[0].startswith("on_shutdown first of 'slow' is cancelled")
    else:
        task = asyncio.create_task(app.start())
        while "first" not in log:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert now() - began < 10
    assert log == ["second", "first", "cache", "database"]


@JUMPING
@pytest.mark.parametrize("hook", ["on_stopping", "on_shutdown"])
@pytest.mark.parametrize("way", ["awaited", "a task", "a group"])
async def test_one_that_closes_the_application_waits_for_nothing(
    hook: str, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    extension, log = Extension("closer", version="1.0"), []

    @getattr(extension, hook)
    async def end(context: AppContext) -> None:
        if way == "awaited":
            await context.app.aclose()
        elif way == "a task":
            await asyncio.create_task(context.app.aclose())
        else:
            async with asyncio.TaskGroup() as group:
                group.create_task(context.app.aclose())
        log.append("over")

    app = Application(extension, transport=ScriptedTransport())
    await app.start()
    began = now()
    await app.aclose()
    assert now() - began < 1
    assert log == ["over"]
    assert not caplog.records


@JUMPING
async def test_another_application_may_be_closed_there() -> None:
    extension, log = Extension("closer", version="1.0"), []
    other = Application(closing(log, None, ""), transport=ScriptedTransport())

    @extension.on_shutdown
    async def end(context: AppContext) -> None:
        await other.aclose()
        log.append("both")

    await other.start()
    async with Application(extension, transport=ScriptedTransport()):
        pass
    assert log == ["second", "first", "cache", "database", "both"]


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError])
async def test_each_of_their_errors_is_logged_and_counted_and_the_first_raised(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    extension = Extension("failing", version="1.0")

    @extension.provide
    async def database() -> AsyncIterator[Database]:
        yield Database()
        raise kind("database")

    @extension.on_shutdown
    async def first(context: AppContext) -> None:
        raise kind("first")

    @extension.on_shutdown
    async def second(context: AppContext) -> None:
        raise kind("second")

    class Plain:
        name = "plain"

        @hookimpl
        def shutdown(self) -> None:
            raise kind("plain")

    app = Application(Plain(), extension, transport=ScriptedTransport())
    await app.start()
    with pytest.raises(ValueError if kind is ValueError else ExtensionError, match="second"):
        await app.aclose()
    told = [record.getMessage() for record in caplog.records]
    assert [text.partition(" failed")[0].partition(" (")[0].rpartition(".")[2] for text in told] == [
        "on_shutdown first of 'failing'",
        "on_shutdown second of 'failing'",
        "shutdown of 'plain'",
        "database",
    ]
    assert all(record.exc_info for record in caplog.records)
    assert app.counters.failed == {"failing": 3, "plain": 1}


async def test_each_error_of_on_stopping_is_told(caplog: pytest.LogCaptureFixture) -> None:
    extension, heard = Extension("failing", version="1.0"), []

    @extension.on_error
    async def hear(context: AppContext, error: BaseException, message: object) -> None:
        heard.append(str(error))

    for text in ("one", "two", "three"):

        async def stop(context: AppContext, text: str = text) -> None:
            raise ValueError(text)

        stop.__name__ = text
        extension.on_stopping(stop)
    async with Application(extension, transport=ScriptedTransport()) as app:
        pass
    assert sorted(heard) == ["one", "three", "two"]
    assert app.counters.failed == {"failing": 3}
    assert sorted(record.getMessage() for record in caplog.records) == [
        f"on_stopping {text} of 'failing' failed" for text in ("one", "three", "two")
    ]


@JUMPING
async def test_the_others_of_an_extension_have_their_turn_when_one_is_cancelled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    extension, log = Extension("slow", version="1.0"), []

    @extension.on_stopping
    async def last(context: AppContext) -> None:
        log.append("last")

    @extension.on_stopping
    async def fails(context: AppContext) -> None:
        log.append("fails")
        raise ValueError("so")

    @extension.on_stopping
    async def hangs(context: AppContext) -> None:
        await asyncio.Event().wait()

    async with Application(extension, transport=ScriptedTransport(), grace=1) as app:
        pass
    assert log == ["fails", "last"]
    assert app.counters.failed == {"slow": 1}
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0].startswith("on_stopping hangs of 'slow' is cancelled")
    assert messages[1:] == ["on_stopping fails of 'slow' failed"]


@JUMPING
@pytest.mark.parametrize("method", ["aclose", "run_until_stopped"])
async def test_on_error_cannot_wait_for_the_end_of_the_application(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    extension, told = Extension("told", version="1.0"), []

    @extension.task(restart=False)
    async def work(context: AppContext) -> None:
        raise ValueError("no work")

    @extension.on_error
    async def failed(context: AppContext, error: BaseException, message: object) -> None:
        try:
            await getattr(context.app, method)()
        except Exception as refused:
            told.append(str(refused))
            raise

    began = now()
    async with Application(extension, transport=ScriptedTransport()):
        await asyncio.sleep(0.01)
    assert now() - began < 1
    (text,) = told
    assert text.startswith(f"{method} would wait for the handler that called it")
    assert [record.getMessage() for record in caplog.records][1:] == ["on_error failed of 'told' failed"]


@JUMPING
@pytest.mark.parametrize("what", ["every", "task", "spawn"])
async def test_a_close_that_is_cancelled_does_not_wait_for_work_that_does_not_end(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    extension, log = Extension("slow", version="1.0"), []

    async def work(context: AppContext) -> None:
        log.append("begun")
        await swallow(1e6)

    if what == "every":
        extension.every(1, at_start=True)(work)
    elif what == "task":
        extension.task(work)
    app = Application(extension, transport=ScriptedTransport(), grace=3600)
    await app.start()
    if what == "spawn":
        app.context("slow").spawn(work(app.context("slow")))
    while not log:
        await asyncio.sleep(0.01)
    began = now()
    task = asyncio.create_task(app.aclose())
    await asyncio.sleep(100)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert now() - began < 110
    *_, text = warnings(caplog)
    assert text.startswith("not waiting any longer for tasks that do not end when cancelled: swallow at ")
