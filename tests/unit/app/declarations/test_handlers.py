from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Optional, Protocol

import pytest
from tests.support.texts import Answer, Ask

from oddwire.app import AppContext, Application, Context, Extension, Handler, RpcMethod
from oddwire.app.declarations.handlers import check_callback, is_async, place
from oddwire.errors import ExtensionError, SchemaError
from oddwire.schema import Message, message
from oddwire.transports.memory import MemoryNetwork

if TYPE_CHECKING:
    from somewhere import Unknown


@message(0x8C05)
class Refusal(Message):
    text: str


class Bare(Message):
    text: str


async def good(context: Context, ask: Ask) -> Answer | Refusal | None: ...


async def old_style(context: Context, ask: Ask) -> Optional[Answer]: ...  # noqa: UP045


async def silent(context: Context, ask: Ask) -> None: ...


async def bare(context, ask): ...


async def wide(context: Context, ask: Ask | Answer) -> Message | None: ...


async def any_message(context: Context, ask: Message) -> Any: ...


async def hidden_context(context: Unknown, ask: Ask) -> Answer: ...


async def more_defaults(context: Context, ask: Ask, times: int = 1) -> None: ...


class Handlers:
    async def method(self, context: Context, ask: Ask) -> Answer: ...

    async def __call__(self, context: Context, ask: Ask) -> Answer: ...


async def three(extra: int, context: Context, ask: Ask) -> Answer: ...


def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def wrapper(*arguments: Any) -> Any:
        return await function(*arguments)

    return wrapper


@pytest.mark.parametrize(
    ("function", "replies"),
    [
        (good, (Answer, Refusal)),
        (old_style, (Answer,)),
        (silent, ()),
        (bare, ()),
        (wide, ()),
        (any_message, ()),
        (hidden_context, (Answer,)),
        (more_defaults, ()),
        (Handlers().method, (Answer,)),
        (Handlers(), (Answer,)),
        (functools.partial(three, 1), (Answer,)),
        (decorated(good), (Answer, Refusal)),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_takes_async_functions_of_context_and_message(function: Any, replies: tuple[type[Message], ...]) -> None:
    handler = Handler(message=Ask, function=function)
    assert handler.replies() == replies
    assert not handler.concurrent


def plain(context: Context, ask: Ask) -> Answer: ...


async def generator(context: Context, ask: Ask) -> AsyncIterator[Answer]:
    yield Answer(text="")


UNTYPED = "what follows is provided by its type, and 'more' has none"


async def lonely(ask: Ask) -> Answer: ...


async def crowded(context: Context, ask: Ask, more) -> Answer: ...  # type: ignore[no-untyped-def]


async def keyword(context: Context, *, ask: Ask) -> Answer: ...


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (plain, "should be 'async def', not a plain function"),
        (lonely, "should take two parameters, (context, message), not (ask)"),
        (crowded, f"should take two parameters, (context, message), not (context, ask, more); {UNTYPED}"),
        (keyword, "should take two parameters, (context, message), not (context, ask)"),
        (None, "should be 'async def', not None"),
    ],
)
def test_refuses_other_functions_at_once(function: Any, told: str) -> None:
    with pytest.raises(ExtensionError) as caught:
        Handler(message=Ask, function=function)
    name = place(function)
    assert str(caught.value) == f"{name}, handler of Ask 0x8c01: {told}"
    if function is not None:
        assert name == f"{__name__}.{function.__name__}"


async def other_message(context: Context, ask: Answer) -> None: ...


async def no_message(context: Context, ask: int) -> None: ...


async def returns_text(context: Context, ask: Ask) -> str: ...


async def returns_either(context: Context, ask: Ask) -> Answer | int: ...


async def unknown_reply(context: Context, ask: Ask) -> Unknown: ...


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (other_message, "parameter 'ask' should be Ask, not Answer"),
        (no_message, "parameter 'ask' should be Ask, not int"),
        (returns_text, "should return a message class or None, not str"),
        (returns_either, "should return a message class or None, not int"),
        (
            unknown_reply,
            "the annotation 'Unknown' of 'return' should be known at run time (name 'Unknown' is not defined)",
        ),
    ],
)
def test_refuses_annotations_that_do_not_match(function: Any, told: str) -> None:
    handler = Handler(message=Ask, function=function)
    with pytest.raises(ExtensionError) as caught:
        handler.replies()
    assert str(caught.value) == f"{__name__}.{function.__name__}, handler of Ask 0x8c01: {told}"


def test_refuses_what_is_no_message() -> None:
    for wrong in (int, "Ask", Ask(text="")):
        with pytest.raises(ExtensionError, match="should be given a message class, not"):
            Handler(message=wrong, function=silent)  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="Bare is not a message"):
        Handler(message=Bare, function=silent)

    async def returns_bare(context: Context, ask: Ask) -> Bare: ...

    with pytest.raises(SchemaError, match="Bare is not a message"):
        Handler(message=Ask, function=returns_bare).replies()


def test_names_of_a_surrounding_function_are_found_with_a_scope() -> None:
    @message(0x8C07)
    class Inner(Message): ...

    async def handle(context: Context, inner: Inner) -> Inner: ...

    with pytest.raises(ExtensionError, match="'Inner' of 'inner' should be known at run time"):
        Handler(message=Inner, function=handle).replies()
    assert Handler(message=Inner, function=handle, scope=locals()).replies() == (Inner,)


async def nothing() -> None: ...


def test_is_async_knows_every_way_to_be() -> None:
    assert is_async(good)
    assert is_async(Handlers())
    assert is_async(functools.partial(three, 1))
    assert not is_async(plain)
    assert not is_async(generator)
    assert not is_async(7)


def test_a_callback_is_checked_against_its_parameters() -> None:
    check_callback(nothing, "called now", AppContext)
    with pytest.raises(ExtensionError) as caught:
        check_callback(nothing, "called on connect", Context, "context")
    assert str(caught.value) == f"{__name__}.nothing, called on connect: should be 'async def' with (context), not ()"
    with pytest.raises(ExtensionError, match="not a plain function"):
        check_callback(plain, "called on connect", Context, "context")


# What the first parameter is said to be ----------------------------------------------------------------------------


class Own(Protocol):
    app: Application


async def takes_app(app: Application) -> None: ...
async def takes_app_by_name(app: Application) -> None: ...
async def takes_a_peers(context: Context) -> None: ...
async def takes_either(context: Context | AppContext) -> None: ...
async def takes_any_base(context: AppContext) -> None: ...
async def takes_an_object(context: object) -> None: ...
async def takes_anything(context: Any) -> None: ...
async def takes_a_protocol(context: Own) -> None: ...
async def takes_what_checkers_know(context: Unknown) -> None: ...
async def says_nothing(context) -> None: ...  # type: ignore[no-untyped-def]


FINE = [takes_either, takes_any_base, takes_an_object, takes_anything, takes_a_protocol, takes_what_checkers_know]
FINE += [says_nothing]


@pytest.mark.parametrize("hook", FINE)
def test_a_hook_may_say_less_than_what_it_gets(hook: Any) -> None:
    extension = Extension("test", version="1.0")
    for decorator in (extension.on_startup, extension.on_shutdown, extension.on_connect):
        assert decorator(hook) is hook
    assert RpcMethod(name="do-it", function=hook).parameters() == ()


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        (takes_app, "parameter 'app' should be AppContext, not Application; its .app is the application"),
        (takes_app_by_name, "parameter 'app' should be AppContext, not Application; its .app is the application"),
        (takes_a_peers, "parameter 'context' should be AppContext, not Context, as there is no peer"),
    ],
)
def test_what_has_no_peer_gets_an_app_context(hook: Any, text: str) -> None:
    extension = Extension("test", version="1.0")
    where = f"{__name__}.{hook.__name__}"
    for decorator, kind in ((extension.on_startup, "startup"), (extension.on_shutdown, "shutdown")):
        with pytest.raises(ExtensionError) as caught:
            decorator(hook)
        assert str(caught.value) == f"{where}, called on {kind}: {text}"
    with pytest.raises(ExtensionError) as caught:
        RpcMethod(name="do-it", function=hook).parameters()
    assert str(caught.value) == f"{where}, RPC method 'do-it': {text}"


def test_what_is_about_a_peer_gets_a_context() -> None:
    text = "parameter 'app' should be Context, not Application; its .app is the application"
    with pytest.raises(ExtensionError, match=f"takes_app, called on connect: {text}"):
        Extension("test", version="1.0").on_connect(takes_app)  # type: ignore[type-var]

    async def ask(app: Application, ask: Ask) -> None: ...

    handler = Handler(message=Ask, function=ask, scope=locals())  # type: ignore[arg-type]
    with pytest.raises(ExtensionError, match=f"ask, handler of .*: {text}"):
        handler.replies()


# Decorators: what counts is what is really called -------------------------------------------------------------------


def with_database(function: Any) -> Any:
    """Return the handler one more argument than it is called with."""

    @functools.wraps(function)
    async def wrapper(context: Context, message: Any) -> Any:
        return await function(context, message, "database")

    return wrapper


def without_context(function: Any) -> Any:
    @functools.wraps(function)
    async def wrapper(context: Context, message: Any) -> Any:
        return await function(message)

    return wrapper


def takes_too_much(function: Any) -> Any:
    @functools.wraps(function)
    async def wrapper(context: Context, message: Any, more: Any) -> Any:
        return await function(context, message)

    return wrapper


def not_async(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*arguments: Any) -> Any:
        return function(*arguments)

    return wrapper


def annotated(function: Any) -> Any:
    """A decorator whose own annotations stand, as it copies nothing."""

    async def wrapper(context: Context, message: Ask) -> Refusal: ...

    wrapper.__wrapped__ = function  # type: ignore[attr-defined]
    return wrapper


def last_part(function: Any) -> Any:
    """Make one reply of a stream."""

    @functools.wraps(function)
    async def wrapper(context: Context, message: Any) -> Any:
        return [part async for part in function(context, message)][-1]

    return wrapper


class Middleware:
    def __init__(self, function: Any) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    async def __call__(self, context: Context, message: Any) -> Any:
        return await self.function(context, message)


class Decorated:
    @decorated
    async def method(self, context: Context, ask: Ask) -> Answer: ...

    @staticmethod
    async def static(context: Context, ask: Ask) -> Answer: ...

    @classmethod
    async def of_class(cls, context: Context, ask: Ask) -> Answer: ...


async def needs_database(context: Context, ask: Ask, database: str) -> Answer: ...


async def of_ask_alone(ask: Ask) -> Answer: ...


@pytest.mark.parametrize(
    ("function", "replies"),
    [
        (with_database(needs_database), (Answer,)),
        (without_context(of_ask_alone), (Answer,)),
        (decorated(decorated(good)), (Answer, Refusal)),
        (with_database(decorated(needs_database)), (Answer,)),
        (annotated(good), (Refusal,)),
        (last_part(generator), ()),
        (Middleware(good), (Answer, Refusal)),
        (Decorated().method, (Answer,)),
        (Decorated.static, (Answer,)),
        (Decorated.of_class, (Answer,)),
        (vars(Decorated)["static"], (Answer,)),
        (functools.partial(with_database(needs_database)), (Answer,)),
        (functools.partial(Handlers()), (Answer,)),
    ],
)
def test_decorated_functions_are_taken_by_what_is_called(function: Any, replies: tuple[type[Message], ...]) -> None:
    handler = Handler(message=Ask, function=function)
    assert handler.replies() == replies


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (
            takes_too_much(good),
            f"should take two parameters, (context, message), not (context, message, more); {UNTYPED}",
        ),
        (not_async(good), "should be 'async def', not a plain function"),
        (
            vars(Decorated)["of_class"],
            "should be 'async def', not a classmethod, which cannot be called before there is its class",
        ),
    ],
)
def test_decorators_that_cannot_be_called_so_are_refused(function: Any, told: str) -> None:
    with pytest.raises(ExtensionError) as caught:
        Handler(message=Ask, function=function)
    assert str(caught.value).endswith(told)


def test_annotations_of_what_is_wrapped_are_still_checked() -> None:
    with pytest.raises(ExtensionError, match="parameter 'ask' should be Ask, not Answer"):
        Handler(message=Ask, function=decorated(other_message)).replies()
    for wrap in (decorated, Middleware):
        with pytest.raises(ExtensionError, match="should return a message class or None, not str"):
            Handler(message=Ask, function=wrap(returns_text)).replies()


async def of_three(context: Context, extra: int) -> None: ...


def test_hooks_are_checked_by_what_is_called_too() -> None:
    @functools.wraps(of_three)
    async def connected(context: Context) -> None: ...

    check_callback(connected, "called on connect", Context, "context")
    check_callback(vars(Decorated)["static"], "called on disconnect", Context, "context", "reason")
    check_callback(functools.partial(three, 1), "called on disconnect", Context, "context", "reason")
    assert not check_callback(vars(Decorated)["static"], "called on disconnect", Context, "context", "reason")
    assert check_callback(vars(Decorated)["static"], "called on connect", Context, "context"), "it takes one more"
    with pytest.raises(ExtensionError, match=r"should be 'async def' with \(context, a, b\), not \(context, ask\)"):
        check_callback(vars(Decorated)["static"], "called on connect", Context, "context", "a", "b")


async def test_a_decorated_handler_handles() -> None:
    network = MemoryNetwork()
    extension = Extension("test", version="1.0")
    log: list[str] = []

    def middleware(function: Any) -> Any:
        @functools.wraps(function)
        async def wrapper(context: Context, message: Any) -> Any:
            log.append(type(message).__name__)
            return await function(context, message, log)

        return wrapper

    @extension.on(Ask)
    @middleware
    async def answer(context: Context, ask: Ask, log: list[str]) -> Answer:
        return Answer(text=f"{ask.text} {len(log)}")

    @extension.rpc("test-count")
    @middleware
    async def count(context: AppContext, message: int, log: list[str]) -> int:
        return message + len(log)

    async with (
        Application(extension, transport=network.transport()) as server,
        Application(extension, transport=network.transport()) as client,
    ):
        peer = await client.connect(server.uris[0])
        assert await peer.request(Ask(text="one"), Answer) == Answer(text="one 1")
        assert await client.call("test-count", "5") == 7
    assert log == ["Ask", "int"]
