"""What plugins hand over besides messages: handlers of messages and RPC methods, checked when they are made."""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from oddwire.errors import ExtensionError
from oddwire.schema import Message, schema_of

if TYPE_CHECKING:
    from oddwire.app.context import Context

__all__ = ["Handler", "HandlerFunction", "RpcMethod", "check_callback", "is_async", "place"]

HandlerFunction = Callable[["Context", Any], Coroutine[Any, Any, Message | None]]

_RPC_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One async function that receives every message of one class; a message it returns is the reply.

    ``function`` is awaited with a `Context` and the message. ``concurrent`` gives each message a task of its own
    instead of the peer's turn. Raises `ExtensionError` naming module, function, message and what was expected.
    """

    message: type[Message]
    function: HandlerFunction
    concurrent: bool = False
    scope: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """Names that annotations may use besides the function's globals, for a handler made inside another function."""

    def __post_init__(self) -> None:
        if not (isinstance(self.message, type) and issubclass(self.message, Message)):
            raise ExtensionError(
                f"{place(self.function)}: a handler should be given a message class, not {self.message!r}"
            )
        schema_of(self.message)
        if not is_async(self.function):
            raise self._wrong(f"should be 'async def', not {_kind(self.function)}")
        if not _takes(self.function, 2):
            found = f"({', '.join(_parameters(self.function))})"
            raise self._wrong(f"should take two parameters, (context, message), not {found}")

    def replies(self) -> tuple[type[Message], ...]:
        """Check the annotations against the message, and give the message classes the handler says it returns.

        Names are looked up now, so a handler may be written above the reply it returns. An annotation left out is
        not checked. Raises `ExtensionError`.
        """
        name = list(_parameters(self.function))[1]
        hints = self._hints(name)
        accepted = hints.get(name, Any)
        if not any(_covers(option, self.message) for option in _options(accepted)):
            raise self._wrong(f"parameter {name!r} should be {self.message.__name__}, not {_spell(accepted)}")
        found: list[type[Message]] = []
        for option in _options(hints.get("return", Any)):
            if option in (types.NoneType, Any, Message):
                continue
            if not (isinstance(option, type) and issubclass(option, Message)):
                raise self._wrong(f"should return a message class or None, not {_spell(option)}")
            schema_of(option)
            found.append(option)
        return tuple(found)

    def _hints(self, parameter: str) -> dict[str, Any]:
        """Evaluate two annotations, the message's and the reply's: type checkers alone may know the context's."""
        function = self.function
        while isinstance(function, functools.partial):
            function = function.func
        function = inspect.unwrap(function if inspect.isroutine(function) else type(function).__call__)
        written = getattr(function, "__annotations__", {})
        names = {**getattr(function, "__globals__", {}), **self.scope}
        hints = {}
        for name in (parameter, "return"):
            if name in written:
                one = types.SimpleNamespace(__annotations__={name: written[name]})
                try:
                    hints.update(typing.get_type_hints(one, names))
                except Exception as error:
                    text = f"the annotation {written[name]!r} of {name!r} should be known at run time ({error})"
                    raise self._wrong(text) from error
        return hints

    def _wrong(self, text: str) -> ExtensionError:
        schema = schema_of(self.message)
        return ExtensionError(f"{place(self.function)}, handler of {schema.name} {schema.type_id:#06x}: {text}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcMethod:
    """One method for people and programs beside the node, where the transport's host has JSON-RPC.

    ``function`` is awaited with a `Context` that has no peer, then the caller's parameters; it returns what JSON can
    hold. ``usage`` spells the parameters as lightningd's help does (``node_id [asset]``). Raises `ExtensionError`.
    """

    name: str
    function: Callable[..., Coroutine[Any, Any, Any]]
    usage: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        where = f"{place(self.function)}, RPC method {self.name!r}"
        if not isinstance(self.name, str) or not _RPC_NAME.fullmatch(self.name):
            raise ExtensionError(f"{where}: the name should be lower-case words joined by '-', 'quote-ask' say")
        if not is_async(self.function):
            raise ExtensionError(f"{where}: should be 'async def', not {_kind(self.function)}")
        parameters = list(_parameters(self.function).values())
        if not parameters or parameters[0].kind not in (_POSITIONAL_ONLY, _POSITIONAL):
            raise ExtensionError(f"{where}: its first parameter should be the context")
        for parameter in parameters[1:]:
            if parameter.kind not in (_POSITIONAL, _KEYWORD_ONLY):
                raise ExtensionError(f"{where}: parameter {parameter.name!r} should be one that can be given by name")
        if not self.usage:
            spelled = (p.name if p.default is p.empty else f"[{p.name}]" for p in parameters[1:])
            object.__setattr__(self, "usage", " ".join(spelled))
        if not self.description:
            object.__setattr__(self, "description", (inspect.getdoc(self.function) or "").partition("\n\n")[0])


_POSITIONAL_ONLY = inspect.Parameter.POSITIONAL_ONLY
_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD
_KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY


def place(function: object) -> str:
    """Say where a function is, for an error's text: ``module.function``."""
    name = getattr(function, "__qualname__", None) or repr(function)
    module = getattr(function, "__module__", None)
    return f"{module}.{name}" if module else str(name)


def is_async(function: object) -> bool:
    """Say whether calling ``function`` gives something to await: an ``async def``, or an object whose call is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def check_callback(function: object, kind: str, *parameters: str) -> None:
    """Raise `ExtensionError` unless ``function`` is async and can be called with ``parameters``."""
    expected = f"{place(function)}, {kind}: should be 'async def' with ({', '.join(parameters)})"
    if not is_async(function):
        raise ExtensionError(f"{expected}, not {_kind(function)}")
    if not _takes(function, len(parameters)):
        raise ExtensionError(f"{expected}, not ({', '.join(_parameters(function))})")


def _takes(function: Any, count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True


def _parameters(function: Any) -> types.MappingProxyType[str, inspect.Parameter]:
    return inspect.signature(function).parameters


def _kind(function: object) -> str:
    if inspect.isasyncgenfunction(function):
        return "an async generator (it has a 'yield')"
    return "a plain function" if callable(function) else repr(function)


def _options(annotation: Any) -> tuple[Any, ...]:
    """Take a union apart; anything else is its own only option."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def _covers(annotation: Any, message: type[Message]) -> bool:
    return annotation is Any or (isinstance(annotation, type) and issubclass(message, annotation))


def _spell(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
