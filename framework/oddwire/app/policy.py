"""What happens when a message cannot be handled: one table, and what carries it out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from oddwire.app.context import Context
from oddwire.app.interrupts import must_pass
from oddwire.app.lane import Lane
from oddwire.app.plugins import HookCall
from oddwire.codecs.registry import Registry
from oddwire.errors import ConnectionClosed, DecodeError, MalformedMessage, OddwireError, PeerNotConnected, Refuse
from oddwire.schema import Message
from oddwire.transports.base import Transport

if TYPE_CHECKING:
    from oddwire.app.application import Application

__all__ = ["POLICY", "Enforcer", "Outcome", "Policy", "decode_error"]

logger = logging.getLogger("oddwire.app")


class Outcome(Enum):
    """What can go wrong with one message."""

    UNKNOWN_ODD = "unknown odd type"
    UNKNOWN_EVEN = "unknown even type"
    MALFORMED = "malformed message"
    HANDLER_RAISED = "handler failed"


class Policy(NamedTuple):
    """What to do about it: how loud to log, and whether to warn the peer, to hang up, to call `handler_failed`."""

    log: int
    warn: bool = False
    disconnect: bool = False
    report: bool = False


# Where the transport can neither warn nor hang up (lightningd's custom messages), those columns do nothing.
POLICY: Final = {
    Outcome.UNKNOWN_ODD: Policy(logging.DEBUG),  # BOLT 1: it's OK to be odd
    Outcome.UNKNOWN_EVEN: Policy(logging.INFO, warn=True, disconnect=True),  # BOLT 1: must close the connection
    Outcome.MALFORMED: Policy(logging.INFO, warn=True),
    Outcome.HANDLER_RAISED: Policy(logging.ERROR, report=True),  # the peer is told nothing; a request has failed
}

_EXITING: Final = "; to end the application, it should call context.app.stop()"


def decode_error(payload: bytes, error: Exception, registry: Registry) -> DecodeError:
    """Give ``error`` if a codec may raise it, or else what it should have raised, told what the message is called."""
    type_id = int.from_bytes(payload[:2], "big")
    title = registry.title_of(type_id)
    if not isinstance(error, DecodeError):
        logger.error("the codec of %s raised what it should not", title, exc_info=error)
        error = MalformedMessage("cannot be decoded", type_id=type_id)
    if not error.name and error.type_id == type_id and registry.lookup(type_id) is not None:
        error.name = title.rpartition(" ")[0]  # a codec that is not ours may not have said it
    return error


class Enforcer:
    """Does what the table says."""

    def __init__(
        self,
        app: Application,
        transport: Transport,
        on_failure: Sequence[HookCall],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._app = app
        self._transport = transport
        self._on_failure = (*on_failure,)
        self._spawn = spawn

    def apply(self, outcome: Outcome, lane: Lane, text: str) -> None:
        """Deal with a payload that no handler will see; ``text`` says what is wrong with it."""
        policy = POLICY[outcome]
        told = f"{outcome.value}: {text}"
        logger.log(policy.log, "%s from %s", told, lane.peer)
        if policy.warn:
            self._transport.warn(lane.peer.node_id, told)
        if policy.disconnect:
            lane.hung_up = True
            self._spawn(self._hang_up(lane, told))

    def failed(self, context: Context, message: object, error: BaseException, ending: bool = True) -> None:
        """Deal with an exception of the author's code, or let it pass if it is ours to obey.

        `SystemExit` is not: a message must not be able to end the application; nor is the cancellation of a task that
        is not ``ending``, as then a handler has cancelled its own. `Refuse` is no failure.
        """
        if must_pass(error) and (ending or not isinstance(error, asyncio.CancelledError)):
            try:
                raise error
            finally:
                del error  # its traceback holds this frame, which would hold it
        if isinstance(error, Refuse):
            logger.debug("%r refuses what %s sent: %s", context.extension, context.peer, error)
            return
        policy = POLICY[Outcome.HANDLER_RAISED]
        handled = message if isinstance(message, Message) else None
        gone = isinstance(error, (PeerNotConnected, ConnectionClosed)) and not context.peer.connected
        logger.log(
            logging.DEBUG if gone else policy.log,
            "%s of %r failed, with %s" + (_EXITING if isinstance(error, SystemExit) else ""),
            "peer hook" if handled is None else f"handler of {type(handled).__name__}",
            context.extension,
            context.peer,
            exc_info=error,
        )
        for call in self._on_failure if policy.report else ():
            try:
                call(app=self._app, peer=context.peer, extension=context.extension, message=handled, error=error)
            except Exception:
                logger.exception("handler_failed of %r failed", call.plugin)

    async def _hang_up(self, lane: Lane, reason: str) -> None:
        try:
            await self._transport.disconnect(lane.peer.node_id, reason)
        except OddwireError as error:
            logger.warning("cannot hang up on %s: %s", lane.peer, error)
        finally:
            lane.hung_up = False  # a transport that cannot hang up goes on
