"""The application that a command runs on the embedded node: its transport, its extensions, its start."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from oddwire.app import Application, PluginManager
from oddwire.cli.events import Printer
from oddwire.cli.exit import USAGE, CommandFailure
from oddwire.cli.extension_options import read_extras
from oddwire.cli.keyfile import ephemeral_key, load_key
from oddwire.cli.run_options import Program
from oddwire.cli.settings import Settings
from oddwire.cli.shutdown import importing, watch_over
from oddwire.errors import DefinitionError, OddwireError
from oddwire.exit_exceptions import spelled
from oddwire.log_limits import get_logger
from oddwire.proto.keys import PrivateKey
from oddwire.transports.base import Transport
from oddwire.transports.bolt8.limits import Bolt8Limits
from oddwire.transports.bolt8.transport import Bolt8Transport

__all__ = ["call_when_broken", "load", "loading", "make_app", "make_transport", "start"]

logger = get_logger("oddwire.cli")


def make_transport(
    *,
    data_dir: Path | None,
    listen: Sequence[str] = (),
    connect: Sequence[str] = (),
    network: str,
    proxy: str | None,
    limits: Bolt8Limits | None = None,
    key: PrivateKey | None = None,
) -> Bolt8Transport:
    """Return the embedded node's transport; without a ``data_dir`` it has ``key``. Raises `CommandFailure`."""
    key = load_key(data_dir) if data_dir is not None else key or ephemeral_key()
    try:
        return Bolt8Transport(key, listen=listen, connect=connect, network=network, proxy=proxy, limits=limits)
    except ValueError as error:
        raise CommandFailure(str(error), USAGE) from error


def make_app(
    printer: Printer,
    *extensions: object,
    transport: Transport,
    plugins: PluginManager | None = None,
    options: Mapping[str, Any] | None = None,
    store: Path | str | None = None,
    program: int | None = None,
) -> Application:
    """Return the application, with errors and warnings handled as in `loading`. Raises `CommandFailure`."""
    with loading(printer):
        app = Application(
            *extensions, transport=transport, plugins=plugins, options=options, store=store, program=program
        )
    watch_over(app.plugins)
    return app


@contextlib.contextmanager
def loading(printer: Printer) -> Iterator[None]:
    """Context manager for loading extensions: warnings become one line each, a `DefinitionError` a `CommandFailure`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            with importing():
                yield
        except DefinitionError as error:
            logger.debug("the whole story:", exc_info=True)
            raise CommandFailure(str(error), USAGE) from error
        finally:
            for warning in caught:
                printer.remark(f"warning: {warning.message}")


def load(program: Program, plugins: PluginManager, settings: Settings, printer: Printer) -> dict[str, Any]:
    """Load a program's extensions. Return the values of their options, from wherever they are.

    Warnings are printed. Raises `CommandFailure`.
    """
    with loading(printer):
        if program.extension is not None:
            plugins.register(program.extension)
        for warning in program.warnings:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        given = read_extras(program.arguments, plugins, program.own, loads=program.extension is None)
        given = settings.fill(given, plugins)
    for text in (*plugins.warnings(), *settings.unread()):
        printer.remark(f"warning: {text}")
    return given


def call_when_broken(printer: Printer, action: Callable[[], object]) -> None:
    """Call ``action`` on the running event loop when stdout cannot be written any more."""
    loop = asyncio.get_running_loop()

    def notify() -> None:
        with contextlib.suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(action)

    printer.on_broken = notify


async def start(app: Application) -> None:
    """Start the application. Raises `CommandFailure`, also for errors of an extension's startup hook."""
    try:
        await app.start()
    except DefinitionError as error:
        raise CommandFailure(str(error), USAGE) from error
    except OddwireError as error:
        raise CommandFailure(str(error)) from error
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt | SystemExit):
            raise
        logger.debug("the whole story:", exc_info=True)
        raise CommandFailure(f"an extension could not start: {spelled(error)} (--verbose shows more)") from error
