"""Addresses in the form of lightningd's JSON."""

from __future__ import annotations

import ipaddress
from typing import Any

from oddwire.proto.addresses import parse_address, split_scheme

__all__ = ["address_fields"]


def address_fields(address: str) -> dict[str, Any]:
    """Return ``host:port`` as a JSON object: type (ipv4, ipv6, torv3 or dns), address, port.

    For ``ws://host:port``, type is ``websocket``, and subtype the host's.
    """
    scheme, rest = split_scheme(address)
    host, port = parse_address(rest)
    try:
        kind = f"ipv{ipaddress.ip_address(host).version}"
    except ValueError:
        kind = "torv3" if host.endswith(".onion") else "dns"
    types = {"type": "websocket", "subtype": kind} if scheme else {"type": kind}
    return {**types, "address": host, "port": port}
