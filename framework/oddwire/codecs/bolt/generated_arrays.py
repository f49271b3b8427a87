"""The generated fast path of what has a count, arrays, bytes and text, for `oddwire.codecs.bolt.generated`."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from oddwire.codecs.bolt.generated_integers import dump_integer, load_integer
from oddwire.codecs.bolt.statements import unless
from oddwire.codecs.bolt.struct_runs import FEW, Cursor, Parts, has_struct_format, is_flat, struct_format
from oddwire.schema.kinds import Array, Count, Fixed, Integer, Led, Named, Nested, Octets, Prefixed, Text
from oddwire.schema.sizes import count_of, least_size
from oddwire.schema.source import Source

if TYPE_CHECKING:
    from oddwire.codecs.bolt.generated import Decoder, Encoder

__all__ = ["dump_array", "dump_data", "load_array", "load_data"]


# Writing -------------------------------------------------------------------------------------------------------------


def dump_data(
    encoder: Encoder, kind: Octets | Text, name: str, parts: Parts, earlier: dict[str, str], *, is_record: bool
) -> None:
    """Add the parts of the bytes or text ``name``, its count first; ``earlier`` has the names of earlier fields."""
    source = encoder.source
    count = count_of(kind, is_record=is_record)
    if isinstance(kind, Text):
        unless(source, f"type({name}) is str")
    elif not isinstance(count, Fixed):  # otherwise struct accepts nothing but bytes
        unless(source, f"type({name}) is bytes")
    if kind.max_length is not None:
        unless(source, f"len({name}) <= {kind.max_length}")
    if isinstance(kind, Text):
        encoded = source.fresh("encoded")
        source.line(f"{encoded} = {name}.encode()")
        name = encoded
    _dump_count(encoder, count, name, parts, earlier)
    if isinstance(count, Fixed):
        parts.fixed(f"{count.size}s", count.size, name)
    else:
        parts.part(name)


def dump_array(
    encoder: Encoder, kind: Array, name: str, parts: Parts, earlier: dict[str, str], *, is_record: bool
) -> None:
    """Add the parts of the array ``name``, its count first; ``earlier`` has the names of earlier fields."""
    source, element = encoder.source, kind.element
    unless(source, f"type({name}) in (tuple, list)" if kind.loose else f"type({name}) is {kind.python.__name__}")
    if kind.max_length is not None:
        unless(source, f"len({name}) <= {kind.max_length}")
    _dump_count(encoder, count_of(kind, is_record=is_record), name, parts, earlier)
    if isinstance(element, Integer) and has_struct_format(element):
        _check_each(encoder.source, name, "type({}) is int")
        if element.bits == 8 and not element.signed:
            parts.part(f"bytes({name})")
        else:
            pack = source.bind(struct.pack, "pack")
            parts.part(f'{pack}(f">{{len({name})}}{struct_format(element)}", *{name})')
        return
    if isinstance(element, Octets) and isinstance(element.count, Fixed) and element.max_length is None:
        _check_each(encoder.source, name, f"type({{0}}) is bytes and len({{0}}) == {element.count.size}")
        parts.part(f'b"".join({name})')
        return
    if isinstance(element, Nested) and element.record.recursive:
        helper = encoder.function_of(element.record)
    else:
        helper = source.fresh("dump")
        with source.function(f"def {helper}(value{encoder.levels}):"):
            inner = Parts(source)
            encoder.value(element, "value", inner, {})
            source.line(f"return {inner.expression()}")
    each = f"[{helper}(element, levels) for element in {name}]" if encoder.levels else f"map({helper}, {name})"
    parts.part(f'b"".join({each})')


def _check_each(source: Source, name: str, condition: str) -> None:
    """Write a check of each element: for a few, faster than sets of their types and lengths."""
    element = source.fresh("element")
    with source.block(f"for {element} in {name}:"):
        unless(source, condition.format(element))


def _dump_count(encoder: Encoder, count: Count, name: str, parts: Parts, earlier: dict[str, str]) -> None:
    match count:
        case Prefixed(integer=integer):
            dump_integer(encoder.source, integer, f"len({name})", parts)
        case Fixed(size=size):
            unless(encoder.source, f"len({name}) == {size}")
        case Named(field=field):
            unless(encoder.source, f"len({name}) == {earlier[field]}")
        case Led(sizes=sizes):
            unless(encoder.source, f"len({name}) == {encoder.source.bind(sizes, 'sizes')}[{name}[0]]")


# Reading -------------------------------------------------------------------------------------------------------------


def load_data(
    decoder: Decoder, kind: Octets | Text, cursor: Cursor, end: str, earlier: dict[str, str], *, is_record: bool
) -> str:
    """Read bytes or text; return its name, valid after `Cursor.flush`."""
    source = decoder.source
    count = count_of(kind, is_record=is_record)
    decode = ".decode()" if isinstance(kind, Text) else ""
    if isinstance(count, Fixed):
        name = cursor.take(f"{count.size}s", count.size)
        if decode:
            cursor.afterwards(lambda: source.line(f"{name} = {name}{decode}"))
    else:
        name = source.fresh("v")
        start, stop, _ = _load_extent(decoder, count, 1, cursor, end, earlier)
        source.line(f"{name} = {decoder.buffer}[{start}:{stop}]{decode}")
    if kind.max_length is not None:
        cursor.afterwards(lambda: unless(source, f"len({name}) <= {kind.max_length}"))
    return name


def load_array(
    decoder: Decoder, kind: Array, cursor: Cursor, end: str, earlier: dict[str, str], *, is_record: bool
) -> str:
    """Read an array; return its name."""
    source, buffer, element = decoder.source, decoder.buffer, kind.element
    name, python = source.fresh("v"), kind.python.__name__
    count = count_of(kind, is_record=is_record)
    if isinstance(element, Integer) and has_struct_format(element):
        size = element.bits // 8
        start, stop, number = _load_extent(decoder, count, size, cursor, end, earlier)
        if size == 1 and not element.signed:
            source.line(f"{name} = {python}({buffer}[{start}:{stop}])")
        else:
            unpack = source.bind(struct.unpack, "unpack")
            made = f'{unpack}(f">{{{number}}}{struct_format(element)}", {buffer}[{start}:{stop}])'
            source.line(f"{name} = {made if python == 'tuple' else f'list({made})'}")
    elif is_flat(element):
        extent = _load_extent(decoder, count, least_size(element), cursor, end, earlier)
        _load_flat_elements(decoder, kind, name, extent)
    else:
        _load_elements(decoder, kind, count, name, cursor, end, earlier)
    if kind.max_length is not None:
        unless(source, f"len({name}) <= {kind.max_length}")
    return name


def _load_flat_elements(decoder: Decoder, kind: Array, name: str, extent: tuple[str, str, str]) -> None:
    """Read elements of fixed size by one `struct.Struct` each, or a few single values by one for all."""
    source, buffer = decoder.source, decoder.buffer
    start, stop, number = extent
    inner = Cursor(source, buffer)
    value = decoder.value(kind.element, inner, "", {})
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


def _load_elements(
    decoder: Decoder, kind: Array, count: Count, name: str, cursor: Cursor, end: str, earlier: dict[str, str]
) -> None:
    source = decoder.source
    number, at = _load_number(decoder, count, cursor, end, earlier), source.fresh("at")
    if isinstance(kind.element, Nested) and kind.element.record.recursive:
        helper = decoder.function_of(kind.element.record)
    else:
        helper = source.fresh("load")
        with source.function(f"def {helper}({decoder.buffer}, at, end{decoder.levels}):"):
            inner = Cursor(source, decoder.buffer, "at")
            value = decoder.value(kind.element, inner, "end", {})
            inner.flush()
            source.line(f"return {value}, {inner.position}")
    cursor.flush()
    source.line(f"{at} = {cursor.position}")
    if number:
        unless(source, f"{number} * {least_size(kind.element)} <= {end} - {at}")
    source.line(f"{name} = []")
    with source.block(f"for _ in range({number}):" if number else f"while {at} < {end}:"):
        source.line(f"value, {at} = {helper}({decoder.buffer}, {at}, {end}{decoder.levels})")
        source.line(f"{name}.append(value)")
    if kind.python is tuple:
        source.line(f"{name} = tuple({name})")
    cursor.move(at)


def _load_extent(
    decoder: Decoder, count: Count, size: int, cursor: Cursor, end: str, earlier: dict[str, str]
) -> tuple[str, str, str]:
    """Write the start and end of elements of ``size`` bytes, and move there; return both, and their number."""
    source = decoder.source
    number = _load_number(decoder, count, cursor, end, earlier)
    cursor.flush()
    start, stop = cursor.position, source.fresh("at")
    if not number:
        if start not in decoder.starts:
            unless(source, f"{start} <= {end}")
        if size == 1:
            cursor.move(end)
            return start, end, f"({end} - ({start}))"
        number = source.fresh("number")  # bytes too few for one more are left over, and rejected later
        source.line(f"{number} = ({end} - ({start})) // {size}")
    source.line(f"{stop} = {start} + {number}{'' if size == 1 else f' * {size}'}")
    cursor.move(stop)
    return start, stop, number


def _load_number(decoder: Decoder, count: Count, cursor: Cursor, end: str, earlier: dict[str, str]) -> str:
    """Read a count; return its expression, empty for `Rest`."""
    match count:
        case Prefixed(integer=integer):
            return load_integer(decoder.source, decoder.buffer, integer, cursor, end)
        case Fixed(size=size):
            return str(size)
        case Named(field=name):
            return earlier[name]
        case Led(sizes=sizes):
            cursor.flush()
            number = decoder.source.fresh("number")
            first = f"{decoder.buffer}[{cursor.position}]"
            decoder.source.line(f"{number} = {decoder.source.bind(sizes, 'sizes')}[{first}]")
            return number
    return ""
