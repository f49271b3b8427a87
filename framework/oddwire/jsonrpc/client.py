"""A JSON-RPC client for lightningd's socket: one connection, any number of concurrent calls."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, cast

from oddwire.errors import ConnectionClosed, NodeRefused, OddwireError, TransportError
from oddwire.jsonrpc.documents import MAX_DOCUMENT_VARIABLE, JsonSplitter, Oversize, encode
from oddwire.jsonrpc.documents import max_document as default_max_document
from oddwire.jsonrpc.socket_path import socket_address
from oddwire.log_limits import get_logger

__all__ = ["JsonRpcClient"]

logger = get_logger("oddwire.jsonrpc")

_EARLY: Final = 2048  # bytes written at once, so that the node works on these requests while we write more
_BUSY: Final = 16  # unanswered requests: with these the node has enough to do, and a write is dear
_READ: Final = 1 << 16
_HEAD: Final = '{"jsonrpc":"2.0","id":"'  # the start of an answer, as lightningd writes it
_OURS: Final = "oddwire:"  # prefix of the ids of calls
_LONGEST: Final = 64  # max characters of an id in an answer of the fast path


class JsonRpcClient:
    """Calls the methods of a node through its unix socket at ``path``.

    The connection is made by the first call, is shared by all, and is made anew by the first call after it was lost.
    Calls may be concurrent; answers are matched by id. ``on_notification`` is called with method and parameters of each
    notification, once ``notifications`` is enabled. Answers have max ``max_document`` bytes, by default `MAX_DOCUMENT`
    or the value of the environment variable ODDWIRE_MAX_DOCUMENT; a call with a larger answer fails alone. ``usual`` is
    a flat result that nearly all calls get: as lightningd writes it, it takes a fast path and is not parsed.

    An async context manager; leaving it closes the connection.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        on_notification: Callable[[str, Any], object] | None = None,
        max_document: int | None = None,
        usual: Mapping[str, str] | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self._usual = usual
        self._on_notification = on_notification
        self._max_document = default_max_document() if max_document is None else max_document
        self._wire: _Wire | None = None
        self._opening: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)  # the numbers of calls
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._wire is not None and self._wire.is_open

    async def call(
        self,
        method: str,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the answer is dropped, the request stands
        result_filter: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call one method and return its result.

        ``params`` by name or by position; ``result_filter`` makes the node leave out of the result what it does not
        name. Raises `NodeRefused` with the node's error; `ConnectionClosed` if there is no node at the socket or the
        connection is lost, in which case the call may or may not have been executed; `TransportError` if the answer is
        larger than ``max_document``, in which case it was; `TimeoutError` after ``timeout`` seconds. If cancelled, a
        request that was written stands, and its answer is dropped.
        """
        text = encode(params or {})[:-2]
        if result_filter is not None:
            text += b',"filter":' + encode(result_filter)[:-2]
        wire = self._current()
        key, answer = wire.ask(method, text)
        try:
            if timeout is None:
                return await answer
            async with asyncio.timeout(timeout):
                return await answer
        finally:
            wire.drop(key)

    def begin(self, method: str, params: bytes) -> asyncio.Future[Any]:
        """Begin a call with ``params`` in JSON; return the future of its result, which fails as `call` does.

        The calls of one event-loop iteration go out in few writes. If the future is cancelled, the answer is dropped,
        and the request, too, if it was not written yet. Raises `ConnectionClosed` once the client is closed.
        """
        _, answer = self._current().ask(method, params)
        return answer

    async def connect(self) -> None:
        """Connect now, not with the first call. Raises `ConnectionClosed`."""
        wire = self._current()
        if self._opening is not None:
            await asyncio.shield(self._opening)
        if wire.reason is not None:
            raise ConnectionClosed(wire.reason)

    def _current(self) -> _Wire:
        """Return the connection, established or in progress: requests made meanwhile go out in order."""
        if self._closed:
            raise ConnectionClosed("this client was closed")
        if self._wire is None or self._wire.reason is not None:
            loop = asyncio.get_running_loop()
            self._wire = _Wire(loop, self._max_document, self._on_notification, self._usual, self._numbers)
            self._opening = loop.create_task(self._open(self._wire))
        return self._wire

    async def _open(self, wire: _Wire) -> None:
        try:
            with socket_address(self.path) as address:
                await asyncio.get_running_loop().create_unix_connection(lambda: wire, address)
        except OSError as error:
            wire.end(f"no node answers at {self.path}: {error.strerror or error}")

    async def aclose(self) -> None:
        """Close the connection; calls under way raise `ConnectionClosed`. Idempotent."""
        self._closed = True
        if self._opening is not None:
            await asyncio.shield(self._opening)
        if self._wire is not None:
            await self._wire.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class _Wire(asyncio.BufferedProtocol):
    """One connection of a client. It reads into one buffer, as asyncio would allocate memory for each read."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        max_document: int,
        on_notification: Callable[[str, Any], object] | None,
        usual: Mapping[str, str] | None,
        numbers: Iterator[int],
    ) -> None:
        self.reason: str | None = None
        self._loop = loop
        self._usual = dict(usual or {})
        self._tail = f'","result":{encode(self._usual).decode()[:-2]}}}\n\n'
        self._reach = _LONGEST + len(self._tail)
        # An answer with the usual result is never too large
        self._sees = usual is not None and len(_HEAD) + self._reach <= max_document
        self._splitter = JsonSplitter(
            max_size=max_document,
            raise_with=f" (max_document, or {MAX_DOCUMENT_VARIABLE} in the environment, allows more)",
        )
        self._buffer = memoryview(bytearray(_READ))
        self._numbers = numbers
        self._on_notification = on_notification
        self._answers: dict[str, asyncio.Future[Any]] = {}
        self._out: list[tuple[str, asyncio.Future[Any], bytes]] = []
        self._queued = 0
        self._transport: asyncio.Transport | None = None
        self._lost = loop.create_future()

    def ask(self, method: str, params: bytes) -> tuple[str, asyncio.Future[Any]]:
        """Begin a call; return its id, and the future of its result."""
        name, before, after = _parts(method)
        number = next(self._numbers)
        key = f"{name}{number}"
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self.reason is not None:
            answer.set_exception(ConnectionClosed(self.reason))
            return key, answer
        self._answers[key] = answer
        if not self._out:
            self._loop.call_soon(self._flush)
        request = b"%b%d%b%b}\n\n" % (before, number, after, params)
        self._out.append((key, answer, request))
        self._queued += len(request)
        if (
            self._queued >= _EARLY
            and len(self._answers) - len(self._out) < _BUSY
            and self._transport is not None
            and not self._transport.get_write_buffer_size()
        ):
            self._flush()
        return key, answer

    def drop(self, key: str) -> None:
        self._answers.pop(key, None)

    async def aclose(self) -> None:
        if self._transport is not None:
            self.end("closed by us")
            await asyncio.shield(self._lost)

    @property
    def is_open(self) -> bool:
        return self._transport is not None and self.reason is None

    def _flush(self) -> None:
        # Callers are not held back: each waits for its answer, so there is one queued request per caller
        if self._transport is not None and self._out:
            requests = []
            for key, answer, request in self._out:
                if answer.done():
                    self.drop(key)  # its caller no longer waits
                else:
                    requests.append(request)
            self._out.clear()
            self._queued = 0
            self._transport.write(b"".join(requests))

    def end(self, reason: str) -> None:
        if self.reason is None:
            self.reason = reason
        for future in self._answers.values():
            if not future.done():
                future.set_exception(ConnectionClosed(self.reason))
        self._answers.clear()
        if self._transport is not None:
            self._transport.abort()

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has the methods without being derived from it
        self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = self._buffer[:nbytes].tobytes()
        if self._sees and not self._splitter.is_partial:
            data = data[self._see_usual(data) :]
            if not data:
                return
        self._splitter.push(data)
        try:
            for document in self._splitter:
                self._take(document)
        except OddwireError as error:
            self.end(f"the node's answer is not JSON-RPC: {error}")

    def _see_usual(self, data: bytes) -> int:
        """Complete the calls whose usual answers a chunk begins with; return the offset of the rest."""
        try:
            text = str(data, "ascii")  # one character per byte
        except UnicodeDecodeError:
            return 0
        at, tail, reach, answers = 0, self._tail, self._reach, self._answers
        while text.startswith(_HEAD, at):
            start = at + len(_HEAD)
            end = text.find(tail, start, start + reach)
            answer = None if end < 0 else answers.pop(text[start:end], None)
            if answer is None:
                break
            if not answer.done():
                answer.set_result(self._usual.copy())
            at = end + len(tail)
        return at

    def _take(self, document: Any) -> None:
        if type(document) is Oversize:
            self._take_oversize(document)
            return
        if not isinstance(document, dict):
            self.end("the node's answer is not JSON-RPC: an array")
            return
        key = document.get("id")
        if key is None:
            method = document.get("method")
            if isinstance(method, str):
                if self._on_notification is not None:
                    self._on_notification(method, document.get("params"))
            elif "error" in document:
                # The node could not parse a request, and its error does not say which one
                self.end(f"the node could not parse a request: {document['error']}")
            return
        answer = self._answers.pop(key, None) if isinstance(key, str) else None
        if answer is None or answer.done():
            return
        error = document.get("error")
        if error is None:
            answer.set_result(document.get("result"))
        elif isinstance(error, dict) and type(error.get("code")) is int:
            answer.set_exception(NodeRefused.from_json(error))
        else:
            answer.set_exception(NodeRefused(str(error), code=-1))

    def _take_oversize(self, document: Oversize) -> None:
        """Fail the call that an oversize document answers, and no other."""
        key = document.member("id")
        if key is None and document.member("method") is not None:
            logger.warning("a notification of the node is dropped: %s", document.reason)
            return
        if key is None and len(self._answers) == 1:
            (key,) = self._answers
        if key is None:
            self.end(f"an answer of the node without an id is too large: {document.reason}")
            return
        answer = self._answers.pop(key, None) if isinstance(key, str) else None
        if answer is not None and not answer.done():
            method = str(key).removeprefix(_OURS).rpartition("#")[0]
            answer.set_exception(TransportError(f"the node's answer to {method} is too large: {document.reason}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.end("the node closed the connection" if exc is None else f"connection to the node lost: {exc}")
        if not self._lost.done():
            self._lost.set_result(None)


@functools.lru_cache(64)
def _parts(method: str) -> tuple[str, bytes, bytes]:
    """Return the prefix of a call's id, and the request's bytes before and after the call's number."""
    name = method if method.replace("-", "_").isidentifier() and method.isascii() else "call"
    before, after = f"{_OURS}{name}#", b'","method":%b,"params":' % encode(method)[:-2]
    return before, b'{"jsonrpc":"2.0","id":"%b' % before.encode(), after
