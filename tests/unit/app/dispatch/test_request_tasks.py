from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from oddwire.app.dispatch.request_tasks import RequestTask, RequestTasks

colour = contextvars.ContextVar("colour", default="none")


class Crew:
    """Answerers whose tasks are looked at: ``tasks`` runs, ``made`` is how many there were."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.made = 0
        self.done: list[tuple[int, asyncio.Task[Any] | None]] = []
        self.answerers = RequestTasks(self.spawn, self.tasks.remove)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        self.made += 1
        return task

    def handle(self, work: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> RequestTask:
        answering = RequestTask(work, *arguments)
        self.answerers.handle(answering)
        return answering

    async def count(self, number: int) -> None:
        """Wait for nothing."""
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        assert colour.get() == "none"
        self.done.append((number, task))

    async def idle(self) -> None:
        for _ in range(200):
            await asyncio.sleep(0)

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.done]


class Clock:
    """How much time handlers have taken: none, unless a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("oddwire.app.dispatch.request_tasks.perf_counter", clock)
    return clock


@pytest.fixture
async def crew(clock: Clock) -> AsyncIterator[Crew]:
    crew = Crew()
    yield crew
    await crew.idle()
    assert crew.tasks == set()  # each that has begun says when it ends


async def test_handlers_that_wait_for_nothing_share_a_task(crew: Crew) -> None:
    for number in range(50):
        crew.handle(crew.count, number)
    assert crew.done == []  # not before the loop's next turn
    await crew.idle()
    assert crew.numbers == list(range(50))
    assert len({task for _, task in crew.done}) == 1
    assert crew.made == 2  # and one was ready


async def test_handlers_that_wait_do_so_at_the_same_time_each_in_its_own_task(crew: Crew) -> None:
    gate, tasks = asyncio.Event(), set[Any]()

    async def wait(number: int) -> None:
        tasks.add(asyncio.current_task())
        await gate.wait()
        await crew.count(number)

    for number in range(50):
        crew.handle(wait, number)
        if number % 10 == 0:
            crew.handle(crew.count, 100 + number)
    await crew.idle()
    assert len(tasks) == 50
    assert crew.numbers == [100, 110, 120, 130, 140]  # nobody waits for those that wait
    gate.set()
    await crew.idle()
    assert sorted(crew.numbers[5:]) == list(range(50))


async def test_where_handlers_wait_all_begin_at_once_and_share_again_when_they_do_not(crew: Crew) -> None:
    async def wait_a_turn(number: int) -> None:
        begun.append(number)
        await asyncio.sleep(0)
        await crew.count(number)

    begun: list[int] = []
    for first, turns in ((0, 3), (20, 1), (40, 1)):  # at first it is not known
        for number in range(first, first + 20):
            crew.handle(wait_a_turn, number)
        for _ in range(turns):
            await asyncio.sleep(0)
        assert begun == list(range(first + 20))
        await crew.idle()
    for first, most in ((60, 20), (80, 2), (100, 2)):
        before = crew.made
        for number in range(first, first + 20):
            crew.handle(crew.count, number)
        await crew.idle()
        assert len({task for _, task in crew.done[first:]}) == 1
        assert crew.made - before <= most
    assert crew.numbers == list(range(120))


async def test_a_task_whose_handler_has_waited_takes_no_other(crew: Crew) -> None:
    async def wait_a_turn(number: int) -> None:
        await asyncio.sleep(0)
        await crew.count(number)

    crew.handle(wait_a_turn, 1)
    await asyncio.sleep(0)  # begun
    crew.handle(crew.count, 2)  # before it goes on
    await crew.idle()
    for number in (3, 4, 5):
        crew.handle(wait_a_turn, number)
    await crew.idle()
    assert sorted(crew.numbers) == [1, 2, 3, 4, 5]
    assert len({task for _, task in crew.done}) == 5


async def test_what_is_cancelled_before_it_begins_never_does(crew: Crew) -> None:
    answerings = [crew.handle(crew.count, number) for number in range(5)]
    for number in (0, 2, 4):
        answerings[number].cancel()
    await crew.idle()
    assert crew.numbers == [1, 3]


@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_cancellation_reaches_its_handler_alone(crew: Crew, stubborn: bool) -> None:
    cancelled = []

    async def wait(number: int) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            for more in (10, 20):
                crew.handle(crew.count, more + number)
            if not stubborn:
                raise

    waiting = [crew.handle(wait, number) for number in range(3)]
    crew.handle(crew.count, 3)
    await crew.idle()
    for number in (2, 0):
        waiting[number].cancel()
    await crew.idle()
    assert cancelled == [2, 0]
    assert sorted(crew.numbers) == [3, 10, 12, 20, 22]
    assert len(crew.tasks) == 1
    waiting[1].cancel()
    await crew.idle()
    assert cancelled == [2, 0, 1]


async def test_a_cancellation_after_the_end_reaches_nobody(crew: Crew) -> None:
    async def cancel_others(number: int) -> None:
        for answering in before:
            answering.cancel()
        await crew.count(number)

    before = [crew.handle(crew.count, 1)]
    crew.handle(cancel_others, 2)
    crew.handle(crew.count, 3)
    await crew.idle()
    assert crew.numbers == [1, 2, 3]


async def test_a_handler_that_cancels_its_own_task_cancels_no_other(crew: Crew) -> None:
    async def cancel(wait: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if wait:
            await asyncio.sleep(0)

    for number in range(0, 10, 2):
        crew.handle(crew.count, number)
        crew.handle(cancel, bool(number % 4))
        crew.handle(crew.count, number + 1)
    await crew.idle()
    assert crew.numbers == list(range(10))


async def test_what_a_handler_sets_in_its_context_is_not_seen_by_the_next(crew: Crew) -> None:
    async def set_colour(number: int) -> None:
        await crew.count(number)
        colour.set("red")

    async def set_back(number: int) -> None:
        token = colour.set("red")
        colour.reset(token)
        await crew.count(number)

    for number in range(0, 12, 3):
        crew.handle(set_colour, number)
        crew.handle(set_back, number + 1)
        crew.handle(crew.count, number + 2)
    await crew.idle()
    assert crew.numbers == list(range(12))
    assert len({task for _, task in crew.done}) == 5
    assert colour.get() == "none"


async def test_values_that_do_not_compare_are_no_trouble(crew: Crew) -> None:
    class Grid:
        def __eq__(self, other: object) -> bool:
            raise ValueError("which of its elements?")

        __hash__ = None  # type: ignore[assignment]

    grid: contextvars.ContextVar[Grid] = contextvars.ContextVar("grid")
    first = Grid()
    grid.set(first)

    async def set_grid(number: int) -> None:
        assert grid.get() is first
        await crew.count(number)
        grid.set(Grid())

    for number in range(5):
        crew.handle(set_grid, number)
    await crew.idle()
    assert crew.numbers == list(range(5))


async def test_an_exception_that_passes_ends_one_task_and_the_others_go_on(crew: Crew) -> None:
    class Passing(BaseException):
        """Of those that are no failure of a handler."""

    async def fail(number: int) -> None:
        await crew.count(number)
        raised.append(asyncio.current_task())
        raise Passing

    raised: list[Any] = []
    for number in range(0, 6, 2):
        crew.handle(fail, number)
        crew.handle(crew.count, number + 1)
    await crew.idle()
    assert crew.numbers == list(range(6))
    assert [type(task.exception()) for task in raised] == [Passing] * 3


async def test_credit_wakes_who_waits_for_it(crew: Crew) -> None:
    answering = RequestTask(crew.count, 1)
    answering.wake()  # nobody waits
    answering.credit = asyncio.get_running_loop().create_future()
    answering.wake()
    answering.wake()
    assert answering.credit.done()


async def test_after_a_moment_of_them_others_have_the_loop(crew: Crew, clock: Clock) -> None:
    turns = 0

    async def take(number: int) -> None:
        clock.now += 0.0015
        crew.done.append((number, asyncio.current_task()))

    for number in range(20):
        crew.handle(take, number)
    while len(crew.done) < 20:
        before = len(crew.done)
        await asyncio.sleep(0)
        turns += 1
        assert len(crew.done) - before <= 2
    assert crew.numbers == list(range(20))
    assert turns >= 10


async def test_peers_have_their_turns_and_the_requests_of_each_their_order(crew: Crew) -> None:
    for peer, numbers in (("a", range(100, 110)), ("b", range(200, 203)), ("c", range(300, 301))):
        for number in numbers:
            answering = RequestTask(crew.count, number)
            answering.peer = peer
            crew.answerers.handle(answering)
    await crew.idle()
    assert crew.numbers == [100, 200, 300, 101, 201, 102, 202, *range(103, 110)]


@pytest.mark.parametrize("aside", [False, True])
async def test_one_cancelled_before_it_has_begun_is_over_at_once_unless_it_waits_for_something_else(
    aside: bool,
) -> None:
    over: list[RequestTask] = []

    async def never() -> None:
        raise AssertionError

    request = RequestTask(never)
    request.ended, request.aside = over.append, aside
    request.cancel()
    assert over == ([] if aside else [request])
    request.end()
    request.end()
    assert over == [request]
