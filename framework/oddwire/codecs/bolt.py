"""``codec="bolt"``."""

from __future__ import annotations

from typing import Any

from oddwire.codecs.base import Codec, Plan, check_size, type_bytes, with_type
from oddwire.codecs.bolt_exact import read_message, write_message
from oddwire.errors import CodecError
from oddwire.schema.record import Schema

__all__ = ["BoltCodec"]


class BoltCodec(Codec):
    """BOLT 1's wire types, then a TLV stream."""

    name = "bolt"

    def compile(self, schema: Schema) -> Plan:
        """Make the plan."""
        prefix = type_bytes(schema)

        def encode(message: object) -> bytes:
            try:
                return check_size(prefix + write_message(schema, message))
            except CodecError as error:
                raise with_type(error, schema)  # noqa: B904 - it is the same error

        def decode(payload: bytes) -> Any:
            try:
                return read_message(schema, payload)
            except CodecError as error:
                raise with_type(error, schema)  # noqa: B904 - it is the same error

        return Plan(encode, decode)
