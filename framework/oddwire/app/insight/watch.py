"""Makes events of connections, messages and failures: for the output of a command, and for who looks on for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from oddwire import clocks
from oddwire.app.dispatch.error_peers import with_peer
from oddwire.app.hookspecs import TraceEvent, hookimpl
from oddwire.app.insight.events import Event
from oddwire.errors import OddwireError, ReplyTimeout
from oddwire.log_limits import cut
from oddwire.proto.keys import NodeId
from oddwire.schema import Message, schema_of

if TYPE_CHECKING:
    from oddwire.app.application import Application
    from oddwire.app.context import Peer

__all__ = ["Watch"]

E = TypeVar("E", bound=Event)

_MOST_TEXT = 2000  # max characters of a reason or an error, which may quote what a peer sent


class Watch(Generic[E]):
    """Calls ``show`` with each event, made by ``make``; a plugin, whose hooks may also be called without its being one.

    Messages without a handler are marked as such, unless ``takes_all``. ``connected`` are peers that need no event.
    """

    name = "oddwire.watch"

    def __init__(
        self,
        make: Callable[..., E],
        show: Callable[[E], object],
        takes_all: bool = False,
        names: dict[int, str] | None = None,
        connected: Iterable[NodeId] = (),
    ) -> None:
        self._make = make
        self._show = show
        self._takes_all = takes_all
        self._names = {} if names is None else names
        self._shown = {*connected}

    @hookimpl
    def startup(self, app: Application) -> None:
        """Read the names of messages from the registry."""
        self._names = {schema.type_id: name for name, schema in app.registry.by_name.items()}

    @hookimpl
    def peer_connected(self, peer: Peer) -> None:
        """Show that a peer has connected, unless it was shown before its first message."""
        if peer.node_id not in self._shown:
            self._connected(peer)

    @hookimpl
    def peer_disconnected(self, peer: Peer, reason: str) -> None:
        """Show that a peer has disconnected."""
        self._shown.discard(peer.node_id)
        self._show(self._make(event="disconnected", peer=peer.node_id, text=cut(reason, _MOST_TEXT)))

    @hookimpl
    def message_traced(self, app: Application, event: TraceEvent) -> None:
        """Show a message; one that cannot be decoded is shown as received, and then the error."""
        # A reliable message may be sent to a peer that is not connected: it waits
        if event.peer not in self._shown and (peer := app.peer(event.peer)).info is not None:
            self._connected(peer)
        if event.direction == "refused":
            what = f"{self._names.get(event.type_id, 'type')} {event.type_id:#06x}"
            self._show(self._error(event, f"{what} refused: {event.error}"))
            return
        shown = self._make(
            event=event.direction,
            text=None if self._takes_all or event.handled or event.message is None else "no extension here handles it",
            time=event.time + clocks.wall() - clocks.monotonic(),
            peer=event.peer,
            type_id=event.type_id,
            schema=self._names.get(event.type_id),
            message=event.message,
            payload=event.payload,
            latency=event.latency,
        )
        self._show(shown)
        if event.error is not None:
            self._show(self._error(event, cut(str(event.error), _MOST_TEXT)))

    def _error(self, event: TraceEvent, text: str) -> E:
        return self._make(
            event="error",
            peer=event.peer,
            type_id=event.type_id,
            schema=self._names.get(event.type_id),
            payload=event.payload,
            text=text,
        )

    @hookimpl
    def handler_failed(self, peer: Peer | None, extension: str, what: str, error: BaseException) -> None:
        """Show what failed; the log has its traceback."""
        text = f"{what} of {extension!r} failed: {type(error).__name__}: {with_peer(error)}"
        node_id = None if peer is None else peer.node_id
        self._show(self._make(event="error", peer=node_id, text=cut(text, _MOST_TEXT)))

    @hookimpl
    def delivery_failed(self, peer: Peer, extension: str, message: Message | None, error: OddwireError) -> None:
        """Show a message of ours that was not delivered, or not settled in time; the log has its code and age."""
        what = f"a message of {extension or 'an extension that is not loaded'}"
        if message is not None:
            type_id = schema_of(message).type_id
            what = f"{self._names.get(type_id, type(message).__name__)} {type_id:#06x}"
        ended = "settled" if isinstance(error, ReplyTimeout) else "delivered"
        self._show(self._make(event="error", peer=peer.node_id, text=f"{what} was not {ended}: {error}"))

    def _connected(self, peer: Peer) -> None:
        info = peer.info
        self._shown.add(peer.node_id)
        address = "" if info is None else info.address
        uri: Any = f"{peer.node_id}@{address}" if info is not None and info.direction == "out" and address else None
        self._show(self._make(event="connected", peer=peer.node_id, address=address or None, uri=uri))
