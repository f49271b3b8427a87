"""`Interface`: what peers see of an extension, or of a known protocol. Contracts and documents are made of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from oddwire.records import FrozenRecord
from oddwire.schema import Field, Message, Record
from oddwire.schema.kinds import Kind

__all__ = ["Interface", "Method"]

_NOTHING: Mapping[type[Message], tuple[type[Message], ...]] = MappingProxyType({})


class Method(FrozenRecord, kw_only=True):
    """A JSON-RPC method that peers may call, or a notification that they may send."""

    name: str
    type_id: int
    """The type of the messages that carry it."""
    params: tuple[Field, ...] = ()
    """The parameters; their ``key`` is the name that callers give."""
    result: Kind | None = None
    """The kind of the result; None for null, or if it is not ``typed``."""
    typed: bool = True
    """Whether the result's type is known."""
    notification: bool = False
    by_position: bool = False
    """Whether callers may pass a list."""
    strict: bool = True
    """Whether parameters of unknown names are refused."""
    record: Record | None = None
    """The class of the parameters, if they have one."""
    text: str = ""
    """What it does, of its docstring."""


class Interface(FrozenRecord, kw_only=True):
    """All that peers see of an extension.

    ``reliable`` are the messages that it takes reliably, ``streams`` those that it answers with a stream, ``answers``
    the replies of each message, declared or returned by its handler.
    """

    name: str
    version: str
    versions: tuple[str, ...] = ()
    feature: int | None = None
    peer_feature: int | None = None
    messages: tuple[type[Message], ...] = ()
    reliable: frozenset[type[Message]] = frozenset()
    streams: frozenset[type[Message]] = frozenset()
    answers: Mapping[type[Message], tuple[type[Message], ...]] = _NOTHING
    handlers: Mapping[type[Message], str] = MappingProxyType({})
    """The docstring of each message's handler."""
    methods: tuple[Method, ...] = ()
    text: str = ""
    """What it is, of its docstring."""
    document: str = ""
    """The URL of its specification, of a known protocol."""
