"""The reference path of BOLT 1's wire types, field by field: slow, and exact about what was wrong and where.

Writing comes first, and reading below in the same order. Readers read bytes from ``at``, never at or past ``end``, and
return the value and the offset after it.
"""

from __future__ import annotations

from typing import Any

from oddwire.codecs.base import MAX_VALUES, too_many_values
from oddwire.errors import (
    DecodeError,
    EncodeError,
    MalformedMessage,
    TrailingBytes,
    Truncated,
    UnknownRequiredRecord,
    ValueOutOfRange,
)
from oddwire.proto import primitives
from oddwire.schema.kinds import (
    Array,
    Boolean,
    Choice,
    Field,
    Fixed,
    Integer,
    Kind,
    Led,
    Maybe,
    Named,
    Nested,
    Octets,
    Opaque,
    Prefixed,
    Record,
    Rest,
    Text,
)
from oddwire.schema.rules import count_of, least_size, takes_rest
from oddwire.schema.tree import MSGPACK, check_array, check_fit, check_length, dump, load_choice

__all__ = ["check_extension", "read_message", "write_message"]


# Messages and subtypes -----------------------------------------------------------------------------------------------


def write_message(record: Record, message: object) -> bytes:
    """Return a message's bytes after the type. Raises `EncodeError`."""
    out = bytearray()
    _write_record(record, message, out, "$")
    return bytes(out)


def read_message(record: Record, payload: bytes) -> Any:
    """Return the message of a payload, read from after the type. Raises `MalformedMessage`."""
    values, at = _Reader(payload).fields(record, 2, len(payload), "$")
    # BOLT 1, Lightning Message Format: any message may end in an extension, unless a field took the rest.
    if not takes_rest(record):
        check_extension(payload, at, len(payload))
    return record.build(values)


def check_extension(buffer: bytes, at: int, end: int) -> None:
    """Check a TLV stream without known types: every type must be odd. Raises `MalformedMessage`."""
    if at > end:
        raise Truncated(f"needs {at - end} bytes more", offset=end)
    for record_type, _, stop in primitives.parse_tlv_stream(buffer, at, end):
        _check_ignorable(record_type, "$", at)
        at = stop


def _write_record(record: Record, instance: object, out: bytearray, path: str) -> None:
    if type(instance) is not record.cls:
        raise EncodeError(f"should be {record.name}, not {type(instance).__name__}", path=path)
    values: dict[str, Any] = {}
    records: list[tuple[int, bytes]] = []
    for field in record.fields:
        inner = f"{path}.{field.name}"
        try:
            values[field.name] = value = getattr(instance, field.name)
        except AttributeError:
            raise EncodeError("has no value", path=inner) from None
        if field.tlv is None:
            _write(field.kind, value, out, inner, values)
        elif not (value is None and field.none_is_absent):
            if value is None and isinstance(field.kind, Maybe):
                raise ValueOutOfRange("None cannot be sent: an absent record means the default", path=inner)
            kind = field.kind.inner if isinstance(field.kind, Maybe) else field.kind
            body = bytearray()
            _write(kind, value, body, inner, values, is_record=True)
            records.append((field.tlv, bytes(body)))
    out += primitives.build_tlv_stream(sorted(records))


def _check_ignorable(record_type: int, path: str, at: int) -> None:
    # BOLT 1, Type-Length-Value Format: it's OK to be odd.
    if record_type % 2 == 0:
        text = f"TLV record {record_type} is unknown and even, so it must not be ignored"
        raise UnknownRequiredRecord(text, path=path, offset=at)


# One value -----------------------------------------------------------------------------------------------------------


def _write(
    kind: Kind, value: Any, out: bytearray, path: str, earlier: dict[str, Any], *, is_record: bool = False
) -> None:
    match kind:
        case Integer():
            _write_integer(kind, dump(kind, value, MSGPACK, path), out)
        case Boolean():
            out.append(dump(kind, value, MSGPACK, path))
        case Opaque():
            out += dump(kind, value, MSGPACK, path)
        case Choice():
            _write(kind.base, dump(kind, value, MSGPACK, path), out, path, earlier, is_record=is_record)
        case Octets() | Text():
            data = dump(kind, value, MSGPACK, path)
            if isinstance(data, str):
                data = data.encode()
            _write_count(count_of(kind, is_record=is_record), len(data), out, path, "bytes", earlier)
            out += data
        case Array():
            check_array(kind, value, path)
            check_length(kind, len(value), path)
            _write_count(count_of(kind, is_record=is_record), len(value), out, path, "elements", earlier)
            for i, element in enumerate(value):
                _write(kind.element, element, out, f"{path}[{i}]", {})
        case Nested():
            _write_record(kind.record, value, out, path)
        case _:
            raise NotImplementedError(kind)


# Integers, counts and bytes ------------------------------------------------------------------------------------------


def _write_integer(kind: Integer, value: int, out: bytearray) -> None:
    match kind.form:
        case "truncated":
            out += primitives.tu_encode(value, kind.bits // 8)
        case "bigsize":
            out += primitives.bigsize_encode(value)
        case _:
            out += value.to_bytes(kind.bits // 8, "big", signed=kind.signed)


def _write_count(count: Any, length: int, out: bytearray, path: str, unit: str, earlier: dict[str, Any]) -> None:
    match count:
        case Prefixed(integer=integer):
            if length > integer.high:
                text = f"should have at most {integer.high} {unit}, as a {integer.name} counts them, not {length}"
                raise ValueOutOfRange(text, path=path)
            _write_integer(integer, length, out)
        case Fixed(size=size) if length != size:
            raise ValueOutOfRange(f"should be {size} {unit}, not {length}", path=path)
        case Named(field=name) if length != earlier[name]:
            raise ValueOutOfRange(f"should be {earlier[name]} {unit}, as {name!r} says, not {length}", path=path)


def _decode(data: bytes, at: int, path: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise MalformedMessage(f"str is not UTF-8: {error.reason}", path=path, offset=at + error.start) from None


def _placed(path: str, function: Any, *arguments: Any) -> Any:
    """Call ``function``, whose errors have an offset, and add the path to them."""
    try:
        return function(*arguments)
    except DecodeError as error:
        error.path = path
        raise


def _placed_at(path: str, offset: int, function: Any, *arguments: Any) -> Any:
    """Call ``function``, whose errors have a path, and add the offset to them."""
    try:
        return function(*arguments)
    except DecodeError as error:
        error.offset = offset
        raise


# Reading -------------------------------------------------------------------------------------------------------------


class _Reader:
    """Reads one payload, with max `MAX_VALUES` elements in all its arrays."""

    __slots__ = ("_left", "buffer")

    def __init__(self, buffer: bytes) -> None:
        self.buffer = buffer
        self._left = MAX_VALUES

    def fields(self, record: Record, at: int, end: int, path: str) -> tuple[dict[str, Any], int]:
        """Return the values of a record's fields by name, and the offset after them."""
        values: dict[str, Any] = {}
        for field in record.fields:
            if field.tlv is None:
                values[field.name], at = self.value(field.kind, at, end, f"{path}.{field.name}", values)
        if any(field.tlv is not None for field in record.fields):
            values |= self.stream(record, at, end, path)
            at = end
        return values, at

    def stream(self, record: Record, at: int, end: int, path: str) -> dict[str, Any]:
        """Return the values of the fields in TLV records."""
        known = {field.tlv: field for field in record.fields if field.tlv is not None}
        values: dict[str, Any] = {}
        for record_type, start, stop in _placed(path, primitives.parse_tlv_stream, self.buffer, at, end):
            field = known.get(record_type)
            if field is not None:
                values[field.name] = self.tlv(field, start, stop, f"{path}.{field.name}")
            else:
                _check_ignorable(record_type, path, at)
            at = stop
        for field in known.values():
            if field.name not in values:
                if not field.required:
                    values[field.name] = field.make_default()
                elif field.none_is_absent:
                    values[field.name] = None
                else:
                    raise MalformedMessage(
                        f"TLV record {field.tlv} is missing", path=f"{path}.{field.name}", offset=end
                    )
        return values

    def tlv(self, field: Field, start: int, stop: int, path: str) -> Any:
        """Return the value of one TLV record."""
        kind = field.kind.inner if isinstance(field.kind, Maybe) else field.kind
        value, at = self.value(kind, start, stop, path, {}, is_record=True)
        if at != stop:
            text = f"TLV record {field.tlv} has {stop - at} bytes more than {kind.label} takes"
            raise TrailingBytes(text, path=path, offset=at)
        return value

    def value(
        self, kind: Kind, at: int, end: int, path: str, earlier: dict[str, Any], *, is_record: bool = False
    ) -> tuple[Any, int]:
        """Return one value."""
        match kind:
            case Integer():
                return self.integer(kind, at, end, path)
            case Boolean():
                data, stop = self.take(at, end, 1, kind.label, path)
                if data[0] > 1:
                    raise MalformedMessage(f"bool should be 00 or 01, not {data.hex()}", path=path, offset=at)
                return data[0] == 1, stop
            case Opaque():
                data, stop = self.take(at, end, kind.size, kind.name, path)
                try:
                    return kind.load(data), stop
                except ValueError as error:
                    raise MalformedMessage(str(error), path=path, offset=at) from None
            case Choice():
                wire, stop = self.value(kind.base, at, end, path, earlier, is_record=is_record)
                return _placed_at(path, at, load_choice, kind, wire, path), stop
            case Octets() | Text():
                count, start = self.count(count_of(kind, is_record=is_record), kind.label, at, end, path, earlier)
                data, stop = self.take(start, end, end - start if count is None else count, kind.label, path)
                text = _decode(data, start, path) if isinstance(kind, Text) else data
                _placed_at(path, at, check_fit, kind, len(text), path)
                return text, stop
            case Array():
                return self.array(kind, at, end, path, earlier, is_record=is_record)
            case Nested():
                values, stop = self.fields(kind.record, at, end, path)
                return kind.record.build(values), stop
        raise NotImplementedError(kind)

    def array(
        self, kind: Array, at: int, end: int, path: str, earlier: dict[str, Any], *, is_record: bool
    ) -> tuple[Any, int]:
        """Return an array's elements."""
        count, start = self.count(count_of(kind, is_record=is_record), kind.label, at, end, path, earlier)
        if count is not None:
            least = count * least_size(kind.element)
            if least > end - start:
                text = f"{count} elements of {kind.element.label} need {least} bytes, {end - start} remain"
                raise Truncated(text, path=path, offset=start)
            _placed_at(path, at, check_fit, kind, count, path)
        values: list[Any] = []
        stop = start
        while stop < end if count is None else len(values) < count:
            self._left -= 1
            if self._left < 0:
                raise too_many_values(path, stop)
            value, stop = self.value(kind.element, stop, end, f"{path}[{len(values)}]", {})
            values.append(value)
        _placed_at(path, at, check_fit, kind, len(values), path)
        return kind.python(values), stop

    def integer(self, kind: Integer, at: int, end: int, path: str) -> tuple[int, int]:
        """Return an integer of any form."""
        match kind.form:
            case "truncated":
                value, stop = _placed(path, primitives.tu_decode, self.buffer, kind.bits // 8, at, end)
            case "bigsize":
                value, stop = _placed(path, primitives.bigsize_decode, self.buffer, at, end)
            case _:
                decode = primitives.sint_decode if kind.signed else primitives.uint_decode
                value, stop = _placed(path, decode, self.buffer, kind.bits // 8, at, end)
        return value, stop

    def count(
        self, count: Any, label: str, at: int, end: int, path: str, earlier: dict[str, Any]
    ) -> tuple[int | None, int]:
        """Return the number of elements (None: the rest) and the offset where they start."""
        match count:
            case Prefixed(integer=integer):
                return self.integer(integer, at, end, path)
            case Fixed(size=size):
                return size, at
            case Named(field=name):
                return earlier[name], at
            case Rest():
                return None, at
            case Led(sizes=sizes):
                first, _ = self.take(at, end, 1, label, path)
                if first[0] >= len(sizes):
                    text = f"{label} should start with 00 to {len(sizes) - 1:02x}, not {first.hex()}"
                    raise MalformedMessage(text, path=path, offset=at)
                return sizes[first[0]], at
        raise NotImplementedError(count)

    def take(self, at: int, end: int, size: int, label: str, path: str) -> tuple[bytes, int]:
        """Return ``size`` bytes, and the offset after them. Raises `Truncated`."""
        if size > end - at:
            raise Truncated(f"{label} needs {size} bytes, {end - at} remain", path=path, offset=at)
        return self.buffer[at : at + size], at + size
