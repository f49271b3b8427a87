"""`enveloped`: a codec that writes messages inside an envelope, as protocols do that came without a framework.

The envelope is a schema made around that of the message, so the inner codec writes and reads both in one go, and its
errors have the whole path: ``$.payload.ticket``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING
from keyword import iskeyword
from operator import attrgetter
from typing import Any, Final

from oddwire.codecs.base import Codec, Plan, with_type
from oddwire.codecs.wrapped import MagicCodec, codec_of
from oddwire.errors import EncodeError, SchemaError
from oddwire.records import replace
from oddwire.schema.class_records import Field, Schema
from oddwire.schema.kinds import PLAIN_INT, Choice, Kind, Nested, Text

__all__ = ["TYPE_ID", "EnvelopeCodec", "enveloped"]


class _TypeId:
    """The class of `TYPE_ID`."""

    def __repr__(self) -> str:
        return "TYPE_ID"


TYPE_ID: Final = _TypeId()
"""In an envelope: the type number of the message."""

_Constant = int | str | _TypeId
_POSITIONAL: Final = ("bolt", "raw")


def enveloped(
    codec: str | Codec = "json",
    *,
    magic: bytes = b"",
    envelope: Mapping[str, _Constant | tuple[_Constant, ...]] | None = None,
    body: str | None = None,
) -> Codec:
    """Return a codec that writes each message inside an envelope, for ``@message(32769, codec=...)``.

    ``codec`` is what writes both: a codec, or the name of a built-in one. ``magic`` are bytes right after the type.
    ``envelope`` is the map around the message: its keys, each with an integer, a string or `TYPE_ID`, the number of the
    message's type. These are written, and a payload with another value is malformed; of a tuple of several values the
    first is written, and any is read. ``body`` is the key of the message itself, behind the others. Other keys are
    ignored, as in messages. Raises `SchemaError`.

    ``enveloped("json", magic=b"HIVE", envelope={"type": TYPE_ID, "version": 1}, body="payload")`` writes
    ``HIVE{"type":32769,"version":1,"payload":{...}}``.
    """
    inner = codec_of(codec)
    if not isinstance(magic, bytes):
        raise SchemaError(f"enveloped: magic should be bytes, b'HIVE' say, not {magic!r:.200}")
    if (envelope is None) is not (body is None):
        lacking = "envelope, a map of its constant keys; {} for none" if envelope is None else "body, the message's key"
        raise SchemaError(f"enveloped: envelope and body come together; there is no {lacking}")
    if envelope is None or body is None:
        if not magic:
            raise SchemaError("enveloped: should have a magic, or an envelope and a body, or all of them")
    else:
        inner = EnvelopeCodec(inner, envelope, body)
    return MagicCodec(inner, magic) if magic else inner


class EnvelopeCodec(Codec):
    """What `enveloped` makes, without its magic."""

    def __init__(self, inner: Codec, envelope: Mapping[str, _Constant | tuple[_Constant, ...]], body: str) -> None:
        if inner.name in _POSITIONAL:
            raise SchemaError(f"enveloped: {inner.name!r} writes no keys, so it has no envelope: json and msgpack do")
        if not isinstance(envelope, Mapping):
            raise SchemaError(f"enveloped: envelope should be a dict of keys and values, not {envelope!r:.200}")
        if not isinstance(body, str) or not body:
            raise SchemaError(f"enveloped: body should be the key of the message, a text, not {body!r:.200}")
        _check_text(body)
        if body in envelope:
            raise SchemaError(f"enveloped: {body!r} is the key of the message, and in the envelope, too")
        self.inner = inner
        self.name = inner.name
        self._body = body
        self._constants = {key: _constants(key, value) for key, value in envelope.items()}

    def around(self, schema: Schema) -> Schema:
        """Return the schema of the envelope around a message, whose last field is the message."""
        names = _names([*self._constants, self._body])
        fields = [
            Field(names[key], _choice(key, told, schema.type_id), key, MISSING, None)
            for key, told in self._constants.items()
        ]
        body = names[self._body]
        fields.append(Field(body, Nested(schema), self._body, MISSING, None))
        holder = type("Envelope", (), {})
        return replace(
            schema, cls=holder, fields=(*fields,), blank=holder, values=attrgetter(*names.values()), validators=()
        )

    def compile(self, schema: Schema) -> Plan:
        """Return the plan for one message."""
        outer = self.around(schema)
        plan = self.inner.compile(outer)
        *keys, last = outer.fields
        body = last.name
        constants = {field.name: _sent(self._constants[field.key], schema.type_id) for field in keys}
        take, cls = attrgetter(body), schema.cls

        def encode(message: object) -> bytes:
            if type(message) is not cls:
                raise with_type(EncodeError(f"should be {schema.name}, not {type(message).__name__}"), schema)
            return plan.encode(outer.build({**constants, body: message}))

        def decode(payload: bytes) -> Any:
            return take(plan.decode(payload))

        return Plan(encode, decode)


def _constants(key: object, told: object) -> tuple[_Constant, ...]:
    """Return the values of one key. Raises `SchemaError`."""
    if not isinstance(key, str) or not key:
        raise SchemaError(f"enveloped: the envelope's keys should be texts, not {key!r:.200}")
    values: tuple[Any, ...] = told if isinstance(told, tuple) else (told,)
    kinds = {str if isinstance(value, str) else int for value in values}
    fits = all(value is TYPE_ID or (isinstance(value, int | str) and not isinstance(value, bool)) for value in values)
    if not fits or len(kinds) != 1:
        should = "an integer, a text, TYPE_ID, or a tuple of integers or of texts"
        raise SchemaError(f"enveloped: the envelope's {key!r} should be {should}, not {told!r:.200}")
    for value in (key, *values):
        _check_text(value)
    low, high = PLAIN_INT.low, PLAIN_INT.high
    if not all(low <= value <= high for value in values if isinstance(value, int)):
        raise SchemaError(f"enveloped: the envelope's {key!r} should have 64 bits at most")
    return values


def _check_text(value: object) -> None:
    """Raise `SchemaError` for a text that cannot be sent."""
    try:
        if isinstance(value, str):
            value.encode()
    except UnicodeEncodeError:
        raise SchemaError(f"enveloped: {value!r:.200} should be a text that UTF-8 can hold") from None


def _sent(told: tuple[_Constant, ...], type_id: int) -> int | str:
    return type_id if isinstance(told[0], _TypeId) else told[0]


def _choice(key: str, told: tuple[_Constant, ...], type_id: int) -> Kind:
    values = [_sent((value,), type_id) for value in told]
    is_text = isinstance(values[0], str)
    return Choice(key, Text() if is_text else PLAIN_INT, {value: value for value in values}, str if is_text else int)


def _names(keys: list[str]) -> dict[str, str]:
    """Return a name for each key: itself if it can be an attribute's, else one made of it."""
    found: dict[str, str] = {}
    for number, key in enumerate(keys):
        plain = key.isidentifier() and not iskeyword(key) and not key.startswith("_")
        name = key if plain else f"key_{number}"
        while name in found.values() or (not plain and name in keys):
            name += "_"
        found[key] = name
    return found
