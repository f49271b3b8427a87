"""Peer handles while an application starts: there are no connections yet, but reliable messages can be stored."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from oddwire.app.context import STARTING
from oddwire.errors import LocalProtocolError
from oddwire.schema import Message

if TYPE_CHECKING:
    from oddwire.app.dispatch.listeners import MessageStream
    from oddwire.app.dispatch.messenger import AppMessenger
    from oddwire.app.dispatch.peer_rpcs import PeerRpcs
    from oddwire.app.dispatch.questions import Match
    from oddwire.app.dispatch.resources import Resources
    from oddwire.app.extension import Extension
    from oddwire.app.plugins.manager import Contribution
    from oddwire.app.plugins.tables import Tables
    from oddwire.app.resending.again import Again, Pending
    from oddwire.app.resending.keys import Key
    from oddwire.proto.keys import NodeId
    from oddwire.session.peer.fragment_sender import Progress
    from oddwire.session.peer.peer_session import PeerSession
    from oddwire.session.reliable.receipt import Receipt
    from oddwire.transports.base import PeerInfo

__all__ = ["EarlyMessenger"]

M = TypeVar("M", bound=Message)


class EarlyMessenger:
    """The `Messenger` of peer handles created during the start; ``messenger`` is the running application's, once set.

    Every method passes the call on to that one. Before it is set, `send`, `request`, `stream`, `wait_for`, `messages`
    and `peer_rpc` raise `LocalProtocolError`.
    """

    def __init__(self, resources: Resources, tables: Tables) -> None:
        self._resources = resources
        self._tables = tables
        self.messenger: AppMessenger | None = None

    async def send(
        self,
        node_id: NodeId,
        message: Message,
        force: bool = False,
        since: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Send a message by the running application. Raises `LocalProtocolError` during the start."""
        await self._running().send(node_id, message, force, since, progress)

    async def send_raw(self, node_id: NodeId, payload: bytes, force: bool) -> None:
        """Send a payload by the running application. Raises `LocalProtocolError` during the start."""
        await self._running().send_raw(node_id, payload, force)

    async def deliver(self, node_id: NodeId, message: Message) -> Receipt:
        """Store a message until the peer has acknowledged it; works during the start, too."""
        if self.messenger is not None:
            return await self.messenger.deliver(node_id, message)
        receipt, _ = await self._resources.deliver(node_id, message)
        return receipt

    async def keep(self, node_id: NodeId, message: Message, again: Again, force: bool) -> None:
        """Store a message that is sent until it is settled; works during the start, too."""
        await self._resources.resending().keep(node_id, message, again, force)

    async def settle(self, node_id: NodeId, key: Key, extension: Extension | str | None) -> bool:
        """Settle a message that is sent again; works during the start, too."""
        return await self._resources.resending().settle(node_id, key, extension)

    async def pending(self, node_id: NodeId) -> list[Pending]:
        """Return what waits for a peer; works during the start, too."""
        return await self._resources.resending().pending(node_id)

    async def request(
        self,
        node_id: NodeId,
        message: Message,
        reply: Any,
        limit: float | None,
        force: bool,
        match: str | Match | None = None,
        plain: bool = False,
    ) -> Any:
        """Send a request by the running application. Raises `LocalProtocolError` during the start."""
        return await self._running().request(node_id, message, reply, limit, force, match, plain)

    async def wait_for(self, node_id: NodeId, classes: Any, match: Match | None, limit: float | None) -> Any:
        """Return the next message of some classes. Raises `LocalProtocolError` during the start."""
        return await self._running().wait_for(node_id, classes, match, limit)

    def messages(self, node_id: NodeId, classes: Any, match: Match | None) -> MessageStream[Any]:
        """Return a stream of the messages of some classes. Raises `LocalProtocolError` during the start."""
        return self._running().messages(node_id, classes, match)

    async def stream(
        self, node_id: NodeId, message: Message, part: type[M], limit: float | None, credit: int | None, force: bool
    ) -> AsyncGenerator[M, None]:
        """Yield the parts of a requested stream. Raises `LocalProtocolError` during the start."""
        async with aclosing(self._running().stream(node_id, message, part, limit, credit, force)) as parts:
            async for found in parts:
                yield found

    def info(self, node_id: NodeId) -> PeerInfo | None:
        """Return the `PeerInfo` of a connected peer, None for any other and during the start."""
        return None if self.messenger is None else self.messenger.info(node_id)

    def session_of(self, node_id: NodeId) -> PeerSession | None:
        """Return a connected peer's session, None without one and during the start."""
        return None if self.messenger is None else self.messenger.session_of(node_id)

    def owner_of(self, extension: Extension | str) -> Contribution:
        """Return the contribution of a loaded extension. Raises `ExtensionError`."""
        return self._tables.owner_of(extension)

    def peer_rpc(self, message: type[Message], extension: str) -> PeerRpcs:
        """Return the running application's JSON-RPC. Raises `LocalProtocolError` during the start."""
        return self._running().peer_rpc(message, extension)

    def _running(self) -> AppMessenger:
        if self.messenger is None:
            raise LocalProtocolError(STARTING)
        return self.messenger
