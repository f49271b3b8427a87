"""Lookup and running of the handlers of reliable messages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from oddwire.app.context import Context, ThingsNotThere
from oddwire.app.declarations.malformed import Malformed
from oddwire.app.dispatch.policy import Outcome, decode_error
from oddwire.app.insight.counts import fate_of
from oddwire.app.insight.handler_times import timed_route
from oddwire.app.plugins.tables import Route
from oddwire.errors import Refuse
from oddwire.exit_exceptions import must_pass, spelled
from oddwire.proto.keys import NodeId
from oddwire.schema import Message
from oddwire.session.reliable.inbox import ATTEMPTS, NotNow
from oddwire.session.wire.frame_types import Code, Refusal

if TYPE_CHECKING:
    from oddwire.app.dispatch.connection_hooks import ConnectionHooks
    from oddwire.app.dispatch.core import Core
    from oddwire.session.reliable.outbox_state import Loss

__all__ = ["ReliableHandlers"]

_REFUSING: Final = 250e-6  # seconds of work charged for a refused message, in addition to the measured time
_UNMEASURED: Final = 2048  # bytes of a message up to which decoding is too cheap to be charged
_OUTCOMES: Final[Mapping[int, str]] = {
    Code.MALFORMED: "malformed",
    Code.UNSUPPORTED: "unhandled",
    Code.INTERNAL: "failed",
}
_TURN: Final = 64  # messages handled before the task yields to the event loop


class ReliableHandlers:
    """The `DeliveryHost` for an application's handlers."""

    def __init__(self, core: Core, hooks: ConnectionHooks) -> None:
        self._core = core
        self._hooks = hooks
        self._admitted = 0

    async def admit(self, node_id: NodeId, payload: bytes) -> None:
        """Wait until a message may be handled: after its extension's on_connect, and within the peer's time share."""
        core = self._core
        queue, route = core.queues.get(node_id), core.routes.get(payload[:2])
        if queue is not None and route is not None and queue.pending_hooks is not None:
            await self._hooks.until(queue, route.owner)
        self._admitted += 1
        if not self._admitted % _TURN:
            await asyncio.sleep(0)
        if core.takes_turns:
            await core.transport.turn(node_id)

    def handler_of(self, node_id: NodeId, payload: bytes) -> tuple[str, Callable[[], Awaitable[object]]]:
        """Return the name of a message's extension, and its handler bound to the message. Raises `Refuse`."""
        if len(payload) <= _UNMEASURED:
            return self._handler_of(node_id, payload)
        with self._core.charging(node_id, payload):
            return self._handler_of(node_id, payload)

    def _handler_of(self, node_id: NodeId, payload: bytes) -> tuple[str, Callable[[], Awaitable[object]]]:
        core = self._core
        route, message = self._read(payload)
        queue, owner = core.queues.get(node_id), core.owner_name(route.owner)
        if queue is None:
            context = Context(core.app, owner, core.app.peer(node_id))
        else:
            context = queue.contexts[route.owner] or core.context(queue, route.owner)
        if core.tracer is not None:
            error, whole = (message.error, None) if isinstance(message, Malformed) else (None, message)
            core.tracer.trace("received", node_id, payload, whole, error=error)
        return owner, partial(self._handle, route, context, message, payload)

    def attempt_failed(self, node_id: NodeId, payload: bytes, error: Exception, attempt: int) -> None:
        """Log a handler's exception and call `handler_failed`."""
        core = self._core
        with core.charging(node_id, payload):
            route, message = self._read(payload)
        context = Context(core.app, core.owner_name(route.owner), core.app.peer(node_id))
        core.enforcer.failed(context, message, error)

    def reliable_refused(self, node_id: NodeId, payload: bytes, refusal: Refusal) -> None:
        """Log and trace a received message that is refused for good."""
        core = self._core
        route = core.routes.get(payload[:2])
        owner = "" if route is None else core.owner_name(route.owner)
        if core.tracer is not None:
            outcome = _OUTCOMES.get(refusal.code, "refused")
            if refusal.code == Code.UNKNOWN_MESSAGE:
                outcome = core.tracer.nobodys(payload)
            core.tracer.count("received", node_id, payload, outcome)
        text = refusal.text or (f"its handler failed {ATTEMPTS} times" if refusal.code == Code.INTERNAL else "")
        error = Refuse.of_session(text, refusal.code)
        with core.charging(node_id, payload, _REFUSING):
            core.enforcer.refused(Outcome.DECLINED, node_id, error, payload, extension=owner)

    def lost(self, loss: Loss, extension: str) -> None:
        """Log the loss of one of our messages and call `delivery_failed`."""
        self._core.enforcer.undelivered(loss, extension)

    def _read(self, payload: bytes) -> tuple[Route, Message | Malformed]:
        registry, route = self._core.tables.registry, self._core.routes.get(payload[:2])
        if route is None or route.handler is None or route.reliable is None:
            title = registry.title_of(int.from_bytes(payload[:2], "big"))
            if route is None or route.handler is None:
                raise Refuse.of_session(f"{title} is not handled here", Code.UNKNOWN_MESSAGE)
            text = f"{title} is not accepted as a reliable message here: its handler is not one for reliable messages"
            raise Refuse.of_session(text, Code.UNSUPPORTED)
        try:
            return route, route.decode(payload)
        except Exception as error:
            wrong = decode_error(payload, error, registry)
            if route.malformed:
                return route, Malformed(payload, wrong)
            raise Refuse.of_session(str(wrong), Code.MALFORMED) from error

    async def _handle(self, route: Route, context: Context, message: Message | Malformed, payload: bytes) -> None:
        me = asyncio.current_task()
        try:
            if route.access is not None:
                await route.access.admit_later(context.peer, len(payload), route.rate)
            if (counts := self._core.counts) is not None:
                times = counts.times(context.extension, int.from_bytes(payload[:2], "big"))
                route = timed_route(route, times, fate_of)
            assert route.reliable is not None  # noqa: S101 - narrows the type for checkers
            reply = await route.reliable(context, message)
        except ThingsNotThere as error:
            raise NotNow(str(error)) from error  # no fault of the message
        except (Exception, asyncio.CancelledError):
            raise
        except BaseException as error:
            if must_pass(error, me):
                raise
            raise RuntimeError(f"the handler raised {spelled(error)}") from error
        finally:
            del me
        if self._core.resender is not None and isinstance(message, Message):
            self._core.resender.delivered(context.peer.node_id, message)
        if reply is not None:
            await context.peer.deliver(reply)
        if self._core.tracer is not None:
            self._core.tracer.count("received", context.peer.node_id, payload, "ok")
