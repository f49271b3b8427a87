"""The sessions with all peers: created when a peer connects, closed when it disconnects; and what they share."""

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
"""Seconds after the connection until a peer that sent no hello is taken for one without the session protocol."""
logger = get_logger("oddwire.session")


class Session:
    """The sessions with all peers of one application.

    ``instance`` is the address of this process: u32, random, not 0, a new one for each start. ``program`` is the u64
    that stays the same over restarts, ``stores`` are the numbers of the stores of its reliable messages. ``spoken`` are
    our extensions. ``limits`` apply to every peer, ``allowances`` within them to extensions, by name.

    ``hello_wait`` is how many seconds after the connection, or after the end of one of the peer's programs, further
    hellos are awaited. Peers' reliable messages are refused until `use_delivery` is called.
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
        """Use ``delivery`` for reliable messages from now on; ``stores`` are the numbers of its stores."""
        self.shared.delivery = delivery
        self.set_stores(stores)

    def set_stores(self, stores: tuple[int, ...]) -> None:
        """Announce our stores in a hello to all peers that have ours, if they differ from those announced before."""
        own = self.shared.own
        if stores != own.hello.stores:
            own.set(own.hello._replace(stores=stores))
            for peer in () if self.shared.left else self.peers.values():
                if peer.links or peer.waiting:  # a peer that is still unknown may have the old hello
                    peer.post(own.answer())

    async def leave(self, seconds: float) -> None:
        """Send a hello with *leaving* to all peers that have our hello, where connections outlive us.

        Waits for at most ``seconds`` until it is sent. No hello is sent after it, as it would begin a new session.
        """
        self.shared.left = True
        if not self.shared.transport.shared:
            return
        sending = [peer.leave(self.shared.own.leaving(), seconds / 2) for peer in self.peers.values()]
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*sending, return_exceptions=True)
        except TimeoutError:
            logger.debug("not every peer was sent our last hello")

    # Peers come and go ------------------------------------------------------------------------------

    def peer_connected(self, node_id: NodeId) -> PeerSession:
        """Create the session part of a peer that has connected, and send our hello."""
        peer = self.peers[node_id] = PeerSession(self.shared, node_id)
        if not self.shared.left:
            peer.send_hello()
        return peer

    def peer_disconnected(self, node_id: NodeId, reason: str) -> None:
        """End all sessions with a peer: fail our requests, cancel the handlers of its requests, drop transfers."""
        peer = self.peers.pop(node_id, None)
        if peer is not None:
            peer.close(reason)
        self.shared.delivery.peer_disconnected(node_id)

    def fail_requests(self, reason: str) -> None:
        """Fail our open requests with `ConnectionClosed`; handlers of peers' requests go on."""
        for peer in self.peers.values():
            peer.fail_requests(reason)

    def close(self) -> None:
        """Stop the timer. Call it once every peer has disconnected."""
        self.shared.timer.close()
