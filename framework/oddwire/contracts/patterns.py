"""Texts that match a regular expression, short and the same each time: for the examples of documents."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final

__all__ = ["matching"]

_COMMON: Final = ("a", "abc", "1", "1.0", "00", "ff" * 32, "text", "name@example.com", "2024-01-31T12:00:00Z", "")
_READABLE: Final = string.ascii_lowercase + string.digits + string.ascii_uppercase + string.punctuation + " \t\n\xe9"
_MOST: Final = 4  # repetitions beyond the least


def matching(pattern: str) -> Iterator[str]:
    """Yield some texts that the whole of ``pattern`` matches; none for one that is too hard to think of."""
    match = re.compile(pattern).fullmatch
    parser: Any = import_module("re._parser")  # Python has no other way to see what an expression is made of
    found: dict[str, None] = {}
    for more in (1, 0, _MOST):
        try:
            text = _made(parser.parse(pattern), more)
        except (LookupError, ValueError, NotImplementedError):
            continue
        found[text] = None
    yield from (text for text in dict.fromkeys((*found, *_COMMON)) if match(text))


def _made(parts: Any, more: int) -> str:
    return "".join(_one(str(name), value, more) for name, value in parts)


def _one(name: str, value: Any, more: int) -> str:
    match name:
        case "LITERAL":
            return chr(value)
        case "NOT_LITERAL":
            return next(letter for letter in _READABLE if ord(letter) != value)
        case "ANY":
            return "a"
        case "IN":
            return _of_set(value)
        case "BRANCH":
            return _made(value[1][0], more)
        case "SUBPATTERN":
            return _made(value[-1], more)
        case "ATOMIC_GROUP":
            return _made(value, more)
        case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
            least, most, inner = value
            return "".join(_made(inner, more) for _ in range(min(max(least, more), int(most))))
        case "AT":
            return ""
    raise NotImplementedError(name)


def _of_set(items: Any) -> str:
    """Return the first readable character of a set."""
    negated = any(str(name) == "NEGATE" for name, _ in items)
    for letter in _READABLE:
        if any(_holds(str(name), value, letter) for name, value in items) is not negated:
            return letter
    return chr(next(value if str(name) == "LITERAL" else value[0] for name, value in items if str(name) != "NEGATE"))


def _holds(name: str, value: Any, letter: str) -> bool:
    match name:
        case "LITERAL":
            return bool(ord(letter) == value)
        case "RANGE":
            return bool(value[0] <= ord(letter) <= value[1])
        case "CATEGORY":
            kind = str(value)
            found: dict[str, bool] = {
                "DIGIT": letter.isdigit(),
                "SPACE": letter.isspace(),
                "WORD": letter.isalnum() or letter == "_",
            }
            is_one = found[kind.removeprefix("CATEGORY_").removeprefix("NOT_")]
            return is_one is not ("NOT_" in kind)
    return False
