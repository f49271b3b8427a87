"""A JSON-RPC server on a unix socket: it splits requests and writes answers, and does not interpret them."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final, cast

from oddwire.errors import OddwireError, TransportError
from oddwire.jsonrpc.documents import JsonSplitter, Oversize, Shortcut, encode
from oddwire.jsonrpc.socket_path import socket_address
from oddwire.log_limits import get_logger

__all__ = ["INVALID_REQUEST", "MAX_REQUEST", "Handler", "JsonRpcServer", "RpcConnection"]

logger = get_logger("oddwire.jsonrpc")

MAX_REQUEST: Final = 4 * 1024 * 1024
"""Default max bytes of a request."""
INVALID_REQUEST: Final = -32600

Handler = Callable[[Any, "RpcConnection"], "bytes | Coroutine[Any, Any, bytes] | None"]
"""From a parsed document and its connection, returns the answer's bytes, or a coroutine for them. Never raises."""

# As lightningd: a client that sends without end yields to others after this many requests
_TURN: Final = 100
_MOST_UNDER_WAY: Final = 1024
_WRITE_HIGH: Final = 256 * 1024
_FLUSH_AT: Final = 64 * 1024
_QUOTED: Final = 1000
_LAST_ANSWER: Final = 1.0
_READ: Final = 64 * 1024
_STALLED: Final = 1.0  # seconds without a byte of a request that is too large
_LAST_ANSWERS: Final = 60.0  # seconds that a client which has closed its half may wait for its answers


class RpcConnection(asyncio.BufferedProtocol):
    """One client's connection. Requests are answered as they complete, not necessarily in order.

    Reading and handling pause while the client has 256 KiB of answers unread or 1024 requests under way. A request that
    is too large, or nested too deep, gets an error that says so, with its id if that is seen, and later requests are
    read as usual. If no byte of such a request arrives for a second, the error comes before its end. After that, or
    after bytes that are not JSON, which get one error with id null, as from lightningd, the connection is closed once
    earlier requests are answered (lightningd leaves such a connection open but ignored: its client waits for ever).
    """

    def __init__(self, server: JsonRpcServer) -> None:
        self.notifications = False
        """Whether this client wants ``message`` and ``progress`` notifications of its calls."""
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._splitter = JsonSplitter(max_size=server.max_document, shortcut=server.shortcut)
        self._transport: asyncio.Transport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._out: list[bytes] = []
        self._out_size = 0
        self._congested = False
        self._reading = True
        self._deaf = False
        self._going_on = False
        self._ended = False
        self._working = False
        self._stalled: asyncio.TimerHandle | None = None
        self._lost: asyncio.Future[None] = self._loop.create_future()

    @property
    def closed(self) -> bool:
        """Whether the client is gone."""
        return self._transport is None

    def send(self, data: bytes) -> None:
        """Write to the client, together with the rest of the event-loop iteration. Dropped if the client is gone."""
        if self._transport is None:
            return
        if not self._out and not self._working:
            self._loop.call_soon(self._flush)
        self._out.append(data)
        self._out_size += len(data)
        if self._out_size >= _FLUSH_AT:
            self._flush()

    def abort(self) -> None:
        """Close at once; requests under way are completed, and their answers dropped."""
        if self._transport is not None:
            self._transport.abort()

    async def finish(self) -> None:
        """Close once requests under way are answered and written, or after two seconds."""
        self._deaf = True
        self._gate()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_ANSWER)
        self._hang_up()
        if self._transport is not None:
            await asyncio.wait([self._lost], timeout=_LAST_ANSWER)
            self.abort()

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has the methods without being derived from it
        if self._server.owner_only and not _is_owner(transport.get_extra_info("socket")):
            logger.warning("JSON-RPC client of another user refused at %s", self._server.path)
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH)
        self._server.connections.add(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: D102
        return self._server.room

    def buffer_updated(self, nbytes: int) -> None:  # noqa: D102
        if not self._deaf:
            self._splitter.push(self._server.room[:nbytes].tobytes())
            if not self._going_on:
                self._work()
            self._watch_oversize()

    def eof_received(self) -> bool:  # noqa: D102
        # A client may close its half and still read its answers
        self._ended = True
        self._refuse_unfinished()
        self._flush()
        unfinished = bool(self._tasks or self._going_on or self._congested)
        if unfinished:
            self._loop.call_later(_LAST_ANSWERS, self.abort)
        return unfinished

    def pause_writing(self) -> None:  # noqa: D102
        self._congested = True

    def resume_writing(self) -> None:  # noqa: D102
        self._congested = False
        self._work()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: D102
        self._transport = None
        self._deaf = True
        if self._stalled is not None:
            self._stalled.cancel()
        self._out.clear()
        self._server.connections.discard(self)
        if not self._lost.done():
            self._lost.set_result(None)

    # Inside

    def _work(self) -> None:
        """Handle received requests, until the client must be waited for."""
        if self._server.on_work is not None:
            self._server.on_work()
        self._going_on = False
        self._working = True
        handler = self._server.handler
        for _ in range(_TURN):
            if self._deaf or self._congested or len(self._tasks) >= _MOST_UNDER_WAY:
                break
            try:
                document = next(self._splitter, None)
            except OddwireError:
                self._garbage()
                break
            if document is None:
                if self._ended and not self._tasks:
                    self._hang_up()
                break
            if type(document) is Oversize:
                answer: bytes | Coroutine[Any, Any, bytes] | None = _too_large(document)
            else:
                answer = document if isinstance(document, bytes) else handler(document, self)
            if isinstance(answer, bytes):
                self.send(answer)
            elif answer is not None:
                task = self._loop.create_task(self._answer_later(answer))
                self._tasks.add(task)
                task.add_done_callback(self._done)
        else:
            self._going_on = True
            self._loop.call_soon(self._work)
        self._working = False
        self._flush()
        self._gate()

    def _watch_oversize(self) -> None:
        """Set the timer that answers a request which is too large even if its end never arrives."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        if self._splitter.oversize is not None and not self._deaf:
            self._stalled = self._loop.call_later(_STALLED, self._refuse_unfinished)

    def _refuse_unfinished(self) -> None:
        document = self._splitter.oversize
        if document is not None and not self._deaf:
            self.send(_too_large(document))
            self._end_after_answers()

    def _gate(self) -> None:
        transport = self._transport
        if transport is None:
            return
        busy = self._congested or self._going_on or len(self._tasks) >= _MOST_UNDER_WAY
        reading = not (busy or self._deaf or self._ended)
        if reading != self._reading and not transport.is_closing():
            self._reading = reading
            if reading:
                transport.resume_reading()
            else:
                transport.pause_reading()

    async def _answer_later(self, answer: Awaitable[bytes]) -> None:
        self.send(await answer)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._deaf and not self._tasks:
            self._hang_up()
        elif self._ended or len(self._tasks) == _MOST_UNDER_WAY - 1:
            self._work()

    def _garbage(self) -> None:
        quoted = self._splitter.rest[:_QUOTED].decode(errors="replace")
        text = f"Failed to parse RPC JSON response '{quoted}'"
        logger.info("JSON-RPC client: %s", text)
        self.send(encode({"jsonrpc": "2.0", "id": None, "error": {"code": INVALID_REQUEST, "message": text}}))
        self._end_after_answers()

    def _end_after_answers(self) -> None:
        self._deaf = True
        if not self._tasks:
            self._loop.call_soon(self._hang_up)

    def _hang_up(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            data = b"".join(self._out)
            self._out.clear()
            self._out_size = 0
            if not self._transport.is_closing():  # the client is gone, and that is told in this turn of the loop
                self._transport.write(data)


def _is_owner(client: socket.socket) -> bool:
    """Return whether a client is a process of our user or root; true where the system does not tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    _, user, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return user in (0, os.geteuid())


def _too_large(document: Oversize) -> bytes:
    text = document.titled("request")
    logger.info("JSON-RPC client: %s", text)
    error = {"code": INVALID_REQUEST, "message": text}
    return encode({"jsonrpc": "2.0", "id": document.member("id"), "error": error})


class JsonRpcServer:
    """Listens at ``path``, readable and writable by its owner alone; ``handler`` answers every request.

    With ``owner_only``, processes of other users than ours and root are refused even if they reach it, where the system
    tells whose they are. A request has max ``max_document`` bytes. ``shortcut`` may answer requests without parsing: it
    returns the answer's bytes and the end of the request, or None without side effects. ``on_work`` is called whenever
    a client's requests are handled.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        handler: Handler,
        *,
        max_document: int = MAX_REQUEST,
        shortcut: Shortcut | None = None,
        on_work: Callable[[], object] | None = None,
        owner_only: bool = False,
    ) -> None:
        self.path = Path(path)
        self.handler = handler
        self.max_document = max_document
        self.shortcut = shortcut
        self.on_work = on_work
        self.owner_only = owner_only
        self.connections: set[RpcConnection] = set()
        self.room = memoryview(bytearray(_READ))
        """The read buffer of all clients, one read after the other: asyncio would allocate four times as much per
        read."""
        self._server: asyncio.Server | None = None
        self._own: tuple[int, int] | None = None

    async def start(self) -> None:
        """Listen. A stale socket of another process is replaced. Raises `TransportError`.

        It also raises if somebody answers at that socket, or if anything else is at the path, which is left alone.
        """
        loop = asyncio.get_running_loop()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._make_way()
            before = os.umask(0o177)
            try:
                with socket_address(self.path) as address:
                    listening.bind(address)  # with its final mode
            finally:
                os.umask(before)
            self._own = self._identity()
            listening.setblocking(False)
            self._server = await loop.create_unix_server(lambda: RpcConnection(self), sock=listening)
        except OSError as error:
            listening.close()
            raise TransportError(f"cannot listen at {self.path}: {error.strerror or error}") from error

    def _make_way(self) -> None:
        try:
            status = self.path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(status.st_mode):
            text = "something that is no socket is there; move it away"
            raise FileExistsError(errno.EEXIST, text, str(self.path))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking, socket_address(self.path) as address:
            asking.setblocking(False)
            try:
                asking.connect(address)
            except ConnectionRefusedError:
                self.path.unlink(missing_ok=True)  # stale
                return
            except BlockingIOError:
                pass  # its listener is alive, with a full backlog
        raise OSError(errno.EADDRINUSE, "another process listens there; stop it, or choose another folder")

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self.path.lstat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def stop_listening(self) -> None:
        """Remove the socket; clients that are connected stay. Idempotent."""
        if self._server is not None:
            self._server.close()
            self._server = None
            if self._identity() == self._own:  # otherwise another process has put its own in our place
                self.path.unlink(missing_ok=True)

    async def aclose(self) -> None:
        """Stop listening, and close every client once it has its answers (it has a second to read them)."""
        self.stop_listening()
        await asyncio.gather(*(connection.finish() for connection in list(self.connections)))
