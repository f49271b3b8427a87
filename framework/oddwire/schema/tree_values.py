"""Single values to and from trees of plain objects, and the checks of any, for `oddwire.schema.tree` and the codecs.

What is to be sent raises `EncodeError` or `ValueOutOfRange`, what was received `MalformedMessage`, each with the path.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from math import isfinite
from typing import Any, Final, NoReturn

from oddwire.errors import EncodeError, MalformedMessage, ValueOutOfRange
from oddwire.printable import represented
from oddwire.schema.forms import Form
from oddwire.schema.kinds import Array, Choice, Fixed, Float, Integer, Kind, Led, Octets, Opaque, Table, Text
from oddwire.schema.spelling import show_value

__all__ = [
    "MAX_DEPTH",
    "badly_led",
    "check_anything",
    "check_array",
    "check_choice",
    "check_fit",
    "check_length",
    "check_surrogates",
    "dump_float",
    "dump_text",
    "has_surrogates",
    "load_choice",
    "load_float",
    "load_opaque",
    "malformed",
    "name_of",
    "path_of_key",
    "spelled",
    "unhex",
    "unquote",
    "unspelled",
    "wrong",
]

MAX_DEPTH: Final = 32
"""Max nesting depth of a value of kind `Anything`."""

_SHOWN: Final = 60  # characters of a key
_DIGITS: Final = re.compile(r"-?[0-9]+")
_SHORT: Final = re.compile(r"0|-?[1-9][0-9]{0,19}")


def check_length(kind: Octets | Text | Array | Table, length: int, path: str) -> None:
    """Check a length to send."""
    reason = _bad_length(kind, length)
    if reason:
        raise ValueOutOfRange(reason, path=path)


def check_fit(kind: Octets | Text | Array | Table, length: int, path: str) -> None:
    """Check a received length."""
    reason = _bad_length(kind, length)
    if reason:
        raise MalformedMessage(reason, path=path)


def _bad_length(kind: Octets | Text | Array | Table, length: int) -> str:
    unit = {Octets: "bytes", Text: "characters", Array: "elements", Table: "keys"}[type(kind)]
    if isinstance(kind, Text) and isinstance(kind.count, Fixed):
        return ""  # it counts bytes, which the bolt codec checks
    if not isinstance(kind, Table) and isinstance(kind.count, Fixed) and length != kind.count.size:
        return f"{kind.label} should be {kind.count.size} {unit}, not {length}"
    if kind.max_length is not None and length > kind.max_length:
        return f"{kind.label} should be at most {kind.max_length} {unit}, not {length}"
    return ""


def badly_led(kind: Octets, data: bytes | bytearray) -> str:
    """Return why the first byte does not fit the length, if it decides on that; the empty string if it does."""
    if not isinstance(kind.count, Led):
        return ""
    sizes = kind.count.sizes
    if not data or data[0] >= len(sizes):
        return f"{kind.label} should start with 00 to {len(sizes) - 1:02x}, not {data[:1].hex() or 'end there'}"
    size = sizes[data[0]]
    return "" if len(data) == size else f"{kind.label} should be {size} bytes after {data[:1].hex()}, not {len(data)}"


def check_array(kind: Array, value: object, path: str) -> None:
    """Check the class of an array to send."""
    if not isinstance(value, (tuple, list) if kind.loose else kind.python):
        wrong(kind, value, path)


def check_choice(kind: Choice, value: Any, path: str) -> int | str:
    """Check that a value to send is among the choices; return its wire value."""
    if isinstance(value, kind.python) and not (isinstance(value, bool) and kind.python is int):
        wire = kind.wire(value)
        if wire in kind.members:
            return wire
    one_of = ", ".join(show_value(member) for member in kind.members.values())
    raise ValueOutOfRange(f"{kind.name} should be one of {one_of}, not {represented(value, 200)}", path=path)


def load_choice(kind: Choice, wire: Any, path: str) -> Any:
    """Return the choice for a wire value."""
    try:
        return kind.members[wire]
    except KeyError:
        one_of = ", ".join(repr(kind.wire(member)) for member in kind.members.values())
        raise MalformedMessage(
            f"{kind.name} should be one of {one_of}, not {represented(wire, 200)}", path=path
        ) from None


def dump_float(kind: Float, value: Any, path: str) -> float:
    """Check a float to send."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        wrong(kind, value, path)
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not isfinite(number) or number != value:
        raise ValueOutOfRange(
            f"float should be a finite number of double precision, not {represented(value)}", path=path
        )
    return number


def load_float(kind: Float, plain: Any, path: str) -> float:
    """Check a received float."""
    if type(plain) is float and isfinite(plain):
        return plain
    if type(plain) is int:
        try:
            number = float(plain)
        except OverflowError:
            number = float("inf")
        if number == plain:
            return number
    elif type(plain) is not float:
        malformed(kind, plain, path)
    raise MalformedMessage(
        f"float should be a finite number of double precision, not {represented(plain, 40)}", path=path
    )


def dump_text(kind: Text, value: Any, path: str) -> str:
    """Check a string to send."""
    if not isinstance(value, str):
        wrong(kind, value, path)
    text = str.__str__(value)
    check_length(kind, len(text), path)
    if has_surrogates(text):
        raise ValueOutOfRange("str holds a lone surrogate, which UTF-8 cannot carry", path=path)
    return text


def check_surrogates(text: str, form: Form, path: str) -> None:
    """Check that a received string is one that UTF-8 can carry."""
    # JSON can write half a surrogate pair, \ud800 alone; UTF-8, and so msgpack, cannot.
    if form.hexed and has_surrogates(text):
        raise MalformedMessage("str holds a lone surrogate", path=path)


def has_surrogates(text: str) -> bool:
    """Return whether a string has half a surrogate pair, which UTF-8 cannot carry."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def unquote(kind: Integer, plain: Any, path: str) -> int:
    """Return the integer that a received string of digits means."""
    if type(plain) is not str:
        raise MalformedMessage(f"{kind.name} should be a string of digits, not {name_of(plain)}", path=path)
    if not _DIGITS.fullmatch(plain):
        raise MalformedMessage(f"{kind.name} should be a string of digits, not {plain!r:.40}", path=path)
    if not _SHORT.fullmatch(plain):
        first = plain.removeprefix("-")[0]
        should = "a string of digits without a 0 before them" if first == "0" else f"{kind.low} to {kind.high}"
        raise MalformedMessage(f"{kind.name} should be {should}, not {plain:.40}", path=path)
    return int(plain)


def unhex(kind: Octets, plain: Any, path: str) -> bytes:
    """Return the bytes that received hex digits mean."""
    if type(plain) is str:
        with contextlib.suppress(ValueError):
            data = bytes.fromhex(plain)
            if len(data) * 2 == len(plain):  # otherwise there is white space in it
                return data
    raise MalformedMessage(f"{kind.label} should be hex digits, not {plain!r:.40}", path=path)


def load_opaque(kind: Opaque, plain: Any, form: Form, path: str) -> Any:
    """Return the object for received bytes, or for its text."""
    if type(plain) is not (str if form.hexed else bytes):
        malformed(kind, plain, path)
    make: Callable[[Any], Any] = kind.parse if form.hexed else kind.load
    try:
        return make(plain)
    except ValueError as error:
        raise MalformedMessage(f"{error!s:.200}", path=path) from None


def check_anything(value: object, form: Form, depth: int = MAX_DEPTH) -> str:
    """Return why this format cannot carry ``value``; the empty string if it can."""
    match value:
        case None | bool():
            return ""
        case int():
            return "" if -(1 << 63) <= value < 1 << 64 else "whole numbers should have 64 bits at most"
        case float():
            return "" if isfinite(value) else "numbers should be finite"
        case str():
            return "str holds a lone surrogate" if has_surrogates(value) else ""
        case bytes() if form.binary or not form.hexed:
            return ""
        case list() | dict() if depth == 0:
            return f"nests more than {MAX_DEPTH} levels deep"
        case list():
            reasons = (check_anything(inner, form, depth - 1) for inner in value)
            return next(filter(None, reasons), "")
        case dict():
            if not all(type(key) is str for key in value):
                return "keys should be str"
            reasons = (check_anything(inner, form, depth - 1) for pair in value.items() for inner in pair)
            return next(filter(None, reasons), "")
    return f"{form.name} cannot carry {name_of(value)}"


def path_of_key(path: str, key: object) -> str:
    """Return the path of the value under ``key`` in the map at ``path``, with max 60 characters of the key.

    Each value has a path, so with the whole key the paths in a map could be longer than a payload by far.
    """
    if isinstance(key, str) and len(key) > _SHOWN:
        return f"{path}[{key[:_SHOWN]!r}...]"
    return f"{path}[{key!r}]"


def spelled(value: Any) -> Any:
    """Return a value of any type, checked, with its bytes as maps, ``{"bytes": "ff"}``.

    A map that would be taken for one has another around it: ``{"dict": {"bytes": "ff"}}``.
    """
    if type(value) is bytes:
        return {"bytes": value.hex()}
    if type(value) is list:
        return [spelled(inner) for inner in value]
    if type(value) is not dict:
        return value
    made = {key: spelled(inner) for key, inner in value.items()}
    alike = len(made) == 1 and ("bytes" in made or type(made.get("dict")) is dict)
    return {"dict": made} if alike else made


def unspelled(plain: Any, path: str) -> Any:
    """Return what `spelled` made a value of. Raises `MalformedMessage`."""
    if type(plain) is list:
        return [unspelled(inner, path) for inner in plain]
    if type(plain) is not dict:
        return plain
    if len(plain) == 1:
        if "bytes" in plain:
            return unhex(Octets(), plain["bytes"], path)
        if type(plain.get("dict")) is dict:
            plain = plain["dict"]
    return {key: unspelled(inner, path) for key, inner in plain.items()}


def name_of(value: object) -> str:
    """Return the name of a value's class, for errors."""
    return "nil" if value is None else type(value).__name__


def wrong(kind: Kind, value: object, path: str) -> NoReturn:
    """Raise `EncodeError` for a value that is not of its kind."""
    raise EncodeError(f"should be {kind.label}, not {name_of(value)}", path=path) from None


def malformed(kind: Kind, plain: object, path: str) -> NoReturn:
    """Raise `MalformedMessage` for a plain object that is not of its kind."""
    raise MalformedMessage(f"should be {kind.label}, not {name_of(plain)}", path=path) from None
