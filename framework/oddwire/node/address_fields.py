"""Addresses in the form of lightningd's JSON."""

from __future__ import annotations

import ipaddress
from typing import Any

from oddwire.proto.addresses import parse_address

__all__ = ["address_fields"]


def address_fields(address: str) -> dict[str, Any]:
    """Return ``host:port`` as a JSON object: type (ipv4, ipv6, torv3 or dns), address, port."""
    host, port = parse_address(address)
    try:
        kind = f"ipv{ipaddress.ip_address(host).version}"
    except ValueError:
        kind = "torv3" if host.endswith(".onion") else "dns"
    return {"type": kind, "address": host, "port": port}
