"""Events for a command's output, from the application's hooks and the transports' log records."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from oddwire.app import TraceEvent, hookimpl
from oddwire.app.dispatch.error_peers import with_peer
from oddwire.cli.events import Event, Printer
from oddwire.errors import OddwireError, ReplyTimeout
from oddwire.log_format import LineFormatter
from oddwire.log_limits import LIMITED, cut, guard_process
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, schema_of

if TYPE_CHECKING:
    from oddwire.app import Application, Peer

__all__ = ["Reporter", "log_to"]


_MOST_TEXT = 2000  # max characters of a reason or an error, which may quote what a peer sent


class Reporter:
    """A plugin that prints connections, messages and failures. Load it first, so that it reports before others act.

    Messages without a handler are marked as such, unless the command itself ``takes_all`` messages.
    """

    name = "oddwire.cli"

    def __init__(self, printer: Printer, takes_all: bool = False) -> None:
        self._printer = printer
        self._takes_all = takes_all
        self._names: dict[int, str] = {}
        self._shown: set[NodeId] = set()

    @hookimpl
    def startup(self, app: Application) -> None:
        """Read the names of messages from the registry."""
        self._names = {schema.type_id: name for name, schema in app.registry.by_name.items()}

    @hookimpl
    def peer_connected(self, peer: Peer) -> None:
        """Print that a peer has connected, unless it was printed before its first message."""
        if peer.node_id not in self._shown:
            self._connected(peer)

    @hookimpl
    def peer_disconnected(self, peer: Peer, reason: str) -> None:
        """Print that a peer has disconnected."""
        self._shown.discard(peer.node_id)
        self._printer.event(Event(event="disconnected", peer=peer.node_id, text=cut(reason, _MOST_TEXT)))

    @hookimpl
    def message_traced(self, app: Application, event: TraceEvent) -> None:
        """Print a message; one that cannot be decoded is printed as received, and then the error."""
        # A reliable message may be sent to a peer that is not connected: it waits
        if event.peer not in self._shown and (peer := app.peer(event.peer)).info is not None:
            self._connected(peer)
        if event.direction == "refused":
            what = f"{self._names.get(event.type_id, 'type')} {event.type_id:#06x}"
            self._printer.event(self._error(event, f"{what} refused: {event.error}"))
            return
        shown = Event(
            event=event.direction,
            text=None if self._takes_all or event.handled or event.message is None else "no extension here handles it",
            time=event.time + time.time() - time.monotonic(),
            peer=event.peer,
            type_id=event.type_id,
            schema=self._names.get(event.type_id),
            message=event.message,
            payload=event.payload,
            latency=event.latency,
        )
        self._printer.event(shown)
        if event.error is not None:
            self._printer.event(self._error(event, cut(str(event.error), _MOST_TEXT)))

    def _error(self, event: TraceEvent, text: str) -> Event:
        return Event(
            event="error",
            peer=event.peer,
            type_id=event.type_id,
            schema=self._names.get(event.type_id),
            payload=event.payload,
            text=text,
        )

    @hookimpl
    def handler_failed(self, peer: Peer | None, extension: str, what: str, error: BaseException) -> None:
        """Print what failed; the log has its traceback."""
        text = f"{what} of {extension!r} failed: {type(error).__name__}: {with_peer(error)}"
        node_id = None if peer is None else peer.node_id
        self._printer.event(Event(event="error", peer=node_id, text=cut(text, _MOST_TEXT)))

    @hookimpl
    def delivery_failed(self, peer: Peer, extension: str, message: Message | None, error: OddwireError) -> None:
        """Print a message of ours that was not delivered, or not settled in time; the log has its code and age."""
        what = f"a message of {extension or 'an extension that is not loaded'}"
        if message is not None:
            type_id = schema_of(message).type_id
            what = f"{self._names.get(type_id, type(message).__name__)} {type_id:#06x}"
        ended = "settled" if isinstance(error, ReplyTimeout) else "delivered"
        self._printer.event(Event(event="error", peer=peer.node_id, text=f"{what} was not {ended}: {error}"))

    def _connected(self, peer: Peer) -> None:
        info = peer.info
        self._shown.add(peer.node_id)
        address = "" if info is None else info.address
        uri = f"{peer.node_id}@{address}" if info is not None and info.direction == "out" and address else None
        self._printer.event(Event(event="connected", peer=peer.node_id, address=address or None, uri=uri))


class _Lines(logging.Handler):
    """A `logging` handler that prints records on stderr."""

    def __init__(self, printer: Printer, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.addFilter(LIMITED)
        self._printer = printer
        self.setFormatter(LineFormatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # arguments that do not fit the message
            self.handleError(record)
        else:
            self._printer.log(text)


class _Errors(logging.Handler):
    """A `logging` handler that prints errors of transports as events: a failed dial, an error that a peer sent."""

    def __init__(self, printer: Printer) -> None:
        super().__init__(logging.INFO)
        self.addFilter(LIMITED)
        self._printer = printer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except Exception:
            self.handleError(record)
        else:
            self._printer.event(Event(event="error", text=text))


def log_to(printer: Printer, level: int = logging.INFO) -> None:
    """Print oddwire's log on stderr and, with JSON, errors of the transports also on stdout as events.

    Records of others, such as asyncio or an extension, are printed from level WARNING on, if they have no handler.
    """
    logging.lastResort = _Lines(printer, logging.WARNING)
    guard_process()
    logger = logging.getLogger("oddwire")
    logger.setLevel(level)
    logger.propagate = False
    logger.addHandler(_Lines(printer))
    if printer.as_json:
        logging.getLogger("oddwire.transports").addHandler(_Errors(printer))
