"""`decode`: a payload as each protocol reads it that is known to use its type number."""

from __future__ import annotations

from functools import cache

from oddwire.codecs import Plan, Registry
from oddwire.errors import DecodeError, Truncated
from oddwire.known.listing import owners
from oddwire.known.protocol import Claim
from oddwire.records import FrozenRecord
from oddwire.schema import Message, schema_of

__all__ = ["Reading", "decode"]


class Reading(FrozenRecord, kw_only=True):
    """A payload as one protocol reads it: as a message, or with the error that says why it is none of this protocol.

    It has neither if only the protocol's use of the number is known, and not its messages.
    """

    claim: Claim
    """The protocol's use of the type number."""
    message: Message | None = None
    error: DecodeError | None = None


def decode(payload: bytes) -> tuple[Reading, ...]:
    """Return each reading of a payload, which starts with its type: one for each of its number's `owners`.

    Most numbers have one owner, or none. Of several, mostly one can read the payload: the others' readings have an
    ``error``, a `MalformedMessage`. Raises `Truncated` for a payload of less than two bytes, and nothing else for any
    other. The first call imports all known protocols.
    """
    if len(payload) < 2:
        raise Truncated(f"a message starts with a type of 2 bytes, not {len(payload)}", offset=0)
    return tuple(_reading(claim, payload) for claim in owners(int.from_bytes(payload[:2], "big")))


def _reading(claim: Claim, payload: bytes) -> Reading:
    if claim.message is None:
        return Reading(claim=claim)
    try:
        return Reading(claim=claim, message=_plan(claim.message).decode(payload))
    except DecodeError as error:
        return Reading(claim=claim, error=error)


@cache
def _plan(cls: type[Message]) -> Plan:
    schema = schema_of(cls)
    codec = Registry().codecs[schema.codec] if schema.own_codec is None else schema.own_codec
    plan: Plan = codec.compile(schema)
    return plan
