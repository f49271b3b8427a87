"""Field values to and from trees of plain objects (dict, list, str, int, ...), which msgpack and JSON carry.

``dump`` and its inverse ``load`` are the reference path: slow, with errors that name exactly what was wrong. ``dump``
raises `EncodeError` or `ValueOutOfRange`, ``load`` `MalformedMessage`, each with the path. Neither knows the message's
type number; codecs add it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from math import isfinite
from operator import index
from typing import Any, Final, NoReturn

from oddwire.errors import EncodeError, MalformedMessage, ValueOutOfRange
from oddwire.records import FrozenRecord
from oddwire.schema.kinds import (
    Anything,
    Array,
    Boolean,
    Choice,
    Fixed,
    Float,
    Integer,
    Kind,
    Led,
    Maybe,
    Nested,
    Octets,
    Opaque,
    Record,
    Table,
    Text,
)
from oddwire.schema.spelling import show_value

__all__ = [
    "JSON",
    "MAX_DEPTH",
    "MSGPACK",
    "Form",
    "check_anything",
    "check_array",
    "check_choice",
    "check_fit",
    "check_length",
    "dump",
    "dump_record",
    "load",
    "load_choice",
    "load_record",
]

MAX_DEPTH: Final = 32
"""Max nesting depth of a value of kind `Anything`."""


class Form(FrozenRecord):
    """What the tree's format can carry; with ``hexed``, bytes are hex digits."""

    name: str
    hexed: bool


MSGPACK: Final = Form("msgpack", hexed=False)
JSON: Final = Form("json", hexed=True)


_DIGITS: Final = re.compile(r"0|-?[1-9][0-9]{0,19}")


# A whole record ------------------------------------------------------------------------------------------------------


def dump_record(record: Record, instance: object, form: Form, path: str = "$") -> dict[str, Any]:
    """Return the map for ``instance``.

    Fields that are None by default are left out when they are None. The others are in the order of their declaration;
    with msgpack those that may be left out come last, as its generated code writes them.
    """
    if type(instance) is not record.cls:
        raise EncodeError(f"should be {record.name}, not {_name(instance)}", path=path)
    made = {}
    fields = record.fields if form.hexed else sorted(record.fields, key=lambda field: field.omitted_if_none)
    for field in fields:
        try:
            value = getattr(instance, field.name)
        except AttributeError:
            raise EncodeError("has no value", path=f"{path}.{field.name}") from None
        if value is None and field.omitted_if_none:
            continue
        made[field.key] = dump(field.kind, value, form, f"{path}.{field.name}")
    return made


def load_record(record: Record, plain: object, form: Form, path: str = "$") -> Any:
    """Return the instance for a map. Unknown keys are ignored; missing fields take their defaults."""
    if type(plain) is not dict:
        raise MalformedMessage(f"should be a map, not {_name(plain)}", path=path)
    values = {}
    for field in record.fields:
        if field.key in plain:
            values[field.name] = load(field.kind, plain[field.key], form, f"{path}.{field.name}")
        elif field.required:
            raise MalformedMessage("is missing and has no default", path=f"{path}.{field.name}")
        else:
            values[field.name] = field.make_default()
    return record.build(values)


# One value to send ---------------------------------------------------------------------------------------------------


def dump(kind: Kind, value: Any, form: Form, path: str = "$") -> Any:
    """Check a value and return the plain object for it."""
    match kind:
        case Integer():
            try:
                number = index(value)
            except TypeError:
                _wrong(kind, value, path)
            if isinstance(value, bool):
                _wrong(kind, value, path)
            if not kind.low <= number <= kind.high:
                raise ValueOutOfRange(f"{kind.name} should be {kind.low} to {kind.high}, not {number}", path=path)
            return str(number) if kind.quoted and form.hexed else number
        case Boolean():
            if not isinstance(value, bool):
                _wrong(kind, value, path)
            return value
        case Float():
            return _dump_float(kind, value, path)
        case Text():
            return _dump_text(kind, value, path)
        case Octets():
            if not isinstance(value, bytes | bytearray):
                _wrong(kind, value, path)
            check_length(kind, len(value), path)
            if reason := _badly_led(kind, value):
                raise ValueOutOfRange(reason, path=path)
            if form.hexed:
                return value.hex()
            return value if type(value) is bytes else bytes(memoryview(value))
        case Opaque():
            if not isinstance(value, kind.python):
                _wrong(kind, value, path)
            return kind.show(value) if form.hexed else kind.dump(value)
        case Choice():
            return dump(kind.base, check_choice(kind, value, path), form, path)
        case Maybe():
            return None if value is None else dump(kind.inner, value, form, path)
        case Array():
            check_array(kind, value, path)
            check_length(kind, len(value), path)
            return [dump(kind.element, element, form, f"{path}[{i}]") for i, element in enumerate(value)]
        case Table():
            return _dump_table(kind, value, form, path)
        case Nested():
            return dump_record(kind.record, value, form, path)
        case Anything():
            reason = check_anything(value, form)
            if reason:
                raise EncodeError(reason, path=path)
            return value
    raise NotImplementedError(kind)


def check_length(kind: Octets | Text | Array | Table, length: int, path: str) -> None:
    """Check a length to send."""
    reason = _bad_length(kind, length)
    if reason:
        raise ValueOutOfRange(reason, path=path)


def check_array(kind: Array, value: object, path: str) -> None:
    """Check the class of an array to send."""
    if not isinstance(value, (tuple, list) if kind.loose else kind.python):
        _wrong(kind, value, path)


def check_choice(kind: Choice, value: Any, path: str) -> int | str:
    """Check that a value to send is among the choices; return its wire value."""
    if isinstance(value, kind.python) and not (isinstance(value, bool) and kind.python is int):
        wire = kind.wire(value)
        if wire in kind.members:
            return wire
    one_of = ", ".join(show_value(member) for member in kind.members.values())
    raise ValueOutOfRange(f"{kind.name} should be one of {one_of}, not {value!r}", path=path)


def _dump_float(kind: Float, value: Any, path: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        _wrong(kind, value, path)
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not isfinite(number) or number != value:
        raise ValueOutOfRange(f"float should be a finite number of double precision, not {value!r}", path=path)
    return number


def _dump_text(kind: Text, value: Any, path: str) -> str:
    if not isinstance(value, str):
        _wrong(kind, value, path)
    text = str.__str__(value)
    check_length(kind, len(text), path)
    if _has_surrogates(text):
        raise ValueOutOfRange("str holds a lone surrogate, which UTF-8 cannot carry", path=path)
    return text


def _dump_table(kind: Table, value: Any, form: Form, path: str) -> dict[str, Any]:
    if not isinstance(value, dict | Mapping):
        _wrong(kind, value, path)
    check_length(kind, len(value), path)
    return {
        _dump_text(Text(), key, f"{path}[{key!r}]"): dump(kind.value, inner, form, f"{path}[{key!r}]")
        for key, inner in value.items()
    }


# One value received --------------------------------------------------------------------------------------------------


def load(kind: Kind, plain: Any, form: Form, path: str = "$") -> Any:
    """Check a plain object and return the value for it."""
    match kind:
        case Integer():
            if kind.quoted and form.hexed:
                plain = _unquote(kind, plain, path)
            if type(plain) is not int:
                _malformed(kind, plain, path)
            if not kind.low <= plain <= kind.high:
                raise MalformedMessage(f"{kind.name} should be {kind.low} to {kind.high}, not {plain}", path=path)
            return plain
        case Boolean():
            return plain if type(plain) is bool else _malformed(kind, plain, path)
        case Float():
            return _load_float(kind, plain, path)
        case Text():
            if type(plain) is not str:
                _malformed(kind, plain, path)
            _check_surrogates(plain, form, path)
            check_fit(kind, len(plain), path)
            return plain
        case Octets():
            data = _unhex(kind, plain, path) if form.hexed else plain
            if type(data) is not bytes:
                _malformed(kind, plain, path)
            check_fit(kind, len(data), path)
            if reason := _badly_led(kind, data):
                raise MalformedMessage(reason, path=path)
            return data
        case Opaque():
            return _load_opaque(kind, plain, form, path)
        case Choice():
            return load_choice(kind, load(kind.base, plain, form, path), path)
        case Maybe():
            return None if plain is None else load(kind.inner, plain, form, path)
        case Array():
            if type(plain) is not list:
                _malformed(kind, plain, path)
            check_fit(kind, len(plain), path)
            return kind.python([load(kind.element, inner, form, f"{path}[{i}]") for i, inner in enumerate(plain)])
        case Table():
            return _load_table(kind, plain, form, path)
        case Nested():
            return load_record(kind.record, plain, form, path)
        case Anything():
            reason = check_anything(plain, form)
            if reason:
                raise MalformedMessage(reason, path=path)
            return plain
    raise NotImplementedError(kind)


def _unquote(kind: Integer, plain: Any, path: str) -> int:
    if type(plain) is not str:
        raise MalformedMessage(f"{kind.name} should be a string of digits, not {_name(plain)}", path=path)
    if not _DIGITS.fullmatch(plain):
        raise MalformedMessage(f"{kind.name} should be a string of digits, not {plain!r:.40}", path=path)
    return int(plain)


def load_choice(kind: Choice, wire: Any, path: str) -> Any:
    """Return the choice for a wire value."""
    try:
        return kind.members[wire]
    except KeyError:
        one_of = ", ".join(repr(kind.wire(member)) for member in kind.members.values())
        raise MalformedMessage(f"{kind.name} should be one of {one_of}, not {wire!r}", path=path) from None


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


def _badly_led(kind: Octets, data: bytes | bytearray) -> str:
    if not isinstance(kind.count, Led):
        return ""
    sizes = kind.count.sizes
    if not data or data[0] >= len(sizes):
        return f"{kind.label} should start with 00 to {len(sizes) - 1:02x}, not {data[:1].hex() or 'end there'}"
    size = sizes[data[0]]
    return "" if len(data) == size else f"{kind.label} should be {size} bytes after {data[:1].hex()}, not {len(data)}"


def _load_float(kind: Float, plain: Any, path: str) -> float:
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
        _malformed(kind, plain, path)
    raise MalformedMessage(f"float should be a finite number of double precision, not {plain!r:.40}", path=path)


def _load_opaque(kind: Opaque, plain: Any, form: Form, path: str) -> Any:
    if type(plain) is not (str if form.hexed else bytes):
        _malformed(kind, plain, path)
    make: Callable[[Any], Any] = kind.parse if form.hexed else kind.load
    try:
        return make(plain)
    except ValueError as error:
        raise MalformedMessage(f"{error!s:.200}", path=path) from None


def _load_table(kind: Table, plain: Any, form: Form, path: str) -> dict[str, Any]:
    if type(plain) is not dict:
        _malformed(kind, plain, path)
    check_fit(kind, len(plain), path)
    for key in plain:
        if type(key) is not str:
            raise MalformedMessage(f"keys should be str, not {_name(key)}", path=path)
        _check_surrogates(key, form, path)
    return {key: load(kind.value, inner, form, f"{path}[{key!r}]") for key, inner in plain.items()}


def _check_surrogates(text: str, form: Form, path: str) -> None:
    # JSON can write half a surrogate pair, \ud800 alone; UTF-8, and so msgpack, cannot.
    if form.hexed and _has_surrogates(text):
        raise MalformedMessage("str holds a lone surrogate", path=path)


def _has_surrogates(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _unhex(kind: Octets, plain: Any, path: str) -> bytes:
    if type(plain) is str:
        with contextlib.suppress(ValueError):
            data = bytes.fromhex(plain)
            if len(data) * 2 == len(plain):  # otherwise there is white space in it
                return data
    raise MalformedMessage(f"{kind.label} should be hex digits, not {plain!r:.40}", path=path)


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
            return "str holds a lone surrogate" if _has_surrogates(value) else ""
        case bytes() if not form.hexed:
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
    return f"{form.name} cannot carry {_name(value)}"


def _name(value: object) -> str:
    return "nil" if value is None else type(value).__name__


def _wrong(kind: Kind, value: object, path: str) -> NoReturn:
    raise EncodeError(f"should be {kind.label}, not {_name(value)}", path=path) from None


def _malformed(kind: Kind, plain: object, path: str) -> NoReturn:
    raise MalformedMessage(f"should be {kind.label}, not {_name(plain)}", path=path) from None
