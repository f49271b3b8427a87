"""Parameters of JSON-RPC methods: binding by position or name, parsers of each kind, and lightningd's error texts.

A parser converts a JSON value to ours, or raises `ValueError` saying what it should be.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from oddwire.errors import NodeRefused
from oddwire.proto.keys import NodeId, PublicKey

__all__ = [
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "LIGHTNINGD",
    "METHOD_NOT_FOUND",
    "Parameter",
    "a_bool",
    "a_hex",
    "a_node_id",
    "a_pubkey",
    "a_string",
    "anything",
    "bind",
    "is_unicode",
    "text_of",
    "unknown_parameter",
]

# JSON-RPC 2.0, Error object; and lightningd's own for a method's refusal
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
LIGHTNINGD: Final = -1


class Parameter(NamedTuple):
    """One parameter: its name, its parser, whether it is required, and otherwise its ``default``."""

    name: str
    parse: Callable[[Any], Any]
    required: bool = True
    default: Any = None

    @property
    def usage(self) -> str:
        """The name as ``help`` shows it, in brackets if optional."""
        return self.name if self.required else f"[{self.name}]"


def text_of(value: Any) -> str:
    """Return a value as text: a string without its quotes, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def anything(value: Any) -> Any:
    """Return any value unchanged."""
    return value


def a_string(value: Any) -> str:
    """Return any value as text, as lightningd does."""
    text = text_of(value)
    if not is_unicode(text):
        raise ValueError("should be a string")
    return text


def a_bool(value: Any) -> bool:
    """Parse true or false, as JSON or as text. Raises `ValueError`."""
    text = text_of(value)
    if text not in ("true", "false"):
        raise ValueError("should be 'true' or 'false'")
    return text == "true"


# Checking that a node id is a point costs a square root, and the same few are used over and over
_known_points: dict[str, NodeId] = {}
_MOST_KNOWN = 4096


def a_node_id(value: Any) -> NodeId:
    """Parse 66 hex digits of a point on the curve. Raises `ValueError`."""
    try:
        return _known_points[value]
    except (KeyError, TypeError):
        pass
    try:
        node_id = NodeId(text_of(value))
        PublicKey(node_id)
    except ValueError:
        raise ValueError("should be a node id") from None
    if len(_known_points) >= _MOST_KNOWN:
        _known_points.clear()
    _known_points[value] = node_id
    return node_id


def a_pubkey(value: Any) -> PublicKey:
    """Parse a public key, 66 hex digits. Raises `ValueError`."""
    try:
        return PublicKey.from_hex(text_of(value))
    except ValueError:
        raise ValueError("should be a compressed pubkey") from None


def a_hex(value: Any) -> bytes:
    """Parse bytes in hex. Raises `ValueError`."""
    text = text_of(value)
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) * 2 != len(text):  # fromhex skips spaces
        raise ValueError("should be a hex value")
    return data


def is_unicode(text: str) -> bool:
    """Return whether a text can be encoded in UTF-8: it has no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def unknown_parameter(name: str) -> NodeRefused:
    """Return lightningd's error for a parameter that a method does not have."""
    return NodeRefused(
        f"unknown parameter: {name}, this may be caused by a failure to autodetect key=value-style "
        "parameters. Please try using the -k flag and explicit key=value pairs of parameters.",
        code=INVALID_PARAMS,
    )


def bind(
    parameters: Sequence[Parameter],
    params: Sequence[Any] | Mapping[str, Any],
    parse: Callable[[Parameter, Any], Any],
) -> list[Any]:
    """Return each parameter's value, passed by position or name and parsed by ``parse``, or its default.

    A null in a list is a parameter left out. Raises `NodeRefused` with lightningd's text for unknown, missing or too
    many parameters, and the errors of ``parse``.
    """
    values = [parameter.default for parameter in parameters]
    given = [False] * len(parameters)
    if isinstance(params, dict):
        positions = {parameter.name: index for index, parameter in enumerate(parameters)}
        for name, value in params.items():
            index = positions.get(name, -1)
            if index < 0:
                raise unknown_parameter(name)
            values[index] = parse(parameters[index], value)
            given[index] = True
    elif isinstance(params, (list, tuple)):
        for index, value in enumerate(params):
            if index == len(parameters):
                raise NodeRefused(
                    f"too many parameters: got {len(params)}, expected {len(parameters)}", code=INVALID_PARAMS
                )
            if value is not None:
                values[index] = parse(parameters[index], value)
                given[index] = True
    else:
        raise NodeRefused("Expected array or object for params", code=INVALID_PARAMS)
    for index, parameter in enumerate(parameters):
        if parameter.required and not given[index]:
            raise NodeRefused(f"missing required parameter: {parameter.name}", code=INVALID_PARAMS)
    return values
