"""Every frame of the session as a line of the log, at DEBUG. Put in place at the start, if that level is on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from oddwire.log_limits import get_logger
from oddwire.proto.keys import NodeId
from oddwire.session.constants import SESSION_TYPE, SESSION_TYPE_BYTES
from oddwire.session.wire.summaries import summary
from oddwire.transports.base import PeerInfo, Sink, Transport

__all__ = ["FrameLog"]

logger = get_logger("oddwire.session.frames")

_EXTRA: Final = {"type": SESSION_TYPE}


class FrameLog:
    """Logs the frames that ``transport`` sends, and those on their way to a sink: see `around`.

    To be created before anything keeps the transport's ``send``. ``title_of`` returns the name of a message type.
    """

    def __init__(self, transport: Transport, title_of: Callable[[int], str]) -> None:
        self._title_of = title_of
        _log_sent(transport, title_of)

    def around(self, sink: Sink) -> Sink:
        """Return a sink that logs frames, and passes everything on to ``sink``."""
        return _LoggedSink(sink, self._title_of)


class _LoggedSink:
    def __init__(self, sink: Sink, title_of: Callable[[int], str]) -> None:
        self._sink = sink
        self._title_of = title_of

    def peer_connected(self, peer: PeerInfo) -> None:
        """Pass the event on."""
        self._sink.peer_connected(peer)

    def payload_received(self, peer: NodeId, payload: bytes) -> None:
        """Log a frame, and pass the payload on."""
        if payload[:2] == SESSION_TYPE_BYTES:
            _log("<-", peer, payload, self._title_of)
        self._sink.payload_received(peer, payload)

    def peer_disconnected(self, peer: NodeId, reason: str) -> None:
        """Pass the event on."""
        self._sink.peer_disconnected(peer, reason)

    def settled(self, peer: NodeId, call: Callable[[], object]) -> None:
        """Pass the question on."""
        self._sink.settled(peer, call)

    def host_stopping(self, reason: str) -> None:
        """Pass the event on."""
        self._sink.host_stopping(reason)


def _log_sent(transport: Transport, title_of: Callable[[int], str]) -> None:
    send, send_nowait = transport.send, transport.send_nowait

    async def logged(peer: NodeId, payload: bytes) -> None:
        if payload[:2] == SESSION_TYPE_BYTES:
            _log("->", peer, payload, title_of)
        await send(peer, payload)

    def logged_nowait(peer: NodeId, payload: bytes) -> bool:
        sent = send_nowait(peer, payload)
        if sent and payload[:2] == SESSION_TYPE_BYTES:
            _log("->", peer, payload, title_of)
        return sent

    replaced: dict[str, Any] = {"send": logged, "send_nowait": logged_nowait}
    for name, function in replaced.items():
        try:
            setattr(transport, name, function)
        except AttributeError:  # a transport of somebody else's, with slots
            logger.debug("frames that %s sends are not logged: it has __slots__", type(transport).__name__)
            return


def _log(arrow: str, peer: NodeId, payload: bytes, title_of: Callable[[int], str]) -> None:
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("%s %s %s", arrow, peer, summary(payload, title_of), extra=_EXTRA)
