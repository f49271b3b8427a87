"""lightningd's JSON-RPC: documents on a stream, a pipelining client, and a server for a unix socket."""

from oddwire.jsonrpc.client import JsonRpcClient
from oddwire.jsonrpc.framing import MAX_DEPTH, MAX_DOCUMENT, JsonSplitter, encode
from oddwire.jsonrpc.server import JsonRpcServer, RpcConnection

__all__ = ["MAX_DEPTH", "MAX_DOCUMENT", "JsonRpcClient", "JsonRpcServer", "JsonSplitter", "RpcConnection", "encode"]
