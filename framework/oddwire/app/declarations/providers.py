"""Dependency injection by type: providers, the functions that depend on them, and their parameters."""

from __future__ import annotations

import collections.abc
import contextlib
import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Literal, NamedTuple

from oddwire.app.context import AppContext, Context, HostNode, Peer
from oddwire.app.declarations.annotations import alternatives, evaluate, peel, spell
from oddwire.app.declarations.handlers import check_context, is_async, parameters_behind, parameters_of, place, yields
from oddwire.errors import ExtensionError
from oddwire.exit_exceptions import spelled
from oddwire.proto.keys import NodeId
from oddwire.records import FrozenRecord
from oddwire.schema import Message

__all__ = [
    "Close",
    "Dependency",
    "Dependent",
    "Made",
    "Provider",
    "dependencies_of",
    "key_of",
    "located",
    "make",
    "read_dependencies",
    "unfit",
]

Close = Callable[[], Awaitable[None]]
Made = tuple[Any, Close | None]
"""The value of a provider, and the function that closes it, if there is one."""

_EMPTY: Final = inspect.Parameter.empty
_CONTEXTS: Final = ("AppContext", "Context")
_PLAIN: Final = (str, int, float, bool, bytes, bytearray, complex, list, dict, set, frozenset, tuple, object)
_ITERATED: Final = (
    *(collections.abc.AsyncIterator, collections.abc.AsyncGenerator, collections.abc.AsyncIterable),
    *(collections.abc.Iterator, collections.abc.Generator, collections.abc.Iterable),
)
_YIELDED: Final = tuple(cls for cls in _ITERATED if not cls.__name__.endswith("Iterable"))
_MANAGED: Final = (contextlib.AbstractContextManager, contextlib.AbstractAsyncContextManager)


class _Kind(Enum):
    RETURNS = 0
    AWAITED = 1
    YIELDS = 2
    YIELDS_ASYNC = 3
    MANAGES = 4
    """The function returns a context manager, which is entered."""


class Provider(FrozenRecord, kw_only=True, hidden=("names",)):
    """One function that provides a value for parameters of a type: that of its annotated return or yield value.

    ``function`` is a ``def`` or ``async def``, a generator of either kind that yields once, or one decorated as a
    context manager by `contextlib`. Its first parameter may be the context; the others are provided, too. ``scope`` is
    the lifetime of the value: ``"app"``, that of the application, or ``"peer"``, that of one connection. Raises
    `ExtensionError`.
    """

    function: Callable[..., Any]
    scope: Literal["app", "peer"] = "app"
    names: Mapping[str, Any] = types.MappingProxyType({})
    """Names that annotations may use besides the function's globals, for a provider made inside another function."""

    def __post_init__(self) -> None:
        if str(self.scope) == "cluster":
            raise self._wrong(
                "scope should be 'app' or 'peer', not 'cluster': what is provided lives in one process. With 'app' "
                "each owner of a partition makes its own; one in all is made by a task of scope 'cluster', for itself"
            )
        if self.scope not in ("app", "peer"):
            raise self._wrong(f"scope should be 'app' or 'peer', not {self.scope!r:.200}")
        if isinstance(self.function, type) or not callable(self.function):
            name = self.function.__name__ if isinstance(self.function, type) else "Thing"
            raise self._wrong(f"should be a function: def make() -> {name}: return {name}(...)")
        try:
            parameters_of(self.function)
        except (TypeError, ValueError) as error:
            raise self._wrong(f"cannot be called: {error}") from None

    @property
    def kind(self) -> _Kind:
        """The kind of the function: how its value is obtained."""
        function = peel(self.function)
        call = getattr(function, "__call__", None)  # noqa: B004 - a callable object's own
        if yields(function):
            return _Kind.YIELDS_ASYNC
        if inspect.isgeneratorfunction(function) or inspect.isgeneratorfunction(call):
            return _Kind.YIELDS
        if is_async(function):
            return _Kind.AWAITED
        wrapped = peel(inspect.unwrap(function))
        if wrapped is not function and (yields(wrapped) or inspect.isgeneratorfunction(wrapped)):
            return _Kind.MANAGES
        return _Kind.MANAGES if typing.get_origin(self._returns()) in _MANAGED else _Kind.RETURNS

    def provides(self) -> Any:
        """Return the provided type. Raises `ExtensionError` if the annotation is missing or unsuitable."""
        written = self._returns()
        if written is _EMPTY:
            raise self._wrong("should say by its annotation what it provides: -> Database")
        annotation, origin, kind = written, typing.get_origin(written), self.kind
        if kind in (_Kind.YIELDS, _Kind.YIELDS_ASYNC, _Kind.MANAGES):
            if origin not in (*_ITERATED, *_MANAGED) or not typing.get_args(written):
                should = "AsyncIterator" if kind is _Kind.YIELDS_ASYNC else "Iterator"
                raise self._wrong(f"yields, so its annotation should be {should}[X], not {spell(written)}")
            annotation = typing.get_args(written)[0]
        elif origin in _YIELDED or written in _YIELDED:
            given = spell(typing.get_args(written)[0]) if typing.get_args(written) else "X"
            raise self._wrong(
                f"should yield what it provides, as its annotation is {spell(written)}, and it has no 'yield'; or, if "
                f"it returns that, should say so: -> {given}"
            )
        if annotation in (None, types.NoneType):
            raise self._wrong("should provide something, and not None")
        if len(one := _without_none(annotation)) == 1 and one != (annotation,):
            raise self._wrong(
                f"provides {spell(annotation)}: it should be {spell(one[0])}, or raise; who can do without takes a "
                f"parameter with a default, 'it: {spell(one[0])} | None = None', where nobody provides one"
            )
        if why := unfit(annotation):
            raise self._wrong(f"provides {spell(annotation)}: {why}")
        return annotation

    @property
    def takes_context(self) -> bool:
        """Whether the function's first parameter is the context."""
        first = next(iter(parameters_of(self.function).values()), None)
        if first is None or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
            return False
        if first.annotation is _EMPTY:
            return first.default is _EMPTY
        try:
            hint = evaluate(self.function, (first.name,), self.names).get(first.name, Any)
        except NameError:
            hint = first.annotation
        return spell(hint) in _CONTEXTS or (isinstance(hint, type) and issubclass(hint, AppContext))

    def dependent(self) -> Dependent:
        """Return the provider as a `Dependent`, for its own parameters. Raises `ExtensionError` for a wrong context."""
        per_peer = self.scope == "peer"
        fixed: tuple[str, ...] = ()
        if self.takes_context:
            fixed = (next(iter(parameters_of(self.function))),)
            check_context(self.function, fixed[0], Context if per_peer else AppContext, self._wrong, self.names)
        return Dependent(function=self.function, what="provider", fixed=fixed, per_peer=per_peer, names=self.names)

    def _returns(self) -> Any:
        try:
            return evaluate(self.function, ("return",), self.names).get("return", _EMPTY)
        except NameError as error:
            raise self._wrong(str(error)) from None

    def _wrong(self, text: str) -> ExtensionError:
        return ExtensionError(f"provider {located(self.function)}: {text}")


class Dependent(FrozenRecord, kw_only=True, hidden=("names",)):
    """A function with provided parameters behind the ``fixed`` ones; ``what`` names it in errors, as ``on_startup``.

    ``per_peer`` is whether it is called for a peer's connection, and so may take things of scope ``"peer"``.
    """

    function: Callable[..., Any]
    what: str
    fixed: tuple[str, ...]
    per_peer: bool
    names: Mapping[str, Any] = types.MappingProxyType({})

    def describe(self, owner: str) -> str:
        """Return the function's description and location, for errors. ``owner`` is the plugin's name."""
        return f"{self.what} of {owner!r}, {located(self.function)}"


class Dependency(NamedTuple):
    """A provided parameter. ``key`` identifies its type, None if only its default can be used.

    ``default`` is `inspect.Parameter.empty` if it has none; ``by_name`` is whether it is keyword-only.
    """

    name: str
    key: object
    annotation: Any
    default: Any
    by_name: bool


def dependencies_of(dependent: Dependent, owner: str) -> tuple[Dependency, ...]:
    """Return a function's parameters behind the fixed ones. Raises `ExtensionError` for an unsuitable type."""
    more = parameters_behind(dependent.function, len(dependent.fixed))
    return read_dependencies(dependent, owner, more)


def read_dependencies(
    dependent: Dependent, owner: str, parameters: Sequence[inspect.Parameter]
) -> tuple[Dependency, ...]:
    """Return the dependencies of some parameters of a function. Raises as `dependencies_of` does."""
    try:
        hints = evaluate(dependent.function, [parameter.name for parameter in parameters], dependent.names)
    except NameError as error:
        raise ExtensionError(f"{dependent.describe(owner)}: {error}") from None
    found = []
    for parameter in parameters:
        annotation, by_name = hints.get(parameter.name, _EMPTY), parameter.kind is parameter.KEYWORD_ONLY
        options = _without_none(annotation)
        if len(options) == 1 and parameter.default is not _EMPTY:
            annotation = options[0]  # X | None = None: X, if there is a provider
        why = unfit(annotation)
        if why and len(options) == 1 and options != (annotation,):
            name = spell(options[0])
            why = f"it should be {name}, or, where nobody may provide one, have a default: {name} | None = None"
        if why and (parameter.default is _EMPTY or _is_given(annotation)):
            what = "has no type" if annotation is _EMPTY else f"takes {spell(annotation)}"
            raise ExtensionError(f"{dependent.describe(owner)}: parameter {parameter.name!r} {what}: {why}")
        key = None if why else key_of(annotation)
        found.append(Dependency(parameter.name, key, annotation, parameter.default, by_name))
    return tuple(found)


def _without_none(annotation: Any) -> tuple[Any, ...]:
    return tuple(option for option in alternatives(annotation) if option is not types.NoneType)


def unfit(annotation: Any) -> str:
    """Return why a type can be neither provided nor taken, and what would be right; empty if it can."""
    if annotation is _EMPTY:
        return "by its type it would be found"
    try:
        hash(key_of(annotation))
    except TypeError:
        return "it cannot be looked up, as it has no hash"
    if _is_given(annotation):
        return _given(annotation)
    if annotation in (Any, types.NoneType, typing.NoReturn, typing.Never) or annotation in _PLAIN:
        name = spell(annotation)
        text = f"{name} says too little to be found by"
        return (
            text if annotation in (Any, object, types.NoneType) else f"{text}: Size = NewType('Size', {name}) says it"
        )
    if len(alternatives(annotation)) > 1:
        return "one type is needed, not several"
    if isinstance(annotation, typing.TypeVar) or typing.get_origin(annotation) is Literal:
        return "a class is needed, a NewType or a generic type such as dict[str, int]"
    return ""


def _is_given(annotation: Any) -> bool:
    return isinstance(annotation, type) and bool(_given(annotation))


def _given(cls: type) -> str:
    """Return how a function has access to a class that is never provided; empty for other classes."""
    if issubclass(cls, AppContext):
        return "the context is there anyway, as the first parameter"
    if cls.__name__ == "Application" and cls.__module__ == "oddwire.app.application":
        return "it is there anyway, as context.app"
    if issubclass(cls, (Peer, HostNode)):
        return f"it is there anyway, as context.{'peer' if issubclass(cls, Peer) else 'node'}"
    if issubclass(cls, NodeId):
        return "that of the peer is there anyway, as context.peer.node_id; NewType makes a type of another"
    if issubclass(cls, Message):
        return "messages come to the handlers of their classes, as the second parameter"
    return ""


def key_of(annotation: Any) -> object:
    """Return the key of a type in tables: ``typing.List[int]`` has that of ``list[int]``."""
    if isinstance(annotation, (list, tuple)):  # parameters of a Callable
        return (*map(key_of, annotation),)
    origin = typing.get_origin(annotation)
    return annotation if origin is None else (origin, *map(key_of, typing.get_args(annotation)))


def located(function: object) -> str:
    """Return the location of a function's definition: ``module.function (file.py:12)``."""
    code = getattr(inspect.unwrap(peel(function)), "__code__", None)
    where = place(peel(function))
    return where if code is None else f"{where} ({code.co_filename}:{code.co_firstlineno})"


async def make(provider: Provider, arguments: Sequence[Any], named: Mapping[str, Any]) -> Made:
    """Call a provider; return its value, and the async function that closes the value, if there is one.

    Raises the provider's exceptions, and `ExtensionError` if it provides no value. The closing function raises
    `ExtensionError` for a second ``yield``.
    """
    kind, result = provider.kind, provider.function(*arguments, **named)
    close: Close | None = None
    if kind is _Kind.AWAITED:
        value = await result
    elif kind is _Kind.YIELDS_ASYNC:
        value = await anext(result, _EMPTY)
        close = _ending(_end_async, provider, result)
    elif kind is _Kind.YIELDS:
        value = next(result, _EMPTY)
        close = _ending(_end, provider, result)
    elif kind is _Kind.MANAGES:
        value, close = await _enter(provider, result)
    else:
        value = result
    if value is _EMPTY:
        raise ExtensionError(f"provider {located(provider.function)} has ended without a 'yield': it should yield once")
    if value is None or inspect.iscoroutine(value):
        found = "None" if close is not None else "None: has it a 'return', or a 'yield'?"
        if inspect.iscoroutine(value):
            value.close()
            found = "a coroutine: it should be 'async def' and await that"
        if close is not None:
            await close()
        what = spell(provider.provides())
        raise ExtensionError(f"provider {located(provider.function)} should provide {what}, not {found}")
    return value, close


def _ending(end: Callable[[Provider, Any], Awaitable[None]], provider: Provider, made: Any) -> Close:
    return lambda: end(provider, made)


async def _end_async(provider: Provider, generator: Any) -> None:
    if await anext(generator, _EMPTY) is not _EMPTY:
        try:
            await generator.aclose()
        except Exception as error:
            raise _twice(provider, error) from error
        raise _twice(provider)


async def _end(provider: Provider, generator: Any) -> None:
    if next(generator, _EMPTY) is not _EMPTY:
        try:
            generator.close()
        except Exception as error:
            raise _twice(provider, error) from error
        raise _twice(provider)


async def _enter(provider: Provider, manager: Any) -> Made:
    if hasattr(manager, "__aenter__"):
        value = await manager.__aenter__()

        async def leave() -> None:
            await manager.__aexit__(None, None, None)

    elif hasattr(manager, "__enter__"):
        value = manager.__enter__()

        async def leave() -> None:
            manager.__exit__(None, None, None)

    else:
        raise ExtensionError(f"provider {located(provider.function)} should return a context manager, not {manager!r}")
    return value, leave


def _twice(provider: Provider, error: Exception | None = None) -> ExtensionError:
    then = "" if error is None else f"; closed there, it raised {spelled(error)}"
    return ExtensionError(
        f"provider {located(provider.function)} yields a second time: it should yield once, and close behind that{then}"
    )
