"""BOLT 8 on asyncio: dial with `connect`, as pyln.proto does with a socket that blocks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from oddwire.errors import HandshakeFailed, TransportError
from oddwire.proto.addresses import DEFAULT_PORT, Scheme, check_port, join_address
from oddwire.proto.connection import HANDSHAKE_TIMEOUT, LightningConnection
from oddwire.proto.dialing import Address, DialFailed, addresses_of, dial_proxy, first_socket, spelled, websocket_link
from oddwire.proto.keys import NodeId, PrivateKey, PublicKey
from oddwire.proto.sharing import LoopShare

if TYPE_CHECKING:
    from oddwire.proto.websocket import WebSocketLink

__all__ = ["PROXY_TIMEOUT", "connect"]

PROXY_TIMEOUT: Final = 120.0
"""Max seconds for a dial by proxy: as long as Tor itself tries to build a circuit to an onion service."""


async def connect(
    local_privkey: PrivateKey,
    node_id: PublicKey | bytes | str,
    host: str,
    port: int = DEFAULT_PORT,
    *,
    scheme: Scheme = "",
    proxy: str | None = None,
    timeout: float | None = None,  # noqa: ASYNC109 - covers look-up, TCP, proxy and handshake; errors tell which
    on_open: Callable[[LightningConnection], object] | None = None,
    on_close: Callable[[LightningConnection, str], object] | None = None,
) -> LightningConnection:
    """Dial a node and complete the handshake within ``timeout`` seconds: by default 10, or 120 by proxy (for Tor).

    ``node_id`` is its public key (33 bytes, hex, or `PublicKey`); ``scheme`` ``ws`` or ``wss`` means WebSocket, without
    or with TLS, which needs the extra ``oddwire[ws]``; ``proxy`` is a SOCKS5 proxy, ``host:port`` or a URL, which then
    also resolves ``host`` (Tor). A name is looked up anew, and each of its addresses tried until one is that
    node. Raises `TransportError` if no connection is made, `HandshakeFailed` or `AuthenticationFailed` if the other
    end is not that node, each naming every address; `ValueError` for a bad address. Cancelling closes the socket.
    """
    remote = node_id if isinstance(node_id, PublicKey) else PublicKey(NodeId(node_id))
    check_port(port)
    if timeout is None:
        timeout = HANDSHAKE_TIMEOUT if proxy is None else PROXY_TIMEOUT

    def make() -> LightningConnection:
        return LightningConnection(local_privkey, remote, on_open=on_open, on_close=on_close, handshake_timeout=None)

    carry = websocket_link() if scheme else None
    dial = _Dial(make, join_address(host, port, scheme), timeout, carry, host if scheme == "wss" else None)
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

    def __init__(
        self,
        make: Callable[[], LightningConnection],
        where: str,
        timeout: float,
        carry: type[WebSocketLink] | None,
        tls_name: str | None,
    ) -> None:
        self.where = where
        self._make = make
        self._carry = carry
        self._tls_name = tls_name
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
        carry, loop = self._carry, asyncio.get_running_loop()
        try:
            await loop.create_connection(
                lambda: connection if carry is None else carry(connection, LoopShare.of_loop(), self.where),
                sock=sock,
                ssl=True if self._tls_name is not None else None,
                server_hostname=self._tls_name,
            )
            await connection.opened()
        except BaseException:
            connection.abort("cancelled")
            raise
        return connection
