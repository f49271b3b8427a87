"""A message as JSON shows it: what is on the wire of one with the json codec, else what `to_dict` returns."""

from __future__ import annotations

from typing import Any

from oddwire.codecs.json_object import JsonObjectCodec
from oddwire.schema import Message, Schema, schema_of, to_dict
from oddwire.schema.forms import JSON
from oddwire.schema.tree import dump, dump_record

__all__ = ["is_object", "shown_json"]


def shown_json(message: Message) -> dict[str, Any]:
    """Return a message as JSON. Raises `EncodeError` for a value that cannot be sent."""
    schema = schema_of(message)
    if is_object(schema):
        (field,) = schema.fields
        whole: dict[str, Any] = dump(field.kind, getattr(message, field.name), JSON)
        return whole
    return dump_record(schema, message, JSON) if schema.codec == "json" else to_dict(message)


def is_object(schema: Schema) -> bool:
    """Return whether the whole payload is the one field of a message, any JSON object."""
    return isinstance(schema.own_codec, JsonObjectCodec)
