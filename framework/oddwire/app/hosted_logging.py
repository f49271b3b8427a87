"""The log of a plugin's process, which is the node's."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

from oddwire.log_format import LineFormatter
from oddwire.log_limits import LIMITED, get_logger

__all__ = ["NodeLog", "log_to_node"]

logger = get_logger("oddwire.app")

# lightningd's names of the levels: at unusual and broken its operator is warned
_LEVELS: Final = (
    (logging.ERROR, "broken"),
    (logging.WARNING, "unusual"),
    (logging.INFO, "info"),
    (logging.NOTSET, "debug"),
)


def log_to_node(write: Callable[[str, str], None]) -> NodeLog:
    """Have records of all loggers, warnings, and exceptions that end threads written to the node's log.

    ``write`` takes a level and a text; it may be exchanged later.
    """
    log = NodeLog(write)
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    root.addHandler(log)
    threading.excepthook, sys.unraisablehook = _end_thread, _ignore
    return log


class NodeLog(logging.Handler):
    """Handler of `logging` that writes records to the node's log."""

    def __init__(self, write: Callable[[str, str], None]) -> None:
        super().__init__(logging.INFO)
        self.addFilter(LIMITED)  # the root logger gets the records of all loggers
        self.write = write
        self.setFormatter(LineFormatter("%(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record at the node's level for it."""
        try:
            text = self.format(record)
        except Exception:
            self.handleError(record)
            return
        self.write(next(name for level, name in _LEVELS if record.levelno >= level), text)


def _end_thread(arguments: threading.ExceptHookArgs) -> None:
    """Log the exception that ended a thread: Python would print it unescaped on stderr, which is the node's."""
    if arguments.exc_type is not SystemExit:
        name = "no name" if arguments.thread is None else arguments.thread.name
        logger.error("a thread, %s, ended with an exception", name, exc_info=arguments.exc_value)


def _ignore(arguments: Any) -> None:
    """Log an exception that cannot be raised, for `sys.unraisablehook`."""
    text = arguments.err_msg or "an exception is ignored in"
    logger.error("%s: %r", text, arguments.object, exc_info=arguments.exc_value)
