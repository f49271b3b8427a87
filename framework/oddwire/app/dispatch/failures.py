"""Reporting of exceptions in the author's code: to the log, to counters, and to the `handler_failed` hooks."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.context import AppContext, Context, Peer
from oddwire.app.dispatch.hook_names import failed_hook
from oddwire.app.dispatch.tasks import Tasks
from oddwire.app.plugins.manager import HookCall
from oddwire.errors import ConnectionClosed, PeerNotConnected
from oddwire.exit_exceptions import must_pass, spelled
from oddwire.log_limits import get_logger
from oddwire.schema import Message, schema_of
from oddwire.session.limits import Counters

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.insight.watch import Watch

__all__ = ["Failures"]

logger = get_logger("oddwire.app")

_MOST_REPORTS: Final = 256  # async hooks under way; each holds the message that was handled
_MOST_PLACES: Final = 256  # counted each by itself: methods of JSON-RPC, for one, are named by peers
_EXITING = "; to end the application, it should call context.app.stop()"


class Failures:
    """Reports failures to the log, in ``counters.failed``, and by the hooks ``on_failure``."""

    def __init__(self, app: Application, on_failure: Sequence[HookCall] = ()) -> None:
        self.counters = Counters()
        self._app = app
        self._on_failure = (*on_failure,)
        self._reports = Tasks()
        self.places: Counter[tuple[str, str]] = Counter()
        """What has failed, by extension and by the code's kind and name; ``others`` for more than a number of these."""
        self.watches: tuple[Watch[Any], ...] = ()
        """Who is told of failures for a while."""
        self.muted = False
        """Whether nothing is reported any more: the application was killed, and unwinds."""

    def report(
        self,
        what: str,
        context: AppContext,
        error: BaseException,
        message: Message | None = None,
        *,
        level: int = logging.ERROR,
        report: bool = True,
        then: str = "",
        unreached: bool = False,
    ) -> None:
        """Report that ``what``, for example a handler, has raised; ``then`` is the consequence, added to the log line.

        To be called after `must_pass` was false. A disconnected peer is no failure of code that sends to it. With
        ``unreached``, neither is an unreachable peer or node, because the application, or its node, ends.
        """
        if self.muted:
            return
        peer = context.peer if isinstance(context, Context) else None
        gone = isinstance(error, (PeerNotConnected, ConnectionClosed)) and peer is not None and not peer.connected
        if not gone and not unreached:
            self.counters.failed[context.extension] += 1
            place = context.extension, what
            if place not in self.places and len(self.places) >= _MOST_PLACES:
                place = context.extension, "others"
            self.places[place] += 1
        then += _EXITING if isinstance(error, SystemExit | KeyboardInterrupt) else ""
        level = logging.DEBUG if gone else level
        about: dict[str, object] = {"extension": context.extension}
        if message is not None:
            about["type"] = schema_of(message).type_id
        if unreached:
            logger.info("%s of %r ended early: %s", what, context.extension, spelled(error), extra=about)
        elif peer is None:
            logger.log(level, "%s of %r failed" + then, what, context.extension, exc_info=error, extra=about)
        else:
            text = "%s of %r failed, with %s" + then
            logger.log(level, text, what, context.extension, peer, exc_info=error, extra=about)
        if report:
            for watch in self.watches:
                watch.handler_failed(peer, context.extension, what, error)
            self._call_hooks(what, peer, context.extension, message, error)

    def _call_hooks(
        self, what: str, peer: Peer | None, extension: str, message: Message | None, error: BaseException
    ) -> None:
        for call in self._on_failure:
            try:
                result = call(app=self._app, peer=peer, extension=extension, message=message, error=error, what=what)
            except BaseException as failure:
                if must_pass(failure):
                    raise
                self._log_hook_failure(call, failure)
            else:
                if result is None or not hasattr(result, "__await__"):
                    continue
                if self._reports.count < _MOST_REPORTS:
                    self._reports.spawn(self._finish(call, result))
                    continue
                if asyncio.iscoroutine(result):
                    result.close()
                self.counters.dropped["reports"] += 1
                logger.warning("a failure is not reported to %r: %d reports are under way", call.plugin, _MOST_REPORTS)

    async def _finish(self, call: HookCall, result: Awaitable[None]) -> None:
        me = asyncio.current_task()
        try:
            await result
        except BaseException as failure:
            if must_pass(failure, me):
                raise
            self._log_hook_failure(call, failure)
        finally:
            del me  # a task that ends by an exception keeps this frame

    def _log_hook_failure(self, call: HookCall, failure: BaseException) -> None:
        """Log the exception of a `handler_failed` hook: to report it to the same hook might never end."""
        logger.error("%s of %r failed", failed_hook(failure) or "handler_failed", call.plugin, exc_info=failure)

    def is_working_on(self, task: asyncio.Task[object] | None) -> bool:
        """Return whether a task is running one of the async hooks."""
        return task in self._reports

    def end_grace(self) -> None:
        """End the grace of `aclose` at once."""
        self._reports.end_grace()

    async def aclose(self, grace: float) -> None:
        """Wait ``grace`` seconds for async hooks, then cancel them."""
        await self._reports.settle(grace)
