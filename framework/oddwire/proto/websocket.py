"""BOLT 8 over WebSocket (RFC 6455), as Core Lightning's ``bind-addr=ws:`` takes it.

The bytes of the BOLT 8 stream go in binary frames; where a frame begins and ends means nothing. The websockets package
parses and writes frames; this module joins it to asyncio and to a `LightningConnection`, for which a `WebSocketLink` is
the transport. It adds what the package leaves to its callers: limits, turns, and flow control.
"""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import Any, Final, cast

from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from oddwire.errors import TransportError
from oddwire.proto.connection import LightningConnection
from oddwire.proto.connection_states import ConnectionState
from oddwire.proto.framing import LOOK_AFTER
from oddwire.proto.sharing import LoopShare, work_clock

__all__ = ["MAX_WEBSOCKET_FRAME", "WebSocketLink"]

MAX_WEBSOCKET_FRAME: Final = 128 * 1024
"""Max bytes of a frame that is received: a frame is kept until it is whole. Core Lightning sends at most 65535."""
_SENT: Final = 65535  # max bytes of a frame that is sent
_MAX_HEAD: Final = 16 * 1024  # bytes of an HTTP request or response
_MAX_BEFORE_OPEN: Final = 16 * 1024  # bytes of frames before the BOLT 8 handshake is over, which takes 116
_SOME: Final = 0.25  # part of the bytes received that has to be BOLT 8's; less is useless work


_NO_UPGRADE: Final = "it hung up before the upgrade to WebSocket"


class _Quiet(logging.LoggerAdapter[logging.Logger]):
    """Logs only faults of the package: every stranger can open and break connections."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        return level >= logging.ERROR


class WebSocketLink(asyncio.Protocol, asyncio.Transport):
    """A WebSocket connection: the protocol of a socket, and the transport of a `LightningConnection`.

    Without ``uri`` it is a server's; with one (``ws://host:port``) it asks for the upgrade, and keeps what the
    connection writes until the server has agreed. A peer's close frame is to the connection the end of the stream.
    ``share`` divides the loop's time with other connections.
    """

    def __init__(self, connection: LightningConnection, share: LoopShare, uri: str | None = None) -> None:
        super().__init__()
        log = _Quiet(logging.getLogger("oddwire.proto"), {})
        # No extensions: permessage-deflate would let a few bytes grow to megabytes. Messages of any length, as each
        # frame is passed on by itself.
        size = (None, MAX_WEBSOCKET_FRAME)
        self._protocol: ServerProtocol | ClientProtocol = (
            ServerProtocol(max_size=size, logger=log)
            if uri is None
            else ClientProtocol(parse_uri(uri), max_size=size, logger=log)
        )
        self._connection = connection
        self._share = share
        self._socket: asyncio.Transport
        self._early: list[bytes] = []  # written by the connection before the upgrade
        self._upgraded = False
        self._over = False  # nothing is parsed any more
        self._ending = False  # a frame has come that nothing follows: the peer's close frame, or one against the rules
        self._rest = b""  # received and not parsed
        self._before_open = 0
        self._held = False  # by the connection
        self._sliced = False  # the rest is parsed in a later iteration
        self._choked = False  # until the peer has read its pongs
        self._writing_paused = False

    # Called by asyncio --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        self._socket = cast("asyncio.Transport", transport)
        if isinstance(self._protocol, ClientProtocol):
            self._protocol.send_request(self._protocol.connect())
            self._flush()
        self._connection.connection_made(self)

    def data_received(self, data: bytes) -> None:  # noqa: D102
        if self._over:
            return
        self._rest = self._rest + data if self._rest else data
        if not (self._held or self._sliced or self._choked):
            self._parse()

    def eof_received(self) -> bool:  # noqa: D102
        if self._over:
            return False
        self._over = True
        if not self._upgraded and isinstance(self._protocol, ClientProtocol):
            self._fail(_NO_UPGRADE)
            return False
        self._protocol.receive_eof()
        return self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        if not (self._over or self._upgraded) and isinstance(self._protocol, ClientProtocol):
            self._fail(_NO_UPGRADE)
        self._over = True
        self._rest = b""
        self._early.clear()
        self._connection.connection_lost(exc)
        self._protocol.parser.close()  # its frame and the protocol refer to each other

    def pause_writing(self) -> None:  # noqa: D102
        self._writing_paused = True
        self._connection.pause_writing()

    def resume_writing(self) -> None:  # noqa: D102
        self._writing_paused = self._choked = False
        self._connection.resume_writing()
        self._go_on()

    # Called by the connection -------------------------------------------------------------------------

    def write(self, data: Any) -> None:  # noqa: D102
        if not self._upgraded:
            self._early.append(bytes(data))
        elif self._protocol.state is State.OPEN:
            for start in range(0, len(data), _SENT):
                self._protocol.send_binary(data[start : start + _SENT])
            self._flush()

    def write_eof(self) -> None:
        """Send a close frame; what comes until the peer's own is ignored."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
            self._flush()

    def can_write_eof(self) -> bool:  # noqa: D102
        return True

    def pause_reading(self) -> None:  # noqa: D102
        self._held = True
        self._socket.pause_reading()

    def resume_reading(self) -> None:  # noqa: D102
        self._held = False
        self._go_on()

    def is_closing(self) -> bool:  # noqa: D102
        return self._socket.is_closing()

    def close(self) -> None:  # noqa: D102
        self._socket.close()

    def abort(self) -> None:  # noqa: D102
        self._socket.abort()

    def get_write_buffer_size(self) -> int:  # noqa: D102
        return self._socket.get_write_buffer_size() + sum(map(len, self._early))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:  # noqa: D102
        self._socket.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: D102
        return self._socket.get_extra_info(name, default)

    # Inside -------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        if self._held or self._sliced or self._choked or self._socket.is_closing():
            return
        if self._rest or (self._ending and not self._over):
            self._sliced = True
            self._share.next_turn(self._next_slice)
        else:
            self._socket.resume_reading()

    def _next_slice(self) -> None:
        self._sliced = False
        if self._held or self._choked or self._over:
            return
        try:
            self._parse()
        except BaseException:
            self._connection.abort("on_message failed")  # as asyncio does when `data_received` raises
            raise

    def _parse(self) -> None:
        """Parse what has come for a slice of time, and pass on what is BOLT 8's."""
        until = perf_counter() + self._share.turn_seconds
        data, at, useful, work = self._rest, 0, 0, 0.0
        if not self._upgraded:
            at = self._upgrade(data)
        # In small pieces: an empty frame has six bytes
        while at < len(data) and self._upgraded and not (self._ending or self._held or self._choked):
            piece = data[at : at + LOOK_AFTER]
            at += len(piece)
            start = work_clock()
            self._protocol.receive_data(piece)
            payload = self._payload()
            work += work_clock() - start
            self._flush(answers=True)
            if payload:
                useful += len(payload)
                self._deliver(payload)
            if self._connection.state is ConnectionState.HANDSHAKE:
                self._before_open += len(piece)
                if self._before_open > _MAX_BEFORE_OPEN:
                    self._fail("too many bytes before the handshake is over")
            if perf_counter() >= until:
                break
        self._rest = b"" if self._over or self._ending else data[at:]
        if self._ending and not (self._held or self._over):
            self._end()  # not while held: what came before is not handled yet
        if at and useful < at * _SOME and work:
            self._connection.charge(work, wasted=True)  # this may hold us
        if self._rest or self._ending or self._held or self._choked:
            self._socket.pause_reading()
        self._go_on()

    def _upgrade(self, data: bytes) -> int:
        """Parse the HTTP request, or the response to ours, once it is whole; return its size."""
        size = data.find(b"\r\n\r\n", 0, _MAX_HEAD) + 4
        if size < 4:
            if len(data) >= _MAX_HEAD:
                self._fail(f"no HTTP header ends within {_MAX_HEAD} bytes")
            return 0
        start = work_clock()
        protocol, status = self._protocol, data[: data.find(b"\r\n")]
        if isinstance(protocol, ClientProtocol) and not status.startswith(b"HTTP/1.1 101 "):
            self._fail(f"it refuses the upgrade to WebSocket: {status[:80].decode('latin-1')!r}")
            return 0
        protocol.receive_data(data[:size])
        for event in protocol.events_received():
            if isinstance(event, Request) and isinstance(protocol, ServerProtocol):
                protocol.send_response(protocol.accept(event))
        self._flush()
        if protocol.handshake_exc is not None:
            self._fail(f"no upgrade to WebSocket: {protocol.handshake_exc}")
            return 0
        self._upgraded = True
        if isinstance(protocol, ServerProtocol):
            self._share.handshakes.spend(work_clock() - start)
        early, self._early = self._early, []
        for written in early:
            self.write(written)
        return size

    def _payload(self) -> bytes:
        """Return what the frames parsed last carry of the BOLT 8 stream."""
        parts, protocol = [], self._protocol
        self._ending = protocol.close_rcvd is not None or protocol.parser_exc is not None
        for event in protocol.events_received():
            if not isinstance(event, Frame):
                continue
            if event.opcode is Opcode.TEXT:
                protocol.fail(CloseCode.UNSUPPORTED_DATA, "BOLT 8 goes in binary frames, not in text")
                self._ending = True
                break
            if event.opcode is Opcode.BINARY or event.opcode is Opcode.CONT:
                parts.append(event.data)
        return b"".join(parts)

    def _deliver(self, payload: bytes) -> None:
        left = memoryview(payload)
        while left:
            room = self._connection.get_buffer(len(left))
            size = min(len(room), len(left))
            room[:size] = left[:size]
            self._connection.buffer_updated(size)
            left = left[size:]

    def _end(self) -> None:
        """End the connection, as the peer has closed it, or has broken the rules of RFC 6455 or ours."""
        protocol = self._protocol
        if protocol.close_rcvd is None or protocol.parser_exc is not None:
            self._fail(f"{protocol.parser_exc or protocol.close_sent}")
            return
        self._over = True
        if not self._connection.eof_received():
            self._socket.close()

    def _fail(self, why: str) -> None:
        self._over = True
        reason = f"WebSocket: {why}"
        if self._connection.state is ConnectionState.OPEN:
            self._connection.close(reason)  # it lingers, for the peer to read the close frame
            if self._socket.can_write_eof() and not self._socket.is_closing():
                self._socket.write_eof()
        else:
            self._connection.abort(reason, TransportError(reason))

    def _flush(self, *, answers: bool = False) -> None:
        for data in self._protocol.data_to_send():
            if data:  # not the mark of the stream's end, which `_fail` and `close` bring about
                self._socket.write(data)
                # A peer that does not read what it makes us write, pongs above all, is not read either
                if answers and self._writing_paused and not self._choked:
                    self._choked = True
                    self._socket.pause_reading()
