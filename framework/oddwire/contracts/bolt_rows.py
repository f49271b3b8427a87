"""An extension's bolt messages as the BOLTs' CSV, and what that format has no words for."""

from __future__ import annotations

from collections.abc import Iterator

from oddwire.contracts.bolt_data import snake
from oddwire.contracts.interface import Interface
from oddwire.errors import SchemaError
from oddwire.schema import Message, schema_of
from oddwire.schema.bolt_csv import Namespace, dump_csv

__all__ = ["csv_of"]


def csv_of(interface: Interface) -> tuple[str, list[str]]:
    """Return the rows, and what is not in them, a line each: messages of other codecs, fields that CSV cannot say."""
    told: dict[str, type[Message]] = {}
    lacking = [*_methods(interface)]
    for cls in interface.messages:
        schema = schema_of(cls)
        if schema.codec != "bolt" or schema.own_codec is not None:
            lacking.append(f"{schema.name} {schema.type_id:#06x} is written by {schema.codec}: CSV has bolt alone")
            continue
        try:
            dump_csv(Namespace(messages={snake(schema.name): cls}))
        except SchemaError as error:
            lacking.append(f"{schema.name} {schema.type_id:#06x}: {error}")
        else:
            told[snake(schema.name)] = cls
    return (dump_csv(Namespace(messages=told)) if told else ""), lacking


def _methods(interface: Interface) -> Iterator[str]:
    yield from (f"{method.name} is a JSON-RPC method: CSV has messages alone" for method in interface.methods)
