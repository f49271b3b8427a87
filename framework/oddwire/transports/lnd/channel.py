"""How gRPC is to connect to LND: its target and its channel's options. No gRPC is imported for them."""

from __future__ import annotations

from typing import Any, Final

from oddwire.transports.lnd.credentials import LndCredentials

__all__ = ["options", "target"]

_MAX_ANSWER: Final = 200 * 1024 * 1024  # bytes, as lncli; a peer can make its part of ListPeers 4 MB long


def target(credentials: LndCredentials) -> str:
    """Return LND's address in gRPC's form."""
    path = credentials.socket_path
    return f"unix:{path}" if path else f"dns:///{credentials.address}"


def options(credentials: LndCredentials, keepalive: float) -> list[tuple[str, Any]]:
    """Return the options of a channel that is one connection, and fails within ``keepalive`` seconds of silence."""
    half = max(1, round(keepalive * 500))  # milliseconds until a ping, and as many until it is missed
    found: list[tuple[str, Any]] = [
        ("grpc.keepalive_time_ms", half),
        ("grpc.keepalive_timeout_ms", half),
        ("grpc.http2.ping_timeout_ms", half),
        ("grpc.http2.max_pings_without_data", 0),  # there may be none for hours
        ("grpc.max_receive_message_length", _MAX_ANSWER),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.use_local_subchannel_pool", 1),  # else it would wait as long as an earlier client had to
    ]
    if credentials.socket_path:  # LND's certificate names localhost, and unix
        found.append(("grpc.ssl_target_name_override", "localhost"))
    return found
