"""RPC methods: a name, an async function, and the conversion of a caller's parameters."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from oddwire.app.context import AppContext
from oddwire.app.declarations.annotations import evaluate, own_signature, reader_of
from oddwire.app.declarations.cln_names import LIGHTNINGD_METHODS
from oddwire.app.declarations.handlers import check_context, is_async, kind_of, parameters_of, place
from oddwire.errors import ExtensionError, NodeRefused
from oddwire.jsonrpc.parameters import INVALID_PARAMS, Parameter, bind
from oddwire.records import FrozenRecord

__all__ = ["WORDS", "RpcMethod", "bind_parameters", "check_parameters"]

WORDS: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""The form of the names of methods and options."""

_SHOWN: Final = 200
_POSITIONAL_ONLY: Final = inspect.Parameter.POSITIONAL_ONLY
_POSITIONAL: Final = inspect.Parameter.POSITIONAL_OR_KEYWORD
_KEYWORD_ONLY: Final = inspect.Parameter.KEYWORD_ONLY


class RpcMethod(FrozenRecord, kw_only=True):
    """One method for clients of the node, where the transport's host has JSON-RPC.

    ``function`` is awaited with an `AppContext` and the caller's parameters, converted by their annotations;
    `to_plain` converts its result to JSON. ``usage`` lists the parameters in the form of lightningd's help
    (``node_id [asset]``). Raises `ExtensionError`, also for a name that is one of Core Lightning's own.
    """

    name: str
    function: Callable[..., Coroutine[Any, Any, Any]]
    usage: str = ""
    description: str = ""
    scope: Mapping[str, Any] = MappingProxyType({})
    """Names that annotations may use besides the function's globals, for a method made inside another function."""
    provided: tuple[str, ...] = ()
    """Parameters that are found by their type when it is loaded: its callers do not have them."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not WORDS.fullmatch(self.name):
            raise self._wrong("the name should be lower-case words joined by '-', 'quote-ask' say")
        if self.name in LIGHTNINGD_METHODS:
            raise self._wrong(f"Core Lightning has a method of this name; another would do, 'my-{self.name}' say")
        if not is_async(self.function):
            raise self._wrong(f"should be 'async def', not {kind_of(self.function)}")
        check_parameters(self.function, (*self.names, *self.provided), self._wrong)
        if not self.usage:
            vars(self)["usage"] = self.spelled()
        if not self.description:
            text = (inspect.getdoc(self.function) or "").partition("\n\n")[0]
            vars(self)["description"] = " ".join(text.split())

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the caller's parameters, without the context and those provided."""
        return tuple(name for name in list(parameters_of(self.function))[1:] if name not in self.provided)

    def spelled(self) -> str:
        """Spell its callers' parameters, as ``usage`` does if the author has not said otherwise."""
        found = parameters_of(self.function)
        return " ".join(name if found[name].default is found[name].empty else f"[{name}]" for name in self.names)

    def annotation(self, name: str) -> Any:
        """Return the type of a parameter, `typing.Any` if it has none. Raises `ExtensionError`."""
        try:
            return evaluate(self.function, (name,), self.scope).get(name, Any)
        except NameError as error:
            raise self._wrong(str(error)) from None

    def parameters(self) -> tuple[Parameter, ...]:
        """Evaluate the annotations, and return every parameter with its reader.

        Names are looked up now, so an annotation may name a class defined later. A parameter without one accepts any
        value. Raises `ExtensionError` for an annotation that cannot be read from JSON.
        """
        found = []
        first = next(iter(parameters_of(self.function)))
        check_context(self.function, first, AppContext, self._wrong, self.scope)
        try:
            hints = evaluate(self.function, self.names, self.scope)
        except NameError as error:
            raise self._wrong(str(error)) from None
        for name in self.names:
            default = parameters_of(self.function)[name].default
            required = default is inspect.Parameter.empty
            try:
                reader = reader_of(hints.get(name, Any))
            except TypeError as error:
                raise self._wrong(f"parameter {name!r}: {error}") from None
            found.append(Parameter(name, reader, required=required, default=None if required else default))
        return tuple(found)

    def _wrong(self, text: str) -> ExtensionError:
        return ExtensionError(f"{place(self.function)}, RPC method {self.name!r}: {text}")


def check_parameters(
    function: Callable[..., Any], names: Sequence[str], wrong: Callable[[str], ExtensionError]
) -> None:
    """Raise the error that ``wrong`` returns unless a function takes a context and parameters of these names."""
    parameters = list(parameters_of(function).values())
    if not parameters or parameters[0].kind not in (_POSITIONAL_ONLY, _POSITIONAL):
        raise wrong("its first parameter should be the context")
    for parameter in parameters[1:]:
        if parameter.kind not in (_POSITIONAL, _KEYWORD_ONLY):
            raise wrong(f"parameter {parameter.name!r} should be one that can be given by name")
    try:
        own_signature(function).bind(None, **dict.fromkeys(names))
    except TypeError as error:
        raise wrong(f"its decorator should take what it wraps takes, by name: {error}") from None


def bind_parameters(parameters: Sequence[Parameter], params: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Convert a caller's parameters, in order or by name, to arguments by name.

    Raises `NodeRefused`, code -32602, in lightningd's words.
    """
    values = bind(parameters, params, _parse)
    return {parameter.name: value for parameter, value in zip(parameters, values, strict=True)}


def _parse(parameter: Parameter, value: Any) -> Any:
    try:
        return parameter.parse(value)
    except ValueError as error:
        if value is None and not parameter.required:
            return parameter.default  # null by name is treated as null by position
        token = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
        shown = token if len(token) <= _SHOWN else f"{token[:_SHOWN]}... ({len(token)} characters)"
        raise NodeRefused(f"{parameter.name}: {error}: invalid token '{shown}'", code=INVALID_PARAMS) from None
