"""Reliable delivery where there is no store: what peers send is refused, in a way that their lanes do not wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oddwire.session.reliable.acknowledgements import Acknowledgements
from oddwire.session.wire.frame_types import Ack, Code, Data, Refusal, Scope

if TYPE_CHECKING:
    from oddwire.proto.keys import NodeId
    from oddwire.session.host import SessionHost
    from oddwire.session.peer.link import Link
    from oddwire.session.peer.peer_session import PeerSession

__all__ = ["WithoutStore"]


class WithoutStore:
    """The `ReliableDelivery` of a session until it has one with a store."""

    def __init__(self, host: SessionHost) -> None:
        self._host = host
        self._acknowledgements = Acknowledgements(host.spawn)

    def hello_received(self, link: Link, new: bool) -> None:
        """Ignore it: nothing waits for the program."""

    def session_ended(self, link: Link) -> None:
        """Ignore it: nothing was sent to the program."""

    def peer_disconnected(self, node_id: NodeId) -> None:
        """Ignore it: nothing was sent to the peer."""

    def data_received(self, link: Link, data: Data) -> bool:
        """Refuse a reliable message."""
        if not self._acknowledgements.post(link, _refusal_of(data)):
            return False
        link.shared.counters.declined["unsupported"] += 1
        refusal = Refusal(data.sequence, Code.UNSUPPORTED, "there is no store here for reliable messages")
        self._host.reliable_refused(link.node_id, data.content, refusal)
        return True

    def ack_received(self, link: Link, ack: Ack) -> bool:
        """Return False: nothing was sent."""
        return False

    def is_waiting(self, link: Link) -> bool:
        """Return False: nothing was sent."""
        return False

    def tick(self, peer: PeerSession, now: float) -> None:
        """Do nothing: nothing is due."""


def _refusal_of(data: Data) -> Ack:
    """Return the answer to a reliable message: what came up to it is refused, and forgotten."""
    text = "no reliable messages are taken here"
    failures = [Refusal(data.sequence, Code.UNSUPPORTED, text)]
    failures[:0] = [Refusal(before, Code.UNSUPPORTED, "") for before in range(data.base, data.sequence)]
    return Ack(Scope.LANE, 0, data.lane, data.epoch, data.sequence, (*failures,))
