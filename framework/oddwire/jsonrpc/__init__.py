"""lightningd's JSON-RPC: documents on a stream, a pipelining client, and a server for a unix socket.

Client and server are imported when they are first used: hardly any program needs both.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from oddwire.jsonrpc.framing import MAX_DEPTH, MAX_DOCUMENT, JsonSplitter, encode

if TYPE_CHECKING:
    from oddwire.jsonrpc.client import JsonRpcClient
    from oddwire.jsonrpc.server import JsonRpcServer, RpcConnection

__all__ = ["MAX_DEPTH", "MAX_DOCUMENT", "JsonRpcClient", "JsonRpcServer", "JsonSplitter", "RpcConnection", "encode"]

_HOMES = {
    "JsonRpcClient": "oddwire.jsonrpc.client",
    "JsonRpcServer": "oddwire.jsonrpc.server",
    "RpcConnection": "oddwire.jsonrpc.server",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
