"""Codecs around another codec: `WrappedCodec`, the base class for compression and the like, and its simplest case."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from oddwire.codecs.base import Codec, Plan, check_received, check_size, type_bytes, with_type
from oddwire.codecs.registry import builtin_codecs
from oddwire.errors import DecodeError, MalformedMessage, SchemaError
from oddwire.records import replace
from oddwire.schema.class_records import Schema

__all__ = ["MagicCodec", "WrappedCodec", "codec_of"]


class WrappedCodec(Codec):
    """A codec that changes what another one writes: it compresses it, say. Subclasses write `wrap` and `unwrap`.

    ``inner`` is the other codec, or the name of a built-in one, and ``name`` is its name, as its rules hold for the
    fields. A message's ``max_size`` holds for what is sent, and for what is inside as well; ``max_inner`` is another
    limit for the latter, in bytes, with the two of the type. Raises `SchemaError`.

    An instance is passed as it is: ``@message(0x8C01, codec=Deflated("json"))``.
    """

    shift: int | None = None
    """How many bytes later than in the inner payload a byte is in the whole one; None if that cannot be said.

    The offsets in errors are corrected by it, or left out.
    """

    def __init__(self, inner: str | Codec = "msgpack", *, max_inner: int | None = None) -> None:
        self.inner = codec_of(inner)
        self.name = self.inner.name
        if max_inner is not None and (type(max_inner) is not int or max_inner < 2):
            raise SchemaError(f"{type(self).__name__}: max_inner should be a number of bytes, not {max_inner!r}")
        self.max_inner = max_inner

    @abstractmethod
    def wrap(self, body: bytes) -> bytes:
        """Return what is sent for an inner payload; both are without the two bytes of the type."""

    @abstractmethod
    def unwrap(self, data: bytes, max_size: int) -> bytes:
        """Return the inner payload of received ``data``, both without the type: the inverse of `wrap`.

        There is no use in more than ``max_size`` bytes: stop there, lest a peer fill the memory. Raises
        `MalformedMessage` for anything that `wrap` does not return, and nothing else for any input.
        """

    def compile(self, schema: Schema) -> Plan:
        """Return the plan for one message."""
        inner = schema if self.max_inner is None else replace(schema, max_size=self.max_inner)
        plan, prefix, most = self.inner.compile(inner), type_bytes(schema), inner.max_size - 2

        def encode(message: Any) -> bytes:
            return check_size(prefix + self.wrap(plan.encode(message)[2:]), schema)

        def decode(payload: bytes) -> Any:
            check_received(payload, schema)
            try:
                body = self.unwrap(payload[2:], most)
            except MalformedMessage as error:
                raise with_type(error, schema)  # noqa: B904 - the same error
            try:
                return plan.decode(prefix + body)
            except DecodeError as error:
                if error.offset is not None:
                    error.offset = None if self.shift is None else error.offset + self.shift
                raise

        return Plan(encode, decode)


class MagicCodec(WrappedCodec):
    """A codec whose payloads begin with some fixed bytes, right after the type."""

    def __init__(self, inner: str | Codec, magic: bytes) -> None:
        super().__init__(inner)
        self.magic = magic
        self.shift = len(magic)

    def wrap(self, body: bytes) -> bytes:
        """Put the magic before it."""
        return self.magic + body

    def unwrap(self, data: bytes, max_size: int) -> bytes:
        """Check the magic, and return what follows."""
        size = len(self.magic)
        if data[:size] != self.magic:
            found = data[:size].hex() or "nothing"
            raise MalformedMessage(f"should begin with {self.magic.hex()}, not with {found}", offset=2)
        return data[size:]


def codec_of(told: str | Codec) -> Codec:
    """Return a codec, or the built-in one of this name. Raises `SchemaError`."""
    if isinstance(told, Codec):
        return told
    found = {codec.name: codec for codec in builtin_codecs()}
    if not isinstance(told, str) or told not in found:
        text = f"should be a Codec, or the name of a built-in one ({', '.join(found)}), not {told!r:.200}"
        raise SchemaError(f"the codec inside {text}")
    return found[told]
