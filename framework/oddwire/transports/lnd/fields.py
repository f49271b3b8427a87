"""Protocol Buffers by hand: messages as dicts of the form that LND's REST API has them in JSON. No I/O.

That is the canonical JSON of proto3 with the proto's field names: zero values are there, 64-bit integers are strings,
``bytes`` are base64, enumerations are names, maps have strings as keys. A dozen messages do not need the protobuf
package, which has to be as new as the code generated for it.

Source: https://protobuf.dev/programming-guides/encoding/ and /json/.
"""

from __future__ import annotations

import difflib
import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from oddwire.printable import represented

__all__ = [
    "BOOL",
    "BYTES",
    "I32",
    "I64",
    "STRING",
    "U32",
    "U64",
    "Enum",
    "Field",
    "Kind",
    "MapOf",
    "Shape",
    "WireError",
    "read_varint",
    "split",
    "varint",
]

_VARINT: Final = 0
_LENGTH: Final = 2
_FIXED: Final = {1: 8, 5: 4}  # bytes by wire type
_MASK: Final = 2**64 - 1
_DECIMAL: Final = re.compile("-?[0-9]{1,20}")


class WireError(ValueError):
    """Bytes that are no such message, or a value that does not fit its field; the text names the field."""


class Kind(NamedTuple):
    """The type of a field: its wire type, its zero value, and both directions of its coding.

    ``read`` gets an int or bytes, by the wire type, and so does ``write`` return one; both raise `WireError`.
    """

    name: str
    wire: int
    zero: Callable[[], Any]
    read: Callable[[Any], Any]
    write: Callable[[Any], int | bytes]


class Field(NamedTuple):
    """One field of a message: a `Kind`, a `Shape`, or with ``repeated`` a list of them; a `MapOf` is a dict."""

    number: int
    name: str
    kind: Kind | Shape | MapOf
    repeated: bool = False


def varint(value: int) -> bytes:
    """Return a number of 0 to 2**64 - 1 in base 128, the lowest digit first."""
    digits = bytearray()
    while value > 0x7F:
        digits.append(value & 0x7F | 0x80)
        value >>= 7
    digits.append(value)
    return bytes(digits)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place, and the place behind it. Raises `WireError`."""
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            raise WireError("ends within a number")
        digit = data[at]
        at += 1
        value |= (digit & 0x7F) << shift
        if digit < 0x80:
            return value & _MASK, at
        shift += 7
    raise WireError("has a number of more than 10 bytes")


def split(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield number, wire type and raw value of each field. Raises `WireError`."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise WireError(f"has a field with the number {number}")
        if wire == _VARINT:
            value, at = read_varint(data, at)
            yield number, wire, value
            continue
        if wire == _LENGTH:
            size, at = read_varint(data, at)
        elif wire in _FIXED:
            size = _FIXED[wire]
        else:
            raise WireError(f"has a field of the wire type {wire}")
        if size > len(data) - at:
            raise WireError(f"ends within field {number}, which has {size} bytes")
        yield number, wire, data[at : at + size]
        at += size


def _integer(name: str, low: int, high: int, *, text: bool) -> Kind:
    bits = high.bit_length() + (low < 0)

    def read(raw: int) -> int | str:
        value = raw & (2**bits - 1)
        if value > high:
            value -= 2**bits
        return str(value) if text else value

    def write(value: Any) -> int:
        number = value
        if isinstance(value, str):
            number = int(value) if _DECIMAL.fullmatch(value) else None
        if not isinstance(number, int) or isinstance(number, bool) or not low <= number <= high:
            raise WireError(f"should be an integer from {low} to {high}, not {represented(value)}")
        return number & _MASK

    return Kind(name, _VARINT, lambda: "0" if text else 0, read, write)


def _write_bool(value: Any) -> int:
    if not isinstance(value, bool):
        raise WireError(f"should be true or false, not {represented(value)}")
    return int(value)


def _read_text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise WireError("is not UTF-8") from None


def _write_text(value: Any) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
    except UnicodeEncodeError:
        pass
    raise WireError(f"should be text, not {represented(value)}")


def _write_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return a2b_base64(value.replace("-", "+").replace("_", "/").encode("ascii"), strict_mode=True)
        except (Base64Error, UnicodeEncodeError):
            pass
    raise WireError(f"should be base64, not {represented(value)}")


U32: Final = _integer("uint32", 0, 2**32 - 1, text=False)
I32: Final = _integer("int32", -(2**31), 2**31 - 1, text=False)
U64: Final = _integer("uint64", 0, 2**64 - 1, text=True)
I64: Final = _integer("int64", -(2**63), 2**63 - 1, text=True)
BOOL: Final = Kind("bool", _VARINT, bool, bool, _write_bool)
STRING: Final = Kind("string", _LENGTH, str, _read_text, _write_text)
BYTES: Final = Kind("bytes", _LENGTH, str, lambda raw: b2a_base64(raw, newline=False).decode(), _write_bytes)


def Enum(**numbers: int) -> Kind:  # noqa: N802 - it stands among kinds
    """Return the kind of an enumeration; a number without a name stays a number."""
    names = {number: name for name, number in numbers.items()}

    def read(raw: int) -> str | int:
        value: int = I32.read(raw)
        return names.get(value, value)

    def write(value: Any) -> int:
        if isinstance(value, str) and value in numbers:
            return numbers[value]
        if isinstance(value, int) and not isinstance(value, bool):
            return I32.write(value)  # type: ignore[return-value] # an int, as its wire type is that of a number
        raise WireError(f"should be one of {', '.join(numbers)}, not {represented(value)}")

    return Kind("enum", _VARINT, lambda: read(0), read, write)


class MapOf:
    """The kind of a map: a repeated message of a key and a value. Its dict has strings as keys, as in JSON."""

    wire: Final = _LENGTH

    def __init__(self, key: Kind, value: Kind | Shape) -> None:
        self.entry = Shape("entry", Field(1, "key", key), Field(2, "value", value))
        self._value = value

    def read(self, raw: bytes) -> tuple[str, Any]:
        """Return key and value of an entry. Raises `WireError`."""
        entry = self.entry.decode(raw)
        value = entry["value"]
        return str(entry["key"]), self._value.zero() if value is None else value

    def write(self, key: str, value: Any) -> bytes:
        """Return an entry. Raises `WireError`."""
        return self.entry.encode({"key": key, "value": value})


class Shape:
    """A message: its name and its fields. Unknown fields are skipped, as newer LNDs add some."""

    wire: Final = _LENGTH

    def __init__(self, name: str, *fields: Field) -> None:
        self.name = name
        self.fields = fields
        self._by_number = {field.number: field for field in fields}
        self._by_name = {field.name: field for field in fields}

    def zero(self) -> dict[str, Any]:
        """Return the message of no bytes: lists and maps are empty, a message that is not there is None."""
        return {
            field.name: []
            if field.repeated
            else {}
            if isinstance(field.kind, MapOf)
            else None
            if isinstance(field.kind, Shape)
            else field.kind.zero()
            for field in self.fields
        }

    def decode(self, data: bytes) -> dict[str, Any]:
        """Return the message that ``data`` is. Raises `WireError`, which names the field."""
        values = self.zero()
        for number, wire, raw in self._pieces(data):
            field = self._by_number.get(number)
            if field is None or field.kind.wire != wire:
                continue
            try:
                if isinstance(field.kind, MapOf):
                    key, value = field.kind.read(raw)
                    values[field.name][key] = value
                elif field.repeated:
                    values[field.name].append(field.kind.read(raw))
                else:
                    values[field.name] = field.kind.read(raw)
            except WireError as error:
                raise WireError(f"{field.name}: {error}") from None
        return values

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """Return the bytes of a message of these fields; those left out, or None, are zero. Raises `WireError`."""
        for name in values:
            if name not in self._by_name:
                close = difflib.get_close_matches(str(name), self._by_name, 1)
                hint = f"did you mean {close[0]}?" if close else f"fields are {', '.join(self._by_name) or 'none'}"
                raise WireError(f"has no field {represented(name)}; {hint}")
        return b"".join(self._encode_field(field, values.get(field.name)) for field in self.fields)

    def read(self, raw: bytes) -> dict[str, Any]:
        """Return a message inside another. Raises `WireError`."""
        return self.decode(raw)

    def write(self, value: Any) -> bytes:
        """Return a message inside another. Raises `WireError`."""
        if not isinstance(value, Mapping):
            raise WireError(f"should be an object with {', '.join(self._by_name)}, not {represented(value)}")
        return self.encode(value)

    def _pieces(self, data: bytes) -> Iterator[tuple[int, int, Any]]:
        try:
            yield from split(data)
        except WireError as error:
            raise WireError(f"{self.name} {error}") from None

    def _encode_field(self, field: Field, value: Any) -> bytes:
        if value is None:
            return b""
        kind = field.kind
        try:
            if isinstance(kind, MapOf):
                if not isinstance(value, Mapping):
                    raise WireError(f"should be an object, not {represented(value)}")
                return b"".join(_tagged(field, kind.write(key, entry)) for key, entry in value.items())
            if field.repeated:
                if not isinstance(value, list | tuple):
                    raise WireError(f"should be a list, not {represented(value)}")
                return b"".join(_tagged(field, kind.write(entry)) for entry in value)
            raw = kind.write(value)
        except WireError as error:
            raise WireError(f"{field.name}: {error}") from None
        return _tagged(field, raw) if raw or isinstance(kind, Shape) else b""


def _tagged(field: Field, raw: int | bytes) -> bytes:
    tag = varint(field.number << 3 | field.kind.wire)
    return tag + varint(raw) if isinstance(raw, int) else tag + varint(len(raw)) + raw
