"""The reference path that reads BOLT 1's wire types, field by field: slow, and exact about what was wrong and where.

Methods read bytes from ``at``, never at or past ``end``, and return the value and the offset after it.
"""

from __future__ import annotations

from typing import Any

from oddwire.codecs.base import MAX_VALUES, too_many_values
from oddwire.errors import DecodeError, MalformedMessage, TrailingBytes, Truncated, UnknownRequiredRecord
from oddwire.proto import primitives
from oddwire.schema.class_records import Field, Record
from oddwire.schema.kinds import (
    Array,
    Boolean,
    Choice,
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
    Rest,
    Sized,
    Text,
)
from oddwire.schema.nesting import MAX_LEVELS, TOO_DEEP
from oddwire.schema.sizes import count_of, least_size
from oddwire.schema.tree_values import check_fit, load_choice
from oddwire.schema.union_kinds import Tagged
from oddwire.schema.value_kinds import Limited, Scalar

__all__ = ["Reader", "check_extension", "read_message", "read_subtype"]


def read_message(record: Record, payload: bytes) -> Any:
    """Return the message of a payload, read from after the type. Raises `MalformedMessage`."""
    values, at = Reader(payload).fields(record, 2, len(payload), "$")
    # BOLT 1, Lightning Message Format: any message may end in an extension; none is left where a field took the rest.
    check_extension(payload, at, len(payload))
    return record.build(values)


def read_subtype(record: Record, data: bytes) -> Any:
    """Return the instance of a subtype that is all of ``data``. Raises `MalformedMessage`."""
    values, at = Reader(data).fields(record, 0, len(data), "$")
    if at != len(data):
        raise TrailingBytes(f"has {len(data) - at} bytes more than {record.name} takes", offset=at)
    return record.build(values)


def check_extension(buffer: bytes, at: int, end: int) -> None:
    """Check a TLV stream without known types: every type must be odd. Raises `MalformedMessage`."""
    if at > end:
        raise Truncated(f"needs {at - end} bytes more", offset=end)
    for record_type, _, stop in primitives.parse_tlv_stream(buffer, at, end):
        _check_ignorable(record_type, "$", at)
        at = stop


def _check_ignorable(record_type: int, path: str, at: int) -> None:
    # BOLT 1, Type-Length-Value Format: it's OK to be odd.
    if record_type % 2 == 0:
        text = f"TLV record {record_type} is unknown and even, so it must not be ignored"
        raise UnknownRequiredRecord(text, path=path, offset=at)


class Reader:
    """Reads one payload, with max `MAX_VALUES` elements in all its arrays, and `MAX_LEVELS` of recursive classes.

    `oddwire.decoding` takes notes of what is read where: its subclass overrides `value`, `integer` and `record`.
    """

    __slots__ = ("_left", "_levels", "buffer")

    def __init__(self, buffer: bytes) -> None:
        self.buffer = buffer
        self._left = MAX_VALUES
        self._levels = 0

    def fields(self, record: Record, at: int, end: int, path: str) -> tuple[dict[str, Any], int]:
        """Return the values of a record's fields by name, and the offset after them."""
        self._levels += record.recursive
        if self._levels > MAX_LEVELS:
            raise MalformedMessage(TOO_DEEP, path=path, offset=at)
        values: dict[str, Any] = {}
        starts = {"": at}
        for field in record.fields:
            if field.tlv is None:
                starts[field.name] = at
                values[field.name], at = self.value(field.kind, at, end, f"{path}.{field.name}", values)
        if any(field.tlv is not None for field in record.fields):
            values |= self.stream(record, at, end, path, starts)
            at = end
        self._levels -= record.recursive
        if record.validators:
            made = record.build(values)
            for validator in record.validators:
                _placed_at(path, starts.get(validator.field, starts[""]), validator.check_received, made, path)
        return values, at

    def stream(self, record: Record, at: int, end: int, path: str, starts: dict[str, int]) -> dict[str, Any]:
        """Return the values of the fields in TLV records; ``starts`` gets the offset of each that there is."""
        known = {field.tlv: field for field in record.fields if field.tlv is not None}
        values: dict[str, Any] = {}
        for record_type, start, stop in _placed(path, primitives.parse_tlv_stream, self.buffer, at, end):
            field = known.get(record_type)
            value = self.record(record_type, field, at, start, stop, path)
            if field is not None:
                starts[field.name] = start
                values[field.name] = value
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

    def record(self, record_type: int, field: Field | None, at: int, start: int, stop: int, path: str) -> Any:
        """Return the value of one TLV record of the class at ``path``; None of one that has no ``field``.

        The record is from ``at`` on, its value from ``start`` to ``stop``.
        """
        if field is not None:
            return self.tlv(field, start, stop, f"{path}.{field.name}")
        _check_ignorable(record_type, path, at)
        return None

    def tlv(self, field: Field, start: int, stop: int, path: str) -> Any:
        """Return the value in one TLV record."""
        kind = field.record_kind
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
                if data[0] > 1 and kind.true == 1:
                    raise MalformedMessage(f"bool should be 00 or 01, not {data.hex()}", path=path, offset=at)
                return data[0] != 0, stop
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
            case Maybe(flag=Integer() | Boolean() as flag):
                given, start = self.value(flag, at, end, path, {})
                if given > 1:
                    raise MalformedMessage(f"the flag should be 0 or 1, not {given}", path=path, offset=at)
                return self.value(kind.inner, start, end, path, earlier) if given else (None, start)
            case Sized():
                return self.sized(kind, at, end, path)
            case Tagged():
                from oddwire.codecs.bolt.reference_unions import read_tagged  # imported late: few need it

                def read(kind: Kind, at: int, end: int, path: str) -> tuple[Any, int]:
                    return self.value(kind, at, end, path, {})

                return read_tagged(kind, self.buffer, at, end, path, read, self.integer)
            case Scalar():
                wire, stop = self.value(kind.inner, at, end, path, earlier, is_record=is_record)
                return _placed_at(path, at, kind.from_wire, wire, path), stop
            case Limited():
                value, stop = self.value(kind.inner, at, end, path, earlier, is_record=is_record)
                _placed_at(path, at, kind.check_received, value, path)
                return value, stop
        raise NotImplementedError(kind)

    def sized(self, kind: Sized, at: int, end: int, path: str) -> tuple[Any, int]:
        """Return what comes behind its size, and takes all of that."""
        size, start = self.integer(kind.integer, at, end, path)
        stop = start + size
        if stop > end:
            raise Truncated(f"{kind.label} has {size} bytes by its size, {end - start} remain", path=path, offset=at)
        value, at = self.value(kind.inner, start, stop, path, {})
        if at != stop:
            text = f"{stop - at} bytes more than {kind.label} takes, by the size in front of it"
            raise TrailingBytes(text, path=path, offset=at)
        return value, stop

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
