"""The messenger of an application whose extensions limit their own open requests to a peer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from oddwire.app.dispatch.messenger import AppMessenger
from oddwire.app.dispatch.questions import Match
from oddwire.app.limits.access import AccessControl
from oddwire.proto.keys import NodeId
from oddwire.schema import Message

if TYPE_CHECKING:
    from oddwire.app.dispatch.core import Core
    from oddwire.app.limits.backpressure import Backpressure

__all__ = ["LimitedMessenger", "messenger_of"]

M = TypeVar("M", bound=Message)


class LimitedMessenger(AppMessenger):
    """Counts our requests per extension: that of the request's message, or the first of several that claim it."""

    def __init__(self, core: Core, backpressure: Backpressure, limited: dict[type[Message], AccessControl]) -> None:
        super().__init__(core, backpressure)
        self._limited = limited

    def _counted(self, node_id: NodeId, message: Message) -> AbstractContextManager[None]:
        access = self._limited.get(type(message))
        return nullcontext() if access is None else access.count_request(node_id)

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
        """As `AppMessenger.request`. Raises `QuotaExceeded` if the extension has too many open requests."""
        with self._counted(node_id, message):
            return await super().request(node_id, message, reply, limit, force, match, plain)

    async def stream(
        self, node_id: NodeId, message: Message, part: type[M], limit: float | None, credit: int | None, force: bool
    ) -> AsyncGenerator[M, None]:
        """As `AppMessenger.stream`, with at most the extension's credit. Raises as `request` does."""
        access = self._limited.get(type(message))
        if access is not None and access.allowance.has("stream_credit"):
            most = access.allowance.limits.stream_credit
            credit = most if credit is None else min(credit, most)
        with self._counted(node_id, message):
            async with aclosing(super().stream(node_id, message, part, limit, credit, force)) as parts:
                async for found in parts:
                    yield found


def messenger_of(core: Core, backpressure: Backpressure) -> AppMessenger:
    """Return an application's messenger, with request quotas if an extension has them."""
    owners = {
        name: access for name, access in core.access.items() if access.allowance.has("open_requests", "stream_credit")
    }
    if not owners:
        return AppMessenger(core, backpressure)
    claims = core.tables.claims
    limited = {message: owners[first.name] for message, (first, *_) in claims.items() if first.name in owners}
    return LimitedMessenger(core, backpressure, limited)
