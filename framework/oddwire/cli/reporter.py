"""Events for a command's output, from the application's hooks and the transports' log records."""

from __future__ import annotations

import logging
from typing import Final

from oddwire.app.insight.watch import Watch
from oddwire.cli.events import Event, Printer
from oddwire.cli.shared_options import LogLines
from oddwire.cli.standard_streams import command_stdout
from oddwire.log_format import JsonFormatter, LineFormatter
from oddwire.log_limits import LIMITED, guard_process

__all__ = ["Reporter", "log_to", "service_printer"]

_LND: Final = "oddwire.transports.lnd"


class Reporter(Watch[Event]):
    """A plugin that prints connections, messages and failures. Load it first, so that it reports before others act.

    Messages without a handler are marked as such, unless the command itself ``takes_all`` messages.
    """

    name = "oddwire.cli"

    def __init__(self, printer: Printer, takes_all: bool = False) -> None:
        super().__init__(Event, printer.event, takes_all)


class _Lines(logging.Handler):
    """A `logging` handler that prints records on stderr."""

    def __init__(self, printer: Printer, level: int = logging.NOTSET, *, as_json: bool = False) -> None:
        super().__init__(level)
        self.addFilter(LIMITED)
        self._printer = printer
        text = "%(levelname)s %(name)s: %(message)s"
        self.setFormatter(JsonFormatter() if as_json else LineFormatter(text))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # arguments that do not fit the message
            self.handleError(record)
        else:
            self._printer.log(text)


class _Errors(logging.Handler):
    """A `logging` handler that prints errors of transports as events: a failed dial, an error that a peer sent.

    Beside LND that is what the log warns of; that it is waited for, or back, is no error.
    """

    def __init__(self, printer: Printer) -> None:
        super().__init__(logging.INFO)
        self.addFilter(LIMITED)
        self._printer = printer

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING and record.name.startswith(_LND):
            return
        try:
            text = record.getMessage()
        except Exception:
            self.handleError(record)
        else:
            self._printer.event(Event(event="error", text=text))


def log_to(printer: Printer, level: int = logging.INFO, *, as_json: bool = False) -> None:
    """Print oddwire's log on stderr, ``as_json`` an object a line; of a JSON printer, errors of transports are events.

    Records of others, such as asyncio or an extension, are printed from level WARNING on, if they have no handler.
    """
    logging.lastResort = _Lines(printer, logging.WARNING, as_json=as_json)
    guard_process()
    logger = logging.getLogger("oddwire")
    logger.setLevel(level)
    logger.propagate = False
    logger.addHandler(_Lines(printer, as_json=as_json))
    if printer.as_json:
        logging.getLogger("oddwire.transports").addHandler(_Errors(printer))


def service_printer(as_json: bool, *, verbose: bool, log_format: LogLines) -> Printer:
    """Return the printer of a command that runs until it is ended, whose log goes to stderr as its options say."""
    printer = Printer(as_json, stdout=command_stdout(as_json))
    log_to(printer, logging.DEBUG if verbose else logging.INFO, as_json=log_format is LogLines.json)
    return printer
