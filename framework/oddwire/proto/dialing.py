"""Dialing nodes, directly and by proxy: the first of a name's addresses to answer, or an error for each.

Addresses are tried in the order of RFC 8305 ("Happy Eyeballs"): both families in turn, the next one when the last
has failed or has not answered for a quarter of a second. So a dead address delays the others by no more than that.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from oddwire.errors import TransportError
from oddwire.proto.addresses import join_address

if TYPE_CHECKING:
    from python_socks import ProxyError

    from oddwire.proto.websocket import WebSocketLink

__all__ = ["Address", "DialFailed", "addresses_of", "dial_proxy", "first_socket", "spelled", "websocket_link"]

_STAGGER: Final = 0.25  # seconds; RFC 8305, section 5

_HINTS: Final = {
    errno.EADDRNOTAVAIL: "this machine has no address to reach it from",
    errno.EAFNOSUPPORT: "this machine does not speak this kind of address",
    errno.EACCES: "a firewall of this machine forbids it",
    errno.EPERM: "a firewall of this machine forbids it",
    errno.EINVAL: "it cannot be dialed; a link-local address needs its interface, as in fe80::1%eth0",
    errno.EMFILE: "this process may have no more files open; see ulimit -n",
    errno.ENFILE: "this machine can have no more files open",
}
"""What an errno means, where the system's text does not say."""

# RFC 1928, section 6, and Tor's extended errors, of its socks-extensions.txt and proposal 304
_REPLIES: Final = {
    0x01: "general SOCKS server failure (Tor: it has no connection yet, or found no way there)",
    0x02: "connection not allowed by its rules",
    0x03: "network unreachable",
    0x04: "Host unreachable (Tor: the name does not resolve, or the onion service is down)",
    0x05: "Connection refused by destination host",
    0x06: "TTL expired (Tor: the connection took too long)",
    0x07: "command not supported or protocol error",
    0x08: "address type not supported",
    0xF0: "the onion service's descriptor cannot be found: it is offline, or its address is mistyped (Tor, 0xF0)",
    0xF1: "the onion service's descriptor is invalid (Tor, 0xF1)",
    0xF2: "the onion service's introduction failed: it is offline, or overloaded (Tor, 0xF2)",
    0xF3: "the rendezvous with the onion service failed (Tor, 0xF3)",
    0xF4: "the onion service wants client authorization, and Tor has no key for it (0xF4)",
    0xF5: "the onion service's client authorization failed: Tor has the wrong key for it (0xF5)",
    0xF6: "the onion address is invalid: mistyped, or of an old version (Tor, 0xF6)",
    0xF7: "the onion service's introduction timed out; try again (Tor, 0xF7)",
}
_UNKNOWN_REPLY: Final = re.compile(r"Invalid reply code: 0X([0-9A-F]+)")


class Address(NamedTuple):
    """One address to dial, in the terms of `socket.getaddrinfo`."""

    family: int
    where: tuple[Any, ...]

    def __str__(self) -> str:
        return join_address(self.where[0], self.where[1])


class DialFailed(OSError):
    """None of several addresses answered; ``attempts`` has each with its error."""

    def __init__(self, attempts: Sequence[tuple[Address, Exception]]) -> None:
        super().__init__("; ".join(f"{address}: {spelled(error)}" for address, error in attempts))
        self.attempts = tuple(attempts)


def spelled(error: BaseException) -> str:
    """Return the text of a failed dial's error, and what it means where the system does not say."""
    if isinstance(error, DialFailed | ssl.SSLError) or not isinstance(error, OSError):
        return str(error)
    # asyncio's own text repeats the address; name look-ups have negative numbers
    if error.errno is None or error.errno <= 0:
        return str(error.strerror or error)
    hint = _HINTS.get(error.errno)
    text = os.strerror(error.errno)
    return text if hint is None else f"{text} ({hint})"


def websocket_link() -> type[WebSocketLink]:
    """Return what carries a connection over WebSocket. Raises `TransportError` without the extra ``oddwire[ws]``."""
    try:
        from oddwire.proto.websocket import WebSocketLink  # few programs need it, and its package is an extra
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != "websockets":
            raise
        raise TransportError(
            "WebSocket addresses need the package websockets 16 or later: pip install 'oddwire[ws]'"
        ) from error
    return WebSocketLink


async def addresses_of(host: str, port: int) -> list[Address]:
    """Return the addresses of a host name, looked up anew each time, or a literal address itself. Raises `OSError`."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return [Address(family, (host, port))]
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    by_family: dict[int, deque[Address]] = {}
    for family, _, _, _, where in dict.fromkeys(found):
        by_family.setdefault(family, deque()).append(Address(family, where))
    families = deque(by_family.values())
    ordered = []
    while families:
        family_addresses = families.popleft()
        ordered.append(family_addresses.popleft())
        if family_addresses:
            families.append(family_addresses)
    return ordered


async def first_socket(
    addresses: Sequence[Address], failed: Callable[[Address, Exception], object]
) -> tuple[Address, socket.socket] | None:
    """Return the first address that accepts a connection, and the socket; None if none does.

    ``failed`` is called with each address that fails. Attempts under way when one has answered are dropped in silence.
    Cancelling closes all sockets.
    """
    if len(addresses) == 1:  # nearly always: no task is needed
        try:
            return addresses[0], await _connected(addresses[0])
        except OSError as refusal:
            failed(addresses[0], refusal)
            return None
    waiting = deque(addresses)
    tasks: dict[asyncio.Task[socket.socket], Address] = {}
    try:
        while waiting or tasks:
            if waiting:
                address = waiting.popleft()
                tasks[asyncio.create_task(_connected(address), name=f"dial {address}")] = address
            timeout = _STAGGER if waiting else None
            done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                address = tasks[task]
                error = task.exception()
                if error is None:
                    del tasks[task]
                    return address, task.result()
                del tasks[task]
                if not isinstance(error, OSError):
                    raise error
                failed(address, error)
        return None
    finally:
        for task in tasks:
            task.cancel()
        for sock in await asyncio.gather(*tasks, return_exceptions=True) if tasks else ():
            if isinstance(sock, socket.socket):
                sock.close()


async def _connected(address: Address) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        # asyncio sets it only on sockets it made
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, address.where)
    except BaseException:
        sock.close()
        raise
    return sock


class _Direct:
    """The upstream proxy that python_socks expects: none here, but each of the proxy's addresses is tried."""

    async def connect(self, dest_host: str, dest_port: int, timeout: float | None) -> socket.socket:  # noqa: ASYNC109
        attempts: list[tuple[Address, Exception]] = []
        try:
            found = await first_socket(
                await addresses_of(dest_host, dest_port),
                lambda address, error: attempts.append((address, error.with_traceback(None))),
            )
        except OSError as error:
            raise _no_proxy(dest_host, dest_port, spelled(error)) from error
        if found is None:
            why = attempts[0][1] if len(attempts) == 1 else DialFailed(attempts)
            raise _no_proxy(dest_host, dest_port, spelled(why)) from why
        return found[1]


def _no_proxy(host: str, port: int, why: str) -> TransportError:
    return TransportError(f"Could not connect to proxy {join_address(host, port)}: {why}; is it running?")


async def dial_proxy(url: str, host: str, port: int) -> socket.socket:
    """Connect to ``host`` by a SOCKS5 proxy, which looks it up. The caller sets the timeout.

    Raises `ValueError` for a bad URL, `TransportError` with the proxy's answer, or if it cannot be reached.
    """
    from python_socks import ProxyError
    from python_socks.async_.asyncio import Proxy  # few programs have a proxy, and it takes long to import

    through: Any = _Direct()
    try:
        dialer = Proxy.from_url(url if "://" in url else f"socks5://{url}", rdns=True, forward=through)
    except ValueError as error:
        # The URL is not shown: it may hold a password
        raise ValueError(f"proxy should be host:port or socks5://user:password@host:port: {error}") from None
    try:
        # python_socks's own limit of a minute is about what Tor takes
        sock: socket.socket = await dialer.connect(dest_host=host, dest_port=port, timeout=10**9)
    except ProxyError as error:
        raise TransportError(f"the proxy says: {_said(error)}") from error
    except OSError as error:
        raise TransportError(f"the connection to the proxy was lost: {spelled(error)}") from error
    return sock


def _said(error: ProxyError) -> str:
    text = str(error)
    text = text if text.isprintable() else repr(text)  # a proxy may say anything
    unknown = _UNKNOWN_REPLY.fullmatch(text)
    code = int(unknown[1], 16) if unknown is not None else error.error_code
    if code is not None and code in _REPLIES:
        return _REPLIES[code]
    if "authentication method" in text:
        return f"{text} (it wants a password: socks5://user:password@host:port)"
    return text or "nothing: it disconnected; is it a SOCKS5 proxy?"
