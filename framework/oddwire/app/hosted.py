"""Running extensions as a plugin of lightningd: what this process does from its first moment to its last.

Imported when the node waits for an answer, so it imports no command line, and no transport but the one it needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Final, Literal, NoReturn

from oddwire.app.application import Application, reason_of
from oddwire.app.collector import relax_collector
from oddwire.app.hookspecs import hookimpl
from oddwire.errors import OddwireError
from oddwire.transports.base import Transport

__all__ = ["GRACE", "WATCHDOG", "is_hosted", "run_hosted", "store_name"]

logger = logging.getLogger("oddwire.app")

GRACE: Final = 2.0
"""Seconds that handlers get to finish, and then farewells, when the node wants us to end."""
WATCHDOG: Final = 4.5
"""Seconds from then on to the end of the process, whatever its code is doing: lightningd waits for five."""

_SUCCESSION: Final = WATCHDOG + 1.0  # seconds until a plugin whose node has died has surely let go of the store
_SWITCH: Final = 0.0005  # seconds; Python's own are 0.005

# By lightningd's names: at unusual and broken its operator is warned
_LEVELS: Final = ((logging.ERROR, "broken"), (logging.WARNING, "unusual"), (logging.NOTSET, "info"))


def is_hosted() -> bool:
    """Say whether lightningd, or a node that does as it does, started this process as a plugin."""
    return "LIGHTNINGD_PLUGIN" in os.environ


def run_hosted(*extensions: object, receive: Literal["hook", "notification"] = "hook") -> NoReturn:
    """Run extensions as a plugin of the lightningd that started this process; exits when it is done.

    ``extensions`` are what `Application` takes. What cannot be loaded, or does not start, is told to the node, which
    then goes on without the plugin. ``print`` and all else that goes to stdout is written to the node's log, as are
    the records of `logging` from INFO up. `SystemExit` raised by a task of the extensions' own does not end the plugin;
    ``app.stop()`` does.

    SIGTERM, SIGINT, ``plugin stop`` and the end of the node stop the application: handlers have two seconds. After
    4.5 seconds the kernel ends the process, even if a handler blocks it.
    """
    if not is_hosted():
        sys.exit(f"{sys.argv[0]} is a plugin: lightningd --plugin={os.path.abspath(sys.argv[0])} runs it")  # noqa: PTH100
    from oddwire.transports.cln.guard import take_stdio
    from oddwire.transports.cln.transport import ClnTransport

    stdio = take_stdio()
    host = _Host()
    transport = ClnTransport(
        stdin=stdio.stdin,
        stdout=stdio.stdout,
        foreign=stdio.foreign,
        receive=receive,
        on_stop=lambda _: host.stop(),  # the transport tells the application why
        linger=True,
    )
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.addHandler(_NodeLog(transport.log))
    try:
        host.run(extensions, transport)
    finally:
        transport.finish()
        stdio.release()
    sys.exit(host.code)


def store_name(program: str) -> str:
    """Give the name of a plugin's store, a file in the node's directory, where lightningd starts its plugins."""
    return f"oddwire-{os.path.basename(program).removesuffix('.py')}.sqlite3"  # noqa: PTH119 - pathlib takes its time to load


class _NodeLog(logging.Handler):
    """Writes what is logged to the node's log."""

    def __init__(self, log: Callable[[str, str], None]) -> None:
        super().__init__(logging.INFO)
        self._log = log
        self.setFormatter(logging.Formatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        self._log(next(name for level, name in _LEVELS if record.levelno >= level), text)


class _Settled:
    """A plugin that looks after the garbage collector once the node has our manifest: it waits for that."""

    name = "oddwire.hosted"

    @hookimpl
    def startup(self) -> None:
        """Do it."""
        relax_collector()


class _Host:
    """One run of an application, with the two ways to its end: it is asked to stop, or the time is over."""

    def __init__(self) -> None:
        self.code = 0
        self._app: Application | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False

    def run(self, extensions: Sequence[object], transport: Transport) -> None:
        """Load, run, close."""
        # Where a handler computes without end, the transport's thread waits that long for each step of an answer
        sys.setswitchinterval(_SWITCH)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        # Not asyncio's: these run while a handler sleeps, too
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self.stop(f"stopping: {signal.Signals(number).name}"))
        with asyncio.Runner() as runner:
            self._loop = loop = runner.get_loop()
            try:
                self._app = Application(
                    _Settled(), *extensions, transport=transport, store=store_name(sys.argv[0]), grace=GRACE
                )
            except (Exception, SystemExit) as error:
                main = loop.create_task(self._refuse(transport, error))
            else:
                self._app.services.patience = _SUCCESSION
                main = loop.create_task(self._serve(self._app))
            while not main.done():
                try:
                    loop.run_until_complete(main)
                except SystemExit as error:
                    # asyncio lets it through from any task; the loop goes on where it was
                    text = "a task of an extension ended with SystemExit; to end the application, call app.stop()"
                    logger.error(text, exc_info=error)
            self._watch()

    def stop(self, remark: str = "") -> None:
        """Have the application stop, and log a remark. Called in the channel's thread and by signal handlers."""
        self._watch()
        if self._stopping or self._loop is None:
            return
        self._stopping = True
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._stop_app, remark)

    def _stop_app(self, remark: str) -> None:
        if remark:
            logger.info(remark)
        if self._app is not None:
            self._app.stop()

    def _watch(self) -> None:
        """Set the alarm, once. The kernel's: it goes off even in C code that lets no other thread run."""
        if signal.getitimer(signal.ITIMER_REAL)[0] == 0.0:
            signal.setitimer(signal.ITIMER_REAL, WATCHDOG)

    async def _serve(self, app: Application) -> None:
        try:
            await app.run_until_stopped(signals=False)
        except (Exception, SystemExit) as error:
            if not self._stopping:
                self._failed("cannot run", error)

    async def _refuse(self, transport: Transport, error: BaseException) -> None:
        self._failed("cannot load", error)
        transport.refuse(reason_of(error))
        await transport.aclose()

    def _failed(self, what: str, error: BaseException) -> None:
        self.code = 1
        foreseen = isinstance(error, OddwireError)
        logger.error("%s: %s", what, reason_of(error), exc_info=None if foreseen else error)
