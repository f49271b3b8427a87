"""Filters of events: an expression such as ``chat.* direction=in -text~spam or size>1000``."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from oddwire.monitor.watched import Watched
from oddwire.printable import printable

__all__ = ["HELP", "Filter", "read_filter"]

Filter = Callable[[Watched], bool]
"""Says of an event whether it is shown."""

HELP: Final = (
    ("hello", "has this text in its name or its fields, or begins its peer's id"),
    ("name=chat.*", "the message's name, or just chat.*; * stands for anything"),
    ("type=0x8c11", "its number"),
    ("peer=02c6", "the beginning of the peer's id"),
    ("direction=in", "in, out"),
    ("event=error", "connected, disconnected, received, sent, error"),
    ("size>1000", "bytes; also latency, in seconds; with = != < <= > >="),
    ("text~hello", "a field that has this text: of the name text, order.text, or field=value for all of it"),
    ("-name=chat.Heard", "not this"),
    ("a b or c", "a and b, or else c; quotes keep blanks together"),
)
"""What can be written, and what it means."""

_TERM: Final = re.compile(r"([A-Za-z_][\w.\-\[\]]*)(!=|<=|>=|=|~|<|>)(.*)", re.DOTALL)
_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_EVENTS: Final = ("listening", "connected", "disconnected", "received", "sent", "result", "error", "missed")
_WORDS: Final = {"in": "received", "out": "sent", "received": "received", "sent": "sent"}


def read_filter(text: str) -> Filter:
    """Return the filter of an expression; an empty one takes all. Raises `ValueError` saying what is wrong."""
    groups: list[list[Filter]] = [[]]
    for word, was_quoted in _words(text):
        if word == "or" and not was_quoted:
            groups.append([])
        else:
            groups[-1].append(_term(word, was_quoted))
    if len(groups) > 1 and not all(groups):
        raise ValueError("'or' should stand between two terms; as a word it is written \"or\"")
    return lambda event: any(all(term(event) for term in group) for group in groups)


def _words(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the words of an expression, and whether each began with a quote. Raises `ValueError`."""
    word, quote, begun, quoted_start = "", "", False, False
    for character in text:
        if quote:
            if character == quote:
                quote = ""
            else:
                word += character
        elif character in "\"'" and (not word or word[-1] in "=~<>"):
            quoted_start = quoted_start or not begun
            quote, begun = character, True
        elif character.isspace():
            if begun:
                yield word, quoted_start
            word, begun, quoted_start = "", False, False
        else:
            word, begun = word + character, True
    if quote:
        raise ValueError(f"the quote {quote} is not closed")
    if begun:
        yield word, quoted_start


def _term(word: str, was_quoted: bool) -> Filter:
    if was_quoted:
        return _anywhere(word)
    if word[0] in "-!" and len(word) > 1:
        inner = _term(word[1:], False)
        return lambda event: not inner(event)
    match = _TERM.fullmatch(word)
    if match is None:
        return _anywhere(word)
    key, sign, value = match.groups()
    if not value and sign not in ("=", "!="):
        raise ValueError(f"{printable(word)} needs a value behind {sign}")
    if sign == "!=":
        inner = _comparison(key, "=", value)
        return lambda event: not inner(event)
    return _comparison(key, sign, value)


def _comparison(key: str, sign: str, value: str) -> Filter:
    match key:
        case "direction":
            _only(key, sign, "=")
            wanted = _WORDS[_one_of(key, value, tuple(_WORDS))]
            return lambda event: event.event == wanted
        case "event":
            _only(key, sign, "=")
            kind = _one_of(key, value, _EVENTS)
            return lambda event: event.event == kind
        case "type":
            number = _whole(key, value)
            return _ordered(sign, number, lambda event: event.type_id)
        case "size":
            number = _whole(key, value)
            return _ordered(sign, number, lambda event: event.size if event.is_message else None)
        case "latency":
            seconds = _seconds(value)
            return _ordered(sign, seconds, lambda event: event.latency)
        case "peer":
            _only(key, sign, "=", "~")
            part = value.lower().replace("...", "*")
            pattern = f"*{part}*" if sign == "~" else f"{part}*"
            return lambda event: bool(event.peer) and fnmatchcase(event.peer, pattern)
        case "name":
            return _texts(sign, value, lambda event: [event.name or event.title])
    return _texts(sign, value, lambda event: _found(event, key))


def _anywhere(text: str) -> Filter:
    wanted = text.casefold()

    def takes(event: Watched) -> bool:
        title = event.title.casefold()
        if wanted in title or fnmatchcase(title, wanted) or event.peer.startswith(wanted):
            return True
        return wanted in event.text.casefold() or any(wanted in each.casefold() for each in _leaves(event.fields))

    return takes


def _texts(sign: str, value: str, of: Callable[[Watched], Sequence[Any]]) -> Filter:
    if sign == "~":
        part = value.casefold()
        return lambda event: any(part in each.casefold() for found in of(event) for each in _leaves(found))
    if sign == "=":
        return lambda event: any(_equals(found, value) for found in of(event))
    compare = _ORDER[sign]
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{printable(value)!r} behind {sign} should be a number") from None
    return lambda event: any(
        isinstance(found, int | float) and not isinstance(found, bool) and compare(found, number) for found in of(event)
    )


def _equals(found: Any, value: str) -> bool:
    if isinstance(found, str):
        return fnmatchcase(found, value)
    if found is None or isinstance(found, bool):
        return value == {None: "null", True: "true", False: "false"}[found]
    if isinstance(found, int | float):
        try:
            return found == (int(value, 0) if value[:2] in ("0x", "0X") else float(value))
        except ValueError:
            return False
    return isinstance(found, list) and any(_equals(each, value) for each in found)


def _found(event: Watched, path: str) -> list[Any]:
    """Return what a message has at a dotted path, of lists the items; in other events, a key of theirs."""
    values: list[Any] = [event.fields if event.is_message else event.data]
    for name in path.split("."):
        items = [item for value in values for item in (value if isinstance(value, list) else [value])]
        values = [item[name] for item in items if isinstance(item, Mapping) and name in item]
    return values


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield str(name)
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif value is not None:
        yield str(value)


def _ordered(sign: str, number: float, of: Callable[[Watched], float | None]) -> Filter:
    if sign == "~":
        raise ValueError("~ looks for a text; numbers are compared by = != < <= > >=")
    compare = operator.eq if sign == "=" else _ORDER[sign]
    return lambda event: (value := of(event)) is not None and compare(value, number)


def _only(key: str, sign: str, *signs: str) -> None:
    if sign not in signs:
        raise ValueError(f"{key} is compared by {' or '.join((*signs, '!='))}, not by {sign}")


def _one_of(key: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        close = difflib.get_close_matches(value, known, 1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"
        raise ValueError(f"{key}={printable(value)} is none; {hint}")
    return value


def _whole(key: str, value: str) -> int:
    try:
        return int(value, 0)
    except ValueError:
        raise ValueError(f"{key} should be a number, 35857 or 0x8c11, not {printable(value)!r}") from None


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"latency should be seconds, 0.5 say, not {printable(value)!r}") from None
