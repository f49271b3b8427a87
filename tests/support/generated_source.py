"""What the bolt codec generates for a message, by itself."""

from __future__ import annotations

import linecache
import struct
from collections.abc import Callable
from typing import Any

from oddwire.codecs.base import Retry
from oddwire.codecs.bolt.generated import dump_message, load_message
from oddwire.errors import CodecError
from oddwire.schema import Schema
from oddwire.schema.source import Source

HANDED_ON = (Retry, CodecError, struct.error, AttributeError, LookupError, OverflowError, TypeError, ValueError)


def generated(schema: Schema) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any], str]:
    """Return what encodes, what decodes, and the source of both."""
    source = Source()
    with source.function("def encode(message):"):
        source.line(f"return {dump_message(source, schema, 'message')[0]}")
    with source.function("def decode(payload):"):
        source.line(f"return {load_message(source, schema, 'payload')}")
    title = f"{schema.name} for a test"
    encode, decode = source.compile("encode", title), source.compile("decode", title)
    return encode, decode, "".join(linecache.getlines(f"<oddwire {title}>"))
