"""A codec for messages that are any JSON object: of one field, a dict, that is the whole payload."""

from __future__ import annotations

from typing import Any

from oddwire.codecs.base import Codec, Plan, check_received, check_size, type_bytes, with_type
from oddwire.codecs.json import read_json, write_json
from oddwire.errors import CodecError, EncodeError, MalformedMessage
from oddwire.schema.class_records import Schema
from oddwire.schema.tree import JSON, dump, load

__all__ = ["JsonObjectCodec"]


class JsonObjectCodec(Codec):
    """Writes the one field of a message, ``dict[str, Any]``, as the json codec does the message, and as strictly."""

    name = "json"

    def compile(self, schema: Schema) -> Plan:
        """Return the plan for one message."""
        prefix, (field,) = type_bytes(schema), schema.fields

        def encode(message: object) -> bytes:
            try:
                if type(message) is not schema.cls:
                    raise EncodeError(f"should be {schema.name}, not {type(message).__name__}")
                tree = dump(field.kind, getattr(message, field.name), JSON)
                for validator in schema.validators:
                    validator.check_sent(message, "$")
                return check_size(prefix + write_json(tree).encode(), schema)
            except CodecError as error:
                raise with_type(error, schema)  # noqa: B904 - the same error

        def decode(payload: bytes) -> Any:
            try:
                check_received(payload, schema)
                _, tree = read_json(payload)
                if type(tree) is not dict:
                    found = _KINDS.get(type(tree), "a number")
                    raise MalformedMessage(f"should be one JSON object, not {found}", offset=2)
                made = schema.build({field.name: load(field.kind, tree, JSON)})
                for validator in schema.validators:
                    validator.check_received(made, "$")
                return made
            except CodecError as error:
                raise with_type(error, schema)  # noqa: B904 - the same error

        return Plan(encode, decode)


_KINDS = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
