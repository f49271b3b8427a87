"""What authors' code may raise besides `Exception`: a failure of that code, told of, and nothing else comes of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from oddwire import AppContext, Application, Context, Extension, Message, RemoteFailure, message
from oddwire.app import hookimpl
from oddwire.errors import ExtensionError, NodeRefused
from oddwire.transports.memory import MemoryNetwork

LOOPS = ("asyncio", "uvloop")


class Odd(BaseException):
    """An author's own."""


KINDS = {
    kind.__name__: kind
    for kind in (GeneratorExit, KeyboardInterrupt, SystemExit, asyncio.CancelledError, StopIteration, Odd)
} | {"StopAsyncIteration": StopAsyncIteration}


@message(0x8C01)
class Say(Message):
    what: str


@message(0x8C03)
class Ask(Message):
    what: str


@message(0x8C05)
class Stream(Message):
    what: str


@message(0x8C07)
class Keep(Message):
    what: str


@message(0x8C09)
class Each(Message):
    what: str


class Rough:
    """An extension that raises wherever it is told to, and what is known of that."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind
        self.heard: list[str] = []
        self.failures: list[BaseException] = []
        self.at: str | None = None
        self.extension = extension = Extension("rough", version="1.0", allow=self.allow)

        @extension.on(Say)
        async def say(context: Context, told: Say) -> None:
            self.does(told.what)

        @extension.on(Each, concurrent=True)
        async def each(context: Context, told: Each) -> None:
            self.does(told.what)

        @extension.on(Ask)
        async def ask(context: Context, asked: Ask) -> Ask:
            self.does(asked.what)
            return asked

        @extension.on(Stream)
        async def stream(context: Context, asked: Stream) -> AsyncIterator[Stream]:
            yield asked
            self.does(asked.what)

        @extension.on(Keep, reliable=True)
        async def keep(context: Context, told: Keep) -> None:
            self.does(told.what)

        @extension.on_connect
        async def connected(peer: Any) -> None:
            self.does("connect")

        @extension.on_disconnect
        async def disconnected(peer: Any, reason: str) -> None:
            self.does("disconnect")

        @extension.rpc("rough-do")
        async def do(context: AppContext, what: str) -> str:
            self.does(what)
            return what

    def does(self, what: str) -> None:
        if what == self.at:
            raise self.kind("by hand")
        self.heard.append(what)

    async def allow(self, peer: Any) -> bool:
        self.does("allow")
        return True


class Watching:
    """A plugin whose hooks raise, too."""

    def __init__(self, rough: Rough) -> None:
        self.rough = rough

    @hookimpl
    def message_traced(self, event: Any) -> None:
        self.rough.does("trace")

    @hookimpl
    def handler_failed(self, error: BaseException) -> None:
        self.rough.failures.append(error)
        self.rough.does("failed")

    @hookimpl
    def peer_connected(self) -> None:
        self.rough.does("plain connect")


@asynccontextmanager
async def two(rough: Rough, *more: object) -> AsyncIterator[tuple[Application, Application]]:
    network = MemoryNetwork()
    asking = Extension("rough", version="1.0")
    for schema in (Say, Ask, Stream, Keep, Each):
        asking.register(schema)
    async with (
        asyncio.timeout(60),
        Application(rough.extension, *more, transport=network.transport(), store=":memory:") as left,
        Application(asking, transport=network.transport(), store=":memory:") as right,
    ):
        await right.connect(left.uris[0])
        yield left, right


async def heard(rough: Rough, what: str) -> None:
    async with asyncio.timeout(30):
        while what not in rough.heard:
            await asyncio.sleep(0.005)


@pytest.fixture(params=list(KINDS.values()), ids=list(KINDS))
def rough(request: pytest.FixtureRequest) -> Rough:
    return Rough(request.param)


async def works(rough: Rough, peer: Any) -> None:
    """All is handled as if nothing had been."""
    rough.at = None
    rough.heard.clear()
    await peer.send(Say(what="plain"))
    await peer.send(Each(what="each"))
    assert await peer.request(Ask(what="asked"), Ask) == Ask(what="asked")
    assert [part async for part in peer.stream(Stream(what="streamed"), Stream)] == [Stream(what="streamed")]
    await (await peer.deliver(Keep(what="kept"))).delivered()
    for what in ("plain", "each"):
        await heard(rough, what)


def told(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """It is in the log, with the line that raised it."""
    (record, *_) = [record for record in caplog.records if text in record.getMessage()]
    assert record.exc_info is not None
    logged = logging.Formatter().format(record)
    assert "raise self.kind" in logged


@pytest.mark.parametrize("schema", [Say, Each])
async def test_out_of_a_handler(rough: Rough, caplog: pytest.LogCaptureFixture, schema: type[Any]) -> None:
    rough.at = "fail"
    async with two(rough, Watching(rough)) as (_, right):
        await right.peers[0].send(schema(what="fail"))
        await right.peers[0].send(schema(what="after"))
        await heard(rough, "after")
        told(caplog, f"handler of {schema.__name__} of 'rough' failed")
        assert len(rough.failures) == 1
        await works(rough, right.peers[0])


async def test_out_of_a_handler_of_requests(rough: Rough, caplog: pytest.LogCaptureFixture) -> None:
    rough.at = "fail"
    async with two(rough, Watching(rough)) as (_, right):
        with pytest.raises(RemoteFailure):
            await right.peers[0].request(Ask(what="fail"), Ask)
        with pytest.raises(RemoteFailure):
            async for _ in right.peers[0].stream(Stream(what="fail"), Stream):
                pass
        told(caplog, "handler of Ask of 'rough' failed")
        told(caplog, "handler of Stream of 'rough' failed")
        assert len(rough.failures) == 2
        await works(rough, right.peers[0])


async def test_out_of_a_handler_of_reliable_messages(rough: Rough, caplog: pytest.LogCaptureFixture) -> None:
    rough.at = "fail"
    async with two(rough, Watching(rough)) as (left, right):
        assert left.resources.delivery().inbox._pause
        left.resources.delivery().inbox._pause = 0.001
        receipt = await right.peers[0].deliver(Keep(what="fail"))
        with pytest.raises(RemoteFailure):
            await receipt.delivered()
        told(caplog, "handler of Keep of 'rough' failed")
        assert rough.failures
        await works(rough, right.peers[0])


async def test_out_of_hooks_of_connections(rough: Rough, caplog: pytest.LogCaptureFixture) -> None:
    for at in ("connect", "plain connect", "disconnect"):
        caplog.clear()
        rough.at = at
        async with two(rough, Watching(rough)) as (left, right):
            if at == "disconnect":
                await right.disconnect(left.uris[0].partition("@")[0])
            async with asyncio.timeout(30):
                while not rough.failures:
                    await asyncio.sleep(0.005)
            if at == "disconnect":
                await right.connect(left.uris[0])
            await works(rough, right.peers[0])
            hooks = {"connect": "on_connect connected", "disconnect": "on_disconnect disconnected"}
            told(caplog, f"{hooks.get(at, 'peer_connected')} of ")
            assert len(rough.failures) == 1
            rough.failures.clear()


async def test_out_of_who_says_who_may_ask(rough: Rough, caplog: pytest.LogCaptureFixture) -> None:
    async with two(rough) as (_, right):
        rough.at = "allow"
        with pytest.raises(RemoteFailure):
            await right.peers[0].request(Ask(what="asked"), Ask)
        told(caplog, "of 'rough' failed")
        await works(rough, right.peers[0])


@pytest.mark.parametrize("at", ["trace", "failed"])
async def test_out_of_hooks_that_watch(rough: Rough, caplog: pytest.LogCaptureFixture, at: str) -> None:
    async with two(rough, Watching(rough)) as (_, right):
        rough.at = at
        if at == "failed":
            rough.kind, kind = ValueError, rough.kind
            rough.at = "fail"

            def fail(what: str) -> None:
                if what == "failed":
                    raise kind("by hand")
                Rough.does(rough, what)

            rough.does = fail  # type: ignore[method-assign]
        await right.peers[0].send(Say(what="fail"))
        await right.peers[0].send(Say(what="after"))
        await heard(rough, "after")
        rough.__dict__.pop("does", None)
        name = "message_traced" if at == "trace" else "handler_failed"
        assert [record for record in caplog.records if name in record.getMessage() and record.exc_info]
        await works(rough, right.peers[0])


async def test_out_of_a_method_the_node_calls(rough: Rough, caplog: pytest.LogCaptureFixture) -> None:
    rough.at = "fail"
    async with two(rough) as (left, right):
        (method,) = (method for method in left.manifest.rpc_methods if method.name == "rough-do")
        with pytest.raises(NodeRefused, match="internal error"):
            await method.call(["fail"])
        told(caplog, "RPC method rough-do of 'rough' failed")
        assert await method.call(["fine"]) == "fine"
        await works(rough, right.peers[0])


class Starting:
    """Raises as it starts, or ends."""

    name = "starting"

    def __init__(self, kind: type[BaseException], at: str) -> None:
        self.kind, self.at = kind, at
        self.down = False

    @hookimpl
    async def startup(self) -> None:
        if self.at == "startup":
            raise self.kind("by hand")

    @hookimpl
    async def shutdown(self) -> None:
        self.down = True
        if self.at == "shutdown":
            raise self.kind("by hand")


async def test_out_of_startup(rough: Rough) -> None:
    first, second = Starting(rough.kind, ""), Starting(rough.kind, "startup")
    second.name = "second"
    app = Application(first, second, transport=MemoryNetwork().transport())
    mended = (GeneratorExit, KeyboardInterrupt, asyncio.CancelledError)
    awaited = RuntimeError if rough.kind is StopIteration else rough.kind  # PEP 479
    with pytest.raises(ExtensionError if issubclass(rough.kind, mended) else awaited, match=r"by hand|StopIteration"):
        await app.start()
    assert first.down


async def test_out_of_shutdown(rough: Rough, caplog: pytest.LogCaptureFixture) -> None:
    first, second = Starting(rough.kind, "shutdown"), Starting(rough.kind, "shutdown")
    second.name = "second"
    app = Application(first, second, transport=MemoryNetwork().transport())
    await app.start()
    with pytest.raises(Exception, match=r"by hand|StopIteration"):
        await app.aclose()
    assert first.down
    assert second.down
    for name in ("starting", "second"):
        assert f"shutdown of '{name}' failed" in caplog.text


async def test_a_request_that_is_cancelled_meanwhile_still_is(rough: Rough) -> None:
    async with two(rough) as (_, right):
        task = asyncio.create_task(right.peers[0].request(Ask(what="asked"), Ask))
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await works(rough, right.peers[0])
