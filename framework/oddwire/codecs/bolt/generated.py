"""The generated fast path of BOLT 1's wire types, with `struct` formats merged over neighbouring fields.

Generated code does the same as `oddwire.codecs.bolt.reference`, or raises `Retry` (or the error of a failed operation)
for anything unusual. The module is long so that encoding and decoding stay side by side.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import Final

from oddwire.codecs.base import Retry, quick_size
from oddwire.codecs.bolt.reference import check_extension
from oddwire.codecs.bolt.struct_runs import FEW, Cursor, Parts, is_flat, struct_format
from oddwire.proto.primitives import bigsize_decode, bigsize_encode, tu_decode, tu_encode
from oddwire.schema.kinds import (
    Array,
    Boolean,
    Choice,
    Count,
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
    Schema,
    Text,
)
from oddwire.schema.rules import count_of, least_size, takes_rest
from oddwire.schema.source import Source

__all__ = ["dump_message", "load_message"]

_SMALL: Final = tuple(bigsize_encode(value) for value in range(0xFD))
_BOOLS: Final = (False, True)


def dump_message(source: Source, schema: Schema, name: str) -> tuple[str, int | None]:
    """Write statements that check the message ``name``; return the expression for its payload, and its fixed size."""
    parts = Parts(source)
    parts.fixed("H", 2, str(schema.type_id))
    _EncodeSource(source).record(schema, name, parts)
    return parts.expression(), parts.size


def load_message(source: Source, schema: Schema, buffer: str) -> str:
    """Write statements that read the payload ``buffer``; return the name of the message they make."""
    cursor = Cursor(source, buffer)
    cursor.skip(2)
    source.line(f"size = len({buffer})")
    _unless(source, f"size <= {quick_size(schema)}")
    loader = _DecodeSource(source, buffer)
    values = loader.fields(schema, cursor, "size")
    cursor.flush()
    if not takes_rest(schema):
        with source.block(f"if size != {cursor.position}:"):
            source.line(f"{source.bind(check_extension, 'check_extension')}({buffer}, {cursor.position}, size)")
    elif cursor.position != "size":
        _unless(source, f"size == {cursor.position}")
    loader.build(schema, values, "made")
    return "made"


def _unless(source: Source, condition: str) -> None:
    with source.block(f"if not ({condition}):"):
        _retry(source)


def _retry(source: Source) -> None:
    source.line(f"raise {source.bind(Retry, 'Retry')}")


def _check_unknown(buffer: bytes, at: int, end: int, last: int) -> None:
    """Check that the remaining records of a stream, whose known types go up to ``last``, are to be ignored.

    A known type among them is out of order, or comes after an unknown one: `Retry`, for the reference path.
    """
    if bigsize_decode(buffer, at, end)[0] <= last:
        raise Retry
    check_extension(buffer, at, end)


# Writing -------------------------------------------------------------------------------------------------------------


class _EncodeSource:
    def __init__(self, source: Source) -> None:
        self._source = source

    def record(self, record: Record, name: str, parts: Parts) -> None:
        source = self._source
        _unless(source, f"type({name}) is {source.bind(record.cls, record.cls.__name__)}")
        values: dict[str, str] = {}
        for field in record.fields:
            values[field.name] = source.fresh("v")
            source.line(f"{values[field.name]} = {name}.{field.name}")
        for field in record.fields:
            if field.tlv is None:
                self._value(field.kind, values[field.name], parts, values)
        records = [field for field in record.fields if field.tlv is not None]
        for field in sorted(records, key=lambda field: field.tlv or 0):
            self._tlv(field, values[field.name], parts)

    def _tlv(self, field: Field, name: str, parts: Parts) -> None:
        source = self._source
        kind = field.kind.inner if isinstance(field.kind, Maybe) else field.kind
        if not field.none_is_absent:
            parts.part(self._tlv_expression(field, kind, name))
            return
        made = source.fresh("record")
        with source.block(f"if {name} is None:"):
            source.line(f'{made} = b""')
        with source.block("else:"):
            source.line(f"{made} = {self._tlv_expression(field, kind, name)}")
        parts.part(made)

    def _tlv_expression(self, field: Field, kind: Kind, name: str) -> str:
        source = self._source
        body = Parts(source)
        self._value(kind, name, body, {}, is_record=True)
        header = bigsize_encode(field.tlv or 0)
        if body.size is not None:
            body.lead(header + bigsize_encode(body.size))
            return body.expression()
        made = source.fresh("body")
        source.line(f"{made} = {body.expression()}")
        return f"{source.bind(header, 'header')} + {self._length(made)} + {made}"

    def _value(self, kind: Kind, name: str, parts: Parts, earlier: dict[str, str], *, is_record: bool = False) -> None:
        source = self._source
        match kind:
            case Integer(form="fixed"):  # struct checks the range, and that it is an integer, but accepts a bool
                with source.block(f"if {name} is True or {name} is False:"):
                    _retry(source)
                self._integer(kind, name, parts)
            case Integer():
                _unless(source, f"type({name}) is int")
                self._integer(kind, name, parts)
            case Boolean():
                _unless(source, f"type({name}) is bool")
                parts.fixed("B", 1, name)
            case Opaque():
                _unless(source, f"type({name}) is {source.bind(kind.python, kind.name)}")
                stored = kind.stored and f"{name}.{kind.stored}"  # a method call would take as long as the write
                written = stored or f"{source.bind(kind.dump, f'dump_{kind.name}')}({name})"
                parts.fixed("Q" if kind.numeric else f"{kind.size}s", kind.size, written)
            case Choice():
                wire = source.fresh("wire")
                if issubclass(kind.python, Enum):
                    _unless(source, f"type({name}) is {source.bind(kind.python, kind.python.__name__)}")
                    source.line(f"{wire} = {name}._value_")
                else:
                    _unless(source, f"{name} in {source.bind(kind.members, 'members')}")
                    source.line(f"{wire} = {name}")
                self._value(kind.base, wire, parts, earlier, is_record=is_record)
            case Octets() | Text():
                self._data(kind, name, parts, earlier, is_record=is_record)
            case Array():
                self._array(kind, name, parts, earlier, is_record=is_record)
            case Nested():
                self.record(kind.record, name, parts)

    def _integer(self, kind: Integer, name: str, parts: Parts) -> None:
        match kind.form:
            case "fixed":
                parts.fixed(struct_format(kind), kind.bits // 8, name)
            case "bigsize":
                parts.part(self._bigsize(name))
            case _:
                parts.part(f"{self._source.bind(tu_encode, 'tu_encode')}({name}, {kind.bits // 8})")

    def _bigsize(self, name: str) -> str:
        small, encode = self._source.bind(_SMALL, "small"), self._source.bind(bigsize_encode, "bigsize_encode")
        return f"({small}[{name}] if 0 <= {name} < 253 else {encode}({name}))"

    def _length(self, name: str) -> str:
        small, encode = self._source.bind(_SMALL, "small"), self._source.bind(bigsize_encode, "bigsize_encode")
        length = self._source.fresh("length")
        return f"({small}[{length}] if ({length} := len({name})) < 253 else {encode}({length}))"

    def _data(self, kind: Octets | Text, name: str, parts: Parts, earlier: dict[str, str], *, is_record: bool) -> None:
        source = self._source
        count = count_of(kind, is_record=is_record)
        if isinstance(kind, Text):
            _unless(source, f"type({name}) is str")
        elif not isinstance(count, Fixed):  # otherwise struct accepts nothing but bytes
            _unless(source, f"type({name}) is bytes")
        if kind.max_length is not None:
            _unless(source, f"len({name}) <= {kind.max_length}")
        if isinstance(kind, Text):
            encoded = source.fresh("encoded")
            source.line(f"{encoded} = {name}.encode()")
            name = encoded
        self._count(count, name, parts, earlier)
        if isinstance(count, Fixed):
            parts.fixed(f"{count.size}s", count.size, name)
        else:
            parts.part(name)

    def _array(self, kind: Array, name: str, parts: Parts, earlier: dict[str, str], *, is_record: bool) -> None:
        source, element = self._source, kind.element
        _unless(source, f"type({name}) in (tuple, list)" if kind.loose else f"type({name}) is {kind.python.__name__}")
        if kind.max_length is not None:
            _unless(source, f"len({name}) <= {kind.max_length}")
        self._count(count_of(kind, is_record=is_record), name, parts, earlier)
        if isinstance(element, Integer) and element.form == "fixed":
            self._each(name, "type({}) is int")
            if element.name == "u8":
                parts.part(f"bytes({name})")
            else:
                pack = source.bind(struct.pack, "pack")
                parts.part(f'{pack}(f">{{len({name})}}{struct_format(element)}", *{name})')
            return
        if isinstance(element, Octets) and isinstance(element.count, Fixed) and element.max_length is None:
            self._each(name, f"type({{0}}) is bytes and len({{0}}) == {element.count.size}")
            parts.part(f'b"".join({name})')
            return
        helper = source.fresh("dump")
        with source.function(f"def {helper}(value):"):
            inner = Parts(source)
            self._value(element, "value", inner, {})
            source.line(f"return {inner.expression()}")
        parts.part(f'b"".join(map({helper}, {name}))')

    def _each(self, name: str, condition: str) -> None:
        """Write a check of each element: for a few, faster than sets of their types and lengths."""
        element = self._source.fresh("element")
        with self._source.block(f"for {element} in {name}:"):
            _unless(self._source, condition.format(element))

    def _count(self, count: Count, name: str, parts: Parts, earlier: dict[str, str]) -> None:
        match count:
            case Prefixed(integer=integer):
                self._integer(integer, f"len({name})", parts)
            case Fixed(size=size):
                _unless(self._source, f"len({name}) == {size}")
            case Named(field=field):
                _unless(self._source, f"len({name}) == {earlier[field]}")
            case Led(sizes=sizes):
                _unless(self._source, f"len({name}) == {self._source.bind(sizes, 'sizes')}[{name}[0]]")


# Reading -------------------------------------------------------------------------------------------------------------


class _DecodeSource:
    def __init__(self, source: Source, buffer: str) -> None:
        self._source = source
        self._buffer = buffer
        self._starts: set[str] = set()  # variables with the start of a record: never past its end

    def build(self, record: Record, values: dict[str, str], made: str) -> None:
        """Write statements that make an instance called ``made`` of its fields' values."""
        source = self._source
        source.line(f"{made} = {source.bind(record.blank, 'blank')}()")
        for name, value in values.items():
            source.line(f"{made}.{name} = {value}")
        source.line(f"{made}.__class__ = {source.bind(record.cls, record.cls.__name__)}")

    def fields(self, record: Record, cursor: Cursor, end: str) -> dict[str, str]:
        """Read a record's fields; return the names of their values, valid after `Cursor.flush`."""
        values: dict[str, str] = {}
        for field in record.fields:
            if field.tlv is None:
                values[field.name] = self._value(field.kind, cursor, end, values)
        records = [field for field in record.fields if field.tlv is not None]
        if records:
            cursor.flush()
            values |= self._stream(records, cursor, end)
        return values

    def _stream(self, records: list[Field], cursor: Cursor, end: str) -> dict[str, str]:
        """Read TLV records, each expected in its place: known types ascend, and unknown ones mostly come later."""
        source, buffer = self._source, self._buffer
        values: dict[str, str] = {}
        at, last = source.fresh("at"), 0
        source.line(f"{at} = {cursor.position}")
        place = cursor.copy()
        for field in sorted(records, key=lambda field: field.tlv or 0):
            values[field.name] = name = source.fresh("v")
            last = field.tlv or 0
            header = bigsize_encode(last)
            where = place.position
            if len(header) == 1:
                found = f"{buffer}[{where}] == {last}"
            else:
                found = f"{buffer}.startswith({source.bind(header, 'header')}, {where})"
            with source.block(f"if {where} < {end} and {found}:"):
                place.skip(len(header))
                self._tlv(field, name, place, end)
                source.line(f"{at} = {place.position}")
            with source.block("else:"):
                self._absent(field, name)
            place.move(at)
        with source.block(f"if {at} != {end}:"):
            check = source.bind(_check_unknown, "check_unknown")
            source.line(f"{check}({buffer}, {at}, {end}, {last})")
        cursor.move(end)
        return values

    def _absent(self, field: Field, name: str) -> None:
        source = self._source
        if field.none_is_absent:
            source.line(f"{name} = None")
        elif field.required:
            _retry(source)
        elif field.default_factory is not None:
            source.line(f"{name} = {source.bind(field.default_factory, 'make')}()")
        else:
            source.line(f"{name} = {source.bind(field.default, 'default')}")

    def _read_bigsize(self, name: str, after: str, cursor: Cursor, end: str) -> None:
        """Read a BigSize, mostly one byte, into ``name``; ``after`` is set to the offset after it.

        A byte at ``end`` or past it is read too: the value after it then fails its check of the end.
        """
        source, at = self._source, cursor.position
        source.line(f"{name} = {self._buffer}[{at}]")
        with source.block(f"if {name} < 253:"):
            cursor.skip(1)
            source.line(f"{after} = {cursor.position}")
        with source.block("else:"):
            decode = source.bind(bigsize_decode, "bigsize_decode")
            source.line(f"{name}, {after} = {decode}({self._buffer}, {at}, {end})")
        cursor.move(after)

    def _tlv(self, field: Field, name: str, cursor: Cursor, end: str) -> None:
        """Read a TLV record's length and value, the latter into ``name``."""
        source = self._source
        kind = field.kind.inner if isinstance(field.kind, Maybe) else field.kind
        size = least_size(kind)
        if is_flat(kind) and size < 253:
            _unless(source, f"{self._buffer}[{cursor.position}] == {size}")
            cursor.skip(1)
            value = self._value(kind, cursor, "", {})
            cursor.flush()
        else:
            length, start, stop = source.fresh("length"), source.fresh("start"), source.fresh("stop")
            self._read_bigsize(length, start, cursor, end)
            self._starts.add(start)
            source.line(f"{stop} = {start} + {length}")
            value = self._value(kind, cursor, stop, {}, is_record=True)
            cursor.flush()
            if cursor.position != stop:
                _unless(source, f"{cursor.position} == {stop}")
        source.line(f"{name} = {value}")

    def _value(self, kind: Kind, cursor: Cursor, end: str, earlier: dict[str, str], *, is_record: bool = False) -> str:
        source = self._source
        match kind:
            case Integer():
                return self._integer(kind, cursor, end)
            case Boolean():
                name = cursor.take("B", 1)
                bools = source.bind(_BOOLS, "bools")
                cursor.afterwards(lambda: source.line(f"{name} = {bools}[{name}]"))
                return name
            case Opaque():
                name = cursor.take(f"{kind.size}s", kind.size)
                load = source.bind(kind.load, f"load_{kind.name}")
                cursor.afterwards(lambda: source.line(f"{name} = {load}({name})"))
                return name
            case Choice():
                name = self._value(kind.base, cursor, end, earlier, is_record=is_record)
                members = source.bind(kind.members, "members")
                cursor.afterwards(lambda: source.line(f"{name} = {members}[{name}]"))
                return name
            case Octets() | Text():
                return self._data(kind, cursor, end, earlier, is_record=is_record)
            case Array():
                return self._array(kind, cursor, end, earlier, is_record=is_record)
            case Nested():
                values, name = self.fields(kind.record, cursor, end), source.fresh("made")
                cursor.afterwards(lambda: self.build(kind.record, values, name))
                return name
        raise NotImplementedError(kind)

    def _integer(self, kind: Integer, cursor: Cursor, end: str) -> str:
        if kind.form == "fixed":
            return cursor.take(struct_format(kind), kind.bits // 8)
        source = self._source
        cursor.flush()
        name, at = source.fresh("v"), source.fresh("at")
        if kind.form == "bigsize":
            self._read_bigsize(name, at, cursor, end)
        else:
            decode = source.bind(tu_decode, "tu_decode")
            source.line(f"{name}, {at} = {decode}({self._buffer}, {kind.bits // 8}, {cursor.position}, {end})")
            cursor.move(at)
        return name

    def _data(self, kind: Octets | Text, cursor: Cursor, end: str, earlier: dict[str, str], *, is_record: bool) -> str:
        source = self._source
        count = count_of(kind, is_record=is_record)
        decode = ".decode()" if isinstance(kind, Text) else ""
        if isinstance(count, Fixed):
            name = cursor.take(f"{count.size}s", count.size)
            if decode:
                cursor.afterwards(lambda: source.line(f"{name} = {name}{decode}"))
        else:
            name = source.fresh("v")
            start, stop, _ = self._extent(count, 1, cursor, end, earlier)
            source.line(f"{name} = {self._buffer}[{start}:{stop}]{decode}")
        if kind.max_length is not None:
            cursor.afterwards(lambda: _unless(source, f"len({name}) <= {kind.max_length}"))
        return name

    def _array(self, kind: Array, cursor: Cursor, end: str, earlier: dict[str, str], *, is_record: bool) -> str:
        source, buffer, element = self._source, self._buffer, kind.element
        name, python = source.fresh("v"), kind.python.__name__
        count = count_of(kind, is_record=is_record)
        if isinstance(element, Integer) and element.form == "fixed":
            size = element.bits // 8
            start, stop, number = self._extent(count, size, cursor, end, earlier)
            if size == 1 and not element.signed:
                source.line(f"{name} = {python}({buffer}[{start}:{stop}])")
            else:
                unpack = source.bind(struct.unpack, "unpack")
                made = f'{unpack}(f">{{{number}}}{struct_format(element)}", {buffer}[{start}:{stop}])'
                source.line(f"{name} = {made if python == 'tuple' else f'list({made})'}")
        elif is_flat(element):
            extent = self._extent(count, least_size(element), cursor, end, earlier)
            self._flat_elements(kind, name, extent)
        else:
            self._elements(kind, count, name, cursor, end, earlier)
        if kind.max_length is not None:
            _unless(source, f"len({name}) <= {kind.max_length}")
        return name

    def _flat_elements(self, kind: Array, name: str, extent: tuple[str, str, str]) -> None:
        """Read elements of fixed size by one `struct.Struct` each, or a few single values by one for all."""
        source, buffer = self._source, self._buffer
        start, stop, number = extent
        inner = Cursor(source, buffer)
        value = self._value(kind.element, inner, "", {})
        iter_unpack, names, afterwards = inner.iterate()
        items = f"{names} in {iter_unpack}({buffer}[{start}:{stop}])"
        if afterwards:
            source.line(f"{name} = []")
            with source.block(f"for {items}:"):
                for write in afterwards:
                    write()
                source.line(f"{name}.append({value})")
            if kind.python is tuple:
                source.line(f"{name} = tuple({name})")
            return
        few, many = f"{inner.few()}[{number}]({buffer}, {start})", f"[{value} for {items}]"
        few, many = (f"list({few})", many) if kind.python is list else (few, f"tuple({many})")
        with source.block(f"if {number} < {FEW}:"):
            source.line(f"{name} = {few}")
        with source.block("else:"):
            source.line(f"{name} = {many}")

    def _elements(
        self, kind: Array, count: Count, name: str, cursor: Cursor, end: str, earlier: dict[str, str]
    ) -> None:
        source = self._source
        helper, number, at = source.fresh("load"), self._number(count, cursor, end, earlier), source.fresh("at")
        with source.function(f"def {helper}({self._buffer}, at, end):"):
            inner = Cursor(source, self._buffer, "at")
            value = self._value(kind.element, inner, "end", {})
            inner.flush()
            source.line(f"return {value}, {inner.position}")
        cursor.flush()
        source.line(f"{at} = {cursor.position}")
        if number:
            _unless(source, f"{number} * {least_size(kind.element)} <= {end} - {at}")
        source.line(f"{name} = []")
        with source.block(f"for _ in range({number}):" if number else f"while {at} < {end}:"):
            source.line(f"value, {at} = {helper}({self._buffer}, {at}, {end})")
            source.line(f"{name}.append(value)")
        if kind.python is tuple:
            source.line(f"{name} = tuple({name})")
        cursor.move(at)

    def _extent(
        self, count: Count, size: int, cursor: Cursor, end: str, earlier: dict[str, str]
    ) -> tuple[str, str, str]:
        """Write the start and end of elements of ``size`` bytes, and move there; return both, and their number."""
        source = self._source
        number = self._number(count, cursor, end, earlier)
        cursor.flush()
        start, stop = cursor.position, source.fresh("at")
        if not number:
            if start not in self._starts:
                _unless(source, f"{start} <= {end}")
            if size == 1:
                cursor.move(end)
                return start, end, f"({end} - ({start}))"
            number = source.fresh("number")  # bytes too few for one more are left over, and rejected later
            source.line(f"{number} = ({end} - ({start})) // {size}")
        source.line(f"{stop} = {start} + {number}{'' if size == 1 else f' * {size}'}")
        cursor.move(stop)
        return start, stop, number

    def _number(self, count: Count, cursor: Cursor, end: str, earlier: dict[str, str]) -> str:
        """Read a count; return its expression, empty for `Rest`."""
        match count:
            case Prefixed(integer=integer):
                return self._integer(integer, cursor, end)
            case Fixed(size=size):
                return str(size)
            case Named(field=name):
                return earlier[name]
            case Led(sizes=sizes):
                cursor.flush()
                number = self._source.fresh("number")
                first = f"{self._buffer}[{cursor.position}]"
                self._source.line(f"{number} = {self._source.bind(sizes, 'sizes')}[{first}]")
                return number
        return ""
