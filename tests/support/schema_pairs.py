"""Two versions of a message: what `oddwire.contracts.compare` says of them, and what their codecs do with each other.

A verdict is held to bytes: where it says that one side understands the other, all of the other's payloads decode, with
equal values in the fields that both have; where it says not, some payload does not decode, or reads as something else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from oddwire.codecs import Plan
from oddwire.codecs.registry import builtin_codecs
from oddwire.contracts import Finding, Interface, compare, contract_of, read_contract, write_contract
from oddwire.contracts.examples import examples
from oddwire.errors import MalformedMessage, OddwireError
from oddwire.schema import Message, message, schema_of, subtype
from oddwire.schema.forms import JSON, KEPT
from oddwire.schema.kinds import Anything, Array, Kind, Maybe, Nested, Sized, Table
from oddwire.schema.tree import dump
from oddwire.schema.union_kinds import Either, Tagged, UnknownVariant
from oddwire.schema.value_kinds import Limited

TYPE_ID = 0x8D61
MISSING = object()
Fields = Mapping[str, Any]
"""Annotations by name; a pair is an annotation and a default or `field(...)`."""


def made(codec: str, fields: Fields, *, name: str = "Subject", type_id: int = TYPE_ID, **arguments: Any) -> Any:
    """Return a message class; ``codec_`` is a codec that has no name."""
    return message(type_id, codec=arguments.pop("codec_", codec), **arguments)(
        type(Message)(name, (Message,), _body(name, fields))
    )


def part(name: str, fields: Fields, tag: Any = None) -> Any:
    """Return a subtype."""
    plain = type(name, (), _body(name, fields))
    return subtype(plain) if tag is None else subtype(tag=tag)(plain)


def _body(name: str, fields: Fields) -> dict[str, Any]:
    pairs = {key: value if isinstance(value, tuple) else (value,) for key, value in fields.items()}
    body: dict[str, Any] = {key: pair[1] for key, pair in pairs.items() if len(pair) > 1}
    annotations = {key: pair[0] for key, pair in pairs.items()}
    return {**body, "__annotations__": annotations, "__module__": __name__, "__qualname__": name}


@cache
def contract(cls: type[Message]) -> dict[str, Any]:
    """Return the contract of a message as it is read from its file."""
    whole = Interface(name="subject", version="1.0", versions=("1.0",), messages=(cls,))
    return read_contract(write_contract(contract_of(whole, oddwire="0")), extension="subject")


def findings(old: type[Message], new: type[Message]) -> list[Finding]:
    return compare(contract(old), contract(new))


def broken(found: Sequence[Finding], sender: str) -> bool:
    """Return whether the verdict is that messages of this side are not understood by the other."""
    return any(failure.sender == sender for one in found for failure in one.failures)


class Misread(NamedTuple):
    payload: bytes
    sent: Message
    read: Message | OddwireError


def misreads(sender: type[Message], receiver: type[Message], *, relayed: bool = False) -> Iterator[Misread]:
    """Yield what of a sender's examples the receiver does not understand, or takes for something else.

    ``relayed``: also those with an `UnknownVariant` in them.
    """
    for sent, payload in sample(sender):
        if not relayed and "UnknownVariant" in repr(sent):
            continue
        yield from misread(sent, payload, receiver)


def misread(sent: Message, payload: bytes, receiver: type[Message]) -> Iterator[Misread]:
    try:
        read = plan(receiver).decode(payload)
    except MalformedMessage as error:
        yield Misread(payload, sent, error)
        return
    codec = schema_of(receiver).codec
    if not same(
        canonical(Nested(schema_of(type(sent))), sent, codec), canonical(Nested(schema_of(receiver)), read, codec)
    ):
        yield Misread(payload, sent, read)


@cache
def sample(cls: type[Message]) -> list[tuple[Message, bytes]]:
    return examples(cls, 150)


@cache
def plan(cls: type[Message]) -> Plan:
    schema = schema_of(cls)
    (codec,) = [codec for codec in builtin_codecs() if codec.name == schema.codec]
    return codec.compile(schema)


def canonical(kind: Kind, value: Any, codec: str) -> Any:
    """Return a value such that two are the same to their readers if these are."""
    match kind:
        case Maybe():
            return None if value is None else canonical(kind.inner, value, codec)
        case Sized() | Limited():
            return canonical(kind.inner, value, codec)
        case Nested(record=record):
            places = [field.name for field in record.fields if field.tlv is None]
            return {
                place: canonical(field.kind, getattr(value, field.name), codec)
                for field in record.fields
                for place in (
                    field.name,
                    f"key {field.key}" if codec != "bolt" else field.tlv or f"place {places.index(field.name)}",
                )
            }
        case Tagged():
            return (
                value if isinstance(value, UnknownVariant) else canonical(Nested(type(value).__oddwire__), value, codec)
            )
        case Either():
            option = kind.option_for(value)
            assert option is not None
            return canonical(option, value, codec)
        case Array():
            return [canonical(kind.element, one, codec) for one in value]
        case Table():
            return ("map", [(key, canonical(kind.value, one, codec)) for key, one in sorted(value.items())])
        case Anything() if isinstance(value, dict):
            return ("map", [(key, canonical(kind, one, codec)) for key, one in sorted(value.items())])
    return dump(kind, value, JSON if codec == "json" else KEPT)


def same(sent: Any, read: Any) -> bool:
    if isinstance(read, UnknownVariant):
        return True  # the receiver knows that it does not know
    if isinstance(sent, dict) and isinstance(read, tuple):  # a subtype as a value of any type
        return all(same(sent[f"key {key}"], one) for key, one in read[1] if f"key {key}" in sent)
    if type(sent) is not type(read):
        return False
    if isinstance(sent, dict):
        return all(same(sent[name], read[name]) for name in sent.keys() & read.keys())
    if isinstance(sent, list | tuple):
        return len(sent) == len(read) and all(same(*pair) for pair in zip(sent, read, strict=True))
    return bool(sent == read)


def check(old: type[Message], new: type[Message], *, relayed: bool = False) -> list[Finding]:
    """Hold the verdict on two versions to what their codecs do, and return it."""
    found = findings(old, new)
    said = json.dumps([one.to_plain() for one in found], indent=1)
    for sender, one, other in (("old", old, new), ("new", new, old)):
        if not broken(found, sender):
            for wrong in misreads(one, other):
                raise AssertionError(
                    f"{sender} -> {'new' if one is old else 'old'}: {wrong} though the verdict is\n{said}"
                )
    if any(one.breaks for one in found):
        pairs = [pair for sender, *pair in (("old", old, new), ("new", new, old)) if broken(found, sender)]
        witness = [wrong for pair in pairs for wrong in _first(misreads(*pair, relayed=relayed))]
        assert witness, f"nothing breaks: {old}\n{new}\n{said}"
    return found


def _first(iterator: Iterator[Misread]) -> Iterator[Misread]:
    for one in iterator:
        yield one
        return
