"""The policy for messages that cannot be handled: a table of outcomes, and the code that applies it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from oddwire.app.context import Context, Peer
from oddwire.app.declarations.malformed import Malformed
from oddwire.app.dispatch.failures import Failures
from oddwire.app.dispatch.hook_names import failed_hook
from oddwire.app.dispatch.peer_queue import PeerQueue
from oddwire.app.plugins.manager import HookCall
from oddwire.codecs.registry import Registry
from oddwire.durations import duration
from oddwire.errors import (
    CodecError,
    DecodeError,
    MalformedMessage,
    OddwireError,
    Refuse,
    ReplyTimeout,
)
from oddwire.exit_exceptions import must_pass
from oddwire.log_limits import cut, get_logger
from oddwire.printable import printable
from oddwire.proto.keys import NodeId
from oddwire.schema import Message
from oddwire.session.wire.frame_types import describe_code
from oddwire.transports.base import Transport

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.dispatch.tracing import Tracer
    from oddwire.app.insight.watch import Watch
    from oddwire.session.reliable.outbox_state import Loss

__all__ = ["POLICY", "Enforcer", "Outcome", "Policy", "decode_error", "title_of"]

logger = get_logger("oddwire.app")


class Outcome(Enum):
    """The ways in which the handling of a message can fail."""

    UNKNOWN_ODD = "unknown odd type"
    UNKNOWN_EVEN = "unknown even type"
    MALFORMED = "malformed message"
    UNHANDLED = "message without a handler"
    UNASKED = "reply that nobody asked for"
    NOT_ALLOWED = "message not allowed"
    REFUSED = "message refused"
    DECLINED = "reliable message refused for good"
    UNDELIVERED = "reliable message not delivered"
    UNSETTLED = "message not settled"
    DROPPED = "messages not handled"
    HANDLER_RAISED = "handler failed"


class Policy(NamedTuple):
    """The reaction to an outcome: the log level, and whether to warn the peer, to disconnect, to call the failure hook.

    That hook is `handler_failed`, or `delivery_failed` for messages of ours that were not delivered or settled.
    """

    log: int
    warn: bool = False
    disconnect: bool = False
    report: bool = False


# Where the transport can neither warn nor hang up (lightningd's custom messages), those columns do nothing.
POLICY: Final = {
    Outcome.UNKNOWN_ODD: Policy(logging.DEBUG),  # BOLT 1: it's OK to be odd
    Outcome.UNKNOWN_EVEN: Policy(logging.INFO, warn=True, disconnect=True),  # BOLT 1: must close the connection
    Outcome.MALFORMED: Policy(logging.INFO, warn=True),
    Outcome.UNHANDLED: Policy(logging.DEBUG),  # of a known type: a reply may come after its request has timed out
    Outcome.UNASKED: Policy(logging.WARNING),  # once for each class and connection: requests for it are refused now
    Outcome.NOT_ALLOWED: Policy(logging.DEBUG),
    Outcome.REFUSED: Policy(logging.INFO),  # the peer gets the refusal, if the message was a request
    Outcome.DECLINED: Policy(logging.WARNING),  # the peer gets the refusal, and the message is lost
    Outcome.UNDELIVERED: Policy(logging.WARNING, report=True),  # one of ours: its receipt may not be awaited any more
    Outcome.UNSETTLED: Policy(logging.WARNING, report=True),  # one of ours that was sent again until it was too old
    Outcome.DROPPED: Policy(logging.WARNING),  # the application closed before they were handled
    Outcome.HANDLER_RAISED: Policy(logging.ERROR, report=True),  # the peer gets no warning; a request fails
}

_MAX_REASON: Final = 1000  # characters: the text may quote the peer


def decode_error(payload: bytes, error: Exception, registry: Registry) -> DecodeError:
    """Return ``error`` if it is a `DecodeError`, else a `MalformedMessage` instead; with the message's name set."""
    type_id = int.from_bytes(payload[:2], "big")
    title = registry.title_of(type_id)
    if not isinstance(error, DecodeError):
        logger.error("the codec of %s raised an unexpected exception", title, exc_info=error)
        error = MalformedMessage("cannot be decoded", type_id=type_id)
    if not error.name and error.type_id == type_id and registry.lookup(type_id) is not None:
        error.name = title.rpartition(" ")[0]  # a custom codec may not have set it
    return error


class Enforcer:
    """Applies `POLICY`: logs, warns, disconnects, and calls the failure hooks."""

    def __init__(
        self,
        app: Application,
        transport: Transport,
        failures: Failures,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        *,
        on_loss: Sequence[HookCall] = (),
    ) -> None:
        self._app = app
        self._transport = transport
        self._failures = failures
        self._on_loss = (*on_loss,)
        self._spawn = spawn
        self._tracer: Tracer | None = None
        self.watches: tuple[Watch[Any], ...] = ()
        """Who is told of lost messages for a while."""

    def use_tracer(self, tracer: Tracer | None) -> None:
        """Trace refusals by this tracer from now on."""
        self._tracer = tracer

    @cached_property
    def _names(self) -> dict[int, str]:
        return {schema.type_id: name for name, schema in self._app.registry.by_name.items()}

    def describe(self, payload: bytes) -> str:
        """Return a message's title for logs: ``shop.Order 0x8c01``, or ``type 0x8c01`` for an unregistered type."""
        if len(payload) < 2:
            return "a message that is not stored any more"
        type_id = int.from_bytes(payload[:2], "big")
        return f"{self._names.get(type_id, 'type')} {type_id:#06x}"

    def apply(self, outcome: Outcome, queue: PeerQueue, text: str, payload: bytes) -> None:
        """Apply the policy to a payload that reaches no handler; ``text`` is the reason."""
        policy = POLICY[outcome]
        reason = cut(f"{outcome.value}: {text}", _MAX_REASON)
        logger.log(policy.log, "%s from %s", reason, queue.peer, extra=_about(payload))
        if policy.warn:
            self._transport.warn(queue.peer.node_id, reason)
        if policy.disconnect:
            queue.hung_up = True
            self._spawn(self._hang_up(queue, reason))

    def refused(
        self,
        outcome: Outcome,
        node_id: NodeId,
        refusal: Refuse,
        payload: bytes = b"",
        message: Message | None = None,
        extension: str = "",
    ) -> None:
        """Log and trace a refused message of a known type; ``payload`` may be omitted if ``message`` is given."""
        policy = POLICY[outcome]
        if not payload and message is not None and (self._tracer is not None or logger.isEnabledFor(policy.log)):
            payload = _encoded(self._app, message)
        if logger.isEnabledFor(policy.log):
            by = f" by {extension!r}" if extension else ""
            what, why = self.describe(payload), printable(str(refusal)) or "without a text"
            code = describe_code(refusal.code)
            text, about = "%s%s: %s from %s, with %s: %s", _about(payload, extension)
            logger.log(policy.log, text, outcome.value, by, what, node_id, code, why, extra=about)
        if self._tracer is not None:
            self._tracer.trace("refused", node_id, payload, message, error=refusal)

    def undelivered(self, loss: Loss, extension: str) -> None:
        """Log the loss of one of our reliable messages, and call `delivery_failed`.

        ``extension`` is the name of the one that sent it, empty if that is not loaded.
        """
        policy, error = POLICY[Outcome.UNDELIVERED], loss.failure()
        logger.log(
            policy.log,
            "%s: %s%s to %s, with %s: %s; it was %s old",
            Outcome.UNDELIVERED.value,
            self.describe(loss.payload),
            f" of {extension!r}" if extension else "",
            loss.node_id,
            describe_code(loss.code),
            printable(str(error)) or "without a text",
            "an unknown time" if loss.age is None else duration(round(loss.age, 2)),
            extra=_about(loss.payload, extension),
        )
        self._report_loss(policy, loss.node_id, extension, loss.payload, error)

    def unsettled(self, node_id: NodeId, extension: str, payload: bytes, key: object, age: float, sent: int) -> None:
        """Log that one of our messages, sent again until now, has expired, and call `delivery_failed`.

        ``extension`` is the name of the one that sent it, empty if that is not loaded; ``sent`` is how often this
        process has sent it.
        """
        policy, old = POLICY[Outcome.UNSETTLED], duration(round(age, 2))
        what, count = self.describe(payload), f"{sent} time{'' if sent == 1 else 's'}"
        logger.log(
            policy.log,
            "%s: %s%s to %s, key %s; it was %s old, and sent %s since the start",
            Outcome.UNSETTLED.value,
            what,
            f" of {extension!r}" if extension else "",
            node_id,
            printable(repr(key)),
            old,
            count,
            extra=_about(payload, extension),
        )
        error = ReplyTimeout(f"{what} to {node_id} was not settled within {old}", timeout=age)
        self._report_loss(policy, node_id, extension, payload, error)

    def _report_loss(
        self, policy: Policy, node_id: NodeId, extension: str, payload: bytes, error: OddwireError
    ) -> None:
        if (self._on_loss or self.watches) and policy.report:
            try:
                message = self._app.registry.decode(payload)
            except DecodeError:
                message = None  # its class has changed, or is not registered any more
            peer = self._app.peer(node_id)
            for watch in self.watches:
                watch.delivery_failed(peer, extension, message, error)
            if self._on_loss:
                self._spawn(self._report(peer, extension, message, error))

    async def _report(self, peer: Peer, extension: str, message: Message | None, error: OddwireError) -> None:
        task = asyncio.current_task()
        try:
            for call in self._on_loss:
                try:
                    await call.finish(app=self._app, peer=peer, extension=extension, message=message, error=error)
                except BaseException as failure:
                    context = Context(self._app, call.plugin, peer)
                    self.failed(context, None, failure, task=task, what=call.hook, lost=message)
        finally:
            del task  # a task that ends by an exception keeps this frame

    def dropped(self, node_id: NodeId, count: int) -> None:
        """Log how many messages of a peer were not handled before the application closed."""
        logger.log(POLICY[Outcome.DROPPED].log, "%d %s before the end, from %s", count, Outcome.DROPPED.value, node_id)

    def failed(
        self,
        context: Context,
        message: object,
        error: BaseException,
        ending: bool = True,
        task: asyncio.Task[Any] | None = None,
        *,
        what: str = "",
        lost: Message | None = None,
    ) -> None:
        """Log an exception of extension code and call `handler_failed`, or raise it again if it must propagate.

        ``what`` names the code, where no ``message`` was handled, and ``lost`` the message of ours that it was told of.

        These do not propagate: `SystemExit`, a `KeyboardInterrupt` without a signal, and a `GeneratorExit` that the
        code has raised in its own ``task``, because a message must not be able to end the application; and the
        cancellation of a task that is not ``ending``, because then a handler has cancelled its own task. A handler's
        `Refuse` is no failure: it is logged as a refusal.
        """
        if must_pass(error, task) and (ending or not isinstance(error, asyncio.CancelledError)):
            try:
                raise error
            finally:
                del error, task  # the error's traceback refers to this frame: avoids a reference cycle
        handled = message if isinstance(message, Message) else None
        payload = message if isinstance(message, bytes) else b""  # of a type without a message class
        if isinstance(message, Malformed):
            payload = message.payload
        if isinstance(error, Refuse) and message is not None:
            self.refused(Outcome.REFUSED, context.peer.node_id, error, payload, handled, extension=context.extension)
            return
        policy = POLICY[Outcome.HANDLER_RAISED]
        if handled is not None or payload:
            what = f"handler of {title_of(message)}"
        else:
            what = failed_hook(error) or what or "hook"
            if lost is not None:
                what += f" for {title_of(lost)}"
        self._failures.report(what, context, error, handled, level=policy.log, report=policy.report)

    async def _hang_up(self, queue: PeerQueue, reason: str) -> None:
        try:
            await self._transport.disconnect(queue.peer.node_id, reason)
        except OddwireError as error:
            logger.warning("cannot disconnect %s: %s", queue.peer, error)
        finally:
            queue.hung_up = False  # a transport that cannot disconnect ignores this


def title_of(message: object) -> str:
    """Return the name of what a handler receives, for logs: its class, the type of a payload without, a method."""
    if isinstance(message, bytes):
        return f"type {int.from_bytes(message[:2], 'big'):#06x}"
    if isinstance(message, Malformed):
        return f"malformed {message.error.name or 'message'}"
    method: str | None = getattr(message, "_method", None)  # of `RpcDocument`, which few programs import
    return method or type(message).__name__


def _about(payload: bytes, extension: str = "") -> dict[str, object]:
    """Return what a log record says of a message besides its text: its type and its extension, where they are known."""
    about: dict[str, object] = {"extension": extension} if extension else {}
    if len(payload) >= 2:
        about["type"] = int.from_bytes(payload[:2], "big")
    return about


def _encoded(app: Application, message: Message) -> bytes:
    """Return a message encoded again, where its payload is not at hand; empty if it cannot be encoded any more."""
    try:
        return app.registry.encode(message)
    except CodecError:  # the handler has modified the message
        return b""
