"""The sessions with all peers: they come and go here, and what they share is made here."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.session.host import ReliableDelivery, SessionHost
from oddwire.session.limits import Allowance, Limits
from oddwire.session.peer.peer_session import PeerSession
from oddwire.session.peer.shared import OwnHello, Shared
from oddwire.session.reliable.without_store import WithoutStore
from oddwire.session.wire.frame_types import Hello, Spoken
from oddwire.transports.base import Transport

__all__ = ["HELLO_WAIT", "VERSION", "Session"]

VERSION: Final = 1
"""The one version of the session protocol spoken here."""
HELLO_WAIT: Final = 1.0
"""Seconds from a peer's connecting until it is taken for one without oddwire, if it has said no hello."""
logger = get_logger("oddwire.session")


class Session:
    """The sessions with all peers of one application.

    ``instance`` is the address of this process, u32, random and not 0: peers learn from a new one that it is another.
    ``program`` is the number, u64, that stays the same when it is started again, ``stores`` are those of what it keeps
    of reliable messages. ``spoken`` are our extensions. ``limits`` hold for every peer, ``allowances`` within them for
    extensions, by name. ``hello_wait`` is how many seconds after its connecting, or the end of one of its programs, it
    is waited for those that have said no hello. Peers' reliable messages are refused until `use_delivery`.
    """

    def __init__(
        self,
        host: SessionHost,
        transport: Transport,
        *,
        instance: int,
        program: int,
        stores: tuple[int, ...] = (),
        spoken: Sequence[Spoken] = (),
        limits: Limits | None = None,
        allowances: Mapping[str, Allowance] = MappingProxyType({}),
        hello_wait: float = HELLO_WAIT,
    ) -> None:
        limits = limits or Limits()
        hello = Hello(
            flags=0,
            lowest=VERSION,
            highest=VERSION,
            program=program,
            extensions=(*sorted(spoken),),
            assembles=limits.reassembly_bytes,
            requests=limits.requests,
            stores=stores,
        )
        self.peers: dict[NodeId, PeerSession] = {}
        self.shared = Shared(
            host,
            transport,
            WithoutStore(host),
            OwnHello(hello, instance),
            self.peers,
            limits=limits,
            allowances=allowances,
            hello_wait=hello_wait,
        )

    def use_delivery(self, delivery: ReliableDelivery, stores: tuple[int, ...]) -> None:
        """Have reliable messages taken and sent from now on; ``stores`` are the numbers of where they are kept."""
        self.shared.delivery = delivery
        self.set_stores(stores)

    def set_stores(self, stores: tuple[int, ...]) -> None:
        """Say which stores we have, to all who know us, if it is not what was said before."""
        own = self.shared.own
        if stores != own.hello.stores:
            own.set(own.hello._replace(stores=stores))
            for peer in () if self.shared.left else self.peers.values():
                if peer.links or peer.waiting:  # who has just had the other may still be unknown
                    peer.post(own.answer())

    async def leave(self, seconds: float) -> None:
        """Tell all who know us that we end, where the connections stay; wait ``seconds`` at most until that is sent.

        Nothing is said afterwards that has them take us for alive.
        """
        self.shared.left = True
        if not self.shared.transport.shared:
            return
        told = [peer.leave(self.shared.own.farewell(), seconds / 2) for peer in self.peers.values()]
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*told, return_exceptions=True)
        except TimeoutError:
            logger.debug("not every peer was told that we end")

    # Peers come and go ------------------------------------------------------------------------------

    def peer_connected(self, node_id: NodeId) -> PeerSession:
        """Say hello, and return the peer's part of the session."""
        peer = self.peers[node_id] = PeerSession(self.shared, node_id)
        if not self.shared.left:
            peer.greet()
        return peer

    def peer_disconnected(self, node_id: NodeId, reason: str) -> None:
        """Fail all that is under way with a peer, and cancel what it asked for."""
        peer = self.peers.pop(node_id, None)
        if peer is not None:
            peer.close(reason)
        self.shared.delivery.peer_disconnected(node_id)

    def give_up(self, reason: str) -> None:
        """Fail what we ask of peers; what they ask for goes on."""
        for peer in self.peers.values():
            peer.give_up(reason)

    def close(self) -> None:
        """Stop the timer. Every peer should be gone."""
        self.shared.timer.close()
