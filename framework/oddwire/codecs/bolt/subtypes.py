"""Subtypes and TLV streams by themselves, outside of any message: what an ``lno1...`` offer holds, or an onion."""

from __future__ import annotations

from functools import cache
from typing import TypeVar, cast

from oddwire.codecs.bolt.reference_reading import read_subtype
from oddwire.codecs.bolt.reference_writing import write_message
from oddwire.errors import SchemaError
from oddwire.schema.class_records import Record, Schema
from oddwire.schema.rules import check_alone

__all__ = ["decode_subtype", "encode_subtype"]

_T = TypeVar("_T")


def encode_subtype(value: object) -> bytes:
    """Return the bytes of an instance of a `subtype` class, as ``codec="bolt"`` writes it at the end of a message.

    A class all of whose fields have ``tlv=`` is a TLV stream, and so are those of `Namespace.tlv_streams`. There is no
    limit to the size. Raises `EncodeError`, and `SchemaError` for a class that is no subtype, or that has a field for
    which BOLT 1 has no type.
    """
    return write_message(_record_of(type(value)), value)


def decode_subtype(cls: type[_T], data: bytes) -> _T:
    """Return the instance of a `subtype` class that is all of ``data``.

    Unknown odd records of a TLV stream are left out, so `encode_subtype` does not write them again: what is signed is
    ``data``. Raises `MalformedMessage` or a subclass, with the path and the offset in ``data``, and `SchemaError` as
    `encode_subtype` does.
    """
    return cast("_T", read_subtype(_record_of(cls), data))


def _record_of(cls: object) -> Record:
    """Return the record of a subtype that BOLT 1's types can carry."""
    record = getattr(cls, "__oddwire__", None)
    if isinstance(record, Schema):
        raise SchemaError(f"{record.qualified_name} is a message: a Registry or its codec encodes and decodes it")
    if not isinstance(record, Record):
        name = f"{cls.__module__}.{cls.__qualname__}" if isinstance(cls, type) else repr(cls)
        raise SchemaError(f"{name:.200} should be a @subtype class")
    _check(record)
    return record


_check = cache(check_alone)
