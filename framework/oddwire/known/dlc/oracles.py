"""What oracles publish: announcements of events, and attestations of their outcomes.

They are messages, and also parts of contracts: there each is a TLV, its number and its length as bigsizes, then its
fields.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from oddwire.schema import Message, bigsize, bip340sig, counted, fixed, message, s32, subtype, tagged, u16, u32

__all__ = [
    "Announcement",
    "DigitDecompositionEventDescriptor",
    "EnumEventDescriptor",
    "EventDescriptor",
    "OracleAnnouncement",
    "OracleAttestation",
    "OracleEvent",
    "String",
    "XPoint",
]

String: TypeAlias = Annotated[str, counted(bigsize)]
XPoint: TypeAlias = Annotated[bytes, fixed(32)]
"""A public key of BIP 340: the x coordinate."""


@subtype(tag=55302)
class EnumEventDescriptor:
    """An event that has one of a few outcomes."""

    outcomes: tuple[String, ...]


@subtype(tag=55306)
class DigitDecompositionEventDescriptor:
    """An event whose outcome is a number, of which each digit is signed: ``precision`` is its exponent in ``base``."""

    base: u16
    is_signed: bool
    unit: String
    precision: s32
    nb_digits: u16


EventDescriptor: TypeAlias = Annotated[
    EnumEventDescriptor | DigitDecompositionEventDescriptor, tagged(bigsize, length=bigsize)
]


@message(55330, codec="bolt", spec=True, even="known")
class OracleEvent(Message):
    """An event, and the nonces that its outcome will be signed with, not before ``event_maturity_epoch``."""

    oracle_nonces: tuple[XPoint, ...]
    event_maturity_epoch: u32
    event_descriptor: EventDescriptor
    event_id: String


@message(55332, codec="bolt", spec=True, even="known")
class OracleAnnouncement(Message):
    """An event, signed by its oracle.

    The signature is over the hash, tagged ``DLC/oracle/announcement/v0``, of the event's TLV. That of rust-dlc is over
    the SHA-256 of the event's fields.
    """

    announcement_signature: bip340sig
    oracle_public_key: XPoint
    oracle_event: Annotated[OracleEvent, tagged(bigsize, length=bigsize)]


Announcement: TypeAlias = Annotated[OracleAnnouncement, tagged(bigsize, length=bigsize)]


@message(55400, codec="bolt", spec=True, even="known")
class OracleAttestation(Message):
    """The outcome of an event, one signature for each text: a digit, or the whole outcome."""

    event_id: String
    oracle_public_key: XPoint
    signatures: tuple[bip340sig, ...]
    outcomes: tuple[String, ...]
