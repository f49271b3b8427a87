"""A message as JSON shows it: what is on the wire of one with the json codec, else what `to_dict` returns."""

from __future__ import annotations

from typing import Any

from oddwire.schema import Message, schema_of, to_dict
from oddwire.schema.forms import JSON
from oddwire.schema.tree import dump_record

__all__ = ["shown_json"]


def shown_json(message: Message) -> dict[str, Any]:
    """Return a message as JSON. Raises `EncodeError` for a value that cannot be sent."""
    schema = schema_of(message)
    return dump_record(schema, message, JSON) if schema.codec == "json" else to_dict(message)
