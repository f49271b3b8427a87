"""The reference path that writes BOLT 1's wire types, field by field: slow, and exact about what was wrong."""

from __future__ import annotations

from typing import Any

from oddwire.errors import EncodeError, ValueOutOfRange
from oddwire.proto import primitives
from oddwire.schema.class_records import Record
from oddwire.schema.kinds import (
    Array,
    Boolean,
    Choice,
    Fixed,
    Integer,
    Kind,
    Maybe,
    Named,
    Nested,
    Octets,
    Opaque,
    Prefixed,
    Sized,
    Text,
)
from oddwire.schema.nesting import MAX_LEVELS, TOO_DEEP
from oddwire.schema.sizes import count_of
from oddwire.schema.tree import MSGPACK, dump
from oddwire.schema.tree_values import check_array, check_length
from oddwire.schema.union_kinds import Tagged
from oddwire.schema.value_kinds import Limited, Scalar

__all__ = ["write_message", "write_value"]


def write_message(record: Record, message: object) -> bytes:
    """Return a message's bytes after the type, or those of a subtype. Raises `EncodeError`."""
    out = bytearray()
    _write_record(record, message, out, "$", 0)
    return bytes(out)


def write_value(kind: Kind, value: Any) -> bytes:
    """Return the bytes of one value. Raises `EncodeError`."""
    out = bytearray()
    _write(kind, value, out, "$", {}, 0)
    return bytes(out)


def _write_record(record: Record, instance: object, out: bytearray, path: str, levels: int) -> None:
    """Write an instance; ``levels`` counts the instances of recursive classes that it is in."""
    if type(instance) is not record.cls:
        raise EncodeError(f"should be {record.name}, not {type(instance).__name__}", path=path)
    levels += record.recursive
    if levels > MAX_LEVELS:
        raise EncodeError(TOO_DEEP, path=path)
    values: dict[str, Any] = {}
    records: list[tuple[int, bytes]] = []
    for field in record.fields:
        inner = f"{path}.{field.name}"
        try:
            values[field.name] = value = getattr(instance, field.name)
        except AttributeError:
            raise EncodeError("has no value", path=inner) from None
        if field.tlv is None:
            _write(field.kind, value, out, inner, values, levels)
        elif not (value is None and field.none_is_absent):
            kind = field.record_kind
            if value is None and kind is not field.kind:
                raise ValueOutOfRange("None cannot be sent: an absent record means the default", path=inner)
            body = bytearray()
            _write(kind, value, body, inner, values, levels, is_record=True)
            records.append((field.tlv, bytes(body)))
    out += primitives.build_tlv_stream(sorted(records))
    for validator in record.validators:
        validator.check_sent(instance, path)


def _write(
    kind: Kind, value: Any, out: bytearray, path: str, earlier: dict[str, Any], levels: int, *, is_record: bool = False
) -> None:
    match kind:
        case Integer():
            _write_integer(kind, dump(kind, value, MSGPACK, path), out)
        case Boolean():
            out.append(kind.true if dump(kind, value, MSGPACK, path) else 0)
        case Opaque():
            out += dump(kind, value, MSGPACK, path)
        case Choice():
            _write(kind.base, dump(kind, value, MSGPACK, path), out, path, earlier, levels, is_record=is_record)
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
                _write(kind.element, element, out, f"{path}[{i}]", {}, levels)
        case Nested():
            _write_record(kind.record, value, out, path, levels)
        case Maybe(flag=Integer() | Boolean() as flag):
            given = value is not None
            _write(flag, given if isinstance(flag, Boolean) else int(given), out, path, {}, levels)
            if value is not None:
                _write(kind.inner, value, out, path, earlier, levels)
        case Sized():
            body = bytearray()
            _write(kind.inner, value, body, path, {}, levels)
            _write_count(Prefixed(kind.integer), len(body), out, path, "bytes", {})
            out += body
        case Tagged():
            from oddwire.codecs.bolt.reference_unions import write_tagged  # imported late: few need it

            def write(kind: Kind, value: Any, out: bytearray, path: str) -> None:
                _write(kind, value, out, path, {}, levels)

            write_tagged(kind, value, out, path, write, _write_integer)
        case Scalar():
            _write(kind.inner, kind.to_wire(value, path), out, path, earlier, levels, is_record=is_record)
        case Limited():
            _write(kind.inner, value, out, path, earlier, levels, is_record=is_record)
            kind.check_sent(value, path)
        case _:
            raise NotImplementedError(kind)


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
