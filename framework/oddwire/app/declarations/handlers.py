"""Handlers and callbacks of plugins: checks of their parameters and annotations, at declaration."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from oddwire.app.context import AppContext, Context
from oddwire.app.declarations.annotations import alternatives, evaluate, own_signature, peel, signature_of, spell
from oddwire.app.declarations.malformed import Malformed
from oddwire.durations import shown
from oddwire.errors import ExtensionError, OddwireError
from oddwire.records import FrozenRecord
from oddwire.schema import Message, schema_of

if TYPE_CHECKING:
    from oddwire.app.declarations.middleware import Middleware

__all__ = [
    "Handler",
    "HandlerFunction",
    "Rate",
    "StreamFunction",
    "check_callback",
    "check_context",
    "is_async",
    "kind_of",
    "name_of",
    "parameters_behind",
    "parameters_of",
    "place",
    "scope_of",
    "spelled_type",
    "with_replies",
    "yields",
]

HandlerFunction = Callable[[Context, Any], Coroutine[Any, Any, Message | None]]
StreamFunction = Callable[[Context, Any], AsyncGenerator[Message, None]]
_NO_NAMES: Mapping[str, Any] = types.MappingProxyType({})
_CALLED_WITH: Mapping[tuple[str, ...], tuple[Any, ...]] = {
    ("context", "reason"): (str,),
    ("context", "type_id", "data"): (int, bytes),
    ("context", "error", "message"): (BaseException, Message | None),
    ("context", "message", "error"): (Message | None, OddwireError),
}
"""The types of what hooks are called with behind the context, by the names of their parameters."""

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Handler(FrozenRecord, kw_only=True, hidden=("scope",)):
    """One async function that receives every message of one class; a message that it returns is the reply.

    ``function`` is called with a `Context` and the message. One with a ``yield`` replies with a stream. With
    ``concurrent`` each message is handled in a task of its own instead of in the peer's order, as requests always are.
    With ``reliable`` the handler receives messages of `Peer.deliver`: each takes effect once, together with the
    handler's writes to its store. ``rate`` is the maximum number of messages per second from one peer, after the first
    ``burst``, by default a second's worth. ``middleware`` is called around it, the first outermost, inside that of
    plugins' `Hooks.register_middleware`. Raises `ExtensionError` naming module, function, message and what was
    expected.
    """

    message: type[Message]
    function: HandlerFunction | StreamFunction
    concurrent: bool = False
    reliable: bool = False
    rate: float | None = None
    burst: float | None = None
    middleware: tuple[Middleware, ...] = ()
    scope: Mapping[str, Any] = types.MappingProxyType({})
    """Names that annotations may use besides the function's globals, for a handler made inside another function."""

    def __post_init__(self) -> None:
        if not (isinstance(self.message, type) and issubclass(self.message, Message)):
            raise ExtensionError(
                f"{place(self.function)}: a handler should be given a message class, not {self.message!r}"
            )
        schema_of(self.message)
        if not is_async(self.function) and not yields(self.function):
            raise self._wrong(f"should be 'async def', not {kind_of(self.function)}")
        if self.reliable and yields(self.function):
            raise self._wrong("should return its reply and not yield, to be reliable")
        self._check_rate()
        if why := _unlike(self.function, 2):
            raise self._wrong(f"should take two parameters, (context, message), {why}")

    def _check_rate(self) -> None:
        if self.rate is None and self.burst is None:
            return
        if self.rate is None:
            raise self._wrong("burst should come with a rate, the messages per second after it")
        if not _is_number(self.rate) or not self.rate > 0:
            raise self._wrong(f"rate should be messages per second, more than 0, not {shown(self.rate)}")
        if self.burst is not None and (not _is_number(self.burst) or self.burst < 1):
            raise self._wrong(f"burst should be a number of messages, 1 or more, not {shown(self.burst)}")

    @property
    def limit(self) -> Rate | None:
        """The rate from one peer, if it is limited."""
        if self.rate is None:
            return None
        burst = max(self.rate, 1.0) if self.burst is None else self.burst
        return Rate(float(self.rate), float(burst), self.message.__name__)

    @property
    def takes_more(self) -> bool:
        """Whether the function has provided parameters, behind the context and the message."""
        return bool(parameters_behind(self.function, 2))

    def replies(self) -> tuple[type[Message], ...]:
        """Check the annotations against the message, and return the message classes that the handler returns or yields.

        Names are evaluated only now, so a handler may be defined above the class of its reply. A missing annotation is
        not checked. Raises `ExtensionError`.
        """
        context, name = (*parameters_of(self.function), "", "")[:2]
        hints = self._hints(name)
        check_context(self.function, context, Context, self._wrong, self.scope)
        accepted = hints.get(name, Any)
        if yields(self.function) is not yields(inspect.unwrap(peel(self.function))):
            hints.pop("return", None)  # a decorator changes the kind of result, without an annotation of its own
        if not any(_covers(option, self.message) for option in alternatives(accepted)):
            raise self._wrong(f"parameter {name!r} should be {self.message.__name__}, not {spell(accepted)}")
        found: list[type[Message]] = []
        given = hints.get("return", Any)
        for option in _yielded(given) if yields(self.function) else alternatives(given):
            if option in (types.NoneType, Any, Message):
                continue
            if not (isinstance(option, type) and issubclass(option, Message)):
                text = "yield a message class" if yields(self.function) else "return a message class or None"
                raise self._wrong(f"should {text}, not {spell(option)}")
            schema_of(option)
            declared = schema_of(self.message).replies
            if declared and option not in declared:
                text = " or ".join(reply.__name__ for reply in declared)
                raise self._wrong(f"should return {text}, as @message(replies=) says, not {schema_of(option).name}")
            found.append(option)
        return tuple(found)

    def takes_malformed(self) -> bool:
        """Return whether the message's annotation names `Malformed`: the handler then gets what does not decode."""
        name = (*parameters_of(self.function), "", "")[1]
        written = getattr(self.function, "__annotations__", {}).get(name, self.message)
        if written is self.message or written == self.message.__name__:
            return False  # the usual case; evaluating an annotation is slow
        return Malformed in alternatives(self._hints(name).get(name, Any))

    def runs(self, function: Callable[..., Any] | None = None) -> tuple[HandlerFunction, StreamFunction | None]:
        """Return the function to await for a message, and, if the handler yields, the one to iterate for a request.

        ``function`` replaces the handler's own, with the same parameters: it adds the provided ones.
        """
        function = self.function if function is None else function
        if not yields(self.function):
            return cast("HandlerFunction", function), None
        stream = cast("StreamFunction", function)

        async def send_each(context: Context, message: Message) -> None:
            async with aclosing(stream(context, message)) as parts:
                async for part in parts:
                    await context.peer.send(part)

        return send_each, stream

    def _hints(self, parameter: str) -> dict[str, Any]:
        try:
            return evaluate(self.function, (parameter, "return"), self.scope)
        except NameError as error:
            raise self._wrong(str(error)) from None

    def _wrong(self, text: str) -> ExtensionError:
        schema = schema_of(self.message)
        return ExtensionError(f"{place(self.function)}, handler of {schema.name} {schema.type_id:#06x}: {text}")


class Rate(NamedTuple):
    """A maximum of messages per second from one peer, after the first ``burst``. ``name`` is the message's."""

    per_second: float
    burst: float
    name: str


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and -sys.float_info.max <= value <= sys.float_info.max


def with_replies(messages: Iterable[type[Message]]) -> dict[type[Message], None]:
    """Return message classes, each followed by the replies that it declares, without repetitions."""
    return {cls: None for message in messages for cls in (message, *schema_of(message).replies)}


def place(function: object) -> str:
    """Return the location of a function, for an error's text: ``module.function``."""
    name = getattr(function, "__qualname__", None) or repr(function)
    module = getattr(function, "__module__", None)
    return f"{module}.{name}" if module else str(name)


def name_of(function: object) -> str:
    """Return a function's name, for the log: that of a partial's function, or of a callable object's class."""
    inner = getattr(function, "func", function)
    return getattr(inner, "__name__", None) or type(inner).__name__


def scope_of(function: object, frame: types.FrameType) -> dict[str, Any]:
    """Return the local names around a function defined inside another, which annotations may use; else no names."""
    return dict(frame.f_locals) if "<locals>" in getattr(function, "__qualname__", "") else {}


def is_async(function: object) -> bool:
    """Return whether calling ``function`` returns a coroutine: an ``async def``, or an object whose call is one."""
    function = peel(function)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def yields(function: object) -> bool:
    """Return whether calling ``function`` returns an asynchronous generator."""
    function = peel(function)
    return inspect.isasyncgenfunction(function) or inspect.isasyncgenfunction(getattr(function, "__call__", None))  # noqa: B004


def check_callback(
    function: object,
    kind: str,
    context: type[AppContext],
    *parameters: str,
    scope: Mapping[str, Any] = _NO_NAMES,
    late: bool = False,
) -> bool:
    """Raise `ExtensionError` unless ``function`` is async and can be called with ``parameters``, first a context.

    ``scope`` are names that its annotations may use besides its globals. Returns whether all of them are known;
    ``late`` raises for one that is not.
    """
    expected = f"{place(function)}, {kind}: should be 'async def' with ({', '.join(parameters)})"
    if not is_async(function):
        raise ExtensionError(f"{expected}, not {kind_of(function)}")
    if why := _unlike(function, len(parameters)):
        raise ExtensionError(f"{expected}, {why}")

    def wrong(text: str) -> ExtensionError:
        return ExtensionError(f"{place(function)}, {kind}: {text}")

    is_known = True
    types_ = (context, *_CALLED_WITH.get(parameters, ()))
    for name, type_ in zip(parameters_of(function), types_, strict=False):
        try:
            if type_ is context:
                _check_context(function, name, context, wrong, scope)
            else:
                _check_annotation(function, name, type_, parameters, wrong, scope)
        except NameError as error:
            if late:
                raise wrong(str(error)) from None
            is_known = False
    return is_known


def check_context(
    function: Any,
    parameter: str,
    expected: type[AppContext],
    wrong: Callable[[str], ExtensionError],
    scope: Mapping[str, Any],
) -> None:
    """Raise the error that ``wrong`` returns if the first parameter has an annotation that excludes ``expected``.

    A missing annotation is not checked. Names of oddwire's own need only be known to type checkers.
    """
    try:
        _check_context(function, parameter, expected, wrong, scope)
    except NameError as error:
        raise wrong(str(error)) from None


def _check_context(
    function: Any,
    parameter: str,
    expected: type[AppContext],
    wrong: Callable[[str], ExtensionError],
    scope: Mapping[str, Any],
) -> None:
    annotation = _annotation(function, parameter, expected, scope)
    options = alternatives(annotation)
    if not any(_may_be(option, expected) for option in options):
        hint = "; its .app is the application" if spell(annotation) == "Application" else ""
        if expected is AppContext and Context in options:
            hint = ", as there is no peer"
        raise wrong(f"parameter {parameter!r} should be {expected.__name__}, not {spell(annotation)}{hint}")


def _may_be(annotation: object, expected: type[AppContext]) -> bool:
    if annotation is Any or not isinstance(annotation, type):
        return True  # for example a type variable
    return getattr(annotation, "_is_protocol", False) or issubclass(expected, annotation)


def _check_annotation(
    function: Any,
    parameter: str,
    expected: Any,
    parameters: Sequence[str],
    wrong: Callable[[str], ExtensionError],
    scope: Mapping[str, Any],
) -> None:
    """Raise the error that ``wrong`` returns if no value of the expected type fits a parameter's annotation."""
    annotation = _annotation(function, parameter, expected, scope)
    if not any(_overlap(one, other) for one in alternatives(annotation) for other in alternatives(expected)):
        raise wrong(
            f"parameter {parameter!r} should be {spelled_type(expected)}, not {spelled_type(annotation)}: it is called "
            f"with ({', '.join(parameters)})"
        )


def _annotation(function: Any, parameter: str, expected: Any, scope: Mapping[str, Any]) -> Any:
    """Return a parameter's annotation, `typing.Any` if it has none. Raises `NameError`."""
    written = getattr(function, "__annotations__", {}).get(parameter)
    if written == expected or written == spelled_type(expected):
        return expected  # the usual case; evaluating an annotation is slow
    known: dict[str, Any] = {one.__name__: one for one in (AppContext, Context, Message, OddwireError)}
    known["oddwire"] = sys.modules.get("oddwire")
    return evaluate(function, (parameter,), scope, known).get(parameter, Any)


def _overlap(annotation: Any, expected: type) -> bool:
    annotation = getattr(annotation, "__supertype__", annotation)  # of a NewType
    cls = typing.get_origin(annotation) or annotation
    if cls is typing.Literal:
        return any(isinstance(value, expected) for value in typing.get_args(annotation))
    if cls is Any or not isinstance(cls, type) or getattr(cls, "_is_protocol", False):
        return True  # for example a type variable
    return issubclass(expected, cls) or issubclass(cls, expected)


def spelled_type(annotation: Any) -> str:
    """Write a type, or a union of types, as an author would: ``Message | None``."""
    options = alternatives(annotation)
    return " | ".join("None" if option is types.NoneType else spell(option) for option in options)


def parameters_behind(function: Any, count: int) -> tuple[inspect.Parameter, ...]:
    """Return a function's parameters behind the first ``count``, each of which must be provided, by its type.

    Raises `TypeError` or `ValueError` if it cannot be called with ``count`` arguments and the provided ones.
    """
    if type(function) is types.FunctionType and not hasattr(function, "__wrapped__"):
        code = function.__code__
        if code.co_argcount == count and not code.co_kwonlyargcount:
            return ()  # the usual case; getting a signature is slow
    given = parameters_of(function).values()
    positional = [parameter for parameter in given if parameter.kind in _POSITIONAL]
    more, named = positional[count:], [parameter for parameter in given if parameter.kind is parameter.KEYWORD_ONLY]
    own_signature(function).bind(*[None] * (count + len(more)), **dict.fromkeys(one.name for one in named))
    return (*more, *named)


def _unlike(function: Any, count: int) -> str:
    """Return how a function's parameters differ from ``count`` and provided ones, for an error; empty if they fit."""
    try:
        more = parameters_behind(function, count)
    except (TypeError, ValueError):
        return f"not ({', '.join(own_signature(function).parameters)})"
    for parameter in more:
        if parameter.annotation is parameter.empty and parameter.default is parameter.empty:
            found = ", ".join(own_signature(function).parameters)
            return f"not ({found}); what follows is provided by its type, and {parameter.name!r} has none"
    return ""


def parameters_of(function: Any) -> types.MappingProxyType[str, inspect.Parameter]:
    """Return a function's parameters by name; for a decorator with ``*args``, those of the function that it wraps."""
    return signature_of(function).parameters


def kind_of(function: object) -> str:
    """Return the kind of a function that should be of another kind, for an error's text."""
    if is_async(function):
        return "an async function"
    if isinstance(function, classmethod):
        return "a classmethod, which cannot be called before there is its class"
    if yields(function):
        return "an async generator (it has a 'yield')"
    return "a plain function" if callable(function) else repr(function)


def _yielded(annotation: Any) -> tuple[Any, ...]:
    """Return the yielded types of ``AsyncIterator[X]``, or of another annotation of an asynchronous generator."""
    if annotation is Any:
        return (Any,)
    given = typing.get_args(annotation)
    return alternatives(given[0]) if given else (annotation,)


def _covers(annotation: Any, message: type[Message]) -> bool:
    return annotation is Any or (isinstance(annotation, type) and issubclass(message, annotation))
