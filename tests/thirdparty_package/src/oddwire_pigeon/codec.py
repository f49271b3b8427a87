"""A codec: messages of texts, one a line, in a cipher that fools nobody."""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from oddwire.app import hookimpl
from oddwire.codecs import Codec, Plan, check_received, check_size, type_bytes
from oddwire.errors import EncodeError, MalformedMessage, SchemaError
from oddwire.schema import Message, Schema
from oddwire.schema.kinds import Text

__all__ = ["Rot13Codec", "plugin"]


class Rot13Codec(Codec):
    """Every field a text without line breaks."""

    name = "rot13"

    def compile(self, schema: Schema) -> Plan:
        for field in schema.fields:
            if not isinstance(field.kind, Text):
                raise SchemaError(f"{schema.qualified_name}.{field.name}: rot13 carries str alone")
        names = [field.name for field in schema.fields]
        prefix = type_bytes(schema)

        def encode(message: Message) -> bytes:
            if type(message) is not schema.cls:
                raise EncodeError(f"should be {schema.name}, not {type(message).__name__}", type_id=schema.type_id)
            lines = [getattr(message, name) for name in names]
            if any(not isinstance(line, str) or "\n" in line for line in lines):
                raise EncodeError("should hold texts of one line", type_id=schema.type_id)
            try:
                payload = prefix + "\n".join(codecs.encode(line, "rot13") for line in lines).encode()
            except UnicodeEncodeError:
                raise EncodeError("holds a lone surrogate", type_id=schema.type_id) from None
            return check_size(payload, schema)

        def decode(payload: bytes) -> Message:
            check_received(payload, schema)
            try:
                lines = payload[2:].decode().split("\n")
            except UnicodeDecodeError as error:
                raise MalformedMessage("should be UTF-8", type_id=schema.type_id, offset=2 + error.start) from None
            if len(lines) != len(names):
                raise MalformedMessage(f"should have {len(names)} lines, not {len(lines)}", type_id=schema.type_id)
            return schema.cls(**{name: codecs.decode(line, "rot13") for name, line in zip(names, lines, strict=True)})

        return Plan(encode, decode)


class _Plugin:
    name = "pigeon-codec"

    @hookimpl
    def register_codecs(self) -> Iterable[Codec]:
        return [Rot13Codec()]


plugin = _Plugin()
