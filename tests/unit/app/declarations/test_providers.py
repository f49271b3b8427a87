"""What a provider may be, which type it provides, and what it makes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Annotated, Any, List, Literal, NewType, Protocol, TypeVar  # noqa: UP035 - both spellings

import pytest

from oddwire import AppContext, Application, Context, Message, NodeId, Peer, message
from oddwire.app import Extension, Provider
from oddwire.app.declarations.providers import Dependent, dependencies_of, key_of, make, unfit
from oddwire.errors import ExtensionError

if TYPE_CHECKING:
    from nowhere import Unknown

T = TypeVar("T")
Size = NewType("Size", int)


class Database:
    open = True


class Shape(Protocol):
    def area(self) -> int: ...


@message(0x8C01)
class Ask(Message):
    text: str


def plain() -> Database:
    return Database()


async def awaited() -> Database:
    return Database()


def yielding() -> Iterator[Database]:
    database = Database()
    yield database
    database.open = False


def generating() -> Generator[Database, None, None]:
    yield from yielding()


async def yielding_async() -> AsyncIterator[Database]:
    database = Database()
    yield database
    database.open = False


async def generating_async() -> AsyncGenerator[Database, None]:
    async for one in yielding_async():
        yield one


@contextlib.contextmanager
def managed() -> Iterator[Database]:
    yield from yielding()


@contextlib.asynccontextmanager
async def managed_async() -> AsyncIterator[Database]:
    database = Database()
    yield database
    database.open = False


def managing() -> contextlib.AbstractContextManager[Database]:
    return managed()


def managing_async() -> contextlib.AbstractAsyncContextManager[Database]:
    return managed_async()


class Makes:
    def __call__(self) -> Database:
        return Database()

    def method(self) -> Iterator[Database]:
        yield from yielding()


CLOSED = (yielding, generating, yielding_async, generating_async, managed, managed_async, managing, managing_async)


@pytest.mark.parametrize("function", [*CLOSED, plain, awaited, Makes(), Makes().method, functools.partial(plain)])
async def test_each_kind_of_function_provides(function: Callable[..., Any]) -> None:
    provider = Provider(function=function)
    assert provider.provides() is Database
    value, close = await make(provider, (), {})
    assert isinstance(value, Database)
    assert (close is not None) is (function in CLOSED or getattr(function, "__name__", "") == "method")
    assert value.open
    if close is not None:
        await close()
        assert not value.open


def of_a_list() -> list[Database]:
    return []


def of_a_typing_list() -> List[Database]:  # noqa: UP006 - the other spelling
    return []


def of_a_size() -> Size:
    return Size(7)


def of_a_protocol() -> Shape:
    raise NotImplementedError


def annotated() -> Annotated[Database, "the one"]:
    return Database()


def of_a_callable() -> Callable[[int, str], Database]:
    return lambda number, text: Database()


def test_generic_types_new_types_and_protocols_are_types() -> None:
    assert Provider(function=of_a_list).provides() == list[Database]
    assert key_of(Provider(function=of_a_typing_list).provides()) == key_of(list[Database])
    assert Provider(function=of_a_size).provides() is Size
    assert Provider(function=of_a_protocol).provides() is Shape
    assert Provider(function=annotated).provides() is Database
    assert hash(key_of(Provider(function=of_a_callable).provides())) == hash(key_of(Callable[[int, str], Database]))


def silent():  # type: ignore[no-untyped-def]
    return Database()


def of_nothing() -> None: ...


def yields_nothing() -> Iterator[None]:
    yield


def unclear() -> Iterator[Database]:
    return iter([Database()])


def yields_plainly() -> Database:  # type: ignore[misc]
    yield Database()


async def yields_plainly_async() -> Database:  # type: ignore[misc]
    yield Database()


def of_the_unknown() -> Unknown:
    return None


def optional() -> Database | None:
    return None


def of_anything() -> Any: ...


def of_text() -> str:
    return ""


def of_a_dict() -> dict:  # type: ignore[type-arg]
    return {}


def of_a_peer() -> Peer:
    raise NotImplementedError


def of_a_node_id() -> NodeId:
    raise NotImplementedError


def of_an_application() -> Application:
    raise NotImplementedError


def of_a_context() -> Context:
    raise NotImplementedError


def of_a_message() -> Ask:
    raise NotImplementedError


def forgot_to_yield() -> Iterator[Database]:
    Database()


async def forgot_to_yield_async() -> AsyncIterator[Database]:
    return Database()  # type: ignore[return-value]


def forgot_to_yield_anything() -> Generator:  # type: ignore[type-arg]
    return Database()  # type: ignore[return-value]


def of_two() -> Database | Ask:
    return Database()


def of_a_literal() -> Literal[7]:
    return 7


def of_a_variable() -> T:  # type: ignore[type-var]
    raise NotImplementedError


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (silent, "should say by its annotation what it provides: -> Database"),
        (of_nothing, "should provide something, and not None"),
        (yields_nothing, "should provide something, and not None"),
        (yields_plainly, "yields, so its annotation should be Iterator[X], not Database"),
        (yields_plainly_async, "yields, so its annotation should be AsyncIterator[X], not Database"),
        (of_the_unknown, "the annotation 'Unknown' of 'return' should be known at run time"),
        (
            optional,
            "provides tests.unit.app.declarations.test_providers.Database | None: it should be Database, or raise; who",
        ),
        (forgot_to_yield, "should yield what it provides, as its annotation is collections.abc.Iterator[tests.unit."),
        (forgot_to_yield_async, "and it has no 'yield'; or, if it returns that, should say so: -> Database"),
        (forgot_to_yield_anything, "should yield what it provides, as its annotation is Generator, and it has no"),
        (of_two, "test_providers.Ask: one type is needed, not several"),
        (of_anything, "provides Any: Any says too little to be found by"),
        (of_text, "provides str: str says too little to be found by: Size = NewType('Size', str) says it"),
        (of_a_dict, "provides dict: dict says too little to be found by: Size = NewType('Size', dict) says it"),
        (of_a_peer, "provides Peer: it is there anyway, as context.peer"),
        (of_a_node_id, "provides NodeId: that of the peer is there anyway, as context.peer.node_id"),
        (of_an_application, "provides Application: it is there anyway, as context.app"),
        (of_a_context, "provides Context: the context is there anyway, as the first parameter"),
        (of_a_message, "provides Ask: messages come to the handlers of their classes, as the second parameter"),
        (of_a_literal, "a class is needed, a NewType or a generic type such as dict[str, int]"),
        (of_a_variable, "a class is needed, a NewType or a generic type such as dict[str, int]"),
    ],
)
def test_what_can_be_no_provider_is_told_why(function: Callable[..., Any], told: str) -> None:
    with pytest.raises(ExtensionError) as caught:
        Provider(function=function).provides()
    where = f"provider {__name__}.{function.__name__} ({__file__}:{function.__code__.co_firstlineno}): "
    assert str(caught.value).startswith(where)
    assert told in str(caught.value)


def test_what_has_no_hash_is_refused() -> None:
    assert unfit(Annotated[Database, "x"]) == ""
    assert unfit(Callable[[Literal[7]], int]) == ""

    class Meta(type):
        __hash__ = None  # type: ignore[assignment]

    assert unfit(Meta("Strange", (), {})) == "it cannot be looked up, as it has no hash"


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"function": Database}, "should be a function: def make() -> Database: return Database(...)"),
        ({"function": 7}, "should be a function: def make() -> Thing: return Thing(...)"),
        ({"function": plain, "scope": "session"}, "scope should be 'app' or 'peer', not 'session'"),
    ],
)
def test_what_is_no_function_is_refused_at_once(parameters: dict[str, Any], told: str) -> None:
    with pytest.raises(ExtensionError) as caught:
        Provider(**parameters)
    assert told in str(caught.value)


def with_a_context(context: AppContext, size: Size) -> Database: ...


def with_any_context(context, size: Size) -> Database: ...  # type: ignore[no-untyped-def]


def with_a_peer(context: Context, size: Size) -> Database: ...


def without_a_context(size: Size) -> Database: ...


def test_the_context_comes_first_if_at_all() -> None:
    assert Provider(function=with_a_context).dependent().fixed == ("context",)
    assert Provider(function=with_any_context).dependent().fixed == ("context",)
    assert Provider(function=without_a_context).dependent().fixed == ()
    assert Provider(function=plain).dependent().fixed == ()
    assert Provider(function=with_a_peer, scope="peer").dependent().fixed == ("context",)
    assert Provider(function=with_a_context, scope="peer").dependent().fixed == ("context",)
    with pytest.raises(
        ExtensionError, match="parameter 'context' should be AppContext, not Context, as there is no peer"
    ):
        Provider(function=with_a_peer).dependent()
    for function in (with_a_context, with_any_context, without_a_context):
        dependent = Provider(function=function).dependent()
        assert [one.key for one in dependencies_of(dependent, "shop")] == [Size]


def taking(function: Callable[..., Any], *fixed: str) -> Dependent:
    return Dependent(function=function, what="handler", fixed=fixed, per_peer=True)


def test_what_a_function_takes_is_read_from_its_annotations() -> None:
    def many(
        context: Context,
        database: Database,
        number: int = 7,
        untyped=8,  # type: ignore[no-untyped-def]
        perhaps: Database | None = None,
        *more: str,
        by_name: list[Database],
        **rest: str,
    ) -> None: ...

    found = dependencies_of(taking(many, "context"), "shop")
    assert [(one.name, one.key, one.by_name) for one in found] == [
        ("database", Database, False),
        ("number", None, False),
        ("untyped", None, False),
        ("perhaps", Database, False),
        ("by_name", (list, Database), True),
    ]
    assert [one.default for one in found[1:4]] == [7, 8, None]


@pytest.mark.parametrize(
    ("annotation", "told"),
    [
        ("int", "parameter 'it' takes int: int says too little to be found by: Size = NewType('Size', int) says it"),
        ("Peer", "parameter 'it' takes Peer: it is there anyway, as context.peer"),
        ("Ask", "parameter 'it' takes Ask: messages come to the handlers of their classes"),
        (
            "Database | None",
            "it should be Database, or, where nobody may provide one, have a default: Database | None =",
        ),
        ("Database | Ask", "one type is needed, not several"),
        ("Unknown", "the annotation 'Unknown' of 'it' should be known at run time"),
    ],
)
def test_what_cannot_be_taken_is_told_why(annotation: str, told: str) -> None:
    def takes(context: Context, it: Any) -> None: ...

    takes.__annotations__["it"] = annotation
    with pytest.raises(ExtensionError) as caught:
        dependencies_of(taking(takes, "context"), "shop")
    assert str(caught.value).startswith(
        f"handler of 'shop', {__name__}.test_what_cannot_be_taken_is_told_why.<locals>."
    )
    assert told in str(caught.value)


def ends() -> Iterator[Database]:
    if not ends:
        yield Database()


async def ends_async() -> AsyncIterator[Database]:
    if not ends:
        yield Database()


def twice() -> Iterator[Database]:
    yield Database()
    yield Database()


async def twice_async() -> AsyncIterator[Database]:
    yield Database()
    yield Database()


def gives_none() -> Database:
    return None  # type: ignore[return-value]


async def yields_none() -> AsyncIterator[Database]:
    yield None  # type: ignore[misc]


def forgets_to_await() -> Database:
    return awaited()  # type: ignore[return-value]


def no_manager() -> contextlib.AbstractContextManager[Database]:
    return Database()  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (ends, "has ended without a 'yield': it should yield once"),
        (ends_async, "has ended without a 'yield': it should yield once"),
        (gives_none, "should provide Database, not None: has it a 'return', or a 'yield'?"),
        (yields_none, "should provide Database, not None"),
        (forgets_to_await, "should provide Database, not a coroutine: it should be 'async def' and await that"),
        (no_manager, "should return a context manager, not <"),
    ],
)
async def test_what_provides_nothing_is_an_error(function: Callable[..., Any], told: str) -> None:
    with pytest.raises(ExtensionError) as caught:
        await make(Provider(function=function), (), {})
    assert told in str(caught.value)


@pytest.mark.parametrize("function", [twice, twice_async])
async def test_a_second_yield_is_an_error(function: Callable[..., Any]) -> None:
    value, close = await make(Provider(function=function), (), {})
    assert isinstance(value, Database)
    assert close is not None
    with pytest.raises(ExtensionError, match="yields a second time: it should yield once, and close behind that"):
        await close()


def twice_and_on() -> Iterator[Database]:
    yield Database()
    while True:
        try:
            yield Database()
        except GeneratorExit:
            break
        finally:
            yield Database()


async def twice_and_on_async() -> AsyncIterator[Database]:
    yield Database()
    try:
        yield Database()
    finally:
        yield Database()


def twice_and_fails() -> Iterator[Database]:
    yield Database()
    try:
        yield Database()
    finally:
        raise KeyError("two")


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (twice_and_on, "RuntimeError: generator ignored GeneratorExit"),
        (twice_and_on_async, "RuntimeError: async generator ignored GeneratorExit"),
        (twice_and_fails, "KeyError: 'two'"),
    ],
)
async def test_a_second_yield_that_does_not_end_is_an_error_that_says_both(
    function: Callable[..., Any], told: str
) -> None:
    _, close = await make(Provider(function=function), (), {})
    assert close is not None
    with pytest.raises(
        ExtensionError, match=f"yields a second time: .* that; closed there, it raised {told}"
    ) as raised:
        await close()
    assert raised.value.__cause__ is not None


@pytest.mark.parametrize(
    ("given", "scope"),
    [({}, "app"), ({"per_peer": True}, "peer"), ({"scope": "peer"}, "peer"), ({"per_peer": False}, "app")],
)
def test_one_for_each_peer_is_said_as_jobs_say_it(given: dict[str, Any], scope: str) -> None:
    extension = Extension("shop", version="1.0")
    assert extension.provide(**given)(awaited) is awaited
    (provider,) = extension.register_providers()
    assert provider.scope == scope
    with pytest.raises(ExtensionError, match=r"provider .*awaited: per_peer should be True or False, not 1"):
        extension.provide(per_peer=1)(awaited)  # type: ignore[arg-type]


async def test_one_that_is_cancelled_while_it_makes_something_cleans_up() -> None:
    log = []

    async def slow() -> AsyncIterator[Database]:
        try:
            log.append("begun")
            await asyncio.sleep(60)
            yield Database()
        finally:
            log.append("ended")

    task = asyncio.create_task(make(Provider(function=slow), (), {}))
    while not log:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["begun", "ended"]
