"""Reliable delivery without a store: peers' messages are refused for good, so that their lanes need not wait."""

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
    """The `ReliableDelivery` of a session until `Session.use_delivery` is called."""

    def __init__(self, host: SessionHost) -> None:
        self._host = host
        self._acknowledgements = Acknowledgements(host.spawn)

    def hello_received(self, link: Link, new: bool) -> None:
        """Do nothing: no messages wait for the program."""

    def session_ended(self, link: Link) -> None:
        """Do nothing: no messages were sent to the program."""

    def peer_disconnected(self, node_id: NodeId) -> None:
        """Do nothing: no messages were sent to the peer."""

    def data_received(self, link: Link, data: Data) -> bool:
        """Refuse a reliable message with `UNSUPPORTED`. Return False, and ignore it, if too many acks wait."""
        if not self._acknowledgements.post(link, _refusal_of(data)):
            return False
        link.shared.counters.declined["unsupported"] += 1
        refusal = Refusal(
            data.sequence, Code.UNSUPPORTED, "no handler here accepts reliable messages, or there is no store for them"
        )
        self._host.reliable_refused(link.node_id, data.content, refusal)
        return True

    def ack_received(self, link: Link, ack: Ack) -> bool:
        """Return False: there is no lane to acknowledge."""
        return False

    def is_waiting(self, link: Link) -> bool:
        """Return False: no messages were sent."""
        return False

    def tick(self, peer: PeerSession, now: float) -> None:
        """Do nothing: no messages are to be resent."""


def _refusal_of(data: Data) -> Ack:
    """Return an ack that refuses a reliable message and all before it that are not settled."""
    text = "no reliable messages are accepted here"
    failures = [Refusal(data.sequence, Code.UNSUPPORTED, text)]
    failures[:0] = [Refusal(before, Code.UNSUPPORTED, "") for before in range(data.base, data.sequence)]
    return Ack(Scope.LANE, 0, data.lane, data.epoch, data.sequence, (*failures,))
