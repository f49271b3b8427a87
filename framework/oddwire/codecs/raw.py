"""``codec="raw"``: a message of one ``bytes`` field, the whole payload after the type."""

from __future__ import annotations

from typing import Any

from oddwire.codecs.base import Codec, Plan, check_received, check_size, type_bytes, with_type
from oddwire.errors import CodecError, MalformedMessage
from oddwire.schema.class_records import Schema
from oddwire.schema.tree import MSGPACK, dump_record, load_record

__all__ = ["RawCodec"]


class RawCodec(Codec):
    """``codec="raw"``."""

    name = "raw"

    def compile(self, schema: Schema) -> Plan:
        """Return the plan for one message."""
        prefix = type_bytes(schema)
        key = schema.fields[0].key

        def encode(message: object) -> bytes:
            try:
                data: bytes = dump_record(schema, message, MSGPACK)[key]
                return check_size(prefix + data, schema)
            except CodecError as error:
                raise with_type(error, schema)  # noqa: B904 - the same error

        def decode(payload: bytes) -> Any:
            check_received(payload, schema)
            try:
                return load_record(schema, {key: payload[2:]}, MSGPACK)
            except MalformedMessage as error:
                error.offset = 2
                raise with_type(error, schema)  # noqa: B904 - the same error

        return Plan(encode, decode)
