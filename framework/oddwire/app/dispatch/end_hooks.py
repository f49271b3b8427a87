"""Hooks at the end of an application, and the closing of what it provides: each in a task of its own, with a limit.

What has not ended when its time is over is cancelled; what does not end then is named in the log, and dropped. Errors
are collected: one does not keep the others from running.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

from oddwire.app.context import AppContext
from oddwire.app.dispatch.hook_names import failed_hook, running_hook
from oddwire.errors import TransportError
from oddwire.exit_exceptions import must_pass
from oddwire.log_limits import get_logger
from oddwire.printable import printable

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.declarations.providers import Close
    from oddwire.app.dispatch.failures import Failures
    from oddwire.app.plugins.manager import HookCall

__all__ = ["LEAST", "EndHooks", "log_stuck"]

logger = get_logger("oddwire.app")

LEAST: Final = 0.1
"""Seconds that each hook at the end, and cancelled tasks, have even if the grace is used up."""

_UNWINDING: Final = 2.0  # seconds that a cancelled hook has for its cleanup

# The application whose end the running code is part of, and the tasks that it creates: they cannot wait for that end
_ending: contextvars.ContextVar[Application | None] = contextvars.ContextVar("oddwire_ending", default=None)


class EndHooks:
    """Runs the on_stopping and on_shutdown hooks of one application, and closes what is provided for it."""

    def __init__(self, app: Application, failures: Failures) -> None:
        self._app = app
        self._failures = failures
        self._loop = asyncio.get_running_loop()
        self._base = contextvars.copy_context()  # not the context variables of who closes the application
        self._base.run(_ending.set, app)
        self.cut_off: asyncio.Future[None] = self._loop.create_future()
        """Done once nothing at the end has any more time: who closes the application was cancelled."""

    def is_running(self) -> bool:
        """Return whether the running code is one of these hooks, or of a task that one has created."""
        return _ending.get() is self._app

    def cut(self) -> None:
        """End the time of all hooks, now."""
        if not self.cut_off.done():
            self.cut_off.set_result(None)

    async def stop(self, call: HookCall, until: float) -> None:
        """Run a plugin's stopping hook until the loop time ``until``; report its failure."""
        error = await self._run(call.hook, call.plugin, call.finish(app=self._app), until)
        if error is not None:
            what, context = failed_hook(error) or call.hook, AppContext(self._app, call.plugin)
            self._failures.report(what, context, error, unreached=isinstance(error, TransportError))

    async def finish(
        self, calls: Sequence[HookCall], things: Callable[[], Sequence[tuple[str, str, Close]]], until: float
    ) -> list[BaseException]:
        """Run shutdown hooks, then close the provided ``things``, until the loop time ``until``.

        Things are each one's name, its plugin's, and the function that closes it. Every exception is logged and
        counted, and returned. Cancelled, the rest is still run, and cancelled if it takes time.
        """
        errors: list[BaseException] = []
        cancelled = False
        for call in calls:
            hook = functools.partial(call.finish, app=self._app)
            cancelled |= await self._finish(call.hook, call.plugin, hook, until, errors)
        for what, owner, close in things():
            cancelled |= await self._finish(what, owner, close, until, errors)
        if cancelled:
            errors.clear()
            raise asyncio.CancelledError
        return errors

    async def _finish(
        self, what: str, owner: str, work: Callable[[], Awaitable[Any]], until: float, errors: list[BaseException]
    ) -> bool:
        """Run one hook, or close one thing; return whether this was cancelled."""
        try:
            error = await self._run(what, owner, _awaiting(work), until)
        except asyncio.CancelledError:
            self.cut()
            return True
        if error is not None:
            # Raised by `aclose`, so not reported to hooks for failures, which have ended
            what = failed_hook(error) or what
            self._failures.report(what, AppContext(self._app, owner), error, report=False)
            errors.append(error)
        return False

    async def _run(self, what: str, owner: str, work: Coroutine[Any, Any, Any], until: float) -> BaseException | None:
        """Run ``work`` until the loop time ``until``, then cancel it, and wait two seconds; return its exception."""
        errors: list[BaseException] = []
        task = self._loop.create_task(_caught(work, errors), name=what, context=self._base.copy())
        task.add_done_callback(lambda _: work.close())  # never begun, if cancelled before
        try:
            left = max(LEAST, until - self._loop.time())
            await asyncio.wait([task, self.cut_off], timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                from oddwire.app.unfinished import spot_of  # imported late: rarely needed

                spot = spot_of(task) or "an unknown place"
                text = "%s of %r is cancelled: its time has expired; it waits at %s"
                logger.warning(text, running_hook(task) or what, owner, spot)
        finally:
            if not task.done():
                task.cancel("the application is closing")
                _, stuck = await asyncio.wait([task], timeout=_UNWINDING)
                if stuck:
                    log_stuck(task)
            if task.done() and not task.cancelled():
                task.exception()  # marks a signal's exception as retrieved: the event loop has raised it
        return errors.pop() if errors else None


async def _awaiting(work: Callable[[], Awaitable[Any]]) -> None:
    await work()


async def _caught(work: Coroutine[Any, Any, Any], errors: list[BaseException]) -> None:
    me = asyncio.current_task()
    try:
        await work
    except BaseException as error:
        if must_pass(error, me):
            raise
        errors.append(error)
    finally:
        del me, errors  # an exception refers to this frame


def log_stuck(task: asyncio.Task[Any]) -> None:
    """Log that a cancelled task does not end, and is not waited for any longer."""
    from oddwire.app.unfinished import describe_task  # imported late: rarely needed

    where = describe_task(task) or printable(task.get_name())
    logger.warning("not waiting any longer for tasks that do not end when cancelled: %s", where)
