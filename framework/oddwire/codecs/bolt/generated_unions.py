"""The generated fast path of tagged unions, for `oddwire.codecs.bolt.generated`.

A few members are told apart by comparisons where they stand; more, by a dict of functions, which equal unions share.
A member with a union in it has one function for all its uses: otherwise unions in unions would double the code by each
level.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from oddwire.codecs.base import Retry
from oddwire.codecs.bolt.struct_runs import Cursor, Parts
from oddwire.proto.primitives import bigsize_encode
from oddwire.schema.class_records import Record
from oddwire.schema.kinds import Integer, Kind, Nested
from oddwire.schema.nesting import parts_of, records_of
from oddwire.schema.source import Source
from oddwire.schema.union_kinds import Tagged, UnknownVariant, Variant

__all__ = ["dump_tagged", "holds_union", "load_tagged"]

_SMALL: Final = tuple(bigsize_encode(value) for value in range(0xFD))

_FEW: Final = 4
"""Members that are compared one after the other: a call of a function costs as much as three comparisons."""


def holds_union(record: Record) -> bool:
    """Return whether there is a tagged union in what instances of ``record``'s class hold."""
    return any(_has_union(field.kind) for inner in records_of(Nested(record)) for field in inner.fields)


def _has_union(kind: Kind) -> bool:
    return isinstance(kind, Tagged) or (not isinstance(kind, Nested) and any(map(_has_union, parts_of(kind))))


# Writing -------------------------------------------------------------------------------------------------------------


def dump_tagged(
    source: Source,
    kind: Tagged,
    name: str,
    value: Callable[[Nested, str, Parts], None],
    levels: str,
    dispatchers: dict[Tagged, str],
) -> str:
    """Write statements that check the value ``name``; return the name of its bytes.

    ``value`` writes those of a body; ``levels`` is the last argument of functions, if they have one. ``dispatchers``
    has the names of the dicts of functions.
    """
    made = source.fresh("union")
    few = len(kind.variants) <= _FEW
    header = "if"
    if few:
        for variant in kind.variants:
            with source.block(f"{header} type({name}) is {source.bind(variant.record.cls, variant.record.name)}:"):
                source.line(f"{made} = {_dump_variant(source, kind, variant, name, value)}")
            header = "elif"
    else:
        if kind not in dispatchers:
            dispatchers[kind] = f"{made}_dumpers"  # first: the members may have the union in them
            _write_dumpers(source, kind, dispatchers[kind], value, levels)
        with source.block(f"if type({name}) in {dispatchers[kind]}:"):
            source.line(f"{made} = {dispatchers[kind]}[type({name})]({name}{levels})")
        header = "elif"
    if kind.unknown:
        with source.block(f"{header} type({name}) is {source.bind(UnknownVariant, 'UnknownVariant')}:"):
            source.line(f"{made} = {_dump_unknown(source, kind, name)}")
    _otherwise_retry(source)
    return made


def _write_dumpers(
    source: Source, kind: Tagged, name: str, value: Callable[[Nested, str, Parts], None], levels: str
) -> None:
    """Write a function for each member, and the dict called ``name`` of these by class."""
    functions = []
    for variant in kind.variants:
        helper = source.fresh("dump")
        with source.function(f"def {helper}(value{levels}):"):
            source.line(f"return {_dump_variant(source, kind, variant, 'value', value)}")
        functions.append(f"{source.bind(variant.record.cls, variant.record.name)}: {helper}")
    source.finally_line(f"{name} = {{{', '.join(functions)}}}")


def _dump_variant(
    source: Source, kind: Tagged, variant: Variant, name: str, value: Callable[[Nested, str, Parts], None]
) -> str:
    """Write statements that check a member; return the expression for its tag, length and body."""
    body = Parts(source)
    value(Nested(variant.record), name, body)
    tag = _constant(kind.number, variant.tag)
    if kind.length is None:
        return _led(source, tag, body)
    if body.size is not None:  # which the length can hold: the schema's rules refuse others
        return _led(source, tag + _constant(kind.length, body.size), body)
    written = source.fresh("body")
    source.line(f"{written} = {body.expression()}")
    return f"{source.bind(tag, 'tag')} + {_length(source, kind.length, written)} + {written}"


def _led(source: Source, header: bytes, body: Parts) -> str:
    if body.size is not None:
        body.lead(header)
        return body.expression()
    return f"{source.bind(header, 'header')} + {body.expression()}"


def _length(source: Source, integer: Integer, name: str) -> str:
    """Return the expression for the length of ``name``; it raises `OverflowError` if the integer cannot hold it."""
    if integer.form != "bigsize":
        return f'len({name}).to_bytes({integer.bits // 8}, "big")'
    length, encode = source.fresh("length"), source.bind(bigsize_encode, "bigsize_encode")
    return f"({source.bind(_SMALL, 'small')}[{length}] if ({length} := len({name})) < 253 else {encode}({length}))"


def _constant(integer: Integer, value: Any) -> bytes:
    if integer.form == "bigsize":
        return bigsize_encode(value)
    return int(value).to_bytes(integer.bits // 8, "big", signed=integer.signed)


def _dump_unknown(source: Source, kind: Tagged, name: str) -> str:
    """Write statements that check an `UnknownVariant`; return the expression for its tag, length and body."""
    tag, body, integer = source.fresh("tag"), source.fresh("body"), kind.number
    source.line(f"{tag}, {body} = {name}.tag, {name}.body")
    known = source.bind(frozenset(kind.by_tag), "known")
    in_range = f"{integer.low} <= {tag} <= {integer.high}"
    with source.block(f"if type({tag}) is not int or {tag} in {known} or not {in_range} or type({body}) is not bytes:"):
        _retry(source)
    length = "" if kind.length is None else f"{_length(source, kind.length, body)} + "
    if integer.form == "bigsize":
        return f"{source.bind(bigsize_encode, 'bigsize_encode')}({tag}) + {length}{body}"
    return f'{tag}.to_bytes({integer.bits // 8}, "big", signed={integer.signed}) + {length}{body}'


# Reading -------------------------------------------------------------------------------------------------------------


def load_tagged(
    source: Source,
    buffer: str,
    kind: Tagged,
    cursor: Cursor,
    end: str,
    starts: set[str],
    value: Callable[[Nested, Cursor, str], str],
    integer: Callable[[Integer, Cursor, str], str],
    levels: str,
    dispatchers: dict[Tagged, str],
) -> str:
    """Read a value, its parts by the two functions; return its name.

    ``starts`` are offsets not past their end; ``levels`` is the last argument of functions, if they have one.
    ``dispatchers`` has the names of the dicts of functions.
    """
    made, start, stop = source.fresh("union"), source.fresh("start"), source.fresh("stop")
    tag = integer(kind.number, cursor, end)
    length = "" if kind.length is None else integer(kind.length, cursor, end)
    cursor.flush()
    source.line(f"{start} = {cursor.position}")
    if length:
        source.line(f"{stop} = {start} + {length}")
        with source.block(f"if {stop} > {end}:"):
            _retry(source)
        starts.add(start)
    inside, header = (stop if length else end), "if"

    def load(variant: Variant, begin: str, inside: str) -> tuple[str, str]:
        """Read a member's body; return the names of the member and of the offset after it."""
        inner = Cursor(source, buffer, begin)
        name = value(Nested(variant.record), inner, inside)
        inner.flush()
        if length and inner.position != inside:
            with source.block(f"if {inner.position} != {inside}:"):
                _retry(source)
        return name, inside if length else inner.position

    if len(kind.variants) <= _FEW:
        for variant in kind.variants:
            with source.block(f"{header} {tag} == {variant.tag}:"):
                name, after = load(variant, start, inside)
                source.line(f"{made} = {name}")
                if not length:
                    source.line(f"{stop} = {after}")
            header = "elif"
    else:
        if kind not in dispatchers:
            dispatchers[kind] = f"{made}_loaders"  # first: the members may have the union in them
            functions = []
            for variant in kind.variants:
                helper = source.fresh("load")
                with source.function(f"def {helper}({buffer}, at, end{levels}):"):
                    name, after = load(variant, "at", "end")
                    source.line(f"return {name}, {after}")
                functions.append(f"{variant.tag}: {helper}")
            source.finally_line(f"{dispatchers[kind]} = {{{', '.join(functions)}}}")
        with source.block(f"if {tag} in {dispatchers[kind]}:"):
            source.line(f"{made}, {stop} = {dispatchers[kind]}[{tag}]({buffer}, {start}, {inside}{levels})")
        header = "elif"
    if kind.unknown:
        with source.block(f"{header} {start} <= {inside}:"):
            source.line(f"{made} = {source.bind(UnknownVariant, 'UnknownVariant')}({tag}, {buffer}[{start}:{inside}])")
            source.line(f"{stop} = {inside}")
    _otherwise_retry(source)
    cursor.move(stop)
    return made


def _otherwise_retry(source: Source) -> None:
    with source.block("else:"):
        _retry(source)


def _retry(source: Source) -> None:
    source.line(f"raise {source.bind(Retry, 'Retry')}")
