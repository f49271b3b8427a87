"""Log records as text that cannot forge another record or send control characters to a terminal."""

from __future__ import annotations

import logging

from oddwire.printable import indented, printable

__all__ = ["LineFormatter"]


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
