"""`Protocol`, what a module of `oddwire.known` has, and `Claim`, one protocol's use of a type number."""

from __future__ import annotations

from typing import Any

from oddwire.records import FrozenRecord
from oddwire.schema import Message, Procedure

__all__ = ["Claim", "Protocol"]


class Protocol(FrozenRecord, kw_only=True):
    """A protocol in the wild, and where what is known of it comes from."""

    name: str
    """As its authors write it: ``PeerSwap``. The claims of `oddwire.proto.type_numbers` have the same."""
    document: str
    """The URL of the document or source that the schemas were written from."""
    version: str
    """Of that document: a version or commit, and its date."""
    messages: tuple[type[Message], ...] = ()
    """The message classes, in the order of their type numbers."""
    procedures: tuple[Procedure[Any, Any], ...] = ()
    """The JSON-RPC methods, of protocols that have them."""
    inside: str = ""
    """The name of the protocol whose messages carry this one's methods, if it has no messages of its own."""


class Claim(FrozenRecord, kw_only=True):
    """One use of a type number: of a protocol whose schemas are known, or of one of which only that is known."""

    type_id: int
    protocol: str
    """The protocol's name."""
    name: str
    """The message's name in that protocol: ``swap_in_request``."""
    encoding: str
    """How the message is written: for a known schema the name of its codec, otherwise a few words."""
    source: str
    """The document or source."""
    message: type[Message] | None = None
    """The message class, if `oddwire.known` has one."""
