"""The registry of messages by type number: two dicts, filled while loading and frozen before any message flows."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final, cast

from oddwire.codecs.base import Codec, Plan, type_bytes
from oddwire.errors import DefinitionError, EncodeError, SchemaError, Truncated, TypeConflict, UnknownMessage
from oddwire.proto.type_numbers import check_claim, known_owner
from oddwire.records import replace
from oddwire.schema.class_records import Schema
from oddwire.schema.message import Message, schema_of

__all__ = ["KnownTypeWarning", "Registry", "builtin_codecs"]


class KnownTypeWarning(UserWarning):
    """A message claims a type number that some protocol uses in the wild; the text names it.

    Choose another number, or pass ``spec=True`` if the message is that protocol's.
    """


class _Builtin(Codec):
    """A built-in codec, imported when it compiles its first plan: a program seldom needs all of them, or at its start.

    A field they cannot carry is a `SchemaError` when the class is made, so their plans can wait.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def compile(self, schema: Schema) -> Plan:
        module, class_name = _BUILTINS[self.name]
        codec: Codec = getattr(import_module(module), class_name)()
        return codec.compile(schema)


_BUILTINS: Final = {
    "bolt": ("oddwire.codecs.bolt.codec", "BoltCodec"),
    "json": ("oddwire.codecs.json", "JsonCodec"),
    "msgpack": ("oddwire.codecs.msgpack.codec", "MsgpackCodec"),
    "raw": ("oddwire.codecs.raw", "RawCodec"),
}


def builtin_codecs() -> tuple[Codec, ...]:
    """Return the built-in codecs: bolt, json, msgpack and raw."""
    return (*map(_Builtin, _BUILTINS),)


class Registry:
    """Encodes and decodes registered messages.

    ``codecs`` are the codecs that messages can name, the built-in ones by default.
    """

    def __init__(self, codecs: Iterable[Codec] | None = None) -> None:
        self._codecs: dict[str, Codec] = {}
        self._schemas: dict[int, Schema] = {}
        self._owners: dict[int, str] = {}
        self._owner_names: dict[int, str] = {}
        self._names: dict[str, Schema] = {}
        self._plans: dict[bytes, Plan] = {}
        self._encoders: dict[type[Any], Callable[[Any], bytes]] = {}
        self._decoders: dict[bytes, Callable[[bytes], Any]] = {}
        self._frozen = False
        for codec in builtin_codecs() if codecs is None else codecs:
            self.add_codec(codec)

    # While loading ---------------------------------------------------------------------------------------------------

    def add_codec(self, codec: Codec) -> None:
        """Add a codec that messages can name. Raises `DefinitionError` if its name is taken, or after `freeze`."""
        self._check_open(f"codec {codec.name!r}")
        taken = self._codecs.get(codec.name)
        if taken is not None and taken is not codec:
            both = f"{_class_name(type(taken))} and {_class_name(type(codec))}"
            raise DefinitionError(f"codec name {codec.name!r} is claimed by both {both}; one should have another name")
        self._codecs[codec.name] = codec

    def register(self, message_cls: type[Message], owner: str = "") -> Schema:
        """Register a message for ``owner``, an extension's name; return its schema.

        The same class again from the same owner changes nothing. Raises `TypeConflict` naming both sides if the type
        number is taken, `SchemaError` if the message's codec is unknown or cannot carry it, or if its number is
        reserved for nodes, and `DefinitionError` after `freeze`. Warns with `KnownTypeWarning` of a number in use in
        the wild, unless the message has ``spec=True``.
        """
        schema = schema_of(message_cls)
        claimant = f"{owner} ({schema.qualified_name})" if owner else schema.qualified_name
        self._check_open(f"message {claimant}")
        check_claim(schema.type_id, schema.spec, claimant)
        taken = self._owners.get(schema.type_id)
        if taken is not None:
            if taken == claimant and self._schemas[schema.type_id] is schema:
                return schema
            owners = (taken, claimant)
            text = f"type {schema.type_id} ({schema.type_id:#06x}) is claimed by both {taken} and {claimant}"
            remedy = "one should choose another number"
            if schema.spec and self._schemas[schema.type_id].spec:  # a specification's numbers are not theirs to choose
                remedy = "an application knows one of them: register that alone"
                remedy += "; oddwire.known.decode reads a payload by each protocol known to use its number"
            raise TypeConflict(f"{text}; {remedy}", type_id=schema.type_id, owners=owners)
        name = f"{owner}.{schema.name}" if owner else schema.name
        if name in self._names:
            other = self._names[name].qualified_name
            raise SchemaError(f"{claimant}: {other} is called {name!r} too; say @message(..., name=...)")
        codec = self._codec_of(schema)
        plan = None if isinstance(codec, _Builtin) else codec.compile(replace(schema, owner=owner))
        known = known_owner(schema.type_id)
        if known is not None and not schema.spec:
            text = (
                f"{claimant}: type {schema.type_id} is used by {known}; choose another, or say spec=True if it is that"
            )
            _warn(text, message_cls)
        self._schemas[schema.type_id] = self._names[name] = schema
        self._owners[schema.type_id] = claimant
        self._owner_names[schema.type_id] = owner
        if plan is not None:
            self._add_plan(schema, plan)
        return schema

    def freeze(self) -> None:
        """Reject all further changes: hosts learn the types once, before messages flow. Idempotent."""
        self._frozen = True

    def _codec_of(self, schema: Schema) -> Codec:
        if schema.own_codec is not None:
            return cast("Codec", schema.own_codec)
        codec = self._codecs.get(schema.codec)
        if codec is None:
            known = ", ".join(sorted(self._codecs))
            raise SchemaError(f"{schema.qualified_name}: there is no codec {schema.codec!r}; there are {known}")
        return codec

    def _plan(self, schema: Schema) -> Plan:
        """Return the plan of a registered message, compiled when it is first needed."""
        plan = self._plans.get(type_bytes(schema))
        if plan is not None:
            return plan
        owned = replace(schema, owner=self._owner_names[schema.type_id])  # so that errors have the full name
        return self._add_plan(schema, self._codec_of(schema).compile(owned))

    def _add_plan(self, schema: Schema, plan: Plan) -> Plan:
        key = type_bytes(schema)
        self._plans[key] = plan
        self._encoders[schema.cls] = plan.encode
        self._decoders[key] = plan.decode
        return plan

    def _check_open(self, what: str) -> None:
        if self._frozen:
            raise DefinitionError(f"{what} comes too late: register it before the application starts")

    # While messages flow ---------------------------------------------------------------------------------------------

    def encode(self, message: Message) -> bytes:
        """Return the payload, two-byte type included. Raises `EncodeError`, also for a message not registered."""
        try:
            encode = self._encoders[message.__class__]
        except KeyError:
            encode = self._plan(self._registered(message.__class__)).encode
        return encode(message)

    def decode(self, payload: bytes) -> Message:
        """Return the message. Raises `UnknownMessage` for a type not registered, otherwise `MalformedMessage`."""
        try:
            decode = self._decoders[payload[:2]]
        except KeyError:
            schema = self._schemas.get(int.from_bytes(payload[:2], "big"))
            if schema is None or len(payload) < 2:
                raise _unknown(payload) from None
            decode = self._plan(schema).decode
        message: Message = decode(payload)
        return message

    def _registered(self, cls: type[Any]) -> Schema:
        schema = getattr(cls, "__oddwire__", None)
        if not isinstance(schema, Schema) or self._schemas.get(schema.type_id) is not schema:
            raise EncodeError(f"{_class_name(cls)} is not registered: peers would not know its type")
        return schema

    # Contents --------------------------------------------------------------------------------------------------------

    @property
    def codecs(self) -> Mapping[str, Codec]:
        """The codecs by name."""
        return MappingProxyType(self._codecs)

    @property
    def plans(self) -> Mapping[bytes, Plan]:
        """The plan of each message, by the two bytes its payloads start with."""
        for schema in self._schemas.values():
            self._plan(schema)
        return MappingProxyType(self._plans)

    @property
    def type_ids(self) -> frozenset[int]:
        """The type numbers of all messages."""
        return frozenset(self._schemas)

    @property
    def by_name(self) -> Mapping[str, Schema]:
        """Schemas by ``owner.Name``, or ``Name`` without an owner."""
        return MappingProxyType(self._names)

    def lookup(self, type_id: int) -> Schema | None:
        """Return the schema of a type number, or None."""
        return self._schemas.get(type_id)

    def title_of(self, type_id: int) -> str:
        """Return a type's title for errors: ``market.Quote 0x8c03``, ``type 0x8c03`` if it is not registered."""
        schema = self._schemas.get(type_id)
        return f"type {type_id:#06x}" if schema is None else replace(schema, owner=self._owner_names[type_id]).title

    def owner_of(self, type_id: int) -> str | None:
        """Return who registered a type number, ``owner (module.Class)``, or None."""
        return self._owners.get(type_id)


def _unknown(payload: bytes) -> UnknownMessage | Truncated:
    if len(payload) < 2:
        return Truncated(f"a message starts with a type of 2 bytes, not {len(payload)}", offset=0)
    type_id = int.from_bytes(payload[:2], "big")
    required = type_id % 2 == 0
    text = "no message of this type is registered, and it is even: it must not be ignored" if required else ""
    return UnknownMessage(text or "no message of this type is registered", type_id=type_id, required=required)


def _warn(text: str, message_cls: type[Message]) -> None:
    """Warn at the line of the class statement: that is the line to change, not the one that registered it."""
    import contextlib
    import inspect

    module = sys.modules.get(message_cls.__module__)
    filename, line = getattr(module, "__file__", None) or f"<{message_cls.__module__}>", 1
    with contextlib.suppress(Exception):  # the source cannot be found
        filename, (_, line) = inspect.getsourcefile(message_cls) or filename, inspect.findsource(message_cls)
        line += 1
    known: dict[str, Any] = {} if module is None else vars(module)
    seen = known.setdefault("__warningregistry__", {})
    warnings.warn_explicit(text, KnownTypeWarning, filename, line, message_cls.__module__, seen)


def _class_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
