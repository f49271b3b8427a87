"""Who takes what from whom: what is refused at load, how calls are made, and what lives as long as the application."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, NewType

import pytest

from oddwire import AppContext, Application, Context, Extension, Message, OddwireError, message
from oddwire.app import PluginManager, Provider, hookimpl
from oddwire.app.plugins.injection import Injector
from oddwire.app.plugins.loaded_plugins import LoadedPlugins
from oddwire.errors import ExtensionError, LocalProtocolError, RemoteFailure
from oddwire.transports.memory import MemoryNetwork, MemoryTransport

Price = NewType("Price", int)
PRICES = {"a": 1}


class Database:
    """A thing of the application's."""


class MemoryDatabase(Database): ...


class Basket:
    """A thing of a peer's."""


@message(0x8C01)
class Ask(Message):
    text: str = ""


@message(0x8C03)
class Answer(Message):
    text: str


@message(0x8C05)
class Note(Message):
    text: str = ""


def database() -> Database:
    return Database()


def other_database() -> Database:
    return Database()


def load(*plugins: object, provide: dict[Any, Any] | None = None) -> LoadedPlugins:
    manager = PluginManager()
    for plugin in plugins:
        manager.register(plugin)
    return LoadedPlugins(manager, provide=provide)


def line_of(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__} ({__file__}:{function.__code__.co_firstlineno})"


class Shared:
    """A plugin that is no extension: what it provides is for all."""

    def __init__(self, *functions: Callable[..., Any], name: str = "shared", scope: Any = "app") -> None:
        self.name = name
        self._functions = functions
        self._scope = scope

    @hookimpl
    def register_providers(self) -> Iterable[Provider]:
        return [Provider(function=function, scope=self._scope) for function in self._functions]


# What is refused -------------------------------------------------------------------------------------


def test_what_nobody_provides_is_refused_with_what_is_near() -> None:
    shop = Extension("shop", version="1.0")

    @shop.on(Ask)
    async def ask(context: Context, request: Ask, database: Database) -> None: ...

    handler = f"handler of Ask 0x8c01 of 'shop', {line_of(ask)}"
    start = f"{handler}: parameter 'database' takes Database, which no provider returns"

    def refusal(*plugins: object) -> str:
        with pytest.raises(ExtensionError) as caught:
            load(shop, *plugins)
        assert str(caught.value).startswith(start)
        return str(caught.value).removeprefix(start)

    assert refusal() == ": declare a provider with @extension.provide"

    def prices() -> Price:
        return Price(7)

    assert refusal(Shared(prices)) == "; provided are: Price"

    def in_memory() -> MemoryDatabase:
        return MemoryDatabase()

    made = f"{line_of(in_memory)} of 'shared'"
    assert refusal(Shared(in_memory)) == f"; {made} provides MemoryDatabase, which is one: '-> Database' would say so"

    other = Extension("other", version="1.0")
    other.provide(database)
    made = f"{line_of(database)} of 'other'"
    assert refusal(other) == (f"; {made} does, for its own extension alone: a plugin's register_providers does for all")

    def namesake() -> Any: ...

    namesake.__annotations__["return"] = type("Database", (), {"__module__": "elsewhere"})
    made = f"{line_of(namesake)} of 'shared'"
    assert refusal(Shared(namesake)) == f"; {made} provides Database of elsewhere and not that of {__name__}"

    def near() -> Any: ...

    near.__annotations__["return"] = type("Databases", (), {})
    assert refusal(Shared(near)) == f"; {line_of(near)} of 'shared' provides Databases"


def test_two_that_provide_one_type_are_refused() -> None:
    shop = Extension("shop", version="1.0")
    shop.provide(database)
    shop.provide(other_database)
    with pytest.raises(ExtensionError) as caught:
        load(shop)
    assert str(caught.value) == (
        f"Database is provided by {line_of(database)} of 'shop' and by {line_of(other_database)} of 'shop'; it should "
        "be by one of them, or each should have a type of its own, as NewType makes them"
    )
    with pytest.raises(ExtensionError, match=r"database \(.*\) of 'a' and by .*other_database \(.*\) of 'b'"):
        load(Shared(database, name="a"), Shared(other_database, name="b"))


def test_two_extensions_may_each_provide_one_type_and_their_own_comes_first() -> None:
    one, two = Extension("one", version="1.0"), Extension("two", version="1.0")
    one.provide(database)
    two.provide(other_database)
    injector = load(one, two, Shared(database)).tables.injector
    assert injector is not None


def test_a_cycle_is_refused_with_all_who_are_in_it() -> None:
    shop = Extension("shop", version="1.0")

    @shop.provide
    def database(basket: Basket) -> Database: ...

    @shop.provide
    def basket(price: Price) -> Basket: ...

    @shop.provide
    def price(context: AppContext, database: Database) -> Price: ...

    with pytest.raises(ExtensionError) as caught:
        load(shop)
    assert str(caught.value) == (
        f"providers depend on each other in a circle: Database of {line_of(database)} of 'shop', which takes Basket of "
        f"{line_of(basket)} of 'shop', which takes Price of {line_of(price)} of 'shop', which takes Database"
    )


def basket_shop() -> tuple[Extension, Callable[..., Any]]:
    shop = Extension("shop", version="1.0")

    @shop.provide(scope="peer")
    def basket(context: Context) -> Basket:
        return Basket()

    return shop, basket


@pytest.mark.parametrize("hook", ["on_startup", "on_shutdown"])
def test_a_thing_of_a_peers_is_refused_where_there_is_no_peer(hook: str) -> None:
    shop, basket = basket_shop()

    @getattr(shop, hook)  # type: ignore[untyped-decorator]
    async def run(context: AppContext, basket: Basket) -> None: ...

    with pytest.raises(ExtensionError) as caught:
        load(shop)
    assert str(caught.value) == (
        f"{hook} of 'shop', {line_of(run)}: parameter 'basket' takes Basket, which {line_of(basket)} of 'shop' "
        "provides for each peer, and what takes it has no peer"
    )


def test_it_is_refused_in_rpc_methods_lost_messages_and_the_applications_providers() -> None:
    shop, _ = basket_shop()

    @shop.rpc("shop-basket")
    async def show(context: AppContext, basket: Basket) -> None: ...

    with pytest.raises(ExtensionError, match=r"RPC method 'shop-basket' of 'shop', .*what takes it has no peer"):
        load(shop)

    shop, _ = basket_shop()

    @shop.on_undelivered
    async def lost(context: Context, message: Message | None, error: OddwireError, basket: Basket) -> None: ...

    with pytest.raises(ExtensionError, match=r"on_undelivered of 'shop', .*what takes it has no peer"):
        load(shop)

    shop, _ = basket_shop()

    @shop.provide
    def database(basket: Basket) -> Database: ...

    with pytest.raises(ExtensionError, match=r"provider of 'shop', .*what takes it lives as long as the application"):
        load(shop)


def test_what_is_there_anyway_is_refused_with_where() -> None:
    shop = Extension("shop", version="1.0")

    @shop.on(Ask)
    async def ask(context: Context, request: Ask, app: Application) -> None: ...

    with pytest.raises(ExtensionError, match=r"parameter 'app' takes Application: it is there anyway, as context\.app"):
        load(shop)

    shop = Extension("shop", version="1.0")

    @shop.on_connect
    async def connected(context: Context, request: Ask) -> None: ...

    with pytest.raises(ExtensionError, match=r"on_connect of 'shop', .* takes Ask: messages come to the handlers of"):
        load(shop)


def test_a_given_type_that_nobody_wants_is_refused() -> None:
    shop = Extension("shop", version="1.0")

    @shop.on_startup
    async def begin(context: AppContext, database: Database) -> None: ...

    with pytest.raises(ExtensionError) as caught:
        load(shop, provide={Database: Database(), MemoryDatabase: 7})
    assert str(caught.value) == (
        "provide has MemoryDatabase, which no loaded extension takes or provides; they take: Database"
    )
    with pytest.raises(ExtensionError, match="provide has int: int says too little to be found by"):
        load(shop, provide={int: 7})
    with pytest.raises(ExtensionError, match="they take: nothing"):
        load(Extension("idle", version="1.0"), provide={Database: 7})
    transport = MemoryTransport()
    with pytest.raises(
        ExtensionError, match=re.escape("provide should be a mapping of types to values, {Database: dat")
    ):
        Application(shop, transport=transport, provide=Database())  # type: ignore[arg-type]
    with pytest.raises(ExtensionError, match="give none beside it"):
        Application(transport=transport, assembly=load(), provide={Database: 7})


def test_a_plugin_that_hands_over_something_else_is_refused() -> None:
    class Wrong:
        name = "wrong"

        @hookimpl
        def register_providers(self) -> Any:
            return [database]

    with pytest.raises(
        ExtensionError, match="plugin 'wrong': register_providers should return Provider objects, not <func"
    ):
        load(Wrong())


# How it is called ------------------------------------------------------------------------------------


def test_where_nothing_is_taken_the_function_itself_is_called() -> None:
    shop = Extension("shop", version="1.0")

    @shop.on(Ask)
    async def ask(context: Context, request: Ask) -> None: ...

    @shop.on(Answer)
    async def answer(context: Context, request: Answer, database: Database) -> None: ...

    alone = load(Extension("idle", version="1.0"))
    assert alone.tables.injector is None

    loaded = load(shop, Shared(database))
    routes = {route.handler for route in loaded.tables.incoming.values()}
    assert ask in routes
    assert answer not in routes
    assert loaded.tables.bound("shop", ask, 2) is ask


def test_it_is_not_there_before_the_start() -> None:
    shop = Extension("shop", version="1.0")

    @shop.on(Ask)
    async def ask(context: Context, request: Ask, database: Database) -> None: ...

    loaded = load(shop, Shared(database))
    with pytest.raises(LocalProtocolError, match=r"what is provided is made when the application starts"):
        loaded.tables.bound("shop", ask, 2)(None, None)


async def test_everything_that_an_extension_declares_takes_things() -> None:
    shop, log = Extension("shop", version="1.0"), []

    @shop.provide
    async def database(context: AppContext) -> AsyncIterator[Database]:
        log.append(("database", context.extension))
        yield Database()
        log.append("database closed")

    @shop.provide(scope="peer")
    async def basket(context: Context, database: Database, price: Price = Price(7)) -> AsyncIterator[Basket]:
        log.append(("basket", str(context.peer)[:2], type(database).__name__, price))
        yield Basket()
        log.append("basket closed")

    @shop.on_startup
    async def begin(context: AppContext, database: Database) -> None:
        log.append(("startup", type(database).__name__))

    @shop.on_shutdown
    async def end(context: AppContext, *, database: Database) -> None:
        log.append(("shutdown", type(database).__name__))

    @shop.on_connect
    async def connected(context: Context, basket: Basket, database: Database) -> None:
        log.append(("connect", type(basket).__name__, type(database).__name__))

    @shop.on_disconnect
    async def disconnected(context: Context, reason: str, basket: Basket) -> None:
        log.append(("disconnect", type(basket).__name__))

    @shop.on(Ask)
    async def ask(context: Context, request: Ask, database: Database, *, basket: Basket) -> Answer:
        return Answer(text=f"{type(database).__name__} {type(basket).__name__}")

    @shop.on(Note)
    async def note(context: Context, request: Note, basket: Basket) -> AsyncIterator[Answer]:
        yield Answer(text=type(basket).__name__)
        yield Answer(text=request.text)

    @shop.rpc("shop-count")
    async def count(context: AppContext, first: int, database: Database, second: int = 2) -> list[Any]:
        return [first, second, type(database).__name__]

    speaker = Extension("shop", version="1.0")
    for known in (Ask, Answer, Note):
        speaker.register(known)
    network = MemoryNetwork()
    async with (
        Application(shop, transport=network.transport()) as server,
        Application(speaker, transport=network.transport()) as client,
    ):
        peer = await client.connect(server.uris[0])
        assert (await peer.request(Ask(), Answer)).text == "Database Basket"
        assert [part.text async for part in peer.stream(Note(text="x"), Answer)] == ["Basket", "x"]
        assert await server.call("shop-count", 1) == [1, 2, "Database"]
        assert await server.call("shop-count", 1, second="3") == [1, 3, "Database"]
        assert server.rpc_methods["shop-count"].usage == "first [second]"
        (host,) = server.manifest.rpc_methods
        assert host.usage == "first [second]"
        with pytest.raises(OddwireError, match=r"unknown parameter database|database"):
            await server.call("shop-count", 1, database="x")
    assert log == [
        ("database", "shop"),
        ("startup", "Database"),
        ("basket", str(client.node_id)[:2], "Database", 7),
        ("connect", "Basket", "Database"),
        ("disconnect", "Basket"),
        "basket closed",
        ("shutdown", "Database"),
        "database closed",
    ]


async def test_reliable_concurrent_and_guarded_handlers_take_things() -> None:
    shop, log = Extension("shop", version="1.0", allow=lambda peer: True), asyncio.Queue[str]()
    shop.provide(database)
    shop.provide(scope="peer")(lambda_basket)

    @shop.on(Ask, reliable=True)
    async def ask(context: Context, request: Ask, database: Database, basket: Basket) -> None:
        await context.store.set("text", request.text)
        log.put_nowait(f"ask {request.text} {type(basket).__name__}")

    @shop.on(Note, concurrent=True)
    async def note(context: Context, request: Note, basket: Basket) -> None:
        log.put_nowait(f"note {request.text} {type(basket).__name__}")

    speaker = Extension("shop", version="1.0")
    speaker.register(Ask)
    speaker.register(Note)
    network = MemoryNetwork()
    async with (
        Application(shop, transport=network.transport(), store=":memory:") as server,
        Application(speaker, transport=network.transport(), store=":memory:") as client,
    ):
        peer = await client.connect(server.uris[0])
        await (await peer.deliver(Ask(text="a"))).delivered()
        await peer.send(Note(text="b"))
        await peer.send(Ask(text="c"))
        assert sorted([await log.get() for _ in range(3)]) == ["ask a Basket", "ask c Basket", "note b Basket"]


def lambda_basket() -> Basket:
    return Basket()


async def test_what_a_plugin_provides_is_for_all_and_an_extensions_own_comes_first() -> None:
    found: dict[str, Database] = {}
    shared = Database()

    def share() -> Database:
        return shared

    def extension(name: str) -> Extension:
        one = Extension(name, version="1.0")

        @one.on_startup
        async def begin(context: AppContext, database: Database) -> None:
            found[name] = database

        return one

    one, two = extension("one"), extension("two")
    two.provide(database)
    async with Application(one, two, Shared(share), transport=MemoryTransport()):
        pass
    assert found["one"] is shared
    assert found["two"] is not shared


async def test_a_default_is_used_where_nobody_provides_the_type() -> None:
    found: list[Any] = []

    def extension() -> Extension:
        shop = Extension("shop", version="1.0")

        @shop.on_startup
        async def begin(
            context: AppContext, database: Database | None = None, number: int = 7, prices: dict[str, int] = PRICES
        ) -> None:
            found.append((database, number, prices))

        return shop

    async with Application(extension(), transport=MemoryTransport()):
        pass
    shared = Database()
    async with Application(
        extension(), transport=MemoryTransport(), provide={Database: shared, dict[str, int]: {"b": 2}}
    ):
        pass
    assert found == [(None, 7, PRICES), (shared, 7, {"b": 2})]


async def test_each_application_has_its_own_and_both_ends_of_a_test_too() -> None:
    found: list[Database] = []
    shop = Extension("shop", version="1.0")
    shop.provide(database)

    @shop.on_startup
    async def begin(context: AppContext, database: Database) -> None:
        found.append(database)

    network = MemoryNetwork()
    async with Application(shop, transport=network.transport()), Application(shop, transport=network.transport()):
        assert found[0] is not found[1]


# In the order of need --------------------------------------------------------------------------------


def chain(log: list[str], fail: str = "", fail_to_close: tuple[str, ...] = ()) -> Extension:
    """An extension of three things, declared in the wrong order, and hooks."""
    shop = Extension("shop", version="1.0")

    def made(name: str) -> None:
        log.append(name)
        if fail == name:
            raise ValueError(f"{name} is broken")

    def closed(name: str) -> None:
        log.append(f"{name} closed")
        if name in fail_to_close:
            raise ValueError(f"{name} stays open")

    @shop.provide
    def basket(price: Price) -> Iterator[Basket]:
        made("basket")
        yield Basket()
        closed("basket")

    @shop.provide
    async def price(context: AppContext, database: Database) -> AsyncIterator[Price]:
        made("price")
        yield Price(7)
        closed("price")

    @shop.provide
    def database() -> Iterator[Database]:
        made("database")
        yield Database()
        closed("database")

    @shop.on_startup
    async def begin(context: AppContext) -> None:
        made("startup")

    @shop.on_shutdown
    async def end(context: AppContext) -> None:
        closed("startup")

    return shop


async def test_what_is_needed_is_made_first_and_closed_last() -> None:
    log: list[str] = []
    async with Application(chain(log), transport=MemoryTransport()):
        assert log == ["database", "price", "basket", "startup"]
        log.clear()
    assert log == ["startup closed", "basket closed", "price closed", "database closed"]


@pytest.mark.parametrize(
    ("fail", "happened"),
    [
        ("database", ["database"]),
        ("price", ["database", "price", "database closed"]),
        ("basket", ["database", "price", "basket", "price closed", "database closed"]),
        (
            "startup",
            ["database", "price", "basket", "startup", "basket closed", "price closed", "database closed"],
        ),
    ],
)
async def test_one_that_raises_stops_the_start(fail: str, happened: list[str]) -> None:
    log: list[str] = []
    with pytest.raises(ValueError, match=f"{fail} is broken"):
        await Application(chain(log, fail), transport=MemoryTransport()).start()
    assert log == happened


async def test_each_is_closed_whatever_another_raises(caplog: pytest.LogCaptureFixture) -> None:
    log: list[str] = []
    app = Application(chain(log, fail_to_close=("basket", "database")), transport=MemoryTransport())
    await app.start()
    log.clear()
    with pytest.raises(ValueError, match="basket stays open"):
        await app.aclose()
    assert log == ["startup closed", "basket closed", "price closed", "database closed"]
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [text.partition(" (")[0].rpartition(".")[2] for text in told] == ["basket", "database"]
    assert all(text.startswith("closing of provider ") for text in told)
    assert app.counters.failed == {"shop": 2}


async def test_a_start_that_is_cancelled_closes_what_was_made() -> None:
    log, begun = [], asyncio.Event()
    shop = Extension("shop", version="1.0")

    @shop.provide
    def database() -> Iterator[Database]:
        yield Database()
        log.append("database closed")

    @shop.provide
    async def basket(database: Database) -> AsyncIterator[Basket]:
        begun.set()
        try:
            await asyncio.Event().wait()
            yield Basket()
        finally:
            log.append("basket given up")

    starting = asyncio.create_task(Application(shop, transport=MemoryTransport()).start())
    await begun.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert log == ["basket given up", "database closed"]


async def test_a_provider_has_the_store_and_the_options() -> None:
    shop, found = Extension("shop", version="1.0"), []

    @shop.option("shop-file")
    def file(value: str = "a") -> str:
        return value

    @shop.provide
    async def database(context: AppContext) -> AsyncIterator[Database]:
        await context.store.set("opened", 1)
        found.append(context.options["shop-file"])
        yield Database()
        found.append(await context.store.get("opened"))

    async with Application(shop, transport=MemoryTransport(), store=":memory:", options={"shop-file": "b"}):
        pass
    assert found == ["b", 1]


# In tests --------------------------------------------------------------------------------------------


async def test_what_is_given_is_used_as_it_is_and_no_provider_called(run_app: Any, app_pair: Any) -> None:
    def never() -> Database:
        raise AssertionError("it should not be called")

    def server() -> Extension:
        shop = Extension("shop", version="1.0")
        shop.provide(never)

        @shop.provide
        def basket(database: Database) -> Basket:
            assert database is fake
            return Basket()

        @shop.on(Ask)
        async def ask(context: Context, request: Ask, database: Database) -> Answer:
            return Answer(text=str(database is fake))

        @shop.rpc("shop-is")
        async def is_fake(context: AppContext, database: Database) -> bool:
            return database is fake

        return shop

    fake: Any = object()
    async with run_app(server(), provide={Database: fake}) as app:
        assert await app.call("shop-is")
    async with app_pair(server(), provide={Database: fake}) as (_, right):
        assert (await right.peers[0].request(Ask(), Answer)).text == "True"
    speaker = Extension("shop", version="1.0")
    speaker.register(Ask)
    speaker.register(Answer)
    async with app_pair(server(), speaker, provide={Database: fake}) as (_, right):
        assert (await right.peers[0].request(Ask(), Answer)).text == "True"
    with pytest.raises(ExtensionError, match="provide has MemoryDatabase, which no loaded extension takes"):
        async with app_pair(server(), speaker, provide={Database: fake, MemoryDatabase: fake}):
            pass


async def test_what_a_provider_takes_that_is_not_called_need_not_be_there(run_app: Any) -> None:
    shop = Extension("shop", version="1.0")

    @shop.provide
    def database(price: Price) -> Database:
        raise AssertionError("it should not be called")

    fake = Database()
    with pytest.raises(ExtensionError, match="parameter 'price' takes Price, which no provider returns"):
        load(shop)
    async with run_app(shop, provide={Database: fake}):
        pass
    async with run_app(shop, provide={Database: fake, Price: 7}):
        pass


async def test_a_fake_stands_for_a_peers_thing_as_well(app_pair: Any) -> None:
    shop, _ = basket_shop()
    fake = Basket()

    @shop.on(Ask)
    async def ask(context: Context, request: Ask, basket: Basket) -> Answer:
        return Answer(text=str(basket is fake))

    async with app_pair(shop, provide={Basket: fake}) as (_, right):
        assert (await right.peers[0].request(Ask(), Answer)).text == "True"


def test_an_rpc_method_whose_usage_was_given_keeps_it() -> None:
    shop = Extension("shop", version="1.0")
    shop.provide(database)

    @shop.rpc("shop-x", usage="[what you like]")
    async def method(context: AppContext, database: Database, what: str = "") -> None: ...

    loaded = load(shop)
    (host,) = loaded.manifest.rpc_methods
    assert host.usage == "[what you like]"
    host.check(["x"])
    with pytest.raises(OddwireError):
        host.check(["x", "y"])


def test_a_method_that_takes_what_nobody_provides_says_so() -> None:
    shop = Extension("shop", version="1.0")

    @shop.rpc("shop-x")
    async def method(context: AppContext, database: Database) -> None: ...

    with pytest.raises(
        ExtensionError, match=r"parameter 'database': Database cannot be read from JSON.*or it should be provided"
    ):
        load(shop)


def test_names_around_a_function_count() -> None:
    class Local: ...

    shop = Extension("shop", version="1.0")

    @shop.provide
    def local() -> Local:
        return Local()

    @shop.on_startup
    async def begin(context: AppContext, local: Local) -> None: ...

    @shop.on(Ask)
    async def ask(context: Context, request: Ask, local: Local) -> None: ...

    assert isinstance(load(shop).tables.injector, Injector)


async def test_a_handlers_failure_to_have_a_thing_is_a_failure_of_the_request() -> None:
    shop = Extension("shop", version="1.0")

    @shop.provide(scope="peer")
    def basket(context: Context) -> Basket:
        raise ValueError("no basket left")

    @shop.on(Ask)
    async def ask(context: Context, request: Ask, basket: Basket) -> Answer: ...

    network = MemoryNetwork()
    speaker = Extension("shop", version="1.0")
    speaker.register(Ask)
    speaker.register(Answer)
    async with (
        Application(shop, transport=network.transport()) as server,
        Application(speaker, transport=network.transport()) as client,
    ):
        peer = await client.connect(server.uris[0])
        with pytest.raises(RemoteFailure):
            await peer.request(Ask(), Answer)


async def test_what_goes_on_beside_messages_takes_things() -> None:
    shop, log = Extension("shop", version="1.0"), []
    shop.provide(database)

    @shop.on_ready
    async def ready(context: AppContext, database: Database) -> None:
        log.append(("ready", type(database).__name__))

    @shop.on_stopping
    async def stopping(context: AppContext, database: Database) -> None:
        log.append(("stopping", type(database).__name__))

    @shop.on_error
    async def failed(context: AppContext, error: BaseException, message: Message | None, *, database: Database) -> None:
        log.append((str(error), type(database).__name__))

    @shop.task(restart=False)
    async def once(context: AppContext, database: Database) -> None:
        log.append(("task", type(database).__name__))
        raise ValueError("told")

    @shop.every(3600, at_start=True)
    async def often(context: AppContext, database: Database) -> None:
        log.append(("every", type(database).__name__))

    async with Application(shop, transport=MemoryTransport()):
        for _ in range(50):
            await asyncio.sleep(0)
    assert {one[0] for one in log} == {"ready", "stopping", "told", "task", "every"}
    assert {one[1] for one in log} == {"Database"}


@pytest.mark.parametrize("what", ["on_ready", "on_stopping", "task", "every"])
def test_a_thing_of_a_peers_is_refused_beside_messages(what: str) -> None:
    shop, _ = basket_shop()
    decorate = shop.every(10) if what == "every" else getattr(shop, what)

    @decorate  # type: ignore[untyped-decorator]
    async def run(context: AppContext, basket: Basket) -> None: ...

    with pytest.raises(ExtensionError, match=rf"{what}.* of 'shop', .*what takes it has no peer"):
        load(shop)
