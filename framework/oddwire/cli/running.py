"""Running a command to its exit code: its errors, its signals, its end."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from oddwire.app.gc_tuning import relax_collector
from oddwire.cli.events import Printer
from oddwire.cli.exit import FAILED, USAGE, CommandFailure
from oddwire.cli.shutdown import LIMIT, Shutdown, signal_code
from oddwire.cli.standard_streams import watched
from oddwire.errors import OddwireError
from oddwire.log_limits import LIMITED, get_logger

__all__ = ["execute", "spell_error"]

logger = get_logger("oddwire.cli")


def execute(
    main: Callable[[], Coroutine[Any, Any, int]], printer: Printer, *, uvloop: bool = False, limit: float = LIMIT
) -> int:
    """Run a command, and return its exit code. `CommandFailure`, `OddwireError` and `OSError` are printed.

    A signal ends it; the end takes at most ``limit`` seconds: see `Shutdown`.
    """
    relax_collector()  # the process is ours
    ending = Shutdown(printer, limit)
    try:
        with ending:
            with watched(printer):
                code = _run(main, printer, uvloop, ending)
            ending.closing()
            LIMITED.flush()
            printer.close()
            code = code or (FAILED if printer.lost else 0)
            ending.finish(code)
    except KeyboardInterrupt:
        if ending.first is None:
            raise
        return signal_code(ending.first)  # it came as signals began to be handled
    return code


def _run(main: Callable[[], Coroutine[Any, Any, int]], printer: Printer, uvloop: bool, ending: Shutdown) -> int:
    try:
        runner = asyncio.Runner(loop_factory=_uvloop() if uvloop else None)
        try:
            return ending.run(runner, main)
        finally:
            ending.close(runner)
    except CommandFailure as failure:
        printer.failure(str(failure))
        return failure.code
    except OddwireError as error:
        logger.debug("the whole story:", exc_info=True)
        printer.failure(str(error))
        return FAILED
    except OSError as error:
        logger.debug("the whole story:", exc_info=True)
        printer.failure(spell_error(error))
        return FAILED
    except KeyboardInterrupt:
        if ending.first is None and ending.takes_signals:
            logger.debug("the whole story:", exc_info=True)
            printer.failure("an extension raised KeyboardInterrupt, and no signal came (--verbose shows more)")
            return FAILED
        return signal_code(ending.first or signal.SIGINT)


def spell_error(error: OSError) -> str:
    """Return the text of an error of the system, on one line: ``/some/file: Read-only file system``."""
    where = "" if error.filename is None else f"{error.filename}: "
    remedy = "; raise the limit, ulimit -n" if error.errno in (errno.EMFILE, errno.ENFILE) else ""
    return f"{where}{error.strerror or error}{remedy}"


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        raise CommandFailure("--uvloop needs uvloop: pip install 'oddwire[uvloop]'", USAGE) from None
    return uvloop.new_event_loop
