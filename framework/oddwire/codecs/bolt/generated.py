"""The generated fast path of BOLT 1's wire types, with `struct` formats merged over neighbouring fields.

Generated code does the same as the reference path, or raises `Retry` (or the error of a failed operation)
for anything unusual. Integers, what has a count, TLV streams and unions have modules of their own, `generated_*`.
"""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import Final

from oddwire.codecs.base import quick_size
from oddwire.codecs.bolt.generated_arrays import dump_array, dump_data, load_array, load_data
from oddwire.codecs.bolt.generated_integers import dump_integer, load_integer
from oddwire.codecs.bolt.generated_streams import dump_stream, load_stream
from oddwire.codecs.bolt.reference_reading import check_extension
from oddwire.codecs.bolt.statements import call_function, limit, next_level, retry, unless, validate
from oddwire.codecs.bolt.struct_runs import Cursor, Parts, is_flat
from oddwire.proto.primitives import bigsize_encode
from oddwire.schema.class_records import Record, Schema
from oddwire.schema.kinds import Array, Boolean, Choice, Integer, Kind, Maybe, Nested, Octets, Opaque, Sized, Text
from oddwire.schema.nesting import nests
from oddwire.schema.sizes import least_size, takes_rest
from oddwire.schema.source import Source
from oddwire.schema.union_kinds import Tagged
from oddwire.schema.value_kinds import Limited, Scalar, unlimited

__all__ = ["Decoder", "Encoder", "dump_message", "load_message"]

_BOOLS: Final = (False, True)


def dump_message(source: Source, schema: Schema, name: str) -> tuple[str, int | None]:
    """Write statements that check the message ``name``; return the expression for its payload, and its fixed size."""
    parts = Parts(source)
    parts.fixed("H", 2, str(schema.type_id))
    Encoder(source, _levels(source, schema)).fields(schema, name, parts)
    return parts.expression(), parts.size


def load_message(source: Source, schema: Schema, buffer: str) -> str:
    """Write statements that read the payload ``buffer``; return the name of the message they make."""
    cursor = Cursor(source, buffer)
    cursor.skip(2)
    source.line(f"size = len({buffer})")
    unless(source, f"size <= {quick_size(schema)}")
    loader = Decoder(source, buffer, _levels(source, schema))
    values = loader.fields(schema, cursor, "size")
    cursor.flush()
    if not takes_rest(schema):
        with source.block(f"if size != {cursor.position}:"):
            source.line(f"{source.bind(check_extension, 'check_extension')}({buffer}, {cursor.position}, size)")
    elif cursor.position != "size":
        unless(source, f"size == {cursor.position}")
    loader.build(schema, values, "made")
    return "made"


def _levels(source: Source, schema: Schema) -> str:
    """Return the last argument of all functions where classes nest, which says how deep; otherwise the empty string."""
    if not nests(schema):
        return ""
    source.line(f"levels = {int(schema.recursive)}")
    return ", levels"


# Writing -------------------------------------------------------------------------------------------------------------


class Encoder:
    """Writes the statements that encode a message."""

    def __init__(self, source: Source, levels: str) -> None:
        self.source = source
        self.levels = levels
        self.dispatchers: dict[Tagged, str] = {}  # unions of many members, and the names of their dicts
        self._functions: dict[Record, str] = {}

    def function_of(self, record: Record) -> str:
        """Return the name of a function that returns the bytes of an instance: of a class whose uses share it."""
        if record not in self._functions:
            source = self.source
            name = self._functions[record] = source.fresh(f"dump_{record.cls.__name__}")
            with source.function(f"def {name}(value{self.levels}):"):
                if record.recursive:
                    next_level(source)
                parts = Parts(source)
                self.fields(record, "value", parts)
                source.line(f"return {parts.expression()}")
        return self._functions[record]

    def fields(self, record: Record, name: str, parts: Parts) -> None:
        """Write statements that check an instance called ``name``, and add the parts of its fields."""
        source = self.source
        unless(source, f"type({name}) is {source.bind(record.cls, record.cls.__name__)}")
        values: dict[str, str] = {}
        for field in record.fields:
            values[field.name] = source.fresh("v")
            source.line(f"{values[field.name]} = {name}.{field.name}")
        for field in record.fields:
            if field.tlv is None:
                self.value(field.kind, values[field.name], parts, values)
        dump_stream(self, record, values, parts)
        validate(source, record, name, values)

    def value(self, kind: Kind, name: str, parts: Parts, earlier: dict[str, str], *, is_record: bool = False) -> None:
        """Write statements that check the value ``name``, and add its parts; ``earlier`` has the names of fields."""
        source = self.source
        match kind:
            case Integer(form="fixed"):  # struct checks the range, and that it is an integer, but accepts a bool
                with source.block(f"if {name} is True or {name} is False:"):
                    retry(source)
                dump_integer(source, kind, name, parts)
            case Integer():
                unless(source, f"type({name}) is int")
                dump_integer(source, kind, name, parts)
            case Boolean():
                unless(source, f"type({name}) is bool")
                parts.fixed("B", 1, name if kind.true == 1 else f"{kind.true} * {name}")
            case Opaque():
                unless(source, f"type({name}) is {source.bind(kind.python, kind.name)}")
                stored = kind.stored and f"{name}.{kind.stored}"  # a method call would take as long as the write
                written = stored or f"{source.bind(kind.dump, f'dump_{kind.name}')}({name})"
                parts.fixed("Q" if kind.numeric else f"{kind.size}s", kind.size, written)
            case Choice():
                wire = source.fresh("wire")
                if issubclass(kind.python, Enum):
                    unless(source, f"type({name}) is {source.bind(kind.python, kind.python.__name__)}")
                    source.line(f"{wire} = {name}._value_")
                else:
                    unless(source, f"{name} in {source.bind(kind.members, 'members')}")
                    source.line(f"{wire} = {name}")
                self.value(kind.base, wire, parts, earlier, is_record=is_record)
            case Octets() | Text():
                dump_data(self, kind, name, parts, earlier, is_record=is_record)
            case Array():
                dump_array(self, kind, name, parts, earlier, is_record=is_record)
            case Nested():
                if kind.record.recursive:
                    parts.part(f"{self.function_of(kind.record)}({name}, levels)")
                else:
                    self.fields(kind.record, name, parts)
            case Maybe(flag=Integer() | Boolean() as flag):
                made = source.fresh("flagged")
                with source.block(f"if {name} is None:"):
                    source.line(f"{made} = {source.bind(bytes(least_size(flag)), 'none')}")
                with source.block("else:"):
                    body = Parts(source)
                    one = flag.true if isinstance(flag, Boolean) else 1
                    body.lead(one.to_bytes(least_size(flag), "big"))
                    self.value(kind.inner, name, body, earlier)
                    source.line(f"{made} = {body.expression()}")
                parts.part(made)
            case Sized():
                self._sized(kind, name, parts)
            case Tagged():
                from oddwire.codecs.bolt.generated_unions import dump_tagged, holds_union  # imported late: few need it

                def inner(kind: Nested, name: str, parts: Parts) -> None:
                    if holds_union(kind.record):
                        parts.part(f"{self.function_of(kind.record)}({name}{self.levels})")
                    else:
                        self.value(kind, name, parts, {})

                parts.part(dump_tagged(source, kind, name, inner, self.levels, self.dispatchers))
            case Scalar():
                wire = source.fresh("wire")
                unless(source, f"type({name}) is {source.bind(kind.python, kind.python.__name__)}")
                call_function(source, wire, kind.dump, name)
                self.value(kind.inner, wire, parts, earlier, is_record=is_record)
            case Limited():
                self.value(kind.inner, name, parts, earlier, is_record=is_record)
                if isinstance(unlimited(kind), Integer):  # struct checks its type, but later
                    unless(source, f"type({name}) is int")
                limit(source, kind, name)

    def _sized(self, kind: Sized, name: str, parts: Parts) -> None:
        source = self.source
        if is_flat(kind.inner):
            size, integer = least_size(kind.inner), kind.integer
            if integer.form == "fixed":
                dump_integer(source, integer, str(size), parts)
            else:
                prefix = bigsize_encode(size)
                parts.fixed(f"{len(prefix)}s", len(prefix), source.bind(prefix, "size"))
            self.value(kind.inner, name, parts, {})
            return
        body, made = Parts(source), source.fresh("body")
        self.value(kind.inner, name, body, {})
        source.line(f"{made} = {body.expression()}")
        dump_integer(source, kind.integer, f"len({made})", parts)
        parts.part(made)


# Reading -------------------------------------------------------------------------------------------------------------


class Decoder:
    """Writes the statements that decode a message."""

    def __init__(self, source: Source, buffer: str, levels: str) -> None:
        self.source = source
        self.buffer = buffer
        self.levels = levels
        self.dispatchers: dict[Tagged, str] = {}  # unions of many members, and the names of their dicts
        self._functions: dict[Record, str] = {}
        self.starts: set[str] = set()  # variables with the start of a record: never past its end

    def function_of(self, record: Record) -> str:
        """Return the name of a function that returns an instance, and the offset after it; see `Encoder`."""
        if record not in self._functions:
            source = self.source
            name = self._functions[record] = source.fresh(f"load_{record.cls.__name__}")
            with source.function(f"def {name}({self.buffer}, at, end{self.levels}):"):
                if record.recursive:
                    next_level(source)
                inner = Cursor(source, self.buffer, "at")
                values = self.fields(record, inner, "end")
                inner.flush()
                self.build(record, values, "made")
                source.line(f"return made, {inner.position}")
        return self._functions[record]

    def build(self, record: Record, values: dict[str, str], made: str) -> None:
        """Write statements that make an instance called ``made`` of its fields' values."""
        source = self.source
        source.line(f"{made} = {source.bind(record.blank, 'blank')}()")
        for name, value in values.items():
            source.line(f"{made}.{name} = {value}")
        source.line(f"{made}.__class__ = {source.bind(record.cls, record.cls.__name__)}")
        validate(source, record, made, values)

    def fields(self, record: Record, cursor: Cursor, end: str) -> dict[str, str]:
        """Read a record's fields; return the names of their values, valid after `Cursor.flush`."""
        values: dict[str, str] = {}
        for field in record.fields:
            if field.tlv is None:
                values[field.name] = self.value(field.kind, cursor, end, values)
        records = [field for field in record.fields if field.tlv is not None]
        if records:
            cursor.flush()
            values |= load_stream(self, records, cursor, end)
        return values

    def value(self, kind: Kind, cursor: Cursor, end: str, earlier: dict[str, str], *, is_record: bool = False) -> str:
        """Read a value; return its name, valid after `Cursor.flush`. ``earlier`` has the names of earlier fields."""
        source = self.source
        match kind:
            case Integer():
                return load_integer(source, self.buffer, kind, cursor, end)
            case Boolean():
                name = cursor.take("B", 1)
                made = f"{source.bind(_BOOLS, 'bools')}[{name}]" if kind.true == 1 else f"{name} != 0"
                cursor.afterwards(lambda: source.line(f"{name} = {made}"))
                return name
            case Opaque():
                name = cursor.take(f"{kind.size}s", kind.size)
                load = source.bind(kind.load, f"load_{kind.name}")
                cursor.afterwards(lambda: source.line(f"{name} = {load}({name})"))
                return name
            case Choice():
                name = self.value(kind.base, cursor, end, earlier, is_record=is_record)
                members = source.bind(kind.members, "members")
                cursor.afterwards(lambda: source.line(f"{name} = {members}[{name}]"))
                return name
            case Octets() | Text():
                return load_data(self, kind, cursor, end, earlier, is_record=is_record)
            case Array():
                return load_array(self, kind, cursor, end, earlier, is_record=is_record)
            case Nested() if kind.record.recursive:
                return self._call(kind.record, cursor, end)
            case Maybe(flag=Integer() | Boolean() as flag):
                return self._flagged(kind, flag, cursor, end, earlier)
            case Sized():
                return self._sized(kind, cursor, end)
            case Nested():
                values, name = self.fields(kind.record, cursor, end), source.fresh("made")
                cursor.afterwards(lambda: self.build(kind.record, values, name))
                return name
            case Tagged():
                from oddwire.codecs.bolt.generated_unions import holds_union, load_tagged  # imported late: few need it

                def inner(kind: Nested, cursor: Cursor, end: str) -> str:
                    if holds_union(kind.record):
                        return self._call(kind.record, cursor, end)
                    return self.value(kind, cursor, end, {})

                integer = partial(load_integer, source, self.buffer)
                shared = (self.levels, self.dispatchers)
                return load_tagged(source, self.buffer, kind, cursor, end, self.starts, inner, integer, *shared)
            case Scalar():
                wire, name = self.value(kind.inner, cursor, end, earlier, is_record=is_record), source.fresh("v")
                cursor.afterwards(lambda: call_function(source, name, kind.load, wire))
                return name
            case Limited():
                name = self.value(kind.inner, cursor, end, earlier, is_record=is_record)
                cursor.afterwards(lambda: limit(source, kind, name))
                return name
        raise NotImplementedError(kind)

    def _call(self, record: Record, cursor: Cursor, end: str) -> str:
        cursor.flush()
        name, at = self.source.fresh("made"), self.source.fresh("at")
        function = self.function_of(record)
        self.source.line(f"{name}, {at} = {function}({self.buffer}, {cursor.position}, {end}{self.levels})")
        cursor.move(at)
        return name

    def _flagged(self, kind: Maybe, flag: Integer | Boolean, cursor: Cursor, end: str, earlier: dict[str, str]) -> str:
        source = self.source
        given = self.value(flag, cursor, end, {})
        cursor.flush()
        name, at, place = source.fresh("v"), source.fresh("at"), cursor.copy()
        with source.block(f"if {given} == 1:"):
            value = self.value(kind.inner, cursor, end, earlier)
            cursor.flush()
            source.line(f"{name} = {value}")
            source.line(f"{at} = {cursor.position}")
        with source.block("else:"):
            unless(source, f"{given} == 0")
            source.line(f"{name} = None")
            source.line(f"{at} = {place.position}")
        cursor.move(at)
        return name

    def _sized(self, kind: Sized, cursor: Cursor, end: str) -> str:
        source = self.source
        size = load_integer(source, self.buffer, kind.integer, cursor, end)
        if is_flat(kind.inner):
            cursor.afterwards(lambda: unless(source, f"{size} == {least_size(kind.inner)}"))
            return self.value(kind.inner, cursor, "", {})
        cursor.flush()
        start, stop = source.fresh("start"), source.fresh("stop")
        self.starts.add(start)
        source.line(f"{start} = {cursor.position}")
        source.line(f"{stop} = {start} + {size}")
        cursor.move(start)
        value = self.value(kind.inner, cursor, stop, {})
        cursor.flush()
        if cursor.position != stop:
            unless(source, f"{cursor.position} == {stop}")
        return value
