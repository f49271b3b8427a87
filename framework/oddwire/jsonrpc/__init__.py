"""lightningd's JSON-RPC: documents on a stream, a pipelining client, and a server for a unix socket.

Client and server are imported when they are first used, as few programs need both.
"""

from typing import TYPE_CHECKING

from oddwire.jsonrpc.documents import (
    MAX_DEPTH as MAX_DEPTH,
    MAX_DOCUMENT as MAX_DOCUMENT,
    JsonSplitter as JsonSplitter,
    Oversize as Oversize,
    encode as encode,
)

if TYPE_CHECKING:
    from oddwire.jsonrpc.client import JsonRpcClient as JsonRpcClient
    from oddwire.jsonrpc.server import (
        JsonRpcServer as JsonRpcServer,
        RpcConnection as RpcConnection,
    )
else:
    from oddwire.lazy import public_names as _public_names

    __getattr__, __dir__ = _public_names()
