"""Which kept messages a received message answers, by what their classes declare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from oddwire.app.resending.entries import Entry, Ident
from oddwire.app.resending.keys import encode_key
from oddwire.errors import ValueOutOfRange
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, schema_of

__all__ = ["Answers"]


class Answers:
    """The kept messages that an answer can settle. ``messages`` are all registered classes.

    An answer is of a class that the message's class declares in ``replies``, with an equal value in its ``match``
    field. Looking one up takes the same time however many messages are kept.
    """

    def __init__(self, messages: Iterable[type[Message]]) -> None:
        self._fields: dict[type[Any], list[tuple[int, str]]] = {}  # by reply: types of the messages, and match fields
        self._types: set[int] = set()
        self._found: dict[NodeId, dict[tuple[int, bytes], dict[Ident, Entry]]] = {}
        for message in messages:
            schema = schema_of(message)
            if schema.match is not None and schema.replies:
                self._types.add(schema.type_id)
                for reply in schema.replies:
                    self._fields.setdefault(reply, []).append((schema.type_id, schema.match))

    def add(self, entry: Entry) -> bool:
        """Add a message. Return whether it is the first for its peer that can be answered."""
        if entry.matched is None or entry.type_id not in self._types:
            return False
        is_first = entry.ident.node_id not in self._found
        of_peer = self._found.setdefault(entry.ident.node_id, {})
        of_peer.setdefault((entry.type_id, entry.matched), {})[entry.ident] = entry
        return is_first

    def remove(self, entry: Entry) -> bool:
        """Remove a message. Return whether it was the last for its peer that could be answered."""
        of_peer = self._found.get(entry.ident.node_id)
        alike = None if of_peer is None or entry.matched is None else of_peer.get((entry.type_id, entry.matched))
        if of_peer is None or entry.matched is None or not alike or alike.get(entry.ident) is not entry:
            return False
        del alike[entry.ident]
        if not alike:
            del of_peer[entry.type_id, entry.matched]
        if not of_peer:
            del self._found[entry.ident.node_id]
        return not of_peer

    def has(self, node_id: NodeId) -> bool:
        """Return whether a message to a peer can be answered."""
        return node_id in self._found

    def find(self, node_id: NodeId, reply: Message) -> tuple[Entry, ...]:
        """Return the messages to a peer that its message answers."""
        of_peer, fields = self._found.get(node_id), self._fields.get(type(reply))
        if of_peer is None or fields is None:
            return ()
        found: list[Entry] = []
        for type_id, field in fields:
            try:
                value = encode_key(getattr(reply, field))
            except (TypeError, ValueOutOfRange):
                continue
            found += of_peer.get((type_id, value), {}).values()
        return (*found,)
