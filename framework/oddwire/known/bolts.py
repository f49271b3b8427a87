"""The BOLTs' own messages: what nodes say to each other, to be read by tools.

BOLTs 1, 2, 4, 7 and 12 at commit a377265, 2026-03-23, as CSV that the BOLTs' own tool extracts from their text; what it
does not find is added, as the files beside this module say. That is all messages of peers; the failure messages of
BOLT 4, whose numbers are those of peer messages, too; the TLV streams of onions, offers and invoices.

A class has the name that the BOLTs have, as Python writes classes: ``Init``, ``OpenChannel2``, ``BlindedPath``,
``Offer``; that of a TLV record begins with its stream, ``OfferOfferChains``. `NAMESPACE` has all by the names in the
CSV. The TLV stream that ends a message is a field, ``init.tlvs.networks.chains``, and an absent record None;
`oddwire.codecs.decode_subtype` reads a stream by itself.

Nodes handle these messages themselves: but for 7 and 9, peer storage, no extension can send one. The first import makes
some 230 classes, in 0.2 s.
"""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from oddwire.codecs import Plan
from oddwire.codecs.bolt.codec import BoltCodec
from oddwire.errors import EncodeError, Truncated, UnknownMessage
from oddwire.known import Protocol
from oddwire.schema import Message, schema_of
from oddwire.schema.bolt_csv import Namespace, load_csv

if TYPE_CHECKING:
    # A stub of what is made below
    from oddwire.known.bolt_classes import *  # noqa: F403  # pyright: ignore[reportMissingModuleSource]

__all__ = ["FAILURES", "NAMESPACE", "PROTOCOL", "decode", "decode_failure", "encode", "number_of"]

_BOLTS: Final = (1, 2, 4, 7, 12)
_DEFINED: Final = re.compile(r"^(?:msgtype|subtype|tlvtype),(\w+),?", re.MULTILINE)


def decode(payload: bytes) -> Message:
    """Return the message of a payload, two-byte type included.

    Raises `UnknownMessage` for a type that no BOLT has, otherwise `MalformedMessage`.
    """
    message: Message = _plan(_class_of(_MESSAGES, payload, "message")).decode(payload)
    return message


def decode_failure(failure: bytes) -> Message:
    """Return BOLT 4's failure message, the ``failuremsg`` of a decrypted return packet, two-byte code included.

    What is behind its fields is ignored, whatever it is. Raises `UnknownMessage` for a code that BOLT 4 does not have,
    otherwise `MalformedMessage`.
    """
    cls = _class_of(FAILURES, failure, "failure message")
    schema = schema_of(cls)
    read = _plan(_failures_and_more()[schema.name]).decode(failure)
    return cls(**{field.name: getattr(read, field.name) for field in schema.fields})


def encode(message: Message) -> bytes:
    """Return the payload of a message or failure message, two-byte type included. Raises `EncodeError`."""
    schema = schema_of(message)
    if NAMESPACE.messages.get(schema.name) is not type(message):
        raise EncodeError(f"{schema.qualified_name} is not a message of the BOLTs")
    payload: bytes = _plan(type(message)).encode(message)
    return payload


def number_of(message: type[Message]) -> int:
    """Return the number of the BOLT that a message or failure message is in. Raises `KeyError` for any other class."""
    return _ORIGINS[schema_of(message).name]


def _class_of(known: Mapping[int, type[Message]], payload: bytes, what: str) -> type[Message]:
    if len(payload) < 2:
        raise Truncated(f"a {what} starts with a type of 2 bytes, not {len(payload)}", offset=0)
    number = int.from_bytes(payload[:2], "big")
    if number not in known:
        raise UnknownMessage(f"no {what} of the BOLTs has this number", type_id=number, required=number % 2 == 0)
    return known[number]


@cache
def _failures_and_more() -> Mapping[str, type[Message]]:
    """Return the failure messages by name, with a field for what is behind the others."""
    # BOLT 4, Receiving Failure Codes: extra bytes MUST be ignored. Other messages have a valid extension there, if any.
    names = [schema_of(cls).name for cls in FAILURES.values()]
    rows = [row for row in _text(4).splitlines() if row.startswith("msg") and row.split(",")[1] in names]
    return load_csv([*rows, *(f"msgdata,{name},extra_bytes,byte,..." for name in names)], module=__name__).messages


@cache
def _plan(cls: type[Message]) -> Plan:
    return BoltCodec().compile(schema_of(cls))


# The classes ---------------------------------------------------------------------------------------------------------


def _load() -> tuple[Namespace, Mapping[str, int]]:
    """Return all classes, and by name the BOLT that a message, subtype or TLV stream is in."""
    texts = {bolt: _text(bolt) for bolt in _BOLTS}
    origins = {name: bolt for bolt, text in texts.items() for name in _DEFINED.findall(text)}
    return load_csv(*texts.values(), module=__name__), origins


def _text(bolt: int) -> str:
    return (pkgutil.get_data("oddwire.known", f"bolt{bolt:02}.csv") or b"").decode()


def _named(namespace: Namespace, origins: Mapping[str, int]) -> dict[str, type]:
    """Return all classes by their own names, with docstrings."""
    named: dict[str, type] = {}
    for what, classes in (
        ("message", namespace.messages),
        ("subtype", namespace.subtypes),
        ("TLV stream", namespace.tlv_streams),
        ("TLV record", namespace.tlv_records),
    ):
        for name, cls in classes.items():
            cls.__doc__ = f"The {what} ``{name}`` of BOLT {origins[name.partition('.')[0]]}."
            named[cls.__name__] = cls
    return named


def _numbered(*, failures: bool) -> Mapping[int, type[Message]]:
    """Return the messages of peers by number, or the failure messages: those of BOLT 4 but one."""
    numbers = {schema_of(cls).type_id: cls for name, cls in NAMESPACE.messages.items() if failures == _is_failure(name)}
    return MappingProxyType(dict(sorted(numbers.items())))


def _is_failure(name: str) -> bool:
    return _ORIGINS[name] == 4 and name != "onion_message"


NAMESPACE, _ORIGINS = _load()
"""All classes by their names in the CSV: ``NAMESPACE.messages["init"]``."""

FAILURES: Final = _numbered(failures=True)
"""BOLT 4's failure messages by number, its flags included: 0x400f is ``incorrect_or_unknown_payment_details``."""

_MESSAGES: Final = _numbered(failures=False)

PROTOCOL = Protocol(
    name="BOLTs",
    document="https://github.com/lightning/bolts",
    version="commit a377265, 2026-03-23",
    messages=tuple(_MESSAGES.values()),
)

globals().update(_named(NAMESPACE, _ORIGINS))
