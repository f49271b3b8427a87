"""``codec="raw"``: a message of one ``bytes`` field, which is all of the payload after the type."""

from __future__ import annotations

from typing import Any

from oddwire.codecs.base import Codec, Plan, check_received, check_size, type_bytes, with_type
from oddwire.errors import CodecError, MalformedMessage
from oddwire.schema.kinds import Schema
from oddwire.schema.tree import MSGPACK, dump_record, load_record

__all__ = ["RawCodec"]


class RawCodec(Codec):
    """Bytes as they are."""

    name = "raw"

    def compile(self, schema: Schema) -> Plan:
        """Make the plan."""
        prefix = type_bytes(schema)
        key = schema.fields[0].key

        def encode(message: object) -> bytes:
            try:
                data: bytes = dump_record(schema, message, MSGPACK)[key]
                return check_size(prefix + data, schema)
            except CodecError as error:
                raise with_type(error, schema)  # noqa: B904 - it is the same error

        def decode(payload: bytes) -> Any:
            check_received(payload, schema)
            try:
                return load_record(schema, {key: payload[2:]}, MSGPACK)
            except MalformedMessage as error:
                error.offset = 2
                raise with_type(error, schema)  # noqa: B904 - it is the same error

        return Plan(encode, decode)
