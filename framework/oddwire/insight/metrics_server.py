"""A small HTTP server with one page, ``/metrics``. It keeps nothing of its clients, and waits for none of them long."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from oddwire.errors import TransportError
from oddwire.log_limits import get_logger
from oddwire.printable import printable
from oddwire.proto.addresses import join_address, parse_address

__all__ = ["PATH", "MetricsServer", "parse_metrics_address"]

logger = get_logger("oddwire.insight")

PATH: Final = "/metrics"
"""The one page."""

_MOST_HEAD: Final = 8192  # bytes of a request's head
_PATIENCE: Final = 10.0  # seconds for a request to come, and for its answer to be read
_MOST_CLIENTS: Final = 16
_MOST_WAITING: Final = 64  # clients that are told to come later; more are dropped
_REST: Final = 128  # reads of what a client sends beyond its request
_TEXT: Final = "text/plain; charset=utf-8"


def parse_metrics_address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``. Raises `ValueError`; the port has to be given: there is no usual one."""
    host, port = parse_address(text, default_port=0, any_name=True)
    if not port and not text.endswith(":0"):
        raise ValueError(f"{text!r:.100} should be HOST:PORT, 127.0.0.1:9464 say")
    return host, port


class MetricsServer:
    """Answers GET and HEAD of `PATH` with what ``answer`` returns for the ``Accept`` header: content type and body."""

    def __init__(self, answer: Callable[[str], tuple[str, bytes]]) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int) -> str:
        """Listen; return the address, ``HOST:PORT``. Raises `TransportError`, which names it."""
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=_MOST_HEAD)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)
            raise TransportError(f"metrics cannot be served at {join_address(host, port)}: {printable(why)}") from error
        return join_address(*self._server.sockets[0].getsockname()[:2])

    async def aclose(self) -> None:
        """Stop listening, and drop the clients. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        clients = [*self._clients]
        for client in clients:
            client.cancel()
        if clients:
            await asyncio.wait(clients)
        if server is not None:
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        assert me is not None  # noqa: S101 - narrows the type for checkers
        busy = len(self._clients) >= _MOST_CLIENTS
        self._clients.add(me)
        try:
            async with asyncio.timeout(_PATIENCE if len(self._clients) <= _MOST_WAITING else 0):
                writer.write(await self._respond(reader, busy=busy))
                writer.write_eof()
                for _ in range(_REST):  # what is closed with bytes unread may lose the answer
                    if not await reader.read(_MOST_HEAD):
                        break
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            logger.debug("a client that asked for metrics has gone, or was too slow")
        except asyncio.CancelledError:
            pass  # the server is closed
        finally:
            self._clients.discard(me)
            with contextlib.suppress(OSError, RuntimeError):
                writer.transport.abort()
            del me

    async def _respond(self, reader: asyncio.StreamReader, *, busy: bool) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The request's head is too large.\n")
        if busy:
            return _response(HTTPStatus.SERVICE_UNAVAILABLE, "Too many ask at once.\n")
        request, *lines = head.decode("latin-1").split("\r\n")
        parts = request.split(" ")
        if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
            return _response(HTTPStatus.BAD_REQUEST, "This is no HTTP/1.1 request.\n")
        method, target, _ = parts
        if method not in ("GET", "HEAD"):
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, "There is only GET here.\n", "Allow: GET, HEAD\r\n")
        if target.partition("?")[0] != PATH:
            return _response(HTTPStatus.NOT_FOUND, f"There is only {PATH} here.\n")
        headers = (line.partition(":") for line in lines)
        accept = ",".join(value.strip() for name, _, value in headers if name.lower() == "accept")
        try:
            content_type, body = self._answer(accept)
        except Exception:
            logger.exception("metrics cannot be told")
            return _response(HTTPStatus.INTERNAL_SERVER_ERROR, "See the program's log.\n")
        return _whole(HTTPStatus.OK, content_type, body, with_body=method == "GET")


def _response(status: HTTPStatus, text: str, headers: str = "") -> bytes:
    return _whole(status, _TEXT, text.encode(), headers=headers)


def _whole(status: HTTPStatus, content_type: str, body: bytes, *, headers: str = "", with_body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    )
    return head.encode("latin-1") + (body if with_body else b"")
