"""The application's side of the session: what it says of itself, and what becomes of what peers send."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oddwire.app.dispatch.policy import Outcome
from oddwire.app.dispatch.request_handlers import RequestHandlers
from oddwire.app.plugins.manager import Contribution
from oddwire.app.plugins.router import Router, vocabulary
from oddwire.errors import MalformedMessage, Refuse
from oddwire.proto.keys import NodeId
from oddwire.schema import schema_of
from oddwire.session.limits import Allowance
from oddwire.session.session import Session
from oddwire.session.wire.frame_types import Refusal, Spoken
from oddwire.transports.base import MAX_PAYLOAD

if TYPE_CHECKING:
    from oddwire.app.dispatch.core import Core
    from oddwire.app.limits.backpressure import Backpressure

__all__ = ["AppSessionHost", "spoken"]


def spoken(owners: Sequence[Contribution]) -> tuple[Spoken, ...]:
    """Return what our hello says of the loaded extensions."""
    return tuple(
        Spoken(owner.name, owner.versions, (*sorted({schema_of(message).type_id for message in vocabulary(owner)}),))
        for owner in owners
        if owner.versions
    )


def _by_type(router: Router, allowances: Mapping[str, Allowance]) -> dict[int, Allowance]:
    """Return what holds for long messages: that of the extension which handles a type, or else claimed it first."""
    found: dict[int, Allowance] = {}
    for message, claimants in router.claims.items():
        owner = router.handlers[message][0] if message in router.handlers else claimants[0]
        allowance = allowances.get(owner.name)
        if allowance is not None and allowance.has("transfers", "reassembly_bytes", "transfer_seconds"):
            found[schema_of(message).type_id] = allowance
    return found


class AppSessionHost:
    """The `SessionHost` of an application: requests go to their handlers, other messages to its sink.

    ``whole_received`` takes a message that came in fragments.
    """

    def __init__(
        self, core: Core, backpressure: Backpressure, whole_received: Callable[[NodeId, bytes], object]
    ) -> None:
        self._core = core
        self._backpressure = backpressure
        self._whole_received = whole_received
        self.request_received = RequestHandlers(core, backpressure).request_received
        self.session = Session(
            self,
            core.transport,
            instance=int.from_bytes(os.urandom(4), "big") or 1,
            program=core.app.program,
            stores=core.resources.store_numbers(),
            spoken=spoken(core.router.owners),
            limits=core.limits,
            allowances={name: access.allowance for name, access in core.access.items()},
        )
        self._allowances = _by_type(core.router, self.session.shared.allowances)

    def message_received(self, node_id: NodeId, payload: bytes) -> None:
        """Take a message that came in fragments as if it had come whole."""
        self._whole_received(node_id, payload)

    def reliable_refused(self, node_id: NodeId, payload: bytes, refusal: Refusal) -> None:
        """Tell of a reliable message that is refused for want of a store."""
        error = Refuse(refusal.text, code=refusal.code)
        self._core.enforcer.refused(Outcome.DECLINED, node_id, error, payload)

    def malformed(self, node_id: NodeId, payload: bytes, error: MalformedMessage) -> None:
        """Deal with a frame that breaks the protocol's rules as with any malformed message."""
        queue = self._core.queues.get(node_id)
        if queue is not None:
            self._core.malformed(queue, payload, error)

    def throttle(self, node_id: NodeId, seconds: float) -> None:
        """Read a peer later."""
        queue = self._core.queues.get(node_id)
        if queue is not None:
            self._backpressure.throttle(queue, seconds)

    def is_paused(self, node_id: NodeId) -> bool:
        """Say whether a peer is read later."""
        queue = self._core.queues.get(node_id)
        return queue is None or queue.paused

    def is_crowded(self, node_id: NodeId) -> bool:
        """Say whether a peer should begin no transfer now."""
        return self._backpressure.is_crowded(self._core.queues.get(node_id))

    def max_size_of(self, type_id: int) -> int:
        """Return how long a message may be: as its schema says; nobody takes one without."""
        schema = self._core.router.registry.lookup(type_id)
        return 0 if schema is None else getattr(schema, "max_size", MAX_PAYLOAD)

    def title_of(self, type_id: int) -> str:
        """Return what a type is called."""
        return self._core.router.registry.title_of(type_id)

    def allowance_of(self, type_id: int) -> Allowance | None:
        """Return the allowance of the extension that handles a type, or else claimed it first."""
        return self._allowances.get(type_id)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task of the application's."""
        return self._core.spawn(work)
