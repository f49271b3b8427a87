"""Addresses in JSON."""

from __future__ import annotations

import pytest

from oddwire.node.address_fields import address_fields


@pytest.mark.parametrize(
    ("address", "kind", "host"),
    [
        ("127.0.0.1:9735", "ipv4", "127.0.0.1"),
        ("[::1]:9735", "ipv6", "::1"),
        (f"{'a' * 56}.onion:9735", "torv3", f"{'a' * 56}.onion"),
        ("example.com:9735", "dns", "example.com"),
    ],
)
def test_fields(address: str, kind: str, host: str) -> None:
    assert address_fields(address) == {"type": kind, "address": host, "port": 9735}


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_fields_of_websocket(scheme: str) -> None:
    fields = {"type": "websocket", "subtype": "ipv4", "address": "127.0.0.1", "port": 1}
    assert address_fields(f"{scheme}://127.0.0.1:1") == fields
