"""The peers that LND is to stay connected to: connected again whenever they, or LND, were lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from oddwire.errors import TransportError
from oddwire.log_limits import get_logger
from oddwire.proto.addresses import NodeUri
from oddwire.proto.keys import NodeId
from oddwire.transports.lnd.limits import LndLimits
from oddwire.transports.redial import Redial

__all__ = ["KeptPeers"]

logger = get_logger("oddwire.transports.lnd")


class KeptPeers:
    """Peers by their URIs; several of one node are tried in turn.

    ``up`` waits until LND is there, ``connect`` has it connect, raising `TransportError`, and ``is_connected`` says
    whether a peer is.
    """

    def __init__(
        self,
        up: Callable[[], Awaitable[None]],
        connect: Callable[[NodeUri], Awaitable[object]],
        is_connected: Callable[[NodeId], bool],
        limits: LndLimits,
    ) -> None:
        self._up = up
        self._connect = connect
        self._is_connected = is_connected
        self._limits = limits
        self._redials: dict[NodeId, Redial] = {}

    def keep(self, uri: NodeUri) -> None:
        """Keep a peer connected from now on."""
        redial = self._redials.get(uri.node_id)
        if redial is None:
            first, most = self._limits.redial_first, self._limits.redial_most
            redial = Redial(uri.node_id, self._dial, self._is_connected, first, most, logger)
            self._redials[uri.node_id] = redial
        redial.add(uri)
        redial.start()

    def changed(self, peer: NodeId) -> None:
        """Note that a peer connected or disconnected."""
        redial = self._redials.get(peer)
        if redial is not None:
            redial.wake()

    async def aclose(self) -> None:
        """Stop for good; an attempt under way is cancelled. Idempotent."""
        for redial in self._redials.values():
            await redial.aclose()

    async def _dial(self, uris: Iterable[NodeUri]) -> None:
        await self._up()
        errors = []
        for uri in uris:
            try:
                await self._connect(uri)
            except TransportError as error:
                errors.append(f"{uri}: {error}")
            else:
                return
        raise TransportError("; ".join(errors))
