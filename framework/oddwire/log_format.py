"""Log records as text, or JSON, that cannot forge another record or send control characters to a terminal."""

from __future__ import annotations

import json
import logging
from typing import Any, Final

from oddwire.printable import indented, printable

__all__ = ["JsonFormatter", "LineFormatter"]

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"asctime", "message", "taskName"}
_OWN: Final = "oddwire_"  # of what `oddwire.log_limits` marks records with


class LineFormatter(logging.Formatter):
    """Formats a record as one `printable` line, and indented below it the lines of a traceback or stack.

    Every log handler of oddwire uses it, as messages and exceptions may hold text of peers and files.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the record's one line."""
        return printable(super().formatMessage(record).rstrip("\n"))  # Python's warnings end in a newline

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and indented below it the traceback and the stack, if any."""
        record.message = record.getMessage()
        if self.usesTime():
            record.asctime = self.formatTime(record, self.datefmt)
        return "\n".join([self.formatMessage(record), *self.details(record)])

    def details(self, record: logging.LogRecord) -> list[str]:
        """Return the lines of the traceback and the stack."""
        parts = []
        if record.exc_info and record.exc_info[0]:
            parts.append(record.exc_text or self.formatException(record.exc_info))  # may have been cut already
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return [line for part in parts for line in indented(part).split("\n")]


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON, ASCII without control characters.

    The keys are ``time``, in seconds since 1970, ``level``, ``logger``, ``message``; ``exception`` and ``stack`` where
    there is one; and whatever ``extra`` the record has, oddwire's own ``peer``, ``type`` and ``extension`` among it.
    What JSON has no type for is text.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        values: dict[str, Any] = {
            "time": round(record.created, 6),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0]:
            values["exception"] = record.exc_text or self.formatException(record.exc_info)
        if record.stack_info:
            values["stack"] = self.formatStack(record.stack_info)
        for name, value in record.__dict__.items():
            if name not in _STANDARD and not name.startswith(_OWN):
                values.setdefault(name, value)
        try:
            line = json.dumps(values, default=str, allow_nan=False, skipkeys=True)
        except (ValueError, TypeError, RecursionError):  # of an author's extra
            line = json.dumps({name: str(value) for name, value in values.items()})
        return line.replace("\x7f", "\\u007f")
