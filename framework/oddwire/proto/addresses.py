"""Addresses of nodes: ``host:port`` and ``node_id@host:port``. No I/O."""

from __future__ import annotations

from typing import Final, NamedTuple

from oddwire.proto.keys import NodeId

__all__ = ["DEFAULT_PORT", "NodeUri", "join_address", "parse_address", "proxy_address", "proxy_url"]

DEFAULT_PORT: Final = 9735
_TOR_PORT: Final = 9050
_PROXY_SCHEMES: Final = ("socks5", "socks4", "http")


def join_address(host: str, port: int) -> str:
    """Return ``host:port``, with an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"port should be 0 to 65535, not {port!r} (in {text!r})")
    return host, int(port)


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


class NodeUri(NamedTuple):
    """A node to dial and its address: ``node_id@host:port``."""

    node_id: NodeId
    host: str
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, text: str, *, default_port: int = DEFAULT_PORT) -> NodeUri:
        """Parse ``node_id@host[:port]``. Raises `ValueError` naming what is wrong."""
        node_id, separator, address = text.strip().partition("@")
        if not separator:
            raise ValueError(f"URI should be node_id@host:port, not {text!r}")
        return cls(NodeId(node_id), *parse_address(address, default_port=default_port))

    @property
    def address(self) -> str:
        """The part after the @."""
        return join_address(self.host, self.port)

    def __str__(self) -> str:
        return f"{self.node_id}@{self.address}"
