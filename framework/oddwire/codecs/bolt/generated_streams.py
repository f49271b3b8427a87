"""The generated fast path of TLV streams, for `oddwire.codecs.bolt.generated`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oddwire.codecs.base import Retry
from oddwire.codecs.bolt.generated_integers import dump_length, load_bigsize
from oddwire.codecs.bolt.reference_reading import check_extension
from oddwire.codecs.bolt.statements import retry, unless
from oddwire.codecs.bolt.struct_runs import Cursor, Parts, is_flat
from oddwire.proto.primitives import bigsize_decode, bigsize_encode
from oddwire.schema.class_records import Field, Record
from oddwire.schema.kinds import Kind
from oddwire.schema.sizes import least_size
from oddwire.schema.source import Source

if TYPE_CHECKING:
    from oddwire.codecs.bolt.generated import Decoder, Encoder

__all__ = ["dump_stream", "load_stream"]


# Writing -------------------------------------------------------------------------------------------------------------


def dump_stream(encoder: Encoder, record: Record, values: dict[str, str], parts: Parts) -> None:
    """Add the TLV records of an instance's fields, whose values have these names."""
    records = [field for field in record.fields if field.tlv is not None]
    for field in sorted(records, key=lambda field: field.tlv or 0):
        _dump_tlv(encoder, field, values[field.name], parts)


def _dump_tlv(encoder: Encoder, field: Field, name: str, parts: Parts) -> None:
    source = encoder.source
    kind = field.record_kind
    if not field.none_is_absent:
        parts.part(_tlv_expression(encoder, field, kind, name))
        return
    made = source.fresh("record")
    with source.block(f"if {name} is None:"):
        source.line(f'{made} = b""')
    with source.block("else:"):
        source.line(f"{made} = {_tlv_expression(encoder, field, kind, name)}")
    parts.part(made)


def _tlv_expression(encoder: Encoder, field: Field, kind: Kind, name: str) -> str:
    source = encoder.source
    body = Parts(source)
    encoder.value(kind, name, body, {}, is_record=True)
    header = bigsize_encode(field.tlv or 0)
    if body.size is not None:
        body.lead(header + bigsize_encode(body.size))
        return body.expression()
    made = source.fresh("body")
    source.line(f"{made} = {body.expression()}")
    return f"{source.bind(header, 'header')} + {dump_length(source, made)} + {made}"


# Reading -------------------------------------------------------------------------------------------------------------


def load_stream(decoder: Decoder, records: list[Field], cursor: Cursor, end: str) -> dict[str, str]:
    """Read TLV records, each expected in its place: known types ascend, and unknown ones mostly come later."""
    source, buffer = decoder.source, decoder.buffer
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
            _load_tlv(decoder, field, name, place, end)
            source.line(f"{at} = {place.position}")
        with source.block("else:"):
            _load_absent(source, field, name)
        place.move(at)
    with source.block(f"if {at} != {end}:"):
        check = source.bind(_check_unknown, "check_unknown")
        source.line(f"{check}({buffer}, {at}, {end}, {last})")
    cursor.move(end)
    return values


def _load_absent(source: Source, field: Field, name: str) -> None:
    if field.none_is_absent:
        source.line(f"{name} = None")
    elif field.required:
        retry(source)
    elif field.default_factory is not None:
        source.line(f"{name} = {source.bind(field.default_factory, 'make')}()")
    else:
        source.line(f"{name} = {source.bind(field.default, 'default')}")


def _load_tlv(decoder: Decoder, field: Field, name: str, cursor: Cursor, end: str) -> None:
    """Read a TLV record's length and value, the latter into ``name``."""
    source, kind = decoder.source, field.record_kind
    size = least_size(kind)
    if is_flat(kind) and size < 253:
        unless(source, f"{decoder.buffer}[{cursor.position}] == {size}")
        cursor.skip(1)
        value = decoder.value(kind, cursor, "", {})
        cursor.flush()
    else:
        length, start, stop = source.fresh("length"), source.fresh("start"), source.fresh("stop")
        load_bigsize(source, decoder.buffer, length, start, cursor, end)
        decoder.starts.add(start)
        source.line(f"{stop} = {start} + {length}")
        value = decoder.value(kind, cursor, stop, {}, is_record=True)
        cursor.flush()
        if cursor.position != stop:
            unless(source, f"{cursor.position} == {stop}")
    source.line(f"{name} = {value}")


def _check_unknown(buffer: bytes, at: int, end: int, last: int) -> None:
    """Check that the remaining records of a stream, whose known types go up to ``last``, are to be ignored.

    A known type among them is out of order, or comes after an unknown one: `Retry`, for the reference path.
    """
    if bigsize_decode(buffer, at, end)[0] <= last:
        raise Retry
    check_extension(buffer, at, end)
