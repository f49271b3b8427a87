from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, NewType, Optional, Protocol, TypeVar

import pytest
from tests.support.texts import Answer, Ask

from oddwire.app import AppContext, Application, Context, Extension, Handler, RpcMethod
from oddwire.app.declarations.handlers import check_callback, is_async, name_of, place
from oddwire.errors import ExtensionError, OddwireError, SchemaError
from oddwire.schema import Message, message
from oddwire.testing import ScriptedTransport
from oddwire.transports.memory import MemoryNetwork

if TYPE_CHECKING:
    from somewhere import Unknown

    import oddwire


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


async def hidden_context(context: oddwire.Context, ask: Ask) -> Answer: ...


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
async def takes_what_checkers_know(context: oddwire.Context | oddwire.AppContext) -> None: ...
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


# What hooks are called with behind the context ---------------------------------------------------------------------


async def swapped(context: AppContext, message: Message | None, error: BaseException) -> None: ...
async def swapped_back(context: Context, error: OddwireError, message: Message | None) -> None: ...
async def of_a_number(context: Context, reason: int) -> None: ...
async def of_a_list(context: Context, reason: list[str]) -> None: ...
async def of_text(context: AppContext, error: str, message: Message | None) -> None: ...
async def of_no_message(context: AppContext, error: BaseException, message: int | None) -> None: ...
async def of_no_message_at_all(context: AppContext, error: BaseException, message: bytes) -> None: ...
async def of_one_word(context: Context, reason: Literal[1, 2]) -> None: ...


@pytest.mark.parametrize(
    ("hook", "function", "text"),
    [
        (
            "on_error",
            swapped,
            "'message' should be BaseException, not Message | None: it is called with (context, error",
        ),
        ("on_error", of_text, "'error' should be BaseException, not str: it is called with (context, error, message)"),
        ("on_error", of_no_message_at_all, "'message' should be Message | None, not bytes: it is called with"),
        ("on_undelivered", swapped_back, "'error' should be Message | None, not OddwireError: it is called with (cont"),
        ("on_disconnect", of_a_number, "'reason' should be str, not int: it is called with (context, reason)"),
        ("on_disconnect", of_a_list, "'reason' should be str, not list[str]: it is called with (context, reason)"),
        ("on_disconnect", of_one_word, "'reason' should be str, not typing.Literal[1, 2]: it is called with (context"),
    ],
)
def test_a_hook_that_takes_something_else_is_refused(hook: str, function: Any, text: str) -> None:
    with pytest.raises(ExtensionError, match=re.escape(f"{__name__}.{function.__name__}, called ")) as caught:
        getattr(Extension("test", version="1.0"), hook)(function)
    assert f": parameter {text}" in str(caught.value)


async def of_all(context: AppContext, error: BaseException, message: Message | None) -> None: ...
async def of_any_error(context: AppContext, error: Exception, message: Message | None) -> None: ...
async def of_one_message(context: AppContext, error: Any, message: Ask) -> None: ...
async def of_objects(context: object, error: object, message: object) -> None: ...
async def of_others(context: AppContext, error: Failing, message: Annotated[Message, "it"]) -> None: ...
async def of_little(context, error, message) -> None: ...  # type: ignore[no-untyped-def]
async def of_words(context: Context, why: Literal["a", "b"]) -> None: ...
async def of_new_text(context: Context, reason: Text) -> None: ...
async def of_a_part(context: Context, reason: T) -> None: ...


Text = NewType("Text", str)
T = TypeVar("T", bound=str)


class Failing(Protocol):
    args: Any


@pytest.mark.parametrize("function", [of_all, of_any_error, of_one_message, of_objects, of_others, of_little])
def test_one_that_takes_part_of_it_is_not(function: Any) -> None:
    extension = Extension("test", version="1.0")
    extension.on_error(function)
    Application(extension, transport=ScriptedTransport())


@pytest.mark.parametrize("function", [of_words, of_new_text, of_a_part])
def test_nor_one_with_a_kind_of_text(function: Any) -> None:
    extension = Extension("test", version="1.0")
    extension.on_disconnect(function)
    Application(extension, transport=ScriptedTransport())


async def of_a_typo(context: AppContxt) -> None: ...  # type: ignore[name-defined] # noqa: F821
async def of_a_typo_for_a_peer(context: Contxt) -> None: ...  # type: ignore[name-defined] # noqa: F821
async def of_a_strange_reason(context: Context, reason: Reson) -> None: ...  # type: ignore[name-defined] # noqa: F821
async def of_a_strange_error(context: AppContext, error: BaseExeption, message: Any) -> None: ...  # type: ignore[name-defined] # noqa: F821
async def of_who_knows(context: Unknown) -> None: ...
def of_a_typo_that_provides(context: AppContxt) -> Own: ...  # type: ignore[name-defined] # noqa: F821


@pytest.mark.parametrize(
    ("declare", "function", "text"),
    [
        (lambda extension: extension.on_startup, of_a_typo, "'AppContxt' of 'context'"),
        (lambda extension: extension.on_ready, of_who_knows, "'Unknown' of 'context'"),
        (lambda extension: extension.on_connect, of_a_typo_for_a_peer, "'Contxt' of 'context'"),
        (lambda extension: extension.on_disconnect, of_a_strange_reason, "'Reson' of 'reason'"),
        (lambda extension: extension.on_error, of_a_strange_error, "'BaseExeption' of 'error'"),
        (lambda extension: extension.every(5), of_a_typo, "'AppContxt' of 'context'"),
        (lambda extension: extension.every(5, per_peer=True), of_a_typo_for_a_peer, "'Contxt' of 'context'"),
        (lambda extension: extension.task, of_a_typo, "'AppContxt' of 'context'"),
        (lambda extension: extension.rpc("test"), of_a_typo, "'AppContxt' of 'context'"),
        (lambda extension: extension.provide, of_a_typo_that_provides, "'AppContxt' of 'context'"),
    ],
)
def test_a_name_that_nobody_knows_is_refused_when_it_is_loaded(declare: Any, function: Any, text: str) -> None:
    extension = Extension("test", version="1.0")
    declare(extension)(function)  # it may come later in the module
    with pytest.raises(ExtensionError, match=f"{function.__name__}.* the annotation {text} should be known at run ti"):
        Application(extension, transport=ScriptedTransport())


def test_a_handlers_context_is_no_other() -> None:
    async def ask(context: Contxt, ask: Ask) -> None: ...  # type: ignore[name-defined] # noqa: F821

    extension = Extension("test", version="1.0")
    extension.on(Ask)(ask)
    with pytest.raises(ExtensionError, match=r"handler of .* the annotation 'Contxt' of 'context' should be known"):
        Application(extension, transport=ScriptedTransport())


def test_a_name_may_come_later_and_is_checked_then() -> None:
    extension = Extension("test", version="1.0")

    async def of_later(context: Context, reason: Later) -> None: ...  # type: ignore[name-defined] # noqa: F821

    extension.on_disconnect(of_later)
    of_later.__globals__["Later"] = int
    try:
        with pytest.raises(ExtensionError, match="parameter 'reason' should be str, not int"):
            Application(extension, transport=ScriptedTransport())
        of_later.__globals__["Later"] = str
        other = Extension("test", version="1.0")
        other.on_disconnect(of_later)
        Application(other, transport=ScriptedTransport())
    finally:
        del of_later.__globals__["Later"]


def test_a_name_may_come_later_for_lost_messages_of_some_classes_too() -> None:
    extension = Extension("one", version="1.0")

    async def of_later(context: Context, message: Message, error: Later) -> None: ...  # type: ignore[name-defined] # noqa: F821

    extension.register(Ask)
    extension.on_undelivered(Ask)(of_later)
    with pytest.raises(ExtensionError, match=r"of_later, called for lost messages: .*'Later'"):
        Application(extension, transport=ScriptedTransport())
    of_later.__globals__["Later"] = int
    try:
        with pytest.raises(ExtensionError, match="'error' should be OddwireError, not int"):
            Application(extension, transport=ScriptedTransport())
    finally:
        del of_later.__globals__["Later"]


def test_names_around_a_hook_count() -> None:
    Alias = AppContext  # noqa: N806
    extension = Extension("test", version="1.0")

    @extension.on_startup
    async def startup(context: Alias) -> None: ...

    @extension.every(1)
    async def every(context: Alias) -> None: ...

    @extension.task
    async def task(context: Alias) -> None: ...

    Application(extension, transport=ScriptedTransport())


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
    check_callback(vars(Decorated)["static"], "called with it", Context, "context", "ask")
    check_callback(functools.partial(three, 1), "called with it", Context, "context", "ask")
    with pytest.raises(ExtensionError, match=r"parameter 'ask' should be str, not Ask: it is called with \(context, r"):
        check_callback(vars(Decorated)["static"], "called on disconnect", Context, "context", "reason")
    with pytest.raises(ExtensionError, match=r"parameter 'ask' should be str, not Ask: it is called with \(context, r"):
        check_callback(functools.partial(three, 1), "called on disconnect", Context, "context", "reason")
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


def test_names_of_functions_that_have_none() -> None:
    def greet(context: Context) -> None: ...

    class Callable:
        async def __call__(self, context: Context) -> None: ...

    assert name_of(greet) == name_of(functools.partial(greet, 1)) == "greet"
    assert name_of(Callable()) == "Callable"
