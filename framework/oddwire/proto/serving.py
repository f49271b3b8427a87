"""BOLT 8 on asyncio: listen with `serve`, as pyln.proto does with a socket that blocks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from oddwire.errors import ConnectionClosed, TransportError
from oddwire.proto.accepting import Acceptor, Lingering
from oddwire.proto.addresses import DEFAULT_PORT, check_port, join_address
from oddwire.proto.connection import HANDSHAKE_TIMEOUT, LightningConnection
from oddwire.proto.dialing import websocket_link
from oddwire.proto.keys import PrivateKey
from oddwire.proto.sharing import LoopShare

__all__ = ["MAX_HANDSHAKES", "MAX_LINGERING", "MAX_WAITING", "Handler", "LightningServer", "serve"]

Handler = Callable[[LightningConnection], Awaitable[None]]

MAX_HANDSHAKES: Final = 512
"""Max callers in the middle of their handshakes."""
MAX_WAITING: Final = 512
"""Max callers accepted whose handshakes have not begun."""
MAX_LINGERING: Final = 256
"""Max connections that have ended and still have their sockets."""


class LightningServer:
    """Listening sockets, as made by `serve`. Use it as an async context manager, or call `aclose`.

    At most ``max_handshakes`` handshakes may be unfinished at a time; one more drops the oldest of the source address
    that has the most, so callers that send nothing delay nobody. Up to ``max_waiting`` further callers are queued.
    ``lingering`` keeps closed connections until their peers have read the last bytes. ``websocket``: callers speak
    WebSocket, and BOLT 8 in its binary frames; raises `TransportError` without the extra ``oddwire[ws]``.
    """

    def __init__(
        self,
        local_privkey: PrivateKey,
        handler: Handler | None = None,
        *,
        on_open: Callable[[LightningConnection], object] | None = None,
        on_close: Callable[[LightningConnection, str], object] | None = None,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        max_handshakes: int = MAX_HANDSHAKES,
        max_waiting: int = MAX_WAITING,
        lingering: Lingering | None = None,
        share: LoopShare | None = None,
        counters: Counter[str] | None = None,
        websocket: bool = False,
    ) -> None:
        self._local_privkey = local_privkey
        self._handler = handler
        self._on_open = on_open
        self._on_close = on_close
        self._handshake_timeout = handshake_timeout
        self._max_handshakes = max_handshakes
        self._pending: dict[LightningConnection, str] = {}
        self._sources: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[LightningConnection] = set()
        self.counters: Counter[str] = Counter() if counters is None else counters
        """How often each limit took effect, by the limit's name."""
        self.lingering = Lingering(MAX_LINGERING, self.counters) if lingering is None else lingering
        """The server's connections that have ended and still have their sockets."""
        self._share = shared = share or LoopShare.of_loop()
        link = websocket_link() if websocket else None
        self._acceptor: Acceptor | None = Acceptor(
            self._make,
            shared,
            max_waiting=max_waiting,
            patience=handshake_timeout,
            counters=self.counters,
            protocol=None if link is None else lambda connection: link(connection, shared),
        )

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every listening socket: the port that the system chose for 0."""
        return [] if self._acceptor is None else self._acceptor.addresses

    @property
    def port(self) -> int:
        """The first socket's port."""
        return self.addresses[0][1]

    @property
    def pending(self) -> int:
        """The number of connections whose handshake is unfinished."""
        return len(self._pending) + (0 if self._acceptor is None else self._acceptor.waiting)

    async def listen(self, host: str | None, port: int) -> None:
        """Open the sockets. Raises `OSError`."""
        if self._acceptor is not None:
            await self._acceptor.open(host, port)

    async def aclose(self) -> None:
        """Stop listening, close the connections made here, cancel their handlers. Idempotent."""
        if self._acceptor is None:
            return
        acceptor, self._acceptor = self._acceptor, None
        acceptor.close()
        tasks = self._tasks - {asyncio.current_task()}  # a handler may stop the server
        for task in tasks:
            task.cancel()
        for connection in list(self._pending):
            connection.close("server closed")
        connections = [*self._connections, *self.lingering]
        await asyncio.gather(*(connection.aclose("server closed") for connection in connections))
        await asyncio.gather(acceptor.aclose(), *tasks, return_exceptions=True)

    async def __aenter__(self) -> LightningServer:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def _make(self, source: str) -> LightningConnection | None:
        if self._acceptor is None:
            return None
        if len(self._pending) >= self._max_handshakes:
            most = max(self._sources, key=lambda name: self._sources[name])
            self.counters["max_handshakes"] += 1
            next(connection for connection, of in self._pending.items() if of == most).close(
                "too many unfinished handshakes"
            )
        connection = LightningConnection(
            self._local_privkey,
            on_open=self._opened,
            on_close=self._closed,
            handshake_timeout=self._handshake_timeout,
            share=self._share,
        )
        self._pending[connection] = source
        self._sources[source] += 1
        return connection

    def _no_longer_pending(self, connection: LightningConnection) -> None:
        source = self._pending.pop(connection, None)
        if source is not None:
            self._sources[source] -= 1
            if not self._sources[source]:
                del self._sources[source]

    def _opened(self, connection: LightningConnection) -> None:
        self._no_longer_pending(connection)
        self._connections.add(connection)
        connection.on_close = self._closed
        if self._on_open is not None:
            self._on_open(connection)
        if self._handler is not None:
            task = asyncio.get_running_loop().create_task(self._handle(self._handler, connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _handle(handler: Handler, connection: LightningConnection) -> None:
        try:
            await handler(connection)
        except ConnectionClosed:
            pass
        finally:
            connection.close("handler returned")

    def _closed(self, connection: LightningConnection, reason: str) -> None:
        opened = connection in self._connections
        self._no_longer_pending(connection)
        self._connections.discard(connection)
        if opened:
            self.lingering.add(connection)
        if opened and self._on_close is not None:
            self._on_close(connection, reason)


async def serve(
    handler: Handler | None,
    local_privkey: PrivateKey,
    host: str | None = None,
    port: int = DEFAULT_PORT,
    *,
    handshake_timeout: float = HANDSHAKE_TIMEOUT,
    max_handshakes: int = MAX_HANDSHAKES,
    max_waiting: int = MAX_WAITING,
    lingering: Lingering | None = None,
    share: LoopShare | None = None,
    counters: Counter[str] | None = None,
    on_open: Callable[[LightningConnection], object] | None = None,
    on_close: Callable[[LightningConnection, str], object] | None = None,
    websocket: bool = False,
) -> LightningServer:
    """Listen on ``host`` (None: every interface) and ``port`` (0: any free one), and do the handshake with callers.

    ``handler(connection)`` runs as one task per connection; when it returns, the connection is closed. Pass None and
    ``on_open`` to receive connections without a task. ``websocket``: callers speak WebSocket (``oddwire[ws]``). Raises
    `TransportError` if the address cannot be bound, `ValueError` for a bad port.
    """
    check_port(port)
    server = LightningServer(
        local_privkey,
        handler,
        on_open=on_open,
        on_close=on_close,
        handshake_timeout=handshake_timeout,
        max_handshakes=max_handshakes,
        max_waiting=max_waiting,
        lingering=lingering,
        share=share,
        counters=counters,
        websocket=websocket,
    )
    try:
        await server.listen(host, port)
    except OSError as error:
        raise TransportError(
            f"cannot listen on {join_address(host or '*', port)}: {error.strerror or error}"
        ) from error
    return server
