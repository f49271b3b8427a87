"""Our side of requests in an application whose extensions limit what they ask of a peer; the others do without."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import TYPE_CHECKING, TypeVar

from oddwire.app.dispatch.requests import Requests
from oddwire.app.limits.access import AccessControl
from oddwire.schema import Message
from oddwire.transports.base import NodeId

if TYPE_CHECKING:
    from oddwire.app.dispatch.dispatcher import Dispatcher

__all__ = ["LimitedRequests", "requests_of"]

M = TypeVar("M", bound=Message)


class LimitedRequests(Requests):
    """Counts requests for the extensions whose messages they are: the first, of several."""

    def __init__(self, dispatcher: Dispatcher, guards: dict[type[Message], AccessControl]) -> None:
        super().__init__(dispatcher)
        self._guards = guards

    def _counted(self, node_id: NodeId, message: Message) -> AbstractContextManager[None]:
        guard = self._guards.get(type(message))
        return nullcontext() if guard is None else guard.count_request(node_id)

    async def request(self, node_id: NodeId, message: Message, reply: type[M], limit: float | None, force: bool) -> M:
        """Do as `Requests.request` does. Raises `QuotaExceeded` for one too many of an extension's."""
        with self._counted(node_id, message):
            return await super().request(node_id, message, reply, limit, force)

    async def stream(
        self, node_id: NodeId, message: Message, part: type[M], limit: float | None, credit: int | None, force: bool
    ) -> AsyncGenerator[M, None]:
        """Do as `Requests.stream` does, with no more credit than the extension has. Raises as `request` does."""
        guard = self._guards.get(type(message))
        if guard is not None and guard.allowance.has("stream_credit"):
            most = guard.allowance.limits.stream_credit
            credit = most if credit is None else min(credit, most)
        with self._counted(node_id, message):
            async with aclosing(super().stream(node_id, message, part, limit, credit, force)) as parts:
                async for found in parts:
                    yield found


def requests_of(dispatcher: Dispatcher) -> Requests:
    """Make what an application asks its peers with."""
    limited = {
        name: guard
        for name, guard in dispatcher.guards.items()
        if guard.allowance.has("open_requests", "stream_credit")
    }
    if not limited:
        return Requests(dispatcher)
    claims = dispatcher.router.claims
    guards = {message: limited[first.name] for message, (first, *_) in claims.items() if first.name in limited}
    return LimitedRequests(dispatcher, guards)
