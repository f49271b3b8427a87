"""lightningd's JSON-RPC: documents on a stream, a pipelining client, and a server for a unix socket.

Client and server are imported when they are first used: hardly any program needs both.
"""

from typing import TYPE_CHECKING

import oddwire.lazy as _lazy
from oddwire.jsonrpc.documents import MAX_DEPTH, MAX_DOCUMENT, JsonSplitter, Oversize, encode

if TYPE_CHECKING:
    from oddwire.jsonrpc.client import JsonRpcClient
    from oddwire.jsonrpc.server import JsonRpcServer, RpcConnection

__all__ = [
    "MAX_DEPTH",
    "MAX_DOCUMENT",
    "JsonRpcClient",
    "JsonRpcServer",
    "JsonSplitter",
    "Oversize",
    "RpcConnection",
    "encode",
]

_HOMES = {
    "JsonRpcClient": "oddwire.jsonrpc.client",
    "JsonRpcServer": "oddwire.jsonrpc.server",
    "RpcConnection": "oddwire.jsonrpc.server",
}

__getattr__, __dir__ = _lazy.lazy(__name__, _HOMES)
