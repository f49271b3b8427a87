from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.support.waiting import until

from oddwire import AppContext, Extension
from oddwire.app import Application
from oddwire.errors import ExtensionError
from oddwire.transports.memory import MemoryTransport


class Turn:
    """Who may run a job: a lease in this process, that a test can take away."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.asked: list[tuple[str, str]] = []
        self.lost: asyncio.Future[str] | None = None

    @contextlib.asynccontextmanager
    async def alone(self, extension: str, name: str) -> AsyncIterator[asyncio.Future[str]]:
        self.asked.append((extension, name))
        async with self.lock:
            self.lost = asyncio.get_running_loop().create_future()
            yield self.lost


def made(extension: Extension, turn: Turn | None) -> Application:
    app = Application(extension, transport=MemoryTransport(), session=False)
    app.cluster_jobs = turn
    return app


async def test_a_job_of_the_cluster_runs_in_one_of_its_applications_and_then_in_the_next() -> None:
    extension, running, ran = Extension("test", version="1"), set[Application](), list[Application]()

    @extension.task(scope="cluster")
    async def poll(context: AppContext) -> None:
        running.add(context.app)
        ran.append(context.app)
        try:
            await asyncio.Event().wait()
        finally:
            running.discard(context.app)

    turn = Turn()
    async with made(extension, turn) as second:
        async with made(extension, turn) as first:
            await until(lambda: len(turn.asked) == 2)
            await until(lambda: running)
            assert len(running) == 1
            other = second if first in running else first
        await until(lambda: running == {second})
    assert turn.asked[0] == ("test", "poll")
    assert len(ran) in (1, 2)
    assert other in (first, second)
    assert not running


async def test_a_job_that_is_lost_is_cancelled_and_asked_for_again() -> None:
    extension, begun, cancelled = Extension("test", version="1"), [], []

    @extension.every(0.001, at_start=True, scope="cluster")
    async def beat(context: AppContext) -> None:
        begun.append(1)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    turn = Turn()
    async with made(extension, turn) as app:
        await until(lambda: begun)
        assert turn.lost is not None
        turn.lost.set_result("it is another's")
        await until(lambda: len(begun) == 2)
        assert cancelled == [1]
        assert not app.counters.failed
        assert turn.asked == [("test", "beat")] * 2


async def test_a_task_that_has_returned_is_not_done_by_others() -> None:
    extension, ran = Extension("test", version="1"), []

    @extension.task(scope="cluster")
    async def once(context: AppContext) -> None:
        ran.append(context.app)

    turn = Turn()
    async with made(extension, turn), made(extension, turn):
        await until(lambda: ran and len(turn.asked) == 2)
        assert turn.lock.locked()
        assert len(ran) == 1


async def test_a_task_that_raises_is_restarted_and_the_job_kept() -> None:
    extension, ran = Extension("test", version="1"), []

    @extension.task(scope="cluster", restart=False)
    async def fail(context: AppContext) -> None:
        ran.append(context.app)
        raise ValueError("no")

    turn = Turn()
    async with made(extension, turn) as app:
        await until(lambda: app.counters.failed["test"])
        assert turn.lock.locked()
    assert len(ran) == 1


async def test_without_a_cluster_such_a_job_is_one_of_the_application() -> None:
    extension, ran = Extension("test", version="1"), set[Application]()

    @extension.task(scope="cluster")
    async def poll(context: AppContext) -> None:
        ran.add(context.app)

    async with made(extension, None) as first, made(extension, None) as second:
        await until(lambda: ran == {first, second})


async def test_two_jobs_of_the_cluster_have_two_names() -> None:
    extension = Extension("test", version="1")

    def declare() -> None:
        @extension.task(scope="cluster")
        async def poll(context: AppContext) -> None: ...

    declare()
    declare()

    with pytest.raises(ExtensionError, match="@task poll, of scope 'cluster', is known in the cluster by its name"):
        made(extension, None)
