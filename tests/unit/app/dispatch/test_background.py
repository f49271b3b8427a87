"""Jobs and spawned tasks: when they run, whom they belong to, and what becomes of their failures."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import logging
from datetime import timedelta
from typing import Any

import pytest

from oddwire.app import AppContext, Application, Context, Extension, Job, Provider, hookimpl
from oddwire.errors import ExtensionError, LocalProtocolError, PeerNotConnected
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message
from oddwire.testing import ScriptedTransport

ALICE, BOB = (NodeId("02" + two * 32) for two in ("aa", "bb"))
JUMPING = pytest.mark.asyncio(loop_factories=["jumping"])
RAISED = [RuntimeError, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError]


@message(0x8C01)
class Ask(Message):
    text: str = ""


async def idle(turns: int = 20) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


def now() -> float:
    return round(asyncio.get_running_loop().time(), 3)


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


# Again and again -------------------------------------------------------------------------------------


@JUMPING
@pytest.mark.parametrize("seconds", [10, 10.0, timedelta(seconds=10)])
@pytest.mark.parametrize("at_start", [False, True])
async def test_a_run_begins_so_long_after_the_last_has_begun(seconds: Any, at_start: bool) -> None:
    extension, times = Extension("test", version="1.0"), []

    @extension.every(seconds, at_start=at_start)
    async def work(context: AppContext) -> None:
        assert type(context) is AppContext
        assert context.extension == "test"
        times.append(now())
        await asyncio.sleep(3)

    async with Application(extension, transport=ScriptedTransport()):
        begun = now()
        await asyncio.sleep(35)
    first = [] if not at_start else [begun]
    assert times == [*first, begun + 10, begun + 20, begun + 30]


@JUMPING
async def test_runs_that_were_missed_are_not_made_up_for_and_never_two_run_at_once() -> None:
    extension, times = Extension("test", version="1.0"), []

    @extension.every(10)
    async def work(context: AppContext) -> None:
        times.append(now())
        await asyncio.sleep(35 if len(times) == 1 else 1)

    async with Application(extension, transport=ScriptedTransport()):
        begun = now()
        await asyncio.sleep(70)
    assert times == [begun + 10, begun + 45, begun + 55, begun + 65]


@JUMPING
async def test_jitter_is_added_at_random_to_each_pause() -> None:
    extension, times = Extension("test", version="1.0"), [0.0]

    @extension.every(10, jitter=5)
    async def work(context: AppContext) -> None:
        times.append(asyncio.get_running_loop().time())

    async with Application(extension, transport=ScriptedTransport()):
        times[0] = asyncio.get_running_loop().time()
        await asyncio.sleep(1000)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert all(10 <= pause <= 15.001 for pause in pauses)
    assert max(pauses) - min(pauses) > 1


@JUMPING
async def test_a_dynamic_option_says_how_long_from_the_next_pause_on(caplog: pytest.LogCaptureFixture) -> None:
    extension, times, told = Extension("test", version="1.0"), [], []

    @extension.option("test-interval", dynamic=True)
    def interval(value: int = 10) -> int:
        return value

    @extension.every("test-interval")
    async def work(context: AppContext) -> None:
        times.append(now())

    @extension.on_error
    async def hear(context: AppContext, error: BaseException, message: Message | None) -> None:
        told.append(str(error))

    app = Application(extension, transport=ScriptedTransport())
    (option,) = app.manifest.options
    assert option.set is not None
    async with app:
        begun = now()
        await asyncio.sleep(11)
        option.set(20)
        await asyncio.sleep(30)  # the pause that was on is what it was
        with pytest.raises(
            ValueError, match=r"@every work: the value of option 'test-interval' should be seconds, 0.0"
        ):
            option.set(0)  # the option's own function should have refused it
        await asyncio.sleep(40)
        assert app.options["test-interval"] == 20
    assert times == [begun + 10, begun + 20, begun + 40, begun + 60, begun + 80]
    assert told == failures(caplog) == []


class Moving:
    """A duration that is another one after a while, and then none."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def total_seconds(self) -> float:
        return self.seconds


@JUMPING
async def test_a_value_that_becomes_no_time_leaves_the_last_one_for_new_peers_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    extension, times, told, moving = Extension("test", version="1.0"), [], [], Moving(10)

    @extension.option("test-interval")
    def interval(value: str = "") -> Moving:
        return moving

    @extension.every("test-interval", per_peer=True)
    async def work(context: Context) -> None:
        times.append((now(), context.peer.node_id))

    @extension.on_error
    async def hear(context: AppContext, error: BaseException, message: Message | None) -> None:
        told.append(str(error))

    transport = ScriptedTransport()
    async with Application(extension, transport=transport, session=False):
        moving.seconds = 20
        transport.connect_peer(ALICE)
        begun = now()
        await asyncio.sleep(21)
        moving.seconds = -1
        transport.connect_peer(BOB)
        await asyncio.sleep(40)
    assert times == [
        (begun + 20, ALICE),
        (begun + 40, ALICE),
        (begun + 41, BOB),
        (begun + 60, ALICE),
        (begun + 61, BOB),
    ]
    assert len(told) == len(failures(caplog)) == 5
    assert set(failures(caplog)) == {f"@every work of 'test' failed, with {peer}" for peer in (ALICE, BOB)}
    assert all("the value of option 'test-interval' should be seconds, 0.001 to " in text for text in told)


@JUMPING
@pytest.mark.parametrize("error", RAISED)
async def test_a_run_that_raises_ends_nothing(error: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    extension, times, told = Extension("test", version="1.0"), [], []

    @extension.every(10)
    async def work(context: AppContext) -> None:
        times.append(now())
        if len(times) == 1:
            raise error("no")

    @extension.on_error
    async def hear(context: AppContext, error: BaseException, message: Message | None) -> None:
        told.append((type(error), message))

    async with Application(extension, transport=ScriptedTransport()) as app:
        await asyncio.sleep(35)
        assert app.counters.failed == {"test": 1}
    assert len(times) == 3
    assert told == [(error, None)]
    (text,) = failures(caplog)
    assert text.startswith("@every work of 'test' failed")
    assert ("context.app.stop()" in text) is (error in (SystemExit, KeyboardInterrupt))


@JUMPING
async def test_a_run_that_cancels_its_own_task_has_failed_and_the_next_one_begins() -> None:
    extension, times = Extension("test", version="1.0"), []

    @extension.every(10)
    async def work(context: AppContext) -> None:
        times.append(now())
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    async with Application(extension, transport=ScriptedTransport()) as app:
        await asyncio.sleep(35)
        assert app.counters.failed == {"test": 3}
    assert len(times) == 3


@JUMPING
@pytest.mark.parametrize("ending", ["returns", "raises"])
async def test_one_that_cancels_its_own_task_and_goes_on_is_followed_by_the_next(ending: str) -> None:
    extension, times = Extension("test", version="1.0"), []

    @extension.every(10)
    async def work(context: AppContext) -> None:
        times.append(now())
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if ending == "raises":
            raise RuntimeError

    async with Application(extension, transport=ScriptedTransport()):
        begun = now()
        await asyncio.sleep(35)
    assert times == [begun + 10, begun + 20, begun + 30]


@JUMPING
@pytest.mark.parametrize("how", ["swallows", "raises"])
async def test_a_run_that_makes_something_else_of_its_end_holds_nobody_up(how: str) -> None:
    extension = Extension("test", version="1.0")

    @extension.every(1000, at_start=True)
    async def work(context: AppContext) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if how == "raises":
                raise RuntimeError from None

    async with Application(extension, transport=ScriptedTransport(), grace=50):
        await asyncio.sleep(5)
        begun = now()
    assert now() == begun, "on a clock that jumps to the next timer, nobody waited for one"


@JUMPING
async def test_a_run_that_swallows_its_end_is_the_last_one() -> None:
    extension, times = Extension("test", version="1.0"), []

    @extension.every(10)
    async def work(context: AppContext) -> None:
        times.append(now())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            times.append("swallowed")

    async with Application(extension, transport=ScriptedTransport()):
        await asyncio.sleep(15)
    await asyncio.sleep(60)
    assert times[1:] == ["swallowed"]


# All the time ----------------------------------------------------------------------------------------


@JUMPING
async def test_a_task_that_raises_is_begun_again_after_pauses_that_grow(caplog: pytest.LogCaptureFixture) -> None:
    extension, times = Extension("test", version="1.0"), []

    @extension.task
    async def work(context: AppContext) -> None:
        times.append(now())
        if len(times) == 9:
            await asyncio.sleep(60)
        raise RuntimeError("no")

    async with Application(extension, transport=ScriptedTransport()) as app:
        await asyncio.sleep(500)
        assert app.counters.failed == {"test": len(times)}
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert pauses[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert pauses[8:11] == [61, 2, 4], "a run of a minute resets it"
    told = failures(caplog)
    assert told[0] == "@task work of 'test' failed; it is restarted after 1 s"
    assert told[6] == "@task work of 'test' failed; it is restarted after 60 s"
    assert told[8] == "@task work of 'test' failed; it is restarted after 1 s"


@JUMPING
@pytest.mark.parametrize("error", RAISED)
async def test_a_task_is_not_begun_again_if_it_is_not_to_be(error: type[BaseException]) -> None:
    extension, begun = Extension("test", version="1.0"), []

    @extension.task(restart=False)
    async def work(context: AppContext) -> None:
        begun.append(now())
        raise error("no")

    async with Application(extension, transport=ScriptedTransport()) as app:
        await asyncio.sleep(500)
        assert app.counters.failed == {"test": 1}
    assert len(begun) == 1


@JUMPING
async def test_a_task_that_returns_has_ended() -> None:
    extension, begun = Extension("test", version="1.0"), []

    @extension.task
    async def work(context: AppContext) -> None:
        begun.append(now())

    async with Application(extension, transport=ScriptedTransport()) as app:
        await asyncio.sleep(500)
        assert not app.counters.failed
    assert len(begun) == 1


async def test_jobs_begin_when_their_extension_is_ready_and_end_before_it_stops() -> None:
    log: list[str] = []

    def make(name: str) -> Extension:
        extension = Extension(name, version="1.0")

        @extension.task
        async def work(context: AppContext) -> None:
            log.append(f"{name} begins")
            try:
                await asyncio.Event().wait()
            finally:
                await idle()
                log.append(f"{name} has ended")

        @extension.on_ready
        async def ready(context: AppContext) -> None:
            await idle()
            log.append(f"{name} ready")

        @extension.on_stopping
        async def stopping(context: AppContext) -> None:
            log.append(f"{name} stopping")

        return extension

    async with Application(make("one"), make("two"), transport=ScriptedTransport()):
        await idle()
    assert log[:4] == ["one ready", "one begins", "two ready", "two begins"]
    assert sorted(log[4:6]) == ["one has ended", "two has ended"]
    assert log[6:] == ["two stopping", "one stopping"]


@JUMPING
async def test_a_task_that_does_not_end_is_named_and_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    extension, gate = Extension("test", version="1.0"), asyncio.Event()

    @extension.task
    async def work(context: AppContext) -> None:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    async with Application(extension, transport=ScriptedTransport(), grace=3):
        await asyncio.sleep(1)
        begun = now()
    assert now() - begun == 3
    (record,) = caplog.records
    assert record.getMessage().startswith("not waiting any longer for tasks that do not end when cancelled: ")
    assert f"work at {__file__}:" in record.getMessage()
    gate.set()
    await idle()


# Of a peer -------------------------------------------------------------------------------------------


@JUMPING
async def test_what_is_for_each_peer_lasts_from_the_end_of_on_connect_to_before_on_disconnect() -> None:
    extension, log, gate = Extension("test", version="1.0"), [], asyncio.Event()

    @extension.on_connect
    async def connected(context: Context) -> None:
        log.append(f"{context.peer.node_id!s:.4} connect")
        await gate.wait()
        log.append(f"{context.peer.node_id!s:.4} connect ends")

    @extension.every(10, per_peer=True)
    async def beat(context: Context) -> None:
        log.append(f"{context.peer.node_id!s:.4} beat")

    @extension.task(per_peer=True)
    async def feed(context: Context) -> None:
        log.append(f"{context.peer.node_id!s:.4} feed")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            log.append(f"{context.peer.node_id!s:.4} feed has ended")

    @extension.on_disconnect
    async def gone(context: Context, reason: str) -> None:
        log.append(f"{context.peer.node_id!s:.4} disconnect")

    transport = ScriptedTransport()
    async with Application(extension, transport=transport):
        transport.connect_peer(ALICE)
        await asyncio.sleep(30)
        assert log == ["02aa connect"]
        gate.set()
        await asyncio.sleep(15)
        transport.connect_peer(BOB)
        await asyncio.sleep(7)
        transport.lose_peer(ALICE)
        await asyncio.sleep(2)
        assert log == [
            *["02aa connect", "02aa connect ends", "02aa feed", "02aa beat"],
            *["02bb connect", "02bb connect ends", "02bb feed", "02aa beat", "02aa feed has ended", "02aa disconnect"],
        ]
        log.clear()
        await asyncio.sleep(5)
        assert log == ["02bb beat"]
        log.clear()
    assert log == ["02bb feed has ended", "02bb disconnect"]


@JUMPING
async def test_those_of_two_connections_of_one_peer_are_never_there_at_once() -> None:
    extension, log = Extension("test", version="1.0"), []
    numbers = iter(range(10))

    @extension.task(per_peer=True)
    async def feed(context: Context) -> None:
        number = next(numbers)
        log.append(("begins", number))
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            log.append(("ends", number))

    transport = ScriptedTransport()
    async with Application(extension, transport=transport):
        for _ in range(3):
            transport.connect_peer(ALICE)
            await asyncio.sleep(0.1)
            transport.lose_peer(ALICE)
        transport.connect_peer(ALICE)
        await asyncio.sleep(10)
        begun = [number for what, number in log if what == "begins"]
        assert len(begun) == 2, "connections that ended before are left out"
    assert log == [("begins", 0), ("ends", 0), ("begins", 1), ("ends", 1)]


async def test_a_peer_that_goes_while_it_is_greeted_gets_none() -> None:
    extension, gate, begun = Extension("test", version="1.0"), asyncio.Event(), []

    @extension.on_connect
    async def connected(context: Context) -> None:
        await gate.wait()

    @extension.task(per_peer=True)
    async def feed(context: Context) -> None:
        begun.append(context.peer.node_id)

    transport = ScriptedTransport()
    async with Application(extension, transport=transport):
        transport.connect_peer(ALICE)
        await idle()
        transport.lose_peer(ALICE)
        gate.set()
        await idle()
        assert begun == []
        transport.connect_peer(ALICE)
        await idle()
        assert begun == [ALICE]


# Spawned ---------------------------------------------------------------------------------------------


def spawner(work: Any, told: list[Any] | None = None) -> Extension:
    """An extension whose handler spawns what ``work(context)`` is."""
    extension = Extension("test", version="1.0")

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None:
        context.spawn(work(context), name=request.text or None)

    if told is not None:

        @extension.on_disconnect
        async def gone(context: Context, reason: str) -> None:
            told.append("disconnect")

        @extension.on_error
        async def hear(context: AppContext, error: BaseException, message: Message | None) -> None:
            told.append((type(context), type(error), str(error), message))

    return extension


async def test_what_is_spawned_runs_beside_the_handler_and_ends_with_the_connection() -> None:
    log: list[Any] = []

    async def work(context: Context) -> None:
        task = asyncio.current_task()
        log.append(("begins", task and task.get_name()))
        try:
            await asyncio.Event().wait()
        finally:
            await idle()
            log.append("ends")

    transport = ScriptedTransport()
    async with Application(spawner(work, log), transport=transport) as app:
        transport.connect_peer(ALICE)
        transport.receive(ALICE, app.registry.encode(Ask(text="mine")))
        transport.receive(ALICE, app.registry.encode(Ask()))
        await idle()
        assert log == [("begins", "mine"), ("begins", "task work")]
        transport.lose_peer(ALICE)
        await idle(100)
        assert log[2:] == ["ends", "ends", "disconnect"]


@pytest.mark.parametrize("error", RAISED)
async def test_its_failure_is_told_once(error: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    told: list[Any] = []

    async def work(context: Context) -> None:
        await asyncio.sleep(0)
        raise error("no")

    transport = ScriptedTransport()
    async with Application(spawner(work, told), transport=transport) as app:
        transport.connect_peer(ALICE)
        transport.receive(ALICE, app.registry.encode(Ask()))
        await idle()
        gc.collect()  # asyncio would tell of a task whose error nobody has looked at
        await idle()
        assert told == [(Context, error, "no", None)]
        assert app.counters.failed == {"test": 1}
    (text,) = failures(caplog)
    assert text.startswith(f"task work of 'test' failed, with {ALICE}")


async def test_who_awaits_it_has_its_result_or_its_error() -> None:
    found: list[Any] = []
    extension = Extension("test", version="1.0")

    async def double(number: int) -> int:
        return 2 * number

    async def fail(error: type[BaseException]) -> None:
        raise error("no")

    @extension.on_ready
    async def ready(context: AppContext) -> None:
        found.append(await context.spawn(double(7)))
        with pytest.raises(ValueError, match="no"):
            await context.spawn(fail(ValueError))
        with pytest.raises(RuntimeError, match="task fail raised SystemExit: no"):
            await context.spawn(fail(SystemExit))

    async with Application(extension, transport=ScriptedTransport()) as app:
        assert found == [14]
        assert await app.context("test").spawn(double(8)) == 16
        assert await app.context(extension).spawn(double(9)) == 18
        with pytest.raises(ExtensionError, match="nobody"):
            app.context("nobody")


async def test_without_a_peer_it_belongs_to_the_application_and_ends_after_handlers() -> None:
    log: list[str] = []
    extension, gate = Extension("test", version="1.0"), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("spawned has ended")

    @extension.on_startup
    async def start(context: AppContext) -> None:
        context.spawn(work())

    @extension.on(Ask)
    async def ask(context: Context, request: Ask) -> None:
        await gate.wait()
        log.append("handler has ended")

    @extension.on_stopping
    async def stopping(context: AppContext) -> None:
        context.spawn(work())
        gate.set()
        log.append("stopping")

    @extension.on_shutdown
    async def end(context: AppContext) -> None:
        with pytest.raises(LocalProtocolError, match="the application is closing: no task can be spawned any more"):
            context.spawn(work())
        log.append("shutdown")

    transport = ScriptedTransport()
    app = Application(extension, transport=transport)
    with pytest.raises(LocalProtocolError, match="the application is not started"):
        app.context("test").spawn(work())
    async with app:
        transport.connect_peer(ALICE)
        transport.receive(ALICE, app.registry.encode(Ask()))
        await idle()
    assert log == ["stopping", "handler has ended", "spawned has ended", "spawned has ended", "shutdown"]
    with pytest.raises(LocalProtocolError, match="the application is closed"):
        app.context("test").spawn(work())


async def test_a_peer_that_has_gone_has_no_connection_for_it_to_belong_to() -> None:
    told: list[str] = []
    extension = Extension("test", version="1.0")

    async def work() -> None:
        told.append("begun")

    @extension.on_disconnect
    async def gone(context: Context, reason: str) -> None:
        with pytest.raises(PeerNotConnected, match=r"is not connected, .* context.app.context\(context.extension\)"):
            context.spawn(work())
        await context.app.context(context.extension).spawn(work())

    transport = ScriptedTransport()
    async with Application(extension, transport=transport):
        transport.connect_peer(ALICE)
        transport.lose_peer(ALICE)
        await idle()
    assert told == ["begun"]


async def test_it_is_given_a_coroutine() -> None:
    async def work() -> None: ...

    extension = Extension("test", version="1.0")
    async with Application(extension, transport=ScriptedTransport()) as app:
        for wrong in (work, None, 7):
            with pytest.raises(TypeError, match=r"spawn\(\) should be given a coroutine, work\(\) say, not"):
                app.context("test").spawn(wrong)  # type: ignore[arg-type]


async def test_one_that_is_cancelled_before_it_begins_is_closed(recwarn: pytest.WarningsRecorder) -> None:
    async def work() -> None: ...

    extension = Extension("test", version="1.0")
    async with Application(extension, transport=ScriptedTransport()) as app:
        task = app.context("test").spawn(work())
        task.cancel()
        await idle()
        assert task.cancelled()
        gc.collect()
    assert not recwarn.list


async def test_it_is_no_part_of_what_has_spawned_it() -> None:
    variable = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []

    async def work(context: Context) -> None:
        seen.append(variable.get())

    def set_and_work(context: Context) -> Any:
        variable.set("the handler's")
        return work(context)

    transport = ScriptedTransport()
    async with Application(spawner(set_and_work), transport=transport) as app:
        transport.connect_peer(ALICE)
        transport.receive(ALICE, app.registry.encode(Ask()))
        await idle()
    assert seen == ["none"]


@pytest.mark.parametrize("where", ["every", "task", "spawn"])
async def test_none_of_it_can_wait_for_the_end_of_the_application(where: str) -> None:
    extension, told = Extension("test", version="1.0"), []

    async def close(context: AppContext) -> None:
        for end in (context.app.aclose, context.app.run_until_stopped):
            with pytest.raises(LocalProtocolError, match="would wait for the handler that called it"):
                await end()
            told.append(end.__name__)
        context.app.stop()

    if where == "every":
        extension.every(1, at_start=True)(close)
    elif where == "task":
        extension.task(close)
    else:

        @extension.on_ready
        async def ready(context: AppContext) -> None:
            context.spawn(close(context))

    async with asyncio.timeout(10):
        await Application(extension, transport=ScriptedTransport()).run_until_stopped(signals=False)
    assert told == ["aclose", "run_until_stopped"]


# Of plugins that are no Extension ---------------------------------------------------------------------


class Shelf:
    """Provided for the application."""


class Basket:
    """Provided for each peer."""


class Plugin:
    name = "plain"

    def __init__(self, *jobs: Job) -> None:
        self.jobs = jobs

    @hookimpl
    def register_jobs(self) -> tuple[Job, ...]:
        return self.jobs

    @hookimpl
    def register_providers(self) -> tuple[Provider, ...]:
        return Provider(function=lambda_shelf), Provider(function=lambda_basket, scope="peer")


def lambda_shelf() -> Shelf:
    return Shelf()


def lambda_basket() -> Basket:
    return Basket()


@JUMPING
async def test_a_plugins_jobs_run_without_any_other_hook_of_it(caplog: pytest.LogCaptureFixture) -> None:
    log: list[Any] = []

    async def beat(context: AppContext, shelf: Shelf) -> None:
        log.append(("beat", now(), type(context), context.extension, type(shelf)))

    async def feed(context: Context, basket: Basket) -> None:
        log.append(("feed", context.peer.node_id, context.extension, type(basket)))
        try:
            await asyncio.Event().wait()
        finally:
            log.append("fed")

    async def fail(context: AppContext) -> None:
        raise ValueError("no")

    jobs = Job(function=beat, every=10), Job(function=feed, per_peer=True), Job(function=fail, restart=False)
    transport = ScriptedTransport()
    async with Application(Plugin(*jobs), transport=transport, session=False) as app:
        begun = now()
        await asyncio.sleep(15)
        transport.connect_peer(ALICE)
        await idle(50)
        transport.lose_peer(ALICE)
        await idle(50)
        transport.connect_peer(ALICE)
        await idle(50)
        assert app.counters.failed == {"plain": 1}
    assert log == [
        ("beat", begun + 10, AppContext, "plain", Shelf),
        ("feed", ALICE, "plain", Basket),
        "fed",
        ("feed", ALICE, "plain", Basket),
        "fed",
    ]
    assert failures(caplog) == ["@task fail of 'plain' failed; it is not restarted"]


@JUMPING
async def test_a_plugins_jobs_wait_for_its_own_ready_hook_alone() -> None:
    log: list[str] = []

    async def work(context: AppContext) -> None:
        log.append("work")

    class Ready(Plugin):
        name = "ready"

        @hookimpl
        async def ready(self) -> None:
            await idle()
            log.append("ready")

        @hookimpl
        def register_providers(self) -> tuple[Provider, ...]:
            return ()

    slow = Extension("slow", version="1.0")

    @slow.on_ready
    async def ready(context: AppContext) -> None:
        await asyncio.sleep(10)
        log.append("slow")

    async with Application(
        slow, Plugin(Job(function=work)), Ready(Job(function=work)), transport=ScriptedTransport(), session=False
    ):
        await idle()
    assert log == ["work", "slow", "ready", "work"]


async def work_of_nobody(context: AppContext) -> None: ...


async def takes_what_nobody_has(context: AppContext, thing: Moving) -> None: ...


@pytest.mark.parametrize(
    ("jobs", "text"),
    [
        ([work_of_nobody], r"plugin 'plain': register_jobs should return Job objects, not <function work_of_nobody"),
        (work_of_nobody, r"plugin 'plain': register_jobs should return Job objects, not <function work_of_nobody"),
        ([Job(function=work_of_nobody, every="no-option")], "@every: no loaded extension has an option 'no-option'"),
        ([Job(function=takes_what_nobody_has)], "@task takes_what_nobody_has of 'plain', .* which no provider returns"),
    ],
    ids=["functions", "a function", "an option", "a thing"],
)
def test_what_is_no_job_is_refused_at_load(jobs: Any, text: str) -> None:
    plugin = Plugin()
    plugin.jobs = jobs
    with pytest.raises(ExtensionError, match=text):
        Application(plugin, transport=ScriptedTransport())
