"""Events: what happens to peers and messages, one by one, as ``oddwire run --json`` and ``oddwire-watch`` tell it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import oddwire.clocks as clocks  # from oddwire import would look for it in all that oddwire has
from oddwire.printable import printable

if TYPE_CHECKING:
    from oddwire.proto.keys import NodeId
    from oddwire.schema import Message

__all__ = ["Event", "EventKind"]

EventKind = Literal[
    "ready", "listening", "connected", "disconnected", "received", "sent", "delivered", "result", "error"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. ``time`` is seconds since 1970; ``latency`` is in seconds; ``text`` is a reason or an error.

    ``node_id`` is that of our own node, in ``ready``, and ``address`` then where the host node is.
    ``schema`` is the dotted name of the message's class, ``chat.Say``; None for a type that no loaded extension has.
    ``method`` is the RPC method that was called, ``value`` its result in JSON types; ``code`` and ``data`` are those of
    its JSON-RPC error, None for what is none.
    """

    event: EventKind
    time: float = field(default_factory=lambda: clocks.wall())
    uri: str | None = None
    peer: NodeId | None = None
    address: str | None = None
    node_id: NodeId | None = None
    type_id: int | None = None
    schema: str | None = None
    message: Message | None = None
    payload: bytes | None = None
    latency: float | None = None
    text: str | None = None
    method: str | None = None
    value: Any = None
    code: int | None = None
    data: Any = None

    def to_values(self) -> dict[str, Any]:
        """Return the event in JSON types, with the keys that apply."""
        values: dict[str, Any] = {
            "event": self.event,
            "time": round(self.time, 6),
            "uri": self.uri,
            "peer": None if self.peer is None else str(self.peer),
            "address": self.address,
            "node_id": None if self.node_id is None else str(self.node_id),
            "type": self.type_id,
            "schema": self.schema,
            "message": None if self.message is None else _fields(self.message),
            "payload": None if self.payload is None else self.payload.hex(),
            "latency": None if self.latency is None else round(self.latency, 6),
            "method": self.method,
            ("message" if self.event == "error" else "reason"): self.text,
            "code": self.code,
            "data": self.data,
        }
        shown = {key: value for key, value in values.items() if value is not None}
        return {**shown, "value": self.value} if self.event == "result" else shown

    def to_line(self) -> str:
        """Return the event as a line of a log; text of others is made `printable`."""
        parts = [self.event, "" if self.peer is None else str(self.peer)]
        if self.type_id is not None:
            parts += [self.schema or "type", f"{self.type_id:#06x}", f"[{len(self.payload or b'')} bytes]"]
        if self.message is not None:
            from oddwire.schema import schema_of
            from oddwire.schema.spelling import show_fields

            parts.append(show_fields(schema_of(self.message), self.message, " "))
        parts += [self.address or "", self.text or ""]
        return printable(" ".join(part for part in parts if part))

    def to_extra(self) -> dict[str, Any]:
        """Return what a record of `logging` has besides its text: ``peer`` and ``type``, where there are any."""
        extra = {"peer": None if self.peer is None else str(self.peer), "type": self.type_id}
        return {name: value for name, value in extra.items() if value is not None}


def _fields(message: Message) -> Any:
    """Return a message's fields in JSON types."""
    from oddwire.app.declarations.jsonable import to_plain  # of which commands without messages have no need
    from oddwire.schema.spelling import show_value

    return to_plain(message, show_value)
