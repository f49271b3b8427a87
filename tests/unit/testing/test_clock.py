from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from datetime import timedelta

import pytest
from tests.support.texts import Answer, Ask

from oddwire import clocks
from oddwire.app import AppContext, Application, Context, Extension
from oddwire.errors import ReplyTimeout
from oddwire.log_limits import LIMITED, LogLimits
from oddwire.proto.keys import NodeId
from oddwire.session.limits import Limits
from oddwire.testing.clock import Clock
from oddwire.transports.memory import MemoryNetwork


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_time_stands_still_until_it_is_moved(clock) -> None:
    async with clock:
        begun = now()
        done: list[float] = []
        asyncio.get_running_loop().call_later(5, lambda: done.append(now() - begun))
        await asyncio.sleep(0)
        await clock.advance(4.9)
        assert (done, now() - begun) == ([], pytest.approx(4.9))
        await clock.advance(0.1)
        assert done == [5]
        assert clock.elapsed == pytest.approx(5)


async def test_it_stops_at_each_timer_in_order_and_lets_run_what_that_begins(clock) -> None:
    async with clock:
        begun, seen = now(), []

        async def work(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append((name, now() - begun))
            for _ in range(50):  # what is ready runs before time goes on
                await asyncio.sleep(0)
            seen.append((name, now() - begun))
            await asyncio.sleep(1)
            seen.append((name, now() - begun))

        tasks = [asyncio.create_task(work("late", 3)), asyncio.create_task(work("early", 1.5))]
        await clock.advance(timedelta(minutes=1))
        assert seen == [("early", 1.5), ("early", 1.5), ("early", 2.5), ("late", 3), ("late", 3), ("late", 4)]
        assert all(task.done() for task in tasks)
        assert now() == begun + 60


async def test_what_falls_due_at_the_end_has_run(clock) -> None:
    """Sums of floats are not exact: three tenths are a little more than 0.3."""
    async with clock:
        seen = []

        async def tick() -> None:
            while True:
                await asyncio.sleep(0.1)
                seen.append(now())

        task = asyncio.create_task(tick())
        for count in range(1, 101):
            await clock.advance(0.1)
            assert len(seen) == count
        await clock.advance(90)
        assert len(seen) == 1000
        task.cancel()


async def test_ten_seconds_are_ten_seconds_whenever_they_begin(clock) -> None:
    async with clock:
        for number in range(1, 200):
            await clock.advance(number / 7)
            since = now()
            await clock.advance(10)
            assert now() - since == 10


async def test_days_pass_at_once(clock) -> None:
    async with clock:
        begun = now()
        task = asyncio.create_task(asyncio.sleep(30 * 86400, "done"))
        cancelled = asyncio.get_running_loop().call_later(86400, pytest.fail)
        cancelled.cancel()
        await clock.advance(timedelta(days=30))
        assert await task == "done"
        assert now() - begun == 30 * 86400


async def test_with_nothing_to_pass_what_can_run_runs(clock) -> None:
    async with clock:
        begun = now()

        async def work() -> str:
            for _ in range(10):
                await asyncio.sleep(0)
            return await asyncio.to_thread(lambda: "done")

        task = asyncio.create_task(work())
        await clock.advance(0)
        assert (task.done(), now()) == (True, begun)
        assert await task == "done"


async def test_it_does_not_pass_while_work_is_in_a_thread(clock) -> None:
    async with clock:
        begun, begins, ends = now(), threading.Event(), threading.Event()

        def block() -> None:
            begins.set()
            assert ends.wait(30)

        async def work() -> float:
            await asyncio.sleep(1)
            await asyncio.to_thread(block)
            return now() - begun

        def let_go() -> None:
            begins.wait(30)
            time.sleep(0.02)  # so that a clock that does not wait has passed it by
            ends.set()

        thread = threading.Thread(target=let_go)
        thread.start()
        task = asyncio.create_task(work())
        await clock.advance(100)
        assert await task == 1
        assert now() - begun == 100
        thread.join()


@pytest.mark.parametrize(
    "seconds",
    [
        -1,
        float("nan"),
        float("inf"),
        True,
        "5",
        None,
        timedelta(seconds=-1),
        10**400,
        pytest.param(10**5000, id="huge"),
        1e308,
        1.1e12,
    ],
)
async def test_it_is_moved_by_seconds(clock, seconds) -> None:
    async with clock:
        with pytest.raises(ValueError, match=r"advanced by seconds, 0 to 1e\+12, or by a timedelta, not by"):
            await clock.advance(seconds)


async def test_it_has_to_be_entered(clock) -> None:
    with pytest.raises(RuntimeError, match="'async with clock:' comes first"):
        await clock.advance(1)
    async with clock:
        pass
    with pytest.raises(RuntimeError, match="'async with clock:' comes first"):
        await clock.advance(1)


async def test_there_is_one_at_a_time(clock) -> None:
    async with clock:
        with pytest.raises(RuntimeError, match="leave that one first"):
            await Clock().__aenter__()
    async with Clock() as other, asyncio.timeout(1):
        await other.advance(0.5)


async def test_one_task_moves_it(clock) -> None:
    async with clock:
        first = asyncio.create_task(clock.advance(1))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="let one task do that"):
            await clock.advance(1)
        await first


async def test_a_cancelled_advance_leaves_the_clock_where_it_is(clock) -> None:
    async with clock:
        begun = now()
        moving = asyncio.create_task(clock.advance(10))
        asyncio.get_running_loop().call_later(4, moving.cancel)
        with pytest.raises(asyncio.CancelledError):
            await moving
        assert now() - begun == 4
        await clock.advance(1)
        assert now() - begun == 5


async def test_left_while_it_is_moved_it_says_so(clock) -> None:
    async with clock:
        moving = asyncio.create_task(clock.advance(1))
        await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="left while it was advanced"):
        await moving


async def test_the_loops_time_never_goes_back(clock) -> None:
    before = now()
    async with clock:
        inside = now()
        await clock.advance(1000)
        moved = now()
        later = asyncio.create_task(asyncio.sleep(0.01))
        await asyncio.sleep(0)
    after = now()
    assert before <= inside <= moved - 1000 <= after - 1000 < moved - 970
    await later  # set on the clock, and passed in real time
    async with clock:
        assert now() >= after
        await clock.advance(1)


async def test_oddwires_clocks_are_moved_and_are_right_again_afterwards(clock) -> None:
    def ahead() -> list[float]:
        real = {"monotonic": time.monotonic, "uptime": uptime, "wall": time.time}
        return [getattr(clocks, name)() - read() for name, read in real.items()]

    uptime = clocks.uptime
    for _ in range(2):
        assert ahead() == pytest.approx([0, 0, 0], abs=30)
        async with clock:
            assert ahead() == pytest.approx([0, 0, 0], abs=30)
            await clock.advance(5000)
            assert ahead() == pytest.approx([5000, 5000, 5000], abs=30)
    assert ahead() == pytest.approx([0, 0, 0], abs=30)


def test_other_loops_are_refused() -> None:
    uvloop = pytest.importorskip("uvloop")
    loop = uvloop.new_event_loop()
    try:
        with pytest.raises(TypeError, match=r"asyncio's own event loops, not of uvloop.Loop: .*SelectorEventLoop"):
            Clock().install(loop)
    finally:
        loop.close()


# What nobody moves ------------------------------------------------------------------------------------------------


async def patient() -> None:
    await asyncio.sleep(7)


def check_stall(error: TimeoutError) -> None:
    text = str(error)
    assert "the clock stands still" in text
    assert f"{__file__}:{patient.__code__.co_firstlineno + 1}" in text
    assert "'await clock.advance(7)' moves it" in text


async def test_who_waits_for_time_that_nobody_moves_is_told() -> None:
    ended: list[float] = []
    clock = Clock(patience=0.05)
    with pytest.raises(TimeoutError) as caught:  # noqa: PT012
        async with clock:
            begun = now()
            try:
                await patient()
            finally:
                await asyncio.sleep(100)  # what has to be ended can be waited for
                ended.append(now() - begun)
    check_stall(caught.value)
    assert ended == [100]
    assert not clock.jumping
    assert asyncio.current_task().cancelling() == 0


async def test_who_is_cancelled_for_another_reason_is_cancelled() -> None:
    async def wait() -> None:
        async with Clock(patience=0.05):
            try:
                await patient()
            except asyncio.CancelledError:
                asyncio.current_task().cancel()
                await asyncio.sleep(0)

    task = asyncio.create_task(wait())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_test_itself_is_what_is_told() -> None:
    with pytest.raises(ValueError, match="mine"):  # noqa: PT012
        async with Clock(patience=0.05):
            try:
                await patient()
            except asyncio.CancelledError:
                raise ValueError("mine") from None


def test_entered_by_a_task_that_has_ended_the_loop_says_so() -> None:
    clock = Clock(patience=0.05)
    with asyncio.Runner() as runner:
        runner.run(clock.__aenter__())  # as a fixture does
        with pytest.raises(TimeoutError) as caught:
            runner.run(patient())
        check_stall(caught.value)
        runner.run(clock.__aexit__(None, None, None))
        runner.run(asyncio.sleep(0.001))


async def test_what_comes_from_elsewhere_is_waited_for(clock) -> None:
    async with clock:
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        timer = loop.call_later(1000, pytest.fail)
        threading.Timer(0.02, loop.call_soon_threadsafe, [told.set]).start()
        await told.wait()
        timer.cancel()


async def test_work_that_never_lets_the_loop_be_idle_is_told() -> None:
    async def busy() -> None:
        while True:
            await asyncio.sleep(0)

    async with Clock(patience=0.05) as clock:
        task = asyncio.create_task(busy())
        with pytest.raises(TimeoutError, match=r"never lets the loop be idle: .*test_clock\.py:\d+"):
            await clock.advance(1)
        task.cancel()
        await clock.advance(1)


async def test_work_in_a_thread_that_does_not_end_is_told() -> None:
    end = threading.Event()

    async with Clock(patience=0.05) as clock:
        task = asyncio.create_task(asyncio.to_thread(end.wait, 30))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError, match="work in a thread that has not ended"):
            await clock.advance(1)
        end.set()
        await clock.advance(1)
        assert await task


# By itself --------------------------------------------------------------------------------------------------------


async def test_jumping_it_moves_by_itself(clock) -> None:
    clock.jumping = True
    async with clock:
        begun = now()
        await asyncio.sleep(3600)
        assert await asyncio.to_thread(lambda: 5) == 5
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.Event().wait()
        assert now() - begun == 3660
        await clock.advance(10)
        assert now() - begun == 3670


# oddwire's own time -----------------------------------------------------------------------------------------------


@pytest.fixture
def extension() -> Extension:
    extension = Extension("test", version="1.0")
    extension.register(Ask)
    extension.register(Answer)
    return extension


async def test_jobs_and_their_times(clock, run_app, extension: Extension) -> None:
    runs: list[float] = []

    @extension.every(10, at_start=False)
    async def work(context: AppContext) -> None:
        runs.append(now())
        await asyncio.to_thread(lambda: None)

    async with clock, run_app(extension):
        begun = now()
        await clock.advance(60)
        assert [run - begun for run in runs] == [10, 20, 30, 40, 50, 60]


@pytest.mark.parametrize("session", [True, False])
async def test_requests_time_out(clock, app_pair, extension: Extension, session: bool) -> None:
    silent = Extension("test", version="1.0")

    @silent.on(Ask)
    async def ask(context: Context, message: Ask) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    async with clock, app_pair(silent, extension, session=session, grace=0) as (_, client):
        asked = asyncio.create_task(client.peers[0].request(Ask(text=""), Answer, timeout=300))
        await clock.advance(299)
        assert not asked.done()
        await clock.advance(1 if not session else 2)
        with pytest.raises(ReplyTimeout):
            await asked


async def test_what_waits_for_a_peer_expires(clock, run_app, extension: Extension) -> None:
    lost = []
    reliable = Extension("test", version="1.0")

    @reliable.on(Ask, reliable=True)
    async def ask(context: Context, message: Ask) -> None: ...

    @reliable.on_undelivered
    async def undelivered(context: AppContext, message: object, *rest: object) -> None:
        lost.append(message)

    other = NodeId("02" + "aa" * 32)
    async with clock, run_app(reliable, limits=Limits(outbox_seconds=86400)) as app:
        await app.peer(other).deliver(Ask(text="old"))
        await clock.advance(timedelta(hours=23))
        assert lost == []
        await app.restart(kill=True)
        await clock.advance(timedelta(hours=2))
        assert lost == [Ask(text="old")]


async def test_quiet_connections_are_kept_by_pings(clock, app_pair, extension: Extension) -> None:
    """Bytes on their way between sockets of this process are waited for, so that no pong comes too late."""
    async with clock, app_pair(extension, transport="bolt8") as (server, client):
        for _ in range(5):
            await clock.advance(600)
            assert client.peers[0].connected
            assert server.peers[0].connected


async def test_lines_left_out_of_the_log_come_again(clock, caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("oddwire.app")
    LIMITED.reset(LogLimits(total_burst=1000, total_rate=10))

    def count() -> int:
        caplog.clear()
        for number in range(50):
            logger.warning("%s", f"line {number} " + "x" * 100)
        return len(caplog.records)

    async with clock:
        Application(transport=MemoryNetwork().transport())
        most = count()
        assert 0 < most < 50
        assert count() == 0
        await clock.advance(3600)
        assert count() == most
    LIMITED.reset()


async def test_in_asyncios_debug_mode(clock) -> None:
    asyncio.get_running_loop().set_debug(True)
    async with clock:
        await clock.advance(10)


# To the nanosecond ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.7, 1 / 3, 1e-9, 1e-10, math.pi])
async def test_no_timer_runs_before_it_is_due(clock, seconds: float) -> None:
    """Who looks then would find that it is not, wait for the rest, and so on."""
    async with clock:
        loop, early, runs = asyncio.get_running_loop(), [], 0

        def due(when: float) -> None:
            nonlocal runs
            runs += 1
            if loop.time() < when:
                early.append(when - loop.time())
            if runs < 100:
                when = loop.time() + seconds
                loop.call_at(when, due, when)
                loop.call_soon(lambda: None)  # the loop is not idle, and looks for timers all the same

        loop.call_at(now() + seconds, due, now() + seconds)
        await clock.advance(101 * seconds)
        assert (runs, early) == (100, [])


async def test_who_waits_until_a_time_has_come_waits_no_longer(clock) -> None:
    async with clock:

        async def wait(seconds: float) -> None:
            deadline = now() + seconds
            while (left := deadline - now()) > 0:
                await asyncio.sleep(left)

        tasks = [asyncio.create_task(wait(number / 7)) for number in range(50)]
        await clock.advance(8)
        assert all(task.done() for task in tasks)


async def test_ten_thousand_tenths_are_a_thousand_seconds(clock) -> None:
    async with clock:
        seen = 0

        async def tick() -> None:
            nonlocal seen
            while True:
                await asyncio.sleep(0.1)
                seen += 1

        task = asyncio.create_task(tick())
        await clock.advance(1000)
        assert seen == 10_000
        task.cancel()


async def spin() -> None:
    while True:
        await asyncio.sleep(1e-9)


async def test_timers_by_which_no_time_passes_are_told() -> None:
    async with Clock(patience=0.05) as clock:
        task = asyncio.create_task(spin())
        told = r"^advance\(\) has waited 0.05 s for time to pass, while .*test_clock\.py:\d+"
        with pytest.raises(TimeoutError, match=told):
            await clock.advance(1)
        task.cancel()
        await clock.advance(1)


async def test_jumping_timers_by_which_no_time_passes_are_told() -> None:
    clock = Clock(patience=0.05)
    clock.jumping = True
    with pytest.raises(TimeoutError, match=r"^the clock, which jumps, has waited 0.05 s for time to pass, while"):
        async with clock:
            await spin()


async def test_the_loop_has_its_own_resolution_again(clock) -> None:
    loop = asyncio.get_running_loop()
    before = loop._clock_resolution  # type: ignore[attr-defined]
    async with clock:
        await clock.advance(1)
    assert loop._clock_resolution == before  # type: ignore[attr-defined]


# Its place --------------------------------------------------------------------------------------------------------


async def test_it_is_entered_before_applications(clock, run_app, extension: Extension) -> None:
    async with run_app(extension) as app:
        with pytest.raises(RuntimeError, match=r"before applications start, .*: 'async with clock, run_app\(...\) as"):
            await clock.__aenter__()
        await app.restart(kill=True)
        with pytest.raises(RuntimeError, match="before applications start"):
            await clock.__aenter__()
    async with clock, run_app(extension):
        await clock.advance(1)


async def test_it_shows_its_state(clock) -> None:
    assert repr(clock) == "<Clock not in use, moved by 0 s>"
    async with clock:
        await clock.advance(1.5)
        assert repr(clock) == "<Clock standing still, moved by 1.5 s>"
