"""Handles of peers while an application starts: there is no connection yet, but what is sent reliably can wait."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, TypeVar

from oddwire.app.context import STARTING
from oddwire.app.dispatch.requests import Requests
from oddwire.errors import LocalProtocolError
from oddwire.schema import Message

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.dispatch.dispatcher import Dispatcher
    from oddwire.app.extension import Extension
    from oddwire.app.plugins.manager import Contribution
    from oddwire.app.plugins.router import Router
    from oddwire.session.peer.fragment_sender import Progress
    from oddwire.session.peer.peer_session import PeerSession
    from oddwire.session.reliable.receipt import Receipt
    from oddwire.transports.base import NodeId, PeerInfo

__all__ = ["EarlyMessenger"]

M = TypeVar("M", bound=Message)


class _EarlyRequests(Requests):
    """Refuses what needs a connection."""

    def __init__(self, app: Application, router: Router) -> None:
        self._app = app
        self._router = router

    async def request(self, node_id: NodeId, message: Message, reply: type[M], limit: float | None, force: bool) -> M:
        """Say that it is too early."""
        raise LocalProtocolError(STARTING)

    async def stream(
        self, node_id: NodeId, message: Message, part: type[M], limit: float | None, credit: int | None, force: bool
    ) -> AsyncGenerator[M, None]:
        """Say that it is too early."""
        none: tuple[M, ...] = ()
        for one in none:
            yield one
        raise LocalProtocolError(STARTING)

    async def deliver(self, node_id: NodeId, message: Message) -> Receipt:
        """Keep a message until the peer is there and has it."""
        payload = self._router.outgoing[type(message)].encode(message)
        owner = self._router.claims[type(message)][0].name
        return await self._app.services.deliveries().send(node_id, owner, payload)


class EarlyMessenger:
    """What handles that were made meanwhile go to: the application's dispatcher, once there is one."""

    def __init__(self, app: Application, router: Router) -> None:
        self._app = app
        self._router = router
        self._requests = _EarlyRequests(app, router)
        self.dispatcher: Dispatcher | None = None

    @property
    def requests(self) -> Requests:
        """What asks."""
        return self._requests if self.dispatcher is None else self.dispatcher.requests

    async def send(
        self,
        node_id: NodeId,
        message: Message,
        force: bool = False,
        since: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Send one message, if it is not too early."""
        if self.dispatcher is None:
            raise LocalProtocolError(STARTING)
        await self.dispatcher.send(node_id, message, force, since, progress)

    def info(self, node_id: NodeId) -> PeerInfo | None:
        """Tell what is known of a connected peer."""
        return None if self.dispatcher is None else self.dispatcher.info(node_id)

    def session_of(self, node_id: NodeId) -> PeerSession | None:
        """Return a connected peer's part of the session."""
        return None if self.dispatcher is None else self.dispatcher.session_of(node_id)

    def owner_of(self, extension: Extension | str) -> Contribution:
        """Find a loaded extension."""
        return self._router.owner_of(extension)
