"""Running extensions as a plugin of lightningd: the life of the plugin's process.

Imported while the node waits for the manifest. So it does not import the command line, and the code that runs the
application, in particular asyncio, only after the manifest has been sent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final, Literal, NoReturn

from oddwire.app.gc_tuning import hold_collector, relax_collector
from oddwire.app.hookspecs import hookimpl
from oddwire.app.hosted_logging import NodeLog, log_to_node
from oddwire.app.insight.hosted import HostedInsight
from oddwire.app.main_program import on_fork
from oddwire.app.plugins.loaded_plugins import LoadedPlugins
from oddwire.app.plugins.manager import PluginManager
from oddwire.app.program_socket import PluginSocket
from oddwire.errors import ExtensionError, NodeRefused, OddwireError, StoreError
from oddwire.log_limits import LIMITED, get_logger
from oddwire.printable import printable

if TYPE_CHECKING:
    import asyncio

    from oddwire.app.application import Application
    from oddwire.app.plugins.tables import Tables
    from oddwire.app.programs.registry import Programs
    from oddwire.transports.host import HostTransport

__all__ = ["GRACE", "WATCHDOG", "is_hosted", "run_plugin", "store_name"]

logger = get_logger("oddwire.app")

GRACE: Final = 2.0
"""Seconds that handlers, and then disconnect hooks, get to finish when the node asks the plugin to end."""
WATCHDOG: Final = 4.5
"""Seconds from that request to the end of the process, whatever its code is doing: lightningd waits for five."""

_SUCCESSION: Final = WATCHDOG + 1.0  # seconds after which a plugin whose node has died has certainly closed the store
_SWITCH: Final = 0.0005  # seconds; Python's default is 0.005


def is_hosted() -> bool:
    """Return whether lightningd, or a node compatible with it, started this process as a plugin."""
    return "LIGHTNINGD_PLUGIN" in os.environ


def run_plugin(*extensions: object, receive: Literal["hook", "notification"] | None = None) -> NoReturn:
    """Run extensions as a plugin of the lightningd that started this process; exits when it is done.

    ``extensions`` are as for `Application`. If they cannot be loaded, or do not start, the reason is reported to the
    node, which then goes on without the plugin. ``print`` and other output to stdout is written to the node's log, as
    are the records of `logging` from INFO up, or as the option ``NAME-log-level`` says. `SystemExit` or
    `KeyboardInterrupt` raised by a task of the extensions' own does not end the plugin; ``app.stop()`` does. The files
    written by ``oddwire plugin`` call this function. It has to be the last call of a program: nothing should be written
    to stdout before.

    ``receive`` is how the node passes messages on: by its notification, which lightningd v24.02 and later have and
    which is the default there, or by its hook. Raises `ExtensionError` for anything else.

    If no node started this process, it loads the extensions, says on stderr how they are run, and exits with 0; with 1
    and the reason if they cannot be loaded. This is the trial that reckless makes of a plugin before it installs it.

    SIGTERM, SIGINT, ``plugin stop`` and the end of the node stop the application: handlers have two seconds. After
    4.5 seconds the kernel ends the process, even if a handler blocks it.
    """
    hold_collector()  # plugin files call this at once
    if receive not in (None, "hook", "notification"):
        raise ExtensionError(f"run_plugin() takes receive='hook' or 'notification', not {receive!r:.200}")
    if not is_hosted():
        _try_alone(extensions)
    from oddwire.transports.cln.early_manifest import EarlyManifest
    from oddwire.transports.cln.stdio_capture import take_stdio

    stdio = take_stdio()
    early_manifest = EarlyManifest(stdio.stdin, stdio.stdout, receive=receive)
    log = log_to_node(early_manifest.log)
    settled = _OpenedTransport()
    host = _PluginProgram(settled)
    host.prepare()
    loaded = _load(settled, extensions, log)
    if isinstance(loaded, LoadedPlugins):
        early_manifest.answer(loaded.manifest)
    from oddwire.transports.cln.transport import ClnTransport

    transport = ClnTransport(
        early_manifest=early_manifest,
        foreign=stdio.foreign,
        on_stop=lambda _: host.stop(),  # the transport reports the reason to the application
        linger=True,
    )
    log.write = transport.log
    try:
        host.run(loaded, transport)
    finally:
        transport.finish()
        stdio.release()
    sys.exit(host.code)


def _try_alone(extensions: Sequence[object]) -> NoReturn:
    """Load extensions without a node, and exit: with 0 and how they are run, or with the reason why they are not."""
    program, path = sys.argv[0], os.path.abspath(sys.argv[0])  # noqa: PTH100 - pathlib takes its time to load
    loaded = _load(_OpenedTransport(), extensions, None)  # nobody looks into it
    if isinstance(loaded, LoadedPlugins):
        print(printable(f"{program} is a plugin: lightningd --plugin={path} runs it"), file=sys.stderr)  # noqa: T201
        sys.exit(0)
    from oddwire.app.application import reason_of

    if not isinstance(loaded, OddwireError):
        raise loaded
    sys.exit(printable(f"{program} is a plugin that cannot be loaded: {reason_of(loaded)}"))


def store_name(program: str) -> str:
    """Return the name of a plugin's store, a file in the node's directory, where lightningd starts its plugins."""
    return f"oddwire-{os.path.basename(program).removesuffix('.py')}.sqlite3"  # noqa: PTH119 - pathlib takes its time to load


def _load(
    settled: _OpenedTransport, extensions: Sequence[object], log: NodeLog | None
) -> LoadedPlugins | BaseException:
    """Return the loaded extensions, or the exception why they cannot be loaded."""
    try:
        plugins = PluginManager()
        for plugin in (settled, *extensions, PluginSocket(os.getcwd(), settled.file)):  # noqa: PTH109
            plugins.add(plugin)
        if log is not None:
            plugins.register(HostedInsight(settled.file, os.getcwd(), log, plugins.contributions))  # noqa: PTH109
        assembly = LoadedPlugins(plugins)
        settled.tables = assembly.tables
        for text in plugins.warnings():
            logger.warning(text)
        return assembly
    except BaseException as error:  # signals raise nothing here
        return error


def _leave_signals() -> None:
    """Restore the default signal handlers in a forked child, which is not the plugin."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


class _OpenedTransport:
    """A plugin with the startup work that is done after the manifest was sent, before all other plugins'.

    It determines this program's number at the node, and registers it among the node's programs.
    """

    name = "oddwire.hosted"

    def __init__(self) -> None:
        self.file = os.path.abspath(sys.argv[0])  # noqa: PTH100
        self.store = store_name(self.file)
        self._folder = os.getcwd()  # noqa: PTH109
        self._programs: Programs | None = None
        self.tables: Tables | None = None

    @hookimpl
    async def startup(self, app: Application) -> None:
        """Register this program. Raises `StoreError` or `ExtensionError` if its store is also another program's."""
        from oddwire.app.programs.claims import Claim, program_number
        from oddwire.app.programs.registry import Programs

        relax_collector()
        try:
            node_id = str((await app.node.call("getinfo"))["id"])
        except (NodeRefused, KeyError, TypeError):
            node_id = ""  # then the transport cannot open either, and raises the reason
        app.program = program_number(node_id, self.file)
        tables = self.tables
        assert tables is not None  # noqa: S101 - there is one, or no application
        claim = Claim(
            file=self.file,
            process=os.getpid(),
            program=app.program,
            store=os.path.join(self._folder, self.store),  # noqa: PTH118
            extensions=tuple(owner.name for owner in tables.owners if owner.versions),
            types=tables.handled_types,
        )
        self._programs = Programs(
            self._folder,
            claim,
            stores=app.resources.store_numbers,
            renew=app.resources.renew_store,
            patience=_SUCCESSION,
        )
        try:
            await self._programs.join()
        except BaseException:
            await self._programs.leave()
            raise

    @hookimpl
    async def shutdown(self) -> None:
        """Remove this program's claim, after all extensions have ended."""
        if self._programs is not None:
            await self._programs.leave()

    def end(self) -> None:
        """Mark this program as ending for programs that start now. For any thread, or a signal handler."""
        if self._programs is not None:
            self._programs.end()

    def look_for_orphans(self, extensions: Collection[str]) -> None:
        """Warn if the data of extensions of a new store is in another plugin file's store. Runs in a thread."""
        from pathlib import Path

        from oddwire.app.programs.orphaned_stores import warn_of_orphans

        warn_of_orphans(Path(self._folder, self.store), extensions)

    def explain(self, error: StoreError) -> StoreError:
        """Return the error for a store that cannot be opened, naming the program that uses it."""
        if error.reason != "locked":
            return error
        from oddwire.app.programs.registry import owner_of_store

        other = owner_of_store(self._folder, os.path.join(self._folder, self.store), self.file)  # noqa: PTH118
        if not other:
            return error
        text = (
            f"{error.path} is in use by plugin file {other}, which has the same name as {self.file}, and so the same "
            "store; give one of the two another name"
        )
        return StoreError(text, path=error.path, reason=error.reason)


class _PluginProgram:
    """One run of an application, which ends when it is stopped, or by an alarm if that takes too long."""

    def __init__(self, settled: _OpenedTransport) -> None:
        self.code = 0
        self._settled = settled
        self._app: Application | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._logged: BaseException | None = None
        self._remark = ""

    def prepare(self) -> None:
        """Install the signal handlers."""
        # If a handler computes without end, the transport's thread waits that long for each step of an answer
        sys.setswitchinterval(_SWITCH)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
        # Not asyncio's: these also run while a handler blocks
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self.stop(f"stopping: {signal.Signals(number).name}"))
        on_fork((signal.SIGTERM, signal.SIGINT), _leave_signals)

    def run(self, loaded: LoadedPlugins | BaseException, transport: HostTransport) -> None:
        """Run the application until it is stopped, and close it."""
        import asyncio

        from oddwire.app.application import Application

        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            if isinstance(loaded, LoadedPlugins):
                store = self._settled.store
                self._app = Application(assembly=loaded, transport=transport, store=store, grace=GRACE)
                self._app.resources.patience, self._app.resources.explain = _SUCCESSION, self._settled.explain
                self._app.resources.on_new_store = self._settled.look_for_orphans
                self._app.on_refusal = self._cannot_run
                main = loop.create_task(self._serve(self._app))
            else:
                main = loop.create_task(self._refuse(transport, loaded))
            self._loop = loop
            if self._stopping:
                self._stop_soon()
            while not main.done():
                try:
                    loop.run_until_complete(main)
                except (SystemExit, KeyboardInterrupt) as error:
                    # asyncio lets them propagate from any task, and signals raise nothing; the loop is continued
                    kind = type(error).__name__
                    text = "a task of an extension ended with %s; to end the application, call app.stop()"
                    logger.error(text, kind, exc_info=error)
            LIMITED.flush()
            self._watch()

    def stop(self, remark: str = "") -> None:
        """Stop the application, set the alarm, log a remark. Called in the channel's thread and by signal handlers."""
        self._watch()
        if not self._stopping:
            self._settled.end()
            self._stopping, self._remark = True, remark
            self._stop_soon()

    def _stop_soon(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._stop_app)

    def _stop_app(self) -> None:
        remark, self._remark = self._remark, ""
        if remark:
            logger.info(remark)
        if self._app is not None:
            self._app.stop()

    def _watch(self) -> None:
        """Set the alarm, once. It is the kernel's: it ends the process even in C code that holds the GIL."""
        if signal.getitimer(signal.ITIMER_REAL)[0] == 0.0:
            signal.setitimer(signal.ITIMER_REAL, WATCHDOG)

    async def _serve(self, app: Application) -> None:
        import asyncio

        try:
            await app.run_until_stopped(signals=False)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            self._cannot_run(error)

    def _cannot_run(self, error: BaseException) -> None:
        """Log the reason, once: before ``disable``, at which lightningd kills us, and which it logs at debug level."""
        if not self._stopping and error is not self._logged:
            self._logged = error
            self._failed("cannot run", error)

    async def _refuse(self, transport: HostTransport, error: BaseException) -> None:
        transport.refuse(self._failed("cannot load", error))
        await transport.aclose()

    def _failed(self, what: str, error: BaseException) -> str:
        from oddwire.app.application import reason_of

        self.code = 1
        reason = reason_of(error)
        foreseen = isinstance(error, OddwireError)
        logger.error("%s: %s", what, reason, exc_info=None if foreseen else error)
        return reason
