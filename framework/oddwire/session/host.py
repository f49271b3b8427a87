"""The protocols (interfaces) that a session depends on: its application, and reliable delivery."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from oddwire.errors import MalformedMessage
    from oddwire.proto.keys import NodeId
    from oddwire.session.limits import Allowance
    from oddwire.session.peer.link import Link
    from oddwire.session.peer.peer_session import PeerSession
    from oddwire.session.peer.request_tables import HandledRequest
    from oddwire.session.wire.frame_types import Ack, Data, Refusal, Request

__all__ = ["ReliableDelivery", "SessionHost"]


class SessionHost(Protocol):
    """What a session needs of the application. All methods are called on the event loop, and return without waiting."""

    def message_received(self, node_id: NodeId, payload: bytes) -> None:
        """Receive a plain message that was reassembled from fragments."""

    def request_received(self, link: Link, handling: HandledRequest[Any], request: Request) -> None:
        """Start handling a request. It counts against the limits until `Link.request_ended` is called."""

    def reliable_refused(self, node_id: NodeId, payload: bytes, refusal: Refusal) -> None:
        """Handle the final refusal of a peer's reliable message, to log it say."""

    def is_paused(self, node_id: NodeId) -> bool:
        """Return whether reading from a peer is paused."""
        raise NotImplementedError

    def is_crowded(self, node_id: NodeId) -> bool:
        """Return whether a peer's new transfers are refused for now, as there is no memory for more of its messages."""
        raise NotImplementedError

    def malformed(self, node_id: NodeId, payload: bytes, error: MalformedMessage) -> None:
        """Apply the policy for a malformed frame, which the session itself has answered or ignored."""

    def throttle(self, node_id: NodeId, seconds: float) -> None:
        """Throttle a peer: read none of its messages for ``seconds``."""

    def max_size_of(self, type_id: int) -> int:
        """Return the max size in bytes of a payload of a type, 0 for a type without a handler."""
        raise NotImplementedError

    def title_of(self, type_id: int) -> str:
        """Return the name of a message type, for logs and error texts."""
        raise NotImplementedError

    def allowance_of(self, type_id: int) -> Allowance | None:
        """Return the allowance of the extension that a type belongs to, None if it has no limits of its own."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task; it is cancelled when the application closes, if it has not ended before."""
        raise NotImplementedError


class ReliableDelivery(Protocol):
    """What a session needs of reliable delivery. Methods are called on the event loop, and return without waiting."""

    def hello_received(self, link: Link, new: bool) -> None:
        """Handle a hello of a program of a peer; ``new`` if it is the first of its session."""

    def session_ended(self, link: Link) -> None:
        """Handle the end of the session with one program, by a restart say, while the connection stays."""

    def peer_disconnected(self, node_id: NodeId) -> None:
        """Handle the end of the connection to a peer."""

    def data_received(self, link: Link, data: Data) -> bool:
        """Receive a reliable message. Return False if a peer that keeps to the protocol would not have sent it."""
        raise NotImplementedError

    def ack_received(self, link: Link, ack: Ack) -> bool:
        """Receive an ack of our reliable messages. Return False if it acknowledges nothing that was sent."""
        raise NotImplementedError

    def is_waiting(self, link: Link) -> bool:
        """Return whether a reliable message sent to a program waits for its ack."""
        raise NotImplementedError

    def tick(self, peer: PeerSession, now: float) -> None:
        """Run what is due for a peer, and schedule the next tick with `PeerSession.wake`."""
