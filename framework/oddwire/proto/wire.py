"""BOLT 8 on asyncio: dial with `connect`, listen with `serve`, as pyln.proto does with sockets that block."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from oddwire.errors import ConnectionClosed, HandshakeFailed, TransportError
from oddwire.proto.accepting import Acceptor, Lingering
from oddwire.proto.addresses import DEFAULT_PORT, join_address
from oddwire.proto.connection import HANDSHAKE_TIMEOUT, LightningConnection
from oddwire.proto.dialing import Address, DialFailed, addresses_of, dial_proxy, first_socket, spelled
from oddwire.proto.keys import NodeId, PrivateKey, PublicKey
from oddwire.proto.sharing import LoopShare

__all__ = [
    "MAX_HANDSHAKES",
    "MAX_LINGERING",
    "MAX_WAITING",
    "PROXY_TIMEOUT",
    "Handler",
    "LightningServer",
    "connect",
    "serve",
]

PROXY_TIMEOUT: Final = 120.0
"""Max seconds for a dial by proxy: as long as Tor itself tries to build a circuit to an onion service."""

Handler = Callable[[LightningConnection], Awaitable[None]]

MAX_HANDSHAKES: Final = 512
"""Max callers in the middle of their handshakes."""
MAX_WAITING: Final = 512
"""Max callers accepted whose handshakes have not begun."""
MAX_LINGERING: Final = 256
"""Max connections that have ended and still have their sockets."""


async def connect(
    local_privkey: PrivateKey,
    node_id: PublicKey | bytes | str,
    host: str,
    port: int = DEFAULT_PORT,
    *,
    proxy: str | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - covers look-up, TCP, proxy and handshake; errors tell which
    on_open: Callable[[LightningConnection], object] | None = None,
    on_close: Callable[[LightningConnection, str], object] | None = None,
) -> LightningConnection:
    """Dial a node and complete the handshake within ``timeout`` seconds: by default 10, or 120 by proxy (for Tor).

    ``node_id`` is its public key (33 bytes, hex, or `PublicKey`); ``proxy`` a SOCKS5 proxy, ``host:port`` or a URL,
    which then also resolves ``host`` (Tor). A name is looked up anew, and each of its addresses tried until one is that
    node. Raises `TransportError` if no connection is made, `HandshakeFailed` or `AuthenticationFailed` if the other
    end is not that node, each naming every address; `ValueError` for a bad address. Cancelling closes the socket.
    """
    remote = node_id if isinstance(node_id, PublicKey) else PublicKey(NodeId(node_id))
    _check_port(port)
    if timeout is None:
        timeout = HANDSHAKE_TIMEOUT if proxy is None else PROXY_TIMEOUT

    def make() -> LightningConnection:
        return LightningConnection(local_privkey, remote, on_open=on_open, on_close=on_close, handshake_timeout=None)

    dial = _Dial(make, join_address(host, port), timeout)
    try:
        async with asyncio.timeout(timeout):
            if proxy is not None:
                return await dial.by_proxy(proxy, host, port)
            if host.endswith(".onion"):
                raise TransportError("onion addresses are reached by a proxy (Tor) only; none is set")
            return await dial.directly(host, port)
    except TransportError as error:
        if type(error) is not TransportError:
            raise
        raise TransportError(f"{dial.where}: {error}") from error
    except OSError as error:
        if isinstance(error, TimeoutError) and error.errno is None:  # our timeout, not the system's
            raise TransportError(f"{dial.where}: no connection within {timeout:g} s: {dial.progress}") from error
        raise TransportError(f"{dial.where}: {spelled(error)}") from error


class _Dial:
    """An attempt to reach one node: at each of its addresses in turn, until the handshake with one is over."""

    def __init__(self, make: Callable[[], LightningConnection], where: str, timeout: float) -> None:
        self.where = where
        self._make = make
        self._deadline = asyncio.get_running_loop().time() + timeout
        self._failed: list[tuple[Address, Exception]] = []
        self._state = ""

    @property
    def progress(self) -> str:
        """The failures so far and the step under way, in words."""
        return "; ".join([*(f"{address}: {spelled(error)}" for address, error in self._failed), self._state])

    async def by_proxy(self, proxy: str, host: str, port: int) -> LightningConnection:
        self._state = "the proxy has not reached it"
        sock = await dial_proxy(proxy, host, port)
        self._state = "the proxy has, but the handshake is not over"
        return await self._shake(sock)

    async def directly(self, host: str, port: int) -> LightningConnection:
        self._state = "its name is not looked up yet"
        left = await addresses_of(host, port)
        several = len(left) > 1
        while left:
            self._state = f"{', '.join(map(str, left))}: no answer" if several else "no answer"
            found = await first_socket(left, self._fail)
            if found is None:
                break
            address, sock = found
            failed = [address for address, _ in self._failed]
            left = [other for other in left if other is not address and other not in failed]
            self._state = "it accepts connections, but sends nothing"
            if several:
                self._state = f"{address} {self._state[3:]}"
            try:
                # While there are other addresses, no handshake has all of the time
                async with asyncio.timeout(self._share(len(left))):
                    return await self._shake(sock)
            except TimeoutError:
                self._fail(address, TransportError("it accepts connections, but sends nothing"))
            except (HandshakeFailed, TransportError) as error:
                if not several:
                    raise
                self._fail(address, error)
        raise self._failure(several)

    def _share(self, others: int) -> float | None:
        """Return the seconds that a handshake may take, so that as much is left for each of the others."""
        return (self._deadline - asyncio.get_running_loop().time()) / (others + 1) if others else None

    def _fail(self, address: Address, error: Exception) -> None:
        # Its traceback holds frames that hold us
        self._failed.append((address, error.with_traceback(None)))

    def _failure(self, several: bool) -> Exception:
        failed, self._failed = self._failed, []  # the error raised refers to us, so we must not keep it
        if not several:
            return failed[0][1]
        unreached = DialFailed(failed)
        shaken = next((error for _, error in failed if isinstance(error, HandshakeFailed)), None)
        if shaken is None:
            return unreached
        failure = type(shaken)(str(unreached), act=shaken.act, code=shaken.code)
        failure.__cause__ = unreached
        return failure

    async def _shake(self, sock: socket.socket) -> LightningConnection:
        connection = self._make()
        try:
            await asyncio.get_running_loop().create_connection(lambda: connection, sock=sock)
            await connection.opened()
        except BaseException:
            connection.abort("cancelled")
            raise
        return connection


def _check_port(port: int) -> None:
    if not 0 <= port <= 65535:
        raise ValueError(f"port should be 0 to 65535, not {port}")


class LightningServer:
    """Listening sockets, as made by `serve`. Use it as an async context manager, or call `aclose`.

    At most ``max_handshakes`` handshakes may be unfinished at a time; one more drops the oldest of the source address
    that has the most, so callers that send nothing delay nobody. Up to ``max_waiting`` further callers are queued.
    ``lingering`` keeps closed connections until their peers have read the last bytes.
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
        self._share = share or LoopShare.of_loop()
        self._acceptor: Acceptor | None = Acceptor(
            self._make, self._share, max_waiting=max_waiting, patience=handshake_timeout, counters=self.counters
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
) -> LightningServer:
    """Listen on ``host`` (None: every interface) and ``port`` (0: any free one), and do the handshake with callers.

    ``handler(connection)`` runs as one task per connection; when it returns, the connection is closed. Pass None and
    ``on_open`` to receive connections without a task. Raises `TransportError` if the address cannot be bound,
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
        max_waiting=max_waiting,
        lingering=lingering,
        share=share,
        counters=counters,
    )
    try:
        await server.listen(host, port)
    except OSError as error:
        raise TransportError(
            f"cannot listen on {join_address(host or '*', port)}: {error.strerror or error}"
        ) from error
    return server
