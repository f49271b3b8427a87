"""Conversion of external values by annotations: parameters of RPC methods, values of options.

A reader converts a value from JSON or a command line to the annotated type, or raises `ValueError` saying what it
should be. lightning-cli guesses the JSON type of what people type: so a number is accepted for text, and digits for a
number.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final, Literal

from oddwire.errors import OddwireError
from oddwire.jsonrpc.parameters import a_bool, a_hex, a_node_id, a_pubkey, anything, is_unicode, text_of
from oddwire.proto.keys import NodeId, PublicKey, ShortChannelId

__all__ = [
    "Reader",
    "alternatives",
    "either",
    "evaluate",
    "own_signature",
    "peel",
    "reader_of",
    "signature_of",
    "spell",
]

Reader = Callable[[Any], Any]

_ANYTHING: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")


def evaluate(
    function: Any,
    names: Sequence[str],
    scope: Mapping[str, Any],
    fallback: Mapping[str, Any] = types.MappingProxyType({}),
    *,
    extras: bool = False,
) -> dict[str, Any]:
    """Evaluate the annotations of the named parameters, and no others, which may only be known to type checkers.

    They are found through partials, methods, decorators and callable objects; for a wrapper without its own, at the
    wrapped function. ``scope`` are names they may use besides the function's globals, and ``fallback`` those that count
    if nothing else has the name. With ``extras``, what `Annotated` adds to a type is kept. Raises `NameError` for an
    annotation that cannot be evaluated, whatever the reason, naming it.
    """
    hints: dict[str, Any] = {}
    for layer in _layers(function):
        written = getattr(layer, "__annotations__", {})
        if hasattr(layer, "__wrapped__") and written == getattr(layer.__wrapped__, "__annotations__", None):
            continue  # copied by `functools.wraps`: their names are those of the wrapped function's module
        known = {**fallback, **getattr(layer, "__globals__", {}), **scope}
        for name in names:
            if name not in written or hints.get(name, Any) is not Any:
                continue  # a decorator's Any is no information
            one = types.SimpleNamespace(__annotations__={name: written[name]})
            try:
                hints.update(typing.get_type_hints(one, known, include_extras=extras))
            except Exception as error:
                text = f"the annotation {written[name]!r} of {name!r} should be known at run time ({error})"
                raise NameError(text) from error
    return hints


def peel(function: Any) -> Any:
    """Return the function behind partials and static methods."""
    while isinstance(function, functools.partial | staticmethod):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    return function


def _layers(function: Any) -> Iterator[Any]:
    """Yield the function that is called, and those that it wraps by ``__wrapped__``, outermost first."""
    function = peel(function)
    seen: set[int] = set()
    while function is not None and id(function) not in seen:
        seen.add(id(function))
        yield function if inspect.isroutine(function) else type(function).__call__
        function = peel(getattr(function, "__wrapped__", None))


def signature_of(function: Any) -> inspect.Signature:
    """Return the signature of a call: a decorator's own, or if that accepts any arguments, the wrapped function's.

    Raises `TypeError` or `ValueError` for an object without one.
    """
    if isinstance(function, staticmethod):
        return signature_of(function.__func__)
    if isinstance(function, types.MethodType):
        inner = signature_of(function.__func__)
        return inner.replace(parameters=list(inner.parameters.values())[1:])
    own = own_signature(function)
    wrapped = getattr(function, "__wrapped__", None)
    anything = any(parameter.kind in _ANYTHING for parameter in own.parameters.values())
    return own if wrapped is None or not anything else signature_of(wrapped)


def own_signature(function: Any) -> inspect.Signature:
    """Return the signature of the called function itself, ignoring ``__wrapped__``. Raises as `signature_of` does."""
    if isinstance(function, staticmethod):
        function = function.__func__
    return inspect.signature(function, follow_wrapped=False)


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union; of any other annotation, itself alone."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def spell(annotation: Any) -> str:
    """Write a type as an author would."""
    if isinstance(annotation, types.GenericAlias) or not isinstance(annotation, type):
        return str(annotation.__name__ if hasattr(annotation, "__supertype__") else annotation)
    return annotation.__name__


def either(classes: Iterable[type]) -> str:
    """Return the names of classes of which one is wanted, for an error: ``Quote or NoQuote``."""
    return " or ".join(cls.__name__ for cls in classes)


def reader_of(annotation: Any) -> Reader:
    """Return the reader of an annotation. Raises `TypeError` for one that cannot be read from JSON."""
    annotation = getattr(annotation, "__supertype__", getattr(annotation, "__value__", annotation))
    if annotation in _READERS:
        return _READERS[annotation]
    options = alternatives(annotation)
    if len(options) > 1:
        return _any_of(options)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return _one_of({text_of(value): value for value in arguments})
    if origin is not None:
        return _container(annotation, origin, arguments)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _member_of(annotation)
    if isinstance(annotation, type) and annotation.__module__ != "builtins" and _takes_one(annotation):
        return _made_of_text(annotation)
    shown = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    raise TypeError(
        f"{shown} cannot be read from JSON; it should be str, int, float, bool, bytes, list, dict, NodeId, PublicKey, "
        "ShortChannelId, an Enum, a Literal, one of these or None, or a class made of a text; or it should be provided"
    )


def _text(value: Any) -> str:
    if not isinstance(value, (str, int, float)):
        raise ValueError("should be a string")
    if not is_unicode(text := text_of(value)):
        raise ValueError("should be a string that UTF-8 can say")
    return text


def _integer(value: Any) -> int:
    if type(value) is int:
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    raise ValueError("should be an integer")


def _float(value: Any) -> float:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise ValueError("should be a number")


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else a_hex(value)


def _node_id(value: Any) -> NodeId:
    return value if isinstance(value, NodeId) else a_node_id(value)


def _pubkey(value: Any) -> PublicKey:
    return value if isinstance(value, PublicKey) else a_pubkey(value)


def _short_channel_id(value: Any) -> ShortChannelId:
    if isinstance(value, ShortChannelId):
        return value
    try:
        return ShortChannelId.from_str(value)
    except (AttributeError, ValueError):
        raise ValueError("should be a short_channel_id of form NxNxN") from None


def _list(value: Any) -> list[Any]:
    found = _parsed(value)
    if not isinstance(found, (list, tuple)):
        raise ValueError("should be an array")
    return list(found)


def _dict(value: Any) -> dict[str, Any]:
    found = _parsed(value)
    if not isinstance(found, dict):
        raise ValueError("should be an object")
    return found


def _none(value: Any) -> None:
    if value is not None:
        raise ValueError("should be null")


def _parsed(value: Any) -> Any:
    """Return the value of a JSON text, as from a command line, None if it is no JSON; other values unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


_READERS: Final[dict[Any, Reader]] = {
    Any: anything,
    object: anything,
    inspect.Parameter.empty: anything,
    str: _text,
    int: _integer,
    float: _float,
    bool: a_bool,
    bytes: _bytes,
    list: _list,
    dict: _dict,
    types.NoneType: _none,
    None: _none,
    NodeId: _node_id,
    PublicKey: _pubkey,
    ShortChannelId: _short_channel_id,
}


def _any_of(options: tuple[Any, ...]) -> Reader:
    readers = {option: reader_of(option) for option in options}

    def read(value: Any) -> Any:
        # The JSON type takes precedence: 5 is an int for "str | int"
        if (exact := readers.get(type(value))) is not None:
            return exact(value)
        refusals: dict[str, None] = {}
        for option, reader in readers.items():
            try:
                return reader(value)
            except ValueError as error:
                if option is not types.NoneType:
                    refusals[str(error)] = None
        raise ValueError(" or ".join(refusals))

    return read


def _container(annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Reader:
    if origin in (list, tuple, Sequence) and (origin is not tuple or arguments[1:] == (Ellipsis,)):
        item = reader_of(arguments[0])
        whole: Reader = tuple if origin is tuple else list

        def read_list(value: Any) -> Any:
            return whole(_inner(f"[{index}]", item, one) for index, one in enumerate(_list(value)))

        return read_list
    if origin in (dict, Mapping) and arguments[0] is str:
        inner = reader_of(arguments[1])

        def read_dict(value: Any) -> dict[str, Any]:
            return {key: _inner(f".{key}", inner, one) for key, one in _dict(value).items()}

        return read_dict
    raise TypeError(f"{annotation} cannot be read from JSON; list[X], tuple[X, ...] and dict[str, X] can")


def _inner(place: str, reader: Reader, value: Any) -> Any:
    try:
        return reader(value)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _one_of(choices: Mapping[str, Any]) -> Reader:
    def read(value: Any) -> Any:
        try:
            return choices[text_of(value)]
        except (KeyError, TypeError):
            raise ValueError(f"should be one of {', '.join(choices)}") from None

    return read


def _member_of(enum: type[Enum]) -> Reader:
    members = {str(member.value): member for member in enum}
    by_name = enum.__members__

    def read(value: Any) -> Any:
        if isinstance(value, enum):
            return value
        text = str(value) if isinstance(value, (str, int)) else ""
        if text in members:
            return members[text]
        if text in by_name:
            return by_name[text]
        raise ValueError(f"should be one of {', '.join(members if issubclass(enum, str) else by_name)}")

    return read


def _takes_one(cls: type) -> bool:
    try:
        inspect.signature(cls).bind("")
    except TypeError:
        return False
    except ValueError:  # some classes written in C have no signature
        return True
    return True


def _made_of_text(cls: type) -> Reader:
    is_path = hasattr(cls, "__fspath__")  # file names need not be UTF-8

    def read(value: Any) -> Any:
        if isinstance(value, cls):
            return value
        try:
            return cls(value if is_path and isinstance(value, str) else _text(value))
        except (OddwireError, ValueError) as error:
            raise ValueError(str(error)) from None
        except ArithmeticError:  # raised by decimal
            raise ValueError(f"should be a {cls.__name__}") from None

    return read
