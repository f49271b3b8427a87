"""What a session needs of others: the application that it is a part of, and what delivers reliable messages."""

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
    """What a session needs of the application. Everything is called on the loop, and returns at once."""

    def message_received(self, node_id: NodeId, payload: bytes) -> None:
        """Take a message that came in fragments."""

    def request_received(self, link: Link, handling: HandledRequest[Any], request: Request) -> None:
        """Have a request handled; its place within the limits is taken until `Link.request_ended` is called."""

    def reliable_refused(self, node_id: NodeId, payload: bytes, refusal: Refusal) -> None:
        """Learn that a peer's reliable message is refused for good."""

    def is_paused(self, node_id: NodeId) -> bool:
        """Say whether what a peer sends is not read just now."""
        raise NotImplementedError

    def is_crowded(self, node_id: NodeId) -> bool:
        """Say whether a peer should begin no transfer now: there is no room for what it would bring."""
        raise NotImplementedError

    def malformed(self, node_id: NodeId, payload: bytes, error: MalformedMessage) -> None:
        """Deal with a frame that breaks the protocol's rules."""

    def throttle(self, node_id: NodeId, seconds: float) -> None:
        """Read a peer's messages so much later."""

    def max_size_of(self, type_id: int) -> int:
        """Return how long a payload of a type may be, 0 for one that nobody takes."""
        raise NotImplementedError

    def title_of(self, type_id: int) -> str:
        """Return what a type is called, for people."""
        raise NotImplementedError

    def allowance_of(self, type_id: int) -> Allowance | None:
        """Return what the extension that a type is of lets a peer have; None without limits of its own."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task that ends with the application at the latest."""
        raise NotImplementedError


class ReliableDelivery(Protocol):
    """What a session needs of reliable delivery. Everything is called on the loop, and returns at once."""

    def hello_received(self, link: Link, new: bool) -> None:
        """Learn that a program of a peer has said hello; ``new`` if for the first time."""

    def session_ended(self, link: Link) -> None:
        """Learn that the session with one program is over while the connection stays: it has ended, or restarted."""

    def peer_disconnected(self, node_id: NodeId) -> None:
        """Learn that a peer is gone."""

    def data_received(self, link: Link, data: Data) -> bool:
        """Take a reliable message; False if an honest peer would not have sent it."""
        raise NotImplementedError

    def ack_received(self, link: Link, ack: Ack) -> bool:
        """Take what a peer says of our reliable messages; False if an honest peer would not have said it."""
        raise NotImplementedError

    def is_waiting(self, link: Link) -> bool:
        """Say whether something sent to a program waits for its acknowledgement."""
        raise NotImplementedError

    def tick(self, peer: PeerSession, now: float) -> None:
        """Do what is due for a peer, and say with `PeerSession.wake` when there is more."""
