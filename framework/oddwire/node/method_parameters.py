"""Parsers of parameters that only the node's own methods have, with lightningd's error texts.

The common ones are in `oddwire.jsonrpc.parameters`. All raise `ValueError`.
"""

from __future__ import annotations

from typing import Any

from oddwire.jsonrpc.parameters import is_unicode, text_of

__all__ = ["a_flag", "a_key", "a_number", "a_port", "a_u64"]


def _an_integer(value: Any, bits: int, text: str) -> int:
    digits = text_of(value)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20 and int(digits) < 1 << bits):
        raise ValueError(text)
    return int(digits)


def a_flag(value: Any) -> bool:
    """Parse a JSON true or false; the strings are refused."""
    if type(value) is not bool:
        raise ValueError("should be 'true' or 'false'")
    return value


def a_number(value: Any) -> int:
    """Parse a u32, a JSON number or a string of digits."""
    return _an_integer(value, 32, "should be an integer")


def a_u64(value: Any) -> int:
    """Parse a u64, a JSON number or a string of digits."""
    return _an_integer(value, 64, "should be an unsigned 64 bit integer")


def a_port(value: Any) -> int:
    """Parse a port, 1 to 65535."""
    port = _an_integer(value, 16, "should be a 16-bit integer")
    if not port:
        raise ValueError("should be non-zero")
    return port


def a_key(value: Any) -> tuple[str, ...]:
    """Parse a datastore key: a string, or an array of strings."""
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
    if "\0" in text or not is_unicode(text):
        raise ValueError("should be string")
    return text
