"""Records of `logging` as text in which nothing of a record can pass for another one, or steer a terminal."""

from __future__ import annotations

import logging

from oddwire.printable import indented, printable

__all__ = ["LineFormatter"]


class LineFormatter(logging.Formatter):
    """Writes a record on one line that is `printable`, and a traceback or stack below it, each of its lines indented.

    Messages and exceptions hold what peers and files say, so this is what every handler of ours formats with.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the record's one line."""
        return printable(super().formatMessage(record).rstrip("\n"))  # those of Python's warnings end in one

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and indented below it the traceback and the stack, if there are."""
        record.message = record.getMessage()
        if self.usesTime():
            record.asctime = self.formatTime(record, self.datefmt)
        return "\n".join([self.formatMessage(record), *self.details(record)])

    def details(self, record: logging.LogRecord) -> list[str]:
        """Return the lines of the traceback and the stack."""
        parts = []
        if record.exc_info and record.exc_info[0]:
            parts.append(record.exc_text or self.formatException(record.exc_info))  # it may have been cut before
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return [line for part in parts for line in indented(part).split("\n")]
