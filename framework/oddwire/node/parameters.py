"""Parameters of JSON-RPC methods: what each kind takes, and lightningd's words for what it does not.

A parser takes the JSON value and gives ours, or raises `ValueError` saying what it should be.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from oddwire.proto.keys import NodeId, PublicKey

__all__ = [
    "Parameter",
    "a_bool",
    "a_hex",
    "a_key",
    "a_node_id",
    "a_number",
    "a_port",
    "a_pubkey",
    "a_string",
    "a_u64",
    "anything",
    "text_of",
]


@dataclass(frozen=True, slots=True)
class Parameter:
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
    """Give a value as the text it had: a string without its quotes, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def anything(value: Any) -> Any:
    """Take any value as it is."""
    return value


def a_string(value: Any) -> str:
    """Take any value as text, as lightningd does."""
    text = text_of(value)
    if not _is_unicode(text):
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


def _an_integer(value: Any, bits: int, text: str) -> int:
    digits = text_of(value)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20 and int(digits) < 1 << bits):
        raise ValueError(text)
    return int(digits)


def a_number(value: Any) -> int:
    """Take an integer of 32 bits, as JSON or as text."""
    return _an_integer(value, 32, "should be an integer")


def a_u64(value: Any) -> int:
    """Take an integer of 64 bits, as JSON or as text."""
    return _an_integer(value, 64, "should be an unsigned 64 bit integer")


def a_port(value: Any) -> int:
    """Take a port, 1 to 65535."""
    port = _an_integer(value, 16, "should be a 16-bit integer")
    if not port:
        raise ValueError("should be non-zero")
    return port


def a_key(value: Any) -> tuple[str, ...]:
    """Take a datastore key: a string, or an array of them."""
    if isinstance(value, list):
        if not value:
            raise ValueError("should not be empty")
        if any(isinstance(part, (list, dict)) for part in value):
            raise ValueError("should be string")
        return tuple(map(_a_part, value))
    if isinstance(value, dict):
        raise ValueError("should be string or array")
    return (_a_part(value),)


def _a_part(value: Any) -> str:
    text = text_of(value)
    if "\0" in text or not _is_unicode(text):
        raise ValueError("should be string")
    return text


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False  # half of a surrogate pair
    return True
