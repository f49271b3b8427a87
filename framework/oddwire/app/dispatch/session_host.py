"""The application's side of the session layer: the contents of its hello, and dispatch of received frames."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oddwire.app.dispatch.policy import Outcome
from oddwire.app.dispatch.request_handlers import RequestHandlers
from oddwire.app.plugins.manager import Contribution
from oddwire.app.plugins.tables import Tables, vocabulary
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
    """Return the loaded extensions as our hello lists them."""
    return tuple(
        Spoken(owner.name, owner.versions, (*sorted({schema_of(message).type_id for message in vocabulary(owner)}),))
        for owner in owners
        if owner.versions
    )


def _by_type(tables: Tables, allowances: Mapping[str, Allowance]) -> dict[int, Allowance]:
    """Return allowances for long messages by type: of the extension that handles a type, else the first to claim it."""
    found: dict[int, Allowance] = {}
    for message, claimants in tables.claims.items():
        owner = tables.handlers[message][0] if message in tables.handlers else claimants[0]
        allowance = allowances.get(owner.name)
        if allowance is not None and allowance.has("transfers", "reassembly_bytes", "transfer_seconds"):
            found[schema_of(message).type_id] = allowance
    return found


class AppSessionHost:
    """The `SessionHost` of an application: passes requests to their handlers, and other messages to its sink.

    ``whole_received`` is called with a message reassembled from fragments.
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
            spoken=spoken(core.tables.owners),
            limits=core.limits,
            allowances={name: access.allowance for name, access in core.access.items()},
        )
        self._allowances = _by_type(core.tables, self.session.shared.allowances)

    def message_received(self, node_id: NodeId, payload: bytes) -> None:
        """Dispatch a message reassembled from fragments."""
        self._whole_received(node_id, payload)

    def reliable_refused(self, node_id: NodeId, payload: bytes, refusal: Refusal) -> None:
        """Log a reliable message that is refused because there is no store."""
        error = Refuse.of_session(refusal.text, refusal.code)
        if self._core.tracer is not None:
            self._core.tracer.count("received", node_id, payload, "refused")
        self._core.enforcer.refused(Outcome.DECLINED, node_id, error, payload)

    def malformed(self, node_id: NodeId, payload: bytes, error: MalformedMessage) -> None:
        """Apply the policy for malformed messages to a frame that violates the protocol."""
        queue = self._core.queues.get(node_id)
        if queue is not None:
            self._core.malformed(queue, payload, error)

    def throttle(self, node_id: NodeId, seconds: float) -> None:
        """Pause reading from a peer for some seconds."""
        queue = self._core.queues.get(node_id)
        if queue is not None:
            self._backpressure.throttle(queue, seconds)

    def is_paused(self, node_id: NodeId) -> bool:
        """Return whether reading from a peer is paused."""
        queue = self._core.queues.get(node_id)
        return queue is None or queue.paused

    def is_crowded(self, node_id: NodeId) -> bool:
        """Return whether a peer may not begin a transfer now."""
        return self._backpressure.is_crowded(self._core.queues.get(node_id))

    def max_size_of(self, type_id: int) -> int:
        """Return the maximum length of a message by its schema; 0 for an unregistered type."""
        schema = self._core.tables.registry.lookup(type_id)
        return 0 if schema is None else getattr(schema, "max_size", MAX_PAYLOAD)

    def title_of(self, type_id: int) -> str:
        """Return a message type's title for logs."""
        return self._core.tables.registry.title_of(type_id)

    def allowance_of(self, type_id: int) -> Allowance | None:
        """Return the allowance of the extension that handles a type, else of the first to claim it."""
        return self._allowances.get(type_id)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task of the application."""
        return self._core.spawn(work)
