"""Addresses of nodes: ``host:port`` and ``node_id@host:port``, and both with ``ws://``. No I/O."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from oddwire.proto.keys import NodeId

__all__ = [
    "DEFAULT_PORT",
    "ListenAddress",
    "NodeUri",
    "Scheme",
    "check_port",
    "join_address",
    "parse_address",
    "parse_listen",
    "port_number",
    "proxy_address",
    "proxy_url",
    "split_scheme",
]

DEFAULT_PORT: Final = 9735
_DIGITS: Final = 9  # of a port, leading zeros too: Python reads no number of thousands
_TOR_PORT: Final = 9050
_PROXY_SCHEMES: Final = ("socks5", "socks4", "http")

Scheme = Literal["", "ws", "wss"]
"""How an address carries BOLT 8: over TCP alone, over WebSocket, or over WebSocket in TLS."""


def check_port(port: int) -> None:
    """Raise `ValueError` if ``port`` is not 0 to 65535."""
    if not 0 <= port <= 65535:
        raise ValueError(f"port should be 0 to 65535, not {port}")


def join_address(host: str, port: int, scheme: Scheme = "") -> str:
    """Return ``host:port``, with an IPv6 host in brackets, after ``ws://`` or ``wss://`` if that is the scheme."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"{scheme}://{address}" if scheme else address


def split_scheme(text: str) -> tuple[Scheme, str]:
    """Return the scheme of an address, and the rest. Raises `ValueError` for another one than ``ws`` and ``wss``."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        return "", text
    match scheme.lower():
        case "ws":
            return "ws", rest.removesuffix("/")
        case "wss":
            return "wss", rest.removesuffix("/")
    raise ValueError(f"address should be host:port, ws://host:port or wss://host:port, not {text!r}")


def parse_address(text: str, *, default_port: int = DEFAULT_PORT, any_name: bool = False) -> tuple[str, int]:
    """Parse ``host``, ``host:port``, ``[v6]`` or ``[v6]:port``. Raises `ValueError` naming what is wrong.

    ``any_name`` also accepts a host that no resolver would look up: ``a..b``, or parts of more than 63 characters.
    """
    host, separator, port = text.rpartition(":")
    if not separator or text.endswith("]") or (":" in host and not host.startswith("[")):
        host, port = text, str(default_port)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or any(char.isspace() or char in "@[]/" for char in host) or (":" in host and not _is_ipv6(host)):
        raise ValueError(f"address should be host:port, not {text!r}")
    if not any_name and not _is_name(host):
        raise ValueError(f"host should be an address, or a name in parts of 1 to 63 characters, not {host!r}")
    number = port_number(port)
    if number is None:
        raise ValueError(f"port should be 0 to 65535, not {port!r} (in {text!r})")
    return host, number


def port_number(text: str) -> int | None:
    """Return the port, 0 to 65535, that digits say; None for what says none."""
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        return None
    number = int(text)
    return number if number <= 65535 else None


def proxy_url(text: str) -> str:
    """Return the URL of a SOCKS5 proxy: that of ``host[:port]``, by default Tor's port, or a URL as it stands.

    Raises `ValueError` naming what is wrong; a URL is not shown, as it may hold a password.
    """
    if "://" not in text:
        try:
            host, port = parse_address(text, default_port=_TOR_PORT)
        except ValueError as error:
            raise ValueError(f"proxy: {error}") from None
        return f"socks5://{join_address(host, port)}"
    import urllib.parse  # here, as few programs need it, and none at its start

    try:
        url = urllib.parse.urlsplit(text)
        complete = url.scheme in _PROXY_SCHEMES and url.hostname and url.port
    except ValueError:
        complete = False
    if not complete:
        raise ValueError("proxy should be host:port or socks5://user:password@host:port")
    return text


def proxy_address(url: str) -> str:
    """Return the ``host:port`` of a URL that `proxy_url` returned: the part that may be shown."""
    import urllib.parse  # here, as few programs need it, and none at its start

    parts = urllib.parse.urlsplit(url)
    return join_address(parts.hostname or "", parts.port or _TOR_PORT)


def _is_ipv6(host: str) -> bool:
    import ipaddress  # here, as few programs need it, and none at its start

    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _is_name(host: str) -> bool:
    try:
        host.encode("idna")  # as the resolver does
    except UnicodeError:
        return False
    return True


class ListenAddress(NamedTuple):
    """Where to listen: ``host:port`` for TCP, ``ws://host:port`` for WebSocket."""

    host: str
    port: int
    scheme: Scheme = ""


def parse_listen(text: str, *, default_port: int = DEFAULT_PORT) -> ListenAddress:
    """Parse an address to listen at: ``host:port``, ``ws://host:port``, or ``ws:host:port`` as lightningd's bind-addr.

    Raises `ValueError` naming what is wrong; ``wss://`` is only dialed.
    """
    lightningds = text.startswith("ws:") and not text.startswith("ws://") and ":" in text[3:]
    scheme, rest = split_scheme(f"ws://{text[3:]}" if lightningds else text)
    if scheme == "wss":
        raise ValueError(f"{text!r}: TLS needs a certificate; listen at ws:// behind a server that has one, nginx say")
    return ListenAddress(*parse_address(rest, default_port=default_port), scheme)


class NodeUri(NamedTuple):
    """A node to dial and its address: ``node_id@host:port``, or ``node_id@ws://host:port``."""

    node_id: NodeId
    host: str
    port: int = DEFAULT_PORT
    scheme: Scheme = ""

    @classmethod
    def parse(cls, text: str, *, default_port: int = DEFAULT_PORT) -> NodeUri:
        """Parse ``node_id@[ws://]host[:port]``. Raises `ValueError` naming what is wrong."""
        node_id, separator, address = text.strip().partition("@")
        if not separator:
            raise ValueError(f"URI should be node_id@host:port, not {text!r}")
        scheme, rest = split_scheme(address)
        return cls(NodeId(node_id), *parse_address(rest, default_port=default_port), scheme)

    @property
    def address(self) -> str:
        """The part after the @."""
        return join_address(self.host, self.port, self.scheme)

    def __str__(self) -> str:
        return f"{self.node_id}@{self.address}"
