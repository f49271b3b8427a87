"""BOLT 8 on asyncio: dial with `connect`, listen with `serve`, as pyln.proto does with sockets that block."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from weakref import WeakSet

from python_socks import ProxyConnectionError, ProxyError
from python_socks.async_.asyncio import Proxy

from oddwire.errors import ConnectionClosed, TransportError
from oddwire.proto.addresses import DEFAULT_PORT, join_address
from oddwire.proto.connection import HANDSHAKE_TIMEOUT, LightningConnection
from oddwire.proto.keys import NodeId, PrivateKey, PublicKey

__all__ = ["Handler", "LightningConnection", "LightningServer", "connect", "serve"]

Handler = Callable[[LightningConnection], Awaitable[None]]


async def connect(
    local_privkey: PrivateKey,
    node_id: PublicKey | bytes | str,
    host: str,
    port: int = DEFAULT_PORT,
    *,
    proxy: str | None = None,
    timeout: float = HANDSHAKE_TIMEOUT,  # noqa: ASYNC109 - it covers TCP, proxy and handshake, each told apart in errors
    on_open: Callable[[LightningConnection], object] | None = None,
    on_close: Callable[[LightningConnection, str], object] | None = None,
) -> LightningConnection:
    """Dial a node and shake hands, all within ``timeout`` seconds.

    ``node_id`` is its public key (33 bytes, hex, or `PublicKey`); ``proxy`` a SOCKS5 proxy, ``host:port`` or a URL,
    which then also resolves ``host`` (Tor). Raises `TransportError` if no connection comes about, `HandshakeFailed`
    or `AuthenticationFailed` if the other end is not that node, `ValueError` for a bad address. Cancelling closes.
    """
    remote = node_id if isinstance(node_id, PublicKey) else PublicKey(NodeId(node_id))
    _check_port(port)
    connection = LightningConnection(local_privkey, remote, on_open=on_open, on_close=on_close, handshake_timeout=None)
    loop = asyncio.get_running_loop()
    where = join_address(host, port)
    try:
        async with asyncio.timeout(timeout):
            if proxy is not None:
                sock = await _dial_proxy(proxy, host, port)
                await loop.create_connection(lambda: connection, sock=sock)
            elif host.endswith(".onion"):
                raise TransportError(f"{where}: onion addresses are reached by a proxy (Tor) only; none is set")
            else:
                await loop.create_connection(lambda: connection, host, port)
            await connection.opened()
    except TimeoutError:
        connection.abort("timed out")
        raise TransportError(f"{where}: no connection within {timeout:g} s") from None
    except ProxyConnectionError as error:
        raise TransportError(f"{where}: {error.strerror}") from error
    except ProxyError as error:
        raise TransportError(f"{where}: the proxy says: {error}") from error
    except OSError as error:
        # asyncio's own text repeats the address; name lookups have numbers below zero, several addresses none
        text = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
        raise TransportError(f"{where}: {text}") from error
    except BaseException:
        connection.abort("given up")
        raise
    return connection


def _check_port(port: int) -> None:
    if not 0 <= port <= 65535:
        raise ValueError(f"port should be 0 to 65535, not {port}")


async def _dial_proxy(proxy: str, host: str, port: int) -> socket.socket:
    url = proxy if "://" in proxy else f"socks5://{proxy}"
    try:
        dialer = Proxy.from_url(url, rdns=True)
    except ValueError as error:
        # Not shown: it may hold a password
        raise ValueError(f"proxy should be host:port or socks5://user:password@host:port: {error}") from None
    sock: socket.socket = await dialer.connect(dest_host=host, dest_port=port)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio sets it on sockets of its own only
    return sock


class LightningServer:
    """Listening sockets, as made by `serve`. Use it as an async context manager, or call `aclose`.

    At most ``max_handshakes`` connections may be unfinished at a time; one more drops the oldest of them, so callers
    that say nothing delay nobody.
    """

    def __init__(
        self,
        local_privkey: PrivateKey,
        handler: Handler | None = None,
        *,
        on_open: Callable[[LightningConnection], object] | None = None,
        on_close: Callable[[LightningConnection, str], object] | None = None,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        max_handshakes: int = 128,
    ) -> None:
        self._local_privkey = local_privkey
        self._handler = handler
        self._on_open = on_open
        self._on_close = on_close
        self._handshake_timeout = handshake_timeout
        self._max_handshakes = max_handshakes
        self._pending: dict[LightningConnection, None] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[LightningConnection] = set()
        self._closing: WeakSet[LightningConnection] = WeakSet()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every listening socket: the port that was chosen, if 0 was asked for."""
        return [sock.getsockname()[:2] for sock in self._server.sockets] if self._server is not None else []

    @property
    def port(self) -> int:
        """The first socket's port."""
        return self.addresses[0][1]

    @property
    def pending(self) -> int:
        """How many connections have not finished their handshake."""
        return len(self._pending)

    async def listen(self, host: str | None, port: int) -> None:
        """Open the sockets. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._make, host, port, backlog=1024)

    async def aclose(self) -> None:
        """Stop listening, close the connections made here, cancel their handlers. Idempotent."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        tasks = self._tasks - {asyncio.current_task()}  # a handler may be who stops the server
        for task in tasks:
            task.cancel()
        for connection in list(self._pending):
            connection.close("server closed")
        connections = [*self._connections, *self._closing]
        await asyncio.gather(*(connection.aclose("server closed") for connection in connections))
        await asyncio.gather(*tasks, return_exceptions=True)

    async def __aenter__(self) -> LightningServer:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def _make(self) -> LightningConnection:
        if len(self._pending) >= self._max_handshakes:
            next(iter(self._pending)).close("too many unfinished handshakes")
        connection = LightningConnection(
            self._local_privkey,
            on_open=self._opened,
            on_close=self._closed,
            handshake_timeout=self._handshake_timeout,
        )
        if self._server is None:
            connection.close("server closed")  # accepted before, set up after
        else:
            self._pending[connection] = None
        return connection

    def _opened(self, connection: LightningConnection) -> None:
        self._pending.pop(connection, None)
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
        self._pending.pop(connection, None)
        self._connections.discard(connection)
        self._closing.add(connection)
        if opened and self._on_close is not None:
            self._on_close(connection, reason)


async def serve(
    handler: Handler | None,
    local_privkey: PrivateKey,
    host: str | None = None,
    port: int = DEFAULT_PORT,
    *,
    handshake_timeout: float = HANDSHAKE_TIMEOUT,
    max_handshakes: int = 128,
    on_open: Callable[[LightningConnection], object] | None = None,
    on_close: Callable[[LightningConnection, str], object] | None = None,
) -> LightningServer:
    """Listen on ``host`` (None: every interface) and ``port`` (0: any free one), and shake hands with who dials.

    ``handler(connection)`` runs as a task a connection; when it returns, the connection is closed. Pass None and
    ``on_open`` to take connections without a task. Raises `TransportError` if the address cannot be had,
    `ValueError` for a bad port.
    """
    _check_port(port)
    server = LightningServer(
        local_privkey,
        handler,
        on_open=on_open,
        on_close=on_close,
        handshake_timeout=handshake_timeout,
        max_handshakes=max_handshakes,
    )
    try:
        await server.listen(host, port)
    except OSError as error:
        raise TransportError(
            f"cannot listen on {join_address(host or '*', port)}: {error.strerror or error}"
        ) from error
    return server
