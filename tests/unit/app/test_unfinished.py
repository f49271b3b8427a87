import asyncio
import functools
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from tests.support.waiting import until

from oddwire import AppContext, Context, Extension, Message, message
from oddwire.app import PluginManager, hookimpl
from oddwire.app.unfinished import busy_threads, describe_task, holdups, owners_of, spot_of


@message(0x8D01)
class Ask(Message):
    text: str = ""


def line_of(function: object, offset: int) -> str:
    code = getattr(function, "__code__")  # noqa: B009
    return f"{__file__}:{code.co_firstlineno + offset}"


async def waits() -> None:
    await asyncio.sleep(1000)


async def outer() -> None:
    await waits()


async def parts() -> AsyncGenerator[int, None]:
    yield 1
    await asyncio.sleep(1000)


async def described(work) -> str | None:
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    text = describe_task(task)
    task.cancel()
    await asyncio.wait([task])
    return text


async def test_a_task_is_described_by_the_innermost_line_of_its_authors() -> None:
    assert await described(outer()) == f"waits at {line_of(waits, 1)}"


async def test_a_generator_that_is_iterated_is_looked_into() -> None:
    async def iterate() -> None:
        async with aclosing(parts()) as each:
            async for _ in each:
                pass

    assert await described(iterate()) == f"parts at {line_of(parts, 2)}"


async def lingers() -> AsyncGenerator[int, None]:
    try:
        yield 1
    finally:
        await asyncio.sleep(1000)


async def test_a_generator_that_is_ended_is_looked_into() -> None:
    each = lingers()
    await anext(each)
    assert await described(each.aclose()) == f"lingers at {line_of(lingers, 4)}"


async def test_what_is_no_authors_is_not_described() -> None:
    assert await described(asyncio.sleep(1000)) is None


def test_handlers_hooks_and_methods_are_known_by_their_extension() -> None:
    extension = Extension("quote", version="1.0")

    def wrapping(function):
        @functools.wraps(function)
        async def wrapped(*arguments):
            return await function(*arguments)

        return wrapped

    async def inner(context: Context, ask: Ask) -> None: ...

    @extension.rpc("quote-ask")
    async def ask(context: AppContext) -> None: ...

    @extension.provide
    def opened() -> dict[str, int]:
        return {}

    @extension.on_startup
    async def begin(context) -> None: ...

    extension.on(Ask)(wrapping(inner))
    plugins = PluginManager()
    plugins.register(extension)
    owners = owners_of(plugins)
    assert owners[inner.__code__] == "the handler of Ask of 'quote'"
    assert owners[ask.__code__] == "RPC method quote-ask of 'quote'"
    assert owners[opened.__code__] == "a provider of 'quote'"
    assert owners[begin.__code__] == "the on_startup hook of 'quote'"


def test_hooks_and_jobs_are_known_by_what_they_are_and_other_plugins_have_none() -> None:
    extension = Extension("quote", version="1.0")

    async def work(context: AppContext) -> None: ...

    async def ready(context: AppContext) -> None: ...

    async def stopping(context: AppContext) -> None: ...

    async def failed(context: AppContext, error: BaseException, message: Message | None) -> None: ...

    extension.every(10)(work)
    extension.on_ready(ready)
    extension.on_stopping(stopping)
    extension.on_error(failed)

    class Other:
        """A plugin that has names of its own."""

        name = "other"
        _ready = True

        @hookimpl
        def ready(self) -> None: ...

    plugins = PluginManager()
    plugins.register(extension)
    plugins.register(Other())
    owners = owners_of(plugins)
    assert owners[work.__code__] == "@every work of 'quote'"
    assert owners[ready.__code__] == "the on_ready hook of 'quote'"
    assert owners[stopping.__code__] == "the on_stopping hook of 'quote'"
    assert owners[failed.__code__] == "the on_error hook of 'quote'"


async def test_a_task_is_placed_by_its_innermost_line() -> None:
    task = asyncio.ensure_future(outer())
    await asyncio.sleep(0)
    assert spot_of(task) == line_of(waits, 1)
    task.cancel()
    await asyncio.wait([task])
    assert spot_of(asyncio.ensure_future(asyncio.sleep(0))) is None


async def test_threads_that_work_are_named_and_idle_ones_are_not() -> None:
    known = frozenset(threading.enumerate())
    await asyncio.to_thread(time.sleep, 0)  # its pool now has an idle thread
    ending = threading.Event()

    def work() -> None:
        ending.wait()

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    try:
        # The pool's thread is busy for a moment more
        await until(lambda: [each.name for each, _ in busy_threads(known)] == ["worker"])
        *_, text = holdups(None, {}, known=known)  # the main thread, which asks, comes first
        assert text.startswith("test_threads_that_work_are_named_and_idle_ones_are_not.<locals>.work at ")
        assert text.endswith(", in thread 'worker'")
    finally:
        ending.set()
        thread.join()


async def test_a_thread_that_runs_no_python_is_named_by_what_it_was_given() -> None:
    known = frozenset(threading.enumerate())
    gate = threading.Lock()
    gate.acquire()
    thread = threading.Thread(target=gate.acquire, name="holder")
    thread.start()
    try:
        async with asyncio.timeout(30):  # it has frames of Python's at its very start
            while not any(text.endswith("acquire, in thread 'holder'") for text in holdups(None, {}, known=known)):
                await asyncio.sleep(0)
    finally:
        gate.release()
        thread.join()


async def test_what_a_library_of_oddwires_own_does_is_no_authors() -> None:
    def of(file: str) -> object:
        names: dict[str, object] = {"asyncio": asyncio}
        exec(compile("async def pings():\n    await asyncio.sleep(1000)\n", file, "exec"), names)
        return names["pings"]()  # type: ignore[operator]

    assert await described(of("/lib/site-packages/nats/aio/client.py")) is None
    assert (
        await described(of("/lib/site-packages/nattan/client.py")) == "pings at /lib/site-packages/nattan/client.py:2"
    )
