"""Parameters of JSON-RPC methods: how they are given, what each kind takes, lightningd's words for what it does not.

A parser takes the JSON value and gives ours, or raises `ValueError` saying what it should be.
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

# JSON-RPC 2.0, Error object; and lightningd's own for what a method says no to
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
LIGHTNINGD: Final = -1


class Parameter(NamedTuple):
    """One parameter: its name, what reads it, and whether it must be there; else it is ``default``."""

    name: str
    parse: Callable[[Any], Any]
    required: bool = True
    default: Any = None

    @property
    def usage(self) -> str:
        """The name as ``help`` shows it, in brackets if optional."""
        return self.name if self.required else f"[{self.name}]"


def text_of(value: Any) -> str:
    """Return a value as the text it had: a string without its quotes, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def anything(value: Any) -> Any:
    """Take any value as it is."""
    return value


def a_string(value: Any) -> str:
    """Take any value as text, as lightningd does."""
    text = text_of(value)
    if not is_unicode(text):
        raise ValueError("should be a string")
    return text


def a_bool(value: Any) -> bool:
    """Take true and false, as JSON or as text."""
    text = text_of(value)
    if text not in ("true", "false"):
        raise ValueError("should be 'true' or 'false'")
    return text == "true"


# Whether a node id is a point costs a square root; the same few are asked for again and again
_known_points: dict[str, NodeId] = {}
_MOST_KNOWN = 4096


def a_node_id(value: Any) -> NodeId:
    """Take 66 hex digits that are a point on the curve."""
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
    """Take a public key, 66 hex digits."""
    try:
        return PublicKey.from_hex(text_of(value))
    except ValueError:
        raise ValueError("should be a compressed pubkey") from None


def a_hex(value: Any) -> bytes:
    """Take bytes in hex."""
    text = text_of(value)
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) * 2 != len(text):  # fromhex overlooks spaces
        raise ValueError("should be a hex value")
    return data


def is_unicode(text: str) -> bool:
    """Say whether a text can be written: half of a surrogate pair cannot."""
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
    """Return each parameter's value: what ``parse`` makes of what was given, in order or by name, or its default.

    A null in a list is a parameter left out. Raises `NodeRefused` in lightningd's words for one that is unknown, too
    many or missing, and what ``parse`` raises.
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
