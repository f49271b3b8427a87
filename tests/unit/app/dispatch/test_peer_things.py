"""What is provided for a connection: when it is made and closed, and what happens if it cannot be."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from oddwire.app import Application, Context, Extension, Peer, Provider, hookimpl
from oddwire.errors import LocalProtocolError, RemoteFailure
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, message, u64
from oddwire.testing import ScriptedTransport
from oddwire.transports.memory import MemoryNetwork

ALICE, BOB = NodeId("02" + "aa" * 32), NodeId("02" + "bb" * 32)
LOOPS = ("asyncio",)


@message(0x8C01)
class Ask(Message):
    number: u64


@message(0x8C03)
class Answer(Message):
    number: u64


@message(0x8C05)
class Note(Message):
    number: u64


@message(0x8C07)
class Plain(Message):
    number: u64


@message(0x8C09)
class Other(Message):
    number: u64


class Basket:
    """A thing of a peer's."""

    count = 0

    def __init__(self) -> None:
        Basket.count += 1
        self.number = Basket.count


class Wallet:
    """Another, which needs a basket."""


async def idle(turns: int = 50) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


class Shop:
    """An extension with a thing of each peer's, which can be held up and can fail, and what happens in order."""

    def __init__(self, name: str = "shop", reliable: bool = False) -> None:
        self.log: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails: BaseException | None = None
        self.fails_to_close: BaseException | None = None
        self.baskets: weakref.WeakSet[Basket] = weakref.WeakSet()
        self.extension = extension = Extension(name, version="1.0")
        log = self.log

        @extension.provide(scope="peer")
        async def basket(context: Context) -> AsyncIterator[Basket]:
            log.append("making")
            try:
                await self.gate.wait()
                if self.fails is not None:
                    raise self.fails
            except BaseException as error:
                log.append(type(error).__name__)
                raise
            made = Basket()
            self.baskets.add(made)
            log.append("made")
            yield made
            log.append("closed")
            if self.fails_to_close is not None:
                raise self.fails_to_close

        @extension.on_connect
        async def connected(context: Context, basket: Basket) -> None:
            log.append(("connect", str(context.peer)[:4]))

        @extension.on_disconnect
        async def disconnected(context: Context, reason: str, basket: Basket) -> None:
            log.append(("disconnect", str(context.peer)[:4]))

        @extension.on(Ask)
        async def ask(context: Context, request: Ask, basket: Basket) -> Answer:
            log.append(("ask", request.number))
            return Answer(number=basket.number)

        @extension.on(Note, reliable=reliable)
        async def note(context: Context, request: Note, basket: Basket) -> None:
            log.append(("note", request.number, basket.number))

        @extension.on(Plain)
        async def plain(context: Context, request: Plain) -> None:
            log.append(("plain", request.number))


def speaker(name: str = "shop") -> Extension:
    extension = Extension(name, version="1.0")
    for known in (Ask, Answer, Note, Plain):
        extension.register(known)
    return extension


@pytest.fixture(autouse=True)
def count_baskets() -> None:
    Basket.count = 0


class Failures:
    """A plugin that hears of failures."""

    name = "failures"

    def __init__(self) -> None:
        self.found: list[tuple[str, str | None, BaseException]] = []

    @hookimpl
    def handler_failed(self, peer: Peer, extension: str, message: Message | None, error: BaseException) -> None:
        self.found.append((extension, None if message is None else type(message).__name__, error))


async def test_all_kinds_of_messages_wait_until_it_is_made() -> None:
    shop, network = Shop(reliable=True), MemoryNetwork()
    shop.gate.clear()
    async with (
        Application(shop.extension, transport=network.transport(), store=":memory:") as server,
        Application(speaker(), transport=network.transport(), store=":memory:") as client,
    ):
        peer = await client.connect(server.uris[0])
        assert await peer.wait_for_hello()
        await peer.send(Plain(number=1))
        request = asyncio.create_task(peer.request(Ask(number=2), Answer))
        receipt = await peer.deliver(Note(number=3))
        await idle()
        assert shop.log == ["making"]
        shop.gate.set()
        assert (await request).number == 1
        await receipt.delivered()
    me = str(client.node_id)[:4]
    assert shop.log[:3] == ["making", "made", ("connect", me)]
    assert set(shop.log[3:6]) == {("plain", 1), ("ask", 2), ("note", 3, 1)}
    assert shop.log[6:] == [("disconnect", me), "closed"]


async def test_each_peer_has_its_own_until_its_connection_ends() -> None:
    shop, transport = Shop(), ScriptedTransport()
    async with Application(shop.extension, transport=transport, session=False) as app:
        for number, peer in enumerate((ALICE, BOB, ALICE), 1):
            transport.connect_peer(peer)
            transport.receive(peer, app.registry.encode(Note(number=number)))
            await idle()
            if number == 1:
                transport.lose_peer(peer)
                await idle()
        assert [entry for entry in shop.log if entry[0] == "note"] == [("note", 1, 1), ("note", 2, 2), ("note", 3, 3)]
        assert len(shop.baskets) == 2


async def test_a_connection_that_ends_while_it_is_being_made_is_greeted_and_bid_farewell() -> None:
    shop, transport = Shop(), ScriptedTransport()
    shop.gate.clear()
    async with Application(shop.extension, transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        transport.receive(ALICE, app.registry.encode(Note(number=1)))
        await idle()
        transport.lose_peer(ALICE)
        transport.connect_peer(ALICE)
        transport.receive(ALICE, app.registry.encode(Note(number=2)))
        await idle()
        assert shop.log == ["making"]
        shop.gate.set()
        await idle()
        one = ["making", "made", ("connect", "02aa"), ("note", 1, 1), ("disconnect", "02aa"), "closed"]
        assert shop.log == [*one, "making", "made", ("connect", "02aa"), ("note", 2, 2)]


@pytest.mark.parametrize("error", [ValueError("empty"), asyncio.CancelledError(), SystemExit(3)])
async def test_one_that_fails_fails_what_takes_it_and_nothing_else(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    shop, failures, transport = Shop(), Failures(), ScriptedTransport()
    shop.fails = error
    async with Application(shop.extension, failures, transport=transport, session=False) as app:
        encode = app.registry.encode
        transport.connect_peer(ALICE)
        transport.receive(ALICE, encode(Note(number=1)))
        transport.receive(ALICE, encode(Plain(number=2)))
        await idle()
        assert shop.log == ["making", type(error).__name__, ("plain", 2)]
        (hook, handler) = failures.found
        assert hook == ("shop", None, error)
        assert handler[:2] == ("shop", "Note")
        assert type(handler[2]).__mro__[1] is LocalProtocolError
        told = str(handler[2])
        assert told.startswith("Basket is not there, as its provider failed, ")
        assert ".basket (" in told
        assert told.endswith(f" of 'shop': {type(error).__name__}: {error}".removesuffix(": "))
        shop.log.clear()
        transport.lose_peer(ALICE)
        await idle()
        assert shop.log == [], "who was not greeted is bid no farewell"
        assert len(failures.found) == 2

        shop.fails = None
        transport.connect_peer(ALICE)
        transport.receive(ALICE, encode(Note(number=3)))
        await idle()
        assert shop.log == ["making", "made", ("connect", "02aa"), ("note", 3, 1)]


async def test_a_request_fails_and_a_reliable_message_comes_again() -> None:
    shop, network = Shop(reliable=True), MemoryNetwork()
    shop.fails = ValueError("empty")
    async with (
        Application(shop.extension, transport=network.transport(), store=":memory:") as server,
        Application(speaker(), transport=network.transport(), store=":memory:") as client,
    ):
        peer = await client.connect(server.uris[0])
        with pytest.raises(RemoteFailure):
            await peer.request(Ask(number=1), Answer)
        receipt = await peer.deliver(Note(number=2))
        await idle(500)
        assert not [entry for entry in shop.log if entry[0] == "note"]
        shop.fails = None
        await client.disconnect(peer.node_id)
        await client.connect(server.uris[0])
        async with asyncio.timeout(30):
            await receipt.delivered()
        assert ("note", 2, 1) in shop.log
        assert server.counters.declined == {}


async def test_what_was_made_before_one_that_fails_is_closed() -> None:
    shop, transport = Shop(), ScriptedTransport()

    @shop.extension.provide(scope="peer")
    def wallet(basket: Basket) -> Wallet:
        shop.log.append(("wallet", basket.number))
        raise ValueError("no wallet")

    async with Application(shop.extension, transport=transport, session=False) as app:
        logging.disable(logging.CRITICAL)  # what is captured keeps tracebacks, and they what was made
        try:
            transport.connect_peer(ALICE)
            transport.receive(ALICE, app.registry.encode(Plain(number=1)))
            await idle()
        finally:
            logging.disable(logging.NOTSET)
        assert shop.log == ["making", "made", ("wallet", 1), "closed", ("plain", 1)]
        assert not shop.baskets


async def test_one_that_fails_to_close_is_told_and_the_rest_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    shop, failures, transport = Shop(), Failures(), ScriptedTransport()

    @shop.extension.provide(scope="peer")
    def wallet(basket: Basket) -> Iterator[Wallet]:
        yield Wallet()
        shop.log.append("wallet closed")
        raise KeyError("wallet")

    shop.fails_to_close = ValueError("stays open")
    async with Application(shop.extension, failures, transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        await idle()
        transport.lose_peer(ALICE)
        await idle()
        assert shop.log[-3:] == [("disconnect", "02aa"), "wallet closed", "closed"]
        assert [(extension, type(error)) for extension, _, error in failures.found] == [
            ("shop", KeyError),
            ("shop", ValueError),
        ]
        assert app.counters.failed == {"shop": 2}
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert [text.partition(" (")[0].rpartition(".")[::2] for text in told] == [
            (f"closing of provider {__name__}.{where}", name)
            for where, name in (
                ("test_one_that_fails_to_close_is_told_and_the_rest_is_closed.<locals>", "wallet"),
                ("Shop.__init__.<locals>", "basket"),
            )
        ]
        shop.log.clear()
        transport.connect_peer(ALICE)
        await idle()
        assert shop.log == ["making", "made", ("connect", "02aa")]


async def test_a_hook_that_fails_has_it_closed_all_the_same() -> None:
    extension, log = Extension("shop", version="1.0"), []

    @extension.provide(scope="peer")
    def basket() -> Iterator[Basket]:
        yield Basket()
        log.append("closed")

    @extension.on_connect
    async def connected(context: Context, basket: Basket) -> None:
        raise ValueError("no greeting")

    @extension.on_disconnect
    async def disconnected(context: Context, reason: str) -> None:
        raise ValueError("no farewell")

    @extension.on(Note)
    async def note(context: Context, request: Note, basket: Basket) -> None:
        log.append(request.number)

    transport = ScriptedTransport()
    async with Application(extension, transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        transport.receive(ALICE, app.registry.encode(Note(number=1)))
        await idle()
        transport.lose_peer(ALICE)
        await idle()
        assert log == [1, "closed"]


@pytest.mark.parametrize("grace", [0.0, 0.05])
async def test_closing_while_one_is_being_made_ends_that(grace: float) -> None:
    shop, transport = Shop(), ScriptedTransport()
    shop.gate.clear()
    async with Application(shop.extension, transport=transport, session=False, grace=grace):
        transport.connect_peer(ALICE)
        await idle()
    assert shop.log == ["making", "CancelledError"]


@pytest.mark.parametrize("grace", [0.0, 0.05])
async def test_closing_closes_it_though_a_farewell_hangs(grace: float) -> None:
    shop, transport = Shop(), ScriptedTransport()

    @shop.extension.on_disconnect
    async def hang(context: Context, reason: str) -> None:
        shop.log.append("hangs")
        await asyncio.Event().wait()

    async with Application(shop.extension, transport=transport, session=False, grace=grace):
        transport.connect_peer(ALICE)
        await idle()
    assert shop.log[-1] == "closed"
    assert shop.log.count("closed") == 1


@pytest.mark.asyncio(loop_factories=["jumping"])
async def test_closing_does_not_wait_for_ever_for_what_hangs_in_closing_too(caplog: pytest.LogCaptureFixture) -> None:
    extension, log, transport = Extension("shop", version="1.0"), [], ScriptedTransport()

    @extension.provide(scope="peer")
    async def wallet() -> AsyncIterator[Wallet]:
        yield Wallet()
        log.append("wallet closed")

    @extension.provide(scope="peer")
    async def basket(wallet: Wallet) -> AsyncIterator[Basket]:
        yield Basket()
        log.append("closing")
        await asyncio.Event().wait()

    @extension.on_disconnect
    async def hang(context: Context, reason: str) -> None:
        await asyncio.Event().wait()

    async with Application(extension, transport=transport, session=False, grace=0.0):
        transport.connect_peer(ALICE)
        await idle()
    assert log == ["closing", "wallet closed"]
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    (text,) = [text for text in told if text.startswith("closing of provider ")]
    assert ".basket (" in text
    assert text.partition(") of ")[2].startswith(f"'shop', for {ALICE}, is cancelled: its time has expired")


@pytest.mark.asyncio(loop_factories=["jumping"])
@pytest.mark.parametrize("ending", ["hangs", "swallows", "is cancelled"])
async def test_what_hangs_in_closing_for_many_is_waited_for_once(ending: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each of the connections ends as the application does, while its provider's making is cancelled late."""
    extension, log, transport = Extension("shop", version="1.0"), [], ScriptedTransport()

    @extension.provide(scope="peer")
    async def wallet() -> AsyncIterator[Wallet]:
        yield Wallet()
        log.append("closing")
        end = asyncio.get_running_loop().time() + 100
        while (left := end - asyncio.get_running_loop().time()) > 0:
            try:
                await asyncio.sleep(left)
            except asyncio.CancelledError:
                if ending != "swallows":
                    raise

    @extension.provide(scope="peer")
    async def basket(wallet: Wallet) -> Basket:
        return Basket()

    @extension.on_connect
    async def hang(context: Context, basket: Basket) -> None:
        await asyncio.Event().wait()

    app = Application(extension, transport=transport, session=False, grace=0.0)
    await app.start()
    peers = [NodeId("02" + f"{number:02x}" * 32) for number in range(30)]
    for peer in peers:
        transport.connect_peer(peer)
    await idle()
    began = asyncio.get_running_loop().time()
    if ending == "is cancelled":
        task = asyncio.create_task(app.aclose())
        while "closing" not in log:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        await app.aclose()
    assert asyncio.get_running_loop().time() - began < 10
    assert log == ["closing"] * 30


async def swallow(seconds: float) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while (left := end - asyncio.get_running_loop().time()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(left)


@pytest.mark.asyncio(loop_factories=["jumping"])
@pytest.mark.parametrize("ending", ["hangs", "swallows", "is cancelled"])
async def test_what_farewells_that_do_not_end_leave_open_is_closed_for_all_at_once(
    ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    extension, log, transport = Extension("shop", version="1.0"), [], ScriptedTransport()

    @extension.provide(per_peer=True)
    async def basket() -> AsyncIterator[Basket]:
        yield Basket()
        log.append("closing")
        await (swallow(100) if ending == "swallows" else asyncio.sleep(100))

    @extension.on_disconnect
    async def hang(context: Context, reason: str) -> None:
        await swallow(1000)

    app = Application(extension, transport=transport, session=False, grace=0.0)
    await app.start()
    peers = [NodeId("02" + f"{number:02x}" * 32) for number in range(30)]
    for peer in peers:
        transport.connect_peer(peer)
    await idle()
    began = asyncio.get_running_loop().time()
    task = asyncio.create_task(app.aclose())
    while "closing" not in log:
        await asyncio.sleep(0.01)
    if ending == "is cancelled":
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await asyncio.wait([task])
    assert asyncio.get_running_loop().time() - began < 10
    assert log == ["closing"] * 30
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    for peer in peers:
        (text,) = [text for text in told if text.startswith("closing of provider ") and str(peer) in text]
        assert f" of 'shop', for {peer}, is cancelled: its time has expired; it waits at {__file__}:" in text
    assert sum("swallow at" in text for text in told) == (60 if ending == "swallows" else 30)


@pytest.mark.asyncio(loop_factories=["jumping"])
async def test_a_provider_that_hangs_is_named(caplog: pytest.LogCaptureFixture) -> None:
    shop, transport = Shop(), ScriptedTransport()
    shop.gate.clear()
    async with Application(shop.extension, transport=transport, session=False, grace=0.0):
        transport.connect_peer(ALICE)
        await asyncio.sleep(15)
        (told,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert told.startswith("provider ")
        assert ".basket (" in told
        assert f" of 'shop' with {ALICE} has not ended after 10 s: what this peer sends it waits for it" in told


async def test_what_the_peer_asks_while_its_provider_asks_the_peer_is_refused_and_not_waited_for() -> None:
    """Each would wait for the other for ever."""
    done: asyncio.Queue[str] = asyncio.Queue()

    def both(fails: type[Exception] | None) -> Extension:
        extension = Extension("shop", version="1.0")

        @extension.provide(scope="peer")
        async def basket(context: Context) -> Basket:
            try:
                await context.peer.request(Ask(number=1), Answer, timeout=None)
            except RemoteFailure:
                done.put_nowait("refused")
            return Basket()

        @extension.on(Ask)
        async def ask(context: Context, request: Ask, basket: Basket) -> Answer:
            return Answer(number=1)

        return extension

    network = MemoryNetwork()
    async with (
        Application(both(None), transport=network.transport()) as server,
        Application(both(None), transport=network.transport()) as client,
    ):
        peer = await client.connect(server.uris[0])
        async with asyncio.timeout(30):
            assert await done.get() == "refused"
            assert (await peer.request(Ask(number=2), Answer)).number == 1


# Of a plugin, for all extensions ---------------------------------------------------------------------


class Shared:
    """A plugin that provides a basket for all."""

    name = "shared"

    def __init__(self, log: list[Any], fails: bool = False) -> None:
        self._log = log
        self._fails = fails

    @hookimpl
    def register_providers(self) -> Iterable[Provider]:
        async def basket(context: Context) -> AsyncIterator[Basket]:
            await asyncio.sleep(0)
            if self._fails:
                raise ValueError("empty")
            made = Basket()
            self._log.append(("made", made.number, context.extension))
            yield made
            self._log.append(("closed", made.number))

        return [Provider(function=basket, scope="peer")]


def taker(name: str, log: list[Any], kind: type[Message], leaving: Callable[[], Any] | None = None) -> Extension:
    extension = Extension(name, version="1.0")

    @extension.on_connect
    async def connected(context: Context, basket: Basket) -> None:
        log.append((name, basket.number))

    @extension.on_disconnect
    async def disconnected(context: Context, reason: str, basket: Basket) -> None:
        if leaving is not None:
            await leaving()
        log.append((name, "left", basket.number))

    @extension.on(kind)
    async def take(context: Context, taken: Message, basket: Basket) -> None:
        log.append((name, "took", basket.number))

    return extension


async def test_a_plugins_thing_is_one_for_all_extensions_and_closed_after_the_last_has_left() -> None:
    log: list[Any] = []
    gate = asyncio.Event()
    one, two = taker("one", log, Note), taker("two", log, Other, gate.wait)
    transport = ScriptedTransport()
    async with Application(one, two, Shared(log), transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        for sent in (Note(number=1), Other(number=2)):
            transport.receive(ALICE, app.registry.encode(sent))
        await idle()
        assert log[0] == ("made", 1, "shared")
        assert len(log) == 5
        assert set(log[1:]) == {("one", 1), ("one", "took", 1), ("two", 1), ("two", "took", 1)}
        log.clear()
        transport.lose_peer(ALICE)
        transport.connect_peer(ALICE)
        await idle()
        assert log == [("one", "left", 1), ("made", 2, "shared"), ("one", 2)], "two has not left the first connection"
        gate.set()
        await idle()
        assert log[3:] == [("two", "left", 1), ("closed", 1), ("two", 2)]


async def test_a_plugins_thing_that_fails_fails_all_who_take_it() -> None:
    log: list[Any] = []
    failures, transport = Failures(), ScriptedTransport()
    extensions = (taker("one", log, Note), taker("two", log, Other), Extension("three", version="1.0"))
    async with Application(*extensions, Shared(log, fails=True), failures, transport=transport, session=False) as app:
        transport.connect_peer(ALICE)
        for sent in (Note(number=1), Other(number=2)):
            transport.receive(ALICE, app.registry.encode(sent))
        await idle()
        transport.lose_peer(ALICE)
        await idle()
        assert log == []
        assert {(extension, kind) for extension, kind, _ in failures.found} == {
            ("shared", None),
            ("one", None),
            ("two", None),
            ("one", "Note"),
            ("two", "Other"),
        }
        assert sum(type(error) is ValueError for _, _, error in failures.found) == 1


async def test_a_plugins_thing_is_made_though_nobody_takes_it_and_nothing_waits_for_that() -> None:
    log: list[Any] = []
    transport = ScriptedTransport()
    async with Application(Shared(log), transport=transport, session=False):
        transport.connect_peer(ALICE)
        await idle()
        assert log == [("made", 1, "shared")]
        transport.lose_peer(ALICE)
        await idle()
        assert log == [("made", 1, "shared"), ("closed", 1)]


async def test_nothing_is_kept_after_the_connection() -> None:
    shop, transport = Shop(), ScriptedTransport()
    async with Application(shop.extension, transport=transport, session=False) as app:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                transport.connect_peer(ALICE)
                transport.receive(ALICE, app.registry.encode(Note(number=1)))
                await idle()
                assert len(shop.baskets) == 1
                transport.lose_peer(ALICE)
                await idle()
                assert len(shop.baskets) == 0
        finally:
            gc.enable()


# Beside messages -------------------------------------------------------------------------------------


async def test_jobs_of_a_connection_take_its_things_and_are_not_begun_without_them() -> None:
    shop, transport = Shop(), ScriptedTransport()

    @shop.extension.task(per_peer=True, restart=False)
    async def once(context: Context, basket: Basket) -> None:
        shop.log.append(("task", basket.number))

    @shop.extension.every(3600, per_peer=True, at_start=True)
    async def often(context: Context, basket: Basket) -> None:
        shop.log.append(("every", basket.number))

    shop.fails = ValueError("empty")
    async with Application(shop.extension, transport=transport, session=False):
        transport.connect_peer(ALICE)
        await idle()
        transport.lose_peer(ALICE)
        await idle()
        assert shop.log == ["making", "ValueError"]
        shop.fails = None
        shop.log.clear()
        transport.connect_peer(ALICE)
        await idle()
        assert shop.log[:3] == ["making", "made", ("connect", "02aa")]
        assert sorted(shop.log[3:]) == [("every", 1), ("task", 1)]
        transport.lose_peer(ALICE)
        await idle()
        assert shop.log[5:] == [("disconnect", "02aa"), "closed"]
