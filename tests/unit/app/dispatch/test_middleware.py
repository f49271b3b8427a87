"""Middleware, around handlers of all kinds, in a running application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.support.messages import Answer, Ask, Even, Note
from tests.support.tracing import Tracer
from tests.support.waiting import until

from oddwire import Receipt
from oddwire.app import Application, CallNext, Context, Extension, Handler, Middleware, Provider, Router, hookimpl
from oddwire.app.unfinished import owners_of
from oddwire.errors import ExtensionError, Refuse, RemoteFailure
from oddwire.schema import Message, message, replace
from oddwire.session.wire.frame_types import Code
from oddwire.testing import ScriptedTransport
from oddwire.testing.apps import app_pair
from oddwire.transports.memory import MemoryNetwork

Around = Callable[[Context, Message, CallNext], Any]


@message(0x8C11)
class Busy(Message): ...


@message(0x8C13)
class Count(Message):
    parts: int


class Shop:
    """An extension with a handler of each kind, which notes what it is called with."""

    def __init__(self, around: Around | None = None) -> None:
        self.extension = Extension("shop", version="1.0")
        self.handled: list[int] = []

        @self.extension.on(Ask)
        async def ask(context: Context, message: Ask) -> Answer:
            self.handled.append(message.number)
            return Answer(number=message.number)

        @self.extension.on(Note, reliable=True)
        async def note(context: Context, message: Note) -> None:
            await context.store.set("note", message.number)
            self.handled.append(message.number)

        @self.extension.on(Count)
        async def count(context: Context, message: Count) -> AsyncIterator[Answer]:
            try:
                for number in range(message.parts):
                    yield Answer(number=number)
            finally:
                self.handled.append(message.parts)

        if around is not None:
            self.extension.middleware(around)


def pair(left: Shop, *plugins: object) -> Any:
    return app_pair(MemoryNetwork())([left.extension, *plugins], Shop().extension)


async def test_it_is_around_requests_messages_and_reliable_ones() -> None:
    seen: list[str] = []

    async def note_all(context: Context, message: Message, call_next: CallNext) -> Message | None:
        seen.append(f"{context.extension}: {type(message).__name__}")
        reply = await call_next(message)
        seen.append(type(reply).__name__)
        return reply

    shop = Shop(note_all)
    async with pair(shop) as (_, client):
        peer = client.peers[0]
        assert await peer.request(Ask(number=1), Answer) == Answer(number=1)
        await peer.send(Ask(number=2))
        await until(lambda: shop.handled == [1, 2])
        await (await peer.deliver(Note(number=3))).delivered()
    asked = ["shop: Ask", "Answer"]
    assert seen == [*asked, *asked, "shop: Note", "NoneType"]
    assert shop.handled == [1, 2, 3]


async def test_the_first_is_the_outermost_and_plugins_are_outside_of_extensions() -> None:
    order: list[str] = []

    def named(name: str) -> Any:
        async def around(context: Context, message: Message, call_next: CallNext) -> Message | None:
            order.append(f"{name} in")
            try:
                return await call_next(message)
            finally:
                order.append(f"{name} out")

        return around

    class Plugin:
        @hookimpl
        def register_middleware(self) -> list[Middleware]:
            return [Middleware(function=named("plugin"))]

    shop, router = Shop(named("first")), Router()
    router.middleware(named("of router"))  # it is around nothing
    shop.extension.include(router)
    shop.extension.middleware(named("second"))
    async with pair(shop, Plugin()) as (_, client):
        await client.peers[0].request(Ask(number=1), Answer)
    assert order == ["plugin in", "first in", "second in", "second out", "first out", "plugin out"]


async def test_it_may_answer_without_the_handler_with_a_message_that_its_annotation_names() -> None:
    async def busy(context: Context, message: Message, call_next: CallNext) -> Busy | None:
        return Busy()

    shop = Shop(busy)
    shop_of_client = Shop()
    shop_of_client.extension.register(Busy)
    async with app_pair(MemoryNetwork())(shop.extension, shop_of_client.extension) as (_, client):
        assert await client.peers[0].request(Ask(number=1), Answer | Busy) == Busy()
        part = [part async for part in client.peers[0].stream(Count(parts=3), Answer | Busy)]
        assert part == [Busy()]
    assert shop.handled == []


async def test_a_refusal_is_the_answer() -> None:
    async def refuse(context: Context, message: Message, call_next: CallNext) -> Message | None:
        raise Refuse("closed", code=1001)

    shop = Shop(refuse)
    async with pair(shop) as (server, client):
        peer = client.peers[0]
        for asking in (peer.request(Ask(number=1), Answer), anext(peer.stream(Count(parts=1), Answer))):
            with pytest.raises(RemoteFailure, match=r"^closed\b") as caught:
                await asking
            assert caught.value.code == 1001
        receipt: Receipt = await peer.deliver(Note(number=1))
        with pytest.raises(RemoteFailure, match=r"^closed\b"):
            await receipt.delivered()
        assert server.counters.failed == {}
    assert shop.handled == []


async def test_exceptions_pass_through_it_and_are_handlers_failures() -> None:
    caught: list[str] = []

    async def watch(context: Context, message: Message, call_next: CallNext) -> Message | None:
        try:
            return await call_next(message)
        except ZeroDivisionError as error:
            caught.append(str(error))
            raise

    extension, heard = Extension("shop", version="1.0"), []
    extension.middleware(watch)

    @extension.on(Ask)
    async def ask(context: Context, message: Ask) -> Answer:
        raise ZeroDivisionError("ouch")

    @extension.on_error
    async def failed(context: Any, error: BaseException, message: Message | None) -> None:
        heard.append(message)

    async with app_pair(MemoryNetwork())(extension, Shop().extension) as (server, client):
        with pytest.raises(RemoteFailure) as failure:
            await client.peers[0].request(Ask(number=1), Answer)
        assert failure.value.code == Code.INTERNAL
        assert server.counters.failed == {"shop": 1}
        await until(lambda: heard)
    assert caught == ["ouch"]
    assert heard == [Ask(number=1)]


async def test_a_reliable_message_is_one_unit_of_work_with_it() -> None:
    failures = 2

    async def write(context: Context, message: Message, call_next: CallNext) -> Message | None:
        nonlocal failures
        await context.store.set("outer", failures)
        reply = await call_next(message)
        if failures:
            failures -= 1
            raise RuntimeError("not yet")
        return reply

    shop = Shop(write)
    async with pair(shop) as (server, client):
        await (await client.peers[0].deliver(Note(number=7))).delivered()
        store = server.store("shop")
        assert (await store.get("outer"), await store.get("note")) == (0, 7)
    assert shop.handled == [7, 7, 7], "the first two were rolled back"


async def test_it_may_change_the_message_but_not_its_class() -> None:
    async def double(context: Context, message: Message, call_next: CallNext) -> Message | None:
        if isinstance(message, Ask):
            return await call_next(replace(message, number=2 * message.number))
        return await call_next(Ask(number=1))

    shop = Shop(double)
    async with pair(shop) as (server, client):
        peer = client.peers[0]
        assert await peer.request(Ask(number=4), Answer) == Answer(number=8)
        with pytest.raises(RemoteFailure):
            await anext(peer.stream(Count(parts=1), Answer))
        assert server.counters.failed == {"shop": 1}


async def test_the_error_for_another_class_names_the_middleware(caplog: pytest.LogCaptureFixture) -> None:
    async def mistaken(context: Context, message: Message, call_next: CallNext) -> Message | None:
        return await call_next(Answer(number=1))

    async with pair(Shop(mistaken)) as (_, client):
        with pytest.raises(RemoteFailure):
            await client.peers[0].request(Ask(number=4), Answer)
    assert "mistaken: call_next takes Ask here, not Answer" in caplog.text


async def test_a_stream_goes_through_it_as_a_whole() -> None:
    seen: list[object] = []

    async def watch(context: Context, message: Message, call_next: CallNext) -> Message | None:
        seen.append("begin")
        seen.append(await call_next(message))
        return Answer(number=99)

    shop = Shop(watch)
    async with pair(shop) as (_, client):
        parts = [part.number async for part in client.peers[0].stream(Count(parts=40), Answer)]
        await client.peers[0].send(Count(parts=2))
        await until(lambda: len(seen) == 4)
    assert parts == [*range(40), 99], "more than the credit, so it waited for the reader"
    assert seen == ["begin", None, "begin", None]
    assert shop.handled == [40, 2]


async def test_a_stream_that_nobody_reads_any_more_ends_in_it() -> None:
    ended: list[str] = []

    async def watch(context: Context, message: Message, call_next: CallNext) -> Message | None:
        try:
            return await call_next(message)
        finally:
            ended.append("middleware")

    shop = Shop(watch)
    async with pair(shop) as (server, client):
        stream = client.peers[0].stream(Count(parts=1000), Answer, credit=2)
        assert await anext(stream) == Answer(number=0)
        await stream.aclose()
        await until(lambda: ended and shop.handled)
        assert server.counters.failed == {}
    assert shop.handled == [1000]


async def test_a_tracer_sees_what_it_answers() -> None:
    async def replace_reply(context: Context, message: Message, call_next: CallNext) -> Message | None:
        await call_next(message)
        return Answer(number=5)

    tracer = Tracer()
    async with pair(Shop(replace_reply), tracer) as (_, client):
        assert await client.peers[0].request(Ask(number=1), Answer) == Answer(number=5)
    sent = [event.message for event in tracer.events if event.direction == "sent"]
    assert sent == [Answer(number=5)]


class Clock:
    ticks = 0


class Seat:
    """One a connection."""


async def test_what_it_takes_is_provided() -> None:
    shop, taken = Shop(), []

    @shop.extension.provide
    def clock() -> Clock:
        return Clock()

    @shop.extension.provide(scope="peer")
    def seat() -> Seat:
        return Seat()

    @shop.extension.middleware
    async def timing(
        context: Context, message: Message, call_next: CallNext, clock: Clock, *, seat: Seat
    ) -> Message | None:
        taken.append((clock, seat))
        return await call_next(message)

    async with pair(shop) as (_, client):
        for number in range(2):
            await client.peers[0].request(Ask(number=number), Answer)
    assert taken[0] == taken[1]
    assert [type(one) for one in taken[0]] == [Clock, Seat]


class Clocks:
    """A plugin that provides a clock for all, and middleware that takes it."""

    def __init__(self, scope: Any = "app") -> None:
        self.scope = scope
        self.seen: list[tuple[str, object]] = []

    @hookimpl
    def register_providers(self) -> list[Provider]:
        def clock() -> Clock:
            return Clock()

        return [Provider(function=clock, scope=self.scope)]

    @hookimpl
    def register_middleware(self) -> list[Middleware]:
        async def timing(context: Context, message: Message, call_next: CallNext, clock: Clock) -> Message | None:
            self.seen.append((context.extension, clock))
            return await call_next(message)

        return [Middleware(function=timing)]


async def test_what_plugins_middleware_takes_is_provided_too() -> None:
    plugin, shop, other = Clocks(), Shop(), Extension("other", version="1.0")

    @other.on(Answer)
    async def answer(context: Context, message: Answer) -> None: ...

    async with pair(shop, other, plugin) as (_, client):
        await client.peers[0].request(Ask(number=1), Answer)
        await client.peers[0].send(Answer(number=1))
        await until(lambda: len(plugin.seen) == 2)
    assert [name for name, _ in plugin.seen] == ["shop", "other"]
    assert plugin.seen[0][1] is plugin.seen[1][1]


async def test_so_is_what_that_of_one_handler_takes() -> None:
    """Of a plugin that is no extension, which makes its own handlers."""
    taken: list[object] = []

    async def timing(context: Context, message: Message, call_next: CallNext, clock: Clock) -> Message | None:
        taken.append(clock)
        return await call_next(message)

    async def ask(context: Context, message: Ask) -> Answer:
        return Answer(number=message.number)

    class Plugin:
        @hookimpl
        def register_handlers(self) -> list[Handler]:
            return [Handler(message=Ask, function=ask, middleware=(Middleware(function=timing),))]

    client = Extension("client", version="1.0")
    client.register(Ask)
    client.register(Answer)
    async with app_pair(MemoryNetwork())([Plugin(), Clocks()], client) as (_, app):
        assert await app.peers[0].request(Ask(number=3), Answer) == Answer(number=3)
    assert [type(one) for one in taken] == [Clock]


def test_an_even_reply_of_it_needs_a_feature() -> None:
    async def even(context: Context, message: Message, call_next: CallNext) -> Even | None: ...

    text = r"even, middleware: returns Even of even type 0x8c06, .*; extension 'shop' should have a feature bit"
    with pytest.raises(ExtensionError, match=text):
        Application(Shop(even).extension, transport=ScriptedTransport(), store=":memory:")


def test_but_nothing_that_is_a_peers() -> None:
    with pytest.raises(ExtensionError, match=r"what takes it is around the handlers of all extensions$"):
        Application(Shop().extension, Clocks("peer"), transport=ScriptedTransport())


def test_what_is_no_middleware_is_refused_from_a_plugin() -> None:
    class Plugin:
        @hookimpl
        def register_middleware(self) -> list[Any]:
            return [print]

    with pytest.raises(ExtensionError, match=r"register_middleware should return Middleware objects, not "):
        Application(Plugin(), transport=ScriptedTransport())


async def test_handlers_without_any_are_called_themselves() -> None:
    shop = Shop()
    app = Application(shop.extension, transport=ScriptedTransport(), store=":memory:")
    (handler,) = [one for one in shop.extension.register_handlers() if one.message is Ask]
    assert app._tables.incoming[b"\x8c\x01"].handler is handler.function


def test_one_that_hangs_can_be_named() -> None:
    async def slow(context: Context, message: Message, call_next: CallNext) -> Message | None: ...

    app = Application(Shop(slow).extension, transport=ScriptedTransport(), store=":memory:")
    assert owners_of(app.plugins)[slow.__code__] == "middleware of 'shop'"
